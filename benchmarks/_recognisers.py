"""Two independent face recognisers for evaluation: dlib's ResNet and a MobileFaceNet.

Their weights belong to others and are never copied into this repository. They are read
from the packages that ship them, fetched once into the user's cache folder:

- ``face_recognition_models`` 0.3.0 (PyPI source distribution, CC0): dlib's ResNet and landmarks.
  The 68-landmark model was trained on data whose makers forbid commercial use.
- ``faceplugin-face-recognition-js`` 0.0.1 (npm, MIT as packaged): ``fr_feature.onnx``.

Needs the extra ``evaluate`` (dlib-bin, onnxruntime, opencv) and, for the second, npm.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import ConnectError, StorageError
from camera_rig.twin.head.cache import user_cache_dir

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


@dataclass(frozen=True)
class _Package:
    """A published archive: how to get it, its SHA-256, and the files that are wanted."""

    command: tuple[str, ...]
    archive: str
    sha256: str
    members: tuple[str, ...]


_DLIB = _Package(
    (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
     "--no-build-isolation", "face_recognition_models==0.3.0"),
    "face_recognition_models-0.3.0.tar.gz",
    "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
    ("dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_68_face_landmarks.dat"),
)  # fmt: skip
_FACEPLUGIN = _Package(
    ("npm", "pack", "--silent", "faceplugin-face-recognition-js@0.0.1"),
    "faceplugin-face-recognition-js-0.0.1.tgz",
    "7ea06031d9a3f83753254fcff60506a07b81b46fc84d4ee024cd041f260ec1ba",
    ("fr_feature.onnx",),
)


def fetched(package: _Package) -> dict[str, Path]:
    """Return the wanted files of a package, fetching it into the user's cache at first.

    Raises:
        ConnectError: The package client is missing or failed.
        StorageError: What came is not the archive that was expected.
    """
    folder = user_cache_dir() / "recognisers"
    files = {name: folder / name for name in package.members}
    if all(path.is_file() for path in files.values()):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        _download(package, Path(aside))
        _unpack(package, Path(aside), folder)
    return files


def _download(package: _Package, aside: Path) -> None:
    try:
        subprocess.run(package.command, cwd=aside, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConnectError(
            f"{package.archive} could not be fetched: {getattr(error, 'stderr', error)}",
            hint=f"check the network, or run by hand: {' '.join(package.command)}",
        ) from error
    found = hashlib.sha256((aside / package.archive).read_bytes()).hexdigest()
    if found != package.sha256:
        raise StorageError(
            f"{package.archive} has SHA-256 {found}, not the expected one",
            hint="do not use it; ask the registry what changed",
        )


def _unpack(package: _Package, aside: Path, folder: Path) -> None:
    with tarfile.open(aside / package.archive) as archive:
        for member in archive.getmembers():
            name = Path(member.name).name
            content = archive.extractfile(member) if name in package.members else None
            if content is not None:
                (aside / name).write_bytes(content.read())
                (aside / name).rename(folder / name)


class _Landmarks:
    """dlib's gradient-histogram detector and 68 landmarks, shared by both recognisers."""

    def __init__(self) -> None:
        import dlib

        files = fetched(_DLIB)
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
        path = fetched(_DLIB)["dlib_face_recognition_resnet_model_v1.dat"]
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
        path = fetched(_FACEPLUGIN)["fr_feature.onnx"]
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
