"""The peers of the optics benchmark: one function per package and task.

Each maker returns a callable that does the timed work and nothing else, or None
where the package is not installed or does not offer the task. Set-up that a
user would do once (grids, kernels, plans) is outside the timed call.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Work = Callable[[], Any]


def load(name: str) -> Any:
    """Return a module, or None when it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        return None


def zernike_stacks(rho: np.ndarray, theta: np.ndarray, noll: int) -> dict[str, Work | None]:
    """Fifteen (or more) orthonormal modes on a square grid."""
    samples = rho.shape[0]
    makers: dict[str, Work | None] = {}
    prysm = load("prysm.polynomials")
    if prysm:
        single = rho.astype(np.float32), theta.astype(np.float32)
        index = [prysm.noll_to_nm(j) for j in range(1, noll + 1)]
        sequence = getattr(prysm, "zernike_nm_seq", None) or prysm.zernike_nm_sequence
        makers["prysm"] = lambda: np.array(list(sequence(index, *single, norm=True)))
    else:
        makers["prysm"] = None
    hcipy = load("hcipy")
    if hcipy:
        grid = hcipy.make_pupil_grid(samples, 2)
        makers["hcipy"] = lambda: hcipy.make_zernike_basis(noll, 2, grid, 1, radial_cutoff=False)
    else:
        makers["hcipy"] = None
    poppy = load("poppy.zernike")
    makers["poppy"] = (
        (lambda: poppy.zernike_basis(noll, rho=rho, theta=theta, outside=0.0)) if poppy else None
    )
    aotools = load("aotools")
    makers["aotools"] = (lambda: aotools.zernikeArray(noll, samples)) if aotools else None
    makers |= _slmsuite_stacks(rho, theta, noll)
    solve = load("solvephase")
    if solve:
        pupil = solve.Pupil.circular(samples)
        makers["solvephase"] = lambda: solve.Basis.zernike(pupil, noll, start=1)
    else:
        makers["solvephase"] = None
    return makers


def _slmsuite_stacks(rho: np.ndarray, theta: np.ndarray, count: int) -> dict[str, Work | None]:
    """Return slmsuite's sums of one mode each, with the basis it keeps and without.

    Its modes follow the OSA/ANSI order and have a peak of one: the same work. What
    it keeps is the whole stack, so the first only copies it.
    """
    names = ("slmsuite float32, stack kept", "slmsuite float32")
    phase = load("slmsuite.holography.toolbox.phase")
    if not phase:
        return dict.fromkeys(names)
    grid = [np.float32(rho * np.cos(theta)), np.float32(rho * np.sin(theta))]
    each = np.eye(count, dtype=np.float32)

    def kept() -> Any:
        return phase.zernike_sum(grid, range(count), each, aperture=(1, 1), use_mask=False)

    def anew() -> Any:
        phase.clear_zernike_basis_cache()
        return kept()

    return dict(zip(names, (kept, anew), strict=True))


def psf_makers(phase_rad: np.ndarray, clear: np.ndarray, size: int) -> dict[str, Work | None]:
    """From a coefficient-made phase on the pupil to the PSF, Q = 2, one wavelength."""
    samples = phase_rad.shape[0]
    makers: dict[str, Work | None] = dict.fromkeys(("prysm", "hcipy", "aotools"))
    field = load("prysm.propagation")
    if field:
        wave = (clear * np.exp(1j * phase_rad)).astype(np.complex64)
        amplitude, radians = clear.astype(np.float32), phase_rad.astype(np.float32)

        def by_prysm() -> Any:
            np.multiply(amplitude, np.exp(1j * radians), out=wave)
            return np.abs(field.focus(wave, Q=2)) ** 2

        makers["prysm (phase given)"] = by_prysm
        del makers["prysm"]
    hcipy = load("hcipy")
    if hcipy:
        grid = hcipy.make_pupil_grid(samples, 1.0)
        focal = hcipy.make_focal_grid(2, samples / 2)
        propagate = hcipy.FraunhoferPropagator(grid, focal)
        flat, opening = phase_rad.ravel(), clear.ravel()

        def by_hcipy() -> Any:
            values = hcipy.Field(opening * np.exp(1j * flat), grid)
            return propagate(hcipy.Wavefront(values)).power

        makers["hcipy (phase given)"] = by_hcipy
        del makers["hcipy"]
    aotools = load("aotools")
    if aotools:
        wave128 = clear * np.exp(1j * phase_rad)
        padded = np.zeros((size, size), np.complex128)

        def by_aotools() -> Any:
            padded[:samples, :samples] = wave128
            out = aotools.opticalpropagation.lensAgainst(padded, 550e-9, 1e-5, 0.05)
            return np.abs(out) ** 2

        makers["aotools lensAgainst (field given)"] = by_aotools
        del makers["aotools"]
    return makers


