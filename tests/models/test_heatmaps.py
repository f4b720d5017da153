from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.errors import ConfigError
from models.heatmaps import (
    GUIDE,
    IBUG68,
    WFLW98,
    draw_targets,
    guide,
    layout_named,
    read_landmarks,
    to_map,
    whole_mask,
)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_is_drawn_is_read_back(seed):
    xy = torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(seed)) * 180 + 38
    maps = draw_targets(xy, IBUG68, 256)
    assert maps.shape == (1, 69, 64, 64)
    assert (read_landmarks(maps, IBUG68, reach=6) - xy).abs().max() < 0.15


def test_spot_and_boundary_values_by_hand():
    xy = torch.full((1, 68, 2), 41.5)  # heatmap pixel 10 exactly
    xy[0, 1] = torch.tensor([61.5, 41.5])  # jaw runs 5 heatmap pixels to the right
    maps = draw_targets(xy, IBUG68, 128, sigma_map=1.5)
    assert maps[0, 0, 10, 10] == 1.0
    assert float(maps[0, 0, 10, 13]) == pytest.approx(float(torch.tensor(-2.0).exp()))
    assert torch.allclose(maps[0, -1, 10, 10:16], torch.ones(6))
    assert float(maps[0, -1, 12, 12]) == pytest.approx(float(torch.tensor(-2.0).exp()), rel=1e-5)


def test_reading_is_differentiable():
    maps = draw_targets(torch.full((1, 68, 2), 60.0), IBUG68, 128).requires_grad_()
    read_landmarks(maps, IBUG68).sum().backward()
    assert maps.grad.abs().sum() > 0


@pytest.mark.parametrize("layout", [IBUG68, WFLW98])
def test_layouts_cover_every_point_once(layout):
    assert sorted(layout.outline + layout.inner) == list(range(layout.points))
    assert max(i for curve in layout.curves for i in curve) < layout.points


def test_masks_are_where_the_points_are():
    xy = torch.zeros(1, 68, 2)
    xy[:, :27] = torch.tensor([20.0, 20.0])
    xy[:, 27:] = torch.tensor([100.0, 100.0])
    maps = draw_targets(xy, IBUG68, 128)
    masks = guide(maps, IBUG68)
    assert masks[0, 0, 5, 5] == 1.0 and masks[0, 0, 25, 25] == 0.0
    assert masks[0, 1, 25, 25] == 1.0 and masks[0, 1, 5, 5] == 0.0
    both = whole_mask(maps, IBUG68, 128)
    assert both.shape == (1, 1, 128, 128) and both[0, 0, 20, 20] > 0.9


def test_the_guide_tells_the_way_to_every_key_place():
    xy = torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(4)) * 100 + 10
    found = guide(draw_targets(xy, IBUG68, 128), IBUG68, xy)
    assert found.shape == (2, GUIDE, 32, 32)
    half = len(IBUG68.keys)
    for number, key in enumerate(IBUG68.keys):
        place = to_map(xy[1, list(key)].mean(0))
        way = found[1, [2 + number, 2 + half + number], 7, 20]
        assert torch.allclose(way, (torch.tensor([20.0, 7.0]) - place) / 16.0, atol=1e-5)
    read = guide(draw_targets(xy, IBUG68, 128), IBUG68)
    assert (read - found).abs().max() < 0.05  # the same from the maps alone


def test_both_layouts_name_the_same_key_places():
    assert len(IBUG68.keys) == len(WFLW98.keys)
    assert {i for key in WFLW98.keys for i in key} <= set(range(98))


def test_unknown_layout():
    with pytest.raises(ConfigError, match="300w"):
        layout_named("300w")
