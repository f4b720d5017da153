"""Is the person before the rig in any face that was sent? Asked of all of them, after a soak.

Every face is compared with the sharp picture of its own moment, as a picture (correlation) and
by MobileFaceNet; dlib's network is eight times as slow and asked of every so-many-th. They
are told where the painted face lies, since the window follows it; of every twentieth of dlib's
they look for themselves as well.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

SAME_PERSON = {"MobileFaceNet": 0.713, "dlib": 0.413}
"""Thresholds at equal error on synthetic heads (``results/evaluation.json``); dlib's own 0.6 is
for people, and takes many unlike heads for one."""

FACE_IN_WINDOW = (0.22, 0.25, 0.78, 0.85)
"""Where the window has the painted face: left, top, right, bottom, shares."""

LOOK_EVERY, CHECKERS = 20, 2

Vectors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sent:
    """One face that left the pipeline."""

    file: Path
    at_s: float


class Sharp(NamedTuple):
    """The person in the clear at one moment."""

    vectors: Vectors
    grey: np.ndarray


class Question(NamedTuple):
    """What is asked of one sent face."""

    file: Path
    key: int
    slow: bool
    look: bool


class Answer(NamedTuple):
    """What was found in one sent face."""

    distances: dict[str, float]
    distance_where_it_looked: float | None
    correlation: float


class Recognisers:
    """Two networks that find the same 68 points first."""

    def __init__(self) -> None:
        from _recognisers import DlibRecogniser

        from models.evaluation.embedders import mobilefacenet

        self._dlib = DlibRecogniser()
        self._quick = mobilefacenet()

    def vectors(self, picture: np.ndarray, box: np.ndarray, slow: bool) -> Vectors:
        points = self._dlib.landmarks.points(picture, box)
        found = {"MobileFaceNet": self._quick(picture, points)}
        if slow:
            found["dlib"] = self._dlib.embed(picture, box)
        return found

    def looked_for(self, picture: np.ndarray) -> np.ndarray | None:
        """Return dlib's vector of the face that it finds itself."""
        return self._dlib.embed(picture)


def identity(scene: Any, faces: list[Sent], every: int) -> dict[str, Any]:
    """Return how near sent faces are to the person's sharp face of the same moment.

    Args:
        scene: What stands before the cameras of the twin.
        faces: What was sent.
        every: dlib is asked of every so-many-th (1: all).
    """
    if not faces:
        return {"faces": 0}
    recognisers = Recognisers()
    keys = [scene.frame_key(face.at_s) for face in faces]
    sharp = _sharp_faces(scene, dict(zip(keys, faces, strict=True)), recognisers)
    asked = [
        Question(face.file, key, n % every == 0, n % (every * LOOK_EVERY) == 0)
        for n, (face, key) in enumerate(zip(faces, keys, strict=True))
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CHECKERS, context, _begin_checker, (sharp,)) as pool:
        answers = list(pool.map(_compare, asked, chunksize=200))
    looked = [a.distance_where_it_looked for a in answers]
    found = [d for d in looked if d is not None]
    same = _same_person_distances(scene, recognisers)
    return {
        "correlation_with_sharp_max": round(max(a.correlation for a in answers), 3),
        "recognisers": {
            name: _summary([a.distances[name] for a in answers if name in a.distances], name)
            | {"distance_of_the_same_person_p95": same[name]}
            for name in SAME_PERSON
        },
        "dlib_looked_itself": {
            "asked": sum(q.look for q in asked),
            "saw_a_face": len(found),
            "distance_min": round(min(found), 3) if found else None,
        },
    }


def _summary(distances: list[float], name: str) -> dict[str, Any]:
    told = np.array(distances)
    return {
        "faces": len(told),
        "recognised": int((told < SAME_PERSON[name]).sum()),
        "distance_min": round(float(told.min()), 3),
        "distance_p50": round(float(np.median(told)), 3),
        "threshold": SAME_PERSON[name],
    }


def _sharp_faces(
    scene: Any, moments: dict[int, Sent], recognisers: Recognisers
) -> dict[int, Sharp]:
    """The person in the clear at every moment of the clip."""
    found = {}
    for key, face in moments.items():
        window, box = _in_the_clear(scene, face.at_s)
        found[key] = Sharp(recognisers.vectors(window, box, slow=True), _grey(window))
    return found


_checker: dict[str, Any] = {}


def _begin_checker(sharp: dict[int, Sharp]) -> None:
    cv2.setNumThreads(1)
    _checker.update(sharp=sharp, recognisers=Recognisers())


def _compare(asked: Question) -> Answer:
    sharp: Sharp = _checker["sharp"][asked.key]
    recognisers: Recognisers = _checker["recognisers"]
    picture = np.ascontiguousarray(cv2.imread(str(asked.file))[..., ::-1])
    box = (np.array(FACE_IN_WINDOW) * picture.shape[0]).astype(int)
    vectors = recognisers.vectors(picture, box, asked.slow)
    seen = recognisers.looked_for(picture) if asked.look else None
    return Answer(
        {name: float(np.linalg.norm(v - sharp.vectors[name])) for name, v in vectors.items()},
        None if seen is None else float(np.linalg.norm(seen - sharp.vectors["dlib"])),
        float(np.corrcoef(_grey(picture).ravel(), sharp.grey.ravel())[0, 1]),
    )


def _same_person_distances(scene: Any, recognisers: Recognisers) -> dict[str, float]:
    """What recognisers give for the person in the clear at other moments, 95 of 100."""
    moments = np.linspace(0.0, scene.settings.motion.duration_s, 9)[:-1]
    vectors = [
        recognisers.vectors(*_in_the_clear(scene, float(at_s)), slow=True) for at_s in moments
    ]
    found = {}
    for name in SAME_PERSON:
        table = np.stack([v[name] for v in vectors])
        apart = np.linalg.norm(table[:, None] - table[None], axis=-1)
        pairs = apart[np.triu_indices(len(table), 1)]
        found[name] = round(float(np.percentile(pairs, 95)), 3)
    return found


def _in_the_clear(scene: Any, at_s: float) -> tuple[np.ndarray, np.ndarray]:
    """The window around the person's sharp face, and the face's box in it."""
    from camera_rig.twin.heads import film_curve

    picture = film_curve(scene.radiance(at_s))
    points = scene.truth(at_s).landmarks_px
    low, high = points.min(axis=0), points.max(axis=0)
    centre, side = (low + high) / 2, 1.9 * float(np.max(high - low))
    left, top = (centre - side / 2).astype(int)
    left, top = max(left, 0), max(top, 0)
    window = np.ascontiguousarray(picture[top : top + int(side), left : left + int(side)])
    box = np.array([low[0] - left, low[1] - top - 0.2 * side / 1.9, high[0] - left, high[1] - top])
    return window, box.astype(int)


def _grey(picture: np.ndarray) -> np.ndarray:
    small = cv2.resize(np.ascontiguousarray(picture), (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
