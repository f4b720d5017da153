"""What the face does: landmarks, blinks, mouth, movement of the features, evenness over time.

Read by one reader of 68 points in what an onlooker gets. On rendered heads it is
compared with exact truth, otherwise with what the reader finds in the sharp face; the
row of the unprotected face then says how good the reader itself is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from models.evaluation.areas import area_overlaps
from models.evaluation.detection import REFERENCE_SIZE_PX, jitter_px, openness
from models.evaluation.embedders import Floats, similarity
from models.evaluation.identity import steadiness
from models.evaluation.material import Material
from models.evaluation.statistics import Crowd, Figure

LEFT_EYE = ((37, 38), (41, 40), (36, 39))
RIGHT_EYE = ((43, 44), (47, 46), (42, 45))
MOUTH = ((61, 62, 63), (67, 66, 65), (60, 64))
INNER = slice(17, 68)
"""All landmarks but the jaw."""

_LEAST_FRAMES = 4
_EYES = (36, 45)


def movement_figures(
    material: Material, crowd: Crowd, clean: Mapping[str, Floats], rows: Mapping[str, Floats]
) -> dict[str, Figure]:
    """Return landmark and movement figures; empty where no points were read.

    Args:
        material: The set.
        crowd: Its people.
        clean: Rows of the sharp faces.
        rows: Rows of the system.
    """
    if "points" not in rows:
        return {}
    outputs = _points(rows["points"])
    read, truth = _points(clean["points"]), _truth(material)
    scale = REFERENCE_SIZE_PX / material.samples[0].picture.shape[0]
    found = {"use.dlib68.landmark_l1_px": crowd.mean(_l1(outputs, read) * scale)}
    if material.exact:
        found["use.dlib68.landmark_truth_l1_px"] = crowd.mean(_l1(outputs, truth[None]) * scale)
    wanted = truth if material.exact else read[0]
    size_px = material.samples[0].picture.shape[0]
    for name, shares in area_overlaps(outputs, wanted, size_px).items():
        found[f"use.{name}_area"] = crowd.mean(shares)
    found["use.features_error"] = crowd.mean(_moved(crowd, outputs, wanted))
    for name, opened in (("blink", eye_openness), ("mouth", mouth_openness)):
        found[f"use.{name}_r"] = crowd.mean(_correlated(crowd, outputs, wanted, opened))
    return found


def video_figures(
    material: Material, crowd: Crowd, rows: Mapping[str, Floats]
) -> dict[str, Figure]:
    """Return figures over time of one system on a video: consecutive frames of each person.

    Args:
        material: The video.
        crowd: Its people.
        rows: Rows of the system; its first style is judged.
    """
    found = {}
    for key, table in rows.items():
        if key.startswith("identity."):
            values = _each_person(crowd, lambda mine, t=table: steadiness(t[0, mine]))
            found[f"video.{key.removeprefix('identity.')}.steadiness"] = crowd.mean(values)
    if "face.hog" in rows:
        found["video.found"] = crowd.mean(np.isfinite(rows["face.hog"][0, :, 4]))
    if "points" in rows:
        outputs = _points(rows["points"])[:1]
        truth = _truth(material)
        scale = REFERENCE_SIZE_PX / material.samples[0].picture.shape[0]
        found["video.jitter_px"] = crowd.mean(
            _each_person(crowd, lambda mine: scale * _jitter(outputs[0, mine]))
        )
        found["video.blink_r"] = crowd.mean(_correlated(crowd, outputs, truth, eye_openness))
        found["video.mouth_r"] = crowd.mean(_correlated(crowd, outputs, truth, mouth_openness))
    return found


def eye_openness(points: Floats) -> Floats:
    """Return how open the eyes are: height over width, mean of both, one value per picture."""
    return 0.5 * (openness(points, *LEFT_EYE) + openness(points, *RIGHT_EYE))


def mouth_openness(points: Floats) -> Floats:
    """Return how open the mouth is: height over width of the inner lips."""
    return openness(points, *MOUTH)


def moving_features(points: Floats) -> Floats:
    """Return how features of one person move, ``(frames, 51, 2)`` in eye distances.

    Turn, scale and shift are taken out, and so is the person's mean face: what is left
    is expression, whoever wears it.

    Args:
        points: ``(frames, 68, 2)`` of one person, no NaN.
    """
    inner = np.asarray(points, float)[:, INNER]
    middle = inner.mean(0)
    laid = np.stack([_onto(one, middle) for one in inner])
    eyes = float(np.linalg.norm(points[:, _EYES[0]] - points[:, _EYES[1]], axis=-1).mean())
    return np.asarray((laid - laid.mean(0)) / max(eyes, 1e-9))


def _onto(points: Floats, wanted: Floats) -> Floats:
    matrix = similarity(points, wanted)
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def _moved(crowd: Crowd, outputs: Floats, wanted: Floats) -> Floats:
    """Mean distance between movements, share of the eye distance, ``(references, samples)``."""

    def away(found: Floats, truth: Floats) -> Floats:
        return np.asarray(
            np.linalg.norm(moving_features(found) - moving_features(truth), axis=-1).mean(1)
        )

    return _together(crowd, outputs, wanted, away)


def _correlated(
    crowd: Crowd, outputs: Floats, wanted: Floats, opened: Callable[[Floats], Floats]
) -> Floats:
    """Pearson correlation over the frames of each person, repeated for each of them."""

    def together(found: Floats, truth: Floats) -> Floats:
        a, b = opened(found), opened(truth)
        r = np.corrcoef(a, b)[0, 1] if a.std() > 0 and b.std() > 0 else np.nan
        return np.full(len(a), r)

    return _together(crowd, outputs, wanted, together)


def _together(
    crowd: Crowd, outputs: Floats, wanted: Floats, compare: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Compare each person's found frames with the wanted ones; NaN with too few of them."""
    values = np.full(outputs.shape[:2], np.nan)
    for person in crowd.names:
        mine = crowd.people == person
        for number, rows in enumerate(outputs):
            there = np.flatnonzero(mine & np.isfinite(rows).all((1, 2)))
            if len(there) >= _LEAST_FRAMES:
                values[number, there] = compare(rows[there], wanted[there])
    return values


def _each_person(crowd: Crowd, figure: Callable[[Floats], float]) -> Floats:
    """One value per person, repeated for each of the person's samples."""
    values = np.full(len(crowd.people), np.nan)
    for person in crowd.names:
        mine = np.flatnonzero(crowd.people == person)
        if len(mine) > 1:
            values[mine] = figure(mine)
    return values


def _jitter(points: Floats) -> float:
    """Jitter over the runs of three frames in which the face was found."""
    there = np.isfinite(points).all((1, 2))
    runs = [points[i : i + 3] for i in range(len(points) - 2) if there[i : i + 3].all()]
    return float(np.mean([jitter_px(run) for run in runs])) if runs else float("nan")


def _points(rows: Floats) -> Floats:
    return np.asarray(rows).reshape(*rows.shape[:2], 68, 2)


def _truth(material: Material) -> Floats:
    return np.stack([sample.landmarks_px for sample in material.samples])


def _l1(found: Floats, wanted: Floats) -> Floats:
    return np.asarray(np.abs(found - wanted).mean((-2, -1)))
