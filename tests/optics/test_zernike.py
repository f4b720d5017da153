from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_rig.errors import ConfigError
from camera_rig.optics import Order, chebyshev, from_mode, modes, norm, to_mode, zernike
from camera_rig.optics._xp import Backend

# Thorlabs 1 … 15 as (n, m), OSA, Noll, Fringe: the makers' and standards' tables.
TABLE = [
    ((0, 0), 0, 1, 1),
    ((1, -1), 1, 3, 3),
    ((1, 1), 2, 2, 2),
    ((2, -2), 3, 5, 6),
    ((2, 0), 4, 4, 4),
    ((2, 2), 5, 6, 5),
    ((3, -3), 6, 9, 11),
    ((3, -1), 7, 7, 8),
    ((3, 1), 8, 8, 7),
    ((3, 3), 9, 10, 10),
    ((4, -4), 10, 15, 18),
    ((4, -2), 11, 13, 13),
    ((4, 0), 12, 11, 9),
    ((4, 2), 13, 12, 12),
    ((4, 4), 14, 14, 17),
]
DISC = Backend(torch=False, double=True)


def _disc_points(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    # hcipy's recurrence divides by rho squared: the axis itself is left to the
    # orthonormality test.
    rho = np.sqrt(random.uniform(0.01, 1.0, count))
    return np.concatenate([rho, [1.0]]), random.uniform(-np.pi, np.pi, count + 1)


@pytest.mark.parametrize(("thorlabs", "row"), list(enumerate(TABLE, start=1)))
def test_every_order_agrees_with_the_published_table(thorlabs: int, row: tuple) -> None:
    mode, osa, noll, fringe = row
    numbers = {Order.THORLABS: thorlabs, Order.OSA: osa, Order.NOLL: noll, Order.FRINGE: fringe}
    for order, number in numbers.items():
        assert to_mode(order, number) == mode
        assert from_mode(order, mode) == number


@given(st.sampled_from(list(Order)), st.integers(1, 500))
def test_index_round_trip(order: Order, number: int) -> None:
    assert from_mode(order, to_mode(order, number)) == number


@given(st.sampled_from(list(Order)), st.integers(0, 31), st.data())
def test_mode_round_trip(order: Order, n: int, data: st.DataObject) -> None:
    m = data.draw(st.sampled_from(range(-n, n + 1, 2)))
    assert to_mode(order, from_mode(order, (n, m))) == (n, m)


def test_maps_equal_hcipy_poppy_and_prysm_for_200_modes() -> None:
    import hcipy.mode_basis as hcipy
    import poppy.zernike as poppy
    from prysm import polynomials as prysm

    for number in range(1, 201):
        mode = to_mode(Order.NOLL, number)
        assert hcipy.noll_to_zernike(number) == mode
        assert poppy.noll_indices(number) == mode
        assert tuple(prysm.noll_to_nm(number)) == mode
        assert tuple(prysm.ansi_j_to_nm(number)) == to_mode(Order.OSA, number)
        assert hcipy.ansi_to_zernike(number) == to_mode(Order.OSA, number)
        assert tuple(prysm.fringe_to_nm(number)) == to_mode(Order.FRINGE, number)
        assert prysm.zernike_norm(*mode) == pytest.approx(norm(mode), rel=1e-14)


@pytest.mark.parametrize(("count", "tolerance"), [(15, 1e-12), (200, 1e-9)])
def test_values_equal_hcipy_poppy_and_prysm(count: int, tolerance: float) -> None:
    import hcipy
    import poppy
    from prysm import polynomials as prysm

    rho, theta = _disc_points(400)
    listed = modes(Order.NOLL, 1, count)
    ours = zernike.basis(listed, rho, theta)
    grid = hcipy.PolarGrid(hcipy.UnstructuredCoords([rho, theta]))
    for plane, (n, m) in zip(ours, listed, strict=True):
        number = from_mode(Order.NOLL, (n, m))
        by_hcipy = hcipy.mode_basis.zernike(n, m, D=2, grid=grid, radial_cutoff=False)
        by_prysm = prysm.zernike_nm(n, m, rho, theta, norm=True)
        np.testing.assert_allclose(plane, np.asarray(by_hcipy), rtol=0, atol=tolerance)
        np.testing.assert_allclose(plane, by_prysm, rtol=0, atol=tolerance)
        # poppy sums factorials: exact only at low orders, as its own users know.
        if count == 15 or n <= 14:
            by_poppy = poppy.zernike.zernike1(number, rho=rho, theta=theta, outside=0.0)
            np.testing.assert_allclose(plane, by_poppy, rtol=0, atol=tolerance)


def test_500_modes_stay_bounded_and_orthonormal() -> None:
    listed = modes(Order.NOLL, 1, 500)
    nodes, gauss = np.polynomial.legendre.leggauss(34)
    rho, turns = np.sqrt((nodes + 1) / 2), 2 * np.pi * np.arange(66) / 66
    weight = np.repeat(gauss / 2 / len(turns), len(turns))
    stack = zernike.basis(listed, np.repeat(rho, 66), np.tile(turns, 34))
    np.testing.assert_allclose((stack * weight) @ stack.T, np.eye(500), atol=1e-11)


def test_rim_value_of_the_radial_part_is_one() -> None:
    for mode in modes(Order.OSA, 0, 495):
        assert zernike.radial(mode, np.array([1.0]))[0] == pytest.approx(1.0, abs=1e-11)


@pytest.mark.parametrize(
    ("count", "double", "tolerance"),
    [
        (15, False, 1e-5),
        (15, True, 1e-12),
        (36, False, 1e-4),
        (231, True, 1e-7),
        (300, True, 1e-6),
        (500, True, 1e-9),
    ],
)
def test_separable_map_equals_the_sum_of_the_basis(
    count: int, double: bool, tolerance: float
) -> None:
    listed = modes(Order.NOLL, 1, count)
    c = np.random.default_rng(3).normal(size=count)
    back = Backend(torch=False, double=double)
    c = c.astype(np.float64 if double else np.float32)
    rho, theta = zernike.polar_grid(96)
    wanted = np.tensordot(c.astype(np.float64), zernike.basis(listed, rho, theta), 1)
    got = chebyshev.SeparableMap(listed, zernike.axis(96))(c, back)
    assert got.dtype == c.dtype
    np.testing.assert_allclose(got[rho <= 1], wanted[rho <= 1], rtol=0, atol=tolerance)


@pytest.mark.parametrize(("count", "double", "tolerance"), [(15, False, 1e-6), (100, True, 1e-11)])
def test_stack_equals_the_recurrence(count: int, double: bool, tolerance: float) -> None:
    listed = modes(Order.NOLL, 1, count)
    rho, theta = zernike.polar_grid(64)
    back = Backend(torch=False, double=double)
    out = np.empty((count, 64, 64), np.float64 if double else np.float32)
    stack = chebyshev.stack(listed, 64, back, out)
    assert stack is out
    wanted = zernike.basis(listed, rho, theta)
    inside = rho <= 1
    scale = np.abs(wanted[:, inside]).max()
    error = np.abs(stack[:, inside] - wanted[:, inside]).max() / scale
    assert error < tolerance


def test_map_and_its_adjoint_are_one_matrix(random: np.random.Generator) -> None:
    for count in (15, 310):
        listed = modes(Order.NOLL, 1, count)
        one = chebyshev.SeparableMap(listed, np.linspace(-0.7, 0.7, 24))
        c, slope = random.normal(size=(2, count)), random.normal(size=(2, 24, 24))
        assert (one(c, DISC) * slope).sum() == pytest.approx(
            (c * one.pull(slope, DISC)).sum(), rel=1e-10
        )


def test_slopes_equal_finite_differences() -> None:
    listed = modes(Order.NOLL, 1, 36)
    along_x, along_y = chebyshev.slope_points(listed, angles=12)
    turn = 2 * np.pi * np.arange(12) / 12
    x, y, step = np.cos(turn), np.sin(turn), 1e-6

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return zernike.basis(listed, np.hypot(x, y), np.arctan2(y, x)).T

    by_x = (at(x + step, y) - at(x - step, y)) / (2 * step)
    by_y = (at(x, y + step) - at(x, y - step)) / (2 * step)
    np.testing.assert_allclose(along_x[:12], by_x, atol=1e-6)
    np.testing.assert_allclose(along_y[:12], by_y, atol=1e-6)


@pytest.mark.parametrize("mode", [(2, 1), (-1, 0), (1, 3), (62, 0)])
def test_what_is_no_mode_is_refused(mode: tuple[int, int]) -> None:
    with pytest.raises(ConfigError):
        from_mode(Order.NOLL, mode)


def test_index_below_the_first_is_refused_with_the_first_named() -> None:
    with pytest.raises(ConfigError, match="start at 1"):
        to_mode(Order.NOLL, 0)
    with pytest.raises(ConfigError, match="noll, osa, fringe, thorlabs"):
        zernike.order_named("wyant")


def test_cached_grids_cannot_be_changed_by_a_user() -> None:
    with pytest.raises(ValueError, match="read-only"):
        zernike.grid_basis(modes(Order.NOLL, 1, 3), 8)[0, 0, 0] = 1.0
    assert math.isclose(zernike.axis(4)[0], -0.75)
