"""The live view: what a frame costs, how long it takes, beside deface; and a soak.

    python benchmarks/live.py cost --bundle models/default_bundle --presets live
    python benchmarks/live.py live --bundle models/default_bundle --seconds 60
    python benchmarks/live.py peer --bundle models/default_bundle
    python benchmarks/live.py glass --seconds 30
    python benchmarks/live.py soak --bundle models/default_bundle --minutes 60

========  =====================================================================
cost      core-ms a frame of every stage and engine, one thread, from JPEG to JPEG
live      the four threads on 1080p MJPEG at 30 fps, alone and while 2 x 1080p30 is
          recorded: fps, latency, share of the machine
peer      deface 1.5.0 (``pip install deface==1.5.0``) at its defaults and at
          ``--scale 640x360`` beside this, same pictures, one run, finding the face included
glass     from drawing to pixels on the page in Chromium, by a clock in the picture
soak      a fault every minute; every frame sent is checked against the truth
========  =====================================================================

Core-ms are processor time of this process, which a busy neighbour changes by 5-10 %; fps,
latency and share need a quiet machine (``load_1min`` stands beside them). Goals: a frame
for at most half of deface's core-ms at 640x480; capture to JPEG p50 <= 25 ms, p95 <= 40 ms;
30 fps while recording, at most 40 % of two cores. Pictures are of synthetic heads. Each
section writes its part of ``benchmarks/results/live.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import _live_rigs as rigs  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "live.json"
SIZES = {"1080p": (1920, 1080), "960x640": (960, 640), "640x480": (640, 480)}
_ROUNDS, _PEER_ROUNDS = 20, 10


def cost(args: argparse.Namespace) -> dict[str, Any]:
    """Core-ms of every stage, for every engine of every bundle."""
    work = rigs.workplace()
    frames = {name: rigs.record_frames(work, SIZES[name]) for name in args.sizes}
    return {
        bundle.card.name: {
            size: {name: _cost_of(bundle, engine, places) for name, engine in engines.items()}
            for size, places in frames.items()
        }
        for bundle in _bundles(args, frames[args.sizes[0]])
        for engines in (_engines(bundle),)
    }


def _cost_of(bundle: Any, engine: Any, places: dict[str, Path]) -> dict[str, float]:
    """Median core-ms of one frame, following a head, from the camera's JPEG to ours."""
    from camera_rig.contracts import Frame
    from camera_rig.jpeg import coded_rgb
    from models.runtime.live_data import PrivacyFrame
    from models.runtime.watch import Stated

    core, clock = _core(bundle)
    engine = _sure(engine, bundle)
    times: dict[str, list[float]] = {}
    coded = rigs.jpegs(places["privacy"])
    for n in range(_ROUNDS):
        clock.advance(33_333_333)
        now_ns = clock.now_ns()
        begin_s = time.process_time()
        sent = Frame(coded_rgb(coded[n % len(coded)]), "cost", n, now_ns, 0, 0.02)
        frame = PrivacyFrame(sent, "cost", now_ns, core.shrink_for(sent.size[0]))
        decode_s = time.process_time()
        painting = core.paint(frame, engine)
        painted_s = time.process_time()
        shown, _ = core.show(painting, Stated(), None)
        _ = shown.jpeg
        end_s = time.process_time()
        if shown.blank:
            raise SystemExit(f"the cost of a card is no figure: {shown.reason}")
        told = {"decode": decode_s - begin_s, "paint": painted_s - decode_s}
        told |= {"compose_and_encode": end_s - painted_s, "whole": end_s - begin_s}
        told |= {f"of_paint_{k}": v[1] * 1e-3 for k, v in painting.spent.items() if v[1] > 0}
        for name, value_s in told.items():
            times.setdefault(name, []).append(1e3 * value_s)
    return {name: round(float(np.median(v[3:])), 2) for name, v in times.items()}


def _sure(engine: Any, bundle: Any) -> Any:
    """The engine of a trained bundle, or one that finds a face for an untrained one."""
    untrained = bundle.card.name.startswith("speed-")
    return _Sure(engine, bundle.card.sizes.size_px) if untrained else engine


class _Sure:
    """An engine whose answer always holds a face, at the full cost of the real one.

    Untrained networks find no head, and a pipeline that searches does other work.
    """

    def __init__(self, engine: Any, size_px: int) -> None:
        import torch

        from models.heatmaps import IBUG68, draw_targets
        from tests.runtime.live_rig import FACE

        self._engine, self.name = engine, engine.name
        places = torch.from_numpy((FACE + 0.5) * size_px - 0.5).float()[None]
        self._maps = draw_targets(places, IBUG68, size_px).numpy()
        self._faces = np.random.default_rng(0).random((1, 3, size_px, size_px), np.float32)

    def __call__(self, frames: Any, style: Any) -> tuple[Any, Any]:
        self._engine(frames, style)
        return self._faces, self._maps


