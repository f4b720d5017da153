"""What the operator wants of a take, and whether it can be had, before anything runs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from camera_rig.recording._files import make_private_dir
from camera_rig.recording.pairing import PairingRules
from camera_rig.recording.take import DiskRules

__all__ = ["DiskEstimate", "OverloadPolicy", "TakePlan", "estimate", "measure_disk_rate"]

Positive = Annotated[float, Field(gt=0)]


class OverloadPolicy(StrEnum):
    """What happens when frames come faster than they can be stored. Never a silent loss."""

    STOP = "stop"
    DROP_PREVIEW = "drop-preview"
    DROP_COUNTED = "drop-counted"


class TakePlan(BaseModel):
    """Settings of a take; saved in its manifest.

    Args:
        duration_s: Length, s.
        tolerance_ms: Pairs with a larger skew are flagged, ms.
        limit_ms: Frames further apart never pair, ms.
        hold_s: How long a frame waits for a partner, s.
        warm_up_s: Cameras run this long before the first take, s.
        buffer_mb: Most frames held in memory, MB.
        on_overload: ``stop`` seals the take; ``drop-preview`` gives up the thumbnails
            first and then stops; ``drop-counted`` goes on and journals each lost frame.
        frame_timeout_s: A camera is called stalled after this, s.
        stall_limit_s: A camera that stalls longer is called lost, s.
        encrypt_privacy: Encrypt the privacy branch too. The side branch always is.
        shard_mb: Size of a shard, MB.
        fsync_s: Longest time between two syncs, s.
        min_free_gb: Stop when less is free, GB.
        pack_share: Share of a frame period that packing raw pictures may take.
        trigger: ``free`` running cameras, or exposures released by the ``light`` box.
        trigger_hz: Rate of the trigger, 1/s.
        trigger_pulse_s: Length of a trigger pulse, s.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    duration_s: Positive = 20.0
    tolerance_ms: Positive = 20.0
    limit_ms: Positive = 40.0
    hold_s: Positive = 1.0
    warm_up_s: Annotated[float, Field(ge=0)] = 3.0
    buffer_mb: Positive = 512.0
    on_overload: OverloadPolicy = OverloadPolicy.STOP
    frame_timeout_s: Positive = 1.0
    stall_limit_s: Positive = 5.0
    encrypt_privacy: bool = True
    shard_mb: Positive = 1024.0
    fsync_s: Positive = 1.0
    min_free_gb: Annotated[float, Field(ge=0)] = 2.0
    pack_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    trigger: Literal["free", "light"] = "free"
    trigger_hz: Positive = 30.0
    trigger_pulse_s: Positive = 0.002

    @property
    def pairing(self) -> PairingRules:
        """The pairing rules of this plan."""
        return PairingRules(
            tolerance_ns=round(self.tolerance_ms * 1e6),
            limit_ns=round(self.limit_ms * 1e6),
            hold_ns=round(self.hold_s * 1e9),
        )

    def disk_rules(self, frames_per_s: float) -> DiskRules:
        """Return the disk rules; the reserve holds the index of a take of this length."""
        index_bytes = round(self.duration_s * frames_per_s * 1500)
        return DiskRules(
            shard_bytes=round(self.shard_mb * 1e6),
            fsync_s=self.fsync_s,
            reserve_bytes=(4 << 20) + index_bytes,
        )


@dataclass(frozen=True, slots=True)
class DiskEstimate:
    """What a take will need and what there is.

    Args:
        bytes_per_s: Role to bytes per second.
        total_bytes: For the whole take.
        free_bytes: On the disk now.
        disk_bytes_per_s: Measured writing speed; 0 if not measured.
    """

    bytes_per_s: Mapping[str, float]
    total_bytes: int
    free_bytes: int
    disk_bytes_per_s: float = 0.0

    def why_not(self, plan: TakePlan) -> list[str]:
        """Return every reason why the disk cannot take it; empty if it can."""
        why = []
        spare = self.free_bytes - plan.min_free_gb * 1e9
        if self.total_bytes > spare:
            why.append(
                f"the take needs {self.total_bytes / 1e9:.2f} GB, the disk has "
                f"{max(0.0, spare) / 1e9:.2f} GB above the {plan.min_free_gb:g} GB to be left free"
            )
        rate = sum(self.bytes_per_s.values())
        if self.disk_bytes_per_s and rate * 1.3 > self.disk_bytes_per_s:
            why.append(
                f"the cameras give {rate / 1e6:.0f} MB/s, the disk takes "
                f"{self.disk_bytes_per_s / 1e6:.0f} MB/s"
            )
        if plan.buffer_mb * 1e6 < rate * 2:
            why.append(
                f"a buffer of {plan.buffer_mb:g} MB holds less than two seconds of "
                f"{rate / 1e6:.0f} MB/s: a disk that pauses would end the take"
            )
        return why


def estimate(
    plan: TakePlan, bytes_per_s: Mapping[str, float], folder: Path, disk_bytes_per_s: float = 0.0
) -> DiskEstimate:
    """Return what ``plan`` needs at the measured rates of the cameras (bytes per second)."""
    rate = sum(bytes_per_s.values())
    return DiskEstimate(
        bytes_per_s=dict(bytes_per_s),
        total_bytes=round(rate * plan.duration_s * 1.02) + plan.disk_rules(60).reserve_bytes,
        free_bytes=shutil.disk_usage(make_private_dir(folder)).free,
        disk_bytes_per_s=disk_bytes_per_s,
    )


def measure_disk_rate(folder: Path, megabytes: int = 32) -> float:
    """Return how fast ``folder`` takes data with a sync at the end, bytes per second."""
    path = make_private_dir(folder) / f".speed-{os.getpid()}"
    block = os.urandom(1 << 20)
    start = time.perf_counter()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for _ in range(megabytes):
                os.write(descriptor, block)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    finally:
        path.unlink(missing_ok=True)
    return megabytes * len(block) / (time.perf_counter() - start)
