"""Record one take on the digital twin, verify it, and look at its first pair.

Run ``python examples/record_a_take.py [FOLDER]``; no hardware, no consent, about half a minute.
"""

import sys
import time
from pathlib import Path

from camera_rig.clock import ManualClock
from camera_rig.recording.consent import permit_recording
from camera_rig.recording.plan import TakePlan
from camera_rig.recording.reading import Take, TakeReader
from camera_rig.recording.recorder import Recorder
from camera_rig.recording.recovery import verify
from camera_rig.recording.store import DataStore
from camera_rig.recording.vault import open_keys
from camera_rig.rig import Rig


def main(folder: Path) -> None:
    """Record, verify, read."""
    store = DataStore(folder / "data", folder / "keys")
    permit = permit_recording("T01", store.keys, store.consents, simulated=True)
    # A manual clock lets the twin take its time: no frame is lost on a slow computer.
    clock = ManualClock(wall_start_ns=time.time_ns())
    with Rig.open("simulated", clock=clock, only={"privacy", "side"}) as rig:
        cameras = {"privacy": rig.privacy, "side": rig.side}
        plan = TakePlan(duration_s=1.0, warm_up_s=0.5, min_free_gb=0)
        with Recorder(cameras, clock, plan) as recorder:
            recorder.warm_up()
            report = recorder.record(permit, store.takes)

    take = Take(report.folder)
    with open_keys(take.id, take.manifest.keys, store.access("example")) as keys:
        checked = verify(take.folder, keys)
        pair = next(TakeReader(take, keys).pairs())
    print(f"{take.id}: {len(take.pairs)} pairs, {checked.authenticated} frames authenticated")
    print(f"skew {pair.skew_ns * 1e-6:+.2f} ms ± {pair.uncertainty_ns * 1e-6:.2f} ms")
    print(f"problems: {', '.join(checked.problems) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "rig-data-example"))
