from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera_rig.bench import Bench
from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceContext
from camera_rig.errors import ConfigError
from camera_rig.mirror.influence import InfluenceModel
from camera_rig.mirror.modal import ModalMirror
from camera_rig.optics import Coefficients, Order, Unit
from camera_rig.twin.devices import TwinMirror
from camera_rig.twin.world import World, WorldOptions
from models.camera import LearnedCamera, OpticsSpec
from models.losses import identity_loss
from models.training.config import FaceConfig
from models.training.limits import MirrorLimits, Pace
from models.training.objectives import likeness
from models.training.pareto import DesignPoint, front, save_picture

SPEC = OpticsSpec(psf_px=31, pixel_um=5.4, max_waves_rms=0.5, noise=0.0)


def shape(**numbers: float) -> Coefficients:
    values = {int(key[1:]): value for key, value in numbers.items()}
    return Coefficients.numbered(values, Unit.WAVES_RMS, Order.NOLL, 550)


def test_an_exposure_holds_as_many_shapes_as_it_has_time_to_reach():
    pace = Pace(settle_s=0.010, slew_v_per_s=10_000)
    assert pace.move_s(100.0) == pytest.approx(0.020)
    # Half of 100 ms is 2.5 moves of 20 ms; half of 1/30 s is not even one.
    assert pace.shapes_within(0.100, 100.0) == 2
    assert pace.shapes_within(0.100, 100.0, standing=0.0) == 5
    assert pace.shapes_within(1 / 30, 100.0) == 1
    with pytest.raises(ConfigError, match="below one"):
        pace.shapes_within(0.1, 100.0, standing=1.0)


class _Plan:
    def __init__(self, command_v: np.ndarray, *, feasible: bool) -> None:
        self.command_v, self.feasible, self.scale_that_fits = command_v, feasible, 0.25


class _Planner:
    """Ten volts per wave of each mode; more than 20 V is out of reach."""

    class mirror:  # noqa: N801 - stands where a planner has its mirror
        settle_s, slew_v_per_s = 0.02, 1000.0

    def plan(self, wanted: Coefficients) -> _Plan:
        assert all(mode[0] > 1 for mode in wanted.values)  # a mirror refuses tilts by name
        volts = 10.0 * np.array([wanted.numbers.get(4, 0.0), wanted.numbers.get(6, 0.0)])
        return _Plan(volts, feasible=bool(abs(volts).max() <= 20.0))


def test_a_round_comes_back_to_its_first_shape():
    limits = MirrorLimits(_Planner())  # type: ignore[arg-type]
    shapes = [shape(j1=0, j4=1), shape(j4=-1), shape(j4=-1, j6=0.5)]
    assert limits.steps_v(shapes) == pytest.approx([20.0, 5.0, 20.0])
    assert limits.round_s(shapes) == pytest.approx(0.045 + 3 * 0.02)
    assert limits.why_not(shapes[0]) == []
    assert limits.why_not(shape(j4=3)) == ["only 0.25 of it fits"]


def test_what_a_simulated_dmh40_cannot_make_is_drawn_back_until_it_can():
    clock, bench = ManualClock(), Bench()
    context = DeviceContext("mirror", clock, World(WorldOptions(), bench, clock))
    with TwinMirror(TwinMirror.Options(), context) as mirror:
        matrix = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix()
        limits = MirrorLimits(ModalMirror(mirror, matrix))
        spec = SPEC.model_copy(update={"max_waves_rms": 20.0, "psf_px": 63, "pixel_um": 40.0})
        wanted = shape(j9=4.0, j14=-9.0)
        camera = LearnedCamera(spec, wanted, why_not=limits.why_not)
        assert limits.why_not(wanted) and camera.make_feasible()
        (now,) = camera.coefficients
        assert limits.why_not(now) == [] and 0.1 < now.rms < wanted.rms
        # Not drawn back farther than needed: a hundredth more is out of reach again.
        assert limits.why_not(shape(**{f"j{j}": 1.01 * v for j, v in now.numbers.items()}))
        before = mirror.read_back()
        limits.steps_v([now, shape(j4=0.1)])
        assert np.array_equal(mirror.read_back(), before)


points = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda p: DesignPoint("", *map(float, p))),
    min_size=1,
    max_size=12,
)


@given(points)
def test_front_is_what_nobody_beats(sweep):
    best = front(sweep)
    assert best and not any(a.beats(b) for a in sweep for b in best)
    for point in sweep:
        assert point in best or any(b.beats(point) for b in best)


def test_front_is_drawn(tmp_path):
    import cv2

    sweep = [DesignPoint("a", 0.01, 25.0), DesignPoint("b", 0.02, 21.0), DesignPoint("c", 0.03, 24)]
    assert [p.name for p in front(sweep)] == ["a", "b"]
    save_picture(sweep, tmp_path / "front.png")
    drawn = cv2.imread(str(tmp_path / "front.png"))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50


def test_every_shape_may_start_elsewhere():
    starts = [shape(j4=0.2), shape(j6=-0.1, j15=0.05)]
    camera = LearnedCamera(SPEC, starts, shapes=2)
    for wanted, found in zip(starts, camera.coefficients, strict=True):
        for number, value in found.numbers.items():
            assert value == pytest.approx(wanted.numbers.get(number, 0.0), abs=1e-6)
    with pytest.raises(ConfigError, match="1 starts for 2"):
        LearnedCamera(SPEC, starts[:1], shapes=2)
    with pytest.raises(ConfigError, match="modes this camera does not"):
        LearnedCamera(SPEC, shape(j16=0.1))


class _Style(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = torch.nn.Linear(12, 4)

    def forward(self, pictures, _domain):
        return self.read(pictures.flatten(1))


def test_likeness_moves_the_painter_and_not_the_judge():
    torch.manual_seed(0)
    style, scene = _Style(), torch.rand(3, 3, 2, 2)
    face = (scene * 2 - 1).clone().requires_grad_()
    batch = {"source_domain": torch.zeros(3, dtype=torch.long)}
    # The source itself: cosine 1, less the margin.
    found = likeness(style, scene, batch, face, FaceConfig(identity_margin=0.25))
    assert float(found.detach()) == pytest.approx(0.75, abs=1e-5)
    other = (face.detach() + torch.randn(3, 3, 2, 2)).requires_grad_()
    likeness(style, scene, batch, other, FaceConfig(identity_margin=-1.0)).backward()
    assert float(other.grad.abs().sum()) > 0
    assert all(p.grad is None and p.requires_grad for p in style.parameters())
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert float(identity_loss(a, b, 0.25)) == 0.0
