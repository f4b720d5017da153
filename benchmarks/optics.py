"""Optics against peers and against the bare Fourier transforms they cannot avoid.

    python benchmarks/optics.py                    # prints and stores results/optics.json
    python benchmarks/optics.py --only psf image   # some of the cases

All candidates of a case run round-robin in one process after a warm-up; the
figure is the median of the quickest third of the rounds, so that a neighbour's
burst spoils nobody's. Read the ratios: they hold on other machines. The floor is
the quickest Fourier library found (``pyfftw`` is used as a floor only: its wheel
carries a GPL library, so the toolkit never leans on it).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import optics_peers as peers
import scipy.fft
import torch

from camera_rig.optics import (
    Form,
    Imager,
    Order,
    Plan,
    PreviewImager,
    PsfModel,
    Pupil,
    chebyshev,
    modes,
    zernike,
)
from camera_rig.optics._xp import Backend
from camera_rig.optics.fresnel import fresnel_psf
from camera_rig.optics.imaging import half_scene
from camera_rig.optics.spectra import SceneSpectra
from models import optics_grad

Work = Callable[[], Any]
FIFTEEN = modes(Order.NOLL, 1, 15)
RESULTS = Path(__file__).parent / "results" / "optics.json"
NUMPY32, NUMPY64 = Backend(torch=False, double=False), Backend(torch=False, double=True)


def race(candidates: dict[str, Work | None], rounds: int = 15) -> dict[str, float | None]:
    """Return milliseconds a call for each candidate; None where it is not installed."""
    ready = {name: work for name, work in candidates.items() if work is not None}
    calls = {}
    for name, work in ready.items():
        work()
        begin = time.perf_counter()
        work()
        calls[name] = max(1, min(200, int(0.02 / (time.perf_counter() - begin + 1e-9))))
    samples: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(rounds):
        for name, work in ready.items():
            begin = time.perf_counter()
            for _ in range(calls[name]):
                work()
            samples[name].append((time.perf_counter() - begin) / calls[name] * 1000)
    best = {name: float(np.median(sorted(s)[: rounds // 3])) for name, s in samples.items()}
    return {name: best.get(name) for name in candidates}


def fft_floor(size: int, double: bool) -> dict[str, Work | None]:
    kind = np.complex128 if double else np.complex64
    random = np.random.default_rng(0)
    data = (random.random((size, size)) + 0j).astype(kind)
    tensor = torch.tensor(data)
    floor: dict[str, Work | None] = {
        "bare fft2, scipy": lambda: scipy.fft.fft2(data, workers=2),
        "bare fft2, torch": lambda: torch.fft.fft2(tensor),
        "bare fft2, pyfftw planned": None,
    }
    pyfftw = peers.load("pyfftw")
    if pyfftw:
        into, out = (pyfftw.empty_aligned((size, size), kind) for _ in range(2))
        plan = pyfftw.FFTW(into, out, axes=(0, 1), threads=2, flags=("FFTW_MEASURE",))
        into[:] = data
        floor["bare fft2, pyfftw planned"] = plan
    return floor


def zernike_case() -> dict[str, Any]:
    rho, theta = zernike.polar_grid(256)
    out32 = np.empty((15, 256, 256), np.float32)
    out64 = np.empty((15, 256, 256))
    candidates: dict[str, Work | None] = {
        "floor: write the stack once": lambda: out32.fill(1.0),
        "own float32": lambda: chebyshev.stack(FIFTEEN, 256, NUMPY32, out32),
        "own float64": lambda: chebyshev.stack(FIFTEEN, 256, NUMPY64, out64),
        **peers.zernike_stacks(rho, theta, 15),
    }
    times = race(candidates)
    fastest = _least(times, ["prysm", "hcipy", "poppy", "aotools", "solvephase"])
    return {"ms": times, "times faster than the fastest peer": fastest / times["own float32"]}


def phase_case() -> dict[str, Any]:
    listed = modes(Order.NOLL, 1, 210)
    c = np.random.default_rng(0).normal(size=210)
    single, kept = c.astype(np.float32), chebyshev.SeparableMap(listed, zernike.axis(512))
    flat = chebyshev.stack(listed, 512, NUMPY32).reshape(210, -1)
    times = race(
        {
            "own, float64 inside": lambda: kept(c, NUMPY64),
            "own, float32 in and out": lambda: kept(single, NUMPY32),
            "float32 stack product": lambda: single @ flat,
        }
    )
    return {
        "ms": times,
        "times faster than the stack": times["float32 stack product"]
        / times["own, float32 in and out"],
    }


def psf_case(size: int, double: bool) -> dict[str, Any]:
    pupil = Pupil(4.0, 50.0, 0.55 * 12.5 / 2, (550.0,))
    kind = np.float64 if double else np.float32
    c = (np.random.default_rng(0).normal(size=15) * 0.05).astype(kind)
    model = PsfModel(pupil, FIFTEEN, size, plan=Plan(Form.FFT, size, size // 2, 1, "Q = 2"))
    tensor = torch.tensor(c)
    stack = zernike.grid_basis(FIFTEEN, size // 2)
    clear = (zernike.polar_grid(size // 2)[0] <= 1).astype(np.float64)
    phase = np.tensordot(c.astype(np.float64), stack, 1) * 2 * np.pi / 0.55
    candidates: dict[str, Work | None] = {
        **fft_floor(size, double),
        "own, numpy in": lambda: model(c),
        "own, torch in": lambda: model(tensor),
        "solvephase, kept basis": peers.solvephase_psf(c, size, not double),
    }
    if double:
        small = Pupil(2.0, 50.0, 4.0, (550.0,))
        candidates |= peers.psf_makers(phase, clear, size)
        if size <= 512:
            candidates["poppy calc_psf"] = peers.poppy_psf(size)
            candidates["literal two-transform form"] = lambda: fresnel_psf(
                c * 0.3, FIFTEEN, small, size // 2
            )
    times = race(candidates)
    floor = _least(times, [name for name in times if name.startswith("bare")])
    own = _least(times, ["own, numpy in", "own, torch in"])
    return {
        "ms": times,
        "own numpy / quickest bare transform": times["own, numpy in"] / floor,
        "own numpy / bare transform of the same library": times["own, numpy in"]
        / times["bare fft2, scipy"],
        "own torch / quickest bare transform": times["own, torch in"] / floor,
        "solvephase / own (better of two)": _ratio(times["solvephase, kept basis"], own),
    }


def image_case(shape: tuple[int, int], kernel: int) -> dict[str, Any]:
    import cv2
    from scipy.signal import fftconvolve

    random = np.random.default_rng(0)
    scene = random.random((3, *shape), np.float32)
    psf = random.random((3, kernel, kernel), np.float32) / kernel**2
    full = tuple(scipy.fft.next_fast_len(s + kernel - 1, real=True) for s in shape)
    padded = np.zeros((3, *full), np.float32)
    tensor = torch.tensor(padded)
    imager, preview = Imager(psf, shape), PreviewImager(psf, shape)

    def bare() -> Any:
        half = scipy.fft.rfft2(padded, workers=2)
        return scipy.fft.irfft2(half, s=full, workers=2)

    last = np.ascontiguousarray(np.moveaxis(scene, 0, -1))
    times = race(
        {
            "bare rfft2 + irfft2, scipy": bare,
            "bare rfft2 + irfft2, torch": lambda: torch.fft.irfft2(torch.fft.rfft2(tensor), s=full),
            "own": lambda: imager(scene),
            "own, half resolution": lambda: preview(scene),
            "scipy.signal.fftconvolve": lambda: fftconvolve(scene, psf, "same", axes=(1, 2)),
            "cv2.filter2D (one kernel)": lambda: cv2.filter2D(last, -1, psf[0]),
        },
        rounds=9,
    )
    floor = _least(times, ["bare rfft2 + irfft2, scipy", "bare rfft2 + irfft2, torch"])
    return {
        "ms": times,
        "own / quickest bare transforms": times["own"] / floor,
        "own / bare transforms of the same library": times["own"]
        / times["bare rfft2 + irfft2, scipy"],
        "half resolution against averaged full, dB": _preview_db(),
    }


def _preview_db() -> float:
    """Published shape, hard-edged scene with some grain."""
    row, column = np.mgrid[:512, :640]
    random = np.random.default_rng(0)
    one = 0.5 + 0.5 * np.sign(np.sin(row / 11) * np.sin(column / 13 + row / 50))
    scene = np.stack([0.9 * one + 0.1 * random.random(one.shape)] * 3)
    from camera_rig.optics import Coefficients, compute_psf

    folder = Path(__file__).parents[1] / "hw_configs" / "coefficients"
    shape = Coefficients.load(folder / "lopez2024.yaml")
    psf = compute_psf(shape, Pupil(4.0, 50.0, 3.713), 255).pixels
    full = half_scene(Imager(psf, (512, 640))(scene))
    half = PreviewImager(psf, (512, 640))(scene)
    return float(-10 * np.log10(np.mean((full - half) ** 2)))


def gradient_case() -> dict[str, Any]:
    size, batch = 256, 8
    pupil = Pupil(4.0, 50.0, 0.44 * 12.5 / 2)
    model = PsfModel(pupil, FIFTEEN, size, plan=Plan(Form.FFT, size, size // 2, 1, "Q = 2"))
    generator = torch.Generator().manual_seed(0)
    scenes = torch.rand((batch, 3, size, size), generator=generator)
    targets = torch.rand((batch, 3, size, size), generator=generator)
    spectra = SceneSpectra(scenes, targets)
    host = SceneSpectra(scenes.numpy(), targets.numpy())
    c = torch.full((15,), 0.02, requires_grad=True)
    values = c.detach().numpy()
    imager = Imager(torch.zeros((3, size, size)), (size, size), "wrap")

    def floor() -> None:
        field = torch.zeros((3, size, size), dtype=torch.complex64)
        torch.fft.fft2(torch.fft.fft2(field))
        otf = torch.fft.rfft2(scenes[0])
        half = torch.fft.rfft2(scenes)
        torch.fft.irfft2(half, s=(size, size))
        torch.fft.irfft2(otf, s=(size, size))

    def step(loss: Callable[[], Any]) -> Work:
        def work() -> None:
            c.grad = None
            loss().backward()

        return work

    def plain() -> Any:
        imager.set_psf(model(c))
        return ((imager(scenes) - targets) ** 2).mean()

    def any_loss() -> Any:
        pictures = optics_grad.blur(spectra, optics_grad.psf(model, c))
        return ((pictures - targets) ** 2).mean()

    def numpy_l2() -> None:
        psf, pull = model.pullback(values)
        pull(host.squared_error(psf)[1])

    basis = zernike.grid_basis(FIFTEEN, size)
    times = race(
        {
            "floor: the transforms of a loss on the picture": floor,
            "own, L2 in the Fourier domain": step(
                lambda: optics_grad.squared_error(spectra, optics_grad.psf(model, c))
            ),
            "own, L2 in the Fourier domain, numpy": numpy_l2,
            "own, any loss, scene spectra kept": step(any_loss),
            "own model, plain autograd": step(plain),
            "torchoptics, no padding": peers.torchoptics_step(basis, scenes, targets, 0),
            "torchoptics, default padding": peers.torchoptics_step(basis, scenes, targets, None),
        },
        rounds=9,
    )
    floor_ms = times["floor: the transforms of a loss on the picture"]
    own = times["own, L2 in the Fourier domain"]
    return {
        "ms": times,
        "L2 / floor": own / floor_ms,
        "any loss / floor": times["own, any loss, scene spectra kept"] / floor_ms,
        "torchoptics without padding / own L2": _ratio(times["torchoptics, no padding"], own),
        "torchoptics default / own L2": _ratio(times["torchoptics, default padding"], own),
    }


CASES: dict[str, dict[str, Callable[[], dict[str, Any]]]] = {
    "zernike": {"15 modes, 256 x 256": zernike_case},
    "phase": {"210 modes, 512 x 512": phase_case},
    "psf": {
        f"PSF {size} x {size}, float{64 if double else 32}": lambda size=size, double=double: (
            psf_case(size, double)
        )
        for size in (256, 512, 1024)
        for double in (False, True)
    },
    "image": {
        "256 x 256 RGB, PSF 127, float32": lambda: image_case((256, 256), 127),
        "1080p RGB, PSF 255, float32": lambda: image_case((1080, 1920), 255),
    },
    "gradient": {"batch 8, 256 x 256, 3 colours, float32": gradient_case},
}


def _least(times: dict[str, float | None], names: list[str]) -> float:
    return min(value for name in names if (value := times.get(name)) is not None)


def _ratio(above: float | None, below: float) -> float | None:
    return None if above is None else above / below


def _machine() -> dict[str, Any]:
    names = "numpy scipy torch hcipy prysm poppy aotools solvephase torchoptics pyfftw"
    versions = {}
    for name in names.split():
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpus": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _print(title: str, result: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, value in sorted(result["ms"].items(), key=lambda item: item[1] or 1e9):
        print(f"  {name:<48}" + ("not installed" if value is None else f"{value:10.3f} ms"))
    for name, value in result.items():
        if name != "ms":
            print(f"  = {name:<60}" + ("-" if value is None else f"{value:7.2f}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    chosen = parser.parse_args().only
    torch.set_num_threads(2)
    report: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    report["machine"] = _machine()
    for group in chosen:
        for title, case in CASES[group].items():
            report[title] = case()
            _print(title, report[title])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
