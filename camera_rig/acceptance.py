"""A lab's acceptance test of one camera: exposure, stream, drops, still, restart.

``rig camera test`` prints the report and ``rig doctor`` may run the short form. The
camera's settings are put back at the end, whatever happened.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from camera_rig.contracts import Camera, CameraMode, CameraSettings, Frame
from camera_rig.errors import RigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AcceptancePlan", "AcceptanceReport", "CameraCheck", "accept_camera", "draw_report"]

_LONGEST_S, _SHORTEST_S = 1 / 15, 1 / 1000
_SATURATED = 0.98


@dataclass(frozen=True, slots=True)
class AcceptancePlan:
    """What to try.

    Args:
        exposures: Number of exposure times to walk through.
        stream_s: Length of the live stream, s.
        stills: Number of stills in a row.
        timeout_s: Longest wait for one frame, s.
        lowest_fps: Live view slower than this fails, 1/s.
        most_lost: Largest share of lost frames that passes.
    """

    exposures: int = 5
    stream_s: float = 10.0
    stills: int = 3
    timeout_s: float = 5.0
    lowest_fps: float = 8.0
    most_lost: float = 0.01


@dataclass(frozen=True, slots=True)
class CameraCheck:
    """One line of the report: what was tried, whether it passed, what was found."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True, slots=True)
class AcceptanceReport:
    """The verdict and what it rests on.

    Args:
        camera: Serial number.
        model: Model.
        passed: Whether every check passed.
        checks: The checks, in the order they ran.
        exposure_s: Exposure times read back, s.
        levels: Mean level at each of them, 0…1 of full scale.
        intervals_ms: Times between live frames, ms.
        last_frame: A live frame, for the picture; None if there was none.
    """

    camera: str
    model: str
    passed: bool
    checks: tuple[CameraCheck, ...]
    exposure_s: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    intervals_ms: tuple[float, ...] = ()
    last_frame: Frame | None = None

    def facts(self) -> dict[str, object]:
        """Return everything but the picture, for JSON."""
        return {
            "camera": self.camera,
            "model": self.model,
            "passed": self.passed,
            "checks": self.checks,
            "exposure_s": self.exposure_s,
            "levels": self.levels,
        }


def accept_camera(camera: Camera, plan: AcceptancePlan | None = None) -> AcceptanceReport:
    """Try an opened camera and return the report; raises nothing the camera does.

    A check that meets an error fails with the error's words, and the next one runs.
    """
    return _Acceptance(camera, plan or AcceptancePlan()).run()


