"""Nothing is shown that is not proven: every fault of the twin, every wrong turn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.clock import ManualClock
from camera_rig.config import load_config
from camera_rig.contracts import Frame
from camera_rig.drivers.replay import ReplayOptions
from camera_rig.errors import ConfigError, ConnectError, PrivacyError, UnsupportedError
from camera_rig.optics import Coefficients, Order, Unit
from camera_rig.rig import Rig
from camera_rig.twin.faults import Fault, FaultKind
from models.runtime.core import Painting
from models.runtime.gate import Refused
from models.runtime.live_data import Blank, PrivacyFrame, encode_jpeg
from models.runtime.meter import Spent
from models.runtime.reader import FrameReader
from models.runtime.watch import Confirmed, MirrorWatch
from tests.runtime.live_rig import PAINT, AlwaysAFace, stepped

_ROLES = {
    FaultKind.DROP: ["privacy"], FaultKind.FREEZE: ["privacy"], FaultKind.STALL: ["privacy"],
    FaultKind.BUSY: ["privacy", "mirror"], FaultKind.TIMEOUT: ["privacy", "mirror"],
    FaultKind.UNPLUG: ["privacy", "mirror"], FaultKind.BROWN_OUT: ["mirror"],
    FaultKind.DISK_SLOW: ["disk"], FaultKind.DISK_FULL: ["disk"], FaultKind.CLOCK_JUMP: ["clock"],
}  # fmt: skip

faults = st.sampled_from(FaultKind).flatmap(
    lambda kind: st.builds(
        Fault,
        kind=st.just(kind),
        device=st.sampled_from(_ROLES[kind]),
        at_s=st.floats(0.2, 2.0),
        for_s=st.floats(0.02, 1.5),
        value=st.floats(-60, 60) if kind is FaultKind.CLOCK_JUMP else st.just(0.001),
    )
)


def _is_painted(picture: np.ndarray) -> bool:
    """Whether every pixel is of the engine's colour, which no camera gives."""
    part = picture.reshape(-1, 3) / 255.0
    return bool(np.abs(part / part[:, :1] - np.array(PAINT) / PAINT[0]).max() < 0.05)


def _exposed_v(steps, sequence: int) -> np.ndarray:
    """The voltages on the mirror during a frame's exposure, from the twin's truth."""
    true_ns = steps.rig.twin.truth.true_time_ns("privacy", sequence)
    world = steps.rig.twin
    return np.stack(
        [world.mirror.volts((true_ns - world.epoch_ns) * 1e-9 + d) for d in (-0.0125, 0, 0.0195)]
    )


def test_every_kind_of_fault_is_tried():
    assert set(_ROLES) == set(FaultKind)


@pytest.fixture(scope="module")
def world(bundle, tmp_path_factory):
    """One world for all: to open one costs more than everything that is done in it."""
    with stepped(tmp_path_factory.mktemp("rig"), bundle) as steps:
        yield steps


@pytest.fixture
def steps(world):
    """The world when it is well: faces are shown."""
    _until_a_face(world)
    return world


def _until_a_face(steps, longest_s: float = 6.0) -> float:
    """Go on until a face is shown; how long that took, s of the rig's time."""
    begin_s = steps.rig.twin.now_s()
    while steps.rig.twin.now_s() - begin_s < longest_s:
        shown, _ = steps.step(AlwaysAFace())
        if shown is not None and not shown.blank:
            return steps.rig.twin.now_s() - begin_s
    raise AssertionError("the view did not come back")


def test_no_face_of_an_unconfirmed_mirror_whatever_goes_wrong(steps):
    faces = []

    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(st.lists(faults, min_size=1, max_size=3))
    def whatever(script):
        begin_s = steps.rig.twin.now_s()
        for fault in script:
            moved = fault.model_copy(update={"at_s": begin_s + fault.at_s})
            steps.rig.twin.faults.inject(moved)
        faces.append(_faces_all_proven(steps, until_s=begin_s + 2.0))
        _until_a_face(steps)

    whatever()
    assert sum(faces) > 300, "next to nothing was shown: the property is empty"


def _faces_all_proven(steps, until_s: float) -> int:
    """Go on for a while; check every frame, count the faces."""
    engine, faces = AlwaysAFace(), 0
    private_v = steps.watch.shape.command_v
    while steps.rig.twin.now_s() < until_s:
        shown, view = steps.step(engine)
        if shown is None or shown.blank:
            assert view is None
            continue
        faces += 1
        assert _is_painted(shown.picture)
        assert np.abs(_exposed_v(steps, shown.sequence) - private_v).max() < 1.0
    return faces


