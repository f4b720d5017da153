"""Gradients: hand-written passes and torch's own against finite differences."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from camera_rig.errors import ConfigError
from camera_rig.optics import (
    Imager,
    Order,
    Plan,
    PsfModel,
    Pupil,
    choose,
    modes,
)
from camera_rig.optics.geometric import GeometricModel
from camera_rig.optics.spectra import SceneSpectra

FIFTEEN = modes(Order.NOLL, 1, 15)
SYSTEMS = [
    Pupil(2.0, 50.0, 4.0, defocus_um=0.2),
    Pupil(8.0, 20.0, 3.713, (640.0, 440.0)),
    Pupil(2.0, 50.0, 4.0, obscuration=0.3),
]


def _model(pupil: Pupil, form: str, c: np.ndarray, listed: tuple = FIFTEEN) -> PsfModel:
    return PsfModel(pupil, listed, 31, plan=choose(2 * c, listed, pupil, 31, form))


def _slope(loss: Callable[[np.ndarray], float], c: np.ndarray, along: np.ndarray) -> float:
    step = 3e-6
    return (loss(c + step * along) - loss(c - step * along)) / (2 * step)


@pytest.mark.parametrize("pupil", SYSTEMS)
@pytest.mark.parametrize("form", ["fft", "mft"])
def test_pullback_equals_finite_differences(
    pupil: Pupil, form: str, random: np.random.Generator
) -> None:
    c = random.normal(size=15) * 0.04
    model = _model(pupil, form, c)
    psf, pull = model.pullback(c)
    np.testing.assert_allclose(psf, model(c), rtol=1e-12, atol=1e-18)
    weight = random.normal(size=psf.shape)
    for along in random.normal(size=(3, 15)):
        expected = _slope(lambda c: float((model(c) * weight).sum()), c, along)
        assert pull(weight) @ along == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_pullback_of_high_orders_and_batches(random: np.random.Generator) -> None:
    listed = modes(Order.NOLL, 1, 310)
    c = random.normal(size=(2, 310)) * 0.0002
    model = _model(SYSTEMS[0], "fft", c, listed)
    psf, pull = model.pullback(c)
    weight, along = random.normal(size=psf.shape), random.normal(size=c.shape)
    expected = _slope(lambda c: float((model(c) * weight).sum()), c, along)
    assert (pull(weight) * along).sum() == pytest.approx(expected, rel=1e-4)


def test_squared_error_equals_the_pictures_own(random: np.random.Generator) -> None:
    for width in (20, 21):
        scenes, targets = random.random((2, 4, 3, 24, width))
        psf = random.random((3, 9, 8))
        spectra = SceneSpectra(scenes, targets)

        def loss(psf: np.ndarray, scenes: np.ndarray = scenes, targets: Any = targets) -> float:
            pictures = Imager(psf, scenes.shape[-2:], "wrap")(scenes)
            return float(((pictures - targets) ** 2).mean())

        value, slope = spectra.squared_error(psf)
        assert value == pytest.approx(loss(psf), rel=1e-12)
        along = random.normal(size=psf.shape)
        assert (slope * along).sum() == pytest.approx(_slope(loss, psf, along), rel=1e-6)
        pictures, pull = spectra.blur(psf)
        by_picture = pull(2 * (pictures - targets) / pictures.size)
        np.testing.assert_allclose(by_picture, slope, atol=1e-12)


def test_spectra_refuse_what_does_not_fit(random: np.random.Generator) -> None:
    scenes = random.random((2, 3, 8, 8))
    with pytest.raises(ConfigError, match="no targets"):
        SceneSpectra(scenes).squared_error(np.ones((3, 3, 3)))
    with pytest.raises(ConfigError, match="targets of shape"):
        SceneSpectra(scenes, scenes[:1])
    with pytest.raises(ConfigError, match="larger than the scenes"):
        SceneSpectra(scenes).blur(np.ones((3, 9, 9)))
    with pytest.raises(ConfigError, match="precision"):
        SceneSpectra(scenes).blur(np.ones((3, 3, 3), np.float32))


def test_numpy_users_never_load_torch() -> None:
    import subprocess

    code = (
        "import sys, numpy as np\n"
        "from camera_rig.optics import *\n"
        "compute_psf(Coefficients({(2, 0): 0.1}, 'um_rms'), Pupil(4, 50, 3.7), 31)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestTorch:
    """The same code on tensors. Skipped, with the reason, where torch is missing."""

    @pytest.fixture
    def torch(self) -> Any:
        return pytest.importorskip("torch", reason="torch is an optional extra ('learn')")

    @pytest.mark.parametrize("form", ["fft", "mft"])
    @pytest.mark.parametrize("pupil", SYSTEMS)
    def test_same_values_and_gradients(
        self, torch: Any, form: str, pupil: Pupil, random: np.random.Generator
    ) -> None:
        c = random.normal(size=(2, 15)) * 0.04
        model = _model(pupil, form, c)
        tensor = torch.tensor(c, requires_grad=True)
        psf = model(tensor)
        np.testing.assert_allclose(psf.detach().numpy(), model(c), atol=1e-15)
        weight = random.normal(size=psf.shape)
        (psf * torch.tensor(weight)).sum().backward()
        np.testing.assert_allclose(
            tensor.grad.numpy(), model.pullback(c)[1](weight), rtol=1e-9, atol=1e-9
        )

    def test_gradcheck_of_the_whole_chain(self, torch: Any, random: np.random.Generator) -> None:
        scene = torch.tensor(random.random((3, 16, 18)))
        c = torch.tensor(random.normal(size=15) * 0.03, requires_grad=True)
        model = _model(SYSTEMS[0], "fft", c.detach().numpy())
        for padding in ("zero", "edge", "reflect"):

            def chain(c: Any, padding: str = padding) -> Any:
                picture = Imager(model(c)[..., 10:21, 10:21], (16, 18), padding)(scene)
                return picture[..., ::5, ::6].sum(-1)

            assert torch.autograd.gradcheck(chain, (c,), eps=1e-5, atol=1e-5)

    def test_gradcheck_of_the_ray_density(self, torch: Any) -> None:
        listed = ((2, 0), (3, 1))
        model = GeometricModel(SYSTEMS[0], listed, 41, rays=64)
        weight = torch.linspace(0, 1, 41, dtype=torch.float64) ** 2
        c = torch.tensor([0.41, 0.13], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda c: (model(c)[0] * weight).sum(), (c,), eps=1e-7, atol=1e-3
        )
        np.testing.assert_allclose(model(c).detach().numpy(), model(c.detach().numpy()), atol=1e-14)

    def test_high_orders_and_single_precision(
        self, torch: Any, random: np.random.Generator
    ) -> None:
        listed = modes(Order.NOLL, 1, 310)
        c = (random.normal(size=310) * 0.0002).astype(np.float32)
        model = _model(SYSTEMS[0], "fft", c, listed)
        psf = model(torch.tensor(c))
        assert psf.dtype == torch.float32
        np.testing.assert_allclose(psf.numpy(), model(c), atol=1e-6 * float(psf.max()))

    def test_hand_written_passes_equal_autograd(
        self, torch: Any, random: np.random.Generator
    ) -> None:
        from models import optics_grad

        c = torch.tensor(random.normal(size=15) * 0.03, requires_grad=True)
        model = _model(SYSTEMS[0], "fft", c.detach().numpy())
        scenes, targets = torch.tensor(random.random((2, 4, 3, 32, 33)))
        spectra = SceneSpectra(scenes, targets)

        def gradient(loss: Any) -> tuple[float, Any]:
            (slope,) = torch.autograd.grad(loss, c)
            return float(loss.detach()), slope.numpy()

        plain = ((Imager(model(c), (32, 33), "wrap")(scenes) - targets) ** 2).mean()
        value, slope = gradient(plain)
        any_loss = ((optics_grad.blur(spectra, optics_grad.psf(model, c)) - targets) ** 2).mean()
        short = optics_grad.squared_error(spectra, optics_grad.psf(model, c))
        for loss in (any_loss, short):
            other_value, other = gradient(loss)
            assert other_value == pytest.approx(value, rel=1e-12)
            np.testing.assert_allclose(other, slope, rtol=1e-9, atol=1e-12 * np.abs(slope).max())

    def test_mixed_libraries_are_refused(self, torch: Any) -> None:
        imager = Imager(np.ones((3, 3, 3)), (8, 8))
        with pytest.raises(ConfigError, match="array library"):
            imager(torch.zeros((3, 8, 8), dtype=torch.float64))


def test_plan_of_a_model_can_be_forced() -> None:
    plan = Plan(choose(np.zeros(15), FIFTEEN, SYSTEMS[0], 31, "fft").form, 20, 8, 1, "too small")
    with pytest.raises(ConfigError, match="does not fit"):
        PsfModel(SYSTEMS[0], FIFTEEN, 31, plan=plan)
