"""The shipped head model, read once per process. Origin and licences: ``twin/assets``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import StorageError

# float32 wherever speed matters; settings and tables may come in double precision.
Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Proxy:
    """A mesh that rides on the head: eyes, teeth, brows, lashes or hair.

    Args:
        ref: ``(n, 3)`` head vertices that carry each vertex.
        weight: ``(n, 3)`` their shares.
        offset: ``(n, 3)`` what is added, in dm.
        tri: ``(m, 3)`` triangles.
        uv: ``(k, 2)`` texture points, v up.
        tri_uv: ``(m, 3)`` texture point of each triangle corner.
    """

    ref: Ints
    weight: Floats
    offset: Floats
    tri: Ints
    uv: Floats
    tri_uv: Ints


@dataclass(frozen=True)
class Target:
    """A sparse change of shape at full strength: vertex numbers and moves in dm."""

    index: NDArray[np.intp]
    delta: Floats


@dataclass(frozen=True)
class HeadModel:
    """The head at rest and everything that can change it. Lengths in dm, y up, z to the viewer.

    Args:
        vertices: ``(5658, 3)`` head, shoulders and the hidden vertices that carry proxies.
        tri: Triangles of the visible head.
        uv: Texture points.
        tri_uv: Texture point of each triangle corner.
        landmarks: Vertex of each of the 68 iBUG landmarks.
        targets: Shape targets by name.
        proxies: Riding meshes by name, such as ``hair/bob01``.
    """

    vertices: Floats
    tri: Ints
    uv: Floats
    tri_uv: Ints
    landmarks: Ints
    targets: dict[str, Target]
    proxies: dict[str, Proxy]

    @property
    def face_units(self) -> tuple[str, ...]:
        """Names of the 52 ARKit face units, in the order of coefficient vectors."""
        return FACE_UNITS


FACE_UNITS = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight",
    "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft",
    "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
_UNIT_INDEX = {name: i for i, name in enumerate(FACE_UNITS)}


def face_coefficients(**strengths: float) -> Floats:
    """Return a vector of the 52 face units, 0 but for those named.

    Args:
        **strengths: Strength, 0 to 1, by ARKit name, for example ``jawOpen=0.4``.
    """
    coefficients = np.zeros(len(FACE_UNITS), np.float32)
    for name, strength in strengths.items():
        coefficients[_UNIT_INDEX[name]] = strength
    return coefficients


@cache
def head_model() -> HeadModel:
    """Return the shipped head model."""
    with resources.as_file(_asset("head.npz")) as path, np.load(path) as data:
        return HeadModel(
            vertices=data["V0"],
            tri=data["tri"],
            uv=data["uv"],
            tri_uv=data["tri_uv"],
            landmarks=data["lm68"],
            targets=_targets(data),
            proxies=_proxies(data),
        )


def _targets(data: Any) -> dict[str, Target]:
    bounds, index, delta = data["target_offsets"], data["target_index"], data["target_delta"]
    return {
        str(name): Target(
            index[bounds[i] : bounds[i + 1]].astype(np.intp),
            delta[bounds[i] : bounds[i + 1]].astype(np.float32),
        )
        for i, name in enumerate(data["target_names"])
    }


def _proxies(data: Any) -> dict[str, Proxy]:
    names = {key.removeprefix("proxy/").rsplit("/", 1)[0] for key in data if "proxy/" in key}
    return {
        name: Proxy(
            *(data[f"proxy/{name}/{part}"] for part in ("ref", "w", "offset")),
            *(data[f"proxy/{name}/{part}"] for part in ("tri", "uv", "tri_uv")),
        )
        for name in sorted(names)
    }


@cache
def texture(name: str) -> NDArray[np.uint8]:
    """Return a shipped texture, RGB(A) or grey as stored, 8-bit sRGB.

    Args:
        name: Path without suffix, such as ``hair/bob01_diffuse``.
    """
    import cv2

    packed = np.frombuffer(_asset(f"{name}.webp").read_bytes(), np.uint8)
    picture = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise StorageError(
            f"the shipped texture {name} is damaged", hint="install the package again"
        )
    channels = [2, 1, 0, 3][: picture.shape[2]] if picture.ndim == 3 else slice(None)
    return np.ascontiguousarray(picture[..., channels] if picture.ndim == 3 else picture)


def _asset(name: str) -> Any:
    return resources.files("camera_rig.twin") / "assets" / name
