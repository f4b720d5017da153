"""Offset and drift of the two cameras' clocks, from moments that both of them see.

By light where the rig has a lamp: it is switched at random moments in short bursts spread
over some minutes (:mod:`calibration.lamp_sync`). By motion where it has none: something is
waved before the rig, and the mirror claps (:mod:`calibration.motion_sync`). Either way the
same moment in both cameras' stamps gives the difference of the clocks; many moments over a
long time give the drift.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calibration import lamp_sync, motion_sync, stacks
from calibration.artifact import HeldOut
from calibration.motion import Delay
from calibration.plots import BLUE, ORANGE
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from camera_rig.config import RigConfig
from camera_rig.recording.clockmodel import ClockModel

__all__ = ["SyncBy", "SyncProcedure", "fit_clock"]

Vector = npt.NDArray[np.float64]

LEAST_MOMENTS = {"light": 20, "motion": 12}
MAX_DRIFT_SIGMA_PPM = 5.0
LIMIT_MS = {"light": 5.0, "motion": 3.0}


class SyncBy(StrEnum):
    """What both cameras look at."""

    AUTO = "auto"
    """The lamp if the rig has one, else motion."""
    LIGHT = "light"
    """The rig's own lamp, switched at random."""
    MOTION = "motion"
    """Something waved before the rig, and the mirror's clap."""


