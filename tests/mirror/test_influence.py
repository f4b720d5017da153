"""The plate model against independent answers, and the matrix type."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import linprog

from camera_rig.bench import MirrorGeometry
from camera_rig.errors import ConfigError, StorageError
from camera_rig.mirror._plate import radial_height
from camera_rig.mirror.influence import InfluenceMatrix, InfluenceModel, Provenance
from camera_rig.optics import zernike
from camera_rig.optics.zernike import Order

GEOMETRY = MirrorGeometry()
NOLL = zernike.modes(Order.NOLL, 1, 36)


@pytest.fixture(scope="module")
def model() -> InfluenceModel:
    return InfluenceModel(GEOMETRY, 14.0)


def test_all_electrodes_together_are_pure_defocus_of_the_stated_stroke(model):
    matrix = model.matrix(NOLL)
    together = matrix.wavefront_um(np.ones(40))
    defocus = NOLL.index((2, 0))
    assert together[defocus] * 2 * np.sqrt(3) == pytest.approx(24.5, rel=1e-12)
    assert np.abs(np.delete(together, defocus)).max() < 1e-9


def test_laplacian_is_the_electrode_indicator(model):
    """OPTICS: curvature where the electrode is, next to none elsewhere."""
    step_mm = 0.05
    x_mm, y_mm = np.array([1.9, 0.0, -3.0, 5.2, 0.0]), np.array([0.0, 2.0, -1.0, 0.0, -5.5])
    centre = model.at(x_mm, y_mm)
    around = sum(
        model.at(x_mm + dx, y_mm + dy)
        for dx, dy in ((step_mm, 0), (-step_mm, 0), (0, step_mm), (0, -step_mm))
    )
    laplacian = (around - 4 * centre) / step_mm**2
    inside = np.zeros((40, 5))
    radius, angle = np.hypot(x_mm, y_mm), np.arctan2(y_mm, x_mm)
    edges = (0.0, *GEOMETRY.ring_radii_mm)
    for electrode, (ring, middle) in enumerate(model.sectors):
        width = np.pi / GEOMETRY.ring_segments[ring]
        turn = np.abs((angle - middle + np.pi) % (2 * np.pi) - np.pi)
        inside[electrode] = (edges[ring] < radius) & (radius < edges[ring + 1]) & (turn < width)
    scale = laplacian[inside > 0].mean()
    error = laplacian / scale - inside
    assert inside.sum() == 5
    assert np.sqrt(np.mean(error**2)) < 0.03
    assert np.abs(error).max() < 0.08


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
def test_rim_carries_no_moment_and_no_effective_shear(order):
    """The free-edge conditions themselves, by finite differences at the rim."""
    poisson, h = 0.3, 2e-3
    radius = 1.0 - h * np.arange(6)[::-1]
    fine = np.polynomial.Polynomial.fit(
        radius, radial_height(order, radius, (0.3, 0.7), poisson), 5
    )
    slope, bend, third = (fine.deriv(k)(1.0) for k in (1, 2, 3))
    value = fine(1.0)
    moment = bend + poisson * (slope - order**2 * value)
    shear = third + bend - slope - order**2 * (slope - 2 * value)
    shear -= (1 - poisson) * order**2 * (slope - value)
    size = np.abs([value, slope, bend]).max()
    assert abs(moment) < 2e-4 * size
    assert abs(shear) < 2e-3 * size


def test_plate_agrees_with_an_energy_minimum():
    """Ritz: the polynomial surface of least bending energy under the same source."""
    poisson, ring, order = 0.3, (0.2, 0.6), 2
    x, w = np.polynomial.legendre.leggauss(60)
    pieces = [(0.0, 0.2), (0.2, 0.6), (0.6, 1.0)]
    r = np.concatenate([(b - a) / 2 * x + (b + a) / 2 for a, b in pieces])
    weight = np.concatenate([(b - a) / 2 * w for a, b in pieces]) * r
    powers = order + 2 * np.arange(14)
    f = r[:, None] ** powers
    slope = powers * r[:, None] ** (powers - 1)
    bend = powers * (powers - 1) * r[:, None] ** (powers - 2)
    ring_bend = slope / r[:, None] - order**2 * f / r[:, None] ** 2
    twist = order * (slope / r[:, None] - f / r[:, None] ** 2)
    laplace = bend + ring_bend

    def energy(a, b):
        return (a * weight[:, None]).T @ b

    stiffness = energy(laplace, laplace) - (1 - poisson) * (
        energy(bend, ring_bend) + energy(ring_bend, bend) - 2 * energy(twist, twist)
    )
    inside = ((r > ring[0]) & (r < ring[1])) * weight
    scale = 1 / np.sqrt(np.diag(stiffness))
    scaled = stiffness * np.outer(scale, scale)
    answer = f @ (scale * np.linalg.lstsq(scaled, scale * (laplace.T @ inside), rcond=1e-13)[0])
    closed = radial_height(order, r, ring, poisson)
    assert np.sqrt(weight @ (answer - closed) ** 2) < 0.01 * np.sqrt(weight @ closed**2)


def test_grid_and_matrix_agree(model):
    """Projecting the sampled surfaces gives the closed-form coefficients."""
    modes = zernike.modes(Order.NOLL, 1, 15)
    nodes, gauss = np.polynomial.legendre.leggauss(40)
    rho, turns = np.sqrt((nodes + 1) / 2), 192
    theta = 2 * np.pi * np.arange(turns) / turns
    x, y = (7.0 * np.outer(rho, f(theta)).ravel() for f in (np.cos, np.sin))
    weight = np.repeat(gauss / (2 * turns), turns)
    shapes = zernike.basis(modes, np.hypot(x, y) / 7.0, np.arctan2(y, x))
    by_points = (shapes * weight) @ model.at(x, y).T
    assert np.abs(by_points - model.matrix(modes).um_per_unit).max() < 2e-4


def test_stroke_limits_are_those_of_the_reference_table(model):
    """Largest single modes within the limits, waves RMS at 550 nm, by linear programme."""
    table = {4: 12.9, 5: 6.6, 7: 3.7, 9: 3.3, 11: 2.4, 12: 1.7}
    rows = model.matrix(NOLL).um_per_unit[3:] / 0.55
    for noll, expected in table.items():
        wanted = np.eye(33)[noll - 4]
        cost = np.append(np.zeros(40), -1.0)
        loose = np.full((21, 1), 0.20 if noll == 11 else 0.05)
        found = linprog(
            cost,
            A_eq=np.hstack([rows[:12], -wanted[:12, None]]),
            b_eq=np.zeros(12),
            A_ub=np.block([[rows[12:], -loose], [-rows[12:], -loose]]),
            b_ub=np.zeros(42),
            bounds=[(-1, 1)] * 40 + [(0, None)],
        )
        assert -found.fun == pytest.approx(expected, rel=0.10), f"Noll {noll}"


def test_published_set_needs_the_published_voltage(model):
    wanted = np.zeros(12)
    for noll, waves in {4: -0.83, 6: -0.31, 7: 0.08, 8: -0.69, 12: -0.67, 14: 0.18}.items():
        wanted[noll - 4] = waves
    rows = model.matrix(NOLL).um_per_unit[3:15] / 0.55
    unit = np.linalg.lstsq(rows, wanted, rcond=1e-3)[0]
    assert 150 * np.abs(unit).max() == pytest.approx(114, abs=2)


def test_turning_the_layout_turns_the_modes():
    plain = InfluenceModel(GEOMETRY, 14.0)
    turned = InfluenceModel(GEOMETRY.model_copy(update={"segment0_angle_deg": 45.0}), 14.0)
    clockwise = InfluenceModel(GEOMETRY.model_copy(update={"counter_clockwise": False}), 14.0)
    assert plain.sectors[1][1] == pytest.approx(turned.sectors[0][1])
    rows = plain.matrix(NOLL).um_per_unit
    assert turned.matrix(NOLL).um_per_unit[:, 0] == pytest.approx(rows[:, 1], abs=1e-9)
    assert clockwise.matrix(NOLL).um_per_unit[:, 1] == pytest.approx(rows[:, 7], abs=1e-9)


def test_matrix_is_frozen_and_round_trips(model, tmp_path):
    matrix = dataclasses.replace(
        model.matrix(NOLL),
        provenance=Provenance("measured", "M00000001", "2026-01-01T00:00:00Z"),
        range_v=(0.0, 300.0),
        sigma_um=np.full((36, 40), 0.01),
    )
    with pytest.raises(ValueError):
        matrix.um_per_unit[0, 0] = 1.0
    matrix.save(tmp_path / "m.json")
    again = InfluenceMatrix.load(tmp_path / "m.json")
    assert again.provenance == matrix.provenance and again.range_v == (0.0, 300.0)
    assert np.array_equal(again.um_per_unit, matrix.um_per_unit)
    assert again.places([(2, 0)]) == [3]


def test_wrong_input_is_refused(model, tmp_path):
    matrix = model.matrix(NOLL)
    with pytest.raises(ConfigError, match="does not know"):
        matrix.rows([(12, 0)])
    with pytest.raises(ConfigError, match="shape"):
        dataclasses.replace(matrix, rest_um=np.zeros(3))
    with pytest.raises(ConfigError, match="finite"):
        dataclasses.replace(matrix, rest_um=np.full(36, np.nan))
    with pytest.raises(ConfigError, match="does not fit"):
        InfluenceModel(GEOMETRY, 30.0)
    with pytest.raises(ConfigError, match="no influence matrix"):
        InfluenceMatrix.from_dict({"modes": [[2, 0]]})
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(StorageError, match="broken"):
        InfluenceMatrix.load(tmp_path / "broken.json")
