"""A take as cameras: every routine that takes live ones runs on a recorded one.

In a configuration::

    privacy: {driver: "camera_rig.recording.playback:PlaybackCamera", take: DIR, role: privacy}

Both cameras of a take play on one time base, so their frames keep their true distance.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Literal

from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraSettings,
    Clock,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Frame,
)
from camera_rig.errors import UnsupportedError
from camera_rig.recording.audit import AuditLog
from camera_rig.recording.keys import KeyStore
from camera_rig.recording.reading import StoredFrame, Take, TakeReader
from camera_rig.recording.vault import FrameClass, KeyAccess, OpenKeys, open_keys

__all__ = ["PlaybackCamera", "playback_pair"]


class PlaybackOptions(DriverOptions):
    """Which camera of which take, and how to open it.

    Args:
        take: Folder of the take.
        role: Which of its cameras.
        keys: Key folder; needed for encrypted takes.
        key_file: The lab's private key, if it is not in the key folder.
        passphrase_env: Environment variable with the key's passphrase.
        loop: Begin again at the end instead of falling silent.
    """

    take: Path
    role: Literal["privacy", "side"]
    keys: Path | None = None
    key_file: Path | None = None
    passphrase_env: str = "RIG_PASSPHRASE"
    loop: bool = False


class PlaybackCamera(Camera):
    """Plays the frames of one camera of a take at the pace they were recorded.

    The decryption is written to ``audit.jsonl`` of the data folder the take lies in.
    Sequence numbers keep their distances, so the gaps of the recording are gaps again.

    Not offered: other exposures or sizes. A recording is what it is.
    """

    Options = PlaybackOptions
    options: PlaybackOptions

    def __init__(self, options: PlaybackOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._lock = threading.Lock()
        self._keys: OpenKeys | None = None
        self._reader: TakeReader | None = None
        self._stored: list[StoredFrame] = []
        self._origin_ns = self._start_ns = self._next = self._round = 0
        self._latest: Frame | None = None

    def _do_open(self) -> None:
        take = Take(self.options.take)
        if self.options.keys is not None:
            store = KeyStore(self.options.keys)
            phrase = os.environ.get(self.options.passphrase_env)
            access = KeyAccess(
                store,
                store.lab_private(phrase, self.options.key_file),
                AuditLog(take.folder.parent.parent / "audit.jsonl", self.clock),
                f"playback as {self.name}",
            )
            classes = [FrameClass(self.options.role)]
            self._keys = open_keys(take.id, take.manifest.keys, access, classes)
        self._reader = TakeReader(take, self._keys)
        self._stored = take.frames(self.options.role)
        if not self._stored:
            raise UnsupportedError(
                f"take {take.id} has no {self.options.role} frames", hint="choose another take"
            )
        # Both roles count from the take's first frame, whichever camera gave it.
        self._origin_ns = min(
            frame.corrected_ns for g in take.groups for frame in g.frames.values()
        )

    def _do_close(self) -> None:
        if self._keys is not None:
            self._keys.close()
        self._keys, self._reader, self._stored = None, None, []

    def _do_info(self) -> DeviceInfo:
        manifest = self._open_reader.take.manifest
        camera = manifest.cameras[self.options.role]
        driver = "playback-simulated" if manifest.simulated else "playback"
        return DeviceInfo(self.kind, camera.model, camera.serial, driver, camera.firmware)

    def _do_capabilities(self) -> CameraCapabilities:
        first = self._stored[0]
        span_ns = self._stored[-1].captured_ns - first.captured_ns
        fps = (len(self._stored) - 1) / (span_ns * 1e-9) if span_ns else 0.0
        return CameraCapabilities(
            sizes=((first.width_px, first.height_px),), nominal_fps=fps, snap_while_streaming=True
        )

    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        first = self._stored[0]
        if settings.exposure_s is not None and settings.exposure_s != first.exposure_s:
            raise UnsupportedError(
                f"the take was recorded with an exposure of {first.exposure_s} s",
                hint="leave the exposure away; a recording cannot be exposed again",
            )
        return CameraSettings(
            exposure_s=first.exposure_s, size=(first.width_px, first.height_px), gain=1.0
        )

    def _do_start(self) -> None:
        self._next, self._latest, self._round = 0, None, 0
        self._start_ns = self.clock.now_ns()

    def _do_stop(self) -> None:
        """Nothing runs by itself."""

    def _do_next_frame(self, timeout_s: float) -> Frame | None:
        if self._next >= len(self._stored):
            if not self.options.loop:
                self.clock.sleep(timeout_s)
                return None
            self._round, self._next = self._round + 1, 0
            self._start_ns = self.clock.now_ns()
        stored = self._stored[self._next]
        due_ns = self._start_ns + stored.corrected_ns - self._origin_ns
        wait_s = (due_ns - self.clock.now_ns()) * 1e-9
        if wait_s > timeout_s:
            self.clock.sleep(timeout_s)
            return None
        self.clock.sleep(max(0.0, wait_s))
        self._next += 1
        frame = self._frame(stored, due_ns)
        with self._lock:
            self._latest = frame
        return frame

    def _do_latest_frame(self) -> Frame | None:
        with self._lock:
            return self._latest

    def _do_snap(self) -> Frame:
        stored = self._stored[min(self._next, len(self._stored) - 1)]
        return self._frame(stored, self.clock.now_ns())

    def _frame(self, stored: StoredFrame, captured_ns: int) -> Frame:
        frame = self._open_reader.frame(stored)
        first, last = self._stored[0].sequence, self._stored[-1].sequence
        return Frame(
            picture=frame.pixels,
            camera=frame.camera,
            sequence=frame.sequence - first + self._round * (last - first + 1),
            captured_ns=captured_ns,
            uncertainty_ns=frame.uncertainty_ns,
            exposure_s=frame.exposure_s,
            linear=frame.linear,
            encoded=frame.encoded,
            meta={**frame.meta, "recorded_ns": stored.captured_ns, "key": stored.key},
        )

    @property
    def _open_reader(self) -> TakeReader:
        assert self._reader is not None  # noqa: S101 - set by _do_open, cleared by _do_close
        return self._reader


def playback_pair(
    take: Path, clock: Clock, *, keys: Path | None = None, loop: bool = False
) -> dict[str, PlaybackCamera]:
    """Return both cameras of a take, open, by role; close them when done."""
    made = {}
    for role in ("privacy", "side"):
        options = PlaybackOptions(take=take, role=role, keys=keys, loop=loop)
        made[role] = PlaybackCamera(options, DeviceContext(role, clock))
        made[role].open()
    return made