class SyncProcedure(Procedure):
    """Clock offset, drift and jitter of side against privacy.

    Not offered: going on with a run that another process began. Its stamps are from
    other starts of the cameras.

    Args:
        by: What both cameras look at.
        bursts: Number of bursts.
        burst_s: Length of one, s; half of it by motion.
        span_s: Time from the first to the last, s.
    """

    name: ClassVar[str] = "sync"
    title: ClassVar[str] = "Clocks of the two cameras"
    devices: ClassVar[tuple[str, ...]] = ("privacy", "side")
    resumable: ClassVar[bool] = False

    def __init__(
        self,
        by: SyncBy = SyncBy.AUTO,
        bursts: int = 8,
        burst_s: float = 6.0,
        span_s: float = 600.0,
    ) -> None:
        self.by, self.bursts, self.burst_s, self.span_s = by, bursts, burst_s, span_s

    def roles(self, there: Collection[str]) -> tuple[str, ...]:
        """Return the cameras, and the lamp or the mirror."""
        return (*self.devices, "light" if self.way(there) is SyncBy.LIGHT else "mirror")

    def way(self, there: Collection[str]) -> SyncBy:
        """Return light or motion: what :attr:`by` means on a rig with these devices."""
        if self.by is not SyncBy.AUTO:
            return self.by
        return SyncBy.LIGHT if "light" in there else SyncBy.MOTION

    def plan(self, config: RigConfig) -> Plan:
        """Return what a run would do."""
        minutes = self.span_s / 60.0 + 0.5
        if self.way(config.devices) is SyncBy.LIGHT:
            frames = int(self.bursts * self.burst_s * 60)
            return Plan(0, frames, minutes, lamp_sync.LAMP_LIT.instruction)
        flips = 4 * motion_sync.CLAPS
        frames = int(self.bursts * self.burst_s / 2 * 60 + flips * 9)
        scene = f"{motion_sync.STILL.instruction} Later: {motion_sync.MOVING.instruction}"
        note = "without a lamp: clocks are compared by motion and the mirror's clap"
        return Plan(40 + flips, frames, minutes + 1.0, scene, (note,))

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield the bursts, the pause before each but the first; by motion, claps around."""
        motion = self.way(context.rig.devices) is SyncBy.MOTION
        if motion:
            yield Step("clap-0", "mirror clap before", partial(self._clap, context, 0))
        for number in range(self.bursts):
            yield Step(
                f"burst-{number:02d}",
                f"burst {number + 1} by {'motion' if motion else 'light'}",
                partial(self._burst, context, number),
            )
        if motion:
            yield Step("clap-1", "mirror clap after", partial(self._clap, context, 1))

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Fit a line to the difference of stamps of the same moments; check on a quarter."""
        way = self.way(context.rig.devices)
        bursts = {name: part for name, part in data.items() if name.startswith("burst")}
        more: dict[str, float] = {}
        sigma: dict[str, float] = {}
        if way is SyncBy.LIGHT:
            privacy_ns, side_ns = lamp_sync.matched(bursts)
        else:
            privacy_ns, side_ns, delays = motion_sync.matched(bursts)
            more, sigma = _of_motion(delays, [data["clap-0"], data["clap-1"]])
        held = np.arange(len(privacy_ns)) % 4 == 1
        model = fit_clock(privacy_ns[~held], side_ns[~held])
        gap_ms = (side_ns - privacy_ns) * 1e-6
        left_ms = _left_ms(model, privacy_ns, side_ns)
        figures = {
            "offset_ms": model.offset_ns * 1e-6,
            "drift_ppm": model.drift_ppm,
            "jitter_ms": model.jitter_ns * 1e-6,
            "residual_ms": float(np.sqrt(np.mean(left_ms**2))),
            "moments": float(len(privacy_ns)),
            "span_s": float(np.ptp(privacy_ns)) * 1e-9,
            **more,
        }
        return Fitted(
            figures=figures,
            uncertainty={
                "offset_ms": model.offset_uncertainty_ns * 1e-6,
                "drift_ppm": model.drift_uncertainty_ppm,
                **sigma,
            },
            held_out=HeldOut(
                metric="difference of stamps at moments not fitted, ms RMS",
                before=float(np.sqrt(np.mean(gap_ms[held] ** 2))),
                after=float(np.sqrt(np.mean(left_ms[held] ** 2))),
                limit=LIMIT_MS[way],
            ),
            payload={"clock": model.model_dump(), "by": str(way)},
            arrays={"privacy_ns": privacy_ns, "side_ns": side_ns},
            texts={"clock.json": model.model_dump_json() + "\n"},
            pictures=[
                (
                    "Stamps of the same moment",
                    "Above: side minus privacy, and the fitted line. Below: what is left. Moments "
                    "in orange were not fitted: the check is made on them.",
                    partial(_draw, privacy_ns, gap_ms, left_ms, held),
                )
            ],
            problems=tuple(_problems(way, model, len(privacy_ns))),
            notes=_notes(way, model, figures["span_s"]),
        )

    def _burst(self, context: Context, number: int) -> dict[str, Any]:
        motion = self.way(context.rig.devices) is SyncBy.MOTION
        context.operator.provide(motion_sync.MOVING if motion else lamp_sync.LAMP_LIT)
        if number:
            self._pause(context)
        if motion:
            return motion_sync.burst(context, self.burst_s / 2.0)
        return lamp_sync.burst(context, number, self.burst_s)

    def _pause(self, context: Context) -> None:
        left_s = self.span_s / (self.bursts - 1) - self.burst_s
        while left_s > 0:
            # Nothing is under way: a stop need not wait for the next burst.
            context.interrupt.check()
            context.rig.clock.sleep(min(left_s, 1.0))
            left_s -= 1.0

    def _clap(self, context: Context, number: int) -> dict[str, Any]:
        context.operator.provide(motion_sync.STILL)
        if number == 0:
            stacks.settle(context.rig.mirror)
        return motion_sync.clap(context, number)


def fit_clock(privacy_ns: Vector, side_ns: Vector) -> ClockModel:
    """Return the clock model of side against privacy stamps of the same moments (ns)."""
    reference = int(np.median(side_ns))
    gap, time_s = side_ns - privacy_ns, (side_ns - reference) * 1e-9
    weight = np.ones(len(gap))
    for _ in range(12):
        columns = np.stack([np.ones_like(time_s), time_s], axis=1)
        normal = columns.T @ (columns * weight[:, None])
        offset, slope = np.linalg.solve(normal, columns.T @ (weight * gap))
        left = gap - offset - slope * time_s
        spread = 1.4826 * float(np.median(np.abs(left))) + 1.0
        # A switch that was matched wrongly, or a late stamp, must not pull the line.
        weight = 1.0 / (1.0 + (left / (3.0 * spread)) ** 2)
    covariance = np.linalg.inv(normal) * spread**2
    return ClockModel(
        source="calibrated",
        offset_ns=round(offset),
        drift_ppm=float(slope) * 1e-3,
        reference_ns=reference,
        offset_uncertainty_ns=math.ceil(math.sqrt(covariance[0, 0])),
        drift_uncertainty_ppm=float(math.sqrt(covariance[1, 1])) * 1e-3,
        jitter_ns=math.ceil(spread),
    )


