"""One typed door to numba: functions compiled once and kept on disk beside the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile a numeric function for one core, without the interpreter lock."""
    # Reassociation only: a fast path must not assume that depths are never infinite.
    fast = {"contract", "reassoc", "arcp", "nsz"}
    result: _F = numba.njit(cache=True, nogil=True, fastmath=fast, error_model="numpy")(function)
    return result
