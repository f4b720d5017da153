"""What the owner and its camera process say to each other, over a private socket pair."""

from __future__ import annotations

from typing import Any, NamedTuple

from camera_rig.errors import RigError

__all__ = ["Answer", "BodyFacts", "Command", "LiveNote", "Lost", "StillFile", "StillNote"]


class Command(NamedTuple):
    """Owner to worker: do ``name`` with ``args`` and answer under ``number``."""

    number: int
    name: str
    args: tuple[Any, ...]


class Answer(NamedTuple):
    """Worker to owner: the value of a command, or its error."""

    number: int
    value: Any
    error: RigError | None


class LiveNote(NamedTuple):
    """Worker to owner: live frame ``sequence`` lies in its slot (times: monotonic ns)."""

    sequence: int
    length: int
    asked_ns: int
    got_ns: int


class Lost(NamedTuple):
    """Worker to owner: the link to the body is gone and the worker ends."""

    error: RigError


class StillFile(NamedTuple):
    """One downloaded file of a still: where its bytes lie and what the camera called it."""

    offset: int
    length: int
    camera_name: str


class StillNote(NamedTuple):
    """A still: its files and the moments (monotonic ns) around the exposure.

    ``asked``: the command came; ``tried``: the release that the body took was sent;
    ``released``: the body said that it had released; ``fetched``: all bytes were here.
    """

    files: tuple[StillFile, ...]
    asked_ns: int
    tried_ns: int
    released_ns: int
    fetched_ns: int
    busy_answers: int


class BodyFacts(NamedTuple):
    """What is constant about an opened body, and its clock (offset to UTC, s)."""

    model: str
    serial: str
    firmware: str
    port: str
    library: str
    choices: dict[str, tuple[str, ...]]
    clock_offset_s: float | None
    clock_uncertainty_s: float
    warnings: tuple[str, ...]
