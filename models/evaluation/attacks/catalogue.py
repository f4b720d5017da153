"""The attacks by name, and what each attacker is assumed to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from camera_rig.errors import ConfigError

__all__ = ["ATTACKS", "AttackInfo", "Knows", "Yields", "chosen"]


class Knows(StrEnum):
    """One thing that an attacker may have."""

    FRAMES = "the privacy frames"
    PLACE = "where the face is (landmarks of the sharp frame)"
    GALLERY = "one sharp photograph of every person sought"
    PSF = "the PSF, exactly (firmware, calibration file, or a point of light in the scene)"
    NOISE = "the noise of the sensor"
    WRONG_PSF = "the coefficients with an error, nothing else of this instrument"
    NAMED_FRAMES = "privacy frames of other people, with their names and sharp photographs"
    PAIRS = "pairs of sharp and privacy frames of other people"
    FACES = "sharp faces of other people"
    TRUTH = "the truth, to choose the best setting of each picture: more than any attacker has"
    OUTPUTS = "de-identified outputs"
    METHOD = "the whole method with its weights, to make outputs of other people"


class Yields(StrEnum):
    """What an attack ends with."""

    PICTURES = "pictures"
    VECTORS = "identity vectors"


@dataclass(frozen=True)
class AttackInfo:
    """One attack.

    Args:
        name: Name for commands and tables.
        title: One line for people.
        knows: The attacker's knowledge; every figure is worth as much as this list.
        yields: What it ends with.
        every_camera: Whether it is also carried out on the cameras for comparison;
            else on the bundle's own alone.
        trained: Whether something is learned, so that there is a learning curve.
    """

    name: str
    title: str
    knows: tuple[Knows, ...]
    yields: Yields = Yields.PICTURES
    every_camera: bool = True
    trained: bool = False


_SEES = (Knows.FRAMES, Knows.PLACE, Knows.GALLERY)

ATTACKS: dict[str, AttackInfo] = {
    info.name: info
    for info in (
        AttackInfo("frame", "recogniser on the privacy frame", _SEES),
        AttackInfo(
            "head",
            "a small network behind a frozen recogniser, from blurred to sharp vectors",
            (*_SEES, Knows.NAMED_FRAMES),
            Yields.VECTORS,
            trained=True,
        ),
        AttackInfo(
            "tuned",
            "recogniser trained on privacy frames with names",
            (*_SEES, Knows.NAMED_FRAMES),
            Yields.VECTORS,
            trained=True,
        ),
        AttackInfo(
            "wiener",
            "Wiener filter, best strength of each picture",
            (*_SEES, Knows.PSF, Knows.NOISE, Knows.TRUTH),
        ),
        AttackInfo(
            "richardson-lucy",
            "Richardson–Lucy, best number of rounds of each picture",
            (*_SEES, Knows.PSF, Knows.TRUTH),
        ),
        AttackInfo(
            "restore",
            "U-Net behind the best linear filter, both learned from pairs",
            (*_SEES, Knows.PAIRS),
            trained=True,
        ),
        AttackInfo(
            "prior",
            "plug-and-play restoration: the camera's model and a denoiser that knows faces",
            (*_SEES, Knows.PSF, Knows.NOISE, Knows.FACES),
            trained=True,
        ),
        AttackInfo(
            "theft",
            "U-Net learned on frames re-simulated with stolen, slightly wrong coefficients",
            (*_SEES, Knows.WRONG_PSF, Knows.FACES),
            every_camera=False,
            trained=True,
        ),
        AttackInfo(
            "invert",
            "network from vectors of outputs back to vectors of the people",
            (Knows.OUTPUTS, Knows.GALLERY, Knows.METHOD, Knows.FACES),
            Yields.VECTORS,
            every_camera=False,
            trained=True,
        ),
        AttackInfo(
            "link",
            "are two outputs of one person?",
            (Knows.OUTPUTS,),
            Yields.VECTORS,
            every_camera=False,
        ),
    )
}
"""All attacks, the cheap ones first."""


def chosen(names: Sequence[str]) -> tuple[AttackInfo, ...]:
    """Return attacks by name in the order of the catalogue; all of them for no name.

    Raises:
        ConfigError: A name is unknown.
    """
    unknown = sorted(set(names) - set(ATTACKS))
    if unknown:
        raise ConfigError(f"no attack {unknown[0]!r}", hint=f"there are: {', '.join(ATTACKS)}")
    return tuple(info for name, info in ATTACKS.items() if not names or name in names)