def _core(bundle: Any) -> tuple[Any, Any]:
    import torch

    from camera_rig.clock import ManualClock
    from camera_rig.config import load_config
    from models.runtime.core import LiveCore
    from models.runtime.live_data import LiveSettings

    torch.set_num_threads(1)
    clock = ManualClock(start_ns=1)
    bench = load_config("simulated").bench
    return LiveCore(bundle, bench, clock, LiveSettings(height_px=256)), clock


def _engines(bundle: Any) -> dict[str, Any]:
    """Every engine that runs this bundle and agrees with torch."""
    from camera_rig.errors import StateError
    from models.runtime.pick import pick_engine

    found = {}
    for wanted in ("torch", "onnx", "openvino"):
        for int8 in (False, True):
            try:
                choice = pick_engine(bundle, wanted, int8=int8)
            except StateError as error:
                print(f"{bundle.card.name}, {wanted}: {error.message}")
                continue
            found[choice.engine.name] = choice.engine
    return found


def _bundles(args: argparse.Namespace, places: dict[str, Path]) -> list[Any]:
    from models.runtime.bundle import open_bundle

    work = rigs.workplace()
    given = [open_bundle(folder) for folder in args.bundle]
    crops = rigs.crops_of(places, work)
    return given + [rigs.speed_bundle(work, preset, crops) for preset in args.presets]


def live(args: argparse.Namespace) -> dict[str, Any]:
    """The four threads on 1080p MJPEG at 30 fps, alone, and while takes are recorded."""
    places = rigs.record_frames(rigs.workplace(), SIZES["1080p"])
    bundle = _bundles(args, places)[0]
    return {
        "bundle": bundle.card.name,
        "alone": _run_live(bundle, places, args, record=False),
        "while_recording_2x1080p30": _run_live(bundle, places, args, record=True),
    }


def _run_live(
    bundle: Any, places: dict[str, Path], args: argparse.Namespace, *, record: bool
) -> dict[str, Any]:
    from contextlib import ExitStack

    from camera_rig.rig import Rig
    from models.runtime import live as pipelines
    from models.runtime.live import LivePipeline, LiveSettings
    from models.runtime.pick import EngineChoice, pick_engine

    choice = pick_engine(bundle, args.engine)
    fixed = EngineChoice(_sure(choice.engine, bundle), choice.times_ms, choice.passed_over)
    pipelines.pick_engine = lambda *_, **__: fixed
    with rigs.temporary() as name, ExitStack() as stack:
        config = rigs.replay_config(Path(name), places)
        roles = {"privacy", "mirror"} | ({"side"} if record else set())
        rig = stack.enter_context(Rig.open(config, only=roles))
        live = stack.enter_context(LivePipeline(bundle, rig, LiveSettings(height_px=256)))
        taken: dict[str, Any] = {}
        recorder = threading.Thread(target=_record, args=(live, rig, Path(name), args, taken))
        if record:
            recorder.start()
        _first_face(live)
        begin = live.status()
        others = rigs.OtherWork()
        wall_s, core_s = time.perf_counter(), time.process_time()
        frames = faces = number = 0
        while time.perf_counter() - wall_s < args.seconds:
            frame = live.wait(number, 0.5)
            if frame is not None:
                number, frames, faces = frame.number, frames + 1, faces + (not frame.blank)
                _ = frame.jpeg
                live.note_sent(frame)
        wall_s, core_s = time.perf_counter() - wall_s, time.process_time() - core_s
        status, others_share = live.status(), others.share()
        if record:
            recorder.join()
    return {
        "engine": status.engine,
        "share_of_two_cores_by_others": others_share,
        "fps": round(frames / wall_s, 2),
        "faces": faces,
        "skipped": status.camera.skipped - begin.camera.skipped,
        "share_of_two_cores": round(core_s / wall_s / 2, 3),
        "core_ms_per_face": round(1e3 * core_s / max(faces, 1), 1),
        "stages_ms": {
            name: [round(v, 1) for v in (f.p50_ms, f.p95_ms, f.p99_ms, f.core_p50_ms)]
            for name, f in status.stages.items()
        },
        "stages_are": "p50, p95, p99, core p50",
        "blanks": dict(status.blanks),
        **taken,
    }


def _first_face(live: Any) -> None:
    number, deadline = 0, time.monotonic() + 120
    while time.monotonic() < deadline:
        frame = live.wait(number, 1.0)
        if frame is not None:
            number = frame.number
            if not frame.blank:
                return
    raise SystemExit(f"no face in two minutes: {live.latest().reason}")


