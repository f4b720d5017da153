"""What the device drivers hold under load, against emulated devices that speak the real protocols.

Run ``python benchmarks/cameras.py [SECTION ...]``; without a section all run. Each
writes its part of ``benchmarks/results/cameras.json``.

========  =====================================================================
stream    two bodies live for MINUTES (default 10): rate against the body's own
          rate (the physical floor), gaps, copies and CPU per frame
kill      kill -9 of one worker: time until it is back, rate of the other one
stills    500 stills with random busy answers: names, losses, memory slope
unplug    cable pulled, body back on another port: time until found by serial
stage     200 random moves with lost and disordered replies
light     link cut in mid-pulse: time until the box is dark
========  =====================================================================

Figures come from emulated bodies on loopback: they show what the software adds and
what it survives, not what a real camera or cable does.
"""

from __future__ import annotations

import json
import os
import platform
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camera_rig.clock import SystemClock
from camera_rig.contracts import CameraMode, CameraSettings, DeviceContext
from camera_rig.drivers.canon import CanonCamera, CanonOptions
from camera_rig.peers import PeerProcess
from camera_rig.peers.m50 import M50Options

RESULTS = Path(__file__).parent / "results" / "cameras.json"
SERIALS = ("663000000001", "663000000002")
TICK = os.sysconf("SC_CLK_TCK")


def canon(name: str, serial: str, ports: tuple[str, ...]) -> CanonCamera:
    return CanonCamera(CanonOptions(serial=serial, ports=ports), DeviceContext(name, SystemClock()))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def two_bodies(**options: Any) -> tuple[PeerProcess, PeerProcess]:
    first, second = (PeerProcess("m50", M50Options(serial=s, **options)) for s in SERIALS)
    return first, second


def stream(minutes: float = 10.0) -> dict[str, Any]:
    peers = two_bodies(fps=30.0)
    ports = tuple(peer.address["port"] for peer in peers)
    cameras = [canon(f"cam{i}", serial, ports) for i, serial in enumerate(SERIALS)]
    for camera in cameras:
        camera.open()
        camera.configure(CameraSettings(size=(1024, 576)))
        camera.start()
    for _ in range(100):  # the emulated bodies draw their pictures once
        for camera in cameras:
            camera.next_frame(5.0)
    before = [peer.tell("stats") for peer in peers]
    began_s = time.monotonic()
    cpu_began_s = [cpu_s(camera.worker_pid) for camera in cameras]
    own_began_s = time.process_time()
    handed = [0, 0]
    times: list[list[int]] = [[], []]
    sizes = [0, 0]
    lost = [0, 0]
    while time.monotonic() - began_s < minutes * 60:
        for i, camera in enumerate(cameras):
            frame = camera.next_frame(5.0)
            handed[i] += 1
            lost[i] += int(frame.meta.get("lost_before", 0))
            times[i].append(frame.captured_ns)
            sizes[i] += len(frame.encoded or b"")
    took_s = time.monotonic() - began_s
    own_s = time.process_time() - own_began_s
    rows = []
    for i, camera in enumerate(cameras):
        worker_s = cpu_s(camera.worker_pid) - cpu_began_s[i]
        health = camera.health().readings
        camera.stop()
        after = peers[i].tell("stats")
        made = after["live"] - before[i]["live"]
        gaps_ms = [(b - a) * 1e-6 for a, b in zip(times[i], times[i][1:], strict=False)]
        rows.append(
            {
                "serial": SERIALS[i],
                "frames": handed[i],
                "fps": round(handed[i] / took_s, 3),
                "ratio_to_body_rate": round(handed[i] / took_s / 30.0, 4),
                "sequence_gaps": lost[i],
                "skipped_in_body": after["live_skipped"] - before[i]["live_skipped"],
                "fetched_from_body": made,
                "fetched_not_handed_out": made - handed[i],
                "restarts": health["restarts"],
                "interval_ms_p50": round(statistics.median(gaps_ms), 2),
                "interval_ms_p99": round(statistics.quantiles(gaps_ms, n=100)[98], 2),
                "interval_ms_max": round(max(gaps_ms), 2),
                "jpeg_kB": round(sizes[i] / handed[i] / 1000, 1),
                "worker_cpu_ms_per_frame": round(worker_s * 1000 / handed[i], 3),
            }
        )
    for device in (*cameras, *peers):
        device.close()
    return {
        "minutes": minutes,
        "cameras": rows,
        "owner_cpu_ms_per_frame_with_decoding": round(own_s * 1000 / sum(handed), 3),
        "copies_per_frame": {"worker": 1, "owner": 1, "what": "encoded bytes, then one decode"},
    }


