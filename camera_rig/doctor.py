"""Checks that tell whether this rig could record now, and what to mend if not.

Each check is a small function that returns findings; ``rig doctor`` prints them,
and other commands use the same ones before they start.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from camera_rig.clock import SystemClock
from camera_rig.config import RigConfig
from camera_rig.errors import GatheredError, RigError
from camera_rig.rig import Rig

__all__ = ["Finding", "Verdict", "examine"]

_PROBE_BYTES = 32 * 1024 * 1024
_WANTED_MB_PER_S = 20.0
_HOLDERS = ("gvfs-gphoto2-volume-monitor", "gvfsd-gphoto2", "gphoto2", "darktable", "entangle")
_CANON_VENDOR = "04a9"
_DRIVER_NEEDS = {
    "canon": ("gphoto2", "canon"),
    "apt": ("thorlabs_apt_device", "stage"),
    "serial": ("serial", ""),
    "uvc": ("cv2", ""),
}


class Verdict(StrEnum):
    """How grave a finding is: ``fail`` means that the rig could not record now."""

    OK = "ok"
    NOTE = "note"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Args:
        area: What was looked at, e.g. ``mirror`` or ``disk``.
        verdict: How grave it is.
        text: What was found.
        hint: What to do about it; empty when nothing is to be done.
    """

    area: str
    verdict: Verdict
    text: str
    hint: str = ""


def examine(config: RigConfig, *more: Callable[[Rig], Iterator[Finding]]) -> list[Finding]:
    """Run every check on a configuration; opens and closes its devices, moves nothing.

    Args:
        config: The rig.
        more: Further checks, run while its devices are open.
    """
    return [
        *_check_python(),
        *_check_libraries(config),
        *_check_permissions(config),
        *_check_holders(config),
        *_check_devices(config, more),
        *_check_disk(config),
        *_check_clock(),
        *_check_keys(config),
    ]


def _check_python() -> Iterator[Finding]:
    text = f"Python {sys.version.split()[0]} on {sys.platform}"
    yield Finding("python", Verdict.OK, text)


def _check_libraries(config: RigConfig) -> Iterator[Finding]:
    for role, entry in config.devices.items():
        module, extra = _DRIVER_NEEDS.get(entry.driver, ("", ""))
        if not module:
            continue
        if importlib.util.find_spec(module) is None:
            install = f"camera-rig[{extra}]" if extra else module
            grave = Verdict.FAIL if entry.required else Verdict.NOTE
            yield Finding(role, grave, f"needs the package {module!r}", f'pip install "{install}"')
        else:
            yield Finding(role, Verdict.OK, f"{module} {_version(module)}")


def _version(module: str) -> str:
    for name in (module, module.replace("_", "-"), {"cv2": "opencv-python"}.get(module, "")):
        try:
            return version(name) if name else "found"
        except PackageNotFoundError:
            continue
    return "found"


def _check_permissions(config: RigConfig) -> Iterator[Finding]:
    """Look whether this user may talk to the serial ports and to Canon's USB nodes."""
    for role, entry in config.devices.items():
        port = str(getattr(entry.options, "port", ""))
        is_node = port.startswith("/") and Path(port).exists()
        if is_node and not os.access(port, os.R_OK | os.W_OK):
            hint = "add yourself to the group that owns it (often dialout), log in again"
            yield Finding(role, Verdict.FAIL, f"may not open {port}", hint)
    if any(entry.driver == "canon" for entry in config.devices.values()):
        for node in _usb_nodes(_CANON_VENDOR):
            if not os.access(node, os.R_OK | os.W_OK):
                hint = "install libgphoto2's udev rules, then plug the camera in again"
                yield Finding("camera", Verdict.FAIL, f"may not open {node}", hint)


def _usb_nodes(vendor: str) -> Iterator[Path]:
    for found in Path("/sys/bus/usb/devices").glob("*/idVendor"):
        if found.read_text(encoding="ascii").strip() == vendor:
            bus = int((found.parent / "busnum").read_text(encoding="ascii"))
            number = int((found.parent / "devnum").read_text(encoding="ascii"))
            yield Path(f"/dev/bus/usb/{bus:03d}/{number:03d}")


