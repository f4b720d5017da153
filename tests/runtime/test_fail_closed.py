"""Nothing is shown that is not proven: every fault of the twin, every wrong turn."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.contracts import Frame
from camera_rig.errors import ConfigError, ConnectError, PrivacyError, UnsupportedError
from camera_rig.rig import Rig
from camera_rig.twin.faults import Fault, FaultKind
from models.runtime.core import Painting
from models.runtime.gate import Refused
from models.runtime.live_data import Blank, LiveSettings, PrivacyFrame
from models.runtime.meter import Spent
from models.runtime.watch import Confirmed
from tests.runtime.live_rig import PAINT, AlwaysAFace, make_bundle, stepped

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


def test_no_face_of_an_unconfirmed_mirror_whatever_goes_wrong(bundle):
    faces = []

    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(st.lists(faults, min_size=1, max_size=3))
    def world_of(script):
        with tempfile.TemporaryDirectory() as folder:
            with stepped(Path(folder), bundle, faults=script) as steps:
                faces.append(_faces_all_proven(steps))

    world_of()
    assert sum(faces) > 100, "next to nothing was shown: the property is empty"


def _faces_all_proven(steps) -> int:
    """Run for two seconds of the rig's time; check every frame, count the faces."""
    engine, faces = AlwaysAFace(), 0
    private_v = steps.watch.shape.command_v if steps.watch.shape else None
    while steps.rig.twin.now_s() < 2.2:
        shown, view = steps.step(engine)
        if shown is None or shown.blank:
            assert view is None
            continue
        faces += 1
        private_v = steps.watch.shape.command_v if private_v is None else private_v
        assert _is_painted(shown.picture)
        assert np.abs(_exposed_v(steps, shown.sequence) - private_v).max() < 1.0
    return faces


@pytest.mark.parametrize(
    ("kind", "device"), [(FaultKind.BROWN_OUT, "mirror"), (FaultKind.UNPLUG, "mirror"),
                         (FaultKind.UNPLUG, "privacy")],
)  # fmt: skip
def test_the_view_comes_back_after_the_fault(tmp_path, bundle, kind, device):
    fault = Fault(kind=kind, device=device, at_s=0.5, for_s=0.4)
    with stepped(tmp_path, bundle, faults=[fault]) as steps:
        states = []
        for _ in range(200):
            shown, _ = steps.step(AlwaysAFace())
            now_s = steps.rig.twin.now_s()
            states.append((now_s, shown is not None and not shown.blank))
            if now_s > 3.0:
                break
            if shown is None:
                steps.rig.clock.sleep(0.05)
    assert any(face for t, face in states if t < 0.5)
    assert not any(face for t, face in states if 0.62 < t < 0.9)
    assert any(face for t, face in states if t > 1.2)


def test_a_mirror_lent_out_blanks_at_once_until_it_is_read_back(tmp_path, bundle):
    with stepped(tmp_path, bundle) as steps:
        engine = AlwaysAFace()
        while (shown := steps.step(engine)[0]) is None or shown.blank:
            pass
        with steps.watch.borrowed() as mirror:
            mirror.apply(mirror.limits.mean(axis=1), reason="a slider")
            frame = steps.reader.next(0.1)
            proof = steps.watch.confirm(frame, 0.0)
            assert "moved" in proof
        for _ in range(40):
            shown, view = steps.step(engine)
            assert shown.blank and shown.why is Blank.MIRROR and view is None
        steps.watch.restore()
        shown = [steps.step(engine)[0] for _ in range(20)]
        assert not shown[-1].blank


def test_a_frame_needs_a_read_back_before_and_after(tmp_path, bundle):
    with stepped(tmp_path, bundle) as steps:
        first = steps.reader.next(0.1)
        steps.watch.look()
        assert isinstance(steps.watch.confirm(first, 0.0), str)  # the shape is younger than it
        for _ in range(8):
            frame = steps.reader.next(0.1)
        assert steps.watch.confirm(frame, 0.0) == "the mirror did not answer in time"
        steps.watch.look()
        assert isinstance(steps.watch.confirm(frame, 0.0), Confirmed)