def _left_ms(model: ClockModel, privacy_ns: Vector, side_ns: Vector) -> Vector:
    pairs = zip(privacy_ns, side_ns, strict=True)
    return np.array([(model.corrected_ns("side", int(s)) - int(p)) * 1e-6 for p, s in pairs])


def _of_motion(
    delays: list[Delay], claps: list[Mapping[str, Any]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return (figures, their uncertainty) that only this way has."""
    seen_ms = [motion_sync.clap_ms(part) for part in claps]
    clap_ms = np.concatenate(seen_ms)
    readout_ms = np.array([1e3 * d.readout_s for d in delays])
    figures = {
        "explained": float(np.mean([d.explained for d in delays])),
        "rival_misfit": float(min(d.rival for d in delays)),
        "readout_difference_ms": float(np.median(readout_ms)),
        "claps": float(clap_ms.size),
    }
    sigma = {"readout_difference_ms": float(np.std(readout_ms) / np.sqrt(len(delays)))}
    if clap_ms.size:
        # The two rounds lie minutes of drift apart: each has a middle of its own.
        middles = [float(np.median(part)) for part in seen_ms if part.size]
        figures["privacy_behind_rig_ms"] = float(np.mean(middles))
        spread = max(float(np.std(p) / np.sqrt(p.size)) for p in seen_ms if p.size)
        # The glass bends in a millisecond or two, and no camera sees when it began.
        sigma["privacy_behind_rig_ms"] = float(np.hypot(spread, 1.5))
    if all(part.size for part in seen_ms):
        apart_s = 1e-9 * float(claps[1]["privacy_ns"][0] - claps[0]["privacy_ns"][0])
        change_ms = float(np.median(seen_ms[1]) - np.median(seen_ms[0]))
        figures["privacy_against_rig_ppm"] = 1e3 * change_ms / apart_s
        errors = [np.std(part) / np.sqrt(part.size) for part in seen_ms]
        sigma["privacy_against_rig_ppm"] = 1e3 * float(np.hypot(*errors)) / apart_s
    return figures, sigma


def _problems(way: SyncBy, model: ClockModel, moments: int) -> list[str]:
    problems = []
    if moments < LEAST_MOMENTS[way]:
        problems.append(f"only {moments} moments were seen by both cameras")
    if model.drift_uncertainty_ppm > MAX_DRIFT_SIGMA_PPM:
        problems.append(f"the drift is known to {model.drift_uncertainty_ppm:.1f} ppm only")
    return problems


def _notes(way: SyncBy, model: ClockModel, span_s: float) -> tuple[str, ...]:
    hour_ms = 3.6 * model.drift_uncertainty_ppm
    valid = (
        f"holds for the stamps of this start of the cameras; known to "
        f"{model.offset_uncertainty_ns * 1e-6:.2f} ms now, {hour_ms:.1f} ms more per hour away "
        f"from the {span_s / 60:.0f} min measured"
    )
    if way is SyncBy.LIGHT:
        return (valid,)
    return (
        valid,
        "by motion: the rig has no lamp, or motion was asked for; the clap says how far the "
        "privacy camera's stamps are behind the commands of the mirror",
    )


def _draw(
    privacy_ns: Vector, gap_ms: Vector, left_ms: Vector, held: npt.NDArray[np.bool_], figure: Any
) -> None:
    figure.set_size_inches(8.0, 5.0)
    time_s = (privacy_ns - privacy_ns[0]) * 1e-9
    order = np.argsort(time_s)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(time_s[order], (gap_ms - left_ms)[order], "-", color="0.6", label="model")
    for axes, values in ((upper, gap_ms), (lower, left_ms)):
        axes.plot(time_s[~held], values[~held], ".", color=BLUE, label="fitted")
        axes.plot(time_s[held], values[held], ".", color=ORANGE, label="held out")
        axes.grid(color="0.9")
    lower.axhline(0.0, color="0.6", linewidth=0.8)
    upper.set_ylabel("side − privacy, ms")
    lower.set(xlabel="time, s", ylabel="left after the model, ms")
    upper.legend()
