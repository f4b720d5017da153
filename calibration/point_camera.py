"""Pictures of a point source: exposure, dark, brackets, window. Linear stills only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration import linear
from calibration.operator import SceneRequest
from calibration.procedure import Context
from calibration.spot import bin_pixels
from camera_rig.errors import StateError
from camera_rig.optics import Pupil

__all__ = ["POINT", "PointCamera", "PointPicture", "pupil_of"]

Floats = npt.NDArray[np.floating[Any]]

POINT = SceneRequest(
    "point",
    "Put the pinhole on the stage before the lamp, in the middle of the picture, and darken "
    "the room, then go on.",
    settings=(("lamp", 30000.0),),
)
BRIGHTEST, DIMMEST, AIM = 0.85, 0.3, 0.65
BRACKET = 6.0
"""How much longer the second exposure of a bracket is."""


@dataclass(frozen=True, eq=False)
class PointPicture:
    """A window around the spot, dark-subtracted, rows growing with y (upward).

    Args:
        image_e: ``(size, size)`` electrons of the shorter exposure.
        floor_e2: Variance beside shot noise, electrons squared.
        shot: Shot-noise factor per pixel.
        valid: False where nothing could be measured.
        centre_px: Where pixel ``size // 2`` lies in the frame: (column, row from the top).
        exposure_s: Shorter exposure, s.
        at_ns: Rig clock at the middle of the last exposure, ns.
    """

    image_e: Floats
    floor_e2: Floats
    shot: Floats
    valid: npt.NDArray[np.bool_]
    centre_px: tuple[int, int]
    exposure_s: float
    at_ns: int


class PointCamera:
    """The privacy camera looking at a point source.

    Args:
        context: The run; a sensor calibration must be in use.
        channel: Colour, 0 red, 1 green, 2 blue.
        frames: Pictures averaged.
        bracket: Take a longer exposure too, for the faint parts.
    """

    def __init__(
        self, context: Context, channel: int = linear.GREEN, frames: int = 2, bracket: bool = False
    ) -> None:
        self.context, self.channel = context, channel
        self.frames, self.bracket = frames, bracket
        self.camera = context.rig.privacy
        sensor = context.input("sensor")
        self._gain = sensor.figures["gain_e_per_dn"]
        self._read_e = sensor.figures["read_noise_e"]
        self._saturation_dn = sensor.figures["saturation_dn"]
        self._iso = int(sensor.figures["iso"]) or None
        self._flat_noise = sensor.figures.get("flat_noise", 0.0)
        arrays = context.store.arrays(sensor)
        self._flat, self._hot = arrays["flat"], arrays["hot"]
        self._darks: dict[float, Floats] = {}
        self._exposure_s = 0.01

    def light_on(self) -> None:
        """Open the shutter at full level, where the rig has a lamp."""
        if self.context.rig.has("light"):
            self.context.rig.light.set(1.0)
            self.context.rig.light.shutter(True)

    def light_off(self) -> None:
        """Shut the shutter."""
        if self.context.rig.has("light"):
            self.context.rig.light.shutter(False)

    def window_for(self) -> int:
        """Return a window, px, that holds the spot as it is now with room around it."""
        counts, noise = self._exposed()
        coarse = bin_pixels(_cropped(counts, 8), 8)
        # Half a per cent of the brightest square: diffraction's tail goes on for ever.
        rows, columns = np.nonzero(coarse > max(6.0 * noise * 8.0, 0.005 * float(coarse.max())))
        if rows.size == 0:
            raise _no_light(self._exposure_s)
        span = 8 * (1 + max(np.ptp(rows), np.ptp(columns)))
        largest = (min(counts.shape) - 32) // 32 * 32
        return int(min(max(96, 32 * np.ceil((1.25 * span + 24) / 32)), largest))

    def picture(self, size: int) -> PointPicture:
        """Take a picture with a window of ``size`` px around the spot.

        Raises:
            StateError: No light, too much light, or a spot beyond the picture's edge.
        """
        from scipy.ndimage import uniform_filter

        counts, noise = self._exposed()
        centre = _centre(counts, noise, size)
        exposure_s = self._exposure_s
        # The picture that met the exposure counts too: a mirror that creeps does not wait.
        short = counts if self.frames == 1 else self._mean(exposure_s, self.frames)
        image, floor, shot, valid = self._cut(short, exposure_s, centre, size, self.frames)
        valid &= self._below(short, centre, size)
        if self.bracket:
            long_s = self._settable(BRACKET * exposure_s)
            factor = long_s / exposure_s
            long = self._mean(long_s, self.frames)
            more, _, _, good = self._cut(long, long_s, centre, size, self.frames)
            good &= self._below(long, centre, size)
            # Both count photons of one source: add them where the long one is not burnt.
            total = np.where(good, 1.0 + factor, 1.0)
            image = (image + np.where(good, more, 0.0)) / total
            floor = floor * np.where(good, 2.0, 1.0) / total**2
            shot = shot / total
        # The flat field has noise of its own, as much larger as the light.
        floor = floor + (self._flat_noise * uniform_filter(np.maximum(image, 0.0), 3)) ** 2
        return PointPicture(
            image_e=image[::-1].copy(),
            floor_e2=floor[::-1].copy(),
            shot=shot[::-1].copy(),
            valid=valid[::-1].copy(),
            centre_px=(centre[0], centre[1] - 1),
            exposure_s=exposure_s,
            at_ns=self.context.rig.clock.now_ns(),
        )

    def _exposed(self) -> tuple[Floats, float]:
        """Find the exposure; return (counts above dark, their noise in raw steps)."""
        level = 0.0
        for _ in range(9):
            counts = self._mean(self._exposure_s, 1)
            noise = float(np.hypot(self._read_e / self._gain, 0.5))
            level = float(self._peak_raw[~self._hot].max()) / self._saturation_dn
            if DIMMEST <= level <= BRIGHTEST:
                return counts, noise
            wanted = self._exposure_s * (0.2 if level > 0.97 else AIM / max(level, 0.01))
            exposure_s = self._settable(wanted)
            if exposure_s == self._exposure_s:
                break
            self._exposure_s = exposure_s
        if level > BRIGHTEST:
            raise StateError(
                f"the point source saturates the camera even at {self._exposure_s:g} s",
                hint="lower the lamp, use a smaller pinhole or a grey filter",
            )
        if level * self._saturation_dn < 12.0 * noise:
            raise _no_light(self._exposure_s)
        return counts, noise

    def _settable(self, exposure_s: float) -> float:
        # Ten values a decade: near enough, and the dark pictures of one serve again.
        rounded = 10.0 ** (round(10.0 * float(np.log10(exposure_s))) / 10.0)
        able = self.camera.capabilities.exposure_s
        return rounded if able is None else float(np.clip(rounded, *able))

    def _mean(self, exposure_s: float, count: int) -> Floats:
        """Return counts above dark, averaged, flat-fielded."""
        settings = linear.set_still(self.camera, exposure_s, self._iso)
        true_s = settings.exposure_s or exposure_s
        if true_s not in self._darks:
            self.light_off()
            self._darks[true_s] = linear.mean_picture(self.camera, 4, self.channel).counts
            self.light_on()
        mean = linear.mean_picture(self.camera, count, self.channel)
        self._colour = mean.valid
        self._peak_raw = mean.counts
        result: Floats = np.where(self._hot, 0.0, (mean.counts - self._darks[true_s]) / self._flat)
        if mean.valid is not None:
            result = np.where(mean.valid, result, 0.0)
        return result

    def _cut(
        self, counts: Floats, exposure_s: float, centre: tuple[int, int], size: int, frames: int
    ) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
        part = _window(centre, size)
        image = counts[part].astype(np.float64) * self._gain
        rounding = self._gain**2 / 12.0
        # The mean of four darks was taken off: a quarter of one picture's noise.
        variance = (self._read_e**2 + rounding) * (1.0 / frames + 0.25)
        floor = np.full(image.shape, variance)
        shot = np.full(image.shape, 1.0 / frames) / self._flat[part]
        valid = ~self._hot[part]
        if self._colour is not None:
            valid = valid & self._colour[part]
        return image, floor, shot, valid

    def _below(self, counts: Floats, centre: tuple[int, int], size: int) -> npt.NDArray[np.bool_]:
        part = _window(centre, size)
        return np.asarray(self._peak_raw[part] < 0.93 * self._saturation_dn)


def _no_light(exposure_s: float) -> StateError:
    return StateError(
        f"no point of light was found at {exposure_s:g} s",
        hint="check that the lamp is on, the cap is off, and the pinhole stands in the picture",
    )


def pupil_of(context: Context, channel: int = linear.GREEN) -> Pupil:
    """Return the privacy arm for one colour, as the configuration states it."""
    bench = context.rig.config.bench
    width = context.rig.privacy.settings.size
    if width is None:
        width = context.rig.privacy.snap().size
    return Pupil(
        diameter_mm=bench.privacy.pupil_diameter_mm,
        focal_length_mm=bench.privacy.image_distance_mm(bench.object_distance_mm),
        pixel_um=bench.privacy.pixel_um(width[0]),
        wavelengths_nm=(bench.wavelengths_nm[channel],),
    )


def _window(centre: tuple[int, int], size: int) -> tuple[slice, slice]:
    column, row = centre[0] - size // 2, centre[1] - size // 2
    return slice(row, row + size), slice(column, column + size)


def _centre(counts: Floats, noise: float, size: int) -> tuple[int, int]:
    coarse = bin_pixels(_cropped(counts, 8), 8)
    # The middle of what is lit, not its centre of weight: coma has one long arm.
    rows, columns = np.nonzero(coarse > max(6.0 * noise * 8.0, 0.005 * float(coarse.max())))
    if rows.size == 0:
        rows, columns = np.array(np.unravel_index(int(coarse.argmax()), coarse.shape))[:, None]
    row = 8.0 * (rows.min() + rows.max()) / 2.0 + 3.5
    column = 8.0 * (columns.min() + columns.max()) / 2.0 + 3.5
    height, width = counts.shape
    half = size // 2
    place = (
        int(np.clip(round(column), half, width - half)),
        int(np.clip(round(row), half, height - half)),
    )
    if max(abs(place[0] - column), abs(place[1] - row)) > size / 6:
        raise StateError(
            f"the spot lies at ({column:.0f}, {row:.0f}) px, too near the edge for a window of "
            f"{size} px",
            hint="move the pinhole towards the middle of the picture",
        )
    return place


def _cropped(counts: Floats, step: int) -> Floats:
    height, width = counts.shape
    return counts[: height // step * step, : width // step * step]
