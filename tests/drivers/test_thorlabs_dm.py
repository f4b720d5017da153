"""The Thorlabs driver against a C library with the maker's prototypes, compiled here.

What passes here proves names, argument order, sizes, statuses and buffers; not what a
device does.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceContext
from camera_rig.drivers import _tldfm
from camera_rig.drivers._tldfm import Library, LibraryPlace, Out, find_libraries
from camera_rig.drivers.thorlabs_dm import ThorlabsMirror, ThorlabsOptions
from camera_rig.errors import (
    ConfigError,
    ConnectError,
    RigError,
    RigTimeoutError,
    SafetyError,
    StateError,
    UnsupportedError,
)
from tests.contract import Cable, MirrorContract

SHIM = Path(__file__).parent / "shim"
FORBIDDEN = {
    f"TLDFM_{name}"
    for name in (
        "set_device_configuration",
        "set_device_calibration",
        "set_hysteresis_parameters",
        "set_serial_number",
        "set_instrument_name",
        "set_access_level",
        "update_firmware",
        "set_user_text",
        "reset",
    )
} | {"TLDFMX_reset", "TLDFMX_set_pattern_range_check"}

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@pytest.fixture(scope="session")
def library_path(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("shim") / "libtldfm.so"
    flags = ["-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-O1"]
    subprocess.run(
        ["gcc", *flags, "-o", str(target), str(SHIM / "tldfm.c"), "-lm"], check=True, timeout=60
    )
    return target


class Shim:
    """The steering wheel of the compiled library."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.c = ctypes.CDLL(str(path))
        self.c.shim_set.argtypes = [ctypes.c_char_p, ctypes.c_double]
        self.c.shim_inject.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32]
        self.c.shim_reset()

    def set(self, key: str, value: float) -> None:
        assert self.c.shim_set(key.encode(), value) == 0

    def inject(self, function: str, status: int, after: int = 0) -> None:
        self.c.shim_inject(function.encode(), ctypes.c_int32(status).value, after)

    @property
    def volts(self) -> np.ndarray:
        out = (ctypes.c_double * 40)()
        self.c.shim_volts(out)
        return np.array(out[:])

    def mirror(self, **options) -> ThorlabsMirror:
        settings = ThorlabsOptions(base_library=self.path, extended_library=self.path, **options)
        return ThorlabsMirror(settings, DeviceContext("mirror", ManualClock()))


@pytest.fixture
def shim(library_path):
    shim = Shim(library_path)
    yield shim
    assert shim.c.shim_dangerous() == 0


def test_opens_reads_back_and_closes(shim):
    shim.set("after_init", 12.5)
    with shim.mirror() as mirror:
        assert mirror.info.serial == "M00000001" and mirror.info.model == "DMH40-P01"
        assert "1.1.1541.157" in mirror.info.driver and mirror.info.firmware == "1.2"
        assert mirror.actuators == 40
        assert np.array_equal(mirror.limits, np.tile([0.0, 300.0], (40, 1)))
        assert np.array_equal(mirror.read_back(), np.full(40, 12.5))
        assert np.array_equal(shim.volts, np.full(40, 12.5)), "opening moves nothing"
        assert mirror.compensates_hysteresis
        assert dict(mirror.temperatures_c()) == {
            "stage1": 30.0,
            "stage2": 31.0,
            "mirror": 32.0,
            "electronics": 33.0,
        }
    assert shim.c.shim_open() == 0
    assert np.array_equal(shim.volts, np.full(40, 150.0)), "parked before closing"


def test_limits_come_from_the_device_not_from_its_name(shim):
    shim.set("high", 200.0)
    with shim.mirror(park_on_close=False) as mirror:
        with pytest.raises(SafetyError, match="0 to 200 V"):
            mirror.apply(np.full(40, 201.0))
        mirror.apply(np.full(40, 200.0))


