"""What the published coefficients leave of a face on the simulated rig.

    python benchmarks/privacy_of_twin.py              # 40 heads x 6 frames, figures
    python benchmarks/privacy_of_twin.py --sheet OUT  # the picture sheet for the docs

Side and privacy frames come through the twin's cameras. Two independent recognisers look
for faces in both and try to name the heads against a gallery of one side frame each.
For the privacy frames the attacker is told where the face is. The heads are synthetic:
these figures are about the twin, not about people. Needs the extra "evaluate".
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _recognisers import DlibRecogniser, FacepluginRecogniser, Recogniser

from camera_rig.bench import Bench
from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceContext
from camera_rig.optics import Coefficients
from camera_rig.twin.devices import TwinCamera, TwinMirror
from camera_rig.twin.heads import HeadScene, HeadSettings
from camera_rig.twin.staging import field_for
from camera_rig.twin.world import World, WorldOptions

HERE = Path(__file__).parent
RESULT = HERE / "results" / "privacy_of_twin.json"
PAPER = HERE.parent / "hw_configs" / "coefficients" / "lopez2024.yaml"


@dataclass
class Pair:
    """One moment of one head through both cameras, 8-bit RGB, and where the face is."""

    identity: int
    privacy: np.ndarray
    side: np.ndarray
    world: World

    def to_privacy(self, box: np.ndarray) -> np.ndarray:
        """Return a box of the side frame on the privacy frame."""
        corners = self.world.truth.side_to_privacy(box.reshape(2, 2))
        return np.rint(corners).astype(np.int64).ravel()


def lab(bench: Bench, scale: float) -> tuple[World, dict[str, Any]]:
    """Return a world whose privacy arm shows the paper's coefficients times ``scale``."""
    clock = ManualClock()
    world = World(WorldOptions(), bench, clock)
    devices = {
        name: kind(kind.Options(), DeviceContext(name, clock, world))
        for name, kind in {"privacy": TwinCamera, "side": TwinCamera, "mirror": TwinMirror}.items()
    }
    for device in devices.values():
        device.open()
    paper = Coefficients.load(PAPER)
    wanted = Coefficients(
        {mode: scale * value for mode, value in paper.values.items()}, paper.unit, 550.0
    )
    devices["mirror"].apply(world.truth.command_for(wanted), reason="paper's coefficients")
    return world, devices


def pairs(bench: Bench, identities: int, frames: int, scale: float = 1.0) -> list[Pair]:
    """Return pairs of ``identities`` heads at ``frames`` moments each."""
    world, devices = lab(bench, scale)
    result = []
    for identity in range(identities):
        settings = HeadSettings(
            identity_seed=1000 + identity,
            clip_seed=identity,
            studio_seed=identity % 5,
            field=field_for(bench),
        )
        world.set_scene(HeadScene(settings))
        for _ in range(frames):
            # Both cameras see the same picture of the 30 Hz scene, exactly.
            shown = [devices[role].snap().pixels for role in ("privacy", "side")]
            result.append(Pair(identity, shown[0], shown[1], world))
            world.wait_until(world.now_s() + 0.35)
    return result


def figures(shown: list[Pair], recogniser: Recogniser, boxes: list[Any]) -> dict[str, Any]:
    """Return rank-1 of one recogniser, given the boxes found in the side frames."""
    sides, blurred, names = [], [], []
    for pair, box in zip(shown, boxes, strict=True):
        if len(box):
            sides.append(recogniser.embed(pair.side, box[0]))
            blurred.append(recogniser.embed(pair.privacy, pair.to_privacy(box[0])))
            names.append(pair.identity)
    return {
        "rank1_side": _rank1(recogniser, sides, sides, names),
        "rank1_privacy": _rank1(recogniser, sides, blurred, names),
        "rank1_privacy_gallery_through_same_optics": _rank1(recogniser, blurred, blurred, names),
        "chance": round(1 / len(set(names)), 4),
        "probes": len(names) - len(set(names)),
    }


def _share(hits: list[bool]) -> float:
    return round(float(np.mean(hits)), 4)


def _rank1(
    recogniser: Recogniser, gallery: list[Any], probes: list[Any], names: list[int]
) -> float:
    """Share of probes whose nearest gallery entry (the first frame of each head) is right."""
    label = np.array(names)
    first = np.array([int(np.flatnonzero(label == name)[0]) for name in sorted(set(names))])
    rest = np.setdiff1d(np.arange(len(label)), first)
    distances = recogniser.distance(
        np.array([probes[i] for i in rest]), np.array([gallery[i] for i in first])
    )
    return round(float(np.mean(label[first][np.argmin(distances, axis=1)] == label[rest])), 4)


def sheet(path: Path, bench: Bench) -> None:
    """Write side (top) and privacy (below) frames of eight heads."""
    import cv2

    shown = pairs(bench, 8, 1)
    columns = [
        np.vstack([cv2.resize(p.side, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA),
                   cv2.resize(p.privacy, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)])
        for p in shown
    ]  # fmt: skip
    rows = [np.hstack(columns[:4]), np.hstack(columns[4:])]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def main() -> None:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--identities", type=int, default=40)
    arguments.add_argument("--frames", type=int, default=6)
    arguments.add_argument("--scale", type=float, default=1.0)
    arguments.add_argument("--pupil-mm", type=float)
    arguments.add_argument("--sheet", type=Path)
    given = arguments.parse_args()
    bench = Bench()
    if given.pupil_mm:
        arm = bench.privacy.model_copy(update={"pupil_diameter_mm": given.pupil_mm})
        bench = bench.model_copy(update={"privacy": arm})
    if given.sheet:
        sheet(given.sheet, bench)
        return
    shown = pairs(bench, given.identities, given.frames, given.scale)
    dlib = DlibRecogniser()
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "identities": given.identities,
        "frames_each": given.frames,
        "pupil_mm": bench.privacy.pupil_diameter_mm,
        "scale": given.scale,
    }
    boxes = [dlib.detect(pair.side) for pair in shown]
    result["faces_found_side"] = _share([len(box) > 0 for box in boxes])
    result["faces_found_privacy"] = _share([len(dlib.detect(pair.privacy)) > 0 for pair in shown])
    for recogniser in (dlib, FacepluginRecogniser(dlib.landmarks)):
        result[recogniser.name] = figures(shown, recogniser, boxes)
    print(json.dumps(result, indent=1))
    if not given.pupil_mm and given.scale == 1.0 and given.identities >= 40:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
