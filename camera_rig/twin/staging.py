"""What stands before the rig, as a few lines of the config file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from camera_rig.bench import Bench
from camera_rig.twin.scene import Field as SceneField
from camera_rig.twin.scene import FolderScene, Scene, VideoScene

__all__ = ["SceneOptions", "Staged", "build_scene", "field_for"]

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    ambient: Annotated[float, Field(ge=0)] = 0.7
    """Brightness of the scene without the lamp (1: white as the path defines it)."""
    lamp: Annotated[float, Field(ge=0)] = 0.3
    """What the lamp adds at full level."""


class HeadOptions(_Options):
    """A talking synthetic head: who, what it does, under which light."""

    kind: Literal["head"]
    identity_seed: int = 0
    clip_seed: int = 0
    studio_seed: int = 0
    duration_s: Positive = 4.0
    cached: bool = True


class FlatOptions(_Options):
    """An even field of linear light ``level``."""

    kind: Literal["flat"]
    level: Share = 0.5


class WedgeOptions(_Options):
    """A step wedge."""

    kind: Literal["wedge"]
    steps: Annotated[int, Field(ge=2)] = 16


class PointOptions(_Options):
    """A pinhole on the stage before the lamp: dark unless the lamp is on."""

    kind: Literal["point"]
    diameter_mm: Positive = 0.2
    x_mm: float = 0.0
    y_mm: float = 0.0
    ambient: Annotated[float, Field(ge=0)] = 0.0
    lamp: Annotated[float, Field(ge=0)] = 300.0


class CharucoOptions(_Options):
    """A ChArUco board held before the rig."""

    kind: Literal["charuco"]
    squares: tuple[int, int] = (9, 6)
    square_mm: Positive = 30.0
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


class PosterOptions(_Options):
    """A printed poster without a board's marks, still or waved about."""

    kind: Literal["poster"]
    seed: int = 0
    sway_mm: Annotated[float, Field(ge=0, le=100)] = 0.0


class BlinkOptions(_Options):
    """A round lamp that blinks, or sends a coded sequence when ``chip_s`` is given."""

    kind: Literal["blink"]
    frequency_hz: Positive = 2.0
    chip_s: Positive | None = None
    diameter_mm: Positive = 60.0


class FolderOptions(_Options):
    """A folder of pictures, shown one after the other."""

    kind: Literal["folder"]
    path: Path
    fps: Positive = 1.0


class VideoOptions(_Options):
    """A video file, repeated for ever."""

    kind: Literal["video"]
    path: Path


SceneOptions = Annotated[
    HeadOptions
    | FlatOptions
    | WedgeOptions
    | PointOptions
    | CharucoOptions
    | PosterOptions
    | BlinkOptions
    | FolderOptions
    | VideoOptions,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class Staged:
    """A scene with its brightness.

    Args:
        scene: What stands there.
        ambient: Brightness without the lamp, relative to white.
        lamp: What the lamp adds at full level.
    """

    scene: Scene
    ambient: float
    lamp: float


def field_for(bench: Bench) -> SceneField:
    """Return a window that covers both cameras' views and the reach of the blur, 3:2."""
    width_mm = max(
        arm.sensor_width_mm / arm.magnification(bench.object_distance_mm)
        for arm in (bench.privacy, bench.side)
    )
    # A tenth more on each side: misalignment, and light that the blur brings in.
    return SceneField(height_px=560, width_px=840, width_mm=1.2 * width_mm)


def build_scene(options: SceneOptions, bench: Bench) -> Staged:
    """Return the scene that the options describe, on a window that fits the bench."""
    scene = _BUILDERS[options.kind](options, bench, field_for(bench))
    return Staged(scene, options.ambient, options.lamp)


def _head(options: HeadOptions, bench: Bench, field: SceneField) -> Scene:
    from camera_rig.twin.head.motion import Motion
    from camera_rig.twin.heads import ClipCache, HeadScene, HeadSettings

    settings = HeadSettings(
        identity_seed=options.identity_seed,
        clip_seed=options.clip_seed,
        studio_seed=options.studio_seed,
        field=field,
        motion=Motion(duration_s=options.duration_s),
    )
    return HeadScene(settings, cache=ClipCache.default() if options.cached else None)


def _flat(options: FlatOptions, bench: Bench, field: SceneField) -> Scene:
    from camera_rig.twin.targets import FlatField

    return FlatField(field=field, level=options.level)


def _wedge(options: WedgeOptions, bench: Bench, field: SceneField) -> Scene:
    from camera_rig.twin.targets import StepWedge

    return StepWedge(field=field, steps=options.steps)


def _point(options: PointOptions, bench: Bench, field: SceneField) -> Scene:
    from camera_rig.twin.targets import PointSource

    return PointSource(
        field=field, diameter_mm=options.diameter_mm, x_mm=options.x_mm, y_mm=options.y_mm
    )


def _charuco(options: CharucoOptions, bench: Bench, field: SceneField) -> Scene:
    from camera_rig.twin.targets import CharucoBoard

    return CharucoBoard(
        field=field,
        squares=options.squares,
        square_mm=options.square_mm,
        centre_mm=options.centre_mm,
        rotation_deg=options.rotation_deg,
        distance_mm=bench.object_distance_mm,
    )


def _poster(options: PosterOptions, bench: Bench, field: SceneField) -> Scene:
    from camera_rig.twin.poster import Poster

    return Poster(field=field, seed=options.seed, sway_mm=options.sway_mm)


def _blink(options: BlinkOptions, bench: Bench, field: SceneField) -> Scene:
    from camera_rig.twin.lights import CodedSequence, LightScene, SquareWave
    from camera_rig.twin.targets import FlatField

    signal: SquareWave | CodedSequence = SquareWave(frequency_hz=options.frequency_hz)
    if options.chip_s is not None:
        signal = CodedSequence(chip_s=options.chip_s)
    behind = FlatField(field=field, level=0.02)
    return LightScene(signal=signal, behind=behind, diameter_mm=options.diameter_mm)


def _folder(options: FolderOptions, bench: Bench, field: SceneField) -> Scene:
    return FolderScene(options.path.expanduser(), field, fps=options.fps)


def _video(options: VideoOptions, bench: Bench, field: SceneField) -> Scene:
    return VideoScene(options.path.expanduser(), field)


_BUILDERS: dict[str, Callable[[Any, Bench, SceneField], Scene]] = {
    "head": _head,
    "flat": _flat,
    "wedge": _wedge,
    "point": _point,
    "charuco": _charuco,
    "poster": _poster,
    "blink": _blink,
    "folder": _folder,
    "video": _video,
}
