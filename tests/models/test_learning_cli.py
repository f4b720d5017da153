from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from camera_rig.optics import Coefficients
from cli import bundle
from cli._common import ErrorDoor
from cli.design import design
from cli.finetune import finetune
from cli.train import train
from models.camera import OpticsSpec, fixed_defocus
from tests.models.conftest import draw_face

app = typer.Typer(cls=ErrorDoor, context_settings={"obj": {}})
app.command("design")(design)
app.command("train")(train)
app.command("finetune")(finetune)
app.add_typer(bundle.app, name="bundle")

OPTICS = ["--set", "optics.psf_px=15", "--set", "optics.max_waves_rms=0.3"]
SMALL = ["--preset", "tiny", "--device", "cpu", "--set", "engine.batch=2"]


def rig(*words: str, code: int = 0) -> dict:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == code, done.output + repr(done.exception)
    if code:
        return json.loads(done.stdout)["error"] if "--json" in words else {"text": done.output}
    return json.loads(done.stdout) if "--json" in words else {"text": done.stdout}


@pytest.fixture(scope="module")
def runs(faces_folder, tmp_path_factory):
    """Design, train and bundle once, as a user would."""
    root = tmp_path_factory.mktemp("runs")
    made = rig(
        "design", "--out", root / "design", "--data", faces_folder, "--mirror", "simulated",
        "--steps", 4, "--teacher-steps", 4, "--set", "data.held_out=0.25", *SMALL, *OPTICS,
        "--json",
    )  # fmt: skip
    rig("train", "--design", root / "design", "--out", root / "faces", "--data", faces_folder,
        "--steps", 2, "--set", "data.held_out=0.25", *SMALL, *OPTICS)  # fmt: skip
    rig("bundle", "make", root / "faces", "--out", root / "b", "--name", "drawn",
        "--data", "drawn faces", "--scope", "tests")  # fmt: skip
    return root, made


def test_design_prints_and_writes_coefficients_for_the_mirror(runs):
    root, made = runs
    written = Coefficients.load(root / "design" / "coefficients.yaml")
    (row,) = made["designs"]
    assert written.numbers == pytest.approx({int(k): v for k, v in row["coefficients"][0].items()})
    assert written.unit == "waves_rms" and written.rms > 0
    assert row["recovered_db"] > 0 and (root / "design" / "teacher" / "run.yaml").exists()


def test_bundle_info_verify_and_tampering(runs):
    root, _ = runs
    card = rig("bundle", "info", root / "b", "--json")
    assert card["scopes"] == ["tests"] and card["people"] is False
    assert any("held-out/landmarks_px" in k for k in card["metrics"])
    assert rig("bundle", "verify", root / "b", "--json")["ok"]
    (root / "b" / "more.txt").write_text("x")
    error = rig("bundle", "verify", root / "b", "--json", code=8)
    assert "more.txt was added" in error["message"]
    (root / "b" / "more.txt").unlink()


def test_bundle_export_adds_what_passed(runs):
    pytest.importorskip("onnxscript")
    root, _ = runs
    report = rig("bundle", "export", root / "b", "--json")
    assert report["results"] and all(r["passed"] for r in report["results"])
    assert "painter.onnx" in rig("bundle", "verify", root / "b", "--json")["files"]
    assert "already" in rig("bundle", "export", root / "b", "--json", code=2)["message"]


@pytest.fixture
def pairs(tmp_path):
    for part in ("privacy", "side"):
        (tmp_path / "pairs" / part).mkdir(parents=True)
    for identity in range(4):
        for frame in range(3):
            sharp, _ = draw_face(identity, frame)
            blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
            for part, picture in (("side", sharp), ("privacy", blurred)):
                name = tmp_path / "pairs" / part / f"{identity}-{frame}.png"
                cv2.imwrite(str(name), picture[..., ::-1])
    return tmp_path / "pairs"