@pytest.mark.parametrize(
    ("kind", "device"),
    [(FaultKind.BROWN_OUT, "mirror"), (FaultKind.UNPLUG, "mirror"), (FaultKind.UNPLUG, "privacy")],
)
def test_the_view_goes_with_the_fault_and_comes_back_after_it(steps, kind, device):
    at_s = steps.rig.twin.now_s() + 0.1
    steps.rig.twin.faults.inject(Fault(kind=kind, device=device, at_s=at_s, for_s=0.5))
    while steps.rig.twin.now_s() < at_s + 0.06:  # frames on their way may still be proven
        steps.step(AlwaysAFace())
    while steps.rig.twin.now_s() < at_s + 0.45:
        shown, _ = steps.step(AlwaysAFace())
        assert shown is None or shown.blank
    assert _until_a_face(steps) < 2.5


def test_a_mirror_lent_out_blanks_at_once_until_it_is_read_back(steps):
    engine = AlwaysAFace()
    with steps.watch.borrowed() as mirror:
        mirror.apply(mirror.limits.mean(axis=1), reason="a slider")
        frame = steps.reader.next(0.1)
        proof = steps.watch.confirm(frame, 0.0)
        assert "moved" in proof
    for _ in range(40):
        shown, view = steps.step(engine)
        assert shown.blank and shown.why is Blank.MIRROR and view is None
    steps.watch.restore()
    assert _until_a_face(steps) < 2.5


def test_the_same_glass_stands_after_a_power_cut_not_only_the_same_voltages(steps):
    """Play and creep remember: judged by the twin's true wavefront, which no driver sees."""
    world = steps.rig.twin
    before_um = world.mirror.wavefront_um(world.now_s())
    cut = Fault(kind=FaultKind.BROWN_OUT, device="mirror", at_s=world.now_s() + 0.1, for_s=1.0)
    world.faults.inject(cut)
    while world.now_s() < cut.at_s + 1.0:
        steps.step(AlwaysAFace())
    size_um = np.linalg.norm(before_um)
    assert np.linalg.norm(world.mirror.wavefront_um(world.now_s()) - before_um) > size_um
    _until_a_face(steps)
    off_um = np.linalg.norm(world.mirror.wavefront_um(world.now_s()) - before_um)
    assert off_um < 0.1 * size_um  # creep of the cut; 1.7 without relaxing


def test_a_frame_needs_a_read_back_before_and_after(steps):
    watch = MirrorWatch(steps.rig, 1.0)
    early = steps.reader.next(0.1)
    assert "not loaded" in watch.confirm(early, 0.0)
    watch.look()
    watch.look()
    assert watch.confirm(early, 0.0) == "the mirror has only just been confirmed"
    for _ in range(40):
        frame = steps.reader.next(0.1)
    assert watch.confirm(frame, 0.0) == "the mirror did not answer in time"
    watch.look()
    assert isinstance(watch.confirm(frame, 0.0), Confirmed)
    watch.stop()
    assert "ended" in watch.confirm(frame, 0.0)


def test_side_frames_cannot_enter(steps):
    pixels = np.zeros((64, 96, 3), np.uint8)
    frame = Frame(pixels, "TWIN-M50-B", 0, 0, 0, 0.0)
    with pytest.raises(PrivacyError, match="TWIN-M50-B"):
        PrivacyFrame(frame, "TWIN-M50-A", 0)
    with pytest.raises(PrivacyError):
        PrivacyFrame(Frame(pixels, "", 0, 0, 0, 0.0), "", 0)
    raw = Frame(pixels.astype(np.uint16), "A", 0, 0, 0, 0.0, linear=True)
    with pytest.raises(UnsupportedError):
        PrivacyFrame(raw, "A", 0)
    assert not steps.rig.has("side")


def _painting(steps, engine=None) -> Painting:
    steps.core.restart()
    return steps.core.paint(steps.reader.next(0.2), engine or AlwaysAFace())


def test_cards_for_what_frames_cannot_cure_for_lateness_and_for_doubt(steps):
    proof = Confirmed()
    core, painting = steps.core, _painting(steps)
    shown, view = core.show(painting, proof, (Blank.CALIBRATION, "psf: 300 h old"))
    assert shown.why is Blank.CALIBRATION and "300 h" in shown.reason and view is None
    assert core.show(painting, "no proof", None)[0].why is Blank.MIRROR
    doubt = Painting(painting.frame, Refused(Blank.UNSURE, "?"), Spent(), face=painting.face)
    assert core.show(doubt, proof, None)[0].why is Blank.UNSURE
    assert not core.show(painting, proof, None)[0].blank
    steps.rig.clock.sleep(0.5)
    late, _ = core.show(painting, proof, None)
    assert late.why is Blank.LATE and not _is_painted(late.picture)


