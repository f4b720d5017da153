"""Rigs and bundles for ``live.py``: frames of the twin replayed at a camera's pace."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from camera_rig.clock import ManualClock
from camera_rig.config import RigConfig, StorageConfig, coefficient_file, load_config
from camera_rig.drivers.replay import ReplayOptions
from camera_rig.optics import Coefficients
from camera_rig.private_shape import private_shape
from camera_rig.rig import Rig

SHORT_CLIP_S = 0.2


def config_at(folder: Path, size: tuple[int, int] | None = None, **scene: Any) -> RigConfig:
    """The simulated rig with its files in ``folder``; both cameras at ``size`` px."""
    config = load_config("simulated")
    twin = config.twin
    told = {"scene": twin.scene.model_copy(update=scene)}
    if size is not None:
        for role in ("privacy", "side"):
            camera = getattr(twin, role)
            sensor = camera.sensor.model_copy(update={"size": size})
            told[role] = camera.model_copy(update={"sensor": sensor})
    storage = StorageConfig(root=folder / "data", keys=folder / "keys")
    return config.model_copy(update={"storage": storage, "twin": twin.model_copy(update=told)})


def record_frames(folder: Path, size: tuple[int, int], count: int = 8) -> dict[str, Path]:
    """JPEG frames of both cameras of the twin, as sent, into two folders."""
    places = {role: folder / f"{size[0]}x{size[1]}-{role}" for role in ("privacy", "side")}
    if all(place.is_dir() and len(list(place.glob("*.jpg"))) >= count for place in places.values()):
        return places
    config = config_at(folder, size, duration_s=SHORT_CLIP_S)
    with Rig.open(config, clock=ManualClock(), only={"privacy", "side", "mirror"}) as rig:
        with private_shape(rig):
            for role, place in places.items():
                place.mkdir(parents=True, exist_ok=True)
                camera = getattr(rig, role)
                camera.start()
                for number in range(count):
                    frame = camera.next_frame(2.0)
                    (place / f"{number:03d}.jpg").write_bytes(frame.encoded)
                camera.stop()
    return places


def replay_config(folder: Path, places: dict[str, Path], fps: float = 30.0) -> RigConfig:
    """A rig whose cameras replay such frames and whose mirror is the twin's."""
    config = config_at(folder, duration_s=SHORT_CLIP_S)
    devices = dict(config.devices)
    for role, place in places.items():
        options = ReplayOptions(
            path=place, serial=f"replay-{role}", fps=fps, loop=True, queue_frames=4
        )
        update = {"driver": "replay", "options": options}
        devices[role] = devices[role].model_copy(update=update)
    return config.model_copy(update={"devices": devices})


def speed_bundle(folder: Path, preset: str, crops: Path) -> Any:
    """A bundle of a preset with untrained networks, exported: for speed alone."""
    from models.camera import LearnedCamera, OpticsSpec
    from models.networks import build_face_networks, build_heatmap_network
    from models.networks import preset as sizes_of
    from models.runtime.bundle import CardText, open_bundle, write_bundle
    from models.runtime.export import export_bundle
    from models.runtime.gate_frames import frames_of_folder
    from models.training.sources import Trained

    target = folder / f"speed-{preset}"
    if not target.exists():
        sizes, optics = sizes_of(preset), OpticsSpec()
        camera = LearnedCamera(optics, Coefficients.load(coefficient_file("lopez2024")))
        nets = build_face_networks(sizes, 1, seed=0)
        heat = build_heatmap_network(sizes, 68, seed=0)
        modules = {**nets.named(), "heat": heat, "camera": camera}
        parts = {name: dict(net.state_dict()) for name, net in modules.items()}
        trained = Trained(target, sizes, "ibug68", 1, optics, parts, tuple(camera.coefficients))
        text = CardText(f"speed-{preset}", "none: random weights", "2026-01-01T00:00:00Z")
        write_bundle(trained, target, text)
        export_bundle(target, frames_of_folder(crops, sizes.size_px))
    return open_bundle(target)


def crops_of(places: dict[str, Path], folder: Path, size_px: int = 256) -> Path:
    """Face windows of the privacy frames, for the ranges of int8."""
    target = folder / "crops"
    target.mkdir(exist_ok=True)
    for file in sorted(places["privacy"].glob("*.jpg")):
        picture = cv2.imread(str(file))
        height, width = picture.shape[:2]
        side = round(0.36 * width)
        top, left = (height - side) // 2, (width - side) // 2
        square = cv2.resize(picture[top : top + side, left : left + side], (size_px, size_px))
        cv2.imwrite(str(target / f"{file.stem}.png"), square)
    return target


def jpegs(folder: Path) -> list[bytes]:
    """The JPEG files of a folder."""
    return [file.read_bytes() for file in sorted(folder.glob("*.jpg"))]


def decoded(data: bytes) -> np.ndarray:
    """RGB pixels of a JPEG."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))


def workplace() -> Path:
    """A folder that keeps frames and exports between runs."""
    from camera_rig.twin.head.cache import user_cache_dir

    folder = user_cache_dir() / "benchmarks-live"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def temporary() -> tempfile.TemporaryDirectory[str]:
    """A folder for one run."""
    return tempfile.TemporaryDirectory(prefix="live-")


def permit_of_nobody(store: Any) -> Any:
    """Leave to record: replays count as real cameras, so a throwaway store gets a consent.

    What they replay are synthetic heads.
    """
    import datetime as dt

    from camera_rig.recording.consent import ConsentRecord, permit_recording

    store.keys.init(None)
    store.consents.add(
        ConsentRecord(
            id=store.consents.new_id(), pseudonym="T01", form_id="none", form_version="1",
            form_sha256="0" * 64, scopes=("train",), operator="benchmark",
            retention_until=store.consents.today() + dt.timedelta(days=1),
            given_wall_ns=time.time_ns(),
        )
    )  # fmt: skip
    return permit_recording("T01", store.keys, store.consents, simulated=False)


class OtherWork:
    """How much of the machine others use meanwhile: a figure beside theirs is no quiet one."""

    def __init__(self) -> None:
        self._begin = self._read()

    def share(self) -> float:
        """Return what others used since the beginning, share of all cores."""
        used_s, own_s, wall_s = (b - a for a, b in zip(self._begin, self._read(), strict=True))
        return round(max(0.0, used_s - own_s) / wall_s / (os.cpu_count() or 1), 3)

    def _read(self) -> tuple[float, float, float]:
        ticks = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        busy_s = (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")
        return busy_s, time.process_time(), time.perf_counter()
