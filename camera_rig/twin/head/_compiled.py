"""One typed door to numba: functions compiled once and kept on disk beside the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])

Scalar = Any
"""A number inside a compiled function: the compiler settles its type, not the checker."""


def compiled(function: _F) -> _F:
    """Compile a numeric function for one core, without the interpreter lock.

    The compiled code on disk is renewed when the function's own file changes, not when a
    compiled function of another file that it calls does: after such an edit, delete the
    ``*.nbi`` and ``*.nbc`` files beside the module.
    """
    # No kernel meets a NaN or an infinity: empty depth is a large negative number.
    options = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy"}
    result: _F = numba.njit(**options)(function)
    return result
