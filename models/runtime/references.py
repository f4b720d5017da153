"""The public reference faces of a bundle: names, style codes, pictures to choose by.

A bundle may hold ``styles.safetensors`` (name to style code) and ``reference_NAME.png``.
Codes are taken from the first where it has them; a picture without one is read by S.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from camera_rig.errors import StorageError

if TYPE_CHECKING:
    from models.runtime.bundle import Bundle

__all__ = ["STYLES", "Reference", "references_of"]

STYLES, PICTURE_PREFIX = "styles.safetensors", "reference_"
PLAIN = "plain"
"""Name of the style of an even grey picture, for bundles without references."""


@dataclass(frozen=True, eq=False)
class Reference:
    """One style a face can be painted in.

    Args:
        name: For people.
        style: ``(style_dim,)`` float32.
        picture: The public face it was read from, RGB; None where none is shipped.
    """

    name: str
    style: npt.NDArray[np.float32]
    picture: npt.NDArray[np.uint8] | None


def references_of(bundle: Bundle) -> Mapping[str, Reference]:
    """Return a bundle's references by name, in alphabetical order; never empty.

    Raises:
        StorageError: A style code or a picture cannot be read.
    """
    pictures = _pictures(bundle)
    styles = _styles(bundle)
    unread = {name: picture for name, picture in pictures.items() if name not in styles}
    if not styles and not unread:
        grey = np.full((bundle.card.sizes.size_px,) * 2 + (3,), 128, np.uint8)
        return {PLAIN: Reference(PLAIN, _read_styles(bundle, {PLAIN: grey})[PLAIN], None)}
    styles |= _read_styles(bundle, unread)
    return {name: Reference(name, styles[name], pictures.get(name)) for name in sorted(styles)}


def _styles(bundle: Bundle) -> dict[str, npt.NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = bundle.folder / STYLES
    if not file.exists():
        return {}
    try:
        found = {name: np.asarray(v, np.float32).reshape(-1) for name, v in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"{file} cannot be read: {error}", hint="get the bundle again"
        ) from error
    wanted = bundle.card.sizes.style_dim
    wrong = [name for name, v in found.items() if v.shape != (wanted,) or not np.isfinite(v).all()]
    if wrong:
        raise StorageError(
            f"{file}: {', '.join(wrong)} is no style code of {wanted} numbers",
            hint="make the style codes with the S of this bundle",
        )
    return found


def _pictures(bundle: Bundle) -> dict[str, npt.NDArray[np.uint8]]:
    import cv2

    from models.data import squared

    found = {}
    for file in sorted(bundle.folder.glob(f"{PICTURE_PREFIX}*.png")):
        stored = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if stored is None:
            raise StorageError(f"{file} cannot be read as a picture", hint="get the bundle again")
        name = file.stem.removeprefix(PICTURE_PREFIX)
        found[name] = squared(stored[..., ::-1], bundle.card.sizes.size_px)
    return found


def _read_styles(
    bundle: Bundle, pictures: Mapping[str, npt.NDArray[np.uint8]]
) -> dict[str, npt.NDArray[np.float32]]:
    import torch

    from models.data import planar
    from models.runtime.painter import StyleReader

    if not pictures:
        return {}
    batch = torch.from_numpy(np.stack([planar(picture) for picture in pictures.values()]))
    with torch.inference_mode():
        codes = StyleReader(bundle)(batch).numpy()
    return dict(zip(pictures, codes, strict=True))
