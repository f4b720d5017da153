from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from camera_rig.errors import ConfigError, StorageError
from cli.main import app
from models.data import open_folder
from models.evaluation import run as runs
from models.evaluation.cases import pictures_of
from models.evaluation.compare import compared
from models.evaluation.gates import GATE_EXIT_CODE, Gates, Limit
from models.evaluation.material import open_pictures
from models.evaluation.page import render
from models.evaluation.store import MeasureStore
from models.evaluation.systems import Styles, systems_for
from models.runtime.bundle import open_bundle
from models.runtime.export import export_bundle
from tests.models.conftest import SIZE

runner = CliRunner()


def styles_of(folder, count: int = 4) -> Styles:
    faces = open_folder(folder, SIZE)
    chosen = range(0, len(faces), len(faces) // count)
    return Styles(np.stack([faces[i].picture for i in chosen]), tuple(0 for _ in chosen))


@pytest.fixture
def gauges(own_recogniser) -> tuple[str, ...]:
    return (own_recogniser, "face.hog", "fidelity")


@pytest.fixture(scope="module")
def before(bundle_folder, faces_folder):
    """The bundle, the drawn people and the systems, made once."""
    bundle = open_bundle(bundle_folder)
    faces = open_pictures(faces_folder, SIZE)
    return bundle, faces, systems_for(bundle, faces.samples, styles_of(faces_folder), references=2)


@pytest.fixture
def judged(before, gauges):
    """Evaluate the tiny bundle on the drawn people: ``judged(gates=…)``."""
    bundle, faces, systems = before

    def make(store=None, **protocol):
        with MeasureStore(store) as kept:
            settings = runs.Protocol(gauges=gauges, **protocol)
            return runs.evaluate(bundle, faces, systems, settings, kept)

    return make


@pytest.fixture(scope="module")
def once(before, tmp_path_factory):
    """One result for the tests that only read it."""
    bundle, faces, systems = before
    with MeasureStore(None) as kept:
        settings = runs.Protocol(gauges=("face.hog", "fidelity"))
        return runs.evaluate(bundle, faces, systems, settings, kept)


def values(result, system: str) -> dict[str, float]:
    found = result.system(system).figures
    return {name.rsplit(".", 1)[-1]: f.value for name, f in found.items()}


def test_the_sharp_face_is_its_own_limit(judged):
    result, raw = judged()
    sharp = values(result, "original")
    assert sharp["dis"] == 0 and sharp["protected"] == 0
    assert sharp["psnr_db"] == 100 and sharp["ssim"] == pytest.approx(1)
    assert sharp["rank1"] > 0.8 and sharp["auc"] > 0.9  # the drawn people differ in colour
    assert {s.name for s in result.systems} == {
        "original", "optics", "low-resolution", "defocus", "blur", "pixelation", "bundle",
    }  # fmt: skip
    # The calibration and the unprotected row tell of the same pairs.
    calibration = result.calibration["facenet-casia"].verification
    assert sharp["eer"] == pytest.approx(calibration.eer, abs=1e-9)
    assert sharp["auc"] == pytest.approx(calibration.auc, abs=1e-9)
    assert raw.bench.material.may_show is False
    assert values(result, "bundle")["diversity"] > 0


def test_blurs_are_as_strong_as_the_optic(once):
    result, _ = once
    wanted = values(result, "optics")["psnr_db"]
    for name in ("defocus", "blur"):
        assert values(result, name)["psnr_db"] == pytest.approx(wanted, abs=0.7)
    assert values(result, "pixelation")["psnr_db"] == pytest.approx(wanted, abs=3.0)


def test_styles_of_one_person_differ_and_stay(before):
    painted = before[2][-1]
    assert painted.references == 2
    order = [painted.style_of(7, k) for k in range(2)]
    assert len(set(order)) == 2 and order == [painted.style_of(7, k) for k in range(2)]


def test_the_same_run_has_the_same_bytes(judged, tmp_path):
    first, second = (runs.as_json(judged()[0]) for _ in range(2))
    drop = re.compile(r'"took_s": [0-9.e-]+')
    assert drop.sub("", first) == drop.sub("", second)


def test_a_stopped_run_goes_on_where_it_stopped(judged, tmp_path, monkeypatch):
    from models.evaluation import measuring

    file = tmp_path / "rows.sqlite"
    real, done = measuring.measure, []

    def stops(name, pictures, samples):
        if len(done) == 50:
            raise KeyboardInterrupt
        done.append(name)
        return real(name, pictures, samples)

    def counts(name, pictures, samples):
        done.append(name)
        return real(name, pictures, samples)

    monkeypatch.setattr(measuring, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        judged(file)
    monkeypatch.setattr(measuring, "measure", counts)
    result, _ = judged(file)
    whole = len(done)
    assert runs.as_csv(judged(file)[0]) == runs.as_csv(result)
    assert len(done) == whole  # everything was known
    done.clear()
    fresh, _ = judged()
    assert runs.as_csv(fresh) == runs.as_csv(result)
    assert len(done) in (whole, whole - 1, whole - 2, whole - 3)  # but for the job that was cut


@pytest.mark.slow
def test_workers_find_the_same(judged, tmp_path):
    alone, _ = judged()
    many, _ = judged(workers=2)
    assert runs.as_csv(alone) == runs.as_csv(many)


def test_limits_for_a_system_that_is_not_judged_do_not_pass(judged):
    gates = Gates(system="bundel", limits={"identity.*.rank1": Limit(at_most=0.9)})
    with pytest.raises(ConfigError, match="bundel"):
        judged(gates=gates)


def test_round_trip_and_compare(judged, tmp_path):
    result, raw = judged(gates=Gates(limits={"identity.*.rank1": Limit(at_most=0.9)}))
    page = render(result, pictures_of(raw))
    for name in ("one", "two"):
        runs.write(result, tmp_path / name, page)
    with pytest.raises(StorageError, match="holds an evaluation"):
        runs.write(result, tmp_path / "one", page)
    read = runs.load(tmp_path / "one")
    assert read.verdict == result.verdict and read.passed == result.passed
    assert runs.as_csv(read) == runs.as_csv(runs.load(tmp_path / "two"))
    found = compared([tmp_path / "one", tmp_path / "two"])
    assert not found.warnings and {m for row in found.rows for m in row.marks} == {""}
    with pytest.raises(ConfigError, match="nothing to be compared"):
        compared([tmp_path / "one"])
    with pytest.raises(ConfigError, match="judged no blurr"):
        compared([tmp_path / "one", tmp_path / "two"], "blurr")
    sharp = compared([tmp_path / "one", tmp_path / "two"], "original", "*.rank1")
    assert [row.figure for row in sharp.rows] == ["identity.facenet-casia.rank1"]


def test_compare_marks_what_chance_does_not_explain(judged, tmp_path):
    result, _ = judged()
    runs.write(result, tmp_path / "bundle", "")
    content = json.loads((tmp_path / "bundle" / runs.RESULT).read_text())
    for system in content["systems"]:
        if system["name"] == "bundle":
            told = system["figures"]["identity.facenet-casia.dis"]
            told.update(value=told["value"] + 9, low=told["low"] + 9, high=told["high"] + 9)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / runs.RESULT).write_text(json.dumps(content))
    rows = {r.figure: r for r in compared([tmp_path / "bundle", tmp_path / "other"]).rows}
    assert rows["identity.facenet-casia.dis"].marks == ("", "+")  # farther is more private
    back = {r.figure: r for r in compared([tmp_path / "other", tmp_path / "bundle"]).rows}
    assert back["identity.facenet-casia.dis"].marks == ("", "-")


def test_the_page_stands_alone_and_shows_nobody_without_leave(once):
    result, raw = once
    page = render(result, pictures_of(raw))
    assert "data:image" not in page and "No face is shown" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "@import" not in page
    assert "<script" not in page


def test_names_from_outside_are_escaped(once):

    result, _ = once
    evil = replace(result, bundle={**result.bundle, "name": "<script>x</script>"})
    assert "<script>" not in render(evil)


def test_pictures_of_nobody_named_are_neither_shown_nor_stored(faces_folder, tmp_path):
    assert not open_pictures(faces_folder, SIZE).may_store
    rendered = tmp_path / "rendered"
    rendered.mkdir()
    labels = json.loads((faces_folder / "labels.json").read_text())
    for file in faces_folder.glob("*.png"):
        (rendered / file.name).write_bytes(file.read_bytes())
    labels["settings"] = {"renderer": 2}
    for number, frame in enumerate(labels["frames"]):
        told = {"skin": "light" if number % 2 else "dark", "sex": "male", "age_years": 40}
        frame.update(told, yaw_pitch_roll=[0, 0, 0], time_s=0.1)
    (rendered / "labels.json").write_text(json.dumps(labels))
    faces = open_pictures(rendered, SIZE)
    assert faces.may_show and faces.may_store and faces.exact
    assert list(faces.groups()) == ["age", "sex", "skin"]
    assert list(faces.groups()["age"]) == ["35–54"]
    assert list(faces.groups()["skin"]) == ["light", "dark"]


def test_command(bundle_folder, faces_folder, own_recogniser, tmp_path):
    gate = tmp_path / "gates.yaml"
    gate.write_text("limits:\n  identity.*.rank1: {at_most: -0.1}\n")
    told = ["evaluate", str(bundle_folder), str(faces_folder), "--with", own_recogniser,
            "--references", str(faces_folder), "--styles", "2", "--baselines", "original",
            "--workers", "0"]  # fmt: skip
    left_out = ("identity.dlib", "identity.faceplugin", "identity.mobilefacenet", "pose", "points",
                "face.centerface", "expression", "perceptual", "features")  # fmt: skip
    told += [part for name in left_out for part in ("--without", name)]
    failed = runner.invoke(app, [*told, "--out", str(tmp_path / "a"), "--gate", str(gate)])
    assert failed.exit_code == GATE_EXIT_CODE, failed.output
    assert "NOT kept" in failed.output and (tmp_path / "a" / "index.html").exists()
    shown = runner.invoke(app, [*told, "--out", str(tmp_path / "b"), "--json"])
    assert shown.exit_code == 0, shown.output
    content = json.loads(shown.stdout)
    assert content["passed"] and set(content["systems"]) == {"original", "bundle"}
    side = runner.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert side.exit_code == 0 and "Rank 1, FaceNet CASIA" in side.output
    again = runner.invoke(app, [*told, "--out", str(tmp_path / "b")])
    assert again.exit_code == 8 and "choose another" in again.output


def test_missing_networks_are_told_before_anything_is_done(tmp_path, bundle_folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    told = runner.invoke(app, ["evaluate", str(bundle_folder), "nowhere", "--out", "x"])
    assert told.exit_code == 2 and "rig fetch centerface" in told.output
    listed = runner.invoke(app, ["fetch"])
    assert listed.exit_code == 0 and "not there" in listed.output
    assert runner.invoke(app, ["fetch", "everything"]).exit_code == 2


def test_an_exported_engine_is_judged_as_a_system_of_its_own(bundle_folder, faces_folder, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    copy = tmp_path / "b"
    shutil.copytree(bundle_folder, copy)
    export_bundle(copy)
    faces = open_pictures(faces_folder, SIZE)
    styles = styles_of(faces_folder)
    made = [
        systems_for(
            open_bundle(copy), faces.samples, styles, baselines=(), references=2, engine=engine
        )[-1]
        for engine in ("torch", "onnx")
    ]
    torch_system, onnx_system = made
    assert onnx_system.engine == "ONNX Runtime fp32" and onnx_system.engine in onnx_system.detail
    assert torch_system.key != onnx_system.key, "measurements of one are not taken for the other's"
    some = faces.samples[:3]
    for a, b in zip(torch_system.show(some, 1), onnx_system.show(some, 1), strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1
