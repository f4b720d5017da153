"""What a device on another host costs, and what it survives.

Run ``python benchmarks/remote.py [SECTION ...]``; without a section all run. Each writes
its part of ``benchmarks/results/remote.json``.

========  =====================================================================
latency   a question and a command over loopback against the same call without
          a network, and against a bare answer of the same HTTP server (floor)
cuts      10,000 commands of two rivals over a link that loses requests, loses
          answers and delivers twice, with clients that die in the middle
========  =====================================================================
"""

from __future__ import annotations

import json
import platform
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from camera_rig.bench import Bench
from camera_rig.clock import ManualClock, SystemClock
from camera_rig.contracts import DeviceContext
from camera_rig.drivers.remote import RemoteMirror, RemoteOptions
from camera_rig.errors import RigError, StateError
from camera_rig.server import DeviceHost, create_app, listen
from camera_rig.tokens import make_token, read_token
from camera_rig.twin.devices import TwinMirror
from camera_rig.twin.world import World, WorldOptions

RESULTS = Path(__file__).parent / "results" / "remote.json"
LEASE_S = 3.0


@contextmanager
def served(mirror: TwinMirror, clock: ManualClock) -> Iterator[tuple[DeviceHost, RemoteOptions]]:
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        make_token(token)
        host = DeviceHost(lambda: mirror, clock, LEASE_S)
        host.open()
        app = create_app(host, read_token(token))
        app.add_api_route("/bare", lambda: {"result": None})
        config = uvicorn.Config(app, log_level="error", lifespan="off")
        socket = listen("127.0.0.1", 0)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        try:
            yield host, RemoteOptions(url=url, token_file=token, attempts=8)
        finally:
            server.should_exit = True
            thread.join()
            host.close()
            socket.close()


def twin() -> tuple[TwinMirror, ManualClock]:
    """A twin whose settling costs no real time: what is left is the network."""
    clock = ManualClock()
    world = World(WorldOptions(), Bench(), clock)
    options = TwinMirror.Options.model_validate({"serial": "TWIN-1"})
    return TwinMirror(options, DeviceContext("mirror", clock, world)), clock


def quantiles(took_s: list[float]) -> dict[str, float]:
    ms = 1e3 * np.array(took_s)
    return {
        "p50_ms": round(float(np.percentile(ms, 50)), 3),
        "p99_ms": round(float(np.percentile(ms, 99)), 3),
    }


def timed(work: Any, count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return took


def latency(count: int = 1000) -> dict[str, Any]:
    mirror, clock = twin()
    command = np.full(40, 151.0)
    with served(mirror, clock) as (host, options):
        context = DeviceContext("mirror", SystemClock())
        with RemoteMirror(options, context) as remote, httpx.Client(trust_env=False) as plain:
            remote.apply(command)
            bare = timed(lambda: plain.get(f"{options.url}/bare"), count)
            question = timed(remote.read_back, count)
            order = timed(lambda: remote.apply(command), count)
            here = timed(lambda: host.ask(lambda: mirror.apply(command)), count)
    floor = float(np.median(bare))
    return {
        "bare answer of the HTTP server (floor)": quantiles(bare),
        "read_back, remote": quantiles(question),
        "apply, remote": quantiles(order),
        "apply, here": quantiles(here),
        "added by the network to apply, p50 ms": round(
            1e3 * float(np.median(order) - np.median(here)), 3
        ),
        "read_back over floor": round(float(np.median(question)) / floor, 2),
        "apply over floor": round(float(np.median(order)) / floor, 2),
        "count": count,
    }


class BadLink(httpx.BaseTransport):
    """Loses 5 % of requests, 5 % of answers, delivers 5 % twice."""

    def __init__(self, dice: random.Random) -> None:
        self.inner = httpx.HTTPTransport()
        self.dice = dice
        self.dead = False
        self.counts = {"ok": 0, "lost": 0, "cut": 0, "twice": 0}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.dead:
            raise httpx.ConnectError("dead", request=request)
        fate = self.dice.choices(["ok", "lost", "cut", "twice"], [85, 5, 5, 5])[0]
        self.counts[fate] += 1
        if fate == "lost":
            raise httpx.ConnectError("lost", request=request)
        if fate == "twice":
            self.inner.handle_request(request).read()
        reply = self.inner.handle_request(request)
        if fate == "cut":
            reply.read()
            raise httpx.ReadError("cut", request=request)
        return reply

    def close(self) -> None:
        self.inner.close()


def cuts(count: int = 10_000) -> dict[str, Any]:
    dice = random.Random(4)
    mirror, clock = twin()
    done: list[str] = []
    found = dict.fromkeys(
        ("commands", "deaths", "safe shape after a death", "rival refused while held"), 0
    )
    faults = {"ok": 0, "lost": 0, "cut": 0, "twice": 0}
    took: list[float] = []
    safe_v = np.full(40, 120.0)
    with served(mirror, clock) as (host, options):
        mirror.observers.append(lambda event: done.append(event.reason))
        asked: list[str] = []
        sitting = 0
        while found["commands"] < count:
            sitting += 1
            link = BadLink(dice)
            client = RemoteMirror(options, DeviceContext("mirror", ManualClock()), link)
            rival = RemoteMirror(options, DeviceContext("mirror", ManualClock()))
            client.open()
            rival.open()
            client.set_safe_command(safe_v)
            for number in range(dice.randrange(20, 200)):
                reason = f"{sitting}:{number}"
                asked.append(f"remote: {reason}")
                began = time.perf_counter()
                client.apply(np.full(40, dice.uniform(100, 200)), reason=reason)
                took.append(time.perf_counter() - began)
                found["commands"] += 1
                clock.advance(round(dice.uniform(0, 0.5) * 1e9))
                if number % 50 == 10:
                    try:
                        rival.apply(np.full(40, 111.0), reason="rival")
                    except StateError:
                        found["rival refused while held"] += 1
            if dice.random() < 0.5:
                # The client dies without a word: no beat, no release.
                link.dead = True
                clock.advance(round((LEASE_S + 0.1) * 1e9))
                host.ask(host.keeper.tick)
                found["deaths"] += 1
                found["safe shape after a death"] += int(np.array_equal(mirror.read_back(), safe_v))
            for each in (client, rival):
                try:
                    each.close()
                except RigError as error:
                    print("close:", error.message)
            host.ask(host.keeper.close)
            for fate, number in link.counts.items():
                faults[fate] += number
    ours = [reason for reason in done if reason.startswith("remote: ")]
    return {
        **found,
        "link": faults,
        "applied twice": len(ours) - len(set(ours)),
        "applied out of order or lost": int(ours != asked),
        "applied by a rival": sum(reason == "remote: rival" for reason in done),
        "apply over the bad link": quantiles(took),
    }


def main() -> None:
    sections = {"latency": latency, "cuts": cuts}
    wanted = sys.argv[1:] or list(sections)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["machine"] = {"python": platform.python_version(), "cpu": platform.machine()}
    for name in wanted:
        began = time.perf_counter()
        results[name] = sections[name]()
        results[name]["took_s"] = round(time.perf_counter() - began, 1)
        print(name, json.dumps(results[name], indent=1))
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
