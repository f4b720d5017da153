"""What the simulated rig costs: CPU share of two live cameras, and where it goes.

    python benchmarks/twin.py [--seconds 10]

Three figures: the share of the cores that stays free while both cameras run at 960x640
and 30 frames a second through the published coefficients, with its split per stage; how
much faster than real time an offline take is; and what forming pictures on a coarse grid
costs in fidelity. CPU time is what this process used, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from camera_rig.bench import Bench
from camera_rig.clock import ManualClock, SystemClock
from camera_rig.contracts import Clock, DeviceContext
from camera_rig.optics import Coefficients
from camera_rig.twin.blur import FourierBlur, blur_for
from camera_rig.twin.cameras import Shot
from camera_rig.twin.devices import TwinCamera, TwinMirror
from camera_rig.twin.geometry import Resampler
from camera_rig.twin.mirror import MODES
from camera_rig.twin.scene import Scene
from camera_rig.twin.world import World, WorldOptions

HERE = Path(__file__).parent
RESULT = HERE / "results" / "twin.json"
PAPER = HERE.parent / "hw_configs" / "coefficients" / "lopez2024.yaml"


def rig(clock: Clock) -> tuple[World, dict[str, Any]]:
    """Return a world with a cached head and the paper's shape on the mirror."""
    options = WorldOptions.model_validate({"scene": {"kind": "head", "identity_seed": 7}})
    world = World(options, Bench(), clock)
    world.prepare()
    kinds = {"privacy": TwinCamera, "side": TwinCamera, "mirror": TwinMirror}
    devices = {
        name: kind(kind.Options(), DeviceContext(name, clock, world))
        for name, kind in kinds.items()
    }
    for device in devices.values():
        device.open()
    devices["mirror"].apply(world.truth.command_for(Coefficients.load(PAPER)), reason="benchmark")
    return world, devices


def live(seconds: float) -> dict[str, float]:
    """Run both cameras at their pace, a thread each, and measure this process's CPU time."""
    _, devices = rig(SystemClock())
    cameras = [devices["privacy"], devices["side"]]
    for camera in cameras:
        camera.start()
    for _ in range(30):
        for camera in cameras:
            camera.next_frame(2.0)
    lost = -sum(camera.health().readings["frames_lost"] for camera in cameras)
    until = time.monotonic() + seconds

    def watch(camera: TwinCamera) -> int:
        count = 0
        while time.monotonic() < until:
            camera.next_frame(2.0)
            count += 1
        return count

    wall, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(2) as pool:
        frames = sum(pool.map(watch, cameras))
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    lost += sum(camera.health().readings["frames_lost"] for camera in cameras)
    cores = os.cpu_count() or 1
    return {
        "cores": cores,
        "seconds": round(wall, 1),
        "fps_each": round(frames / 2 / wall, 2),
        "frames_lost": lost,
        "cpu_ms_per_pair": round(1e3 * cpu / (frames / 2), 2),
        "cores_used": round(cpu / wall, 3),
        "free_share_of_two_cores": round(1 - cpu / wall / 2, 3),
    }


def offline(take_s: float) -> dict[str, float]:
    """Simulate a take with a clock that nobody waits for, one thread per camera."""
    _, devices = rig(ManualClock())
    cameras = [devices["privacy"], devices["side"]]
    for camera in cameras:
        camera.start()
        camera.next_frame(2.0)
    frames = round(30 * take_s)

    def take(camera: TwinCamera) -> None:
        for _ in range(frames):
            camera.next_frame(1e3)

    wall, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(take, cameras))
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return {
        "take_s": take_s,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "times_faster_than_life": round(take_s / wall, 2),
        "cpu_ms_per_pair": round(1e3 * cpu / frames, 2),
        "free_share_of_two_cores_at_30_fps": round(1 - 30 * cpu / frames / 2, 3),
    }


def _ms(work: Callable[[], object], repeats: int = 25) -> float:
    work()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return round(1e3 * float(np.median(spent)), 2)


