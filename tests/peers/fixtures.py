"""Emulated devices for tests, each started as its own process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from camera_rig.peers import PeerProcess
from camera_rig.peers.apt import AptOptions
from camera_rig.peers.m50 import M50Options
from camera_rig.peers.trigger_box import TriggerBoxOptions
from tests.contract import Cable

__all__ = ["SERIALS", "apt_peer", "box_peer", "plug_of", "two_m50s"]

SERIALS = ("663000000001", "663000000002")


@pytest.fixture
def two_m50s() -> Iterator[tuple[PeerProcess, PeerProcess]]:
    """Two emulated bodies that differ only in their serial numbers."""
    small = {"large_size": (320, 180), "small_size": (160, 90), "still_size": (300, 200)}
    options = [M50Options(serial=serial, fps=60, **small) for serial in SERIALS]
    with PeerProcess("m50", options[0]) as first, PeerProcess("m50", options[1]) as second:
        yield first, second


@pytest.fixture
def apt_peer(tmp_path: Path) -> Iterator[PeerProcess]:
    """A fast APT controller with 50 mm of travel."""
    with PeerProcess("apt", AptOptions(link=str(tmp_path / "apt"))) as peer:
        yield peer


@pytest.fixture(params=["pty", "tcp"])
def box_peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PeerProcess]:
    """A trigger box, once on a pseudo-terminal and once on TCP."""
    options = TriggerBoxOptions(transport=request.param, link=str(tmp_path / "box"))
    with PeerProcess("trigger-box", options) as peer:
        yield peer


def plug_of(peer: PeerProcess, put_back: str = "plug") -> Cable:
    """Return the cable of a peer."""
    return Cable(lambda: _tell(peer, "unplug"), lambda: _tell(peer, put_back))


def _tell(peer: PeerProcess, command: str) -> None:
    peer.tell(command)
