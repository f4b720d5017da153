"""Sines that OpenVINO can fuse with their neighbours.

Its CPU code takes a sine value by value in single precision, with a change of layout before
and after. Remainder of a turn and a short polynomial are plain arithmetic, which it compiles
into one vector loop: 3 of 17 core-ms of the default bundle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["SINE_ERROR", "fuse_sines"]

SINE_ERROR = 1e-6
"""Largest error of the polynomial beside the rounding of its argument."""

_TERMS = 6


def _coefficients() -> list[float]:
    """Return c with sin(2 pi r) = sum of c[k] r^(2k + 1) for a remainder r in -1/2 … 1/2.

    Fitted where a Chebyshev series would sample it, so that no end sticks out.
    """
    r = 0.5 * np.cos(np.pi * (np.arange(400) + 0.5) / 800)
    powers = r[:, None] ** (2 * np.arange(_TERMS) + 1)
    fitted: list[float] = np.linalg.lstsq(powers, np.sin(2 * np.pi * r), rcond=None)[0].tolist()
    return fitted


def fuse_sines(model: Any) -> int:
    """Replace every sine of an OpenVINO model; return how many there were."""
    from openvino import opset13

    def number(value: float) -> Any:
        return opset13.constant(np.float32(value))

    found = [node for node in model.get_ops() if node.get_type_name() == "Sin"]
    for node in found:
        turns = opset13.multiply(node.input_value(0), number(0.5 / np.pi))
        rest = opset13.subtract(turns, opset13.round(turns, "half_to_even"))
        square = opset13.multiply(rest, rest)
        *lower, highest = _coefficients()
        sine = number(highest)
        for coefficient in reversed(lower):
            sine = opset13.add(opset13.multiply(sine, square), number(coefficient))
        node.output(0).replace(opset13.multiply(sine, rest).output(0))
    model.validate_nodes_and_infer_types()
    return len(found)