@pytest.mark.parametrize(
    "command",
    [np.full(40, np.nan), np.full(40, 301.0), np.full(40, -0.1), np.zeros(39), np.zeros((40, 1))],
    ids=["nan", "high", "low", "short", "shape"],
)
def test_bad_commands_never_reach_the_library(shim, command):
    with shim.mirror() as mirror:
        before, calls = shim.volts, shim.c.shim_calls()
        with pytest.raises(SafetyError):
            mirror.apply(command)
        assert shim.c.shim_calls() == calls
        assert np.array_equal(shim.volts, before)


def test_slew_limit_walks_in_steps(shim):
    with shim.mirror(slew_v_per_s=1000.0) as mirror:
        calls = shim.c.shim_calls()
        mirror.apply(np.full(40, 100.0))
        assert shim.c.shim_calls() - calls == 1 + 10  # one read-back, ten steps of 10 V


def test_maker_pattern_uses_thorlabs_order_and_refuses_the_rest(shim):
    with shim.mirror() as mirror:
        flat = mirror.maker_pattern({})
        assert np.array_equal(flat, np.full(40, 150.0))
        defocus = mirror.maker_pattern({(2, 0): 0.6})  # Z5: the second amplitude
        assert defocus[0] == pytest.approx(150 + 150 * 0.6 * 2 / 12 / 8)
        spherical = mirror.maker_pattern({(4, 0): 0.6})  # Z13: the tenth
        assert spherical[0] == pytest.approx(150 + 150 * 0.6 * 10 / 12 / 8)
        assert np.array_equal(shim.volts, np.zeros(40)), "it only computes"
        for mode in ((0, 0), (1, -1), (1, 1), (5, 1)):
            with pytest.raises(UnsupportedError, match=r"Z\d"):
                mirror.maker_pattern({mode: 0.1})
        for share in (1.01, -1.2, float("nan"), float("inf")):
            with pytest.raises(SafetyError, match="Z5"):
                mirror.maker_pattern({(2, 0): share})
        shim.set("terms", 15)
        with pytest.raises(UnsupportedError, match="15 Zernike terms"):
            mirror.maker_pattern({(2, 0): 0.1})


def test_relax_runs_the_makers_sequence_and_returns(shim):
    with shim.mirror() as mirror:
        mirror.apply(np.full(40, 210.0))
        steps = list(mirror.relax())
        assert len(steps) == 80 and steps[-1].index == 79
        assert np.ptp([step.command_v for step in steps]) > 290
        assert np.array_equal(shim.volts, np.full(40, 210.0))


def test_relax_can_be_cancelled_and_never_runs_for_ever(shim):
    with shim.mirror() as mirror:
        mirror.apply(np.full(40, 90.0))
        run = mirror.relax()
        next(run)
        run.close()
        assert np.array_equal(shim.volts, np.full(40, 90.0))
        shim.set("relax_forever", 1)
        with pytest.raises(ConnectError, match="did not end"):
            next(mirror.relax())


def test_choosing_among_mirrors(shim):
    shim.set("devices", 0)
    with pytest.raises(ConnectError, match="no Thorlabs mirror"):
        shim.mirror().open()
    shim.set("devices", 3)
    with pytest.raises(ConfigError, match="M00000001, M00000002, M00000003"):
        shim.mirror().open()
    with pytest.raises(ConnectError, match="no mirror 'M00000009'"):
        shim.mirror(serial="M00000009").open()
    with shim.mirror(serial="M00000002") as mirror:
        assert mirror.info.serial == "M00000002"
    shim.set("available", 0)
    with pytest.raises(ConnectError, match="another program"):
        shim.mirror(serial="M00000002").open()


@pytest.mark.parametrize(
    ("code", "word"),
    [(0x01, "power"), (0x10, "temperature"), (0xFFFF, "not possible"), (2, "0x0002")],
)
def test_failed_self_test_stops_the_opening(shim, code, word):
    shim.set("self_test", code)
    with pytest.raises(ConnectError, match=word):
        shim.mirror().open()
    assert shim.c.shim_open() == 0, "the session is closed again"


