"""Measure PSF stacks: mirror to each offset, picture, one stack per colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.forward import PointSource
from calibration.point_camera import PointCamera, PointPicture
from calibration.stack import PsfStack
from camera_rig.bench import Bench
from camera_rig.contracts import Clock, Mirror, Volts
from camera_rig.optics import Coefficients, Pupil, Unit

__all__ = [
    "DEFOCUS",
    "binned",
    "defocus_um_per_unit",
    "measure",
    "pack",
    "point_of",
    "settle",
    "to_volts",
    "unpack",
    "wall_time",
]

Vector = npt.NDArray[np.float64]

DEFOCUS = (2, 0)
FINE_SAMPLING = 2.8
"""Pixels per wavelength times f-number above which four pixels are added up."""


def defocus_um_per_unit(bench: Bench) -> float:
    """Return the defocus, µm RMS, of all electrodes together per unit of normalised voltage.

    By the maker's stroke: a starting value, the fit of the gain finds the real one. Its
    sign is the one thing that pictures of a point in focus cannot tell (the twin with all
    even modes reversed looks the same), so it is the maker's polarity that sets it.
    """
    return float(bench.mirror.stroke_um / (2.0 * np.sqrt(3.0)))


def to_volts(mirror: Mirror, normalised: npt.ArrayLike) -> Volts:
    """Return voltages (V) of normalised ones, -1 … 1 over each electrode's limits."""
    low, high = mirror.limits.T
    return np.asarray(low + (high - low) * (np.asarray(normalised, float) + 1.0) / 2.0)


def wall_time(clock: Clock) -> str:
    """Return now by the rig's clock, UTC, ISO 8601."""
    return datetime.fromtimestamp(clock.wall_ns() * 1e-9, tz=UTC).isoformat()


def settle(mirror: Mirror) -> None:
    """Bring the mirror to rest: mid-range, with no memory of what it showed before.

    A relax sequence ends at the shape that stood before it, and a strong one would leave
    its mark on the hysteresis again.
    """
    mirror.apply(to_volts(mirror, np.zeros(mirror.actuators)), reason="to rest")
    for _ in mirror.relax():
        pass


def measure(
    camera: PointCamera, commands: Sequence[Volts], size: int, reason: str, pause_s: float = 0.0
) -> dict[str, Any]:
    """Drive the mirror to each command (V) in turn and take a picture at each; return arrays.

    Args:
        camera: What takes the pictures.
        commands: Voltages of each plane, V.
        size: Window, px.
        reason: For the mirror's journal.
        pause_s: Wait between move and picture, s.
    """
    pictures = []
    for command in commands:
        camera.context.rig.mirror.apply(command, reason=reason)
        if pause_s:
            camera.context.rig.clock.sleep(pause_s)
        pictures.append(camera.picture(size))
    return pack(pictures)


def pack(pictures: Sequence[PointPicture]) -> dict[str, Any]:
    """Return pictures as arrays to keep."""
    return {
        "image_e": np.array([p.image_e for p in pictures], dtype=np.float32),
        "floor_e2": np.array([p.floor_e2 for p in pictures], dtype=np.float32),
        "shot": np.array([p.shot for p in pictures], dtype=np.float32),
        "valid": np.array([p.valid for p in pictures]),
        "centre_px": np.array([p.centre_px for p in pictures]),
        "at_ns": np.array([p.at_ns for p in pictures]),
        "exposure_s": np.array([p.exposure_s for p in pictures]),
    }


def unpack(
    data: Mapping[str, Any], diversity_um: Sequence[Mapping[tuple[int, int], float]], pupil: Pupil
) -> PsfStack:
    """Return a stack from kept arrays and the offsets of its planes (µm RMS per mode)."""
    wave = pupil.wavelengths_nm[0]
    valid = np.asarray(data["valid"])
    stack = PsfStack(
        images_e=np.asarray(data["image_e"], dtype=np.float64),
        diversity=tuple(
            Coefficients(dict(um), Unit.UM_RMS).to(unit=Unit.WAVES_RMS, wavelength_nm=wave)
            for um in diversity_um
        ),
        pupil=pupil,
        floor_e2=np.asarray(data["floor_e2"], dtype=np.float64),
        shot=np.asarray(data["shot"], dtype=np.float64),
        valid=None if valid.all() else valid,
    )
    return stack.binned() if binned(pupil) else stack


def binned(pupil: Pupil) -> bool:
    """Return whether pictures are sampled so finely that four pixels may be added up."""
    return pupil.pixels_per_airy(pupil.wavelengths_nm[0]) >= FINE_SAMPLING


def point_of(diameter_px: float, pupil: Pupil) -> PointSource:
    """Return source and pixel for stacks of :func:`unpack`; the diameter in camera px."""
    if not binned(pupil):
        return PointSource(diameter_px)
    return PointSource(diameter_px / 2.0, summed=2)
