from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from camera_rig.errors import ConfigError, StateError, StorageError
from models.training import checkpoint as store
from models.training.loop import Trainer
from models.training.sources import open_trained
from models.training.start import build_task, train
from models.training.world import World

# Sums differ in their last bits with the number of threads; tests here use one.
_ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}

ALONE = World()


class KilledError(Exception):
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Where the runs of the earlier stages lie; filled on first use."""
    return tmp_path_factory.mktemp("chain"), {}


@pytest.fixture
def heat_run(chain, tiny_config):
    folder, made = chain
    if "heat" not in made:
        config = tiny_config(
            "heatmap", engine={"steps": 30, "checkpoint_every": 30}, heatmap={"rate": 5e-3}
        )
        made["heat"] = train(config, folder / "heat", ALONE).folder
    return made["heat"]


@pytest.fixture
def design_run(chain, heat_run, tiny_config):
    folder, made = chain
    if "design" not in made:
        config = tiny_config("design", design={"teacher": str(heat_run)})
        made["design"] = train(config, folder / "design", ALONE).folder
    return made["design"]


@pytest.fixture
def config_of(tiny_config, heat_run, design_run):
    def make(stage: str, **parts):
        own = {
            "heatmap": {},
            "design": {"design": {"teacher": str(heat_run), "adversary": 0.1}},
            "faces": {"faces": {"design": str(design_run), "latents": True, "rate": 1e-3}},
        }[stage]
        for key, value in parts.items():
            own[key] = {**own.get(key, {}), **value} if isinstance(value, dict) else value
        return tiny_config(stage, **own)

    return make


def tensors(folder):
    return store.load(folder / "checkpoints").tensors


def assert_same(one, two):
    assert one.keys() == two.keys()
    assert [k for k in one if not torch.equal(one[k], two[k])] == []


@pytest.mark.parametrize(
    ("stage", "killed_at"), [("heatmap", 1), ("heatmap", 3), ("design", 2), ("faces", 3)]
)
def test_a_killed_run_goes_on_bit_for_bit(stage, killed_at, config_of, tmp_path):
    engine = {"steps": 4, "chunk": 2, "validate_every": 3, "clip_norm": 5.0}
    config = config_of(stage, engine=engine)
    whole = train(config, tmp_path / "whole", ALONE)

    def cut(step, _steps, figures):
        if step == killed_at and "held-out/score" not in figures:
            raise KilledError

    with pytest.raises(KilledError):
        train(config, tmp_path / "cut", ALONE, report=cut)
    again = train(config, tmp_path / "cut", ALONE)
    assert again.step == whole.step == 4
    assert_same(tensors(tmp_path / "whole"), tensors(tmp_path / "cut"))
    lines = [(tmp_path / n / "metrics.jsonl").read_text() for n in ("whole", "cut")]
    assert lines[0] == lines[1]


def test_threads_that_read_ahead_change_nothing(config_of, tmp_path):
    plain = config_of("design")
    threads = config_of("design", data={"workers": 2})
    train(plain, tmp_path / "a", ALONE)
    train(threads, tmp_path / "b", ALONE)
    assert_same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))


def test_accumulating_chunks_equals_one_batch(config_of, tmp_path):
    # Stage II has no batch norm, so only the order of sums differs.
    for name, chunk in (("a", 4), ("b", 1)):
        engine = {"steps": 2, "chunk": chunk, "precision": "fp64"}
        train(config_of("faces", engine=engine), tmp_path / name, ALONE)
    assert_close(tmp_path / "a", tmp_path / "b")


def assert_close(one, two, tolerance=1e-5):
    a, b = tensors(one), tensors(two)
    away = {key: float((a[key].double() - b[key].double()).abs().max()) for key in a}
    assert {key: value for key, value in away.items() if value > tolerance} == {}
    lines = [
        [json.loads(x) for x in (f / "metrics.jsonl").read_text().splitlines()] for f in (one, two)
    ]
    for first, second in zip(*lines, strict=True):
        assert first == pytest.approx(second, rel=1e-5, abs=tolerance)


def test_two_processes_equal_one(config_of, tmp_path):
    # In double precision: Adam blows the rounding of a vanishing gradient (a bias
    # that a norm cancels) up to a whole step, which hides what is compared here.
    engine = {"steps": 20, "batch": 2, "precision": "fp64", "checkpoint_every": 20}
    rate = 1e-4  # the published one
    configs = {
        "heat": config_of("heatmap", engine=engine, heatmap={"rate": rate}),
        "faces": config_of("faces", engine=engine, faces={"latents": False, "rate": rate}),
    }
    order = []
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        config.save(tmp_path / name)
        order += [str(tmp_path / name / "run.yaml"), str(tmp_path / f"{name}-two")]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, "-m", "tests.models.worker", *order]
    done = subprocess.run(command, env=_ONE_THREAD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, config in configs.items():
        train(config, tmp_path / f"{name}-one", ALONE)
        assert_close(tmp_path / f"{name}-one", tmp_path / f"{name}-two")


def test_another_setting_is_refused_more_steps_are_not(config_of, tmp_path):
    train(config_of("heatmap"), tmp_path / "r", ALONE)
    with pytest.raises(ConfigError, match=r"heatmap\.rate"):
        train(config_of("heatmap", heatmap={"rate": 0.5}), tmp_path / "r", ALONE)
    more = train(config_of("heatmap", engine={"steps": 6}), tmp_path / "r", ALONE)
    assert more.step == 6


def test_nan_stops_with_the_batch_saved(config_of, tmp_path):
    task = build_task(config_of("heatmap"), ALONE)
    with torch.no_grad():
        task.heat.stem.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(StateError, match="not finite"):
        Trainer(task, tmp_path / "r").run()
    (place,) = (tmp_path / "r" / "stopped").iterdir()
    told = json.loads((place / "figures.json").read_text())
    assert len(told["faces"]) == 4 and told["figures"]["heatmap/total"] == "nan"
    from safetensors.torch import load_file

    saved = load_file(place / "batch-0.safetensors")
    assert torch.equal(saved["scene"], task.batch(range(4))["scene"])
    assert store.found(tmp_path / "r" / "checkpoints") == []


def test_nan_on_sensitive_faces_names_them_and_writes_none(config_of, tmp_path):
    task = build_task(config_of("heatmap"), ALONE)
    task.faces.sensitive = True
    with torch.no_grad():
        task.heat.stem.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(StateError):
        Trainer(task, tmp_path / "r").run()
    (place,) = (tmp_path / "r" / "stopped").iterdir()
    assert [p.name for p in place.iterdir()] == ["figures.json"]


def test_early_stop_keeps_the_best(config_of, tmp_path):
    config = config_of("heatmap", engine={"steps": 50, "validate_every": 1, "patience": 2})
    task = build_task(config, ALONE)
    scores = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    task.validate = lambda _networks: {"score": next(scores)}  # type: ignore[method-assign]
    summary = Trainer(task, tmp_path / "r").run()
    assert (summary.reason, summary.step, summary.best_score) == ("early", 4, 2.0)
    assert store.found(tmp_path / "r" / "best") == [2]


def test_sheets_are_made_and_the_source_is_left_out_where_sensitive(config_of, tmp_path):
    import cv2

    config = config_of("faces", engine={"steps": 1, "sheet_every": 1})
    train(config, tmp_path / "open", ALONE)
    task = build_task(config, ALONE)
    task.faces.sensitive = True
    Trainer(task, tmp_path / "closed").run()
    heights = [
        cv2.imread(str(tmp_path / n / "sheets" / "step-00000001.png")).shape[0] // 32
        for n in ("open", "closed")
    ]
    assert heights == [6, 5]  # scene, frame, four references; no scene


def test_bf16_runs_on_a_cpu_and_fp16_is_refused(config_of, tmp_path):
    summary = train(config_of("faces", engine={"steps": 1, "precision": "bf16"}), tmp_path, ALONE)
    assert summary.step == 1
    with pytest.raises(ConfigError, match="GPU"):
        train(config_of("faces", engine={"precision": "fp16"}), tmp_path / "x", ALONE)


def test_average_follows_its_formula(config_of, tmp_path):
    train(config_of("heatmap", engine={"steps": 1, "ema": 0.9}), tmp_path / "r", ALONE)
    saved = store.load(tmp_path / "r" / "checkpoints")
    fresh = build_task(config_of("heatmap"), ALONE).heat.state_dict()
    key = "stem.weight"
    # Decay of the first step is min(0.9, 1 / 10).
    wanted = 0.1 * fresh[key] + 0.9 * saved.part("heat")[key]
    assert torch.allclose(saved.part("ema/heat")[key], wanted, atol=1e-6)


def test_a_changed_checkpoint_is_refused(config_of, tmp_path):
    train(config_of("heatmap", engine={"steps": 2}), tmp_path / "r", ALONE)
    file = tmp_path / "r" / "checkpoints" / "step-00000002" / store.TENSORS
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(StorageError, match="not what was written"):
        train(config_of("heatmap"), tmp_path / "r", ALONE)


def test_old_checkpoints_go_and_torn_ones_are_not_seen(tmp_path):
    for step in (1, 2, 3):
        store.save(store.Checkpoint(step, {"a": torch.ones(step)}), tmp_path, keep=2)
    (tmp_path / ".aside-torn").mkdir()
    (tmp_path / "step-00000009").mkdir()
    assert store.found(tmp_path) == [2, 3]
    assert store.load(tmp_path).tensors["a"].tolist() == [1, 1, 1]
    with pytest.raises(StorageError, match="no checkpoint 1"):
        store.load(tmp_path, 1)


def test_design_from_zero_lowers_eq_6_and_stays_feasible(heat_run, tiny_config, tmp_path):
    def why_not(shape):
        return ["too strong"] if shape.rms > 0.2 else []

    config = tiny_config(
        "design",
        engine={"steps": 25, "validate_every": 5, "ema": 0.0},
        design={"teacher": str(heat_run), "optics_rate": 0.01, "heatmap_rate": 1e-3},
    )
    train(config, tmp_path / "d", ALONE, why_not=why_not)
    lines = [json.loads(x) for x in (tmp_path / "d" / "metrics.jsonl").read_text().splitlines()]
    judged = [x["held-out/objective"] for x in lines if "held-out/objective" in x]
    assert judged[-1] < judged[0]
    frame = [x["held-out/frame_db"] for x in lines if "held-out/frame_db" in x]
    assert frame[-1] < frame[0]
    (shape,) = open_trained(tmp_path / "d").coefficients
    assert 0.1 < shape.rms <= 0.2 and not why_not(shape)
    assert max(x.get("camera/limits_met", 0) for x in lines) > 0


def test_a_given_camera_stays_and_u_learns_it(heat_run, tiny_config, tmp_path):
    from camera_rig.optics import Coefficients, Order, Unit

    names = []
    for number, value in ((4, 0.2), (6, -0.1)):
        shape = Coefficients.numbered({number: value}, Unit.WAVES_RMS, Order.NOLL, 550)
        names.append(str(tmp_path / f"c{number}.yaml"))
        shape.save(names[-1])
    config = tiny_config(
        "design", design={"teacher": str(heat_run), "fixed": names}, engine={"validate_every": 2}
    )
    train(config, tmp_path / "d", ALONE)
    after = open_trained(tmp_path / "d")
    first, second = after.coefficients
    assert first.numbers[4] == pytest.approx(0.2) and second.numbers[6] == pytest.approx(-0.1)
    assert first.numbers[6] == second.numbers[4] == 0
    moved = [not torch.equal(after.parts["heat"][k], v) for k, v in after.parts["teacher"].items()]
    assert any(moved)
    text = (tmp_path / "d" / "metrics.jsonl").read_text()
    assert "held-out/recovered_db" in text and "design/optics" not in text
    with pytest.raises(ConfigError, match="cannot be shown: too strong"):
        train(
            config, tmp_path / "x", ALONE, why_not=lambda s: ["too strong"] if s.rms > 0.15 else []
        )


def test_identity_term_is_learned_when_asked_for(config_of, tmp_path):
    parts = {"weights": {"identity": 1.0}, "identity_margin": -1.0}
    train(config_of("faces", faces=parts), tmp_path / "r", ALONE)
    lines = [json.loads(x) for x in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert all(0.0 < x["painter/identity"] <= 2.0 for x in lines if "painter/identity" in x)
    assert any("painter/identity" in x for x in lines)


def test_faces_learn_one_batch(config_of, tmp_path):
    config = config_of(
        "faces",
        engine={"steps": 50, "batch": 2, "ema": 0.0, "checkpoint_every": 50},
        faces={
            "latents": False,
            "rate": 3e-3,
            "weights": {"adversarial": 0.0, "diversity": 0.0, "heatmap": 10.0, "r1": 0.0},
        },
        data={"changes": False},
    )
    task = build_task(config, ALONE)
    one = task.batch(range(2))
    task.batch = lambda positions: one  # type: ignore[method-assign]
    seen = []
    Trainer(task, tmp_path / "r", lambda _s, _n, figures: seen.append(dict(figures))).run()
    for term in ("perceptual", "style", "cycle", "total"):
        first, last = (
            np.mean([f[f"painter/{term}"] for f in part]) for part in (seen[:3], seen[-3:])
        )
        assert last < 0.8 * first, term


def test_a_student_comes_nearer_to_its_teacher(config_of, tmp_path):
    wide = train(config_of("faces", engine={"steps": 1}), tmp_path / "wide", ALONE).folder
    sizes = config_of("faces").sizes.model_copy(
        update={"name": "student", "painter": "student", "width": 8, "student_blocks": 2,
                "heat_channels": 16, "heat_foldable": True}
    )  # fmt: skip
    parts = config_of(
        "faces", engine={"steps": 20, "validate_every": 10, "checkpoint_every": 20, "ema": 0.0}
    ).model_dump()
    parts.update(stage="distil", sizes=sizes.model_dump())
    parts["distil"] = {"teacher": str(wide), "rate": 5e-3}
    config = type(config_of("faces")).model_validate(parts)
    train(config, tmp_path / "s", ALONE)
    lines = [json.loads(x) for x in (tmp_path / "s" / "metrics.jsonl").read_text().splitlines()]
    totals = [x["distil/total"] for x in lines if "distil/total" in x]
    assert np.mean(totals[-3:]) < 0.8 * np.mean(totals[:3])
    student = open_trained(tmp_path / "s")
    assert student.sizes.painter == "student" and student.coefficients
    assert student.coefficients[0].numbers == open_trained(wide).coefficients[0].numbers
    with pytest.raises(ConfigError, match="style_dim"):
        other = config.sizes.model_copy(update={"style_dim": 4})
        train(config.model_copy(update={"sizes": other}), tmp_path / "x", ALONE)


def test_optics_must_be_those_of_the_design(config_of, tmp_path):
    config = config_of("faces", optics={"pixel_um": 5.0})
    with pytest.raises(ConfigError, match="not those of"):
        train(config, tmp_path / "r", ALONE)


_INTERRUPTED = """
import signal, sys
from pathlib import Path
from models.training.config import RunConfig
from models.training.start import train
from models.training.world import World

def stop(step, steps, figures):
    if step == 3:
        signal.raise_signal(signal.SIGINT)

try:
    train(RunConfig.model_validate_json(sys.stdin.read()), Path(sys.argv[1]), World(), report=stop)
except KeyboardInterrupt:
    sys.exit(77)
"""


def test_ctrl_c_ends_the_step_and_writes_a_checkpoint(config_of, tmp_path):
    config = config_of("heatmap", engine={"steps": 4, "checkpoint_every": 100})
    # A program of its own, as it is at a terminal: the signal must not meet the test runner.
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, str(tmp_path / "cut")],
        input=config.model_dump_json(),
        text=True,
        timeout=120,
        env=_ONE_THREAD,
    )
    assert ended.returncode == 77
    assert store.found(tmp_path / "cut" / "checkpoints") == [3]
    train(config, tmp_path / "cut", ALONE)
    train(config, tmp_path / "whole", ALONE)
    assert_same(tensors(tmp_path / "cut"), tensors(tmp_path / "whole"))