def _check_holders(config: RigConfig) -> Iterator[Finding]:
    """Look for programs that are known to grab a camera before we can."""
    if not any(entry.driver == "canon" for entry in config.devices.values()):
        return
    found = sorted({name for name in _process_names() if name in _HOLDERS})
    for name in found:
        yield Finding(
            "camera",
            Verdict.NOTE,
            f"{name} is running and may hold the camera",
            f"stop it: `pkill -f {name}` (desktop: switch off automatic mounting of cameras)",
        )
    if not found:
        yield Finding("camera", Verdict.OK, "no program is known to hold the camera")


def _process_names() -> Iterator[str]:
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            first = command.read_bytes().split(b"\0", 1)[0]
        except OSError:
            continue  # the process ended while we looked
        yield Path(os.fsdecode(first)).name


def _check_devices(
    config: RigConfig, more: tuple[Callable[[Rig], Iterator[Finding]], ...]
) -> Iterator[Finding]:
    try:
        with Rig.open(config) as rig:
            snapshot = rig.snapshot()
            further = [finding for check in more for finding in check(rig)]
    except GatheredError as error:
        for role, one in error.errors:
            yield Finding(role, Verdict.FAIL, one.message, one.hint)
        return
    except RigError as error:
        yield Finding("devices", Verdict.FAIL, error.message, error.hint)
        return
    for role, info in snapshot.devices.items():
        health = snapshot.health[role]
        text = f"{info.model} {info.serial} ({info.driver} {info.firmware})".rstrip(" )") + ")"
        yield Finding(role, Verdict.OK if health.ok else Verdict.FAIL, text)
        for warning in health.warnings:
            yield Finding(role, Verdict.NOTE, warning)
    for role, absent in snapshot.absent.items():
        yield Finding(role, Verdict.NOTE, f"absent: {absent.message}", absent.hint)
    yield from further


def _check_disk(config: RigConfig) -> Iterator[Finding]:
    root = config.storage.root
    folder = next(path for path in (root, *root.resolve().parents) if path.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    enough = free_gb >= config.storage.min_free_gb
    yield Finding(
        "disk",
        Verdict.OK if enough else Verdict.FAIL,
        f"{free_gb:.1f} GB free for {root}",
        "" if enough else f"free space: {config.storage.min_free_gb:g} GB are required",
    )
    try:
        speed = _write_mb_per_s(folder)
    except OSError as error:
        yield Finding(
            "disk",
            Verdict.FAIL,
            f"cannot write to {folder}: {error.strerror}",
            "set storage.root to a folder you may write",
        )
        return
    slow = speed < _WANTED_MB_PER_S
    yield Finding(
        "disk",
        Verdict.NOTE if slow else Verdict.OK,
        f"writes {speed:.0f} MB/s, flushed to the device",
        "record to a faster disk; frames will queue up" if slow else "",
    )


def _write_mb_per_s(folder: Path) -> float:
    block = os.urandom(1024 * 1024)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".rig-doctor-") as file:
        start_s = time.perf_counter()
        for _ in range(_PROBE_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return _PROBE_BYTES / 1e6 / (time.perf_counter() - start_s)


def _check_clock() -> Iterator[Finding]:
    """Measure the smallest step of the monotonic clock and how long a sleep overshoots."""
    clock = SystemClock()
    steps = []
    for _ in range(200):
        first = clock.now_ns()
        while (second := clock.now_ns()) == first:
            continue
        steps.append(second - first)
    over_ms = []
    for _ in range(20):
        begin_ns = clock.now_ns()
        clock.sleep(0.001)
        over_ms.append((clock.now_ns() - begin_ns) * 1e-6 - 1.0)
    worst_ms = max(over_ms)
    coarse = min(steps) > 1_000_000
    yield Finding(
        "clock",
        Verdict.NOTE if coarse or worst_ms > 5 else Verdict.OK,
        f"steps of {min(steps)} ns, a sleep of 1 ms ends up to {worst_ms:.2f} ms late",
        "the machine is busy: close other programs before recording" if worst_ms > 5 else "",
    )


def _check_keys(config: RigConfig) -> Iterator[Finding]:
    public = config.storage.keys / "lab-public.json"
    if public.is_file():
        yield Finding("keys", Verdict.OK, f"the lab's public key is in {config.storage.keys}")
    elif config.simulated:
        yield Finding("keys", Verdict.OK, "none yet; the first simulated take makes one")
    else:
        yield Finding(
            "keys",
            Verdict.FAIL,
            f"no lab key in {config.storage.keys}: sharp frames could not be encrypted",
            "make one with `rig data keys init`",
        )
