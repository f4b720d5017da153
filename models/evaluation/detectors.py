"""Face detectors and readers of landmarks, pose and expression, on other people's networks.

Each finds at most one face, the largest: pictures here show one. Nothing found is
``None``, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from camera_rig.errors import UnsupportedError
from models.evaluation.detection import Box
from models.evaluation.embedders import Floats, Picture, onnx_session, upright
from models.evaluation.weights import weights_file

LANDMARK_FILE = "shape_predictor_68_face_landmarks.dat"
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@dataclass(frozen=True, eq=False)
class Found:
    """One face.

    Args:
        box: Left, top, right, bottom, pixels.
        five_px: ``(5, 2)`` eyes, nose and corners of the mouth, where a detector gives them.
        score: Its confidence; not comparable between detectors.
    """

    box: Box
    five_px: Floats | None = None
    score: float = 0.0


class Detector(Protocol):
    """Finds the largest face of a picture; ``name`` goes beside every figure."""

    name: str

    def __call__(self, picture: Picture) -> Found | None:
        """Return the largest face of an RGB picture, or None."""
        ...


class HogDetector:
    """dlib's detector by histograms of gradients; the picture is enlarged once.

    Raises:
        UnsupportedError: dlib is not installed.
    """

    name = "dlib HOG"

    def __init__(self) -> None:
        self._detect = _dlib().get_frontal_face_detector()

    def __call__(self, picture: Picture) -> Found | None:
        """Return the largest face."""
        found, scores, _ = self._detect.run(np.ascontiguousarray(picture), 1, 0.0)
        if not len(found):
            return None
        best = max(range(len(found)), key=lambda i: found[i].area())
        area = found[best]
        box = (float(area.left()), float(area.top()), float(area.right()), float(area.bottom()))
        return Found(box, score=float(scores[best]))


class CenterFace:
    """The network CenterFace: box and five points, strong where HOG gives up.

    Args:
        folder: Where its file lies; None is the user's cache.
        threshold: Least score of a face.
    """

    name = "CenterFace"

    def __init__(self, folder: Path | None = None, threshold: float = 0.5) -> None:
        import cv2

        self._network = cv2.dnn.readNet(str(weights_file("centerface", "centerface.onnx", folder)))
        self._threshold = threshold

    def __call__(self, picture: Picture) -> Found | None:
        """Return the largest face."""
        import cv2

        height, width = picture.shape[:2]
        feed_size = tuple(-(-side // 32) * 32 for side in (width, height))
        blob = cv2.dnn.blobFromImage(np.ascontiguousarray(picture), size=feed_size)
        self._network.setInput(blob)
        heat, size, offset, points = self._network.forward(["537", "538", "539", "540"])
        rows, columns = np.nonzero(heat[0, 0] > self._threshold)
        if not len(rows):
            return None
        boxes = _boxes(size[0][:, rows, columns], offset[0][:, rows, columns], rows, columns)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        # Neighbouring cells tell of the same face: of the largest one, take the surest cell.
        scores = heat[0, 0, rows, columns]
        sure = np.where(areas > 0.5 * areas.max(), scores, -1.0)
        best = int(sure.argmax())
        # Numbers per point are y, x as shares of the box.
        shares = points[0][:, rows[best], columns[best]].reshape(5, 2)[:, ::-1]
        low, high = boxes[best, :2], boxes[best, 2:]
        scale = np.array([width, height]) / np.array(feed_size)
        five = (low + shares * (high - low)) * scale
        left, top, right, bottom = (boxes[best] * np.tile(scale, 2)).tolist()
        return Found((left, top, right, bottom), five.astype(np.float64), float(scores[best]))


def _boxes(size: Floats, offset: Floats, rows: Floats, columns: Floats) -> Floats:
    """Return boxes of cells: each cell is 4 pixels, sizes are logarithms."""
    extent = np.exp(size[::-1].T) * 4.0
    middle = (np.stack([columns + offset[1], rows + offset[0]], 1) + 0.5) * 4.0
    low = np.maximum(middle - extent / 2.0, 0.0)
    return np.concatenate([low, low + extent], 1).astype(np.float64)


class LandmarkReader:
    """dlib's 68 points within a box as its own detector draws them.

    Args:
        folder: Where its file lies; None is the user's cache.
    """

    name = "dlib 68"

    def __init__(self, folder: Path | None = None) -> None:
        self._dlib = _dlib()
        self._read = self._dlib.shape_predictor(str(weights_file("dlib", LANDMARK_FILE, folder)))

    def __call__(self, picture: Picture, box: Box) -> Floats:
        """Return ``(68, 2)`` landmarks, pixels."""
        corners = (round(side) for side in box)
        shape = self._read(np.ascontiguousarray(picture), self._dlib.rectangle(*corners))
        return np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float64)


class PoseReader:
    """faceplugin's Hopenet-like network: yaw, pitch, roll.

    Its signs are turned to this toolkit's; a constant offset is left in, as every such
    network has one: compare against it, do not trust the number.

    Args:
        folder: Where its file lies; None is the user's cache.
    """

    name = "faceplugin pose"

    def __init__(self, folder: Path | None = None) -> None:
        self._session = onnx_session(weights_file("faceplugin", "fr_pose.onnx", folder))

    def __call__(self, picture: Picture, landmarks_px: Floats) -> Floats:
        """Return yaw, pitch, roll in degrees; the crop is around the landmarks given."""
        crop = upright(picture, landmarks_px, 0.1, 224).astype(np.float32) / 255.0
        feed = (crop - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        bins = self._session.run(None, {"input": _planes(feed)})
        angles = [float(_shares(row.ravel()) @ np.arange(66.0)) * 3.0 - 99.0 for row in bins]
        return -np.array(angles)


class ExpressionReader:
    """faceplugin's network of seven expressions.

    Args:
        folder: Where its file lies; None is the user's cache.
    """

    name = "faceplugin expression"

    def __init__(self, folder: Path | None = None) -> None:
        self._session = onnx_session(weights_file("faceplugin", "fr_expression.onnx", folder))

    def __call__(self, picture: Picture, landmarks_px: Floats) -> Floats:
        """Return seven shares in the order of :data:`EXPRESSIONS`; they sum to 1."""
        crop = upright(picture, landmarks_px, 0.1, 224).astype(np.float32) / 255.0
        (found, *_) = self._session.run(None, {"input": _planes(crop)})
        return _shares(np.asarray(found, dtype=np.float64).ravel())


def _planes(picture: Floats) -> Floats:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)


def _shares(logits: Floats) -> Floats:
    power = np.exp(logits - logits.max())
    return power / power.sum()


def _dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise UnsupportedError(
            "dlib is not installed", hint="pip install camera-rig[evaluate]"
        ) from error
    return dlib
