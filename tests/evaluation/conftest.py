from __future__ import annotations

from pathlib import Path

import pytest
import torch

from camera_rig.optics import Coefficients, Order, Unit
from models.camera import LearnedCamera, OpticsSpec
from models.evaluation import gauges
from models.networks import build_face_networks, build_heatmap_network, preset
from models.runtime import bundle as bundles
from models.training.sources import Trained
from tests.models.conftest import _one_thread, faces_folder  # noqa: F401  (fixtures)

OPTICS = OpticsSpec(psf_px=31, pixel_um=6.0, max_waves_rms=1.0)
SHAPE = Coefficients.numbered({4: -0.5, 7: 0.2}, Unit.WAVES_RMS, Order.NOLL, 550)


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory) -> Path:
    """A tiny bundle with random weights: it paints, badly, and always the same."""
    sizes = preset("tiny")
    modules = {
        **build_face_networks(sizes, 1, seed=0).named(),
        "heat": build_heatmap_network(sizes, 68, seed=0),
        "camera": LearnedCamera(OPTICS, SHAPE),
    }
    parts = {name: dict(net.state_dict()) for name, net in modules.items()}
    shapes = tuple(modules["camera"].coefficients)
    trained = Trained("here", sizes, "ibug68", 1, OPTICS, parts, shapes)
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    text = bundles.CardText(name="tiny", data="none", created="2026-01-01T00:00:00Z")
    bundles.write_bundle(trained, folder, text)
    return folder


@pytest.fixture
def own_recogniser(tmp_path, monkeypatch) -> str:
    """A recogniser that a user brings as FaceNet: a face is the mean colour of its crop.

    Its answers are known in advance, and it takes the way that any user's network takes.
    """
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["m"])],
        "mean",
        [helper.make_tensor_value_info("x", kind, [1, 3, 160, 160])],
        [helper.make_tensor_value_info("m", kind, [1, 3, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    from models.evaluation.weights import cache_folder

    cache_folder().mkdir(parents=True)
    onnx.save(model, str(cache_folder() / "facenet-casia.onnx"))
    gauges.gauge.cache_clear()
    yield "identity.facenet-casia"
    gauges.gauge.cache_clear()


@pytest.fixture
def frames() -> torch.Tensor:
    """Smooth pictures to set strengths on."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8, generator=draw)
    return torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1)
