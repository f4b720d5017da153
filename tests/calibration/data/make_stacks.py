"""Make the PSF stacks that our own optics did not make: by hcipy and by poppy.

    python tests/calibration/data/make_stacks.py

128 px window, 1.14 px per wavelength times f-number, planes with Noll 4 at -1, 0, +1 wave,
truth 0.5 wave RMS in Noll 4 to 15, peak 8500 electrons, 2.5 electrons of read noise.
"""

from pathlib import Path

import numpy as np

SIZE, PITCH, PLANES = 128, 8.0 / 7.0, (-1.0, 0.0, 1.0)
HERE = Path(__file__).parent


def truth(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    c = rng.standard_normal(12)
    return 0.5 * c / np.linalg.norm(c)


def by_hcipy(waves: np.ndarray) -> np.ndarray:
    import hcipy

    grid = hcipy.make_pupil_grid(768, 1.0)
    disc = hcipy.evaluate_supersampled(hcipy.make_circular_aperture(1.0), grid, 8)
    line = (np.arange(SIZE) - SIZE // 2) / PITCH
    focal = hcipy.CartesianGrid(hcipy.SeparatedCoords((line, line)))
    basis = [hcipy.mode_basis.zernike_noll(j, 1.0, grid) for j in range(4, 16)]
    phase = 2.0 * np.pi * sum(c * z for c, z in zip(waves, basis, strict=True))
    front = hcipy.Wavefront(disc * np.exp(1j * phase), 1.0)
    out = hcipy.FraunhoferPropagator(grid, focal)(front).intensity.shaped
    return np.asarray(out)


def by_poppy(waves: np.ndarray) -> np.ndarray:
    """A matrix transform of poppy's own Zernike modes and aperture."""
    import poppy
    from poppy.matrixDFT import MatrixFourierTransform

    n = 768
    x = (2.0 * np.arange(n) + 1 - n) / n
    rho, theta = np.hypot(x[None], x[:, None]), np.arctan2(x[:, None], x[None])
    fine = (np.arange(8) + 0.5) / 8 * 2 / n - 1 / n
    share = np.mean(
        [np.hypot(x[None] + dx, x[:, None] + dy) <= 1.0 for dx in fine for dy in fine], axis=0
    )
    phase = np.zeros((n, n))
    for j, c in zip(range(4, 16), waves, strict=True):
        phase += c * poppy.zernike.zernike1(j, rho=rho, theta=theta, outside=0.0)
    # "ADJUSTABLE" centring with an offset puts the axis on pixel SIZE // 2.
    transform = MatrixFourierTransform(centering="ADJUSTABLE")
    field = transform.perform(
        share * np.exp(2j * np.pi * phase), SIZE / PITCH, SIZE, offset=(0.5, 0.5)
    )
    return np.abs(field) ** 2


def main() -> None:
    for name, make, seed in (("hcipy", by_hcipy, 3), ("poppy", by_poppy, 4)):
        rng, c = np.random.default_rng(100 + seed), truth(seed)
        images = []
        for defocus in PLANES:
            waves = c.copy()
            waves[0] += defocus
            image = make(waves)
            image = 8500.0 * image / image.max()
            images.append(rng.poisson(image) + rng.normal(0.0, 2.5, image.shape))
        stored = np.round(np.array(images), 1).astype(np.float32)
        np.savez_compressed(HERE / f"{name}.npz", images_e=stored, truth_waves=c)


if __name__ == "__main__":
    main()
