from __future__ import annotations

import math

import pytest
import torch

from camera_rig.errors import ConfigError
from models import losses
from models.perception import RandomFeatures


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def picture(*values: float) -> torch.Tensor:
    return t(*values).reshape(1, 1, 1, -1)


def test_eq4_by_hand():
    # MSE of (0, 1) and (0.5, 0.5) is 0.25; ‖(0.3, 0.4)‖ = 0.5.
    value = losses.optics_loss(
        picture(0, 1), picture(0.5, 0.5), picture(0.3, 0.5), picture(0.0, 0.1), 2.0
    )
    assert float(value) == pytest.approx(1 - 0.25 + 2.0 * 0.5)


def test_eq5_and_eq6_by_hand():
    heat = losses.heatmap_loss(t(0.1, 0.9), t(0.3, 0.5))
    assert float(heat) == pytest.approx(0.3)
    assert float(losses.design_loss(t(0.75)[0], heat, 10.0)) == pytest.approx(3.75)


def test_eq7_by_hand():
    # D = 1/2 everywhere is log 1/2 twice; logits ln 3 and -ln 3 are D = 3/4 and 1/4.
    zero = t(0.0)
    assert float(losses.adversarial_value(zero, zero)) == pytest.approx(2 * math.log(0.5))
    good, bad = t(math.log(3)), t(-math.log(3))
    assert float(losses.adversarial_value(good, bad)) == pytest.approx(2 * math.log(0.75))
    assert float(losses.critic_loss(good, bad)) == pytest.approx(-2 * math.log(0.75))
    assert float(losses.painter_loss(bad)) == pytest.approx(math.log(4))


def test_eq8_to_eq10_by_hand():
    assert float(losses.style_loss(t(1, 2), t(0, 4))) == pytest.approx(1.5)
    assert float(losses.diversity(t(1, -1), t(0, 1))) == pytest.approx(1.5)
    assert float(losses.cycle_loss(t(0.2, 0.4), t(0.1, 0.7))) == pytest.approx(0.2)


def test_eq11_by_hand():
    # Features (3, 4) and (4, 3) normalise to (.6, .8) and (.8, .6): 2 * 0.04.
    a = t(3, 4).reshape(1, 2, 1, 1)
    b = t(4, 3).reshape(1, 2, 1, 1)
    assert float(losses.perceptual_loss([a], [b])) == pytest.approx(0.08)
    assert float(losses.perceptual_loss([a, a], [a, b])) == pytest.approx(0.08)
    assert float(losses.perceptual_loss([a], [5 * a])) == pytest.approx(0.0, abs=1e-12)


def test_eq12_by_hand():
    value = losses.expression_loss(
        picture(1.0, 0.5), picture(0.5, 0.5), picture(1.0, 0.0), picture(0.5, 1.0)
    )
    assert float(value) == pytest.approx((0.75 + 0.5) / 2)


def test_eq13_subtracts_diversity_and_wants_every_weight():
    terms = {"adversarial": t(1.0)[0], "diversity": t(2.0)[0], "cycle": t(3.0)[0]}
    weights = {"adversarial": 1.0, "diversity": 0.5, "cycle": 7.0}
    assert float(losses.full_objective(terms, weights)) == pytest.approx(1 - 1 + 21)
    with pytest.raises(ConfigError, match="cycle"):
        losses.full_objective(terms, {"adversarial": 1.0, "diversity": 1.0})


def test_r1_of_a_known_slope():
    # D(x) = 3 x1 + 4 x2 has |slope|² = 25.
    x = t(0.2, 0.3).reshape(1, 2).requires_grad_()
    logits = x @ t(3, 4)
    assert float(losses.gradient_penalty(logits, x).detach()) == pytest.approx(12.5)


def test_adaptive_wing_by_hand_and_continuous():
    # Background (target 0): ω ln(1 + |e|^2.1), no emphasis.
    zero = picture(0.0)
    value = losses.adaptive_wing_loss(picture(0.3), zero)
    assert float(value) == pytest.approx(14 * math.log1p(0.3**2.1))
    # A spot's centre (target 1): exponent 1.1, eleven times as heavy.
    value = losses.adaptive_wing_loss(picture(0.7), picture(1.0))
    assert float(value) == pytest.approx(11 * 14 * math.log1p(0.3**1.1))
    for target in (0.0, 0.4, 1.0):
        below = losses.adaptive_wing_loss(picture(target - 0.5 + 1e-9), picture(target))
        above = losses.adaptive_wing_loss(picture(target - 0.5 - 1e-9), picture(target))
        assert float(below) == pytest.approx(float(above), abs=1e-5)
    found = picture(0.0, 1.0).requires_grad_()
    losses.adaptive_wing_loss(found, picture(0.0, 1.0)).backward()
    assert torch.isfinite(found.grad).all()


def test_landmark_and_identity_by_hand():
    found, wanted = t(3, 4).reshape(1, 1, 2), t(0, 0).reshape(1, 1, 2)
    assert float(losses.landmark_loss(found, wanted, 100)) == pytest.approx(0.05)
    same, square = t(1, 0)[None], t(0, 1)[None]
    assert float(losses.identity_loss(same, same, 0.2)) == pytest.approx(0.8)
    assert float(losses.identity_loss(same, square, 0.2)) == 0.0


def test_flow_form_measures_motion_in_pixels_not_colour():
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")

    def texture(shift: float) -> torch.Tensor:
        wave = torch.sin((columns - shift) * 0.45) + torch.sin(rows * 0.4 + columns * 0.1)
        return (0.5 + 0.2 * wave).expand(1, 3, 48, 48)

    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 12:36, 12:36] = 1.0
    still = float(losses.flow_expression_loss(texture(0), texture(0), mask))
    darker = float(losses.flow_expression_loss(texture(0), 0.6 * texture(0), mask))
    half = float(losses.flow_expression_loss(texture(0), texture(0.5), mask))
    whole = float(losses.flow_expression_loss(texture(0), texture(1.0), mask))
    assert still < 1e-4 and darker < 0.05
    assert half == pytest.approx(0.5, rel=0.35) and half < whole


def test_random_features_are_fixed_and_see_differences():
    one, two = RandomFeatures(seed=1), RandomFeatures(seed=1)
    x = torch.rand(1, 3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(one(x), two(x), strict=True))
    near = losses.perceptual_loss(one(x), one(x + 0.01 * torch.rand_like(x)))
    far = losses.perceptual_loss(one(x), one(torch.rand(1, 3, 32, 32)))
    assert 0 < float(near) < float(far)
