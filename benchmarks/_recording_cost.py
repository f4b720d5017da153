"""What recording costs: beside ffmpeg, along a long take, in a full catalogue."""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from camera_rig.clock import SystemClock
from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraSettings,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Frame,
)
from camera_rig.recording.consent import permit_recording
from camera_rig.recording.plan import TakePlan
from camera_rig.recording.recorder import Recorder
from camera_rig.recording.store import DataStore

FPS, SECONDS, SHAPE = 30, 20, (1080, 1920)


def _scene(seed: int) -> np.ndarray:
    """A textured picture with sensor noise of two grey steps."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.normal(size=SHAPE))
    fy, fx = np.fft.fftfreq(SHAPE[0])[:, None], np.fft.rfftfreq(SHAPE[1])[None]
    base = np.fft.irfft2(spectrum / np.maximum(np.hypot(fx, fy), 1e-3) ** 1.2, SHAPE)
    base = (base - base.min()) / np.ptp(base) * 200 + 20
    colour = np.stack([base, 0.9 * base + 10, 0.8 * base + 20], axis=-1)
    return np.clip(colour + rng.normal(0, 2, colour.shape), 0, 255).astype(np.uint8)


def _mosaic(rgb: np.ndarray) -> np.ndarray:
    out = rgb[..., 1].copy()
    out[::2, ::2] = rgb[::2, ::2, 0]
    out[1::2, 1::2] = rgb[1::2, 1::2, 2]
    return out


class PacedCamera(Camera):
    """Hands out prepared frames at an exact rate; makes no work of its own."""

    class Options(DriverOptions):
        phase_s: float = 0.0

    def load(self, pictures: list[tuple[np.ndarray, bytes | None]]) -> None:
        self._pictures = pictures

    def _do_open(self) -> None:
        self._start_ns = self._next = 0

    def _do_close(self) -> None:
        pass

    def _do_info(self) -> DeviceInfo:
        return DeviceInfo(self.kind, "paced", self.options.serial, "twin")

    def _do_capabilities(self) -> CameraCapabilities:
        return CameraCapabilities(nominal_fps=FPS)

    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        return settings

    def _do_start(self) -> None:
        self._start_ns = self.clock.now_ns() + round(self.options.phase_s * 1e9)
        self._next = 0

    def _do_stop(self) -> None:
        pass

    def _do_next_frame(self, timeout_s: float) -> Frame | None:
        now = self.clock.now_ns()
        oldest = int((now - self._start_ns) * 1e-9 * FPS) - 3  # a driver with four buffers
        self._next = max(self._next, oldest)
        at = self._start_ns + round(self._next / FPS * 1e9)
        if at > now:
            self.clock.sleep((at - now) * 1e-9)
        number, self._next = self._next, self._next + 1
        pixels, encoded = self._pictures[number % len(self._pictures)]
        return Frame(pixels, self.options.serial, number, at, 100_000, 0.01, encoded=encoded)

    def _do_latest_frame(self) -> Frame | None:
        return None

    def _do_snap(self) -> Frame:
        raise NotImplementedError


def _record(pictures: list[tuple[np.ndarray, bytes | None]]) -> dict[str, Any]:
    clock = SystemClock()
    cameras = {}
    for role, phase_s in (("privacy", 0.0), ("side", 0.01)):
        camera = PacedCamera(
            PacedCamera.Options(serial=role, phase_s=phase_s), DeviceContext(role, clock)
        )
        camera.open()
        camera.load(pictures)
        cameras[role] = camera
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        store = DataStore(Path(folder) / "data", Path(folder) / "keys")
        permit = permit_recording("T01", store.keys, store.consents, simulated=True)
        plan = TakePlan(duration_s=SECONDS, warm_up_s=2.0, min_free_gb=0)
        with Recorder(cameras, clock, plan) as recorder:
            recorder.warm_up()
            sealing = _Marks()
            report = recorder.record(permit, store.takes, on_status=sealing.tick)
        sealed_s = sealing.cpu_since_last_tick()
        seal = report.seal
    assert seal is not None
    pairs = seal.totals.pairs
    return {
        "pairs": pairs,
        "lost_by_the_source": sum(seal.totals.lost.values()),
        "dropped": sum(seal.totals.dropped.values()),
        "mb_per_pair": round(seal.totals.stored_bytes / pairs / 1e6, 3),
        "mb_per_s": round(seal.totals.stored_bytes / SECONDS / 1e6, 1),
        "cpu_s": round(sealing.cpu_s, 3),
        "share_of_two_cores": round(sealing.cpu_s / (2 * sealing.wall_s), 4),
        "core_ms_per_pair": round(1e3 * sealing.cpu_s / pairs, 3),
        "seal_cpu_s_once": round(sealed_s, 3),
        "queue_high_frames": seal.report["queue_high_frames"],
        "longest_write_ms": seal.report["longest_write_ms"],
        "codecs": seal.report["codecs"],
    }


class _Marks:
    """CPU and wall time from the first to the last status of a take."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self.cpu_s = self.wall_s = self._last = 0.0

    def tick(self, status: Any) -> None:
        now = _cpu_s(), time.perf_counter()
        if self._first is None:
            self._first = now
        if status.remaining_s > 0:
            self.cpu_s, self.wall_s = now[0] - self._first[0], now[1] - self._first[1]
            self._last = now[0]

    def cpu_since_last_tick(self) -> float:
        return _cpu_s() - self._last


