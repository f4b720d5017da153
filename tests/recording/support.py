"""Small real parts for the tests of recording: packed frames, takes, drawn pictures."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from camera_rig.clock import ManualClock
from camera_rig.contracts import Clock, Frame
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.keys import KeyStore
from camera_rig.recording.manifest import Anchor, CameraRecord, FinishReason, TakeManifest
from camera_rig.recording.packing import Group, PackedFrame, Packer
from camera_rig.recording.take import DiskRules, TakeWriter
from camera_rig.recording.vault import FrameClass, WritingKeys, new_keys

PERIOD_NS = 33_333_333
SERIALS = {"privacy": "P-1", "side": "S-1"}


def picture(number: int, *, width: int = 96, height: int = 64) -> np.ndarray:
    """Draw a picture that differs for every number and has some texture."""
    rng = np.random.default_rng(number)
    base = np.full((height, width, 3), 40, np.uint8)
    cv2.circle(base, (10 + number % (width - 20), height // 2), 12, (220, 180, 150), -1)
    return base + rng.integers(0, 20, base.shape, dtype=np.uint8)


def jpeg(pixels: np.ndarray, quality: int = 90) -> bytes:
    ok, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return data.tobytes()


def frame(role: str, number: int, *, captured_ns: int | None = None, encoded: bool = True) -> Frame:
    pixels = picture(number)
    return Frame(
        picture=pixels,
        camera=SERIALS[role],
        sequence=number,
        captured_ns=number * PERIOD_NS if captured_ns is None else captured_ns,
        uncertainty_ns=100_000,
        exposure_s=0.01,
        encoded=jpeg(pixels) if encoded else None,
    )


def manifest(take: str, sealed, *, simulated: bool = True, clock: Clock | None = None):
    clock = clock or ManualClock()
    return TakeManifest(
        take=take,
        subject=sealed.subject,
        simulated=simulated,
        consent=None,
        keys=sealed,
        anchor=Anchor(monotonic_ns=clock.now_ns(), wall_ns=clock.wall_ns()),
        cameras={
            role: CameraRecord(model="drawn", serial=serial, driver="twin")
            for role, serial in SERIALS.items()
        },
        tolerance_ns=PERIOD_NS // 2,
        software="test",
    )


def packers(keys: WritingKeys) -> dict[str, Packer]:
    return {role: Packer(role, keys.sealers[FrameClass(role)], 10.0) for role in SERIALS}


def groups(keys: WritingKeys, count: int, start: int = 0) -> Iterator[Group]:
    pack = packers(keys)
    for number in range(start, start + count):
        frames = {role: pack[role].pack(frame(role, number), 0) for role in SERIALS}
        yield Group(frames, skew_ns=0, uncertainty_ns=1)


def writer(
    folder: Path, store: KeyStore, *, take: str = "take-a", rules: DiskRules | None = None,
    clock: Clock | None = None,
) -> tuple[TakeWriter, WritingKeys]:  # fmt: skip
    keys, sealed = new_keys(take, store.ensure_subject("T01", simulated=True))
    clock = clock or ManualClock()
    rules = rules or DiskRules(reserve_bytes=1 << 20)
    return TakeWriter(folder, manifest(take, sealed, clock=clock), keys, clock, rules), keys


def make_take(folder: Path, store: KeyStore, count: int = 6, *, take: str = "take-a") -> Path:
    out, keys = writer(folder, store, take=take)
    for group in groups(keys, count):
        out.write(group)
    out.seal(FinishReason.DURATION, ClockModel())
    return folder


def random_group(keys: WritingKeys, number: int, size: int) -> Group:
    """Make a pair of random bytes: fast, so that many kills fall into the writing."""
    frames = {}
    for role, serial in SERIALS.items():
        blob = keys.sealers[FrameClass(role)].seal(serial, number, os.urandom(size))
        frames[role] = PackedFrame(
            role, serial, number, number * PERIOD_NS, 1, 0, "bin.enc", blob, zlib.crc32(blob),
            {"exposure_s": 0.0, "linear": False, "size": [1, 1], "meta": {}},
        )  # fmt: skip
    return Group(frames, skew_ns=0, uncertainty_ns=1)
