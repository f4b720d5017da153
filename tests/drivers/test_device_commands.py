"""``rig camera``, ``rig stage``, ``rig light`` on the twin and on emulated devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import typer
from typer.testing import CliRunner

from camera_rig.peers import PeerProcess
from camera_rig.peers.m50 import M50Options
from camera_rig.peers.trigger_box import TriggerBoxOptions
from cli import camera, light, peer, stage
from cli._common import ErrorDoor

app = typer.Typer(cls=ErrorDoor, context_settings={"obj": {}})
for name, part in (("camera", camera), ("stage", stage), ("light", light), ("peer", peer)):
    app.add_typer(part.app, name=name)


def rig(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done.output


def rig_json(*words: str) -> Any:
    return json.loads(rig(*words, "--json"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A rig file with one emulated body and one emulated box."""
    tiny = {"large_size": (160, 90), "still_size": (300, 200)}
    with (
        PeerProcess("m50", M50Options(**tiny)) as body,
        PeerProcess("trigger-box", TriggerBoxOptions(transport="tcp")) as box,
    ):
        folder = tmp_path_factory.mktemp("bench")
        file = folder / "bench.yaml"
        file.write_text(
            "schema: 1\nname: bench\n"
            f"storage: {{root: {folder}/data, keys: {folder}/keys}}\n"
            "devices:\n"
            f"  side: {{driver: canon, serial: '663000000001', ports: [{body.address['port']}]}}\n"
            f"  light: {{driver: serial, serial: SN0001, port: '{box.address['port']}'}}\n"
        )
        yield str(file)


def test_snap_on_the_twin(tmp_path: Path) -> None:
    rows = rig_json("camera", "snap", "--config", "simulated", "--out", str(tmp_path))
    assert [row["role"] for row in rows] == ["privacy", "side"]
    for row in rows:
        pixels = cv2.imread(row["file"])
        assert list(pixels.shape[1::-1]) == row["size"]
        assert json.loads(Path(row["file"]).with_suffix(".json").read_text())["captured_ns"]


def test_list_tells_roles_of_found_bodies(bench: str) -> None:
    rows = rig_json("camera", "list", "-c", bench)
    assert [(row["role"], row["serial"]) for row in rows] == [("side", "663000000001")]


def test_set_info_and_settings(bench: str) -> None:
    assert rig_json("camera", "set", "iso", "400", "-c", bench, "--camera", "side") == {"side": 400}
    shown = rig_json("camera", "settings", "-c", bench, "--camera", "side")["side"]
    assert shown["body"]["iso"]["value"] == "400"
    assert rig_json("camera", "info", "-c", bench, "--camera", "side")[0]["ok"]
    rig("camera", "set", "iso", "many", "-c", bench, "--camera", "side", code=2)
    rig("camera", "info", "-c", bench, "--camera", "both", code=2)


def test_saving_from_a_real_rig_refuses_people(bench: str, tmp_path: Path) -> None:
    words = ("camera", "snap", "-c", bench, "--camera", "side", "--out", str(tmp_path / "out"))
    rig(*words, code=9)
    assert not (tmp_path / "out").exists()
    row = rig_json(*words, "--still", "--no-person")[0]
    assert row["size"] == [300, 200]
    assert Path(row["file"]).read_bytes()[:2] == b"\xff\xd8"


def test_watch_makes_a_contact_sheet(bench: str, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    words = ("camera", "watch", "-c", bench, "--camera", "side", "--seconds", "0.6")
    row = rig_json(*words, "--sheet", str(sheet), "--no-person")[0]
    assert row["frames"] > 5
    assert cv2.imread(str(sheet)).shape[1] > 6 * 240


def test_acceptance_test_prints_a_verdict(bench: str, tmp_path: Path) -> None:
    out = tmp_path / "test.png"
    words = ("camera", "test", "-c", bench, "--camera", "side", "--seconds", "1")
    text = rig(*words, "--out", str(out), "--no-person")
    assert "verdict: accepted" in text
    assert cv2.imread(str(out)) is not None


def test_light(bench: str) -> None:
    assert rig_json("light", "info", "-c", bench)["serial"] == "SN0001"
    assert rig_json("light", "pulse", "0.01", "-c", bench)["start_ns"] > 0
    rig("light", "on", "1.5", "-c", bench, code=7)


def test_stage_on_the_twin() -> None:
    low, high = rig_json("stage", "info")["limits_mm"]
    goal = low + 0.4 * (high - low)
    assert rig_json("stage", "move", str(goal))["position_mm"] == pytest.approx(goal, abs=0.01)
    rig("stage", "move", str(high + 5), code=7)
