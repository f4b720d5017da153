"""The command line as a user meets it."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

import pytest
import typer
import yaml
from typer.testing import CliRunner

from camera_rig.recording.keys import KeyStore
from cli.main import app
from tests.support.rigs import toy_rig

runner = CliRunner()


def commands(group=None, path=()):
    """Yield the words of every command and sub-command."""
    group = group or typer.main.get_command(app)
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_help(words):
    shown = runner.invoke(app, [*words, "--help"], prog_name="rig")
    assert shown.exit_code == 0
    assert "Usage: rig" in shown.output
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    assert command.help, "a command says what it does"
    if words and not hasattr(command, "commands"):
        assert "Example: rig" in command.help, "a command shows one example"


def cpu_s_of_help(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "cli.main", *words, "--help"], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_help_is_quick(capsys):
    """Print the CPU time of help (goal: 0.3 s each); a time is told, never asserted."""
    for words in commands():
        median_s = statistics.median(cpu_s_of_help(words) for _ in range(3))
        with capsys.disabled():
            print(f"  rig {' '.join(words)} --help: {median_s:.3f} s CPU")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from cli.main import app; "
        "heavy = {'torch', 'cv2', 'scipy', 'numba', 'matplotlib', 'fastapi', 'numpy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


def test_errors_are_words_and_exit_codes_never_tracebacks(tmp_path):
    shown = runner.invoke(app, ["config", "check", str(tmp_path / "absent.yaml")])
    assert shown.exit_code == 2
    assert "there is no file" in shown.stderr and "→" in shown.stderr
    assert "Traceback" not in shown.output


def test_json_errors_are_json_too(tmp_path):
    shown = runner.invoke(app, ["config", "check", str(tmp_path / "absent.yaml"), "--json"])
    error = json.loads(shown.stdout)["error"]
    assert (error["kind"], error["exit_code"], shown.exit_code) == ("config", 2, 2)
    assert error["hint"]


def test_config_check_and_show(tmp_path):
    path = toy_rig(tmp_path)
    assert "good; rig 'toy'" in runner.invoke(app, ["config", "check", str(path)]).stdout
    shown = runner.invoke(app, ["config", "show", str(path)])
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown.stdout, encoding="utf-8")
    assert runner.invoke(app, ["config", "check", str(copy)]).exit_code == 0
    assert yaml.safe_load(shown.stdout)["devices"]["mirror"]["max_temperature_c"] == 60.0
    as_json = json.loads(runner.invoke(app, ["config", "show", str(path), "--json"]).stdout)
    assert as_json == yaml.safe_load(shown.stdout)


def test_version():
    assert runner.invoke(app, ["--version"]).stdout.startswith("camera-rig ")


def test_doctor_says_ready_only_when_it_is(tmp_path):
    path = toy_rig(tmp_path)
    without_key = runner.invoke(app, ["doctor", "--config", str(path), "--json"])
    report = json.loads(without_key.stdout)
    assert without_key.exit_code == 4 and not report["ready"]
    failed = [one["area"] for one in report["findings"] if one["verdict"] == "fail"]
    assert failed == ["keys"]
    KeyStore(tmp_path / "keys").init(None)
    assert runner.invoke(app, ["doctor", "--config", str(path)]).exit_code == 0


def test_doctor_names_the_broken_device_and_what_to_do(tmp_path):
    path = toy_rig(tmp_path, mirror=", unplugged: true")
    shown = runner.invoke(app, ["doctor", "-c", str(path), "--json"])
    findings = json.loads(shown.stdout)["findings"]
    (mirror,) = [one for one in findings if one["area"] == "mirror"]
    assert (mirror["verdict"], mirror["hint"]) == ("fail", "plug it in")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_doctor_sees_a_disk_it_cannot_write(tmp_path):
    path = toy_rig(tmp_path)
    (tmp_path / "data").mkdir(mode=0o500)
    shown = runner.invoke(app, ["doctor", "-c", str(path), "--json"])
    assert "cannot write" in shown.stdout


def test_long_work_is_told_in_lines_where_it_cannot_be_drawn(monkeypatch, capsys):
    from cli import _common

    monkeypatch.setattr(_common, "SAY_EVERY_S", 0.02)
    with _common.progress() as shown:
        task = shown.add_task("painting", total=8, rate="by torch")
        shown.update(task, completed=3)
        deadline = time.monotonic() + 20.0
        told = ""
        while "painting 3/8 by torch" not in told and time.monotonic() < deadline:
            time.sleep(0.01)
            told += capsys.readouterr().err
    assert "painting 3/8 by torch" in told
    with _common.progress(plain=True) as shown:
        shown.add_task("painting", total=8, rate="")
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
