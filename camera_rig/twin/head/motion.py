"""What a head does in a clip: speech, blinks, glances, moods and turns, from one seed.

Everything repeats after the clip's length without a jump, so a short clip serves a rig
that runs for hours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.twin.head.assets import FACE_UNITS, Floats, face_coefficients
from camera_rig.twin.head.pose import HeadPose


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How a clip moves.

    Args:
        duration_s: Length of the clip; it repeats without a jump.
        fps: Pictures per second.
        yaw_deg: Largest turn to either side.
        pitch_deg: Largest nod.
        roll_deg: Largest tilt.
        shift_mm: Largest move to the side.
        talking: Share of the time with speech, 0 to 1.
    """

    duration_s: float = 4.0
    fps: float = 30.0
    yaw_deg: float = 20.0
    pitch_deg: float = 8.0
    roll_deg: float = 5.0
    shift_mm: float = 12.0
    talking: float = 0.8

    def __post_init__(self) -> None:
        """Refuse a clip without frames and turns that the neck cannot make."""
        if not self.duration_s * self.fps >= 1:
            raise ConfigError(
                f"a clip of {self.duration_s} s at {self.fps} fps has no frame",
                hint="give a longer duration_s or a higher fps",
            )
        if max(abs(self.yaw_deg), abs(self.pitch_deg), abs(self.roll_deg)) > 60:
            raise ConfigError(
                "a head cannot turn by more than 60 degrees", hint="lower yaw, pitch or roll"
            )

    @property
    def frames(self) -> int:
        """Number of frames of the clip."""
        return round(self.duration_s * self.fps)


@dataclass(frozen=True)
class Track:
    """A clip's movement, frame by frame.

    Args:
        coefficients: ``(n, 52)`` strengths of the face units.
        pose: ``(n, 6)`` yaw, pitch, roll in degrees and shift x, y, z in mm.
    """

    coefficients: Floats
    pose: Floats

    def pose_at(self, index: int) -> HeadPose:
        """Return the pose of a frame."""
        yaw, pitch, roll, x, y, z = (float(v) for v in self.pose[index])
        return HeadPose(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, shift_mm=(x, y, z))


def _both(**strengths: float) -> Floats:
    """Coefficients with ``name`` standing for left and right where there are two."""
    named: dict[str, float] = {}
    for name, value in strengths.items():
        sides = [name] if name in FACE_UNITS else [f"{name}Left", f"{name}Right"]
        named.update(dict.fromkeys(sides, value))
    return face_coefficients(**named)


VISEMES: dict[str, Floats] = {
    "aa": _both(jawOpen=0.42, mouthLowerDown=0.15, mouthUpperUp=0.08),
    "eh": _both(jawOpen=0.24, mouthStretch=0.22, mouthLowerDown=0.15),
    "ee": _both(jawOpen=0.10, mouthStretch=0.32, mouthSmile=0.20, mouthUpperUp=0.12),
    "oh": _both(jawOpen=0.26, mouthFunnel=0.45),
    "oo": _both(jawOpen=0.09, mouthPucker=0.65, mouthFunnel=0.10),
    "mbp": _both(mouthPress=0.35, mouthRollLower=0.20, mouthRollUpper=0.15),
    "fv": _both(jawOpen=0.05, mouthRollLower=0.42, mouthUpperUp=0.18),
    "dl": _both(jawOpen=0.16, mouthUpperUp=0.12, mouthLowerDown=0.12),
    "sz": _both(jawOpen=0.06, mouthStretch=0.20, mouthLowerDown=0.22, mouthUpperUp=0.08),
    "ch": _both(jawOpen=0.09, mouthFunnel=0.34, mouthShrugUpper=0.18),
}
_BLINK = _both(eyeBlink=1.0)
_MOODS = (
    _both(mouthSmile=0.45, cheekSquint=0.30, mouthDimple=0.15, eyeSquint=0.10),
    _both(mouthFrown=0.30, browInnerUp=0.30),
    _both(browDown=0.35, mouthPress=0.20),
    _both(browInnerUp=0.35, browOuterUp=0.30, eyeWide=0.25),
    _both(mouthSmileLeft=0.25, mouthDimpleLeft=0.25),
)
_PLEASANT = _both(mouthSmile=0.22, browInnerUp=0.15, browOuterUp=0.12, cheekSquint=0.1)
_BROWS = _both(browInnerUp=0.5, browOuterUp=0.35)


def clip_track(seed: int, motion: Motion) -> Track:
    """Return the movement of a clip; the same seed and motion give the same track."""
    rng = np.random.default_rng([0x7A1C, seed])
    talk = _speech(rng, motion)
    loud = talk[:, FACE_UNITS.index("jawOpen")]
    emphasis = _smooth(loud, 0.25, motion)
    coefficients = talk + _moods(rng, motion) + _blinks(rng, motion) + _glances(rng, motion)
    # At rest the model looks sullen; people before a camera mostly do not.
    coefficients += rng.uniform(0.0, 1.0) * _PLEASANT
    coefficients += emphasis[:, None] * rng.uniform(0.0, 2.0) * _BROWS
    turns = np.stack([_wander(rng, motion) for _ in range(6)], axis=1)
    sway = motion.shift_mm
    limits = [motion.yaw_deg, motion.pitch_deg, motion.roll_deg, sway, 0.4 * sway, 0.8 * sway]
    pose = turns * np.array(limits)
    # Speakers nod with what they stress; the nod stays within the limit.
    nod = emphasis * 0.6 * motion.pitch_deg
    pose[:, 1] = np.clip(pose[:, 1] * 0.7 + nod, -motion.pitch_deg, motion.pitch_deg)
    return Track(np.clip(coefficients, 0, 1).astype(np.float32), pose.astype(np.float32))


