"""Other people's networks, where they are at hand: ``rig fetch all``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.evaluation import weights
from models.evaluation.detectors import EXPRESSIONS, CenterFace, ExpressionReader, HogDetector
from models.evaluation.embedders import EMBEDDERS, FETCHABLE
from models.evaluation.weights import PACKAGES
from tests.models.conftest import draw_face


def needs(name: str):
    absent = weights.missing(PACKAGES[name])
    return pytest.mark.skipif(bool(absent), reason=f"needs `rig fetch {name}`")


@pytest.fixture(scope="module")
def face():
    return draw_face(3, 0, 160)


def test_hog_finds_no_face_in_nothing():
    pytest.importorskip("dlib")
    assert HogDetector()(np.full((96, 96, 3), 127, np.uint8)) is None


@needs("centerface")
def test_centerface_finds_no_face_in_nothing():
    assert CenterFace()(np.full((96, 96, 3), 127, np.uint8)) is None


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in FETCHABLE])
def test_recognisers_do_not_mind_where_the_face_is(name, face):
    pytest.importorskip("ai_edge_litert" if name == "mobilefacenet" else "numpy")
    embed = EMBEDDERS[name](None)
    picture, points = face
    own = embed(picture, points)
    assert np.array_equal(own, embed(picture, points))
    moved = np.roll(picture, (6, 4), (0, 1))
    again = np.linalg.norm(own - embed(moved, points + np.array([4.0, 6.0])))
    other = np.linalg.norm(own - embed(*draw_face(5, 0, 160)))
    assert again < 0.5 * other


@needs("faceplugin")
def test_expressions_are_shares(face):
    found = ExpressionReader()(*face)
    assert found.shape == (len(EXPRESSIONS),) and found.sum() == pytest.approx(1.0)


@needs("st-lpips")
def test_perceptual_distance_of_equal_pictures_is_zero_and_grows(face):
    from models.evaluation.perceptual import StLpips

    distance = StLpips()
    sharp = torch.from_numpy(face[0].astype(np.float32)).permute(2, 0, 1)[None, :, ::2, ::2] / 255
    noise = torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0))
    values = [float(distance(sharp, (sharp + s * noise).clamp(0, 1))[0]) for s in (0, 0.05, 0.3)]
    assert values[0] < 1e-9 and 1e-4 < values[1] < values[2]
    assert float(distance(sharp, sharp * 0 + 0.5)[0]) == pytest.approx(
        float(distance(sharp * 0 + 0.5, sharp)[0])
    )


@needs("efficientnet")
def test_features_are_those_of_the_packaged_network(face):
    from models.evaluation.perceptual import EfficientFeatures

    features = EfficientFeatures()
    found = features(face[0])
    assert found.shape == (1280,) and found.min() >= 0 and found.max() <= 6  # relu6, then a mean
    # Reference values of the network as its makers define it, on a smooth ramp.
    ramp = np.linspace(0, 255, 224).astype(np.uint8)
    picture = np.stack([np.tile(ramp, (224, 1)), np.tile(ramp[:, None], (1, 224)),
                        np.full((224, 224), 90, np.uint8)], -1)  # fmt: skip
    assert features.logits(picture)[:3] == pytest.approx(RAMP_LOGITS, abs=2e-4)


RAMP_LOGITS = [-0.6925, 0.1168, 1.2617]
"""From the definition in efficientnet-lite-pytorch 0.1.0, loaded with the same weights."""