STATUSES = {
    0xBFFC0905: SafetyError,
    0xBFFC0907: StateError,
    0xBFFC0908: SafetyError,
    0xBFFC090A: ConnectError,
    0xBFFC090B: UnsupportedError,
    0xBFFC090C: ConnectError,
    0xBFFC090D: ConnectError,
    0xBFFC090E: SafetyError,
    0xBFFC090F: SafetyError,
    0xBFFC0910: SafetyError,
    0xBFFC0902: UnsupportedError,
    0xBFFC0A00: StateError,
    0xBFFC0A01: StateError,
    0xBFFC0A08: SafetyError,
    0xBFFF0011: ConnectError,
    0xBFFF0015: RigTimeoutError,
    0xBFFF000E: ConnectError,
    0xBFFC0999: ConnectError,  # not in any table: the library's own text is told
}


@pytest.mark.parametrize(
    ("status", "kind"), STATUSES.items(), ids=lambda v: f"{v:#x}" if isinstance(v, int) else ""
)
def test_every_status_becomes_the_right_error(shim, status, kind):
    with shim.mirror(park_on_close=False) as mirror:
        shim.inject("TLDFM_get_segment_voltages", status)
        with pytest.raises(kind, match=f"{status:08X}") as caught:
            mirror.read_back()
        assert caught.value.hint
        if status == 0xBFFC0999:
            assert "text of the library" in caught.value.message


OPENING = [
    "TLDFM_get_device_count",
    "TLDFM_get_device_information",
    "TLDFMX_init",
    "TLDFMX_self_test",
    "TLDFM_get_segment_count",
    "TLDFM_get_segment_minimum",
    "TLDFM_get_segment_maximum",
    "TLDFM_enable_hysteresis_compensation",
    "TLDFM_enabled_hysteresis_compensation",
    "TLDFM_get_segment_voltages",
    "TLDFMX_revision_query",
]


@pytest.mark.parametrize("function", OPENING)
def test_failure_at_any_step_of_opening_leaves_nothing_open(shim, function):
    shim.inject(function, 0xBFFF0015)
    mirror = shim.mirror()
    with pytest.raises(RigTimeoutError, match=function):
        mirror.open()
    assert not mirror.is_open and shim.c.shim_open() == 0


def test_warnings_are_told_not_raised(shim):
    with shim.mirror(park_on_close=False) as mirror:
        shim.inject("TLDFM_get_temperatures", 0x3FFC0903)
        mirror.temperatures_c()
        health = mirror.health()
        assert health.ok and health.warnings == ("the mirror is getting hot",)
        shim.inject("", 0)
        assert mirror.health().warnings == ()
        shim.inject("TLDFM_get_temperatures", 0x3FFC0777)
        assert "3FFC0777" in mirror.health().warnings[0]


def test_tilt_calls_on_a_mirror_without_arms_only_warn(shim):
    with shim.mirror(park_on_close=False) as mirror:
        count = Out(_tldfm.ViUInt32)
        assert mirror._call("TLDFM_get_tilt_count", count) == _tldfm.NO_TILT_ARMS
        assert count.value == 0 and mirror.health().warnings == ()


def test_hot_mirror_takes_no_command_but_parks(shim):
    with shim.mirror() as mirror:
        mirror.max_temperature_c = 60.0
        shim.set("mirror_c", 61.0)
        with pytest.raises(SafetyError, match="too hot"):
            mirror.apply(np.full(40, 100.0))
        mirror.park()
        assert np.array_equal(shim.volts, np.full(40, 150.0))


def test_lost_session_is_told_and_close_still_closes(shim):
    mirror = shim.mirror()
    mirror.open()
    shim.c.shim_reset()  # the device forgot us: every call says "invalid session" now
    with pytest.raises(ConnectError, match="session is no longer valid"):
        mirror.read_back()
    with pytest.raises(RigError):
        mirror.close()  # parking fails, and that is told
    assert not mirror.is_open
    mirror.close()