def kill() -> dict[str, Any]:
    peers = two_bodies(fps=30.0)
    ports = tuple(peer.address["port"] for peer in peers)
    victim, witness = (canon(n, s, ports) for n, s in zip("ab", SERIALS, strict=True))
    back, rates = [], []
    with victim, witness:
        for camera in (victim, witness):
            camera.configure(CameraSettings(size=(1024, 576)))
            camera.start()
        for _ in range(10):
            for _ in range(45):
                victim.next_frame(5.0)
                witness.next_frame(5.0)
            os.kill(victim.worker_pid, signal.SIGKILL)
            killed_s, seen, restarts = time.monotonic(), 0, len(back)
            while victim.health().readings["restarts"] == restarts:
                witness.next_frame(5.0)
                seen += 1
            rates.append(seen / (time.monotonic() - killed_s))
            while "restart" not in (frame := victim.next_frame(5.0)).meta:
                pass
            back.append(frame.meta["restart"] | {"lost_before": frame.meta["lost_before"]})
    for peer in peers:
        peer.close()
    gaps = [row["gap_s"] for row in back]
    return {
        "kills": len(back),
        "gap_s_median": round(statistics.median(gaps), 3),
        "gap_s_max": round(max(gaps), 3),
        "limit_s": 3.0,
        "gaps_recorded_frames": [row["lost_before"] for row in back],
        "fps_of_the_other_min": round(min(rates), 2),
        "fps_of_the_other_median": round(statistics.median(rates), 2),
    }


def stills(count: int = 500) -> dict[str, Any]:
    options = M50Options(serial=SERIALS[0], busy_chance=0.2, seed=7, still_size=(1500, 1000))
    names, bodies_names, busy, latency, memory = set(), [], 0, [], []
    with PeerProcess("m50", options) as peer:
        with canon("side", SERIALS[0], (peer.address["port"],)) as camera:
            camera.configure(CameraSettings(mode=CameraMode.STILL, exposure_s=1 / 125))
            for i in range(count):
                frame = camera.snap()
                names.add(frame.meta["name"])
                bodies_names.append(frame.meta["camera_name"])
                busy += int(frame.meta["busy_answers"])
                latency.append(frame.meta["command_to_frame_s"])
                if i >= count // 5 and i % 10 == 0:
                    memory.append((i, rss_mb(camera.worker_pid)))
            restarts = camera.health().readings["restarts"]
        stats = peer.tell("stats")
    x, y = zip(*memory, strict=True)
    slope = statistics.linear_regression(x, y).slope
    return {
        "stills": count,
        "taken_by_body": stats["stills"],
        "unique_names": len(names),
        "busy_answers_survived": busy,
        "restarts": restarts,
        "worker_rss_mb_first": round(y[0], 1),
        "worker_rss_mb_last": round(y[-1], 1),
        "worker_rss_kB_per_still": round(slope * 1024, 2),
        "command_to_frame_s_median": round(statistics.median(latency), 3),
        "command_to_frame_s_p95": round(statistics.quantiles(latency, n=20)[18], 3),
    }


def unplug() -> dict[str, Any]:
    peers = two_bodies(fps=30.0)
    spare = [free_port() for _ in range(3)]
    ports = tuple(p.address["port"] for p in peers) + tuple(f"ptpip:127.0.0.1:{n}" for n in spare)
    rows = []
    with canon("privacy", SERIALS[1], ports) as camera:
        camera.start()
        for number in spare:
            for _ in range(30):
                camera.next_frame(5.0)
            peers[1].tell("unplug")
            away_s = random.Random(number).uniform(0.2, 1.0)
            time.sleep(away_s)
            peers[1].tell(f"plug {number}")
            plugged_s = time.monotonic()
            while "restart" not in (frame := camera.next_frame(20.0)).meta:
                pass
            rows.append(
                {
                    "back_after_plugging_s": round(time.monotonic() - plugged_s, 3),
                    "serial": frame.camera,
                    "moved_port": camera.port.endswith(str(number)),
                    "gap_recorded_frames": frame.meta["lost_before"],
                }
            )
    for peer in peers:
        peer.close()
    return {"moves": rows}


