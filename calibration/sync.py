"""Offset and drift of the two cameras' clocks, from a light that both see switched.

The light is switched at random moments in short bursts spread over some minutes. A frame
during which it switches is partly lit; how far tells when it happened, to a fraction of a
millisecond. The same switch in the other camera's stamps gives the difference of the
clocks; many switches over a long time give the drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calibration.artifact import HeldOut
from calibration.operator import SceneRequest
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from camera_rig.contracts import Camera, CameraMode, CameraSettings, Frame
from camera_rig.errors import StateError
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.rig import Rig

__all__ = ["SyncProcedure", "edge_times_ns", "fit_clock"]

Vector = npt.NDArray[np.float64]

LAMP_LIT = SceneRequest(
    "lamp",
    "Hold a white sheet before the rig so that the rig's own lamp lights it, and darken the "
    "room, then go on.",
)
EXPOSURE_S = 1 / 34
"""Nearly the whole frame period, so that no switch falls between two exposures."""
REFERENCE_READOUT_S = 0.014


class SyncProcedure(Procedure):
    """Clock offset, drift and jitter of side against privacy.

    Args:
        bursts: Number of bursts.
        burst_s: Length of one, s.
        span_s: Time from the first to the last, s.
    """

    name: ClassVar[str] = "sync"
    title: ClassVar[str] = "Clocks of the two cameras"
    devices: ClassVar[tuple[str, ...]] = ("privacy", "side", "light")
    scene: ClassVar[SceneRequest | None] = LAMP_LIT

    def __init__(self, bursts: int = 8, burst_s: float = 6.0, span_s: float = 600.0) -> None:
        self.bursts, self.burst_s, self.span_s = bursts, burst_s, span_s

    def plan(self, rig: Rig) -> Plan:
        """Return what a run would do."""
        frames = int(self.bursts * self.burst_s * 60)
        return Plan(0, frames, self.span_s / 60.0 + 0.5, LAMP_LIT.instruction)

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield the bursts; the pause comes before each but the first."""
        for burst in range(self.bursts):
            yield Step(
                f"burst-{burst:02d}", f"burst {burst + 1}", partial(self._burst, context, burst)
            )

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Match switches between the cameras and fit a line to the difference of stamps."""
        privacy_ns, side_ns = _matched(data)
        held = np.arange(len(privacy_ns)) % 4 == 1
        model = fit_clock(privacy_ns[~held], side_ns[~held])
        gap_ms = (side_ns - privacy_ns) * 1e-6
        left_ms = np.array(
            [
                (model.corrected_ns("side", int(s)) - int(p)) * 1e-6
                for p, s in zip(privacy_ns, side_ns, strict=True)
            ]
        )
        figures = {
            "offset_ms": model.offset_ns * 1e-6,
            "drift_ppm": model.drift_ppm,
            "jitter_ms": model.jitter_ns * 1e-6,
            "switches": float(len(privacy_ns)),
            "span_s": float(np.ptp(privacy_ns)) * 1e-9,
        }
        problems = []
        if len(privacy_ns) < 20:
            problems.append(f"only {len(privacy_ns)} switches were seen by both cameras")
        if model.drift_uncertainty_ppm > 5.0:
            problems.append(f"the drift is known to {model.drift_uncertainty_ppm:.1f} ppm only")
        return Fitted(
            figures=figures,
            uncertainty={
                "offset_ms": model.offset_uncertainty_ns * 1e-6,
                "drift_ppm": model.drift_uncertainty_ppm,
            },
            held_out=HeldOut(
                metric="difference of stamps at switches not fitted, ms RMS",
                before=float(np.sqrt(np.mean(gap_ms[held] ** 2))),
                after=float(np.sqrt(np.mean(left_ms[held] ** 2))),
                limit=5.0,
            ),
            payload={"clock": model.model_dump()},
            arrays={"privacy_ns": privacy_ns, "side_ns": side_ns},
            texts={"clock.json": model.model_dump_json() + "\n"},
            pictures=[
                (
                    "Stamps of the same switch",
                    "Side minus privacy, and what is left after the model.",
                    partial(_draw, privacy_ns, gap_ms, left_ms),
                )
            ],
            problems=tuple(problems),
        )

    def _burst(self, context: Context, burst: int) -> dict[str, Any]:
        rig = context.rig
        if burst:
            rig.clock.sleep(max(0.0, self.span_s / (self.bursts - 1) - self.burst_s))
        cameras: dict[str, Camera] = {"privacy": rig.privacy, "side": rig.side}
        # Seeded by the burst, so that a resumed run does what the first would have done.
        rng = np.random.default_rng([burst, 7])
        for camera in cameras.values():
            camera.configure(
                CameraSettings(exposure_s=self._exposure_s(camera), mode=CameraMode.LIVE)
            )
        rows: dict[str, list[tuple[int, float, float]]] = {role: [] for role in cameras}
        try:
            for camera in cameras.values():
                camera.start()
            self._switch_and_read(context, cameras, rows, rng)
        finally:
            for camera in cameras.values():
                camera.stop()
            rig.light.shutter(False)
        kept: dict[str, Any] = {}
        for role, found in rows.items():
            table = np.array(found)
            kept[f"{role}_ns"] = np.array([row[0] for row in found], dtype=np.int64)
            kept[f"{role}_level"], kept[f"{role}_exposure_s"] = table[:, 1], table[:, 2]
        return kept

    def _switch_and_read(
        self,
        context: Context,
        cameras: Mapping[str, Camera],
        rows: dict[str, list[tuple[int, float, float]]],
        rng: np.random.Generator,
    ) -> None:
        rig, lit = context.rig, True
        rig.light.shutter(True)
        level = _lamp_level(context, cameras)
        end_ns = rig.clock.now_ns() + round(self.burst_s * 1e9)
        next_ns = rig.clock.now_ns() + round(0.3e9)
        while rig.clock.now_ns() < end_ns:
            if rig.clock.now_ns() >= next_ns:
                # Not in step with either camera: wait a random part of a period first.
                rig.clock.sleep(float(rng.uniform(0.0, 0.034)))
                lit = not lit
                rig.light.set(level if lit else 0.0)
                next_ns = rig.clock.now_ns() + round(rng.uniform(0.13e9, 0.3e9))
            behind = min(cameras, key=lambda role: rows[role][-1][0] if rows[role] else 0)
            frame = cameras[behind].next_frame(timeout_s=2.0)
            rows[behind].append((frame.captured_ns, _level(frame), frame.exposure_s))

    def _exposure_s(self, camera: Camera) -> float:
        able = camera.capabilities.exposure_s
        return EXPOSURE_S if able is None else float(np.clip(EXPOSURE_S, *able))


def _lamp_level(context: Context, cameras: Mapping[str, Camera]) -> float:
    """Return a lamp level at which neither camera's picture of the sheet is burnt."""
    level = 1.0
    for _ in range(6):
        context.rig.light.set(level)
        brightest = 0.0
        for camera in cameras.values():
            frames = [camera.next_frame(timeout_s=2.0) for _ in range(5)]
            brightest = max(brightest, _level(frames[-1], 99.0))
        if brightest <= 0.8:
            return level
        level *= 0.4
    raise StateError(
        "the sheet is too bright for the cameras even with the lamp almost off",
        hint="darken the room, or move the lamp away",
    )


