"""What makes an attacker strong or slow: light behind stored values, numbers near nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.camera import FixedCamera, fixed_defocus, to_linear
from models.evaluation.attacks import cameras
from models.evaluation.attacks.figures import fidelity
from models.evaluation.attacks.frames import photographed, to_pictures, to_planes
from models.evaluation.attacks.learning import Effort, Learner, learn
from models.evaluation.attacks.on_pictures import lucy, wiener
from models.evaluation.attacks.restore import LinearFilter
from models.evaluation.attacks.trunks import OnnxTrunk
from models.evaluation.attacks.wiener import WIDE_STRENGTHS, best_wiener
from tests.models.test_attacks import SIZE, SPEC, ground


def victim(light: str, waves: float = 0.5, noise: float = 0.001) -> cameras.Victim:
    spec = SPEC.model_copy(update={"light": light, "noise": noise})
    camera = FixedCamera(spec, fixed_defocus(spec, waves))
    return cameras.Victim(cameras.OWN, "defocus", camera, camera.whole_psf()[0])


@pytest.mark.parametrize("attack", [wiener, lucy])
def test_an_attacker_filters_light_where_the_lens_blurred_light(attack):
    made = ground()
    seen = victim("linear")
    frames = photographed(seen.camera, made.sought.sharp, made.settings.seed + 202)
    found = attack(made, seen, None).pictures
    truth, labels = made.sought.sharp, made.sought.labels
    reached, _ = fidelity(found, truth, labels)
    stored, _ = best_wiener(
        to_planes(truth), to_planes(frames), seen.psf, seen.noise,
        border_px=SIZE // 2, strengths=WIDE_STRENGTHS,
    )  # fmt: skip
    on_stored_values, _ = fidelity(to_pictures(stored), truth, labels)
    before, _ = fidelity(frames, truth, labels)
    assert reached.value > before.value + 1.0
    if attack is wiener:  # never worse than the filter on stored values alone
        assert reached.value > on_stored_values.value + 0.1


@pytest.mark.parametrize("light", ["display", "linear"])
def test_the_learned_filter_finds_out_what_the_lens_blurred(light):
    # A weak blur of dark and bright blocks: which of both was blurred decides most of the error.
    blocks = np.random.default_rng(0).integers(0, 2, (64, SIZE // 8, SIZE // 8, 3))
    scenes = (60 + 127 * np.kron(blocks, np.ones((1, 8, 8, 1)))).astype(np.uint8)
    frames = photographed(victim(light, 0.1, 0.0).camera, scenes, 0)
    linear = LinearFilter(SIZE)
    linear.fit(frames, scenes)
    assert bool(linear.of_light) is (light == "linear")
    again = LinearFilter(SIZE)
    again.load_state_dict(linear.state_dict())
    assert torch.equal(again(to_planes(frames[:2])), linear(to_planes(frames[:2])))
    assert float(to_linear(linear(to_planes(frames[:2]))).max()) <= 1.0


def test_weights_that_decayed_to_nothing_are_nothing(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.full((2, 3, 112, 112), 1e-3, np.float32)
    weights[1] = 1e-39  # a denormal number
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w"], ["out"])], "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, 1, 1])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    (kept,) = OnnxTrunk(tmp_path / "m.onnx").parameters()
    assert np.array_equal(kept[0].detach().numpy(), weights[0])
    assert not kept[1].any()


def test_training_takes_denormal_numbers_for_zero_and_leaves_the_thread_as_it_was():
    tiny = torch.full((1,), 1e-39)
    seen = []
    network = nn.Linear(1, 1)

    def loss(rows: np.ndarray) -> torch.Tensor:
        seen.append(float(tiny * 1.0))
        return network(torch.ones(1, 1)).square().sum()

    learner = Learner(network, loss, lambda: 0.0, "x", "higher", 4)
    learn(learner, Effort(1, 1, 1e-3, 1))
    assert seen == [0.0]
    assert float(tiny * 1.0) > 0.0


def test_sixteen_bits_learn_the_same_line():
    found = []
    for bf16 in (False, True):
        network = nn.Linear(1, 1)
        with torch.no_grad():
            network.weight.fill_(0.0)
            network.bias.fill_(0.0)
        scene = torch.linspace(-1, 1, 32)[:, None]

        def loss(rows: np.ndarray, network=network, scene=scene) -> torch.Tensor:
            return (network(scene) - 2.0 * scene).square().mean()

        effort = replace(Effort(200, 1, 5e-2, 50), bf16=bf16)
        judge = lambda n=network: -abs(float(n.weight.detach()) - 2.0)  # noqa: E731
        learn(Learner(network, loss, judge, "x", "higher", 4), effort)
        found.append(float(network.weight.detach()))
        assert network.weight.dtype == torch.float32
    assert found == pytest.approx([2.0, 2.0], abs=0.05)
