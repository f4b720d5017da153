"""The acceptance test must pass a sound camera and fail each kind of bad one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from camera_rig.acceptance import AcceptancePlan, accept_camera, draw_report
from camera_rig.clock import ManualClock
from camera_rig.contracts import CameraCapabilities, CameraSettings, DeviceContext, Frame
from camera_rig.drivers.replay import ReplayCamera, ReplayOptions

PLAN = AcceptancePlan(stream_s=0.4, timeout_s=1.0)


class Exposing(ReplayCamera):
    """A replay whose exposure can be set; its level follows unless it is ``stuck``."""

    stuck = False

    def _do_capabilities(self) -> CameraCapabilities:
        return CameraCapabilities(sizes=(self._size,), exposure_s=(1e-4, 1.0))

    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        return CameraSettings(exposure_s=settings.exposure_s or 0.01, size=self._size)

    def _do_snap(self) -> Frame:
        level = 0.2 if self.stuck else min(1.0, (self.settings.exposure_s or 0.0) / 0.1)
        pixels = np.full((24, 32, 3), round(255 * level), np.uint8)
        return Frame(pixels, "x", 0, self.clock.now_ns(), 0, 0.0)


def camera_on(folder: Path, kind: type[ReplayCamera] = Exposing, **options: object) -> ReplayCamera:
    given = {"path": folder, "fps": 50.0, "loop": True, **options}
    return kind(ReplayOptions.model_validate(given), DeviceContext("side", ManualClock()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((24, 32, 3), 20 * number, np.uint8))
    return tmp_path


def verdicts(camera: ReplayCamera) -> dict[str, bool]:
    with camera:
        before = camera.settings
        report = accept_camera(camera, PLAN)
        assert not camera.is_streaming
        assert camera.settings.mode == before.mode
    assert report.passed == all(check.passed for check in report.checks)
    return {check.name: check.passed for check in report.checks}


def test_a_sound_camera_passes(folder: Path) -> None:
    passed = verdicts(camera_on(folder))
    assert passed == dict.fromkeys(("exposure", "stream", "restart", "health"), True)


def test_an_exposure_without_effect_fails(folder: Path) -> None:
    class Stuck(Exposing):
        stuck = True

    assert not verdicts(camera_on(folder, Stuck))["exposure"]


def test_a_slow_stream_fails(folder: Path) -> None:
    assert not verdicts(camera_on(folder, fps=5.0))["stream"]


def test_repeated_pictures_fail(folder: Path) -> None:
    for path in folder.glob("*.png"):
        cv2.imwrite(str(path), np.full((24, 32, 3), 7, np.uint8))
    assert not verdicts(camera_on(folder))["stream"]


def test_a_stream_that_ends_fails_and_the_rest_is_still_tried(folder: Path) -> None:
    passed = verdicts(camera_on(folder, loop=False))
    assert not passed["stream"]
    assert passed["health"]


def test_the_picture_of_the_report(folder: Path) -> None:
    with camera_on(folder) as camera:
        report = accept_camera(camera, PLAN)
    figure = draw_report(report)
    assert len(figure.axes) == 3
    assert "accepted" in figure.get_suptitle()