def edge_times_ns(stamps_ns: Vector, levels: Vector, exposure_s: float) -> Vector:
    """Return when a light switched, in a camera's stamps (ns, signed: minus for off).

    Args:
        stamps_ns: Middle of each exposure, ns.
        levels: Mean linear light of each frame.
        exposure_s: Exposure time, s.
    """
    dark, lit = np.percentile(levels, [5, 95])
    if not lit > 1.3 * dark + 1e-9:
        return np.zeros(0)
    share = (levels - dark) / (lit - dark)
    found: list[float] = []
    for k in range(1, len(share) - 1):
        before, here, after = share[k - 1], share[k], share[k + 1]
        if abs(before - after) < 0.8 or not 0.06 < here < 0.94:
            continue
        passed = here if after > before else 1.0 - here
        # A frame sees the light through a trapezoid: exposure folded with readout.
        late_s = _quantile(passed, exposure_s, REFERENCE_READOUT_S)
        at = float(stamps_ns[k]) - 1e9 * late_s
        signed = at if after > before else -at
        # One switch may fall into two frames: the mean of both is better than either.
        if found and abs(found[-1] - signed) < 0.05e9:
            signed = (found.pop() + signed) / 2.0
        found.append(signed)
    return np.array(found)


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


def _matched(data: Mapping[str, Mapping[str, Any]]) -> tuple[Vector, Vector]:
    """Return stamps (privacy, side) of the switches that both cameras saw."""
    privacy: list[float] = []
    side: list[float] = []
    for name in sorted(data):
        part = data[name]
        edges = {
            role: edge_times_ns(
                part[f"{role}_ns"], part[f"{role}_level"], float(part[f"{role}_exposure_s"][0])
            )
            for role in ("privacy", "side")
        }
        if not all(len(e) for e in edges.values()):
            raise StateError(
                "a camera does not see the light switch",
                hint="point the lamp at the sheet, darken the room, take the caps off",
            )
        for at in edges["privacy"]:
            same = edges["side"][np.sign(edges["side"]) == np.sign(at)]
            if same.size == 0:
                continue
            near = same[np.argmin(np.abs(same - at))]
            # Switches of one kind are at least a quarter of a second apart.
            if abs(near - at) < 0.12e9:
                privacy.append(abs(at))
                side.append(abs(near))
    return np.array(privacy), np.array(side)


def _quantile(share: float, exposure_s: float, readout_s: float) -> float:
    """Return how long before the frame's middle a switch lies that lights ``share`` of it, s."""
    long_s, short_s = max(exposure_s, readout_s), min(exposure_s, readout_s)
    half = (long_s + short_s) / 2.0
    time = np.linspace(-half, half, 401)
    height = np.clip((half - np.abs(time)) / max(short_s, 1e-6), 0.0, 1.0)
    whole = np.concatenate([[0.0], np.cumsum((height[1:] + height[:-1]) / 2.0)])
    return float(np.interp(share, whole / whole[-1], time))


def _level(frame: Frame, percentile: float | None = None) -> float:
    """Return the mean (or a percentile) of the linear light of a live picture, sRGB curve."""
    pixels = frame.pixels[::4, ::4]
    code = pixels.astype(np.float64) / np.iinfo(frame.pixels.dtype).max
    if frame.linear:
        return float(code.mean())
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return float(light.mean() if percentile is None else np.percentile(light, percentile))


def _draw(privacy_ns: Vector, gap_ms: Vector, left_ms: Vector, figure: Any) -> None:
    time_s = (privacy_ns - privacy_ns[0]) * 1e-9
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(time_s, gap_ms, ".")
    upper.set_ylabel("side - privacy, ms")
    lower.plot(time_s, left_ms, ".", color="#d98c1f")
    lower.set(xlabel="time, s", ylabel="after the model, ms")
