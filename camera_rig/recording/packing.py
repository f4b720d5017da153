"""From a frame to the bytes that go to disk: encode if need be, seal, sum up."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from camera_rig.contracts import Frame
from camera_rig.recording.codec import CodecChoice, choose_codec, encode_pixels, native_extension
from camera_rig.recording.vault import FrameSealer

__all__ = ["Group", "PackedFrame", "Packer"]


@dataclass(frozen=True, slots=True, eq=False)
class PackedFrame:
    """One frame ready for the disk; holds no picture in the clear when sealed.

    Args:
        role: ``privacy`` or ``side``.
        camera: Serial number.
        sequence: The camera's counter.
        captured_ns: Middle of the exposure as the camera's driver gave it, ns.
        uncertainty_ns: One standard deviation of it, ns.
        received_ns: When the recorder got it, rig clock, ns.
        extension: File extension, ``jpg`` or ``jpg.enc``.
        blob: The bytes to store.
        crc: CRC-32 of ``blob``.
        facts: Exposure, size, gaps and the driver's own remarks.
    """

    role: str
    camera: str
    sequence: int
    captured_ns: int
    uncertainty_ns: int
    received_ns: int
    extension: str
    blob: bytes = field(repr=False)
    crc: int
    facts: Mapping[str, Any]

    def entry(self) -> dict[str, Any]:
        """Return what the journal says about this frame."""
        entry = {
            "camera": self.camera,
            "sequence": self.sequence,
            "captured_ns": self.captured_ns,
            "uncertainty_ns": self.uncertainty_ns,
            "received_ns": self.received_ns,
            "ext": self.extension,
            "length": len(self.blob),
            "crc": self.crc,
            **self.facts,
        }
        if self.extension.endswith(".enc"):
            entry["tag"] = self.blob[-16:].hex()  # ties the signed journal to this ciphertext
        return entry


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """What is stored under one key: a pair, or one frame that found no partner.

    Args:
        frames: Role to frame, one or two.
        skew_ns: Side minus privacy after clock correction, ns; None without a pair.
        uncertainty_ns: One standard deviation of the skew, ns.
        over_tolerance: The pair lies further apart than the plan allows.
    """

    frames: Mapping[str, PackedFrame]
    skew_ns: int | None = None
    uncertainty_ns: int | None = None
    over_tolerance: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether both cameras are in it."""
        return len(self.frames) == 2


class Packer:
    """Turns the frames of one camera into their stored form.

    Args:
        role: ``privacy`` or ``side``.
        sealer: Encrypts; None stores in the clear (never for the side camera).
        budget_ms: CPU time that packing an uncompressed frame may take, ms.
    """

    def __init__(self, role: str, sealer: FrameSealer | None, budget_ms: float) -> None:
        self.role = role
        self._sealer = sealer
        self._budget_ms = budget_ms
        self.codec: CodecChoice | None = None

    def pack(self, frame: Frame, received_ns: int) -> PackedFrame:
        """Return the stored form of ``frame``."""
        plain, extension = self._bytes(frame)
        blob = plain
        if self._sealer is not None:
            blob = self._sealer.seal(frame.camera, frame.sequence, plain)
            extension += ".enc"
        return PackedFrame(
            role=self.role,
            camera=frame.camera,
            sequence=frame.sequence,
            captured_ns=frame.captured_ns,
            uncertainty_ns=frame.uncertainty_ns,
            received_ns=received_ns,
            extension=extension,
            blob=blob,
            crc=zlib.crc32(blob),
            facts={
                "exposure_s": frame.exposure_s,
                "linear": frame.linear,
                "size": list(frame.size),
                "meta": dict(frame.meta),
            },
        )

    def _bytes(self, frame: Frame) -> tuple[bytes, str]:
        if frame.encoded is not None:
            return frame.encoded, native_extension(frame.encoded)
        if self.codec is None:
            self.codec = choose_codec(frame, self._budget_ms)
        name = self.codec.name
        return encode_pixels(frame.pixels, name), "raw" if name == "raw" else "rdz"
