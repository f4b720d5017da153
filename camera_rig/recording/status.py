"""What the recorder tells: its phase, one look at it, how a take ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from camera_rig.contracts import Frame
from camera_rig.errors import RigError
from camera_rig.recording._queue import QueueDepth
from camera_rig.recording._worker import SourceRate
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.manifest import FinishReason, Seal

__all__ = ["Phase", "RecorderStatus", "TakeContext", "TakeReport"]


class Phase(StrEnum):
    """What the recorder does now."""

    IDLE = "idle"
    STREAMING = "streaming"
    RECORDING = "recording"
    SEALING = "sealing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """One look at the recorder; the thumbnail source is the privacy branch, never the side.

    Args:
        phase: What it does.
        elapsed_s: Since the take began, s.
        remaining_s: Until it ends, s.
        rates: Role to what the camera gives.
        pairs: Pairs stored.
        over_tolerance: Of these, further apart than the tolerance.
        unpaired: Role to frames stored alone.
        lost: Role to frames the camera skipped.
        dropped: Role to frames that found no room.
        last_skew_ms: Skew of the newest pair, ms.
        queue: How full the hand-over is and was.
        stored_bytes: Bytes stored.
        clock_model: The model in use.
        privacy: Newest frame of the privacy branch, for a thumbnail; None when shed.
    """

    phase: Phase
    elapsed_s: float = 0.0
    remaining_s: float = 0.0
    rates: Mapping[str, SourceRate] = field(default_factory=dict)
    pairs: int = 0
    over_tolerance: int = 0
    unpaired: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    last_skew_ms: float = 0.0
    queue: QueueDepth | None = None
    stored_bytes: int = 0
    clock_model: ClockModel = field(default_factory=ClockModel)
    privacy: Frame | None = None


@dataclass(frozen=True, slots=True)
class TakeContext:
    """What goes into the manifest besides the plan; all JSON-able.

    Args:
        config: The rig's configuration.
        mirror: Device, coefficients, commands as read back.
        calibrations: Name to identifier.
        series: Name and number within it.
        prompt: What the subject was asked to do.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    mirror: Mapping[str, Any] = field(default_factory=dict)
    calibrations: Mapping[str, str] = field(default_factory=dict)
    series: tuple[str, int] | None = None
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class TakeReport:
    """How a take ended.

    Args:
        folder: Where it lies.
        seal: Its seal; None when even sealing failed and ``rig take recover`` must help.
        error: What ended it, if it was an error.
    """

    folder: Path
    seal: Seal | None
    error: RigError | None

    @property
    def is_clean(self) -> bool:
        """Whether it ran to its end and every frame that came was stored."""
        if self.seal is None or self.error is not None:
            return False
        ended = self.seal.reason in {FinishReason.DURATION, FinishReason.STOPPED}
        return ended and not sum(self.seal.totals.dropped.values())