class _Broken:
    name = "broken"

    def __init__(self, what) -> None:
        self.what = what

    def __call__(self, frames, style):
        if isinstance(self.what, Exception):
            raise self.what
        faces, maps = AlwaysAFace()(frames, style)
        return self.what(faces, maps)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (ValueError("inside"), Blank.FAILED),
        (ConnectError("gone", hint="plug in"), Blank.FAILED),
        (lambda f, m: (f * np.nan, m), Blank.UNSURE),
        (lambda f, m: (f * 0 + 0.5, m), Blank.UNSURE),
        (lambda f, m: (f, m * np.nan), Blank.NO_FACE),
        (lambda f, m: (f, m * 0.1), Blank.NO_FACE),
        (lambda f, m: (f, m[..., ::-1, :]), Blank.NO_FACE),
        (lambda f, m: (f[:, :1], m), Blank.FAILED),
    ],
)
def test_a_stage_that_fails_or_doubts_is_a_card(steps, what, why):
    shown, view = steps.core.show(_painting(steps, _Broken(what)), Confirmed(), None)
    assert shown.blank and shown.why is why and view is None
    if why is Blank.FAILED:
        assert steps.core.meter.counts("failure/")


def test_a_picture_sharper_than_the_shape_allows_is_a_card(steps):
    rng = np.random.default_rng(0)
    soft = steps.reader.next(0.2)
    sharp = np.kron(rng.integers(0, 255, (80, 120, 3)), np.ones((2, 2, 1))).astype(np.uint8)
    frame = Frame(sharp, "x", 1, soft.captured_ns, 0, 0.02)
    painting = steps.core.paint(PrivacyFrame(frame, "x", soft.received_ns), AlwaysAFace())
    shown, view = steps.core.show(painting, Confirmed(), None)
    assert shown.why is Blank.SHARP and view is None


def test_a_damaged_picture_is_not_a_frame_and_no_lost_link(tmp_path):
    whole = encode_jpeg(np.full((64, 96, 3), 128, np.uint8), 80)
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(whole)
    (tmp_path / "1.jpg").write_bytes(whole[: whole.index(b"\xff\xda")])  # a header, no picture
    config = load_config("simulated")
    replay = config.devices["privacy"].model_copy(
        update={"driver": "replay", "options": ReplayOptions(path=tmp_path, fps=30.0)}
    )
    config = config.model_copy(update={"devices": {**config.devices, "privacy": replay}})
    with Rig.open(config, clock=ManualClock(), only={"privacy"}) as rig:
        reader = FrameReader(rig, recover_s=1.0)
        assert reader.next(0.1).sequence == 0
        assert reader.next(0.1) is None
        assert "do not decode" in reader.trouble
        figures = reader.figures()
        assert (figures.lost, figures.reopened) == (1, 0)
        reader.close()


def test_a_repeated_picture_is_not_a_new_frame(steps):
    at_s = steps.rig.twin.now_s()
    steps.rig.twin.faults.inject(
        Fault(kind=FaultKind.FREEZE, device="privacy", at_s=at_s + 0.1, for_s=0.6)
    )
    while steps.rig.twin.now_s() < at_s + 0.4:
        steps.reader.next(0.1)
    assert steps.reader.next(0.1) is None
    assert "repeats" in steps.reader.trouble


def test_the_bundle_of_another_shape_is_noticed(steps, bundle):
    shape = steps.watch.shape.coefficients
    bundle.check_optics([shape])
    other = Coefficients.numbered({4: -0.5}, Unit.WAVES_RMS, Order.NOLL, 550)
    with pytest.raises(ConfigError, match="the instrument shows"):
        bundle.check_optics([other])


def test_checks_stand_until_they_hold(steps):
    why = ["psf: the mirror is +9 °C from then"]
    watch = MirrorWatch(steps.rig, 1.0, [lambda: why])
    watch.look()
    assert watch.standing == tuple(why)
    why.clear()
    steps.rig.clock.sleep(6.0)
    watch.look()
    assert watch.standing == ()
    watch.stop()


def test_a_rig_without_mirror_is_refused(bundle):
    from camera_rig.errors import StateError
    from models.runtime.live import LivePipeline

    with Rig.open("simulated", only={"privacy"}) as rig:
        with pytest.raises(StateError, match="mirror"):
            LivePipeline(bundle, rig)
