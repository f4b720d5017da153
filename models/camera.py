"""The privacy camera as a differentiable module: coefficients in, frames out.

Four front ends share one call, ``camera(scene, draw)``: a learned optic, a bank
of measured PSFs, the fixed low-resolution camera of the paper, and no optic at
all. Scenes and frames are ``(batch, 3, height, width)`` in 0 … 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as fn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from camera_rig.errors import ConfigError
from camera_rig.optics import (
    Coefficients,
    Imager,
    Mode,
    Order,
    Orientation,
    PsfModel,
    Pupil,
    Unit,
    choose,
    to_mode,
)

WhyNot = Callable[[Coefficients], Sequence[str]]
"""Answers why a mirror cannot make a shape; an empty answer means it can."""


class OpticsSpec(BaseModel):
    """The camera a face is seen through.

    Args:
        modes: How many Noll terms are learned; 15 is what the mirror makes, up to 300
            for lens design. The first three (piston, tilts) stay 0.
        pupil_mm: Diameter of the pupil.
        focal_mm: Distance from pupil to sensor.
        pixel_um: Width of one pixel of the face picture at the sensor; a face shown
            at half size has twice the pitch.
        wavelengths_nm: Red, green, blue.
        psf_px: Width of the PSF window, odd.
        max_waves_rms: Strongest aberration that the sampling must carry in any one
            mode up to Noll 15, waves RMS at ``reference_nm``.
        reference_nm: Wavelength that ``waves`` in files refer to.
        noise: Standard deviation of the sensor noise, share of full scale.
        light: ``display``: blur the stored values, as published. ``linear``: undo
            the display curve, blur light, apply the curve again.
        padding: What lies beyond the picture: ``edge``, ``zero``, ``reflect``, ``wrap``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modes: int = Field(15, ge=4, le=300)
    pupil_mm: float = Field(4.0, gt=0)
    focal_mm: float = Field(50.0, gt=0)
    pixel_um: float = Field(6.0, gt=0)
    wavelengths_nm: tuple[float, float, float] = (640.0, 550.0, 440.0)
    psf_px: int = Field(159, ge=3)
    max_waves_rms: float = Field(2.0, gt=0)
    reference_nm: float = Field(550.0, gt=0)
    noise: float = Field(0.003, ge=0)
    light: Literal["display", "linear"] = "display"
    padding: Literal["edge", "zero", "reflect", "wrap"] = "edge"

    @property
    def pupil(self) -> Pupil:
        """The optical system."""
        return Pupil(self.pupil_mm, self.focal_mm, self.pixel_um, self.wavelengths_nm)

    @property
    def learned_modes(self) -> tuple[Mode, ...]:
        """The modes that may move: Noll 4 up to ``modes``."""
        return tuple(to_mode(Order.NOLL, j) for j in range(4, self.modes + 1))


