"""``rig mirror`` and ``rig serve`` as a new user meets them, mistakes first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app

SETS = Path(__file__).parents[2] / "hw_configs" / "coefficients"
PAPER = str(SETS / "lopez2024.yaml")
FRACTIONS = str(SETS / "lopez2024-fraction.yaml")
GOOD = """basis: zernike
order: noll
unit: waves_rms
wavelength_nm: 550
values:
  4: 0.3
"""


@pytest.fixture
def rig(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def run(*words: str):
        return runner.invoke(app, list(words), prog_name="rig", obj={})

    return run


def test_first_hour_with_the_mirror(rig, tmp_path):
    told = json.loads(rig("mirror", "info", "--json").output)
    assert told["actuators"] == 40 and told["calibrated"] is False

    dry = rig("mirror", "load", PAPER, "--model", "--dry-run", "--png", "look.png")
    assert dry.exit_code == 0 and "nothing was sent" in dry.output
    for words in ("Noll", "Thorlabs", "defocus", "waves RMS at 550 nm", "PSF", "not measured"):
        assert words in dry.output
    assert (tmp_path / "look.png").stat().st_size > 10_000
    journal = tmp_path / "rig-data" / "mirror" / "TWIN-DMH40" / "journal"
    assert not journal.exists()

    done = json.loads(rig("mirror", "load", PAPER, "--model", "--json").output)
    assert done["feasible"] and done["deviation_v"] < 0.5
    assert done["modes"][0]["thorlabs"] == 5 and len(done["read_back_v"]) == 40
    (file,) = journal.glob("*.jsonl")
    assert json.loads(file.read_text())["reason"] == "load lopez2024.yaml"

    assert rig("mirror", "poke", "8", "200").exit_code == 0
    assert rig("mirror", "save", "mine").exit_code == 0
    assert "mine" in rig("mirror", "recall", "mine").output
    assert "40 steps" in rig("mirror", "relax").output
    assert "faces in the clear" in rig("mirror", "flat").output
    assert "300" in rig("mirror", "limits").output
    assert "flat within" in rig("mirror", "show", "--model").output


def test_comparing_files(rig, tmp_path):
    Path("a.yaml").write_text(GOOD)
    Path("b.yaml").write_text(GOOD.replace("noll", "thorlabs").replace("4: 0.3", "5: 0.3"))
    same = json.loads(rig("mirror", "compare", "a.yaml", "b.yaml", "--json").output)
    assert same["rms_of_difference"] == 0.0, "one shape under two orders"
    assert "RMS of the difference" in rig("mirror", "compare", PAPER, "a.yaml").output
    mixed = rig("mirror", "compare", PAPER, FRACTIONS)
    assert mixed.exit_code == 2 and "cannot be compared" in mixed.output


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (("waves_rms", "waves"), 2, "unknown coefficient unit 'waves'"),
        (("basis: zernike", "basis: fringe"), 2, "unknown basis 'fringe'"),
        (("order: noll", "order: nol"), 2, "line 2"),
        (("wavelength_nm", "wavelenght_nm"), 2, "wavelenght_nm"),
        (("  4: 0.3", "  4: 0,3"), 2, "'0,3' is no number"),
        (("  4: 0.3", "  4: 0.3\n  2: 0.1"), 5, "cannot make tilt x (noll 2)"),
        (("  4: 0.3", "  5: 30.0"), 7, "astigmatism 45° (noll 5) +16.500 µm RMS"),
        (("  4: 0.3", "  30: 0.1"), 2, "cannot set n=7, m=+1 (noll 30)"),
    ],
)
def test_mistakes_in_a_file_are_told_with_the_way_out(rig, change, code, words):
    Path("mine.yaml").write_text(GOOD.replace(*change))
    result = rig("mirror", "load", "mine.yaml", "--model")
    assert result.exit_code == code, result.output
    assert words in result.output and "→" in result.output
    assert "Traceback" not in result.output


def test_mistakes_of_use(rig):
    waves = rig("mirror", "load", PAPER)
    assert waves.exit_code == 4 and "not calibrated" in waves.output and "--model" in waves.output
    both = rig("mirror", "load", PAPER, "--nearest", "--scale")
    assert both.exit_code == 2 and "choose one" in both.output
    assert rig("mirror", "poke", "40", "10").exit_code == 2
    assert rig("mirror", "poke", "4", "2000").exit_code == 7
    assert rig("mirror", "recall", "nothing").exit_code == 2
    scaled = rig("mirror", "load", FRACTIONS, "--scale", "--dry-run")
    assert scaled.exit_code == 0 and "everything times 0.6" in scaled.output
    refused = json.loads(rig("mirror", "load", FRACTIONS, "--json").output)
    assert refused["error"]["kind"] == "safety"


def test_the_real_mirror_on_linux_tells_the_way_out(rig):
    Path("lab.yaml").write_text(
        "schema: 1\nname: lab\ndevices:\n  mirror: {driver: thorlabs-dm, serial: M00000001}\n"
    )
    result = rig("mirror", "info", "--config", "lab.yaml")
    assert result.exit_code == 5 and "Windows only" in result.output
    assert "rig serve mirror" in result.output and "driver: remote" in result.output


def test_serving_needs_a_private_token(rig, tmp_path):
    assert rig("serve", "token", "t").exit_code == 0
    (tmp_path / "t").chmod(0o644)
    result = rig("serve", "mirror", "--token", "t")
    assert result.exit_code == 2 and "chmod 600" in result.output
    result = rig("serve", "mirror", "--token", "t", "--certificate", "c.pem")
    assert result.exit_code == 2 and "both certificate and key" in result.output
