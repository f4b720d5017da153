"""Speed of the head renderer, and whether recognisers tell the synthetic identities apart.

    python benchmarks/heads.py speed       # stages of one frame, on one core
    python benchmarks/heads.py recognise   # EER and rank-1, needs the extra "evaluate"
    python benchmarks/heads.py conditions  # EER by turn, light and size: why sets differ
    python benchmarks/heads.py sheet       # the picture of 40 identities in the docs

All but the last write into ``benchmarks/results/heads.json``. The heads are nobody: these figures
say how good the stand-in is, nothing about people.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camera_rig.twin.head.assets import face_coefficients, head_model
from camera_rig.twin.head.identity import Identity
from camera_rig.twin.head.motion import Motion, clip_track
from camera_rig.twin.head.pose import HeadPose
from camera_rig.twin.head.render import HeadRenderer
from camera_rig.twin.head.studio import Studio
from camera_rig.twin.head.textures import Maps
from camera_rig.twin.heads import ClipCache, HeadScene, HeadSettings, film_curve
from camera_rig.twin.scene import Field
from models.heads import TEST_SEEDS

RESULT = Path(__file__).parent / "results" / "heads.json"
SHEET = Path(__file__).parents[1] / "docs" / "images" / "heads-sheet.jpg"
IDENTITIES, FRAMES, STUDIOS = 40, 12, 3


def speed() -> dict[str, Any]:
    """Return milliseconds of processor time per stage of 512 x 512 frames, eight identities."""
    field = Field(height_px=512, width_px=512, width_mm=400.0)
    stages: dict[str, list[float]] = {}
    setup = []
    for seed in range(8):
        started = time.thread_time()
        renderer = HeadRenderer(
            Identity.from_seed(seed, head_model()), Studio.from_seed(seed), field
        )
        setup.append(time.thread_time() - started)
        track = clip_track(seed, Motion())
        renderer.render(track.coefficients[0], track.pose_at(0))
        for frame in range(0, 120, 12):
            for name, seconds in renderer.timed(
                track.coefficients[frame], track.pose_at(frame)
            ).items():
                stages.setdefault(name, []).append(seconds * 1e3)
    frames = np.sum([stages[name] for name in stages], axis=0)
    copy_ms = _median_ms(lambda: np.zeros(field.shape, np.float32).copy())
    read_ms = _cached_read_ms(field)
    return {
        "frame_px": [512, 512],
        "median_ms": {name: round(float(np.median(v)), 2) for name, v in stages.items()},
        "frame_median_ms": round(float(np.median(frames)), 1),
        "frame_p90_ms": round(float(np.percentile(frames, 90)), 1),
        "frame_slowest_ms": round(float(frames.max()), 1),
        "share_of_a_30_fps_period": round(float(np.median(frames)) * 0.03, 2),
        "new_identity_median_ms": round(float(np.median(setup[1:])) * 1e3),
        "cached_frame_ms": round(read_ms, 2),
        "cached_frame_over_float32_copy": round(read_ms / copy_ms, 1),
    }


def _median_ms(call: Callable[[], object], runs: int = 40) -> float:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1e3


def _cached_read_ms(field: Field) -> float:
    settings = HeadSettings(identity_seed=1, field=field, motion=Motion(duration_s=0.5))
    with tempfile.TemporaryDirectory() as folder:
        scene = HeadScene(settings, cache=ClipCache(Path(folder)))
        scene.prepare()
        times = iter(range(10_000))
        return _median_ms(lambda: scene.radiance(next(times) / 30))


def recognise() -> dict[str, Any]:
    """Return EER and rank-1 of two recognisers over 40 identities with 12 frames each."""
    from _recognisers import DlibRecogniser, FacepluginRecogniser

    dlib = DlibRecogniser()
    recognisers = [dlib, FacepluginRecogniser(dlib.landmarks)]
    vectors: dict[str, list[Any]] = {r.name: [] for r in recognisers}
    people, frames, errors = [], [], []
    found = 0
    for person in range(IDENTITIES):
        for frame, (picture, landmarks) in enumerate(_pictures(person)):
            boxes = dlib.detect(picture)
            if not len(boxes):
                continue
            found += 1
            people.append(person)
            frames.append(frame)
            errors.append(_landmark_error(dlib.landmarks.points(picture, boxes[0]), landmarks))
            for recogniser in recognisers:
                vectors[recogniser.name].append(recogniser.embed(picture, boxes[0]))
    result: dict[str, Any] = {
        "identities": IDENTITIES,
        "frames_each": FRAMES,
        "found_by_dlib_hog": round(found / (IDENTITIES * FRAMES), 4),
        "inner_landmark_error_of_eye_distance_median": round(float(np.median(errors)), 4),
    }
    for recogniser in recognisers:
        table = np.array(vectors[recogniser.name])
        distances = recogniser.distance(table, table)
        result[recogniser.name] = _scores(distances, np.array(people), np.array(frames))
    return result


@dataclass(frozen=True)
class Condition:
    """How heads are shown that recognisers must tell apart.

    Args:
        motion: How far they turn.
        studios: Lights and walls of each, in turn.
        width_mm: Width of the window; a wider one shows a smaller face.
    """

    motion: Motion
    studios: int
    width_mm: float


_WIDE = Motion(yaw_deg=35.0, pitch_deg=15.0, roll_deg=8.0)
CONDITIONS = {
    "clip, one light": Condition(Motion(), 1, 260.0),
    "clip, a light each (as evaluated)": Condition(Motion(), FRAMES, 260.0),
    "yaw to 35 degrees, a light each": Condition(_WIDE, FRAMES, 260.0),
    "yaw to 35 degrees, a light each, smaller face": Condition(_WIDE, FRAMES, 400.0),
}


def conditions() -> dict[str, Any]:
    """Return the EER of evaluation's recognisers under each condition, landmarks known.

    Pairs of all pictures of 40 held-out identities, as the thresholds of an evaluation
    are found.
    """
    from models.evaluation.embedders import EMBEDDERS, FETCHABLE
    from models.evaluation.identity import pairs, verification

    embedders = {name: EMBEDDERS[name](None) for name in FETCHABLE}
    people = [person for person in range(IDENTITIES) for _ in range(FRAMES)]
    told: dict[str, Any] = {}
    for title, condition in CONDITIONS.items():
        rows: dict[str, list[Any]] = {name: [] for name in embedders}
        for person in range(IDENTITIES):
            for picture, points in _shown(TEST_SEEDS[person], condition):
                for name, embed in embedders.items():
                    rows[name].append(embed(picture, points))
        told[title] = {}
        for name, table in rows.items():
            same, different = pairs(np.array(table), np.array(people))
            found = verification(same, different, (1e-3,))
            told[title][name] = {
                "eer": round(found.eer, 4),
                "threshold": round(found.eer_threshold, 3),
                "same_mean": round(float(np.mean(same)), 3),
                "different_mean": round(float(np.mean(different)), 3),
            }
        print(title, json.dumps(told[title]), flush=True)
    return told


def _shown(seed: int, condition: Condition) -> Any:
    """Yield pictures and exact landmarks of one identity."""
    identity, track = Identity.from_seed(seed, head_model()), clip_track(seed, condition.motion)
    field = Field(height_px=256, width_px=256, width_mm=condition.width_mm)
    maps = Maps.of(identity)
    renderers = [
        HeadRenderer(identity, Studio.from_seed(seed + 100_000 * k), field, maps)
        for k in range(condition.studios)
    ]
    for frame in range(FRAMES):
        moment = int((frame + 0.5) / FRAMES * condition.motion.frames)
        renderer = renderers[frame % condition.studios]
        shown = renderer.render(track.coefficients[moment], track.pose_at(moment))
        yield film_curve(shown.radiance), shown.landmarks_px.astype(np.float64)


def _pictures(person: int) -> Any:
    """Yield frames of a person under three studios: the first frontal and neutral."""
    identity = Identity.from_seed(person, head_model())
    field = Field(height_px=256, width_px=256, width_mm=400.0)
    rng = np.random.default_rng([0xE4A1, person])
    track = clip_track(person, Motion(duration_s=8.0))
    for studio in range(STUDIOS):
        renderer = HeadRenderer(identity, Studio.from_seed(100 * person + studio), field)
        for frame in range(FRAMES // STUDIOS):
            coefficients = track.coefficients[int(rng.integers(len(track.coefficients)))]
            yaw, pitch, roll = (float(rng.uniform(-v, v)) for v in (35, 15, 8))
            pose = HeadPose(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)
            if studio == 0 and frame == 0:
                coefficients, pose = face_coefficients(), HeadPose()
            shown = renderer.render(coefficients, pose)
            yield film_curve(shown.radiance), shown.landmarks_px


def _landmark_error(found: Any, truth: Any) -> float:
    eyes = np.linalg.norm(truth[36] - truth[45])
    return float(np.linalg.norm(found[17:] - truth[17:], axis=1).mean() / eyes)


def _scores(distances: Any, people: Any, frames: Any) -> dict[str, float]:
    from _recognisers import equal_error_rate

    upper = np.triu_indices(len(people), 1)
    same = (people[:, None] == people[None])[upper]
    rate, threshold = equal_error_rate(distances[upper][same], distances[upper][~same])
    gallery = np.nonzero(frames == 0)[0]
    probes = np.nonzero(frames != 0)[0]
    nearest = people[gallery][distances[np.ix_(probes, gallery)].argmin(axis=1)]
    return {
        "eer": round(rate, 4),
        "threshold": round(threshold, 3),
        "rank_1": round(float((nearest == people[probes]).mean()), 4),
        "same_mean": round(float(distances[upper][same].mean()), 3),
        "different_mean": round(float(distances[upper][~same].mean()), 3),
    }


def sheet() -> dict[str, Any]:
    """Draw the sheet of the docs: one frame out of the clip of each of 40 identities."""
    import cv2

    field = Field(height_px=224, width_px=224, width_mm=360.0)
    tiles = []
    for seed in range(IDENTITIES):
        renderer = HeadRenderer(
            Identity.from_seed(seed, head_model()), Studio.from_seed(seed), field
        )
        track, frame = clip_track(seed, Motion()), (seed * 37) % 120
        shown = renderer.render(track.coefficients[frame], track.pose_at(frame))
        tiles.append(film_curve(shown.radiance))
    rows = [np.hstack(tiles[start : start + 8]) for start in range(0, IDENTITIES, 8)]
    picture = np.ascontiguousarray(np.vstack(rows)[..., ::-1])
    cv2.imwrite(str(SHEET), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return {"written": SHEET.name}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "speed": speed,
    "recognise": recognise,
    "conditions": conditions,
    "sheet": sheet,
}


def main(parts: list[str]) -> None:
    """Run the named parts, print them and keep them beside what was measured before."""
    measured: dict[str, Any] = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, one core"
    }
    for part in parts or ["speed", "recognise"]:
        measured[part] = PARTS[part]()
        print(part, json.dumps(measured[part], indent=1))
    kept = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    kept.update({name: value for name, value in measured.items() if name != "sheet"})
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
