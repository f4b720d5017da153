"""The camera as a light meter: black, noise, gain by photon transfer, linearity, flat.

Photon transfer: the variance of the difference of two equal pictures grows with their
mean by one electron per electron, so its slope in raw steps gives electrons per step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calibration import linear
from calibration.artifact import HeldOut
from calibration.operator import SceneRequest
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from calibration.sensor_figures import pictures
from camera_rig.config import RigConfig
from camera_rig.contracts import CameraMode, CameraSettings
from camera_rig.errors import StateError

__all__ = ["DARK", "FLAT", "SensorProcedure"]

Floats = npt.NDArray[np.floating[Any]]

DARK = SceneRequest(
    "dark", "Put the cap on the privacy camera's arm (no light at all), then go on."
)
FLAT = SceneRequest(
    "flat", "Take the cap off and hold an evenly lit white sheet before the rig, then go on."
)
SHARES = (0.02, 0.05, 0.1, 0.18, 0.3, 0.42, 0.55, 0.68, 0.8, 0.9)
HELD_OUT = 0.42
LONGEST_LIVE_S = 1 / 34
"""Longest exposure in live view, s: within a frame."""
LINEAR_ENOUGH = 0.01
"""Largest deviation from a straight line, share of the signal, that PSF work bears."""


class SensorProcedure(Procedure):
    """Black level, read noise, dark current, gain, linearity, saturation, flat, hot pixels, gamma.

    Args:
        role: Camera to measure.
        flats: Pictures averaged into the flat.
    """

    name: ClassVar[str] = "sensor"
    title: ClassVar[str] = "Sensor: noise, gain, linearity"
    devices: ClassVar[tuple[str, ...]] = ("privacy",)
    scene: ClassVar[SceneRequest | None] = None

    def __init__(self, role: str = "privacy", flats: int = 12) -> None:
        self.role, self.flats = role, flats

    def plan(self, config: RigConfig) -> Plan:
        """Return what a run would do."""
        exposures = 4 + 8 + 3 * len(SHARES) + self.flats + 12
        return Plan(
            moves=0,
            exposures=exposures,
            minutes=1.0 + exposures * 0.6 / 60.0,
            scene=f"{DARK.instruction} Later: {FLAT.instruction}",
        )

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield dark pictures, then the exposure ladder, the flat and live view."""
        yield Step("dark", "dark pictures", partial(self._dark, context))
        yield Step("level", "finding the exposure", partial(self._level, context))
        for share in SHARES:
            name = f"flat-{round(100 * share):03d}"
            yield Step(name, f"photon transfer at {share:.0%}", partial(self._pair, context, share))
        yield Step("saturated", "saturation", partial(self._saturated, context))
        yield Step("flat", "flat field", partial(self._flat, context))
        yield Step("gamma", "live-view tone curve", partial(self._gamma, context))

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Fit gain, noise and linearity; predict the noise of a level left out."""
        dark = data["dark"]
        ladder = [data[f"flat-{round(100 * s):03d}"] for s in SHARES]
        mean = np.array([float(step["mean"]) for step in ladder])
        variance = np.array([float(step["variance"]) for step in ladder])
        error = np.array([float(step["variance_sigma"]) for step in ladder])
        exposure_s = np.array([float(step["exposure_s"]) for step in ladder])
        saturation_dn = float(data["saturated"]["level"])
        # A pixel may be full long before the converter is.
        below = mean < 0.9 * min(float(data["saturated"]["top"]), saturation_dn)
        place = SHARES.index(HELD_OUT)
        if not below[: place + 1].all():
            raise StateError(
                f"the {self.role} camera is full at {saturation_dn:.0f} of "
                f"{float(data['saturated']['top']):.0f} steps: too few levels are left to fit",
                hint="see that nothing but the white sheet is in the picture, and that the camera "
                "is set to raw stills at its lowest speed, then run it again",
            )
        kept = below & (np.array(SHARES) != HELD_OUT)
        slope, slope_sigma, floor = _line(mean[kept], variance[kept], error[kept])
        gain = 1.0 / slope
        read_e = float(dark["read_dn"]) * gain
        rate = float(np.sum(mean[kept] * exposure_s[kept]) / np.sum(exposure_s[kept] ** 2))
        departure = mean[kept] / (rate * exposure_s[kept]) - 1.0
        predicted = float(dark["read_dn"]) ** 2 + mean[place] * slope
        nonlinear = float(np.abs(departure).max())
        # A camera taken at its word (steps for electrons) is what one has without this.
        before = abs((float(dark["read_dn"]) ** 2 + mean[place]) / variance[place] - 1.0)
        after = abs(predicted / variance[place] - 1.0)
        hot = np.asarray(dark["hot"])
        flat_e = float(data["flat"]["level_dn"]) * gain
        figures = {
            "gain_e_per_dn": gain,
            "read_noise_e": read_e,
            "dark_e_per_s": float(dark["dark_dn_per_s"]) * gain,
            "black_offset_dn": float(dark["black_dn"]),
            "nonlinearity": nonlinear,
            "saturation_dn": saturation_dn,
            "saturation_e": saturation_dn * gain,
            "hot_pixels": float(hot.sum()),
            "flat_spread": float(data["flat"]["spread"]),
            "flat_noise": float(np.sqrt((flat_e + read_e**2) / self.flats) / flat_e),
            "iso": float(data["level"]["iso"]),
        }
        problems = []
        if nonlinear > LINEAR_ENOUGH:
            problems.append(
                f"the signal departs from a line by {nonlinear:.1%}: not linear enough for PSFs"
            )
        arrays = {
            "flat": np.asarray(data["flat"]["flat"], dtype=np.float32),
            "hot": hot,
            "mean_dn": mean,
            "variance_dn2": variance,
            "exposure_s": exposure_s,
            "tone_light": np.asarray(data["gamma"]["light"]),
            "tone_code": np.asarray(data["gamma"]["code"]),
        }
        return Fitted(
            figures=figures,
            uncertainty={"gain_e_per_dn": gain * slope_sigma / slope},
            held_out=HeldOut(
                metric="error of the predicted noise variance at a level left out, relative",
                before=before,
                after=after,
                limit=max(0.02, 4.0 * float(error[place]) / float(variance[place])),
            ),
            payload={
                "role": self.role,
                "linear_enough": nonlinear <= LINEAR_ENOUGH,
                "floor_dn2": floor,
            },
            arrays=arrays,
            pictures=pictures(arrays, figures, departure, kept, place, LINEAR_ENOUGH),
            problems=tuple(problems),
        )

    def _dark(self, context: Context) -> dict[str, Any]:
        context.operator.provide(DARK)
        camera = _camera(context, self.role)
        able = camera.capabilities
        short_s = able.exposure_s[0] if able.exposure_s else 0.001
        long_s = min(8.0, able.exposure_s[1]) if able.exposure_s else 1.0
        iso = linear.lowest_iso(camera)
        linear.set_still(camera, max(short_s, 1e-3), iso)
        pair = [linear.take(camera) for _ in range(4)]
        valid = _valid(pair[0])
        read = [(a.counts - b.counts)[valid].std() / np.sqrt(2.0) for a, b in (pair[:2], pair[2:])]
        black = float(np.mean([p.counts[valid].mean() for p in pair]))
        linear.set_still(camera, long_s, iso)
        long = [linear.take(camera).counts for _ in range(3)]
        if float(np.median(long[0])) > 0.2 * pair[0].top:
            raise StateError(
                f"the {self.role} camera sees light in the dark picture",
                hint="put the cap on, or switch all lamps off, and run again",
            )
        long_median = np.median(long, axis=0)
        level, spread = np.median(long_median[valid]), _robust_sigma(long_median[valid])
        rate = max(
            float(np.mean(long_median[valid & (long_median < level + 6 * spread)])) - black, 0.0
        )
        hot = valid & (long_median > level + 8.0 * max(spread, 1.0))
        return {
            "read_dn": float(np.mean(read)),
            "black_dn": black,
            "dark_dn_per_s": rate / long_s,
            "hot": hot,
        }

    def _level(self, context: Context) -> dict[str, Any]:
        context.operator.provide(FLAT)
        camera = _camera(context, self.role)
        iso = linear.lowest_iso(camera)
        exposure_s, (low_s, high_s) = 0.01, camera.capabilities.exposure_s or (1e-4, 10.0)
        for _ in range(8):
            linear.set_still(camera, exposure_s, iso)
            picture = linear.take(camera)
            level = float(np.median(picture.counts[_valid(picture)])) / picture.top
            if 0.3 < level < 0.7:
                break
            exposure_s = float(np.clip(exposure_s * 0.5 / max(level, 0.01), low_s, high_s))
        else:
            raise StateError(
                f"the {self.role} camera found no exposure for the white sheet "
                f"({level:.0%} of the range at {exposure_s:g} s)",
                hint="dim the light, or put a grey filter before the lens, and run again"
                if level > 0.5
                else "switch the light on, take the cap off, and run again",
            )
        return {"full_s": exposure_s / level, "iso": picture.iso, "top": picture.top}

    def _pair(self, context: Context, share: float) -> dict[str, Any]:
        context.operator.provide(FLAT)
        camera = self._at(context, share)
        a, b = linear.take(camera), linear.take(camera)
        valid = _middle(a)
        black = context.store.partial(self.name).get("dark")["black_dn"]
        one, two = a.counts[valid], b.counts[valid]
        variance = float(np.var(one - two)) / 2.0
        return {
            "mean": float((one.mean() + two.mean()) / 2.0 - black),
            "variance": variance,
            "variance_sigma": variance * np.sqrt(2.0 / one.size),
            "exposure_s": a.exposure_s,
        }

    def _saturated(self, context: Context) -> dict[str, Any]:
        context.operator.provide(FLAT)
        camera = self._at(context, 2.5)
        picture = linear.take(camera)
        return {
            "level": float(np.percentile(picture.counts[_valid(picture)], 1)),
            "top": picture.top,
        }

    def _flat(self, context: Context) -> dict[str, Any]:
        context.operator.provide(FLAT)
        camera = self._at(context, 0.6)
        mean = linear.mean_picture(camera, self.flats)
        valid = _valid(mean)
        black = context.store.partial(self.name).get("dark")["black_dn"]
        signal = np.where(valid, mean.counts - black, np.nan)
        flat = signal / np.nanmedian(signal)
        return {
            "flat": np.where(np.isfinite(flat), flat, 1.0).astype(np.float32),
            "spread": float(np.nanstd(flat - _smooth(np.where(valid, flat, 1.0)))),
            "level_dn": float(np.nanmedian(signal)),
        }

    def _gamma(self, context: Context) -> dict[str, Any]:
        context.operator.provide(FLAT)
        camera = _camera(context, self.role)
        full_s = float(context.store.partial(self.name).get("level")["full_s"])
        light, code = [], []
        for share in (0.01, 0.03, 0.06, 0.1, 0.17, 0.27, 0.4, 0.55, 0.7, 0.85):
            exposure_s, speed = _live_exposure(camera, share * full_s)
            settings = CameraSettings(
                exposure_s=exposure_s, iso=speed, mode=CameraMode.LIVE, linear=False
            )
            if camera.capabilities.why_not(settings):
                continue
            camera.configure(settings)
            camera.start()
            try:
                frame = camera.next_frame(timeout_s=5.0)
            finally:
                camera.stop()
            height, width = frame.pixels.shape[:2]
            part = frame.pixels[height // 3 : -height // 3, width // 3 : -width // 3]
            # By what the camera did: in live view no exposure is longer than a frame.
            gain = 1.0 if speed is None else speed / min(camera.capabilities.iso)
            light.append(frame.exposure_s * gain / full_s)
            code.append(float(np.mean(part[..., 1] if part.ndim == 3 else part)))
        return {"light": np.array(light), "code": np.array(code)}

    def _at(self, context: Context, share: float) -> Any:
        camera = _camera(context, self.role)
        full_s = float(context.store.partial(self.name).get("level")["full_s"])
        low_s, high_s = camera.capabilities.exposure_s or (0.0, np.inf)
        exposure_s = float(np.clip(share * full_s, low_s, high_s))
        linear.set_still(camera, exposure_s, linear.lowest_iso(camera))
        return camera


def _live_exposure(camera: Any, wanted_s: float) -> tuple[float, int | None]:
    """Return exposure (s) and speed that give as much as ``wanted_s`` at the lowest speed."""
    offered = sorted(camera.capabilities.iso)
    if not offered:
        return wanted_s, None
    fast = [iso for iso in offered if wanted_s * offered[0] / iso <= LONGEST_LIVE_S]
    speed = fast[0] if fast else offered[-1]
    return wanted_s * offered[0] / speed, speed


def _camera(context: Context, role: str) -> Any:
    return context.rig.privacy if role == "privacy" else context.rig.side


def _valid(picture: linear.LinearPicture) -> npt.NDArray[np.bool_]:
    if picture.valid is not None:
        return picture.valid
    return np.ones(picture.counts.shape, dtype=np.bool_)


def _middle(picture: linear.LinearPicture) -> npt.NDArray[np.bool_]:
    valid = _valid(picture).copy()
    rows, columns = valid.shape
    valid[: rows // 5] = valid[-(rows // 5) :] = False
    valid[:, : columns // 5] = valid[:, -(columns // 5) :] = False
    return valid


def _line(x: Floats, y: Floats, sigma: Floats) -> tuple[float, float, float]:
    """Return (slope, its standard deviation, intercept) of a weighted line."""
    root = 1.0 / sigma
    columns = np.stack([x, np.ones_like(x)], axis=1) * root[:, None]
    normal = columns.T @ columns
    slope, intercept = np.linalg.solve(normal, columns.T @ (y * root))
    return float(slope), float(np.sqrt(np.linalg.inv(normal)[0, 0])), float(intercept)


def _robust_sigma(values: Floats) -> float:
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2.0


def _smooth(values: Floats) -> Floats:
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(values, 15, mode="nearest"))