def _record(
    live: Any, rig: Any, folder: Path, args: argparse.Namespace, out: dict[str, Any]
) -> None:
    from camera_rig.recording.plan import TakePlan
    from camera_rig.recording.recorder import Recorder
    from camera_rig.recording.store import DataStore

    store = DataStore(folder / "data", folder / "keys")
    permit = rigs.permit_of_nobody(store)
    plan = TakePlan(duration_s=args.seconds + 5.0, warm_up_s=1.0, min_free_gb=0)
    cameras = {"privacy": rig.privacy, "side": rig.side}
    with live.shared_camera():
        with Recorder(cameras, rig.clock, plan, guard=live.mirror_why_not) as recorder:
            recorder.warm_up()
            report = recorder.record(permit, store.takes)
    totals = report.seal.totals
    out["recorded_pairs"], out["recording_dropped"] = totals.pairs, sum(totals.dropped.values())


def peer(args: argparse.Namespace) -> dict[str, Any]:
    """deface beside this, on pictures of one size, one run; finding the face included."""
    try:
        from deface.centerface import CenterFace
        from deface.deface import anonymize_frame
    except ImportError as error:
        raise SystemExit("pip install deface==1.5.0 for this section") from error
    work = rigs.workplace()
    out: dict[str, Any] = {}
    for name in ("640x480", "1080p"):
        places = rigs.record_frames(work, SIZES[name])
        rows: dict[str, Any] = {}
        for label, shape in (("defaults", None), ("--scale 640x360", (640, 360))):
            detector = CenterFace(in_shape=shape, backend="onnxrt")
            sharp = rigs.jpegs(places["side"])
            rows[f"deface {label}"] = _deface_cost(detector, anonymize_frame, sharp)
        for bundle in _bundles(args, places):
            for engine_name, engine in _engines(bundle).items():
                ours = _cost_of(bundle, engine, places)
                row = {"whole": ours["whole"], "without_codec": ours["paint"]}
                base = rows["deface defaults"]["whole"]
                row["ratio_to_defaults"] = round(ours["whole"] / base, 3)
                scaled = rows["deface --scale 640x360"]["whole"]
                row["ratio_to_scaled"] = round(ours["whole"] / scaled, 3)
                rows[f"{bundle.card.name}, {engine_name}"] = row
        out[name] = rows
    out["note"] = (
        "core-ms a frame from JPEG to JPEG. deface detects on the sharp camera's picture and "
        "blurs; this finds, follows and paints a face on the privacy camera's."
    )
    return out


def _deface_cost(detector: Any, anonymize: Any, coded: list[bytes]) -> dict[str, float]:
    times, found = [], 0
    for n in range(_PEER_ROUNDS):
        begin_s = time.process_time()
        frame = rigs.decoded(coded[n % len(coded)]).copy()
        dets, _ = detector(frame, threshold=0.2)
        anonymize(
            dets, frame, mask_scale=1.3, replacewith="blur", ellipse=True,
            draw_scores=False, replaceimg=None, mosaicsize=20,
        )  # fmt: skip
        cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        times.append(1e3 * (time.process_time() - begin_s))
        found += len(dets) > 0
    return {"whole": round(float(np.median(times[2:])), 1), "frames_with_a_face": found}


def soak(args: argparse.Namespace) -> dict[str, Any]:
    """A fault every minute, everything sent kept and checked."""
    from _live_soak import soak as run

    from models.runtime.bundle import open_bundle
    from models.runtime.live import LiveSettings

    settings = LiveSettings(height_px=256, engine=args.engine, max_age_s=args.max_age)
    return run(
        open_bundle(args.bundle[0]),
        args.minutes,
        settings,
        args.check_every,
        args.fault_every,
        lambda figures: keep("soak", {**figures, "identity": "not checked yet"}),
    )


def glass(args: argparse.Namespace) -> dict[str, Any]:
    """How old a picture is once a browser has painted it."""
    from _live_glass import glass as run

    found: dict[str, Any] = {}
    for name in ("640x480", "1280x720"):
        width, height = (int(n) for n in name.split("x"))
        others = rigs.OtherWork()
        found[name] = run((width, height), args.seconds)
        found[name]["share_of_two_cores_by_others_and_browser"] = others.share()
    return found


SECTIONS = {"cost": cost, "live": live, "peer": peer, "glass": glass, "soak": soak}


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("section", choices=list(SECTIONS))
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    parser.add_argument("--presets", nargs="*", default=[], help="untrained bundles, for speed")
    parser.add_argument("--sizes", nargs="*", default=["1080p", "640x480"], choices=list(SIZES))
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--max-age", type=float, default=0.4)
    parser.add_argument("--fault-every", type=float, default=60.0, help="s, of the soak")
    parser.add_argument("--check-every", type=int, default=1)
    args = parser.parse_args(words)
    if not args.bundle and not args.presets:
        args.presets = ["live"]
    start_s = time.perf_counter()
    figures = SECTIONS[args.section](args)
    figures["wall_s"] = round(time.perf_counter() - start_s, 1)
    figures["load_1min"] = round(os.getloadavg()[0], 1)
    print(args.section, json.dumps(figures, indent=1))
    keep(args.section, figures)


def keep(section: str, figures: dict[str, Any]) -> None:
    """Write the figures of one section beside those of the others."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.python_version()}"
    found |= {"machine": machine, section: figures}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