def stages() -> dict[str, dict[str, float]]:
    """Return the median CPU time of each stage of one frame, ms."""
    import cv2

    world, _ = rig(ManualClock())
    scene = world.scene
    table: dict[str, dict[str, float]] = {}
    for role, camera in world.cameras.items():
        arm, sensor = camera.arm, camera.sensor
        moment = world.moment(role, 0.5, False)
        _, blur = arm.blur(moment.wavefront_um)
        picture = scene.radiance(0.5)
        grid = blur.grid
        samples = np.empty((3, grid.rows, grid.columns), np.float32)
        out = np.empty((3, *arm.geometry.size[::-1]), np.float32)
        resampler = Resampler(arm.geometry, grid, scene.field)
        exposure = camera.expose(Shot(0.5, sensor.options.exposure_s, sensor.options.iso, 1), 0.0)
        bgr = sensor.live(exposure)
        good, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert good
        clean = samples.copy()

        def filtered(blur: Any = blur, clean: Any = clean, samples: Any = samples,
                     out: Any = out) -> None:  # fmt: skip
            np.copyto(samples, clean)
            blur(samples, out)

        table[role] = {
            "read cached scene": _ms(lambda: scene.radiance(0.5)),
            "look up on the sensor": _ms(lambda r=resampler, p=picture, s=samples: r(p, s)),
            "diffraction": _ms(filtered),
            "noise, tone curve": _ms(lambda s=sensor, e=exposure: s.live(e)),
            "JPEG coding": _ms(
                lambda b=bgr: cv2.imencode(".jpg", b, [cv2.IMWRITE_JPEG_QUALITY, 92])
            ),
            "JPEG decoding": _ms(lambda c=coded: cv2.imdecode(c, cv2.IMREAD_COLOR)),
            "grid factor": float(getattr(blur, "factor", 1)),
        }
    arm = world.cameras["privacy"].arm
    um = world.wavefront_um("privacy", 0.5)
    table["mirror moved"] = {
        "PSF": _ms(lambda: arm.kernel(um), 7),
        "transfer function": _ms(lambda: blur_for(arm.kernel(um), arm.geometry.size), 7),
    }
    return table


def fidelity() -> dict[str, float]:
    """Return dB between coarse and full grids for a head and a board, paper's shape."""
    world, _ = rig(ManualClock())
    arm = world.cameras["privacy"].arm
    paper = Coefficients.load(PAPER).to(unit="um_rms").array(MODES)
    from camera_rig.twin.staging import CharucoOptions, build_scene

    board = build_scene(CharucoOptions(kind="charuco"), world.bench).scene
    table = {}
    for name, scene in {"head": world.scene, "board": board}.items():
        for strength in (0.25, 0.5, 1.0):
            kernel = arm.kernel(strength * paper)
            chosen = blur_for(kernel, arm.geometry.size)
            coarse, fine = (
                _formed(world, scene, blur)
                for blur in (chosen, blur_for(kernel, arm.geometry.size, exact=True))
            )
            decibel = -10 * np.log10(np.mean((coarse - fine) ** 2))
            factor = chosen.factor if isinstance(chosen, FourierBlur) else 1
            table[f"{name}, {strength:g} x, grid 1/{factor}"] = (
                round(float(decibel), 1) if factor > 1 else float("inf")
            )
    return table


def _formed(world: World, scene: Scene, blur: Any) -> np.ndarray:
    arm = world.cameras["privacy"].arm
    samples = np.empty((3, blur.grid.rows, blur.grid.columns), np.float32)
    Resampler(arm.geometry, blur.grid, scene.field)(scene.radiance(0.5), samples)
    out = np.empty((3, *arm.geometry.size[::-1]), np.float32)
    blur(samples, out)
    return out


def main() -> None:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=10.0)
    given = arguments.parse_args()
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "stages_ms": stages(),
        "live": live(given.seconds),
        "offline": offline(30.0),
        "coarse_grid_db": fidelity(),
    }
    print(json.dumps(result, indent=1))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
