"""Which array library an argument belongs to, and its Fourier transforms.

The optics are written once. A numpy array in gives a numpy array out; a torch
tensor in gives a differentiable torch tensor out. torch is never imported from
here: a tensor can only exist when somebody else has imported it already.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from camera_rig.errors import ConfigError

Array: TypeAlias = Any
"""A numpy array or a torch tensor: the two share the methods used here."""

Matrix: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]]
"""A real numpy array: constants, always made on the host."""

FFT_WORKERS = 2


def is_torch(value: object) -> bool:
    """Return True for a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


@dataclass(frozen=True)
class Backend:
    """Array library, real dtype and device of one call.

    Hashable, so that constants (matrices, apertures) are kept one per backend.
    """

    torch: bool
    double: bool
    device: str = "cpu"

    @property
    def xp(self) -> Any:
        """The module with the array functions: numpy, or torch when loaded."""
        return sys.modules["torch"] if self.torch else np

    def real(self, values: Any, *, double: bool | None = None) -> Array:
        """Return ``values`` as an array of this backend (contiguous, real)."""
        wide = self.double if double is None else double
        host = np.ascontiguousarray(values, dtype=np.float64 if wide else np.float32)
        if not self.torch:
            return host
        return self.xp.tensor(host, device=self.device)

    def complex(self, values: Any) -> Array:
        """Return ``values`` as a complex array of this backend."""
        host = np.asarray(values, dtype=np.complex128 if self.double else np.complex64)
        if not self.torch:
            return np.ascontiguousarray(host)
        return self.xp.tensor(host, device=self.device)

    def cast(self, array: Array, *, double: bool | None = None) -> Array:
        """Change the real precision of an array of this backend, keeping gradients."""
        wide = self.double if double is None else double
        if self.torch:
            return array.to(self.xp.float64 if wide else self.xp.float32)
        return array.astype(np.float64 if wide else np.float32, copy=False)

    def phasor(self, amplitude: Array, phase_rad: Array, out: Array | None = None) -> Array:
        """Return ``amplitude * exp(i phase_rad)``.

        Args:
            amplitude: ``(rows, columns)``.
            phase_rad: ``(..., rows, columns)``, radians.
            out: Complex numpy array ``(pictures, rows, columns or more)`` to fill;
                whole rows of it, in one piece, go five times as quick.
        """
        if self.torch:  # three times as quick as its own polar()
            return self.xp.complex(amplitude * phase_rad.cos(), amplitude * phase_rad.sin())
        if out is None:
            out = np.empty(phase_rad.shape, np.complex128 if self.double else np.complex64)
        _kernels().phasor(_planes(phase_rad), amplitude, _planes(_reals(out)))
        return out

    def intensity(self, field: Array, out: Array | None = None) -> Array:
        """Return the squared modulus of a complex field ``(..., rows, columns)``.

        ``out`` is a real numpy array ``(pictures, rows, columns)`` to fill; the field
        may have more columns.
        """
        if self.torch:
            return field.real * field.real + field.imag * field.imag
        if out is None:
            out = np.empty(field.shape, field.real.dtype)
        _kernels().intensity(_planes(_reals(field)), _planes(out))
        return out

    def halve(self, pictures: Array) -> Array:
        """Return the means over blocks of two by two pixels of ``(..., rows, columns)``."""
        if self.torch:
            rows = pictures[..., 0::2, :] + pictures[..., 1::2, :]
            return (rows[..., 0::2] + rows[..., 1::2]) * 0.25
        half = (pictures.shape[-2] // 2, pictures.shape[-1] // 2)
        out = np.empty((*pictures.shape[:-2], *half), pictures.dtype)
        _kernels().halve(_planes(pictures), _planes(out))
        return out

    def fft(self, array: Array, length: int, axis: int) -> Array:
        """Return the forward transform along ``axis``, zero-padded to ``length``."""
        if self.torch:
            return self.xp.fft.fft(array, n=length, dim=axis)
        return _scipy_fft().fft(array, n=length, axis=axis, workers=FFT_WORKERS)

    def fft_in_place(self, array: Array, axis: int) -> Array:
        """Return the forward transform of a numpy array, which is used up."""
        return _scipy_fft().fft(array, axis=axis, workers=FFT_WORKERS, overwrite_x=True)

    def ifft(self, array: Array, length: int, axis: int) -> Array:
        """Return the inverse transform along ``axis``; a numpy array is used up."""
        if self.torch:
            return self.xp.fft.ifft(array, n=length, dim=axis)
        return _scipy_fft().ifft(array, n=length, axis=axis, workers=FFT_WORKERS, overwrite_x=True)

    def adjoint_fft(self, array: Array, length: int, low: int, keep: int, axis: int) -> Array:
        """Return the adjoint of "pad to ``length``, transform, cut a window from ``low``".

        Putting the window back at 0 instead of at ``low`` saves a copy; the phase
        that this leaves is undone at the end. ``array`` is used up; ``keep`` samples
        are returned.
        """
        spread = self.ifft(array, length, axis)
        picked = spread[..., :keep] if axis == -1 else spread[..., :keep, :]
        turn = self.complex(length * np.exp(2j * np.pi * low * np.arange(keep) / length))
        return picked * (turn if axis == -1 else turn[:, None])

    def rfft(self, array: Array, length: int, axis: int) -> Array:
        """Return the half spectrum of a real array along ``axis``."""
        if self.torch:
            return self.xp.fft.rfft(array, n=length, dim=axis)
        return _scipy_fft().rfft(array, n=length, axis=axis, workers=FFT_WORKERS)

    def irfft(self, array: Array, length: int, axis: int) -> Array:
        """Return the real array of a half spectrum along ``axis``."""
        if self.torch:
            return self.xp.fft.irfft(array, n=length, dim=axis)
        return _scipy_fft().irfft(array, n=length, axis=axis, workers=FFT_WORKERS)

    def rfft2(self, array: Array, shape: tuple[int, int]) -> Array:
        """Return the half spectrum of real planes, zero-padded to ``shape`` (rows, columns)."""
        if self.torch:
            return self.xp.fft.rfft2(array, s=shape)
        return _scipy_fft().rfft2(array, s=shape, workers=FFT_WORKERS)

    def irfft2(self, array: Array, shape: tuple[int, int]) -> Array:
        """Return the real array of ``shape`` (rows, columns) of a half spectrum."""
        if self.torch:
            return self.xp.fft.irfft2(array, s=shape)
        return _scipy_fft().irfft2(array, s=shape, workers=FFT_WORKERS)


_KEPT = threading.local()
_KEPT_BYTES = 256 * 2**20


def scratch(shape: tuple[int, ...], dtype: Any, role: str) -> Any:
    """Return an uninitialised numpy array that this thread uses again and again.

    Only for values that no caller ever sees. Arrays above 64 MiB are not kept,
    and all are dropped when they add up to 256 MiB.
    """
    key = (shape, np.dtype(dtype).char, role)
    kept: dict[Any, Any] = _KEPT.__dict__.setdefault("arrays", {})
    if key in kept:
        return kept[key]
    fresh = np.empty(shape, dtype)
    if fresh.nbytes <= _KEPT_BYTES // 4:
        if fresh.nbytes + sum(array.nbytes for array in kept.values()) > _KEPT_BYTES:
            kept.clear()
        kept[key] = fresh
    return fresh


def backend_of(array: Array) -> Backend:
    """Return the backend of an array: library, precision and device.

    Raises:
        ConfigError: The array is neither float32 nor float64.
    """
    if is_torch(array):
        name = str(array.dtype).removeprefix("torch.")
        device = str(array.device)
    else:
        name, device = np.asarray(array).dtype.name, "cpu"
    if name not in ("float32", "float64"):
        raise ConfigError(
            f"optics work on float32 or float64 arrays, not on {name}",
            hint="convert first, for example image.astype('float32') / 255",
        )
    return Backend(torch=is_torch(array), double=name == "float64", device=device)


def fast_length(minimum: int, *, even: bool = True) -> int:
    """Return the smallest quick transform length at or above ``minimum``."""
    length = int(_scipy_fft().next_fast_len(int(minimum), real=True))
    while even and length % 2:
        length = int(_scipy_fft().next_fast_len(length + 1, real=True))
    return length


def _planes(array: Array) -> Array:
    """Return ``(..., rows, columns)`` as ``(pictures, rows, columns)``."""
    return array.reshape((-1, *array.shape[-2:]))


def _reals(field: Array) -> Array:
    """Return a complex numpy array as a real one, real and imaginary parts in turn."""
    if field.strides[-1] != field.itemsize:
        field = np.ascontiguousarray(field)
    return field.view(field.real.dtype)


def _kernels() -> Any:
    from camera_rig.optics import _kernels  # numba: not when only the types are wanted

    return _kernels


def _scipy_fft() -> Any:
    import scipy.fft  # a third of a second: not when only the types are wanted

    return scipy.fft


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Return a detached numpy copy or view, for checks and reports."""
    if is_torch(array):
        return np.asarray(array.detach().cpu().numpy())
    return np.asarray(array)
