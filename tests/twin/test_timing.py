"""Clocks, arrivals and rolling shutters of the twin's cameras."""

from __future__ import annotations

import numpy as np
import pytest

from camera_rig.twin.exposure import Lamp, Rows, cut, row_weights
from camera_rig.twin.lights import LightScene, SquareWave
from camera_rig.twin.targets import FlatField
from camera_rig.twin.timing import FrameTimes, HiddenClock, TimingOptions
from tests.twin.worlds import lab


def times(start_s: float = 0.0, **options: float) -> FrameTimes:
    settings = TimingOptions.model_validate(options)
    clock = HiddenClock.drawn(settings, 5)
    return FrameTimes(settings, clock, start_s=start_s, busy_s=0.015, state=77)


def test_stamps_drift_and_are_off_as_configured() -> None:
    session = times(clock_offset_s=0.011, drift_ppm=40.0, stamp_jitter_s=0.0008)
    k = np.arange(0, 9000, 3)
    true = np.array([session.true_s(i) for i in k])
    stamp = np.array([session.stamp_s(i) for i in k])
    drift, offset = np.polyfit(true, stamp - true, 1)
    assert drift == pytest.approx(40e-6, abs=1.5e-6)
    assert offset == pytest.approx(0.011, abs=1e-4)
    residual = stamp - true - np.polyval([drift, offset], true)
    assert residual.std() == pytest.approx(0.0008, rel=0.08)
    period = np.polyfit(k, true, 1)[0]
    assert period == pytest.approx(1 / (30 * (1 + 40e-6)), rel=1e-6)


def test_frames_arrive_in_order_after_they_were_taken() -> None:
    session = times(start_s=3.0, stall_every_s=2.0, stall_s=0.5)
    arrivals = np.array([session.arrival_s(k) for k in range(600)])
    true = np.array([session.true_s(k) for k in range(600)])
    assert (np.diff(arrivals) >= 0).all()
    assert (arrivals > true + 0.015).all()
    # Stalls hold frames back, then let them go at once.
    assert (np.diff(arrivals) == 0).sum() > 50
    for now_s in np.linspace(3.1, 22.0, 77):
        k = session.newest(now_s)
        assert k < 0 or session.arrival_s(k) <= now_s
        assert session.arrival_s(k + 1) > now_s


def test_drops_come_at_their_rate() -> None:
    session = times(drop_probability=0.1)
    assert np.mean([session.dropped(k) for k in range(5000)]) == pytest.approx(0.1, abs=0.015)


def test_a_frame_tells_the_configured_error_and_no_more() -> None:
    made = lab(privacy={"timing": {"clock_offset_s": -0.02, "drift_ppm": 30.0,
                                   "stamp_jitter_s": 0.0}})  # fmt: skip
    camera = made.device("privacy")
    with camera:
        camera.start()
        for _ in range(6):
            frame = camera.next_frame(1.0)
            true_ns = made.world.truth.true_time_ns("privacy", frame.sequence)
            true_s = (true_ns - made.world.epoch_ns) * 1e-9
            error_s = (frame.captured_ns - true_ns) * 1e-9
            assert error_s == pytest.approx(-0.02 + 30e-6 * true_s, abs=3e-9)


def test_unpaced_time_runs_to_the_frame_and_no_further() -> None:
    made = lab()
    camera, other = made.device("privacy"), made.device("side")
    with camera, other:
        camera.start()
        other.start()
        for _ in range(30):
            camera.next_frame(1.0)
            other.next_frame(1.0)
        assert made.world.now_s() == pytest.approx(30 / 30, abs=0.2)
        assert camera.health().readings["frames_lost"] == 0


def test_a_late_reader_of_a_paced_camera_loses_what_the_buffer_cannot_hold() -> None:
    made = lab(privacy={"timing": {"buffer_frames": 4, "latency_jitter_s": 0.0}})
    type(made.world).unpaced.fget  # noqa: B018 - the property that is overruled below
    camera = made.device("privacy")

    class Paced:
        """A clock that also others move, such as the machine's."""

        now_ns = staticmethod(made.clock.now_ns)
        wall_ns = staticmethod(made.clock.wall_ns)
        sleep = staticmethod(made.clock.sleep)

    made.world._raw_clock = Paced()
    with camera:
        camera.start()
        first = camera.next_frame(1.0)
        made.clock.sleep(1.0)
        late = camera.next_frame(1.0)
        assert 24 <= late.sequence - first.sequence <= 30
        assert late.meta["lost_before"] == late.sequence - first.sequence - 1


def test_time_is_cut_where_the_picture_changes() -> None:
    pieces = cut(lambda t_s: int(np.floor(t_s * 30)), 0.010, 0.080)
    assert [piece.key for piece in pieces] == [0, 1, 2]
    np.testing.assert_allclose([pieces[1].start_s, pieces[1].stop_s], [1 / 30, 2 / 30], atol=3e-6)


def test_rows_share_an_exposure_exactly() -> None:
    rows = Rows(mid_s=0.05, exposure_s=0.02, readout_s=0.01, rows=100)
    pieces = cut(lambda t_s: t_s > 0.05, rows.start_s, rows.stop_s)
    weights = row_weights(pieces, rows, Lamp(1.0, 0.0))
    before, after = weights[0], weights[1]
    np.testing.assert_allclose(before + after, 1.0, atol=1e-6)
    starts = rows.starts_s()
    np.testing.assert_allclose(before, np.clip((0.05 - starts) / 0.02, 0, 1), atol=2e-4)


def test_the_lamp_lights_rows_for_as_long_as_it_is_on() -> None:
    lamp = Lamp(0.2, 0.5)
    lamp.switch(1.0, 1.0)
    lamp.switch(0.0, 1.005)
    rows = Rows(mid_s=1.0, exposure_s=0.02, readout_s=0.0, rows=4)
    pieces = cut(lambda t_s: 0, rows.start_s, rows.stop_s)
    weight = row_weights(pieces, rows, lamp)[0]
    np.testing.assert_allclose(weight, 0.2 + 0.5 * 0.25, rtol=1e-5)
    assert lamp.level(1.001) == 1.0
    assert lamp.level(2.0) == 0.0


def test_a_blinking_light_bands_a_rolling_shutter() -> None:
    made = lab(side={"sensor": {"readout_s": 0.02, "exposure_s": 0.002, "vignetting": 0.0}},
               light_path={"side": {"shift_px": (0, 0), "rotation_deg": 0.0}})  # fmt: skip
    scene = LightScene(
        signal=SquareWave(frequency_hz=100.0), behind=FlatField(level=0.0), diameter_mm=2000.0
    )
    made.world.set_scene(scene, ambient=1.0, lamp=0.0)
    camera = made.device("side")
    with camera:
        camera.start()
        rows = camera.next_frame(1.0).pixels[..., 1].astype(float).mean(axis=1)
    # Two periods of 10 ms within 20 ms of readout: two bright and two dark bands.
    bright = rows > rows.max() / 2
    assert np.count_nonzero(np.diff(bright.astype(int))) in (3, 4)