def stage(moves: int = 200) -> dict[str, Any]:
    from camera_rig.drivers.apt_stage import AptStage, AptStageOptions
    from camera_rig.errors import StateError
    from camera_rig.peers.apt import AptOptions

    chance = random.Random(11)
    errors_um, took_s, halted_mm = [], [], []
    with PeerProcess("apt", AptOptions()) as peer:
        options = AptStageOptions(
            serial="27000001",
            port=peer.address["port"],
            counts_per_mm=34304,
            limits_mm=(0.0, 50.0),
        )
        with AptStage(options, DeviceContext("stage", SystemClock())) as device:
            for i in range(moves):
                if i % 10 == 3:
                    peer.tell("lose 1")
                if i % 10 == 7:
                    peer.tell("stale 1")
                goal_mm, began_s = chance.uniform(0.0, 20.0), time.monotonic()
                got_mm = device.move_to(goal_mm, 20.0)
                took_s.append(time.monotonic() - began_s)
                errors_um.append(abs(got_mm - goal_mm) * 1000)
            for _ in range(5):
                device.move_to(0.0, 20.0)
                timer = threading.Timer(0.3, device.halt)
                timer.start()
                try:
                    device.move_to(50.0, 20.0)
                except StateError:
                    halted_mm.append(round(device.position_mm, 2))
                timer.join()
            readings = device.health().readings
        state = peer.tell("state")
    return {
        "moves": moves,
        "replies_lost_and_survived": readings["completions_lost"],
        "stale_replies_ignored": readings["completions_stale"],
        "worst_error_um": round(max(errors_um), 3),
        "move_s_median": round(statistics.median(took_s), 3),
        "halted_in_mid_move_at_mm": halted_mm,
        "homed_by_itself": state["homed"],
    }


def light(rounds: int = 20) -> dict[str, Any]:
    from camera_rig.drivers.serial_light import SerialLight, SerialLightOptions
    from camera_rig.peers.trigger_box import TriggerBoxOptions

    chance = random.Random(3)
    dark_s, trips_us = [], []
    with PeerProcess("trigger-box", TriggerBoxOptions()) as peer:
        options = SerialLightOptions(port=peer.address["port"], watchdog_s=0.5)
        for _ in range(rounds):
            device = SerialLight(options, DeviceContext("light", SystemClock()))
            device.open()
            device.set(1.0)
            trips_us.append(device.health().readings["round_trip_s"] * 1e6)
            device.pulse(10.0)
            time.sleep(chance.uniform(0.0, 0.3))
            peer.tell("unplug")
            cut_s = time.monotonic()
            while (state := peer.tell("state"))["output"] > 0:
                time.sleep(0.005)
            dark_s.append(state["dark_at_s"] - cut_s)
            device.close()
            peer.tell("plug")
        count = peer.tell("state")["dark_by_watchdog"]
    return {
        "cuts_in_mid_pulse": rounds,
        "dark_by_watchdog": count,
        "watchdog_s": options.watchdog_s,
        "dark_after_cut_s_median": round(statistics.median(dark_s), 3),
        "dark_after_cut_s_max": round(max(dark_s), 3),
        "round_trip_us_median": round(statistics.median(trips_us), 1),
    }


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def main(names: list[str]) -> None:
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "stream": lambda: stream(float(os.environ.get("MINUTES", "10"))),
        "kill": kill,
        "stills": stills,
        "unplug": unplug,
        "stage": stage,
        "light": light,
    }
    for name in names or list(sections):
        result = sections[name]()
        everything = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        everything[name] = result
        everything["machine"] = {"cores": os.cpu_count(), "python": platform.python_version()}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(everything, indent=2) + "\n")
        print(json.dumps({name: result}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
