"""Ray density: the PSF of aberrations too strong for any diffraction grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from camera_rig.optics import chebyshev, zernike
from camera_rig.optics._xp import Array, Backend, backend_of
from camera_rig.optics.pupil import Pupil, aperture
from camera_rig.optics.zernike import Mode


class GeometricModel:
    """PSF as the density of rays through the pupil, without diffraction.

    Right when the blur is many wavelengths times f-number wide: fringes are
    missing, the envelope and the energy are exact. The same for every colour,
    since a mirror bends all colours alike. Differentiable in torch.

    Args:
        pupil: The optical system.
        modes: ``(n, m)`` of the coefficients, in their order.
        size: Width of the window in pixels.
        rays: Rays across the pupil; about three rays per pixel of blur keep the
            grain of the ray grid out of the picture.
    """

    def __init__(
        self, pupil: Pupil, modes: tuple[Mode, ...], size: int, *, rays: int = 768
    ) -> None:
        self.pupil, self.modes, self.size, self.rays = pupil, tuple(modes), int(size), int(rays)
        degree = zernike.max_radial_order(self.modes)
        line = zernike.axis(self.rays)
        self._values = chebyshev.matrix(line, degree)
        self._slopes = chebyshev.slope_matrix(line, degree)
        self._line = line
        share = aperture(self.rays, float(self.rays), pupil.obscuration)
        self._weight = share / share.sum()

    def __call__(self, coefficients_um: Array) -> Array:
        """Return ``(..., colours, size, size)``, energy share per pixel.

        Args:
            coefficients_um: ``(..., len(modes))``, micrometres RMS of wavefront.
        """
        back = backend_of(coefficients_um)
        lead = coefficients_um.shape[:-1]
        flat = coefficients_um.reshape(-1, len(self.modes))
        planes = [self._one(back.cast(c, double=True), back) for c in flat]
        colours = len(self.pupil.wavelengths_nm)
        image = back.xp.stack(planes).reshape((*lead, 1, self.size, self.size))
        shape = (*lead, colours, self.size, self.size)
        return back.xp.broadcast_to(back.cast(image), shape)

    def _one(self, c: Array, back: Backend) -> Array:
        parts = chebyshev.tensor(self.modes)
        degree = parts.shape[-1]
        middle = (c @ back.real(parts.reshape(len(parts), -1), double=True)).reshape(degree, degree)
        values = back.real(self._values, double=True)
        slopes = back.real(self._slopes, double=True)
        line = back.real(2.0 * self.pupil.defocus_um * self._line, double=True)
        gain, centre = self.pupil.pixels_per_slope_um, self.size // 2
        x = ((values @ middle) @ slopes.T + line[None, :]) * gain + centre
        y = ((slopes @ middle) @ values.T + line[:, None]) * gain + centre
        return self._splat(x.reshape(-1), y.reshape(-1), back)

    def _splat(self, x: Array, y: Array, back: Backend) -> Array:
        """Share each ray between its four nearest pixels: smooth and differentiable."""
        xp = back.xp
        weight = back.real(self._weight.ravel(), double=True)
        left, low = xp.floor(x), xp.floor(y)
        right_share, high_share = x - left, y - low
        image: Any = 0.0
        for step_x, share_x in ((0, 1.0 - right_share), (1, right_share)):
            for step_y, share_y in ((0, 1.0 - high_share), (1, high_share)):
                column, row = left + step_x, low + step_y
                inside = (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size)
                place = xp.where(inside, row * self.size + column, 0.0 * column)
                share = xp.where(inside, weight * share_x * share_y, 0.0 * weight)
                image = image + self._add_up(place, share, back)
        return image

    def _add_up(self, place: Array, share: Array, back: Backend) -> Array:
        count = self.size * self.size
        if back.torch:
            empty = back.xp.zeros(count, dtype=share.dtype, device=share.device)
            return empty.index_add(0, place.detach().long(), share)
        return np.bincount(place.astype(np.intp), weights=share, minlength=count)
