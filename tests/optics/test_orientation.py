"""Coefficient maps against the same shape looked at through changed axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.errors import ConfigError
from camera_rig.optics import Order, Orientation, modes, stretch_matrix, zernike

LISTED = modes(Order.NOLL, 1, 36)
TURNS = st.floats(-360, 360).map(lambda angle: round(angle, 3))
ORIENTATIONS = st.builds(Orientation, TURNS, st.booleans())


def _shape(values: dict, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    c = np.array(list(values.values()))
    return np.tensordot(c, zernike.basis(list(values), np.hypot(x, y), np.arctan2(y, x)), 1)


def _random_values(seed: int = 0) -> dict:
    return dict(zip(LISTED, np.random.default_rng(seed).normal(size=len(LISTED)), strict=True))


@settings(max_examples=30)
@given(ORIENTATIONS)
def test_map_equals_resampling(orientation: Orientation) -> None:
    random = np.random.default_rng(1)
    x, y = random.uniform(-0.7, 0.7, (2, 50))
    values = _random_values()
    turn = np.radians(orientation.rotation_deg)
    # The value at a point of the changed shape is the old one at the point it came from.
    old_x, old_y = (
        np.cos(turn) * x + np.sin(turn) * y,
        -np.sin(turn) * x + np.cos(turn) * y,
    )
    if orientation.mirrored:
        old_x = -old_x
    np.testing.assert_allclose(
        _shape(orientation.apply(values), x, y), _shape(values, old_x, old_y), atol=1e-10
    )


@settings(max_examples=30)
@given(ORIENTATIONS, ORIENTATIONS)
def test_composition_and_inverse(first: Orientation, second: Orientation) -> None:
    values = _random_values(2)
    one_by_one = second.apply(first.apply(values))
    at_once = first.then(second).apply(values)
    for mode in LISTED:
        assert at_once.get(mode, 0) == pytest.approx(one_by_one.get(mode, 0), abs=1e-9)
    back = first.inverse().apply(first.apply(values))
    for mode, value in values.items():
        assert back.get(mode, 0) == pytest.approx(value, abs=1e-9)


def test_known_sign_rules() -> None:
    values = _random_values(3)
    down = Orientation.rows_down().apply(values)
    half = Orientation(180).apply(values)
    for (n, m), value in values.items():
        assert down[n, m] == (value if m >= 0 else -value)
        assert half[n, m] == (value if m % 2 == 0 else -value)
    mirrored = Orientation(mirrored=True).apply(values)
    assert mirrored[1, 1] == -values[1, 1]
    assert mirrored[2, -2] == -values[2, -2]
    assert mirrored[3, -1] == values[3, -1]


def test_quarter_turn_takes_x_to_y() -> None:
    turned = Orientation(90).apply({(1, 1): 2.0})
    assert {mode: v for mode, v in turned.items() if v} == {(1, -1): 2.0}


def test_matrix_is_the_map_and_refuses_a_missing_partner() -> None:
    orientation = Orientation(37, mirrored=True)
    values = _random_values(4)
    by_map = orientation.apply(values)
    by_matrix = orientation.matrix(LISTED) @ np.array(list(values.values()))
    np.testing.assert_allclose(by_matrix, [by_map[mode] for mode in LISTED], atol=1e-12)
    with pytest.raises(ConfigError, match=r"\(2, 2\)"):
        orientation.matrix([(2, -2)])


def test_stretched_pupil_equals_resampling() -> None:
    values = np.random.default_rng(5).normal(size=len(LISTED))
    x, y = np.random.default_rng(6).uniform(-0.7, 0.7, (2, 40))
    seen = stretch_matrix(LISTED, 0.9, 0.6) @ values
    old = _shape(dict(zip(LISTED, values, strict=True)), 0.9 * x, 0.6 * y)
    np.testing.assert_allclose(_shape(dict(zip(LISTED, seen, strict=True)), x, y), old, atol=1e-11)
    with pytest.raises(ConfigError, match="all modes"):
        stretch_matrix([(2, 0)], 0.5, 0.5)
    with pytest.raises(ConfigError, match="leave the disc"):
        stretch_matrix(LISTED, 1.2, 1.0)
