"""Remote drivers against a real server on loopback."""

from __future__ import annotations

import itertools
import random
import threading

import httpx
import numpy as np
import pytest

from camera_rig import wire
from camera_rig.contracts import DeviceKind, MirrorEvent
from camera_rig.drivers._remote_link import RemoteLink
from camera_rig.drivers.remote import RemoteLight, RemoteMirror, RemoteOptions, RemoteStage
from camera_rig.errors import (
    ConfigError,
    ConnectError,
    RigTimeoutError,
    SafetyError,
    StateError,
    UnsupportedError,
)
from camera_rig.registry import driver_class
from camera_rig.server import DeviceHost
from camera_rig.tokens import make_token, read_token
from tests.mirror.forty import PatternMirror
from tests.server.hosted import BadLink, host_of, served
from tests.support.toy_drivers import ToyCamera, ToyLight, ToyMirror, ToyStage


@pytest.fixture
def far(tmp_path):
    with served(ToyMirror, tmp_path) as far:
        yield far


def test_mirror_behaves_like_the_one_it_stands_for(far):
    with RemoteMirror(far.options(serial="far-1"), far.context()) as mirror:
        assert mirror.info.kind is DeviceKind.MIRROR and mirror.info.driver == "remote toy"
        assert mirror.actuators == 4 and mirror.slew_v_per_s == 1000.0
        assert np.array_equal(mirror.limits, far.device.limits)
        assert far.host.keeper.writer is None, "reading takes no lease"
        told: list[MirrorEvent] = []
        mirror.observers.append(told.append)
        mirror.apply([10.0, 20.0, 30.0, 40.0], reason="test")
        assert np.array_equal(far.device.volts, [10.0, 20.0, 30.0, 40.0])
        assert np.array_equal(mirror.read_back(), far.device.volts)
        assert told[0].reason == "test" and told[0].steps == 14, "the far host walked"
        assert dict(mirror.temperatures_c()) == {"glass": 25.0}
        assert mirror.health().ok
        assert len(list(mirror.relax())) == 40
        assert np.array_equal(far.device.volts, [10.0, 20.0, 30.0, 40.0])
        with pytest.raises(SafetyError):
            mirror.apply([np.nan] * 4)
        with pytest.raises(UnsupportedError, match="no Zernike patterns"):
            mirror.maker_pattern({(2, 0): 0.1})
    assert np.array_equal(far.device.volts, np.full(4, 150.0)), "given back: safe shape"


def test_makers_patterns_cross_the_network(tmp_path):
    with served(PatternMirror, tmp_path) as far:
        with RemoteMirror(far.options(), far.context()) as mirror:
            assert mirror.compensates_hysteresis
            here = mirror.maker_pattern({(2, 0): 0.3, (3, -1): -0.2})
            assert np.array_equal(here, far.device.maker_pattern({(2, 0): 0.3, (3, -1): -0.2}))


def test_lost_lease_leaves_the_safe_shape_and_is_told(far):
    with RemoteMirror(far.options(), far.context()) as mirror:
        mirror.apply(np.full(4, 80.0))
        mirror.set_safe_command(np.full(4, 77.0))
        assert np.array_equal(mirror.safe_command_v, np.full(4, 77.0))
        far.silence()
        assert np.array_equal(far.device.volts, np.full(4, 77.0)), "the shape that was made safe"
        for _ in range(2):
            with pytest.raises((StateError, ConnectError), match="lease"):
                mirror.apply(np.full(4, 10.0))
        assert np.array_equal(far.device.volts, np.full(4, 77.0))
        assert not mirror.health().ok


def test_two_clients_never_both_write(far):
    with (
        RemoteMirror(far.options(), far.context()) as first,
        RemoteMirror(far.options(), far.context()) as second,
    ):
        first.apply(np.full(4, 100.0))
        with pytest.raises(StateError, match="is writing"):
            second.apply(np.full(4, 200.0))
        assert np.array_equal(second.read_back(), np.full(4, 100.0))
        first.close()
        second.apply(np.full(4, 200.0))
        assert np.array_equal(far.device.volts, np.full(4, 200.0))


