"""The soak: a fault every minute, every frame that was sent kept and checked afterwards.

What is checked, offline, against the twin's truth:

* no face was sent of a moment at which the mirror was not in its private shape;
* no sent face is a copy of the sharp picture, and none is recognised as the person before
  the rig (``_live_identity``);
* nothing stood still for longer than the pipeline promises; memory does not grow.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _live_identity import Sent, identity
from _live_rigs import OtherWork, config_at, temporary

from camera_rig.rig import Rig
from camera_rig.twin.faults import Fault, FaultKind
from models.runtime.live import LivePipeline, LiveSettings
from models.runtime.live_data import LiveFrame

FAULTS = (
    (FaultKind.BROWN_OUT, "mirror", 3.0), (FaultKind.UNPLUG, "privacy", 2.0),
    (FaultKind.STALL, "privacy", 3.0), (FaultKind.UNPLUG, "mirror", 2.0),
    (FaultKind.FREEZE, "privacy", 2.0), (FaultKind.TIMEOUT, "mirror", 1.5),
    (FaultKind.DROP, "privacy", 1.0), (FaultKind.BUSY, "mirror", 1.5),
    (FaultKind.TIMEOUT, "privacy", 1.0), (FaultKind.CLOCK_JUMP, "clock", 0.0),
)  # fmt: skip

PRIVATE_V = 1.0


@dataclass
class Kept:
    """One frame that was sent."""

    number: int
    sequence: int | None
    out_s: float
    blank: bool
    why: str
    true_ns: int | None
    file: str
    off_v: float = 0.0


class Keeper:
    """A viewer that keeps everything it is sent, on disk, with the truth of its moment."""

    def __init__(self, live: LivePipeline, rig: Rig, folder: Path) -> None:
        self._live, self._rig, self._folder = live, rig, folder
        # On disk, so that what is kept here is not taken for growth of the pipeline.
        self._list = folder / "kept.jsonl"
        self.kept: list[Kept] = []
        self._private_v: np.ndarray | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        lines = self._list.read_text().splitlines()
        self.kept = [Kept(**json.loads(line)) for line in lines]

    def _run(self) -> None:
        with self._list.open("w") as file:
            self._keep_all(file)

    def _keep_all(self, file: Any) -> None:
        number = 0
        while not self._stop.is_set():
            frame = self._live.wait(number, 0.5)
            if frame is None:
                continue
            number = frame.number
            data = frame.jpeg
            self._live.note_sent(frame)
            file.write(json.dumps(asdict(self._keep(frame, data))) + "\n")

    def _keep(self, frame: LiveFrame, data: bytes) -> Kept:
        true_ns = None
        file = ""
        off_v = 0.0
        if not frame.blank:
            true_ns = self._rig.twin.truth.true_time_ns("privacy", frame.sequence)
            off_v = self._off_v(true_ns)
            file = f"{frame.number:07d}.jpg"
            (self._folder / file).write_bytes(data)
        why = "" if frame.why is None else frame.why.value
        kept = (frame.number, frame.sequence, frame.out_s, frame.blank, why, true_ns, file)
        return Kept(*kept, off_v)

    def _off_v(self, true_ns: int) -> float:
        """How far the mirror was from its private shape in the exposure, V, by the truth.

        Asked at once: the twin forgets its moves after some hundreds.
        """
        world = self._rig.twin
        at_s = (true_ns - world.epoch_ns) * 1e-9
        volts = np.stack([world.mirror.volts(at_s + d) for d in (-0.0125, 0.0, 0.0195)])
        if self._private_v is None:
            self._private_v = volts[1]
        return float(np.abs(volts - self._private_v).max())


def soak(
    bundle: Any,
    minutes: float,
    settings: LiveSettings,
    every: int = 1,
    fault_every_s: float = 60.0,
    tell: Callable[[dict[str, Any]], None] = print,
) -> dict[str, Any]:
    """Run, then check; figures of both.

    Args:
        bundle: Opened bundle.
        minutes: Length, min.
        settings: Of the pipeline.
        every: Ask the slow recogniser of every so-many-th face (1: all).
        fault_every_s: Time from one fault to the next, s.
        tell: Called with the figures of the run, before identities are checked.
    """
    rng = random.Random(1)
    with temporary() as name:
        folder = Path(name)
        (folder / "sent").mkdir()
        config = config_at(folder)
        with Rig.open(config, only={"privacy", "mirror"}) as rig:
            rig.twin.prepare()
            with LivePipeline(bundle, rig, settings) as live:
                _wait_for_faces(live)
                with Keeper(live, rig, folder / "sent") as keeper:
                    others = OtherWork()
                    memory_mb, faults = _run(rig, live, minutes, fault_every_s, rng)
                    others_share = others.share()
                status = live.status()
            figures = _of_the_run(minutes, status, keeper.kept)
            figures |= {"faults": faults, "memory_mb": memory_mb}
            figures["share_of_two_cores_by_others"] = others_share
            figures |= _checked(keeper.kept)
            tell(figures)
            faces = [
                Sent(folder / "sent" / k.file, (k.true_ns - rig.twin.epoch_ns) * 1e-9)
                for k in keeper.kept
                if not k.blank
            ]
            figures["identity"] = identity(rig.twin.scene, faces, every)
    return figures


def _of_the_run(minutes: float, status: Any, kept: list[Kept]) -> dict[str, Any]:
    sent = status.stages["captured_to_sent"]
    return {
        "minutes": minutes,
        "engine": status.engine,
        "bundle": status.bundle,
        "fps": round(len(kept) / (60 * minutes), 2),
        "faces": sum(not k.blank for k in kept),
        "cards": dict(Counter(k.why for k in kept if k.blank)),
        "failures": dict(status.failures),
        "camera": {"received": status.camera.received, "lost": status.camera.lost,
                   "skipped": status.camera.skipped, "reopened": status.camera.reopened},
        "captured_to_sent_ms_p50_p95_p99": [
            round(v, 1) for v in (sent.p50_ms, sent.p95_ms, sent.p99_ms)
        ],
        "threads_left": threading.active_count(),
    }  # fmt: skip


def _wait_for_faces(live: LivePipeline) -> None:
    deadline = time.monotonic() + 300
    number = 0
    while time.monotonic() < deadline:
        frame = live.wait(number, 1.0)
        if frame is not None:
            number = frame.number
            if not frame.blank or frame.why.value in ("no face", "unsure"):
                return
    raise SystemExit(f"nothing is shown: {live.latest().reason}")


def _run(
    rig: Rig, live: LivePipeline, minutes: float, fault_every_s: float, rng: random.Random
) -> tuple[list[float], int]:
    end_s = time.monotonic() + 60 * minutes
    period_s = min(fault_every_s, 60 * minutes / 4)
    next_s = time.monotonic() + 0.5 * period_s
    memory, faults = [], 0
    while time.monotonic() < end_s:
        time.sleep(0.25)
        memory.append(_resident_mb())
        if time.monotonic() >= next_s:
            kind, device, for_s = FAULTS[faults % len(FAULTS)]
            value = rng.uniform(-30, 30) if kind is FaultKind.CLOCK_JUMP else 0.0
            at_s = rig.twin.now_s() + rng.uniform(0.0, 0.05)
            fault = Fault(kind=kind, device=device, at_s=at_s, for_s=for_s, value=value)
            rig.twin.faults.inject(fault)
            faults += 1
            next_s += period_s
    tenths = np.array_split(np.array(memory), min(10, len(memory)))
    return [round(float(np.median(tenth)), 1) for tenth in tenths], faults


def _checked(kept: list[Kept]) -> dict[str, Any]:
    exposed = sum(k.off_v > PRIVATE_V for k in kept)
    gaps = np.diff([k.out_s for k in kept])
    return {
        "sent_while_the_mirror_was_elsewhere": exposed,
        "longest_gap_s": round(float(gaps.max()), 2) if len(gaps) else None,
        "gaps_over_2_s": int((gaps > 2.0).sum()),
    }


def _resident_mb() -> float:
    """Memory of this process's own; pages of the twin's clip, mapped from disk, do not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    raise SystemExit("this system does not tell RssAnon")
