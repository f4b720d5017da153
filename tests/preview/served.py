"""A real preview on loopback: the simulated rig, a tiny bundle, the real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from camera_rig.config import CalibrationConfig, RigConfig, StorageConfig, load_config
from camera_rig.optics import Coefficients
from camera_rig.private_shape import wanted_shape
from camera_rig.server import listen
from cli.preview.app import create_app
from cli.preview.hub import Hub
from cli.preview.run import PreviewServer, ServerOptions
from cli.preview.session import PreviewRequest, Session, live_session
from models.camera import LearnedCamera, OpticsSpec
from models.networks import build_face_networks, build_heatmap_network, preset
from models.runtime import bundle as bundles
from models.runtime.live_data import LiveSettings
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
    import cv2

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


@dataclass
class Served:
    """A running preview."""

    url: str
    link: str
    session: Session
    hub: Hub
    server: PreviewServer
    thread: threading.Thread = field(repr=False, default=None)

    def kill(self) -> None:
        """End the server; the rest of the session stays."""
        self.server.stop()
        self.thread.join(20)


@contextmanager
def serving(session: Session, **options) -> Iterator[Served]:
    """Serve a session on a free port."""
    chosen = ServerOptions(port=0, **options)
    hub = Hub(session.rig.clock, chosen.viewers)
    started = threading.Event()
    with listen("127.0.0.1", 0) as listener:
        server = PreviewServer(listener, chosen, TOKEN)
        app = create_app(server.door(hub), hub, session.source, session.desks)
        remove = session.source.on_news(hub.post)
        thread = threading.Thread(target=server.run, args=(app, hub, started.set), daemon=True)
        thread.start()
        started.wait(20)
        served = Served(server.link.partition("/#")[0], server.link, session, hub, server, thread)
        try:
            yield served
        finally:
            remove()
            served.kill()


@contextmanager
def live_preview(folder: Path, bundle: Path, **more) -> Iterator[Session]:
    """Open the pipeline on the simulated rig."""
    request = PreviewRequest(
        config=rig_before("kind: wedge", folder),
        bundle=bundle,
        settings=LiveSettings(engine="torch", height_px=256, max_age_s=10.0),
        **more,
    )
    with live_session(request) as session:
        yield session