class PrivacyCamera(nn.Module, ABC):
    """Base of the front ends: blur by a PSF, add noise, limit to the sensor's range.

    Args:
        spec: The camera.
    """

    def __init__(self, spec: OpticsSpec) -> None:
        super().__init__()
        self.spec = spec

    @abstractmethod
    def psf(self) -> Tensor:
        """Return the PSF ``(..., 3, psf_px, psf_px)``, energy share per pixel."""

    def blur(self, scene: Tensor) -> Tensor:
        """Return the scene as the optic shows it, without noise."""
        light = to_linear(scene) if self.spec.light == "linear" else scene
        shown = Imager(self._psf_for(scene), tuple(scene.shape[-2:]), self.spec.padding)(light)
        return to_display(shown) if self.spec.light == "linear" else shown

    def forward(self, scene: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return y of eq. 3.

        Args:
            scene: x, 0 … 1.
            noise: Standard normal numbers of the scene's shape; None for a camera
                without noise. Given by the caller so that a run can be repeated.
        """
        frame = self.blur(scene)
        if noise is not None and self.spec.noise > 0.0:
            frame = frame + self.spec.noise * noise
        return frame.clamp(0.0, 1.0)

    def whole_psf(self) -> Tensor:
        """Return the PSF as pictures are blurred by it: every colour adds up to 1.

        The window loses a little light; a picture must not darken for it.
        """
        psf = self.psf()
        return psf / psf.sum((-2, -1), keepdim=True)

    def _psf_for(self, scene: Tensor) -> Tensor:
        return self.whole_psf().to(scene.dtype)


class LearnedCamera(PrivacyCamera):
    """An optic whose Zernike coefficients are parameters.

    Held in micrometres RMS of wavefront, one row per shape. With several shapes
    the mirror runs through them within one exposure, so the PSF is their mean.

    Args:
        spec: The camera.
        start: Coefficients to start from, the same for every shape or one for each;
            None is the aberration-free lens.
        shapes: Shapes within one exposure.
        jitter_um: Standard deviation of the random start, micrometres RMS: at
            exactly zero every gradient of an even mode vanishes.
        seed: Seed of the random start.
        why_not: Mirror limits; see :meth:`make_feasible`.
    """

    def __init__(
        self,
        spec: OpticsSpec,
        start: Coefficients | Sequence[Coefficients] | None = None,
        *,
        shapes: int = 1,
        jitter_um: float = 0.0,
        seed: int = 0,
        why_not: WhyNot | None = None,
    ) -> None:
        super().__init__(spec)
        modes = spec.learned_modes
        values = _rows(start, modes, shapes)
        draw = torch.Generator().manual_seed(seed)
        noise = torch.randn(shapes, len(modes), generator=draw, dtype=torch.float64)
        table = torch.as_tensor(values, dtype=torch.float64) + jitter_um * noise
        self.coefficients_um = nn.Parameter(table.float())
        self.why_not = why_not
        self._model = _psf_model(spec, modes)
        self._flip = torch.tensor(
            Orientation.rows_down().matrix(modes).diagonal().copy(), dtype=torch.float32
        )

    def psf(self) -> Tensor:
        """Return the PSF (mean over the shapes), rows downwards, energy share per pixel."""
        flip = self._flip.to(self.coefficients_um)
        return self._model(self.coefficients_um * flip).mean(0)

    @property
    def coefficients(self) -> list[Coefficients]:
        """The shapes now, in waves RMS at the reference wavelength, Noll order."""
        rows = self.coefficients_um.detach().double().cpu().numpy()
        return [_as_coefficients(row, self.spec) for row in rows]

    @torch.no_grad()
    def make_feasible(self) -> list[str]:
        """Draw shapes back towards flat until the mirror can make them.

        What a linear mirror can do is star-shaped around flat, so the largest
        feasible share of each shape is found by halving. Returns what was in
        the way, one sentence per limit met; empty when nothing was.

        Raises:
            ConfigError: Not even a flat shape is feasible, or the aberration is
                beyond what the sampling carries by more than the mirror's part.
        """
        met: list[str] = []
        for row in self.coefficients_um:
            shape = row.double().cpu().numpy()
            reasons = self._reasons(shape)
            if not reasons:
                continue
            met.extend(reasons)
            if self._reasons(shape * 0.0):
                raise ConfigError(
                    f"the mirror cannot even be flat: {self._reasons(shape * 0.0)[0]}",
                    hint="recalibrate the mirror, or design without its limits",
                )
            low, high = 0.0, 1.0
            for _ in range(12):
                middle = 0.5 * (low + high)
                low, high = (low, middle) if self._reasons(shape * middle) else (middle, high)
            row.mul_(low)
        return met

    def _reasons(self, shape_um: np.ndarray) -> list[str]:
        found = self._model.why_not(shape_um)
        if self.why_not is not None:
            found = [*found, *self.why_not(_as_coefficients(shape_um, self.spec))]
        return list(found)


class FixedCamera(PrivacyCamera):
    """PSFs that are not learned: measured ones, or one computed once.

    Args:
        spec: The camera.
        bank: ``(n, 3, k, k)`` or ``(3, k, k)``, energy share per pixel, rows
            downwards, at the pitch of the face picture. Frame i of a batch gets
            PSF i modulo n.
    """

    def __init__(self, spec: OpticsSpec, bank: np.ndarray | Tensor) -> None:
        super().__init__(spec)
        table = torch.as_tensor(bank, dtype=torch.float32)
        if table.ndim == 3:
            table = table[None]
        if table.ndim != 4 or table.shape[1] != 3 or not bool((table >= 0).all()):
            raise ConfigError(
                f"a PSF bank of shape {tuple(table.shape)}",
                hint="give (n, 3, k, k) with no negative value: one PSF per colour",
            )
        self.register_buffer("bank", table)

    @classmethod
    def of(cls, spec: OpticsSpec, shape: Coefficients) -> FixedCamera:
        """Return the camera of a known shape."""
        modes = tuple(dict.fromkeys((*spec.learned_modes, *shape.modes)))
        row = torch.as_tensor(
            shape.oriented(Orientation.rows_down()).to(unit=Unit.UM_RMS).array(modes)
        )
        return cls(spec, _psf_model(spec, modes)(row))

    def psf(self) -> Tensor:
        """Return the whole bank, energy share per pixel."""
        return self.bank

    def _psf_for(self, scene: Tensor) -> Tensor:
        psf = super()._psf_for(scene)
        if len(psf) == 1:
            return psf[0]
        return psf[torch.arange(len(scene), device=scene.device) % len(psf)]


class LowResolutionCamera(PrivacyCamera):
    """The paper's alternative: a sensor of few pixels, shown at full size.

    Args:
        spec: Gives the noise; its optic is not used.
        pixels: Pixels across the sensor.
    """

    def __init__(self, spec: OpticsSpec, pixels: int) -> None:
        super().__init__(spec)
        if pixels < 2:
            raise ConfigError(f"a sensor of {pixels} pixels", hint="16 is what the paper uses")
        self.pixels = pixels

    def psf(self) -> Tensor:
        """Not offered: averaging over cells is not a convolution."""
        raise ConfigError(
            "a low-resolution camera has no PSF", hint="leave out the terms that compare PSFs"
        )

    def blur(self, scene: Tensor) -> Tensor:
        """Return the cell means, enlarged bicubically."""
        cells = fn.adaptive_avg_pool2d(scene, self.pixels)
        size = tuple(scene.shape[-2:])
        return fn.interpolate(cells, size=size, mode="bicubic", align_corners=False).clamp(0, 1)


def fixed_defocus(spec: OpticsSpec, waves_rms: float) -> Tensor:
    """Return H_f of eq. 4, the PSF of so many waves RMS of defocus, ``(3, k, k)``."""
    shape = Coefficients.numbered({4: waves_rms}, Unit.WAVES_RMS, Order.NOLL, spec.reference_nm)
    return FixedCamera.of(spec, shape).bank[0]


def _psf_model(spec: OpticsSpec, modes: tuple[Mode, ...]) -> PsfModel:
    strongest = spec.max_waves_rms * spec.reference_nm / 1000.0
    # Each of the mirror's modes alone at full strength; what a mix throws farther
    # is pulled back by make_feasible.
    reach = np.eye(len(modes))[: min(len(modes), 12)] * strongest
    plan = choose(reach, modes, spec.pupil, spec.psf_px)
    return PsfModel(spec.pupil, modes, spec.psf_px, plan=plan, check=False)


def _rows(
    start: Coefficients | Sequence[Coefficients] | None, modes: tuple[Mode, ...], shapes: int
) -> np.ndarray:
    if start is None:
        return np.zeros((shapes, len(modes)))
    given = [start] * shapes if isinstance(start, Coefficients) else list(start)
    if len(given) != shapes:
        raise ConfigError(
            f"{len(given)} starts for {shapes} shapes", hint="give one, or one for each shape"
        )
    for one in given:
        # Reading only some of a shape would quietly make another camera.
        left_out = [m for m, value in one.values.items() if value and m not in modes]
        if left_out:
            raise ConfigError(
                f"the shape has modes this camera does not: {left_out}",
                hint="raise optics.modes, or leave out piston and tilts",
            )
    return np.stack([one.to(unit=Unit.UM_RMS).array(modes) for one in given])


def _as_coefficients(row_um: np.ndarray, spec: OpticsSpec) -> Coefficients:
    waves = np.asarray(row_um) * 1000.0 / spec.reference_nm
    numbered = dict.fromkeys((1, 2, 3), 0.0)
    numbered.update({j: float(v) for j, v in enumerate(waves, start=4)})
    return Coefficients.numbered(numbered, Unit.WAVES_RMS, Order.NOLL, spec.reference_nm)


def to_linear(stored: Tensor) -> Tensor:
    """Return linear light 0 … 1 of stored sRGB values 0 … 1."""
    x = stored.clamp(0.0, 1.0)
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def to_display(light: Tensor) -> Tensor:
    """Return sRGB values 0 … 1 of linear light 0 … 1."""
    x = light.clamp(0.0, 1.0)
    return torch.where(
        x <= 0.0031308, 12.92 * x, 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    )
