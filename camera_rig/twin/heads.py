"""Talking heads as a scene: synthetic people with every truth known.

    scene = HeadScene(HeadSettings(identity_seed=7), cache=ClipCache.default())
    picture = scene.radiance(0.5)          # linear light, 512 x 512 x 3
    truth = scene.truth(0.5)               # who, pose, expression, landmarks, parts

No person is shown: figures on these heads are never figures on people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from dataclasses import field as default
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from camera_rig.twin.head.cache import Clip, ClipCache
from camera_rig.twin.head.identity import Identity
from camera_rig.twin.head.motion import Motion, Track, clip_track
from camera_rig.twin.head.pose import HeadPose
from camera_rig.twin.scene import Field, Radiance, SceneTruth, linear_to_srgb

if TYPE_CHECKING:
    from camera_rig.twin.head.render import HeadRenderer

# Raise when the same settings come to give other pixels: old clips are then not used.
RENDERER_VERSION = 2


class Part(IntEnum):
    """What a pixel of the part mask shows most of."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    BROW = 3
    """Brows and lashes."""
    EYE = 4
    TEETH = 5
    """Teeth and gums."""
    CLOTH = 6
    LIPS = 7
    NECK = 8
    MOUTH = 9
    """The inside of the mouth behind lips and teeth."""


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """Everything that decides the pixels of a clip.

    Args:
        identity_seed: Who.
        clip_seed: What the head does.
        studio_seed: Light, garment and wall.
        field: Window to fill. The head is about 240 mm high.
        motion: Length, rate and liveliness of the clip.
    """

    identity_seed: int = 0
    clip_seed: int = 0
    studio_seed: int = 0
    field: Field = default(default_factory=Field)
    motion: Motion = default(default_factory=Motion)

    def key(self) -> str:
        """Return a hash that is equal only for settings with equal pixels."""
        text = json.dumps([RENDERER_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadTruth(SceneTruth):
    """Who and what was shown in one frame.

    Args:
        identity: The synthetic person with age, sex and skin group.
        frame: Number of the frame in the clip.
        pose: Turn in degrees and shift in mm.
        coefficients: ``(52,)`` ARKit face units, 0 to 1, in the order of
            :data:`camera_rig.twin.head.assets.FACE_UNITS`. ``tongueOut`` moves nothing.
        landmarks_px: ``(68, 2)`` x, y in the iBUG order; pixel centres are whole numbers.
            Jaw points are fixed places of the skin, not the silhouette.
        parts: ``(H, W)`` uint8 of :class:`Part`.
    """

    identity: Identity
    frame: int
    pose: HeadPose
    coefficients: NDArray[np.float32]
    landmarks_px: NDArray[np.float32]
    parts: NDArray[np.uint8]


class HeadScene:
    """A talking head. Not for use from two threads at once.

    Without a cache, frames are rendered when asked for and the last one is kept. With a
    cache, the first question renders the whole clip to disk, and from then on, in this
    process or another, a frame is a read from memory.

    Light is stored in half precision either way, so both give the same pixels. On one
    machine they are equal bit by bit; across machines and library versions they agree
    to about 0.002 but for single pixels on edges.

    Args:
        settings: What to show.
        cache: Where to keep rendered clips; nothing is written without one.
    """

    def __init__(self, settings: HeadSettings, *, cache: ClipCache | None = None) -> None:
        self.settings = settings
        self._cache = cache
        self._clip: Clip | None = None
        self._last: tuple[int, Clip] | None = None

    @property
    def field(self) -> Field:
        """The window that the pictures fill."""
        return self.settings.field

    @cached_property
    def identity(self) -> Identity:
        """Who is shown."""
        from camera_rig.twin.head.assets import head_model

        return Identity.from_seed(self.settings.identity_seed, head_model())

    @cached_property
    def track(self) -> Track:
        """What the head does, frame by frame."""
        return clip_track(self.settings.clip_seed, self.settings.motion)

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Render the whole clip into the cache now instead of at the first question.

        Args:
            progress: Called with frames done and frames in all.
        """
        if self._cache is None or self._clip is not None:
            return
        key = self.settings.key()
        stored = self._cache.get(key)
        if stored is None:
            frames = self.settings.motion.frames
            stored = self._cache.put(
                key, _empty_clip(frames, self.field), lambda clip: self._fill(clip, progress)
            )
        self._clip = stored

    def frame_key(self, t_s: float) -> int:
        """Return the number of the frame shown at that time."""
        motion = self.settings.motion
        return int(np.floor(t_s * motion.fps + 1e-9)) % motion.frames

    def radiance(self, t_s: float) -> Radiance:
        """Return the frame shown at that time, linear light 0 to 1."""
        from camera_rig.twin import _kernels

        clip, index = self._at(t_s)
        half = np.ascontiguousarray(clip.radiance[index])
        picture = np.empty(half.shape, np.float32)
        # A tenth of the time of numpy's own conversion, and equal to it bit by bit.
        _kernels.widen(half.reshape(-1).view(np.uint16), picture.reshape(-1))
        return picture

    def truth(self, t_s: float) -> HeadTruth:
        """Return who and what is shown at that time."""
        clip, index = self._at(t_s)
        frame = self.frame_key(t_s)
        return HeadTruth(
            kind="head",
            t_s=t_s,
            identity=self.identity,
            frame=frame,
            pose=self.track.pose_at(frame),
            coefficients=self.track.coefficients[frame],
            landmarks_px=np.array(clip.landmarks_px[index]),
            parts=np.array(clip.parts[index]),
        )

    def _at(self, t_s: float) -> tuple[Clip, int]:
        frame = self.frame_key(t_s)
        self.prepare()
        if self._clip is not None:
            return self._clip, frame
        if self._last is None or self._last[0] != frame:
            one = _empty_clip(1, self.field)
            self._render_into(one, 0, frame)
            self._last = (frame, one)
        return self._last[1], 0

    def _fill(self, clip: Clip, progress: Callable[[int, int], None] | None) -> None:
        total = self.settings.motion.frames
        for frame in range(total):
            self._render_into(clip, frame, frame)
            if progress is not None:
                progress(frame + 1, total)

    def _render_into(self, clip: Clip, row: int, frame: int) -> None:
        rendered = self._renderer.render(self.track.coefficients[frame], self.track.pose_at(frame))
        clip.radiance[row] = rendered.radiance
        clip.parts[row] = rendered.parts
        clip.landmarks_px[row] = rendered.landmarks_px

    @cached_property
    def _renderer(self) -> HeadRenderer:
        from camera_rig.twin.head.render import HeadRenderer
        from camera_rig.twin.head.studio import Studio

        studio = Studio.from_seed(self.settings.studio_seed)
        return HeadRenderer(self.identity, studio, self.field)


def _empty_clip(frames: int, field: Field) -> Clip:
    return Clip(
        np.empty((frames, *field.shape), np.float16),
        np.empty((frames, *field.shape[:2]), np.uint8),
        np.empty((frames, 68, 2), np.float32),
    )


def film_curve(linear: Radiance, exposure: float = 1.0) -> NDArray[np.uint8]:
    """Return 8-bit sRGB for looking at, with a soft toe and shoulder as film has.

    Not for measurements: a scene's light is linear, and a sensor has a curve of its own.

    Args:
        linear: Linear light.
        exposure: Factor before the curve.
    """
    x = np.maximum(linear, 0) * exposure
    # Narkowicz' fit of a film-like curve: toe, straight part and shoulder in one fraction.
    curved = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return linear_to_srgb(curved.astype(np.float32))


__all__ = ["ClipCache", "HeadScene", "HeadSettings", "HeadTruth", "Part", "film_curve"]
