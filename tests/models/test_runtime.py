from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from camera_rig.errors import ConfigError, StateError, StorageError, UnsupportedError
from camera_rig.optics import Coefficients, Order, Unit
from models.camera import LearnedCamera, OpticsSpec
from models.data import planar
from models.networks import build_face_networks, build_heatmap_network, preset
from models.runtime import bundle as bundles
from models.runtime import engine as engines
from models.runtime import gate_frames, quantise
from models.runtime.export import export_bundle
from models.runtime.painter import Painter, StyleReader
from models.runtime.quantise import quantise_onnx
from models.runtime.sines import SINE_ERROR, fuse_sines
from models.training.sources import Trained, open_trained

SIZES = preset("tiny")
OPTICS = OpticsSpec(psf_px=15, max_waves_rms=0.5)
SHAPE = Coefficients.numbered({4: -0.3, 7: 0.1}, Unit.WAVES_RMS, Order.NOLL, 550)
TEXT = bundles.CardText(name="test", data="drawn faces", created="2026-01-01T00:00:00Z")


def _trained() -> Trained:
    nets = build_face_networks(SIZES, 1, seed=0)
    modules = {
        **nets.named(),
        "heat": build_heatmap_network(SIZES, 68, seed=0),
        "camera": LearnedCamera(OPTICS, SHAPE),
    }
    parts = {name: dict(net.state_dict()) for name, net in modules.items()}
    shapes = tuple(modules["camera"].coefficients)
    return Trained("here", SIZES, "ibug68", 1, OPTICS, parts, shapes)


@pytest.fixture
def trained() -> Trained:
    return _trained()


@pytest.fixture
def folder(trained, tmp_path):
    bundles.write_bundle(trained, tmp_path / "b", TEXT, {"landmarks_px (drawn)": 2.5})
    return tmp_path / "b"


def test_round_trip(folder, trained):
    opened = bundles.open_bundle(folder)
    assert opened.card.metrics == {"landmarks_px (drawn)": 2.5}
    assert set(opened.trained.parts) == {"heat", "camera", "encoder", "generator", "style"}
    for name, part in opened.trained.parts.items():
        assert all(torch.equal(part[k], trained.parts[name][k]) for k in part)
    assert opened.trained.coefficients[0].numbers[4] == pytest.approx(-0.3, abs=1e-6)
    assert open_trained(folder).layout == "ibug68"
    assert bundles.verify(folder) == []
    with pytest.raises(StorageError, match="exists"):
        bundles.write_bundle(trained, folder, TEXT)


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (lambda f: _flip_byte(f / bundles.WEIGHTS), "weights.safetensors was changed"),
        (lambda f: (f / bundles.COEFFICIENTS).unlink(), "coefficients.yaml is missing"),
        (lambda f: (f / "extra.py").write_text("x"), "extra.py was added"),
        (lambda f: _flip_byte(f / bundles.COEFFICIENTS), "coefficients.yaml was changed"),
    ],
)
def test_tampering_is_refused(folder, harm, word):
    harm(folder)
    with pytest.raises(StorageError) as caught:
        bundles.open_bundle(folder)
    assert word in str(caught.value)