def poppy_psf(size: int) -> Work | None:
    """Return poppy's own optical system, as its documentation shows it."""
    poppy, units = load("poppy"), load("astropy.units")
    if not poppy or not units:
        return None
    system = poppy.OpticalSystem(npix=size // 2, oversample=1)
    system.add_pupil(poppy.CircularAperture(radius=1.0))
    system.add_pupil(poppy.ZernikeWFE(radius=1.0, coefficients=[0.0] * 3 + [5e-8] * 12))
    scale = 550e-9 / 2.0 / 2.0 * 206265
    system.add_detector(pixelscale=scale, fov_pixels=size)
    return lambda: system.calc_psf(550e-9)


def solvephase_psf(coefficients_um: np.ndarray, size: int, single: bool) -> Work | None:
    """Return solvephase's focal-plane model with a kept basis of 15 modes."""
    solve = load("solvephase")
    if not solve:
        return None
    pupil = solve.Pupil.circular(size // 2)
    model = solve.FocalPlaneModel(
        pupil, 550e-9, size, sampling=2.0, precision="single" if single else "double"
    )
    stack = solve.Basis.zernike(pupil, 15, start=1).mode_maps()
    kind = np.float32 if single else np.float64
    flat = np.ascontiguousarray(stack.reshape(15, -1), dtype=kind)
    radians = (coefficients_um * (2 * np.pi / 0.55)).astype(kind)
    return lambda: model.forward((radians @ flat).reshape(size // 2, size // 2))


def torchoptics_step(basis: np.ndarray, scenes: Any, targets: Any, pad: int | None) -> Work | None:
    """Return one gradient step: phases, torchoptics' Fresnel step, the same tail as ours."""
    optics, torch = load("torchoptics"), load("torch")
    if not optics or not torch:
        return None
    size = basis.shape[-1]
    stack = torch.tensor(basis, dtype=torch.float32).reshape(15, -1)
    c = torch.zeros(15, requires_grad=True)
    spectra = torch.fft.rfft2(scenes)
    kwargs = {} if pad is None else {"asm_pad": pad}
    spacing, focal = 8e-6, 0.05
    line = (torch.arange(size) - size / 2) * spacing
    square = line[None, :] ** 2 + line[:, None] ** 2

    def step() -> Any:
        c.grad = None
        path = (c @ stack).reshape(size, size)
        planes = []
        for wavelength in (640e-9, 550e-9, 440e-9):
            phase = path * (2e-6 * np.pi / wavelength) - square * (np.pi / wavelength / focal)
            field = optics.Field(
                torch.polar(torch.ones_like(phase), phase), wavelength=wavelength, spacing=spacing
            )
            out = field.propagate_to_z(focal, propagation_method="ASM_FRESNEL", **kwargs)
            planes.append(out.intensity())
        psf = torch.stack(planes)
        psf = psf / psf.sum((-2, -1), keepdim=True)
        pictures = torch.fft.irfft2(spectra * torch.fft.rfft2(psf), s=scenes.shape[-2:])
        ((pictures - targets) ** 2).mean().backward()

    return step