def test_bad_links_never_run_a_command_twice(far):
    dice = random.Random(1)
    fates = itertools.chain(
        ["ok"],
        (dice.choices(["ok", "lost", "cut", "twice"], [6, 1, 1, 1])[0] for _ in iter(int, 1)),
    )
    link = BadLink(fates)
    with RemoteMirror(far.options(attempts=8), far.context(), link) as mirror:
        wanted = [np.full(4, 150.0 + (k % 7)) for k in range(60)]
        far.device.sent.clear()
        for command in wanted:
            mirror.apply(command)
        assert min(link.counts[fate] for fate in ("lost", "cut", "twice")) > 5
        assert [int(v[0]) for v in far.device.sent] == [int(v[0]) for v in wanted]


def test_dead_link_is_told(far):
    with RemoteMirror(far.options(attempts=2), far.context(), BadLink(iter(["ok"]))) as mirror:
        mirror._link._http._transport.plan = itertools.repeat("lost")
        with pytest.raises(ConnectError, match="cannot be reached"):
            mirror.read_back()
        assert not mirror.health().ok


def test_slow_host_is_a_timeout(far):
    class Slow(httpx.BaseTransport):
        def handle_request(self, request):
            raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(RigTimeoutError, match="did not answer"):
        RemoteMirror(far.options(), far.context(), Slow()).open()


def test_stage_moves_homes_and_is_halted_on_time_out(tmp_path):
    with served(ToyStage, tmp_path) as far:
        with RemoteStage(far.options(), far.context()) as stage:
            assert stage.limits_mm == (0.0, 50.0)
            assert stage.move_to(12.0, 5.0) == 12.0
            stage.home(5.0)
            assert stage.position_mm == 0.0
            with pytest.raises(RigTimeoutError, match="not there"):
                stage.move_to(13.0, 1.0)
            assert far.device.wire.count("halt") >= 2, "at both ends"


def test_light_goes_dark_when_the_lease_is_lost(tmp_path):
    with served(ToyLight, tmp_path) as far:
        light = RemoteLight(far.options(), far.context())
        light.open()
        light.set(0.5)
        light.shutter(True)
        started_ns = light.pulse(0.1)
        assert abs(started_ns - light.clock.now_ns()) < 1e9
        far.device.wire.clear()
        far.silence()
        assert far.device.wire == ["shut", "set 0"]
        light.close()


def test_wrong_host_kind_serial_token_or_version(far, tmp_path):
    with pytest.raises(ConfigError, match="serves a mirror, not a stage"):
        RemoteStage(far.options(), far.context()).open()
    with pytest.raises(ConnectError, match="far-1, not other"):
        RemoteMirror(far.options(serial="other"), far.context()).open()
    make_token(tmp_path / "wrong")
    with pytest.raises(ConnectError, match="token is missing or wrong"):
        options = RemoteOptions(url=far.url, token_file=tmp_path / "wrong")
        RemoteMirror(options, far.context()).open()
    with pytest.raises(ConnectError, match="cannot be reached"):
        options = RemoteOptions(url="http://127.0.0.1:9", token_file=far.token_file, attempts=1)
        RemoteMirror(options, far.context()).open()
    headers = {"Authorization": f"Bearer {read_token(far.token_file)}"}
    reply = httpx.get(f"{far.url}/v1/device", headers={**headers, wire.PROTOCOL_HEADER: "2"})
    assert reply.status_code == 426 and "protocol 1, the caller 2" in reply.json()["message"]


def test_something_else_listening_is_told(far):
    class Web(httpx.BaseTransport):
        def handle_request(self, request):
            return httpx.Response(200, content=b"<html>hello</html>")

    with pytest.raises(ConnectError, match="like no device host"):
        RemoteMirror(far.options(), far.context(), Web()).open()


