"""When a light (or anything else) switched, to a fraction of a frame, in a camera's stamps.

A frame during which it switches is partly lit; how far tells when it happened. A rolling
shutter spreads the exposure of the picture over its readout: the light that a switch gives
is then the integral of a trapezoid, exposure folded with readout.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from camera_rig.contracts import Frame

__all__ = ["READOUT_S", "edge_times_ns", "light_of", "linear_light"]

Vector = npt.NDArray[np.float64]

READOUT_S = 0.014
"""Time from the first to the last row of a live picture; what is wrong in it cancels
between two like cameras, and between switches on and off."""
_SAME_SWITCH_NS = 0.05e9


def edge_times_ns(stamps_ns: Vector, levels: Vector, exposure_s: float) -> Vector:
    """Return when something switched, in a camera's stamps (ns, signed: minus for off).

    Args:
        stamps_ns: Middle of each exposure, ns.
        levels: Mean linear light of each frame, or any measure that mixes linearly.
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
        at = float(stamps_ns[k]) - 1e9 * _quantile(passed, exposure_s, READOUT_S)
        signed = at if after > before else -at
        # One switch may fall into two frames: the mean of both is better than either.
        if found and abs(found[-1] - signed) < _SAME_SWITCH_NS:
            signed = (found.pop() + signed) / 2.0
        found.append(signed)
    return np.array(found)


def light_of(frame: Frame, percentile: float | None = None) -> float:
    """Return the mean (or a percentile) of a frame's linear light, share of full scale."""
    light = linear_light(frame.pixels[::4, ::4], linear=frame.linear)
    return float(light.mean() if percentile is None else np.percentile(light, percentile))


def linear_light(pixels: npt.NDArray[np.unsignedinteger], *, linear: bool) -> Vector:
    """Return linear light, share of full scale, of pixels that carry the sRGB curve."""
    code = pixels.astype(np.float64) / np.iinfo(pixels.dtype).max
    if linear:
        return code
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def _quantile(share: float, exposure_s: float, readout_s: float) -> float:
    """Return how long before the frame's middle a switch lies that lights ``share`` of it, s."""
    long_s, short_s = max(exposure_s, readout_s), min(exposure_s, readout_s)
    half = (long_s + short_s) / 2.0
    time = np.linspace(-half, half, 401)
    height = np.clip((half - np.abs(time)) / max(short_s, 1e-6), 0.0, 1.0)
    whole = np.concatenate([[0.0], np.cumsum((height[1:] + height[:-1]) / 2.0)])
    return float(np.interp(share, whole / whole[-1], time))