class TestThorlabsContract(MirrorContract):
    keeps_shape_over_open = False

    @pytest.fixture
    def mirror(self, shim):
        return shim.mirror(park_on_close=False)

    @pytest.fixture
    def cable(self, shim):
        return Cable(lambda: shim.set("unplugged", 1), lambda: shim.set("unplugged", 0))


def test_only_listed_functions_exist_and_none_is_dangerous(shim):
    exports = set((SHIM / "exports.txt").read_text().split())
    assert len(exports) == 80
    assert set(_tldfm.PROTOTYPES) <= exports
    assert not set(_tldfm.PROTOTYPES) & FORBIDDEN
    assert exports >= FORBIDDEN, "the forbidden list names real functions"
    with shim.mirror(park_on_close=False) as mirror:
        for name in FORBIDDEN:
            with pytest.raises(SafetyError, match=name):
                mirror._call(name)


def test_shim_exports_the_makers_names(library_path):
    names = subprocess.run(
        ["nm", "-D", "--defined-only", str(library_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()
    shown = {name for name in names if name.startswith("TLDFM")}
    assert shown == set((SHIM / "exports.txt").read_text().split())


def test_types_have_the_sizes_of_visa():
    sizes = {"ViStatus": 4, "ViSession": 4, "ViUInt32": 4, "ViInt32": 4, "ViInt16": 2}
    sizes |= {"ViBoolean": 2, "ViReal64": 8}
    for name, size in sizes.items():
        assert ctypes.sizeof(getattr(_tldfm, name)) == size


def test_library_that_writes_past_its_memory_is_caught(shim):
    shim.set("overrun", 1)
    with pytest.raises(RigError, match="wrote past its memory"):
        shim.mirror().open()


def test_read_back_overrun_is_caught_too(shim):
    with shim.mirror(park_on_close=False) as mirror:
        shim.set("overrun", 1)
        with pytest.raises(RigError, match="TLDFM_get_segment_voltages wrote past"):
            mirror.read_back()
        shim.set("overrun", 0)


def test_nonsense_from_the_device_is_refused(shim):
    shim.set("high", 0.0)
    with pytest.raises(ConnectError, match="from 0 to 0 V"):
        shim.mirror().open()


def loader_without(*absent: str):
    def load(name: str):
        if Path(name).name in absent or Path(name).suffix == ".so":
            raise OSError(f"{name}: cannot open")
        return object()

    return load


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        (("cvirte.dll",), "CVI run-time engine is missing"),
        (("visa64.dll", "visa32.dll"), "VISA library is missing"),
        ((), "cannot be loaded"),
    ],
)
def test_load_failures_tell_which_part_is_missing(library_path, absent, words):
    with pytest.raises(ConnectError, match=words):
        Library(LibraryPlace(library_path, library_path, loader_without(*absent)))


def test_missing_files_and_old_libraries_are_told(tmp_path, library_path):
    with pytest.raises(ConnectError, match="not installed"):
        Library(find_libraries(tmp_path / "a.dll", tmp_path / "b.dll", None))
    with pytest.raises(ConnectError, match="TLDFM_get_device_count"):
        Library(LibraryPlace(library_path, library_path, lambda name: object()))


@pytest.mark.skipif(sys.platform == "win32", reason="says what happens elsewhere")
def test_without_windows_the_way_out_is_told(tmp_path):
    with pytest.raises(UnsupportedError, match="Windows only") as caught:
        ThorlabsMirror(ThorlabsOptions(), DeviceContext("mirror", ManualClock())).open()
    assert "rig serve mirror" in caught.value.hint
    with pytest.raises(ConnectError, match="not installed"):
        folder = ThorlabsOptions(library_dir=tmp_path)
        ThorlabsMirror(folder, DeviceContext("mirror", ManualClock())).open()