def _flip_byte(path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def test_weights_of_another_optic_are_refused(folder, trained, tmp_path):
    # Both files hashed rightly, but they do not belong together.
    other = Coefficients.numbered({5: 0.4}, Unit.WAVES_RMS, Order.NOLL, 550)
    (folder / bundles.COEFFICIENTS).unlink()
    other.save(folder / bundles.COEFFICIENTS)
    card = json.loads((folder / bundles.CARD).read_text())
    card["files"][bundles.COEFFICIENTS] = bundles.file_hash(folder / bundles.COEFFICIENTS)
    (folder / bundles.CARD).write_text(json.dumps(card))
    with pytest.raises(ConfigError, match="do not match its card"):
        bundles.open_bundle(folder)


def test_running_behind_another_optic_is_refused(folder):
    opened = bundles.open_bundle(folder)
    opened.check_optics([SHAPE])
    near = Coefficients.numbered({4: -0.3001, 7: 0.1}, Unit.WAVES_RMS, Order.NOLL, 550)
    opened.check_optics([near.to(unit=Unit.UM_RMS)])
    far = Coefficients.numbered({4: -0.31, 7: 0.1}, Unit.WAVES_RMS, Order.NOLL, 550)
    with pytest.raises(ConfigError, match="the instrument shows"):
        opened.check_optics([far])


def test_calibrations_of_a_tuned_bundle_must_be_in_force(trained, tmp_path):
    from dataclasses import replace

    bundles.write_bundle(trained, tmp_path / "b", replace(TEXT, calibrations=("psf-1",)))
    opened = bundles.open_bundle(tmp_path / "b")
    opened.check_optics([SHAPE], ["psf-1", "sync-3"])
    with pytest.raises(ConfigError, match="psf-1"):
        opened.check_optics([SHAPE], ["psf-2"])


def test_another_format_and_no_bundle(folder, tmp_path):
    card = json.loads((folder / bundles.CARD).read_text())
    (folder / bundles.CARD).write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(ConfigError, match="99"):
        bundles.read_card(folder)
    with pytest.raises(StorageError, match="no bundle"):
        bundles.read_card(tmp_path)
    with pytest.raises(ConfigError, match="neither"):
        open_trained(tmp_path)


def test_painter_is_u_masks_e_and_g(folder):
    opened = bundles.open_bundle(folder)
    painter, reader = Painter(opened), StyleReader(opened)
    frames = torch.rand(2, 3, 32, 32)
    style = reader(torch.rand(2, 3, 32, 32))
    faces, maps = painter(frames, style)
    assert faces.shape == (2, 3, 32, 32) and maps.shape == (2, 69, 8, 8)
    assert float(faces.min()) >= 0 and float(faces.max()) <= 1


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    pytest.importorskip("onnxscript")
    place = tmp_path_factory.mktemp("export")
    bundles.write_bundle(_trained(), place / "b", TEXT)
    painter = Painter(bundles.open_bundle(place / "b"))
    engines.export_onnx(painter, place / "p.onnx", style_dim=SIZES.style_dim, size_px=32)
    return place / "p.onnx"


@pytest.fixture
def exported(folder, onnx_file):
    painter = Painter(bundles.open_bundle(folder))  # the same weights
    return painter, onnx_file, engines.fixed_inputs(32, SIZES.style_dim)


@pytest.mark.parametrize(
    ("kind", "library"),
    [(engines.OnnxEngine, "onnxruntime"), (engines.OpenVinoEngine, "openvino")],
)
def test_exported_engines_agree_with_torch(exported, kind, library):
    pytest.importorskip(library)
    painter, target, inputs = exported
    result = engines.check_parity(engines.TorchEngine(painter), kind(target), inputs)
    assert result.passed, result
    engines.require_parity(result)


def test_the_gate_stops_another_network(exported):
    painter, target, inputs = exported
    with torch.no_grad():
        painter.generator.to_rgb.bias += 0.01
    other = engines.OnnxEngine(target)
    chosen, results = engines.choose_engine(painter, [lambda: other], inputs)
    assert chosen.name == "torch fp32" and not results[0].passed
    with pytest.raises(StateError, match="does not agree"):
        engines.require_parity(results[0])


def test_int8_is_judged_by_the_task(exported, tmp_path):
    painter, target, (frames, styles) = exported
    samples = [{"frames": frames[i : i + 1], "style": styles[i : i + 1]} for i in range(3)]
    quantise_onnx(target, tmp_path / "q.onnx", samples)
    small = engines.OnnxEngine(tmp_path / "q.onnx", "ONNX Runtime int8")
    result = engines.check_parity(engines.TorchEngine(painter), small, (frames, styles))
    assert np.isfinite(result.faces_db) and result.faces_worst > 1e-4  # it is another network
    assert result.passed == (result.peaks_px <= 1.0 and result.faces_db >= 30.0)


def test_evening_out_channels_changes_nothing_but_their_sizes(exported):
    onnx = pytest.importorskip("onnx")
    painter, target, (frames, styles) = exported
    samples = [{"frames": frames[i : i + 1], "style": styles[i : i + 1]} for i in range(3)]
    evened = quantise._evened(onnx.load(target), [], samples)
    added = [node for node in evened.graph.node if node.name.startswith("even_")]
    assert added
    place = target.with_name("evened.onnx")
    onnx.save(evened, place)
    result = engines.check_parity(
        engines.TorchEngine(painter), engines.OnnxEngine(place), (frames, styles)
    )
    assert result.passed, result


def test_fused_sines_are_sines():
    openvino = pytest.importorskip("openvino")
    angle = openvino.opset13.parameter([4001], np.float32)
    wave = openvino.opset13.sin(angle)
    model = openvino.Model([openvino.opset13.multiply(wave, np.float32(2.0))], [angle])
    assert fuse_sines(model) == 1
    assert "Sin" not in {node.get_type_name() for node in model.get_ops()}
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    fused = openvino.Core().compile_model(model, "CPU", settings)
    x = np.linspace(-40, 40, 4001, dtype=np.float32)
    rounding = 40 * 2.0**-23  # of the number of turns, in radians
    off = np.abs(fused([x])[0] / 2 - np.sin(x.astype(float)))
    assert off.max() <= SINE_ERROR + 2 * rounding


def test_bf16_is_judged_by_the_task_and_refused_where_there_is_none(exported):
    openvino = pytest.importorskip("openvino")
    painter, target, inputs = exported
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(UnsupportedError, match="no bf16"):
            engines.OpenVinoEngine(target, "OpenVINO bf16", bf16=True)
        return
    mixed = engines.OpenVinoEngine(target, "OpenVINO bf16", bf16=True)
    result = engines.check_parity(engines.TorchEngine(painter), mixed, inputs)
    assert result.faces_worst > 1e-4  # sixteen bits are not single precision
    assert result.passed == (result.peaks_px <= 1.0 and result.faces_db >= 30.0)


def test_int8_is_made_of_some_frames_and_judged_by_others(folder, tmp_path):
    pytest.importorskip("onnxscript")
    rng = np.random.default_rng(3)
    shown = tmp_path / "frames"
    shown.mkdir()
    for number in range(12):
        soft = cv2.resize(rng.random((6, 6, 3)), (40, 40), interpolation=cv2.INTER_CUBIC)
        picture = np.clip(255 * soft, 0, 255).astype(np.uint8)
        cv2.imwrite(str(shown / f"{number:02d}.png"), picture)
    frames = gate_frames.frames_of_folder(shown, 32)
    assert (len(frames.ranges), len(frames.judging)) == (9, 3)
    assert not any((a == b).all() for a in frames.ranges for b in frames.judging)
    report = export_bundle(folder, frames, fp32=False)
    opened = bundles.open_bundle(folder)
    passed = any(result.passed for result in report.results)
    assert {result.engine for result in report.results} >= {"ONNX Runtime int8"}
    assert ("painter.int8.onnx.zst" in opened.card.files) == passed
    assert ("gate_frames.png" in opened.card.files) == passed
    assert "painter.onnx" not in opened.card.files
    if passed:
        carried, styles = gate_frames.gate_inputs(opened)
        assert carried.shape == (3, 3, 32, 32) and len(styles) == 3
        assert np.array_equal(carried[1], planar(frames.judging[1]))
        with pytest.raises(ConfigError, match="holds an export already"):
            export_bundle(folder, frames)


def test_too_few_frames_make_no_int8(tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ConfigError, match="1 pictures"):
        gate_frames.frames_of_folder(tmp_path, 32)


def test_an_exported_network_joins_the_card(folder, exported):
    _, target, _ = exported
    bundles.add_file(folder, "painter.onnx", target)
    assert "painter.onnx" in bundles.open_bundle(folder).card.files


def test_the_fastest_engine_that_agrees_is_picked(folder, exported):
    pytest.importorskip("onnxruntime")
    from models.runtime.pick import pick_engine

    bare = bundles.open_bundle(folder)
    assert pick_engine(bare).engine.name == "torch fp32"
    with pytest.raises(StateError, match="nothing exported"):
        pick_engine(bare, "onnx")
    with pytest.raises(ConfigError, match="tensorrt"):
        pick_engine(bare, "tensorrt")
    bundles.add_file(folder, "painter.onnx", exported[1])
    choice = pick_engine(bundles.open_bundle(folder))
    assert {"torch fp32", "ONNX Runtime fp32"} <= set(choice.times_ms)
    assert choice.times_ms[choice.engine.name] == min(choice.times_ms.values())
    for name in ("onnx", "ONNX Runtime fp32"):
        assert pick_engine(bundles.open_bundle(folder), name).engine.name == "ONNX Runtime fp32"
    with pytest.raises(StateError, match="ONNX Runtime int8"):
        pick_engine(bundles.open_bundle(folder), "ONNX Runtime int8")
