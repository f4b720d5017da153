"""The commands on takes and data, from the first key to withdrawal, on the twin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app

ROOT = Path(__file__).resolve().parents[2]
RECORD = ["take", "record", "--subject", "T01", "--simulated", "--virtual-time", "--duration",
          "0.3", "--countdown", "0", "--yes", "--plan", "plan.yaml"]  # fmt: skip


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text("warm_up_s: 0.1\nmin_free_gb: 0\n")

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(words), obj={})
        assert result.exit_code == code, (words, result.output, result.exception)
        return result

    return run


def test_a_series_on_the_twin_from_record_to_withdrawal(rig, tmp_path: Path) -> None:
    dry = json.loads(rig(*RECORD, "--dry-run", "--json").stdout)
    assert dry["simulated"]
    assert dry["why_not"] == []
    assert dry["bytes_per_s"]["side"] > 1000
    rig(*RECORD, "--repeat", "2", "--series", "s")
    rows = json.loads(rig("take", "list", "--json").stdout)
    assert [(row["series"], row["number"]) for row in rows] == [("s", 2), ("s", 1)]
    assert all(row["pairs"] >= 6 for row in rows)
    first = rows[1]["take"]
    assert "take" in rig("take", "show", first).stdout
    assert "all is well" in rig("take", "verify", first).stdout
    assert "nothing to recover" in rig("take", "recover").stdout

    # A series that is complete has nothing left; one that lost a take records that one again.
    rig("take", "delete", first, "--yes")
    rig(*RECORD, "--repeat", "2", "--series", "s")
    rows = json.loads(rig("take", "list", "--json", "--series", "s").stdout)
    assert sorted(row["number"] for row in rows) == [1, 2]

    (tmp_path / "rules.yaml").write_text("min_novelty: 0\nmax_eyes_closed: 1\n")
    made = rig("data", "prepare", "series:s", "--out", "set", "--split", "0.5/0.5", "--size", "64",
               "--rules", "rules.yaml", "--json")  # fmt: skip
    counts = json.loads(made.stdout)["counts"]
    assert counts["train"] >= 6
    assert counts["test"] >= 6
    rig("data", "export", "set", "--out", "out", "--format", "folder", "--scope", "publish")
    assert len(list((tmp_path / "out").rglob("side/*.png"))) == sum(counts.values())
    rig("data", "sheet", "set", rows[0]["take"], "--out", "sheet.jpg")
    assert (tmp_path / "sheet.jpg").read_bytes()[:3] == b"\xff\xd8\xff"

    assert "chain unbroken" in rig("data", "audit").stdout
    assert "2 takes" in rig("data", "reindex").stdout
    plan = json.loads(rig("data", "withdraw", "T01", "--dry-run", "--json").stdout)
    assert len(plan["takes"]) == 2
    assert plan["exports"] == [str(tmp_path / "out")]
    rig("data", "withdraw", "T01", "--yes")
    assert json.loads(rig("take", "list", "--json").stdout) == []
    rig("data", "export", "set", "--out", "late", "--format", "folder", code=9)
    rig(*RECORD, code=9)


def test_people_need_a_consent(rig, tmp_path: Path) -> None:
    words = [word for word in RECORD if word != "--simulated"]
    rig(*words, code=9)
    (tmp_path / "form.txt").write_text("I agree")
    rig("data", "keys", "init", "--no-passphrase")
    add = ["data", "consent", "add", "T01", "--form", "form.txt", "--form-id", "F",
           "--form-version", "1", "--until", "2099-01-01", "--scope", "train"]  # fmt: skip
    rig(*add)
    rig(*add[:-1], "everything", code=2)
    listed = json.loads(rig("data", "consent", "list", "--json").stdout)
    assert listed[0]["records"][0]["scopes"] == ["train"]
    rig(*words)
    take = json.loads(rig("take", "show", "last", "--json").stdout)
    assert take["manifest"]["consent"]["scopes"] == ["train"]
    assert not take["manifest"]["simulated"]
    assert "nothing to remove" in rig("data", "purge").stdout


def test_keys_and_passphrases(rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIG_PASSPHRASE", "short")
    rig("data", "keys", "init", code=2)
    monkeypatch.setenv("RIG_PASSPHRASE", "long enough to keep")
    rig("data", "keys", "init")
    shown = rig("data", "keys", "show").stdout
    assert "private key here" in shown
    monkeypatch.setenv("RIG_NEW_PASSPHRASE", "another long one")
    assert "→" in rig("data", "keys", "rotate").stdout
    rig("data", "keys", "rotate", code=9)


def test_a_host_that_only_writes(rig, tmp_path: Path) -> None:
    rig("data", "keys", "init", "--no-passphrase")
    public = tmp_path / "rig-data" / "keys" / "lab-public.json"
    other = public.rename(tmp_path / "lab-public.json")
    (tmp_path / "rig-data" / "keys" / "lab-private.json").unlink()
    (tmp_path / "wrong.json").write_text("{}")
    rig("data", "keys", "init", "--adopt", "wrong.json", code=2)
    assert "write and not read" in rig("data", "keys", "init", "--adopt", str(other)).stdout
    rig(*RECORD)
    rig("take", "verify", "last", code=9)
    assert "all is well" in rig("take", "verify", "last", "--without-key").stdout
    rig(*RECORD[:-2], "--plan", "absent.yaml", code=2)


def test_help_of_each_command_has_an_example(rig) -> None:
    for noun, verbs in {
        "take": ["record", "list", "show", "verify", "recover", "delete"],
        "data": ["withdraw", "purge", "audit", "reindex", "prepare", "export", "sheet"],
    }.items():
        for verb in verbs:
            assert "Example: rig" in rig(noun, verb, "--help").stdout.replace("\n", " ")


def test_the_example_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "record_a_take.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "problems: none" in done.stdout
