"""Face recognisers as attackers: picture and landmarks in, identity vector out.

Weights belong to others and are never copied here. They are read from the user's
cache folder, or from a folder given. None of them may be used in training: a
figure counts only with a network that the transform was never trained against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from camera_rig.errors import ConfigError, UnsupportedError

Picture = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

FIVE_IN_112 = np.array(
    [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]
)
"""Eyes, tip of the nose and corners of the mouth in the usual 112-pixel crop, pixels."""

DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"
FACEPLUGIN_FILE = "fr_feature.onnx"


class Embedder(Protocol):
    """Turns faces into vectors whose L2 distance tells people apart.

    ``name`` goes beside every figure. ``trained_on`` says what its makers tell.
    """

    name: str
    trained_on: str

    def __call__(self, picture: Picture, landmarks_px: Floats) -> Floats:
        """Return the vector of one face.

        Args:
            picture: ``(h, w, 3)`` RGB.
            landmarks_px: ``(68, 2)`` of this picture, or of the clean one: an
                attacker who knows where the face is.
        """
        ...


class DlibEmbedder:
    """dlib's ResNet, 128 numbers: "FR" of the published tables.

    Args:
        folder: Where its file lies; None is the user's cache.

    Raises:
        ConfigError: The file is not there.
        UnsupportedError: dlib is not installed.
    """

    name = "dlib ResNet"
    trained_on = "VGG, FaceScrub and scraped faces, about 3 million"

    def __init__(self, folder: Path | None = None) -> None:
        file = weights_file(DLIB_FILE, folder, "pip download face_recognition_models==0.3.0")
        try:
            import dlib
        except ImportError as error:
            raise UnsupportedError(
                "dlib is not installed", hint="pip install camera-rig[evaluate]"
            ) from error
        self._dlib: Any = dlib
        self._network = dlib.face_recognition_model_v1(str(file))

    def __call__(self, picture: Picture, landmarks_px: Floats) -> Floats:
        """Return 128 numbers."""
        low, high = np.rint(landmarks_px.min(0)), np.rint(landmarks_px.max(0))
        box = self._dlib.rectangle(*(int(v) for v in (*low, *high)))
        points = [self._dlib.point(round(float(x)), round(float(y))) for x, y in landmarks_px]
        shape = self._dlib.full_object_detection(box, points)
        chip = self._dlib.get_face_chip(np.ascontiguousarray(picture), shape, 150, 0.25)
        return np.array(self._network.compute_face_descriptor(chip), dtype=np.float64)


class OnnxEmbedder:
    """Any network that takes an aligned 112-pixel crop, vectors made unit length.

    Args:
        model: ONNX file with one input ``(1, 3, 112, 112)``.
        name: Goes beside every figure.
        trained_on: What its makers tell.
        mean: Subtracted from 0 … 255.
        scale: Divides the rest.

    Raises:
        UnsupportedError: ONNX Runtime is not installed.
    """

    def __init__(
        self,
        model: Path,
        *,
        name: str,
        trained_on: str = "not told",
        mean: float = 127.0,
        scale: float = 128.0,
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UnsupportedError(
                "ONNX Runtime is not installed", hint="pip install camera-rig[evaluate]"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.name, self.trained_on = name, trained_on
        self._mean, self._scale = mean, scale
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, picture: Picture, landmarks_px: Floats) -> Floats:
        """Return a unit vector."""
        crop = aligned(picture, five_points(landmarks_px), FIVE_IN_112, 112).astype(np.float32)
        feed = ((crop - self._mean) / self._scale).transpose(2, 0, 1)[None]
        (found, *_) = self._session.run(None, {self._input: np.ascontiguousarray(feed)})
        vector = np.asarray(found, dtype=np.float64).ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


def faceplugin(folder: Path | None = None) -> OnnxEmbedder:
    """Return the MobileFaceNet-like network of faceplugin, 512 numbers."""
    fetch = "npm pack faceplugin-face-recognition-js@0.0.1"
    file = weights_file(FACEPLUGIN_FILE, folder, fetch)
    return OnnxEmbedder(file, name="faceplugin")


EMBEDDERS: dict[str, Callable[[Path | None], Embedder]] = {
    "dlib": DlibEmbedder,
    "faceplugin": faceplugin,
}
"""Recognisers by name; each is made with the folder of its weights, or None."""


def weights_file(name: str, folder: Path | None, fetch: str) -> Path:
    """Return a weights file.

    Raises:
        ConfigError: It is not there; the hint says where it comes from.
    """
    from camera_rig.twin.head.cache import user_cache_dir

    place = (folder or user_cache_dir() / "recognisers") / name
    if not place.is_file():
        raise ConfigError(
            f"{place} is missing", hint=f"fetch it with `{fetch}` and unpack {name} there"
        )
    return place


def five_points(landmarks_px: Floats) -> Floats:
    """Return eye centres, tip of the nose and corners of the mouth of 68 landmarks."""
    points = np.asarray(landmarks_px, dtype=np.float64)
    if points.shape != (68, 2):
        raise ConfigError(
            f"landmarks of shape {points.shape}", hint="recognisers here need the 68-point layout"
        )
    eyes = [points[[37, 38, 40, 41]].mean(0), points[[43, 44, 46, 47]].mean(0)]
    return np.array([*eyes, points[30], points[[48, 60]].mean(0), points[[54, 64]].mean(0)])


def similarity(source: Floats, target: Floats) -> Floats:
    """Return the turn, scale and shift (2x3) that brings points nearest to others.

    Closed form of least squares (Umeyama 1991), no mirroring.
    """
    a, b = np.asarray(source, float), np.asarray(target, float)
    mean_a, mean_b = a.mean(0), b.mean(0)
    x, y = a - mean_a, b - mean_b
    # In the plane a turn and scale is one complex factor.
    p, q = x[:, 0] + 1j * x[:, 1], y[:, 0] + 1j * y[:, 1]
    factor = (p.conj() @ q) / (p.conj() @ p).real
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, mean_b - turn @ mean_a])


def aligned(picture: Picture, source: Floats, target: Floats, size_px: int) -> Picture:
    """Return the crop in which ``source`` points lie at ``target`` points, pixels."""
    import cv2

    matrix = similarity(source, target)
    crop = cv2.warpAffine(picture, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def embed_all(
    embedder: Embedder, pictures: Sequence[Picture], landmarks_px: Sequence[Floats]
) -> Floats:
    """Return ``(n, d)`` vectors of many faces."""
    return np.stack([embedder(p, points) for p, points in zip(pictures, landmarks_px, strict=True)])
