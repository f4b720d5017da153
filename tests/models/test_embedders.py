from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from camera_rig.errors import ConfigError
from models.evaluation import embedders, identity
from tests.models.conftest import TEMPLATE, draw_face


def test_similarity_is_found_exactly_and_never_mirrors():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 2))
    angle, scale = 0.7, 1.8
    turn = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    found = embedders.similarity(points, points @ turn.T + [3, -2])
    assert np.allclose(found, np.column_stack([turn, [3, -2]]))
    mirrored = embedders.similarity(points, points * [-1, 1])
    assert np.linalg.det(mirrored[:, :2]) > 0


def test_alignment_undoes_turn_and_size():
    picture, points = draw_face(3, 0, 160)
    five = embedders.five_points(points)
    target = embedders.FIVE_IN_112
    straight = embedders.aligned(picture, five, target, 112)
    import cv2

    matrix = cv2.getRotationMatrix2D((80, 80), 20, 0.8)
    turned = cv2.warpAffine(picture, matrix, (160, 160), borderMode=cv2.BORDER_REPLICATE)
    moved = embedders.five_points(points @ matrix[:, :2].T + matrix[:, 2])
    again = embedders.aligned(turned, moved, target, 112)
    inner = np.s_[30:100, 25:87]
    assert np.abs(straight[inner].astype(int) - again[inner]).mean() < 6


def test_five_points_by_hand():
    points = np.zeros((68, 2))
    points[[37, 38, 40, 41]] = [[1, 0], [3, 0], [3, 2], [1, 2]]
    points[30] = [9, 9]
    points[[48, 60]] = [[0, 4], [2, 4]]
    five = embedders.five_points(points)
    assert five[0].tolist() == [2, 1] and five[2].tolist() == [9, 9]
    assert five[3].tolist() == [1, 4]
    with pytest.raises(ConfigError, match="68"):
        embedders.five_points(points[:5])


def colour_network(path: Path) -> Path:
    """The mean colour of the crop as an "identity": a network whose answers are known."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["m"])],
        "mean",
        [helper.make_tensor_value_info("x", kind, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("m", kind, [1, 3, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path


def test_onnx_embedder_normalises_crop_and_vector(tmp_path):
    embed = embedders.OnnxEmbedder(colour_network(tmp_path / "m.onnx"), name="colour")
    grey = np.full((160, 160, 3), (255, 127, 127), np.uint8)
    points = TEMPLATE * 70 + 45  # far from the rim, so that the crop lies inside
    # Red is 1, green and blue 0 after (v - 127) / 128.
    assert np.allclose(embed(grey, points), [1, 0, 0], atol=1e-6)


def test_drawn_people_are_told_apart_by_it(tmp_path):
    embed = embedders.OnnxEmbedder(colour_network(tmp_path / "m.onnx"), name="colour")
    faces = [(who, *draw_face(who, frame, 96)) for who in range(8) for frame in range(3)]
    rows = embedders.embed_all(embed, [f[1] for f in faces], [f[2] for f in faces])
    found = identity.verification(*identity.pairs(rows, [f[0] for f in faces]))
    assert found.eer < 0.15
    grey = [np.full_like(f[1], 90) for f in faces]
    blind = embedders.embed_all(embed, grey, [f[2] for f in faces])
    rate = identity.rank_rate(blind[::3], range(8), blind, [f[0] for f in faces])
    assert rate == pytest.approx(1 / 8, abs=0.05)


def test_missing_weights_say_where_they_come_from(tmp_path):
    for name, make in embedders.EMBEDDERS.items():
        with pytest.raises(ConfigError) as caught:
            make(tmp_path)
        fetched = name in embedders.FETCHABLE
        assert ("fetch it with `rig fetch" in caught.value.hint) == fetched


def test_an_upright_crop_holds_the_face_and_its_margin():
    picture, points = draw_face(3, 0, 160)
    crop = embedders.Crop(size_px=80, mean=0.0, scale=1.0, five=False, margin=0.0)
    extent = (points.max(0) - points.min(0)).max()
    middle = 0.5 * (points.max(0) + points.min(0))
    # The middle of the crop is the middle of the landmarks; its rim is theirs.
    cut = crop(picture, points)
    wanted = picture[round(middle[1]), round(middle[0])]
    assert cut.shape == (80, 80, 3) and np.abs(cut[40, 40] - wanted).max() < 40
    wide = embedders.Crop(size_px=80, mean=0.0, scale=1.0, five=False, margin=0.5)(picture, points)
    inner = wide[20:60, 20:60].mean(), cut.mean()
    assert inner[0] == pytest.approx(inner[1], abs=4.0) and extent > 80
