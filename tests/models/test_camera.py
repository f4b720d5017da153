from __future__ import annotations

import numpy as np
import pytest
import torch

from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients, Order, PsfModel, Unit, compute_psf
from models.camera import (
    FixedCamera,
    LearnedCamera,
    LowResolutionCamera,
    OpticsSpec,
    fixed_defocus,
)
from models.losses import optics_loss

SPEC = OpticsSpec(psf_px=31, pixel_um=5.4, max_waves_rms=0.5, noise=0.0)


def scene(seed: int = 0, size: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("light", ["display", "linear"])
def test_gradient_through_the_whole_camera_matches_finite_differences(light):
    spec = SPEC.model_copy(update={"light": light})
    camera = LearnedCamera(spec, jitter_um=0.08, seed=3).double()
    x, target = scene().double(), fixed_defocus(SPEC, 0.5).double()

    def loss() -> torch.Tensor:
        return optics_loss(x, camera(x), camera.psf(), target, 0.3)

    loss().backward()
    row = camera.coefficients_um
    step = 1e-5
    for j in range(row.shape[1]):
        with torch.no_grad():
            row[0, j] += step
            above = float(loss())
            row[0, j] -= 2 * step
            below = float(loss())
            row[0, j] += step
        slope = (above - below) / (2 * step)
        assert float(row.grad[0, j]) == pytest.approx(slope, rel=1e-4, abs=1e-8), j


def test_psf_is_that_of_the_optics_with_rows_downwards():
    shape = Coefficients.numbered({4: 0.2, 7: 0.3, 12: -0.1}, Unit.WAVES_RMS, Order.NOLL, 550)
    ours = LearnedCamera(SPEC, shape).psf().detach().numpy()
    up = compute_psf(shape, SPEC.pupil, 31).pixels
    assert np.abs(ours[:, ::-1, :] - up).max() < 0.005 * up.max()  # grids differ
    assert np.abs(FixedCamera.of(SPEC, shape).bank[0].numpy() - ours).max() < 1e-6


def test_flat_lens_is_nearly_sharp_and_defocus_hides():
    x = scene(size=48)
    sharp = LearnedCamera(SPEC)(x)
    hidden = FixedCamera(SPEC, fixed_defocus(SPEC, 0.6))(x)
    assert torch.nn.functional.mse_loss(sharp, x) < 0.5 * torch.nn.functional.mse_loss(hidden, x)
    assert torch.allclose(hidden.mean((-2, -1)), x.mean((-2, -1)), atol=0.02)


def test_pictures_do_not_darken_when_the_window_loses_light():
    wide = SPEC.model_copy(update={"psf_px": 7})
    camera = FixedCamera.of(wide, Coefficients.numbered({4: 0.5}, Unit.WAVES_RMS, Order.NOLL, 550))
    assert float(camera.psf().sum((-2, -1)).max()) < 0.9
    white = torch.ones(1, 3, 32, 32)
    assert torch.allclose(camera(white), white, atol=1e-5)
    assert torch.allclose(camera.whole_psf().sum((-2, -1)), torch.ones(1, 3))


def test_coefficients_round_trip_and_first_three_stay_zero(tmp_path):
    shape = Coefficients.numbered({5: 0.25, 14: -0.1}, Unit.WAVES_RMS, Order.NOLL, 550)
    (back,) = LearnedCamera(SPEC, shape).coefficients
    assert back.numbers[5] == pytest.approx(0.25, abs=1e-6)
    assert [back.numbers[j] for j in (1, 2, 3)] == [0, 0, 0] and max(back.numbers) == 15
    back.save(tmp_path / "c.yaml")
    assert Coefficients.load(tmp_path / "c.yaml").numbers[14] == pytest.approx(-0.1, abs=1e-6)


def test_lens_design_takes_300_modes():
    spec = OpticsSpec(modes=300, psf_px=15, pixel_um=7.4, max_waves_rms=0.1)
    camera = LearnedCamera(spec, jitter_um=0.002)
    camera.psf().square().sum().backward()
    assert camera.coefficients_um.shape == (1, 297)
    assert int((camera.coefficients_um.grad != 0).sum()) > 290


def test_several_shapes_are_averaged():
    camera = LearnedCamera(SPEC, shapes=3, jitter_um=0.1, seed=1)
    model = PsfModel(SPEC.pupil, SPEC.learned_modes, 31, plan=camera._model.plan, check=False)
    rows = camera.coefficients_um.detach() * camera._flip
    mean = torch.stack([model(row) for row in rows]).mean(0)
    assert torch.allclose(camera.psf(), mean, atol=1e-7)
    assert len(camera.coefficients) == 3


def test_mirror_limit_is_met_and_told():
    def why_not(shape: Coefficients) -> list[str]:
        return [f"needs {shape.rms:.2f} of 0.5 waves"] if shape.rms > 0.5 else []

    shape = Coefficients.numbered({4: 0.6, 6: 0.3}, Unit.WAVES_RMS, Order.NOLL, 550)
    camera = LearnedCamera(SPEC, shape, why_not=why_not)
    reasons = camera.make_feasible()
    (now,) = camera.coefficients
    assert reasons == ["needs 0.67 of 0.5 waves"]
    assert 0.499 < now.rms <= 0.5
    assert now.numbers[4] / now.numbers[6] == pytest.approx(2.0, rel=1e-5)
    assert camera.make_feasible() == []


def test_what_the_sampling_cannot_carry_is_pulled_back():
    shape = Coefficients.numbered({4: 9.0}, Unit.WAVES_RMS, Order.NOLL, 550)
    camera = LearnedCamera(SPEC, shape)
    assert "aliased" in camera.make_feasible()[0]
    assert camera._model.why_not(camera.coefficients_um.detach()) == []


def test_a_mirror_that_cannot_be_flat_is_an_error():
    shape = Coefficients.numbered({4: 0.1}, Unit.WAVES_RMS, Order.NOLL, 550)
    with pytest.raises(ConfigError, match="flat"):
        LearnedCamera(SPEC, shape, why_not=lambda _: ["dead"]).make_feasible()


def test_noise_has_the_stated_size_and_is_the_callers():
    spec = SPEC.model_copy(update={"noise": 0.02})
    camera = FixedCamera(spec, fixed_defocus(spec, 0.3))
    x = torch.full((4, 3, 64, 64), 0.5)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    y = camera(x, noise)
    assert float((y - 0.5).std()) == pytest.approx(0.02, rel=0.05)
    assert torch.equal(y, camera(x, noise)) and not torch.equal(y, camera(x))


def test_measured_bank_is_walked_through():
    bank = torch.zeros(2, 3, 5, 5)
    bank[0, :, 2, 2] = 1.0
    bank[1, :, 2, 3] = 2.0  # any scale: only the shape counts
    x = scene()
    y = FixedCamera(SPEC.model_copy(update={"padding": "wrap"}), bank)(x)
    assert torch.allclose(y[0], x[0], atol=1e-5)
    assert torch.allclose(y[1], x[1].roll(1, -1), atol=1e-5)
    with pytest.raises(ConfigError, match="negative"):
        FixedCamera(SPEC, -bank)


def test_low_resolution_camera_keeps_cell_means():
    camera = LowResolutionCamera(SPEC, 4)
    x = torch.linspace(0, 1, 32).expand(1, 3, 32, 32).contiguous()
    y = camera(x)
    assert y.shape == x.shape
    cells = torch.nn.functional.adaptive_avg_pool2d
    assert torch.allclose(cells(y, 4), cells(x, 4), atol=0.03)
    with pytest.raises(ConfigError, match="no PSF"):
        camera.psf()
