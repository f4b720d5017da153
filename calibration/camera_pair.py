"""Both cameras streaming at once, read in the order of their stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from calibration.switches import light_of
from camera_rig.contracts import Camera, CameraMode, CameraSettings, Frame
from camera_rig.errors import StateError
from camera_rig.rig import Rig

__all__ = ["CameraPair"]

DARK, ENOUGH, AIM, BURNT = 0.02, 0.1, 0.4, 0.9
"""Linear light, share of full scale, of the brighter parts of a picture."""


class CameraPair:
    """The privacy and the side camera in live view. One thread.

    Args:
        rig: The open rig.
        longest_s: Exposure not to exceed, s.
    """

    def __init__(self, rig: Rig, longest_s: float) -> None:
        self.rig, self.longest_s = rig, longest_s
        self.cameras: dict[str, Camera] = {"privacy": rig.privacy, "side": rig.side}

    def expose(self, *, dimmable: bool = False) -> dict[str, float]:
        """Set live view with the longest exposure, at an ISO that burns neither picture.

        Long, so that what happens between two exposures is little.

        Args:
            dimmable: The light can be dimmed afterwards: do not shorten the exposure.

        Returns:
            The exposure of each role, s.

        Raises:
            StateError: It is too dark, or too bright, whatever the settings.
        """
        return {role: self._expose(role, camera, dimmable) for role, camera in self.cameras.items()}

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Keep both streams running for the length of a block."""
        started: list[Camera] = []
        try:
            for camera in self.cameras.values():
                camera.start()
                started.append(camera)
            yield
        finally:
            for camera in started:
                camera.stop()

    def read(self, seconds: float, take: Callable[[str, Frame], None]) -> None:
        """Hand every frame of the next ``seconds`` (s) to ``take``, oldest camera first."""
        clock = self.rig.clock
        end_ns = clock.now_ns() + round(seconds * 1e9)
        newest = dict.fromkeys(self.cameras, 0)
        while clock.now_ns() < end_ns:
            behind = min(newest, key=lambda role: newest[role])
            frame = self.cameras[behind].next_frame(timeout_s=2.0)
            newest[behind] = frame.captured_ns
            take(behind, frame)

    def _expose(self, role: str, camera: Camera, dimmable: bool) -> float:
        able = camera.capabilities
        low_s, high_s = able.exposure_s or (self.longest_s, self.longest_s)
        longest_s = min(high_s, self.longest_s)
        speeds = sorted(able.iso)
        speed = camera.settings.iso or (speeds[0] if speeds else None)
        exposure_s, light = longest_s, 0.0
        for _ in range(8):
            camera.configure(CameraSettings(exposure_s=exposure_s, iso=speed, mode=CameraMode.LIVE))
            light = self._light(camera)
            if ENOUGH <= light <= BURNT:
                break
            wanted = exposure_s * (0.25 if light > BURNT else AIM / max(light, 0.004))
            now = exposure_s, speed
            exposure_s, speed = _shared(wanted, longest_s, speed, speeds)
            exposure_s = longest_s if dimmable else max(exposure_s, low_s)
            if now == (exposure_s, speed):
                break
        if light < DARK:
            raise StateError(
                f"the {role} camera sees no light: its picture is dark even at {exposure_s:.3g} s",
                hint="switch on the light, take the cap off, and see that nothing stands before "
                "the lens",
            )
        if light > BURNT and not dimmable:
            raise StateError(
                f"the {role} camera's picture is burnt even at {exposure_s:.3g} s",
                hint="dim the light, or put a grey filter before the rig",
            )
        return exposure_s

    def _light(self, camera: Camera) -> float:
        camera.start()
        try:
            frames = [camera.next_frame(timeout_s=2.0) for _ in range(3)]
        finally:
            camera.stop()
        return light_of(frames[-1], 95.0)


def _shared(
    wanted_s: float, longest_s: float, speed: int | None, speeds: list[int]
) -> tuple[float, int | None]:
    """Return (exposure, ISO) for ``wanted_s`` at the present ISO: long exposure, low ISO."""
    if speed is None or not speeds:
        return min(wanted_s, longest_s), speed
    light = wanted_s * speed
    chosen = next((iso for iso in speeds if iso * longest_s >= light), speeds[-1])
    return min(light / chosen, longest_s), chosen
