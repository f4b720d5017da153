"""Find a wavefront from three pictures of a point of light, with error bars.

python examples/calibrate.py
"""

import numpy as np

from calibration.retrieval import RetrievalOptions, retrieve
from calibration.simulate import simulate_stack
from camera_rig.optics import Coefficients, Pupil


def waves(values: dict[int, float]) -> Coefficients:
    """Return Noll coefficients in waves RMS at 550 nm."""
    return Coefficients.numbered(values, "waves_rms", "noll", 550.0)


def main() -> None:
    """Simulate three planes of a bent mirror and find its shape again."""
    pupil = Pupil(diameter_mm=7.0, focal_length_mm=49.7, pixel_um=3.417, wavelengths_nm=(550.0,))
    truth = waves({4: -0.4, 6: 0.2, 8: 0.3, 11: 0.1})
    # The mirror moves 5 % less than we believe: the fit finds that too.
    shown = (waves({4: -0.95}), waves({}), waves({4: 0.95}))
    stated = (waves({4: -1.0}), waves({}), waves({4: 1.0}))
    rng = np.random.default_rng(1)
    stack = simulate_stack(truth, shown, pupil, 192, rng, stated=stated)
    found = retrieve(stack, RetrievalOptions(fit_gain=True))
    print(f"{found.verdict}: chi-squared {found.chi2:.2f}, gain {found.gain:.4f}")
    for number, mode in enumerate(found.modes, start=4):
        sigma = found.sigmas[number - 4]
        wanted = truth.values.get(mode, 0.0)
        value = found.shape.values[mode]
        print(f"  Z{number:<3} {value:+.4f} ± {sigma:.4f}  (truth {wanted:+.4f})")


if __name__ == "__main__":
    main()
