"""The cameras that are attacked side by side: a bundle's own, and plain ways to blur.

A blur is only compared with another of the same strength, so defocus and Gaussian
blur are set to disturb sharp faces as much as the bundle's camera does: the frame
itself has the same PSNR. Or they are set to leave as much of the use (``equal``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from camera_rig.optics import Coefficients, Unit
from models.camera import (
    FixedCamera,
    LearnedCamera,
    LowResolutionCamera,
    OpticsSpec,
    PrivacyCamera,
    fixed_defocus,
)
from models.evaluation.attacks.wiener import psnr_db

__all__ = [
    "CONTROL",
    "LOW_RESOLUTION_PX",
    "OWN",
    "Victim",
    "at_size",
    "camera_of",
    "gaussian_psf",
    "line_up",
    "measured_psf",
    "with_error",
]

OWN = "learned optics"
"""Name of the bundle's own camera."""

CONTROL = "no optics"
"""Name of the camera that leaves faces as they are."""

LOW_RESOLUTION_PX = 16
"""The paper's alternative: a sensor of 16 by 16 pixels."""

_MATCH_STEPS = 9


@dataclass(frozen=True)
class Dial:
    """The strength of a plain blur.

    Args:
        at: Where it stands.
        most: The strongest that the window carries.
        turned: Makes the same camera of another strength.
    """

    at: float
    most: float
    turned: Callable[[float], Victim]


@dataclass(frozen=True, eq=False)
class Victim:
    """One camera under attack.

    Args:
        name: Name for tables.
        detail: Its strength, in words.
        camera: Scenes in, frames out.
        psf: What an attacker measures with a point of light, ``(3, k, k)``, energy
            share per pixel.
        dial: How to make it stronger or weaker; None where that is not ours to choose.
    """

    name: str
    detail: str
    camera: PrivacyCamera
    psf: Tensor
    dial: Dial | None = None

    @property
    def noise(self) -> float:
        """Standard deviation of noise and of rounding to 8 bits, share of full scale."""
        return float(np.hypot(self.camera.spec.noise, 1.0 / 255.0 / np.sqrt(12.0)))


def at_size(spec: OpticsSpec, native_px: int, size_px: int) -> OpticsSpec:
    """Return the same camera for faces shown at another size.

    Args:
        spec: The camera for pictures of ``native_px``.
        native_px: Height and width it was made for.
        size_px: Height and width wanted.
    """
    scale = native_px / size_px
    window = max(3, 2 * int(spec.psf_px / scale / 2.0) + 1)
    return spec.model_copy(
        update={"pixel_um": spec.pixel_um * scale, "psf_px": min(window, 2 * size_px - 1)}
    )


def camera_of(shapes: tuple[Coefficients, ...], spec: OpticsSpec) -> PrivacyCamera:
    """Return the camera that runs through these shapes within one exposure."""
    camera = LearnedCamera(spec, shapes=len(shapes))
    modes = spec.learned_modes
    rows = np.stack([shape.to(unit=Unit.UM_RMS).array(modes) for shape in shapes])
    camera.load_state_dict({"coefficients_um": torch.as_tensor(rows, dtype=torch.float32)})
    return camera.requires_grad_(False)


def line_up(own: PrivacyCamera, faces: Tensor) -> tuple[Victim, ...]:
    """Return the cameras to compare: the bundle's own first.

    Args:
        own: The bundle's camera.
        faces: Sharp faces to set the strengths on, ``(n, 3, h, w)``, 0 … 1.
    """
    spec = own.spec
    wanted = _frame_db(own, faces)
    low = LowResolutionCamera(spec, LOW_RESOLUTION_PX)
    sharp = torch.zeros(3, 3, 3)
    sharp[:, 1, 1] = 1.0
    return (
        Victim(OWN, f"{wanted:.1f} dB", own, own.whole_psf().reshape(-1, 3, *_window(own)).mean(0)),
        Victim(
            f"{LOW_RESOLUTION_PX} x {LOW_RESOLUTION_PX}",
            f"{_frame_db(low, faces):.1f} dB",
            low,
            measured_psf(low, int(faces.shape[-1])),
        ),
        _blur(spec, faces, wanted, "defocus", "{:.2f} waves RMS", 0.95 * spec.max_waves_rms),
        _blur(spec, faces, wanted, "Gaussian blur", "sigma {:.2f} px", spec.psf_px / 2.0),
        Victim(CONTROL, "control: noise and rounding only", FixedCamera(spec, sharp), sharp),
    )


