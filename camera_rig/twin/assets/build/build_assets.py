"""Pack the CC0 head model and its textures for shipping.

Run by hand, never at import. The inputs are a head-and-shoulders cut of the MakeHuman
base mesh (``makehuman_head_cc0.npz``) and the folder of its textures; README.md in the
parent folder tells where they come from. Two runs on the same inputs with the same
OpenCV write the same bytes.

    python build_assets.py HEAD.npz TEXTURE_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np

_LOSSY = [cv2.IMWRITE_WEBP_QUALITY, 94]
_EXACT = [cv2.IMWRITE_WEBP_QUALITY, 101]


def _skin(source: np.ndarray) -> np.ndarray:
    return source[..., :3]


def _iris(source: np.ndarray) -> np.ndarray:
    return source[..., :3]


def _strands(source: np.ndarray) -> np.ndarray:
    """Grey and coverage only: the colour of hair is painted at run time."""
    grey = cv2.cvtColor(source[..., :3], cv2.COLOR_BGR2GRAY)
    return np.dstack([grey, grey, grey, source[..., 3]])


def _coverage(source: np.ndarray) -> np.ndarray:
    return source[..., 3]


_PACKED = {
    "skins": (_skin, _EXACT),
    "eyes": (_iris, _LOSSY),
    "hair": (_strands, _LOSSY),
    "eyebrows": (_coverage, _EXACT),
    "eyelashes": (_coverage, _EXACT),
    "teeth": (_skin, _LOSSY),
}


def pack(head: Path, textures: Path, out: Path) -> None:
    """Write the model as it is and every texture as WebP; then a list of hashes."""
    (out / "head.npz").write_bytes(head.read_bytes())
    written = [out / "head.npz"]
    for folder, (reduce, quality) in _PACKED.items():
        (out / folder).mkdir(exist_ok=True)
        for path in sorted((textures / folder).glob("*.png")):
            source = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if source is None:
                raise OSError(f"{path} is no picture")
            target = out / folder / f"{path.stem}.webp"
            if not cv2.imwrite(str(target), reduce(source), quality):
                raise OSError(f"{target} could not be written")
            written.append(target)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out).as_posix()}"
        for path in written
    ]
    (out / "SHA256SUMS").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    pack(*(Path(argument) for argument in sys.argv[1:4]))