class _Acceptance:
    def __init__(self, camera: Camera, plan: AcceptancePlan) -> None:
        self.camera, self.plan = camera, plan
        self.checks: list[CameraCheck] = []
        self.exposure_s: list[float] = []
        self.levels: list[float] = []
        self.intervals_ms: list[float] = []
        self.last: Frame | None = None

    def run(self) -> AcceptanceReport:
        with _settings_kept(self.camera):
            self._try("exposure", self._exposure)
            self._try("stream", self._stream)
            self._try("restart", self._restart)
            if CameraMode.STILL in self.camera.capabilities.modes:
                self._try("still", self._still)
        self._try("health", self._health)
        info = self.camera.info
        return AcceptanceReport(
            camera=info.serial,
            model=info.model,
            passed=all(check.passed for check in self.checks),
            checks=tuple(self.checks),
            exposure_s=tuple(self.exposure_s),
            levels=tuple(self.levels),
            intervals_ms=tuple(self.intervals_ms),
            last_frame=self.last,
        )

    def _try(self, name: str, check: Callable[[], tuple[bool, str]]) -> None:
        try:
            passed, found = check()
        except RigError as error:
            passed, found = False, f"{error.message} ({error.hint})"
            self.camera.stop()
        self.checks.append(CameraCheck(name, passed, found))

    def _exposure(self) -> tuple[bool, str]:
        """Walk the exposure: more light must give a higher level until it is full."""
        limits = self.camera.capabilities.exposure_s
        if limits is None:
            return True, "this camera's exposure is not set from here"
        low_s, high_s = max(limits[0], _SHORTEST_S), min(limits[1], _LONGEST_S)
        for wanted_s in np.geomspace(low_s, high_s, self.plan.exposures):
            asked = CameraSettings(mode=CameraMode.LIVE, exposure_s=float(wanted_s))
            self.exposure_s.append(self.camera.configure(asked).exposure_s or 0.0)
            self.levels.append(_level(self.camera.snap()))
        steps = [(a, b) for a, b in itertools.pairwise(self.levels) if a < 0.9]
        rising = all(b > a for a, b in steps)
        used = max(self.levels) - min(self.levels)
        words = ", ".join(f"{level:.2f}" for level in self.levels)
        if self.levels[0] > _SATURATED:
            return False, f"saturated at the shortest exposure ({words}): less light"
        return rising and used > 0.05, (
            f"levels {words} at {self.exposure_s[0]:.4g} to {self.exposure_s[-1]:.4g} s"
        )

    def _stream(self) -> tuple[bool, str]:
        camera, plan = self.camera, self.plan
        middle = self._middle_exposure()
        camera.configure(CameraSettings(mode=CameraMode.LIVE, exposure_s=middle))
        lost = repeated = 0
        times: list[int] = []
        camera.start()
        end_ns = camera.clock.now_ns() + round(plan.stream_s * 1e9)
        while camera.clock.now_ns() < end_ns:
            self.last = camera.next_frame(plan.timeout_s)
            times.append(self.last.captured_ns)
            lost += int(self.last.meta.get("lost_before", 0))
            repeated += bool(self.last.meta.get("repeated", False))
        camera.stop()
        self.intervals_ms = [(b - a) * 1e-6 for a, b in itertools.pairwise(times)]
        if len(self.intervals_ms) < 2:
            return False, f"only {len(times)} frame(s) in {plan.stream_s:g} s"
        fps = 1000 / statistics.fmean(self.intervals_ms)
        share = lost / (lost + len(times))
        width, height = self.last.size if self.last is not None else (0, 0)
        passed = fps >= plan.lowest_fps and share <= plan.most_lost and repeated == 0
        return passed, (
            f"{len(times)} frames of {width}x{height} at {fps:.2f}/s, {lost} lost, "
            f"{repeated} repeated, longest interval {max(self.intervals_ms):.0f} ms"
        )

    def _middle_exposure(self) -> float | None:
        """Return the exposure whose level lies nearest to the middle, s."""
        if not self.levels:
            return None
        best = min(range(len(self.levels)), key=lambda k: abs(self.levels[k] - 0.5))
        return self.exposure_s[best]

    def _restart(self) -> tuple[bool, str]:
        clock = self.camera.clock
        waits_s = []
        for _ in range(2):
            began_ns = clock.now_ns()
            self.camera.start()
            self.camera.next_frame(self.plan.timeout_s)
            waits_s.append((clock.now_ns() - began_ns) * 1e-9)
            self.camera.stop()
        return True, f"first frame {max(waits_s):.2f} s after start"

    def _still(self) -> tuple[bool, str]:
        camera = self.camera
        camera.configure(CameraSettings(mode=CameraMode.STILL))
        took_s, seen = [], set()
        for _ in range(self.plan.stills):
            began_ns = camera.clock.now_ns()
            frame = camera.snap()
            took_s.append((camera.clock.now_ns() - began_ns) * 1e-9)
            seen.add(frame.captured_ns)
        width, height = frame.size
        return len(seen) == self.plan.stills, (
            f"{len(seen)} stills of {width}x{height}, "
            f"{statistics.median(took_s):.2f} s from command to picture"
        )

    def _health(self) -> tuple[bool, str]:
        health = self.camera.health()
        return health.ok, "; ".join(health.warnings) or "no warning"


@contextmanager
def _settings_kept(camera: Camera) -> Iterator[None]:
    before = camera.settings
    try:
        yield
    finally:
        camera.stop()
        camera.configure(replace(before, size=None))


def _level(frame: Frame) -> float:
    full = 255.0 if frame.pixels.dtype == np.uint8 else 65535.0
    return float(frame.pixels.mean()) / full


def draw_report(report: AcceptanceReport) -> Figure:
    """Return a figure: a live frame, level against exposure, intervals of the stream."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    picture, exposure, interval = figure.subplots(1, 3)
    if report.last_frame is not None:
        pixels = report.last_frame.pixels
        picture.imshow(pixels, cmap="gray" if pixels.ndim == 2 else None)
        picture.set_title("live frame {}x{}".format(*report.last_frame.size))
    picture.set_axis_off()
    if report.levels:
        exposure.semilogx([s * 1000 for s in report.exposure_s], report.levels, "o-")
    exposure.set(xlabel="exposure, ms", ylabel="mean level", ylim=(0, 1), title="exposure walk")
    if report.intervals_ms:
        interval.hist(report.intervals_ms, bins=40, color="tab:blue")
        interval.set_yscale("log")
    interval.set(xlabel="interval, ms", ylabel="frames", title="live stream")
    verdict = "accepted" if report.passed else "NOT accepted"
    figure.suptitle(f"{report.model} {report.camera}: {verdict}")
    return figure