def test_finetune_on_pairs_with_a_measured_psf(runs, pairs, faces_folder, tmp_path):
    root, _ = runs
    spec = OpticsSpec(psf_px=15, max_waves_rms=0.3)
    np.save(tmp_path / "psf.npy", fixed_defocus(spec, 0.2).numpy()[None])
    rig("finetune", root / "b", pairs, "--out", tmp_path / "tuned", "--references",
        faces_folder, "--psf-bank", tmp_path / "psf.npy", "--steps", 2, "--device", "cpu",
        "--set", "engine.batch=2", "--set", "engine.sheet_every=2",
        "--set", "data.held_out=0.25")  # fmt: skip
    from models.training.sources import open_trained

    # A bundle has no D, and fine-tuning needs none.
    for folder in (root / "b", tmp_path / "tuned"):
        assert "critic" not in open_trained(folder).parts and open_trained(folder).domains == 1
    before = _network(root / "b", "heat"), _network(root / "b", "generator")
    after = _network(tmp_path / "tuned", "heat"), _network(tmp_path / "tuned", "generator")
    for one, two in zip(before, after, strict=True):
        assert any(not np.array_equal(one[k], two[k]) for k in one)
    style = _network(root / "faces", "style"), _network(tmp_path / "tuned", "style")
    assert all(np.array_equal(style[0][k], style[1][k]) for k in style[0])
    sheet = cv2.imread(str(tmp_path / "tuned" / "sheets" / "step-00000002.png"))
    assert sheet.shape[0] == 5 * 32  # pairs are sensitive unless told: no sharp row
    rig("bundle", "make", tmp_path / "tuned", "--out", tmp_path / "b", "--name", "t", "--data", "-")
    assert rig("bundle", "info", tmp_path / "b", "--json")["people"] is True


def _network(run, name):
    from models.training.sources import open_trained

    return {k: v.numpy() for k, v in open_trained(run).parts[name].items()}


def test_sweep_over_the_adversary_makes_one_run_each(runs, faces_folder, tmp_path):
    root, _ = runs
    made = rig(
        "design", "--out", tmp_path / "s", "--data", faces_folder,
        "--teacher", root / "design" / "teacher", "--steps", 2, "--shapes", 3,
        "--adversary", 0, "--adversary", 0.5, "--set", "data.held_out=0.25", *SMALL, *OPTICS,
        "--json",
    )  # fmt: skip
    assert [row["adversary"] for row in made["designs"]] == [0.0, 0.5]
    assert len(made["designs"][0]["coefficients"]) == 3
    assert made["designs"][0]["round_s"] >= 3 * 0.005  # three settling times at least
    assert (tmp_path / "s" / "adversary-0.5" / "coefficients-02.yaml").exists()


def test_pareto_writes_numbers_and_a_picture(runs, faces_folder, tmp_path):
    root, _ = runs
    made = rig(
        "design", "--out", tmp_path / "p", "--data", faces_folder, "--mirror", "", "--pareto",
        "--teacher", root / "design" / "teacher", "--steps", 1, "--adversary", 0.5,
        "--heatmap-weight", 0, "--heatmap-weight", 5, "--set", "data.held_out=0.25",
        *SMALL, *OPTICS, "--json",
    )  # fmt: skip
    told = json.loads((tmp_path / "p" / "pareto.json").read_text())
    assert [row["alpha2"] for row in told] == [0, 5] and told == made["designs"]
    assert not all(row["beaten"] for row in told)
    assert cv2.imread(str(tmp_path / "p" / "pareto.png")) is not None
    error = rig("design", "--out", tmp_path / "x", "--pareto", "--low-res", 8, "--json", code=2)
    assert "no weights to sweep" in error["message"]


def test_low_resolution_goes_through_the_same_path(runs, faces_folder, tmp_path):
    root, _ = runs
    rig("design", "--out", tmp_path / "lr", "--data", faces_folder, "--low-res", 8,
        "--mirror", "", "--teacher", root / "design" / "teacher", "--steps", 1,
        "--set", "data.held_out=0.25", *SMALL, *OPTICS)  # fmt: skip
    rig("train", "--design", tmp_path / "lr", "--low-res", 8, "--out", tmp_path / "f",
        "--data", faces_folder, "--steps", 1, *SMALL, *OPTICS)  # fmt: skip
    assert (tmp_path / "f" / "best").is_dir()


@pytest.mark.parametrize(
    ("setting", "word"),
    [("engine.stepps=3", "stepps"), ("engine.batch=four", "batch"), ("seed", "no '='")],
)
def test_a_wrong_setting_is_named(runs, faces_folder, tmp_path, setting, word):
    error = rig("train", "--design", runs[0] / "design", "--out", tmp_path / "r",
                "--data", faces_folder, "--preset", "tiny", "--set", setting, "--json",
                code=2)  # fmt: skip
    assert word in error["message"]


def test_missing_data_and_design_are_named(runs, tmp_path, faces_folder):
    error = rig("train", "--design", tmp_path / "no", "--out", tmp_path / "r", "--data",
                faces_folder, "--preset", "tiny", "--json", code=2)  # fmt: skip
    assert "neither a run nor a bundle" in error["message"]
    error = rig("train", "--design", runs[0] / "design", "--out", tmp_path / "r", "--data",
                tmp_path / "none", "--preset", "tiny", "--json", code=2)  # fmt: skip
    assert "is no folder" in error["message"]
    error = rig("train", "--out", tmp_path / "r", "--data", faces_folder, "--json", code=2)
    assert "either --design or --teacher" in error["message"]
