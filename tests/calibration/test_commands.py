"""``rig calibrate`` as a user types it: what is told, in which words, with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app

SMALL = """
schema: 1
name: small
devices:
  privacy: {driver: twin, serial: A}
  side: {driver: twin, serial: B}
  mirror: {driver: twin, serial: M}
  light: {driver: twin, serial: L}
twin:
  seed: 1
  scene: {kind: flat}
  light_path: {photons_per_lumen_s: PHOTONS}
  privacy: {sensor: {size: [192, 128]}}
  side: {sensor: {size: [192, 128]}}
"""


@pytest.fixture
def rig(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL.replace("PHOTONS", "3.7e15"), encoding="utf-8")
    runner = CliRunner()

    def run(*words: str, config: str = "small.yaml"):
        typed = ["calibrate", *words, "--config", config]
        return runner.invoke(app, typed, prog_name="rig", obj={})

    return run


def with_sensor(rig) -> str:
    """Calibrate the sensor; return its id."""
    done = rig("run", "sensor")
    assert done.exit_code == 0, done.output
    (listed,) = json.loads(rig("list", "sensor", "--json").stdout)
    return str(listed["id"])


def test_from_nothing_to_a_calibration_in_use_and_looked_at(rig):
    nothing = rig("status")
    assert nothing.exit_code == 0 and nothing.output.count("missing") == 6
    assert "next: rig calibrate all --config small.yaml" in nothing.output
    assert "rig calibrate all --config small.yaml" in rig("list").output
    ref = with_sensor(rig)
    states = {row["procedure"]: row["state"] for row in json.loads(rig("status", "--json").stdout)}
    assert states["sensor"] == "fresh" and states["psf"] == "missing"
    shown = rig("show", "sensor").output
    assert "gain_e_per_dn" in shown and "±" in shown and ref in shown
    assert json.loads(rig("show", ref, "--json").stdout)["figures"]["hot_pixels"] == 12
    rows = json.loads(rig("diff", ref, "sensor", "--json").stdout)
    assert rows and all(row["old"] == row["new"] for row in rows)
    assert json.loads(rig("use", ref, "--json").stdout) == {"procedure": "sensor", "in_use": ref}
    assert f"* {ref}" in rig("list").output


def test_a_dry_run_tells_all_and_opens_nothing(rig):
    plan = rig("all", "--dry-run", config="lab")  # its devices are not here
    assert plan.exit_code == 0, plan.output
    assert plan.output.count("pictures") == 7 and "cannot run" not in plan.output
    alone = rig("run", "realise", "--dry-run").output
    assert "it needs an accepted influence calibration" in alone
    after = rig("run", "influence", "realise", "--dry-run").output
    assert "it needs an accepted influence calibration" not in after
    assert "it needs an accepted psf calibration" in after
    text = Path("small.yaml").read_text(encoding="utf-8")
    without = "\n".join(line for line in text.split("\n") if "mirror:" not in line)
    Path("no-mirror.yaml").write_text(without, encoding="utf-8")
    lacking = rig("all", "--dry-run", config="no-mirror.yaml").output
    assert lacking.count("cannot run now: the rig has no mirror") == 4
    assert not Path("rig-data").exists()


def test_a_failed_run_is_kept_with_what_to_do_next(rig):
    ref = with_sensor(rig)
    stale = SMALL.replace("PHOTONS", "1.0e3")
    Path("stale.yaml").write_text(stale, encoding="utf-8")
    told = rig("status", config="stale.yaml").output
    assert f"stale    {ref}" in told and "was changed since" in told
    refused = rig("run", "psf", config="stale.yaml")
    assert refused.exit_code == 4 and "its input sensor is stale" in refused.output
    dark = rig("run", "sensor", config="stale.yaml")
    assert dark.exit_code == 4 and "no exposure for the white sheet" in dark.output
    assert "take the cap off" in dark.output and "report.html" in dark.output
    kept = json.loads(rig("list", "sensor", "--json").stdout)
    assert [one["status"] for one in kept] == ["accepted", "rejected"]
    used = rig("use", kept[1]["id"])
    assert used.exit_code == 2 and "--even-rejected" in used.output
    # What was in use stays in use.
    assert f"* {ref}" in rig("list").output


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("run", "sensr"), 2, "did you mean 'sensor'"),
        (("list", "sensr"), 2, "did you mean 'sensor'"),
        (("show", "psf"), 2, "none of that name is in use"),
        (("diff", "2026", "psf"), 2, "rig calibrate list"),
        (("run", "psf"), 4, "it needs an accepted sensor calibration"),
        (("all", "--sync-by", "nose"), 2, "one of: auto, light, motion"),
        (("run", "realise", "--coefficients", "lopez"), 2, "did you mean 'lopez2024'"),
    ],
)
def test_mistakes_are_told_with_the_way_out(rig, words, code, told):
    result = rig(*words)
    assert result.exit_code == code and told in result.output, result.output
    assert "→" in result.output
    as_json = rig(*words, "--json")
    assert json.loads(as_json.stdout)["error"]["exit_code"] == code


def test_a_folder_that_cannot_be_written_is_named(rig):
    text = Path("small.yaml").read_text(encoding="utf-8")
    Path("file").write_text("in the way", encoding="utf-8")
    Path("ro.yaml").write_text(text + "calibration: {root: file/here}\n", encoding="utf-8")
    result = rig("run", "sensor", config="ro.yaml")
    assert result.exit_code == 8
    assert "file/here" in result.output and "calibration.root" in result.output
