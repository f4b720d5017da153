"""Optics against peers and against the bare Fourier transforms they cannot avoid.

    python benchmarks/optics.py                    # prints and stores results/optics.json
    python benchmarks/optics.py --only psf image   # some of the cases

All candidates of a case run round-robin in one process after a warm-up, each on
one thread, and two clocks watch them: the wall's and the processor time spent.
The figure is the lower quartile over the rounds. Read the ratios by processor
time: they hold on other machines and on a busy one. The floor is the quickest
Fourier library found (``pyfftw`` is used as a floor only: its wheel carries a GPL
library, so the toolkit never leans on it).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

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
    _xp,
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


@dataclass(frozen=True)
class Times:
    """Milliseconds a call of each candidate, each round; empty where not installed."""

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]

    def table(self, clock: str) -> dict[str, float | None]:
        rounds = getattr(self, clock)
        return {name: _quartile(each) if each else None for name, each in rounds.items()}

    def ratio(self, above: str | list[str], below: str | list[str]) -> dict[str, float | None]:
        """Return the quickest of ``above`` over the quickest of ``below``, by each clock."""
        return {
            "cpu": _over(self.cpu, above, below, _quartile),
            "cpu, least": _over(self.cpu, above, below, min),
            "wall": _over(self.wall, above, below, _quartile),
        }

    def report(self, ratios: dict[str, Any]) -> dict[str, Any]:
        return {"ms": self.table("wall"), "cpu ms": self.table("cpu"), **ratios}


def race(candidates: dict[str, Work | None], rounds: int = 25) -> Times:
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    calls = {}
    for name, work in candidates.items():
        if work is not None:
            work()
            begin = time.process_time()
            work()
            calls[name] = max(1, min(50, int(0.005 / (time.process_time() - begin + 1e-9))))
    for _ in range(rounds):
        for name, count in calls.items():
            work = candidates[name]
            begin, begin_cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                work()
            cpu[name].append((time.process_time() - begin_cpu) / count * 1000)
            wall[name].append((time.perf_counter() - begin) / count * 1000)
    return Times(wall, cpu)


def _quartile(values: list[float]) -> float:
    return float(np.quantile(values, 0.25))


def _over(
    rounds: dict[str, list[float]],
    above: str | list[str],
    below: str | list[str],
    of: Callable[[list[float]], float],
) -> float | None:
    best = []
    for names in (above, below):
        listed = [names] if isinstance(names, str) else names
        best.append(min((of(rounds[n]) for n in listed if rounds.get(n)), default=None))
    return None if None in best else best[0] / best[1]


def fft_floor(size: int, double: bool) -> dict[str, Work | None]:
    kind = np.complex128 if double else np.complex64
    random = np.random.default_rng(0)
    data = (random.random((size, size)) + 0j).astype(kind)
    tensor = torch.tensor(data)
    floor: dict[str, Work | None] = {
        "bare fft2, scipy": lambda: scipy.fft.fft2(data),
        "bare fft2, torch": lambda: torch.fft.fft2(tensor),
        "bare fft2, pyfftw planned": None,
    }
    pyfftw = peers.load("pyfftw")
    if pyfftw:
        into, out = (pyfftw.empty_aligned((size, size), kind) for _ in range(2))
        plan = pyfftw.FFTW(into, out, axes=(0, 1), threads=1, flags=("FFTW_MEASURE",))
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
    kept = "slmsuite float32, stack kept"
    rivals = ["slmsuite float32", "prysm", "hcipy", "poppy", "aotools", "solvephase"]
    return times.report(
        {
            "fastest peer / own float32": times.ratio(rivals, "own float32"),
            "copy of slmsuite's kept stack / own float32": times.ratio(kept, "own float32"),
            "own float32 / floor": times.ratio("own float32", "floor: write the stack once"),
        }
    )


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
    own = "own, float32 in and out"
    return times.report({"stack / own": times.ratio("float32 stack product", own)})


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
    floor = [name for name in candidates if name.startswith("bare")]
    own, literal = "own, numpy in", "literal two-transform form"
    solve = "solvephase, kept basis"
    return times.report(
        {
            "own numpy / quickest bare transform": times.ratio(own, floor),
            "own numpy / bare transform of the same library": times.ratio(own, "bare fft2, scipy"),
            "own torch / quickest bare transform": times.ratio("own, torch in", floor),
            "solvephase / own numpy": times.ratio(solve, own),
            "two-transform form / own numpy": times.ratio(literal, own),
        }
    )


def image_case(shape: tuple[int, int], kernel: int) -> dict[str, Any]:
    import cv2
    from scipy.signal import fftconvolve

    cv2.setNumThreads(1)

    random = np.random.default_rng(0)
    scene = random.random((3, *shape), np.float32)
    psf = random.random((3, kernel, kernel), np.float32) / kernel**2
    full = tuple(scipy.fft.next_fast_len(s + kernel - 1, real=True) for s in shape)
    padded = np.zeros((3, *full), np.float32)
    tensor = torch.tensor(padded)
    imager, preview = Imager(psf, shape), PreviewImager(psf, shape)

    def bare() -> Any:
        half = scipy.fft.rfft2(padded)
        return scipy.fft.irfft2(half, s=full)

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
        rounds=11,
    )
    floor = ["bare rfft2 + irfft2, scipy", "bare rfft2 + irfft2, torch"]
    return times.report(
        {
            "own / quickest bare transforms": times.ratio("own", floor),
            "own / bare transforms of the same library": times.ratio("own", floor[0]),
            "half resolution / own": times.ratio("own, half resolution", "own"),
            "half resolution against averaged full, dB": _preview_db(),
        }
    )


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
        rounds=11,
    )
    least = "floor: the transforms of a loss on the picture"
    own, any_own = "own, L2 in the Fourier domain", "own, any loss, scene spectra kept"
    return times.report(
        {
            "L2 / floor": times.ratio(own, least),
            "any loss / floor": times.ratio(any_own, least),
            "plain autograd / own, any loss": times.ratio("own model, plain autograd", any_own),
            "torchoptics without padding / own L2": times.ratio("torchoptics, no padding", own),
            "torchoptics default / own L2": times.ratio("torchoptics, default padding", own),
        }
    )


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


def _machine() -> dict[str, Any]:
    names = (
        "numpy scipy torch numba hcipy prysm poppy aotools slmsuite solvephase torchoptics pyfftw"
    )
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
    for name, spent in sorted(result["cpu ms"].items(), key=lambda item: item[1] or 1e9):
        wall = result["ms"][name]
        shown = "not installed" if spent is None else f"{spent:10.3f} ms cpu {wall:10.3f} ms wall"
        print(f"  {name:<48}{shown}")
    for name, value in result.items():
        if name in ("ms", "cpu ms"):
            continue
        clocks = value if isinstance(value, dict) else {"": value}
        shown = "  ".join(f"{v:7.2f} {k}" for k, v in clocks.items() if v is not None)
        print(f"  = {name:<50}{shown or 'not installed'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    chosen = parser.parse_args().only
    torch.set_num_threads(1)
    _xp.FFT_WORKERS = 1
    report: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    report["machine"] = _machine()
    for group in chosen:
        for title, case in CASES[group].items():
            report[title] = case()
            _print(title, report[title])
            RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