def _blur(
    spec: OpticsSpec, faces: Tensor, wanted_db: float, name: str, words: str, most: float
) -> Victim:
    """Return a plain blur whose frames have the PSNR wanted, with the dial to turn it."""

    def camera(strength: float) -> PrivacyCamera:
        if name == "defocus":
            return FixedCamera(spec, fixed_defocus(spec, strength))
        return FixedCamera(spec, gaussian_psf(strength, spec.psf_px))

    def turned(strength: float) -> Victim:
        made = camera(strength)
        detail = f"{words.format(strength)}, {_frame_db(made, faces):.1f} dB"
        return Victim(name, detail, made, made.whole_psf()[0], Dial(strength, most, turned))

    return turned(_matched(camera, faces, wanted_db, most))


def gaussian_psf(sigma_px: float, window_px: int) -> Tensor:
    """Return a Gaussian PSF ``(3, k, k)``, energy share per pixel."""
    place = torch.arange(window_px, dtype=torch.float64) - window_px // 2
    line = torch.exp(-0.5 * (place / max(sigma_px, 1e-3)) ** 2)
    flat = (line[:, None] * line)[None].expand(3, -1, -1)
    return _whole(flat).float()


def measured_psf(camera: PrivacyCamera, size_px: int) -> Tensor:
    """Return the mean picture of a point of light, ``(3, k, k)``, k of 6 sensor cells.

    For a camera that is no convolution, as one of few pixels: the point is put at
    every place within a cell and its pictures are laid over each other.
    """
    cell = max(size_px // LOW_RESOLUTION_PX, 1)
    half = 3 * cell
    total = torch.zeros(3, 2 * half + 1, 2 * half + 1)
    start = (size_px // 2 // cell) * cell
    for row in range(start, start + cell):
        for column in range(start, start + cell):
            # A dark point on grey: the enlarging clips what is below black.
            scene = torch.full((1, 3, size_px, size_px), 0.5)
            scene[..., row, column] = 1.0
            rows, columns = (
                slice(row - half, row + half + 1),
                slice(column - half, column + half + 1),
            )
            total += (camera.blur(scene) - 0.5)[0, :, rows, columns]
    return _whole(total)


def with_error(
    shape: Coefficients, error: float, spec: OpticsSpec, *, seed: int = 0
) -> Coefficients:
    """Return coefficients as a thief has them: with a random error.

    Args:
        shape: The true ones.
        error: Length of the error over length of the coefficients (dimensionless).
        spec: Whose learned modes are wrong.
        seed: Decides the direction of the error.
    """
    modes = spec.learned_modes
    known = shape.to(unit=Unit.UM_RMS).array(modes)
    away = np.random.default_rng([seed, 5]).normal(size=len(modes))
    away *= error * np.linalg.norm(known) / np.linalg.norm(away)
    values = {mode: float(v) for mode, v in zip(modes, known + away, strict=True)}
    return Coefficients(values, Unit.UM_RMS, spec.reference_nm)


def _matched(
    make: Callable[[float], PrivacyCamera], faces: Tensor, wanted_db: float, most: float
) -> float:
    """Return the strength at which the frame has the PSNR wanted, by halving.

    Where the strongest blur that the window carries is not enough, it is taken; the
    PSNR reached stands beside each camera.
    """
    low, high = 0.0, most
    for _ in range(_MATCH_STEPS):
        middle = 0.5 * (low + high)
        if _frame_db(make(middle), faces) > wanted_db:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@torch.no_grad()
def _frame_db(camera: PrivacyCamera, faces: Tensor) -> float:
    return float(psnr_db((camera.blur(faces) - faces).square().mean((1, 2, 3))).mean())


def _whole(psf: Tensor) -> Tensor:
    return psf / psf.sum((-2, -1), keepdim=True)


def _window(camera: PrivacyCamera) -> tuple[int, int]:
    shape = camera.psf().shape
    return int(shape[-2]), int(shape[-1])
