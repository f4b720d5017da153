"""``rig preview`` as a user starts it, and what it refuses."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from camera_rig.clock import ManualClock
from camera_rig.errors import ConfigError, PrivacyError
from camera_rig.recording.store import DataStore
from cli.main import app
from cli.preview.hub import View
from cli.preview.session import PreviewRequest, live_session, target_session, why_no_side
from models.runtime.live_data import LiveSettings
from tests.preview.served import rig_before
from tests.recording.test_store import consent


def run(*words):
    return CliRunner().invoke(app, ["preview", *words])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--bind", "0.0.0.0"], 2, "--in-the-clear"),
        (["--certificate", "cert.pem"], 2, "--key"),
        (["--show-side"], 9, "the simulated scene (head) may show a person"),
        (["--show-side", "--no-person", "--subject", "S01"], 9, "a take of S01 is configured"),
        (["--bundle", "nowhere"], 8, "is no bundle"),
        (["--bundle", "nowhere", "--simulated"], 2, "--subject"),
        (["--bundle", "nowhere", "--subject", "S01"], 9, "no consent of subject S01"),
    ],
)
def test_refusals_say_what_to_do(tmp_path, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.output.split())
    assert "→" in result.output


def test_the_side_camera_is_for_targets_alone(tmp_path):
    config = rig_before("kind: head", tmp_path)
    store = DataStore(tmp_path / "data", tmp_path / "keys", ManualClock())
    assert len(why_no_side(config, store, "S01", no_person=False)) == 3
    board = rig_before("kind: charuco", tmp_path)
    assert why_no_side(board, store, "", no_person=True) == []
    real = board.model_copy(
        update={
            "devices": {
                role: device.model_copy(update={"driver": "canon"})
                for role, device in board.devices.items()
            }
        }
    )
    assert why_no_side(real, store, "", no_person=True) == []
    consent(store, "S02")
    (why,) = why_no_side(real, store, "", no_person=True)
    assert "S02" in why
    store.consents.withdraw("S02", "tester")
    assert why_no_side(real, store, "", no_person=True) == []
    with pytest.raises(PrivacyError, match="may show a person"), target_session(
        config, "", no_person=True
    ):  # fmt: skip
        pass


def test_targets_are_seen_by_both_cameras(tmp_path):
    with target_session(rig_before("kind: charuco", tmp_path), "", no_person=True) as session:
        both: queue.Queue = queue.Queue()
        session.source.on_news(lambda shown: len(shown.frames) == 2 and both.put(shown))
        shown = both.get(timeout=120)
        parts = session.source.coded(shown, frozenset({View.SIDE}))
        assert parts[View.SIDE][:2] == b"\xff\xd8"
        assert session.source.coded(shown, frozenset({View.FACE})) == {}
        assert session.desks.takes is None and session.desks.mirror is None


def test_nobody_to_record_means_no_sharp_camera(tmp_path, bundle):
    config = rig_before("kind: wedge", tmp_path)
    request = PreviewRequest(config, bundle, LiveSettings(engine="torch"), simulated=True)
    with pytest.raises(ConfigError, match="nobody is"), live_session(request):
        pass
    request = PreviewRequest(config, bundle, LiveSettings(engine="torch"))
    with live_session(request) as session:
        assert not session.rig.has("side")
        assert session.desks.takes is None


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_a_preview_starts_serves_and_leaves_everything_closed(tmp_path, bundle):
    rig_before("kind: wedge", tmp_path)
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    words = ["preview", "--config", "rig.yaml", "--bundle", str(bundle), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *words, "--engine", "torch", "--no-open"],
        cwd=tmp_path,
        env={"PYTHONPATH": root, "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        link = process.stdout.readline().split()[-1]
        url, _, token = link.partition("/#")
        reply = httpx.get(
            url + "/api/state", headers={"Authorization": f"Bearer {token}"}, timeout=60
        )
        assert reply.json()["live"]["bundle"] == "untrained" and reply.json()["take"] is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130 and "everything is closed" in said
        assert token not in said
    finally:
        process.kill()
        process.communicate()
    logs = "".join(path.read_text() for path in (tmp_path / "data/logs").glob("*.jsonl"))
    assert "rig_closed" in logs and token not in logs
