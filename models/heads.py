"""Rendered heads as an image folder: the default data, with every truth known."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camera_rig.errors import ConfigError, StorageError
from models.data import LABELS

TRAINING_SEEDS = range(0, 10_000)
"""Identity seeds that training may use."""

REFERENCE_SEEDS = range(10_000, 11_000)
"""Identity seeds kept for public references: nobody of the training or the tests."""

TEST_SEEDS = range(20_000, 30_000)
"""Identity seeds that no training may use."""

_STUDIO_STEP = 100_000  # further studios of an identity: no seed of anybody above


@dataclass(frozen=True)
class HeadSetSettings:
    """Which heads to render.

    Args:
        seeds: Identity seeds.
        frames: Pictures of each identity, spread over its clip.
        size_px: Height and width of the pictures.
        video_fps: Pictures per second of a video from the clip's start; None spreads them.
        studios: Lights, garments and walls in which an identity is shown, in turn from
            picture to picture. With one, they tell who it is as well as the face does.
    """

    seeds: tuple[int, ...]
    frames: int = 12
    size_px: int = 256
    video_fps: float | None = None
    studios: int = 1


def render_heads(
    folder: str | Path,
    settings: HeadSetSettings,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render heads into an image folder with labels; kept if it is there already.

    Args:
        folder: Where; written aside and renamed when complete.
        settings: Which heads.
        progress: Called with identities done and identities in all.

    Raises:
        StorageError: Another set of heads is there.
    """
    target = Path(folder)
    if (target / LABELS).exists():
        known = json.loads((target / LABELS).read_text(encoding="utf-8"))
        if known.get("settings") != _told(settings):
            raise StorageError(
                f"{target} holds other heads", hint="choose another folder for these settings"
            )
        return target
    if not settings.seeds or min(settings.frames, settings.studios) < 1:
        raise ConfigError(
            "no heads asked for", hint="give at least one identity, one frame and one studio"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    frames = []
    for done, seed in enumerate(settings.seeds, start=1):
        frames.extend(_render_one(aside, seed, settings))
        if progress is not None:
            progress(done, len(settings.seeds))
    content = {"size": settings.size_px, "settings": _told(settings), "frames": frames}
    (aside / LABELS).write_text(json.dumps(content), encoding="utf-8")
    aside.replace(target)
    return target


def _told(settings: HeadSetSettings) -> dict[str, object]:
    from camera_rig.twin.heads import RENDERER_VERSION

    video = {} if settings.video_fps is None else {"video_fps": settings.video_fps}
    studios = {} if settings.studios == 1 else {"studios": settings.studios}
    return {
        "seeds": list(settings.seeds),
        "frames": settings.frames,
        "size_px": settings.size_px,
        "renderer": RENDERER_VERSION,
        **video,
        **studios,
    }


def _render_one(folder: Path, seed: int, settings: HeadSetSettings) -> list[dict[str, object]]:
    """One identity: frames of its clip, spread evenly or in a row, studio by studio."""
    import cv2

    from camera_rig.twin.head.assets import head_model
    from camera_rig.twin.head.identity import Identity
    from camera_rig.twin.head.motion import Motion, clip_track
    from camera_rig.twin.head.render import HeadRenderer
    from camera_rig.twin.head.studio import Studio
    from camera_rig.twin.head.textures import Maps
    from camera_rig.twin.heads import film_curve
    from camera_rig.twin.scene import Field

    size, motion = settings.size_px, Motion()
    window = Field(height_px=size, width_px=size, width_mm=260.0)
    identity, track = Identity.from_seed(seed, head_model()), clip_track(seed, motion)
    maps = Maps.of(identity)
    count = min(settings.studios, settings.frames)
    renderers = [
        HeadRenderer(identity, Studio.from_seed(seed + k * _STUDIO_STEP), window, maps)
        for k in range(count)
    ]
    if settings.video_fps is None:
        times = (np.arange(settings.frames) + 0.5) / settings.frames * motion.frames / motion.fps
    else:
        times = np.arange(settings.frames) / settings.video_fps
    found: list[dict[str, object]] = []
    for number, t_s in enumerate(times):
        moment = int(np.floor(t_s * motion.fps + 1e-9)) % motion.frames
        pose, units = track.pose_at(moment), track.coefficients[moment]
        shown = renderers[number % count].render(units, pose)
        # Half precision, as the scene of the twin stores light.
        picture = film_curve(shown.radiance.astype(np.float16).astype(np.float32))
        name = f"id{seed:05d}_{number:03d}"
        if not cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1]):
            raise StorageError(f"cannot write {folder / name}.png", hint="check the disk")
        found.append(
            {
                "name": name,
                "identity": seed,
                "yaw_pitch_roll": [
                    float(getattr(pose, key)) for key in ("yaw_deg", "pitch_deg", "roll_deg")
                ],
                "landmarks68": np.round(shown.landmarks_px, 2).tolist(),
                "time_s": round(float(t_s), 4),
                "face_units": np.round(units, 3).tolist(),
                "sex": identity.sex,
                "age_years": round(identity.age_years, 1),
                "skin": identity.skin_group,
            }
        )
    return found