def test_far_refusals_keep_their_class_and_hint(far):
    link = RemoteLink(far.options(), DeviceKind.MIRROR)
    try:
        with pytest.raises(SafetyError, match="outside 0 to 300 V") as caught:
            link.command("/mirror/apply", wire.ApplyRequest, command_v=[500.0] * 4)
        assert "rig mirror limits" in caught.value.hint
        with pytest.raises(UnsupportedError, match="serves a mirror, not a light"):
            link.command("/light/level", wire.LevelRequest, level=1.0)
        link.beat()
    finally:
        link.close()


def test_sizes_are_bounded(far):
    headers = {
        "Authorization": f"Bearer {read_token(far.token_file)}",
        wire.PROTOCOL_HEADER: "1",
    }
    with httpx.Client(base_url=f"{far.url}/v1", headers=headers) as client:
        big = client.post("/lease", content=b" " * (wire.MAX_BODY_BYTES + 1))
        assert big.status_code == 413 and "larger" in big.json()["message"]
        long = client.post("/lease", json={"client": "x" * 201, "nonce": "n" * 16})
        assert long.status_code == 422
        odd = client.post("/lease", json={"client": "x", "nonce": "n" * 16, "colour": 1})
        assert odd.status_code == 422 and "colour" in odd.json()["message"]
        wild = client.post(
            "/mirror/apply",
            content=b'{"lease": "x", "sequence": 1, "command_v": [NaN]}',
            headers={"Content-Type": "application/json"},
        )
        assert wild.status_code == 422
        assert client.get("/nothing").json()["kind"] == "config"


def test_cameras_are_not_served(tmp_path):
    from camera_rig.clock import ManualClock

    with pytest.raises(UnsupportedError, match="camera cannot be served"):
        with host_of(ToyCamera, ManualClock()):
            pass


def test_failing_device_keeps_the_host_closed():
    from camera_rig.clock import ManualClock

    with pytest.raises(ConnectError, match="no such device"):
        with host_of(ToyMirror, ManualClock(), unplugged=True):
            pass


def test_too_many_callers_are_sent_away(tmp_path):
    from camera_rig.clock import ManualClock

    with host_of(ToyMirror, ManualClock()) as host:
        gate, waiting = threading.Event(), []
        first = threading.Thread(target=lambda: host.ask(gate.wait))
        first.start()
        for _ in range(15):
            each = threading.Thread(target=lambda: host.ask(lambda: None))
            each.start()
            waiting.append(each)
        try:
            while host._waiting._value:  # the sixteen are on their way to the queue
                gate.wait(0.001)
            with pytest.raises(StateError, match="wait for this device"):
                host.ask(lambda: None)
        finally:
            gate.set()
            for each in [first, *waiting]:
                each.join()


@pytest.mark.parametrize("kind", ["mirror", "stage", "light"])
def test_registry_knows_the_remote_drivers(kind):
    assert driver_class(DeviceKind(kind), "remote").__name__ == f"Remote{kind.capitalize()}"


def test_watch_ends_a_silent_lease_by_itself(tmp_path):
    """In real time, with a lease of a fiftieth of a second: no test moves the clock here."""
    from camera_rig.clock import ManualClock, SystemClock
    from camera_rig.contracts import DeviceContext
    from tests.support.toy_drivers import ToyOptions

    device = ToyMirror(ToyOptions(serial="x"), DeviceContext("m", ManualClock()))
    host = DeviceHost(lambda: device, SystemClock(), 0.02)
    host.open()
    try:
        host.watch()
        host.ask(lambda: host.keeper.acquire("silent", "n" * 16))
        done = threading.Event()
        make_safe = host.keeper._make_safe
        host.keeper._make_safe = lambda: (make_safe(), done.set())
        assert done.wait(10.0)
        assert host.keeper.writer is None
    finally:
        host.close()
