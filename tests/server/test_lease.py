"""The lease alone, with time moved by hand."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from camera_rig.clock import ManualClock
from camera_rig.errors import ConnectError, SafetyError, StateError
from camera_rig.server.lease import LeaseKeeper

NONCE = "n" * 16


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.parked = 0
        self.broken = False
        self.keeper = LeaseKeeper(self.clock, 3.0, self.make_safe)

    def make_safe(self) -> None:
        if self.broken:
            raise ConnectError("no mirror", hint="plug it in")
        self.parked += 1

    def wait(self, seconds: float) -> None:
        self.clock.advance(round(seconds * 1e9))


def never() -> None:
    raise AssertionError("this must not be run")


def test_one_writer_only():
    bench = Bench()
    lease = bench.keeper.acquire("a", NONCE)
    assert bench.keeper.writer == "a"
    with pytest.raises(StateError, match="'a' is writing"):
        bench.keeper.acquire("b", "m" * 16)
    assert bench.keeper.acquire("a", NONCE) == lease, "a repeat gets the same lease"
    bench.keeper.release(lease)
    assert bench.parked == 1 and bench.keeper.writer is None
    assert bench.keeper.acquire("b", "m" * 16) != lease


def test_silence_ends_a_lease_and_makes_safe_before_the_next():
    bench = Bench()
    lease = bench.keeper.acquire("a", NONCE)
    bench.wait(2.9)
    bench.keeper.beat(lease)
    bench.wait(2.9)
    bench.keeper.tick()
    assert bench.parked == 0
    bench.wait(0.2)
    with pytest.raises(StateError, match="over"):
        bench.keeper.beat(lease)
    assert bench.parked == 0, "a beat comes from another thread and touches no device"
    bench.keeper.acquire("b", "m" * 16)
    assert bench.parked == 1
    with pytest.raises(StateError, match="over"):
        bench.keeper.run(lease, 1, b"x", never)


def test_command_of_an_expired_lease_is_not_run():
    bench = Bench()
    lease = bench.keeper.acquire("a", NONCE)
    bench.wait(3.1)
    with pytest.raises(StateError, match="over"):
        bench.keeper.run(lease, 1, b"x", never)
    assert bench.parked == 1


def test_nothing_is_granted_until_safe():
    bench = Bench()
    bench.keeper.acquire("a", NONCE)
    bench.broken = True
    bench.wait(4)
    bench.keeper.tick()
    with pytest.raises(StateError, match="no mirror"):
        bench.keeper.acquire("b", "m" * 16)
    bench.broken = False
    bench.keeper.tick()
    assert bench.parked == 1
    bench.keeper.acquire("b", "m" * 16)


def test_repeats_are_answered_not_redone():
    bench = Bench()
    lease = bench.keeper.acquire("a", NONCE)
    done: list[int] = []

    def work() -> int:
        done.append(1)
        return len(done)

    assert bench.keeper.run(lease, 1, b"x", work) == (1, False)
    assert bench.keeper.run(lease, 1, b"x", never) == (1, True)
    with pytest.raises(StateError, match="another one"):
        bench.keeper.run(lease, 1, b"y", never)
    assert bench.keeper.run(lease, 5, b"z", work) == (2, False)
    with pytest.raises(StateError, match="older"):
        bench.keeper.run(lease, 4, b"late", never)
    for number in range(6, 300):
        bench.keeper.run(lease, number, b"n", work)
    with pytest.raises(StateError, match="older"):
        bench.keeper.run(lease, 5, b"z", never)


def test_an_error_is_an_answer_too():
    bench = Bench()
    lease = bench.keeper.acquire("a", NONCE)

    def refuse() -> None:
        raise SafetyError("too much", hint="less")

    for work in (refuse, never):
        with pytest.raises(SafetyError, match="too much"):
            bench.keeper.run(lease, 1, b"x", work)


def test_closing_makes_safe():
    bench = Bench()
    bench.keeper.acquire("a", NONCE)
    bench.keeper.close()
    assert bench.parked == 1
    bench.keeper.close()
    assert bench.parked == 1


class TwoClients(RuleBasedStateMachine):
    """Whatever two clients and the clock do, the promises hold."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.leases: dict[str, str] = {}
        self.ran: list[tuple[str, int]] = []
        self.numbers = {"a": 0, "b": 0}
        self.ended_at = 0

    @rule(who=st.sampled_from("ab"))
    def acquire(self, who):
        writer = self.bench.keeper.writer
        parked = self.bench.parked
        try:
            lease = self.bench.keeper.acquire(who, who * 16)
        except StateError:
            assert writer not in (None, who)
            return
        if self.leases.get(who) != lease:
            if writer is not None:
                assert self.bench.parked > parked, "the old writer's shape was left first"
            self.leases[who] = lease
            self.numbers[who] = 0

    @rule(who=st.sampled_from("ab"), step=st.sampled_from([0, 0, 1, 1, 1, 3]))
    def command(self, who, step):
        number = max(1, self.numbers[who] + step)
        lease = self.leases.get(who, "none")

        def work():
            assert self.bench.keeper.writer == who
            self.ran.append((lease, number))

        try:
            self.bench.keeper.run(lease, number, str(number).encode(), work)
        except StateError:
            return
        self.numbers[who] = number

    @rule(who=st.sampled_from("ab"))
    def beat(self, who):
        with contextlib.suppress(StateError):
            self.bench.keeper.beat(self.leases.get(who, "none"))

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.9, 3.1]), look=st.booleans())
    def time_passes(self, seconds, look):
        self.bench.wait(seconds)
        if look:
            self.bench.keeper.tick()

    @invariant()
    def nothing_ran_twice(self):
        assert len(self.ran) == len(set(self.ran))


TestTwoClients = TwoClients.TestCase
TestTwoClients.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