def _ffmpeg(jpegs: list[bytes]) -> dict[str, Any]:
    if shutil.which("ffmpeg") is None:
        return {"skipped": "ffmpeg is not installed"}
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        source = Path(folder) / "in.mjpeg"
        source.write_bytes(b"".join(jpegs))
        loops = FPS * SECONDS // len(jpegs) - 1
        words = ["ffmpeg", "-v", "error", "-re", "-stream_loop", str(loops), "-f", "mjpeg",
                 "-framerate", str(FPS), "-i", str(source), "-c", "copy",
                 "-f", "matroska"]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        running = [subprocess.Popen([*words, f"{folder}/{n}.mkv"]) for n in range(2)]
        codes = [process.wait() for process in running]
        wall_s = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        sizes = [Path(f"{folder}/{n}.mkv").stat().st_size for n in range(2)]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    frames = len(jpegs) * (loops + 1)
    return {
        "exit_codes": codes,
        "frames_each": frames,
        "mb_written": round(sum(sizes) / 1e6, 1),
        "cpu_s": round(cpu_s, 3),
        "share_of_two_cores": round(cpu_s / (2 * wall_s), 4),
        "core_ms_per_pair": round(1e3 * cpu_s / frames, 3),
        "note": "two processes, no pair index, no common clock, no encryption, no check sums",
    }


def cost() -> dict[str, Any]:
    """MJPEG untouched and Bayer, against ffmpeg in the same run."""
    pictures = [_scene(seed) for seed in range(10)]
    jpegs = []
    for rgb in pictures:
        good, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
        assert good
        jpegs.append(data.tobytes())
    mjpeg = _record([(px, data) for px, data in zip(pictures, jpegs, strict=True)])
    beside = _ffmpeg(jpegs)
    bayer = _record([(_mosaic(px), None) for px in pictures])
    out = {
        "source": f"2 x 1920x1080 at {FPS} fps for {SECONDS} s, {len(jpegs[0]) / 1e3:.0f} kB JPEG",
        "mjpeg_untouched": mjpeg,
        "ffmpeg_copy": beside,
        "bayer_rdz": bayer,
        "parts_core_ms_per_pair": _parts(jpegs[0], _mosaic(pictures[0])),
    }
    if "core_ms_per_pair" in beside:
        out["mjpeg_over_ffmpeg"] = round(mjpeg["core_ms_per_pair"] / beside["core_ms_per_pair"], 2)
    return out


def _parts(jpeg: bytes, mosaic: np.ndarray) -> dict[str, float]:
    """What single steps cost, so that the whole can be understood."""
    import zlib

    from camera_rig.recording.codec import encode_pixels
    from camera_rig.recording.vault import FrameClass, FrameSealer

    sealer = FrameSealer("t", FrameClass.SIDE, bytes(32))
    steps = {
        "encrypt_jpeg": lambda: sealer.seal("c", 0, jpeg),
        "crc_jpeg": lambda: zlib.crc32(jpeg),
        "encode_bayer": lambda: encode_pixels(mosaic, "rdz-lag2"),
    }
    out = {}
    for name, step in steps.items():
        step()
        start = time.thread_time()
        for _ in range(30):
            step()
        out[name] = round((time.thread_time() - start) / 30 * 1e3 * 2, 3)
    return out


def growth() -> dict[str, Any]:
    """Cost per pair along 20,000 pairs; catalogue calls with 100 and 10,000 takes."""
    from camera_rig.recording.catalog import TakeRow
    from camera_rig.recording.clockmodel import ClockModel
    from camera_rig.recording.keys import KeyStore
    from camera_rig.recording.manifest import FinishReason
    from camera_rig.recording.take import DiskRules
    from tests.recording import support

    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        store = KeyStore(Path(folder) / "keys")
        store.init(None)
        rules = DiskRules(shard_bytes=1 << 28)
        out, keys = support.writer(Path(folder) / "t", store, rules=rules, clock=SystemClock())
        blocks, number = [], 0
        for _ in range(20):
            start = time.process_time()
            for _ in range(1000):
                out.write(support.random_group(keys, number, 20_000))
                number += 1
            blocks.append((time.process_time() - start) / 1000 * 1e3)
        start = time.process_time()
        out.seal(FinishReason.DURATION, ClockModel())
        seal_us = (time.process_time() - start) / number * 1e6
        row = TakeRow("t", "S", 0, "s", 1.0, 1, 0, 0, 1, True, (), "", "", 0, "")
        catalogue = {n: _catalogue(Path(folder) / f"c{n}", row, n) for n in (100, 10_000)}
    return {
        "core_ms_per_pair_first_2000": round(float(np.mean(blocks[:2])), 4),
        "core_ms_per_pair_last_2000": round(float(np.mean(blocks[-2:])), 4),
        "last_over_first": round(float(np.mean(blocks[-2:]) / np.mean(blocks[:2])), 3),
        "seal_core_us_per_pair": round(seal_us, 1),
        "catalogue_core_ms": {str(n): found for n, found in catalogue.items()},
        "note": "20 kB a frame, so that bookkeeping and not bytes is seen",
    }


def _catalogue(folder: Path, row: Any, count: int) -> dict[str, float]:
    from camera_rig.recording.catalog import Catalog, TakeRow

    catalog = Catalog(folder / "catalog.sqlite")
    facts = {name: getattr(row, name) for name in TakeRow.__slots__}

    def made(n: int) -> TakeRow:
        more = {"take": f"2026-{n:06d}", "started_wall_ns": n, "subject": f"S{n % 50}"}
        return TakeRow(**{**facts, **more})

    catalog.put_rows(made(n) for n in range(count))
    calls = {
        "put": lambda: catalog.put_rows([made(count + 1)]),
        "newest_50": lambda: catalog.rows(limit=50),
        "find": lambda: catalog.matching(f"2026-{count // 2:06d}"),
    }
    out = {}
    for name, call in calls.items():
        call()
        start = time.process_time()
        for _ in range(50):
            call()
        out[name] = round((time.process_time() - start) / 50 * 1e3, 3)
    return out


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
