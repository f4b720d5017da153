"""A real preview on loopback: the simulated rig, a tiny bundle, the real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from camera_rig.config import CalibrationConfig, RigConfig, StorageConfig, load_config
from camera_rig.contracts import Clock
from camera_rig.optics import Coefficients
from camera_rig.private_shape import wanted_shape
from camera_rig.server import listen
from cli.preview.app import Desks, create_app
from cli.preview.hub import Hub, View
from cli.preview.run import PreviewServer, ServerOptions
from cli.preview.session import LiveSession, PreviewRequest, live_session
from cli.preview.source import Source
from models.camera import LearnedCamera, OpticsSpec
from models.networks import build_face_networks, build_heatmap_network, preset
from models.runtime import bundle as bundles
from models.runtime.live_data import (
    CameraFigures,
    LiveSettings,
    LiveStatus,
    MirrorState,
    StageFigures,
)
from models.training.sources import Trained

TOKEN = "a-token-for-tests-0123456789abcdef"
SIZES = preset("tiny")
ANY_FACE = {
    "spread_range": [0.0, 100.0], "min_peak": 0.0, "least_peak": 0.0, "max_off_middle": 100.0,
    "max_detail": 100.0, "min_contrast": 0.0,
}  # fmt: skip
"""Rules under which the untrained networks of a test may paint: the gate is tested elsewhere."""


def tiny_bundle(folder: Path, config: RigConfig, seed: int = 1) -> Path:
    """Write untrained networks behind the rig's own shape, with three references."""
    shape = Coefficients.load(wanted_shape(config))
    optics = OpticsSpec(psf_px=15, max_waves_rms=1.0)
    nets = build_face_networks(SIZES, 1, seed=seed)
    modules = {
        **nets.named(),
        "heat": build_heatmap_network(SIZES, 68, seed=seed),
        "camera": LearnedCamera(optics, shape),
    }
    parts = {name: dict(net.state_dict()) for name, net in modules.items()}
    for name in list(parts["heat"]):
        if name.endswith("read.bias"):  # peaks that the gate can see, at untrained places
            parts["heat"][name] = parts["heat"][name] + 0.5
    trained = Trained("here", SIZES, "ibug68", 1, optics, parts, (shape,))
    text = bundles.CardText(name="untrained", data="none", created="2026-01-01T00:00:00Z")
    bundles.write_bundle(trained, folder, text)
    extra = {"live.json": json.dumps(ANY_FACE).encode()}
    for number, name in enumerate(("Ada", "Bao", "Cem")):
        extra[f"reference_{name}.png"] = _png(number)
    for name, content in extra.items():
        source = folder.parent / name
        source.write_bytes(content)
        bundles.add_file(folder, name, source)
    return folder


def _png(number: int) -> bytes:
    picture = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(number)).numpy()
    large = cv2.resize((picture * 255).astype("uint8").transpose(1, 2, 0), (64, 64))
    return cv2.imencode(".png", large)[1].tobytes()


def rig_before(scene: str, folder: Path) -> RigConfig:
    """Write and load the simulated rig before another scene, with its files under ``folder``."""
    shipped = load_config("simulated").source.read_text(encoding="utf-8")
    devices = shipped[: shipped.index("twin:\n")]
    path = folder / "rig.yaml"
    path.write_text(
        f"{devices}twin:\n  seed: 1\n  scene: {{{scene}}}\n"
        "storage: {root: data, keys: keys, min_free_gb: 0}\ncalibration: {root: calibration}\n",
        encoding="utf-8",
    )
    config = load_config(path)
    storage = StorageConfig(root=folder / "data", keys=folder / "keys", min_free_gb=0)
    calibration = CalibrationConfig(root=folder / "calibration")
    return config.model_copy(update={"storage": storage, "calibration": calibration})


@dataclass(frozen=True)
class Drawn:
    """One drawn moment."""

    number: int
    captured_s: float | None
    why: str | None = None


class DrawnSource:
    """A source that draws: as fast as a test asks, or by itself."""

    views = (View.FACE, View.PRIVACY)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._callback: Callable[[Drawn], None] = lambda drawn: None
        self._stop = threading.Event()
        self.number = 0
        self.coded_parts = 0

    def on_news(self, callback: Callable[[Drawn], None]) -> Callable[[], None]:
        self._callback = callback
        return self._stop.set

    def draw(self) -> Drawn:
        self.number += 1
        drawn = Drawn(self.number, self._clock.now_ns() * 1e-9)
        self._callback(drawn)
        return drawn

    def run(self, period_s: float = 0.02) -> None:
        """Go on drawing until the server ends."""

        def work() -> None:
            while not self._stop.wait(period_s):
                self.draw()

        threading.Thread(target=work, daemon=True).start()

    def coded(self, shown: Drawn, views: frozenset[View]) -> dict[View, bytes]:
        self.coded_parts += len(views)
        picture = np.full((48, 64, 3), 40, np.uint8)
        cv2.circle(picture, (8 + shown.number % 48, 24), 7, (90, 200, 160), -1)
        return {view: bytes(cv2.imencode(".jpg", picture)[1]) for view in views}

    def note_sent(self, shown: Drawn) -> None:
        pass

    def state(self) -> dict[str, Any]:
        figures = StageFigures(p50_ms=9.0, p95_ms=14.0, p99_ms=20.0, core_p50_ms=8.0, count=30)
        mirror = MirrorState(True, (), 0.1, {"mirror": 31.5}, "lopez2024.yaml")
        return LiveStatus(
            showing=True,
            reason="",
            standing=(),
            engine="drawn",
            engine_times_ms={"drawn": 9.0},
            bundle="none",
            reference="Ada",
            references=("Ada",),
            fps=50.0,
            faces=self.number,
            blanks={},
            failures={},
            stages={"infer": figures, "captured_to_sent": figures},
            camera=CameraFigures(50.0, self.number, 0, 0, 0),
            mirror=mirror,
            box=None,
            uptime_s=1.0,
        ).to_dict()


@dataclass
class Served:
    """A running preview."""

    server: PreviewServer
    hub: Hub
    thread: threading.Thread = field(repr=False)

    @property
    def link(self) -> str:
        """The link with the token."""
        return self.server.link

    @property
    def url(self) -> str:
        """The address without the token."""
        return self.link.partition("/#")[0]

    def stop(self) -> None:
        """End the server; what it showed goes on."""
        self.server.stop()
        self.thread.join(20)


@contextmanager
def serving(
    source: Source, desks: Desks, clock: Clock, *, patience_s: float = 8.0, port: int = 0, **options
) -> Iterator[Served]:
    """Serve a source on loopback."""
    chosen = ServerOptions(port=port, **options)
    hub = Hub(clock, chosen.viewers)
    started = threading.Event()
    with listen("127.0.0.1", port) as listener:
        server = PreviewServer(listener, chosen, TOKEN)
        app = create_app(server.door(hub), hub, source, desks, patience_s=patience_s)
        remove = source.on_news(hub.post)
        thread = threading.Thread(target=server.run, args=(app, hub, started.set), daemon=True)
        thread.start()
        assert started.wait(30)
        served = Served(server, hub, thread)
        try:
            yield served
        finally:
            remove()
            served.stop()


@contextmanager
def live_preview(folder: Path, bundle: Path, **more) -> Iterator[LiveSession]:
    """Open the pipeline on the simulated rig, before a scene that is quick to draw."""
    request = PreviewRequest(
        config=rig_before("kind: wedge", folder),
        bundle=bundle,
        settings=LiveSettings(engine="torch", height_px=256, max_age_s=20.0),
        **more,
    )
    with live_session(request) as session:
        yield session
