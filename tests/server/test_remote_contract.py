"""Remote drivers keep the same contracts as devices that are plugged in here."""

from __future__ import annotations

import itertools

import pytest

from camera_rig.drivers.remote import RemoteLight, RemoteMirror, RemoteStage
from tests.contract import Cable, LightContract, MirrorContract, StageContract
from tests.mirror.forty import FortyMirror
from tests.server.hosted import BadLink, Served, served
from tests.support.toy_drivers import ToyLight, ToyStage


class PluggedLink(BadLink):
    """A network cable that can be pulled; a client that hangs up does not break it."""

    def plug(self) -> Cable:
        def pull() -> None:
            self.plan = itertools.repeat("lost")

        def put_back() -> None:
            self.plan = iter(())

        return Cable(pull, put_back)

    def close(self) -> None:
        """The test uses one link for several openings."""


@pytest.fixture
def link():
    link = PluggedLink()
    yield link
    link.inner.close()


class TestRemoteMirror(MirrorContract):
    keeps_shape_over_open = False  # giving the lease back leaves the safe shape

    @pytest.fixture
    def mirror(self, tmp_path, link):
        with served(FortyMirror, tmp_path) as far:
            yield RemoteMirror(far.options(attempts=2), far.context(), link)

    @pytest.fixture
    def cable(self, link):
        return link.plug()


class TestRemoteStage(StageContract):
    @pytest.fixture
    def stage(self, tmp_path, link):
        with served(WalkingStage, tmp_path) as far:
            yield RemoteStage(far.options(attempts=2), far.context(), link)

    @pytest.fixture
    def cable(self, link):
        return link.plug()


class WalkingStage(ToyStage):
    """Moves at 20 mm/s of its clock's time and stops where it is when it is late."""

    def _do_move_to(self, position_mm, timeout_s):
        way = position_mm - self.at_mm
        if abs(way) > 20.0 * timeout_s:
            self.at_mm += 20.0 * timeout_s * (1 if way > 0 else -1)
            super()._do_move_to(13.0, timeout_s)
        self.at_mm = position_mm


class TestRemoteLight(LightContract):
    @pytest.fixture
    def far(self, tmp_path):
        with served(ToyLight, tmp_path) as far:
            yield far

    @pytest.fixture
    def light(self, far: Served, link):
        return RemoteLight(far.options(attempts=2), far.context(), link)

    @pytest.fixture
    def output(self, far: Served):
        return lambda: lamp(far.device.wire)

    @pytest.fixture
    def cable(self, link):
        return link.plug()


def lamp(orders: list[str]) -> float:
    """What a lamp gives after these orders."""
    level, is_open = 0.0, False
    for order in orders:
        if order.startswith("set "):
            level = float(order.split()[1])
        is_open = {"open": True, "shut": False}.get(order, is_open)
    return level if is_open else 0.0
