"""What is sent: the painted face alone, or the face on a plain card, or a card with a reason."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from models.runtime.live_data import Blank, FaceBox, LiveSettings, Picture

__all__ = ["Stage", "blank_card"]

GROUND = (17, 22, 29)
_INK, _SOFT, _ACCENT = (232, 236, 241), (150, 162, 176), (240, 173, 78)
_KEPT = 64
_FEATHER = 0.06

_TITLES = {
    Blank.STARTING: "Starting",
    Blank.STOPPED: "Stopped",
    Blank.MIRROR: "Mirror not confirmed",
    Blank.OPTICS: "Not the optics of this bundle",
    Blank.CALIBRATION: "Calibration does not hold",
    Blank.CAMERA: "No picture from the camera",
    Blank.FAILED: "A stage failed",
    Blank.LATE: "Too late to show",
    Blank.NO_FACE: "No face found",
    Blank.SHARP: "Picture too sharp",
    Blank.UNSURE: "Not sure enough",
}


class Stage:
    """Puts painted faces and cards into the one size that is sent.

    No pixel of a camera can get here: the inputs are what G painted and words.

    Args:
        settings: View and size.
        aspect: Width over height of the camera's frame, for the view ``room``.
    """

    def __init__(self, settings: LiveSettings, aspect: float = 1.5) -> None:
        self._room = settings.view == "room"
        self.height_px = settings.height_px
        width = settings.height_px if not self._room else round(settings.height_px * aspect)
        self.width_px = width + width % 2
        self._cards: OrderedDict[tuple[str, str], Picture] = OrderedDict()

    def face(
        self, face: npt.NDArray[np.float32], box: FaceBox, frame_size: tuple[int, int]
    ) -> Picture:
        """Return the picture of a painted face.

        Args:
            face: ``(size, size, 3)``, grey values 0 … 255.
            box: Where it stands on the privacy frame, px.
            frame_size: Width and height of that frame, px.
        """
        import cv2

        eight = np.clip(np.rint(face), 0, 255).astype(np.uint8)
        if not self._room:
            how = cv2.INTER_CUBIC if self.height_px > eight.shape[0] else cv2.INTER_AREA
            picture = cv2.resize(eight, (self.width_px, self.height_px), interpolation=how)
            return _locked(np.asarray(picture, dtype=np.uint8))
        scale = self.height_px / frame_size[1]
        side = max(8.0, box.size_px * scale)
        left = (box.x_px + 0.5) * self.width_px / frame_size[0] - side / 2
        top = (box.y_px + 0.5) * scale - side / 2
        zoom = side / eight.shape[0]
        matrix = np.array(
            [[zoom, 0, left + 0.5 * zoom - 0.5], [0, zoom, top + 0.5 * zoom - 0.5]], np.float32
        )
        size = (self.width_px, self.height_px)
        spread = cv2.warpAffine(eight, matrix, size, flags=cv2.INTER_LINEAR)
        weight = cv2.warpAffine(_feather(eight.shape[0]), matrix, size, flags=cv2.INTER_LINEAR)
        ground = np.array(GROUND, np.float32)
        mixed = ground + weight[..., None] * (spread.astype(np.float32) - ground)
        return _locked(np.rint(mixed).astype(np.uint8))

    def card(self, why: Blank, reason: str) -> Picture:
        """Return a card that says why nothing is shown; kept for the next time."""
        key = (why.value, reason)
        if key not in self._cards:
            self._cards[key] = blank_card(self.width_px, self.height_px, why, reason)
            if len(self._cards) > _KEPT:
                self._cards.popitem(last=False)
        return self._cards[key]


def blank_card(width_px: int, height_px: int, why: Blank, reason: str) -> Picture:
    """Draw a plain card: what is the matter in large letters, the reason below."""
    from PIL import Image, ImageDraw

    card = Image.new("RGB", (width_px, height_px), GROUND)
    draw = ImageDraw.Draw(card)
    large, small = _font(max(12, height_px // 18)), _font(max(10, height_px // 30))
    title, limit = _TITLES[why], 0.84 * width_px
    lines = _wrapped(draw, title, large, limit)
    below = _wrapped(draw, reason, small, limit) if reason and reason != title.lower() else []
    step, fine = round(1.35 * large.size), round(1.45 * small.size)
    y = (height_px - step * len(lines) - fine * len(below)) / 2
    bar = max(2, height_px // 120)
    left = 0.08 * width_px
    draw.rectangle((left, y - 3 * bar, left + 0.12 * width_px, y - 2 * bar), fill=_ACCENT)
    for text in lines:
        draw.text((left, y), text, font=large, fill=_INK)
        y += step
    for text in below:
        draw.text((left, y), text, font=small, fill=_SOFT)
        y += fine
    return _locked(np.asarray(card, dtype=np.uint8).copy())


def _font(size_px: int):
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size_px)


def _wrapped(draw, text: str, font, limit_px: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font=font) <= limit_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:6]


def _feather(size: int) -> npt.NDArray[np.float32]:
    ramp = np.clip(
        np.minimum(np.arange(size) + 1, np.arange(size)[::-1] + 1) / (_FEATHER * size), 0, 1
    )
    return np.asarray(np.minimum.outer(ramp, ramp), dtype=np.float32)


def _locked(picture: Picture) -> Picture:
    picture.setflags(write=False)
    return picture
