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
    # Reassociation only: a fast path must not assume that depths are never infinite.
    fast = {"contract", "reassoc", "arcp", "nsz"}
    result: _F = numba.njit(cache=True, nogil=True, fastmath=fast, error_model="numpy")(function)
    return result