def test_side_frames_cannot_enter(tmp_path, bundle):
    pixels = np.zeros((64, 96, 3), np.uint8)
    frame = Frame(pixels, "TWIN-M50-B", 0, 0, 0, 0.0)
    with pytest.raises(PrivacyError, match="TWIN-M50-B"):
        PrivacyFrame(frame, "TWIN-M50-A", 0)
    with pytest.raises(PrivacyError):
        PrivacyFrame(Frame(pixels, "", 0, 0, 0, 0.0), "", 0)
    raw = Frame(pixels.astype(np.uint16), "A", 0, 0, 0, 0.0, linear=True)
    with pytest.raises(UnsupportedError):
        PrivacyFrame(raw, "A", 0)
    with stepped(tmp_path, bundle) as steps:
        assert not steps.rig.has("side")


def _painting(steps, engine=None) -> Painting:
    return steps.core.paint(steps.reader.next(0.2), engine or AlwaysAFace())


def test_cards_for_what_frames_cannot_cure_for_lateness_and_for_doubt(tmp_path, bundle):
    with stepped(tmp_path, bundle, LiveSettings(height_px=64, max_age_s=0.4)) as steps:
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
def test_a_stage_that_fails_or_doubts_is_a_card(tmp_path, bundle, what, why):
    with stepped(tmp_path, bundle) as steps:
        shown, view = steps.core.show(_painting(steps, _Broken(what)), Confirmed(), None)
        assert shown.blank and shown.why is why and view is None
        if why is Blank.FAILED:
            assert steps.core.meter.counts("failure/")


def test_a_picture_sharper_than_the_shape_allows_is_a_card(tmp_path, bundle):
    rng = np.random.default_rng(0)
    with stepped(tmp_path, bundle) as steps:
        soft = steps.reader.next(0.2)
        sharp = np.kron(rng.integers(0, 255, (80, 120, 3)), np.ones((2, 2, 1))).astype(np.uint8)
        frame = Frame(sharp, "x", 1, soft.captured_ns, 0, 0.02)
        painting = steps.core.paint(PrivacyFrame(frame, "x", soft.received_ns), AlwaysAFace())
        shown, view = steps.core.show(painting, Confirmed(), None)
        assert shown.why is Blank.SHARP and view is None


def test_a_repeated_picture_is_not_a_new_frame(tmp_path, bundle):
    fault = Fault(kind=FaultKind.FREEZE, device="privacy", at_s=0.3, for_s=1.0)
    with stepped(tmp_path, bundle, faults=[fault]) as steps:
        while steps.rig.twin.now_s() < 0.5:
            steps.reader.next(0.1)
        assert steps.reader.next(0.1) is None
        assert "repeats" in steps.reader.trouble


def test_the_bundle_of_another_shape_is_noticed(tmp_path, bundle):
    other = make_bundle(tmp_path / "other", "lopez2024")
    with stepped(tmp_path, bundle) as steps:
        shape = steps.watch.shape.coefficients
        other.check_optics([shape])
        with pytest.raises(ConfigError, match="the instrument shows"):
            other.check_optics([shape * 0.5])


def test_checks_stand_until_they_hold(tmp_path, bundle):
    why = ["psf: the mirror is +9 °C from then"]
    with stepped(tmp_path, bundle, checks=[lambda: why]) as steps:
        steps.watch.look()
        assert steps.watch.standing == tuple(why)
        why.clear()
        steps.rig.clock.sleep(6.0)
        steps.watch.look()
        assert steps.watch.standing == ()


def test_a_rig_without_mirror_is_refused(tmp_path, bundle):
    from camera_rig.errors import StateError
    from models.runtime.live import LivePipeline

    with Rig.open("simulated", only={"privacy"}) as rig:
        with pytest.raises(StateError, match="mirror"):
            LivePipeline(bundle, rig)