def _smooth(values: Floats, sigma_s: float, motion: Motion) -> Floats:
    """Gaussian smoothing over time, wrapped round."""
    frequency = np.fft.rfftfreq(motion.frames, 1 / motion.fps)
    gain = np.exp(-2 * (np.pi * frequency * sigma_s) ** 2)
    spectrum = np.fft.rfft(values, axis=0) * gain.reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(np.fft.irfft(spectrum, motion.frames, axis=0))


def _speech(rng: np.random.Generator, motion: Motion) -> Floats:
    """Phrases of visemes with pauses, each sound bleeding into its neighbours."""
    names = list(VISEMES)
    lips = np.zeros((motion.frames, len(FACE_UNITS)))
    weight = np.zeros(motion.frames)
    time_s = np.arange(motion.frames) / motion.fps
    at_s = float(rng.uniform(0, 0.3))
    while at_s < motion.duration_s - 0.2:
        phrase_s = rng.uniform(0.7, 2.4)
        end_s = min(at_s + phrase_s, motion.duration_s - 0.1)
        effort = rng.uniform(0.6, 1.1)
        while at_s < end_s:
            length_s = rng.uniform(0.07, 0.15)
            apart = np.abs(time_s - at_s - length_s / 2)
            apart = np.minimum(apart, motion.duration_s - apart)
            share = np.exp(-0.5 * (apart / (0.55 * length_s)) ** 2)
            name = names[int(rng.integers(len(names)))]
            lips += share[:, None] * VISEMES[name] * effort
            weight += share
            at_s += length_s
        silence = (1 - motion.talking) / max(motion.talking, 0.05)
        at_s += max(0.2, phrase_s * silence * rng.uniform(0.7, 1.3))
    quiet = motion.talking <= 0
    return lips * 0 if quiet else lips / np.maximum(weight, 1.0)[:, None]


def _moods(rng: np.random.Generator, motion: Motion) -> Floats:
    total = np.zeros((motion.frames, len(FACE_UNITS)))
    for index in rng.choice(len(_MOODS), 2, replace=False):
        strength = np.clip(rng.normal(0.15, 0.3) + 0.5 * _wander(rng, motion), 0, 1)
        total += strength[:, None] * _MOODS[index]
    return total


def _blinks(rng: np.random.Generator, motion: Motion) -> Floats:
    """Lids close fast and open slower, every few seconds."""
    time_s = np.arange(motion.frames) / motion.fps
    closed = np.zeros(motion.frames)
    at_s = float(rng.uniform(0.4, 2.5))
    while at_s < motion.duration_s - 0.3:
        since = time_s - at_s
        shut = np.interp(since, [0, 0.07, 0.11, 0.27], [0, 1, 1, 0])
        closed = np.maximum(closed, shut)
        at_s += float(0.8 + rng.exponential(2.8))
    return closed[:, None] * _BLINK


def _glances(rng: np.random.Generator, motion: Motion) -> Floats:
    """Eyes rest at the camera or beside it and jump between."""
    sideways: Floats = np.zeros(motion.frames)
    upwards: Floats = np.zeros(motion.frames)
    frame = 0
    while frame < motion.frames:
        rest = max(1, round(rng.uniform(0.4, 1.8) * motion.fps))
        if rng.random() > 0.55:
            sideways[frame : frame + rest] = rng.normal(0, 0.35)
            upwards[frame : frame + rest] = rng.normal(-0.05, 0.18)
        frame += rest
    sideways = np.clip(_smooth(sideways, 0.02, motion), -0.8, 0.8)
    upwards = np.clip(_smooth(upwards, 0.02, motion), -0.8, 0.8)
    return (
        np.clip(sideways, 0, 1)[:, None] * face_coefficients(eyeLookOutLeft=1, eyeLookInRight=1)
        + np.clip(-sideways, 0, 1)[:, None] * face_coefficients(eyeLookInLeft=1, eyeLookOutRight=1)
        + np.clip(upwards, 0, 1)[:, None] * _both(eyeLookUp=1.0)
        + np.clip(-upwards, 0, 1)[:, None] * _both(eyeLookDown=1.0)
    )


def _wander(rng: np.random.Generator, motion: Motion) -> Floats:
    """A slow periodic walk that stays within -1 to 1 and reaches one of them."""
    cycles = np.arange(1, max(2, min(6, int(motion.duration_s * 0.9))) + 1)
    time = np.arange(motion.frames) / motion.frames
    phase = rng.uniform(0, 2 * np.pi, len(cycles))
    size = rng.rayleigh(1.0, len(cycles)) / cycles
    walk = (size[:, None] * np.sin(2 * np.pi * cycles[:, None] * time + phase[:, None])).sum(0)
    return np.asarray(walk / max(np.abs(walk).max(), 1e-9))
