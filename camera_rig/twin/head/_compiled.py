"""One typed door to numba: functions compiled once and kept on disk beside the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])

# No kernel meets a NaN or an infinity: empty depth is a large negative number.
_OPTIONS = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy"}

Scalar = Any
"""A number inside a compiled function: the compiler settles its type, not the checker."""


def compiled(function: _F) -> _F:
    """Compile a numeric function for one core, without the interpreter lock.

    The compiled code on disk is renewed when the function's own file changes, not when a
    compiled function of another file that it calls does: after such an edit, delete the
    ``*.nbi`` and ``*.nbc`` files beside the module.
    """
    result: _F = numba.njit(**_OPTIONS)(function)
    return result


def inlined(function: _F) -> _F:
    """Compile a function that compiled ones call per pixel, into the caller itself.

    A call would cost more than most of them: arrays are passed by nine numbers each.
    """
    result: _F = numba.njit(forceinline=True, **_OPTIONS)(function)
    return result
