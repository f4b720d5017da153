from __future__ import annotations

import json

import cv2
import pytest
import typer
from typer.testing import CliRunner

from camera_rig.optics import Coefficients, Order, Unit
from cli import study
from cli._common import ErrorDoor
from cli.attack import attack
from models.camera import LearnedCamera, OpticsSpec
from models.data import LABELS
from models.networks import build_face_networks, build_heatmap_network, preset
from models.runtime.bundle import CardText, write_bundle
from models.training.sources import Trained
from tests.models.conftest import draw_face

app = typer.Typer(cls=ErrorDoor, context_settings={"obj": {}})
app.command("attack")(attack)
app.add_typer(study.app, name="study")


def rig(*words, code: int = 0):
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == code, done.output + repr(done.exception)
    if "--json" not in words:
        return done.stdout
    return json.loads(done.stdout)["error"] if code else json.loads(done.stdout)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    sizes, optics = preset("tiny"), OpticsSpec(psf_px=15, max_waves_rms=0.5)
    shape = Coefficients.numbered({4: -0.3, 7: 0.1}, Unit.WAVES_RMS, Order.NOLL, 550)
    modules = {
        **build_face_networks(sizes, 1, seed=0).named(),
        "heat": build_heatmap_network(sizes, 68, seed=0),
        "camera": LearnedCamera(optics, shape),
    }
    parts = {name: dict(network.state_dict()) for name, network in modules.items()}
    trained = Trained(
        tmp_path_factory.mktemp("b"), sizes, "ibug68", 1, optics, parts,
        tuple(modules["camera"].coefficients),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("bundles") / "b"
    text = CardText(name="drawn", data="drawn faces", created="2026-01-01T00:00:00Z")
    write_bundle(trained, folder, text)
    return folder


def faces(folder, people: range, frames: int = 3, *, rendered: bool = True):
    folder.mkdir()
    rows = []
    for who in people:
        for frame in range(frames):
            picture, points = draw_face(who, frame, 64)
            name = f"id{who}_{frame}"
            assert cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
            rows.append({"name": name, "identity": who, "landmarks68": points.tolist()})
    content = {"size": 64, "frames": rows}
    if rendered:
        content["settings"] = {"renderer": "drawn"}
    (folder / LABELS).write_text(json.dumps(content))
    return folder


SHORT = [
    word
    for part in ("tuned", "restore", "prior", "vectors")
    for word in ("--set", f"{part}.steps=2", "--set", f"{part}.batch=4")
]


class Colours:
    """A recogniser that needs no weights of others."""

    name, trained_on = "colours", "nothing"

    def __call__(self, picture, landmarks_px):
        return cv2.resize(picture, (4, 4), interpolation=cv2.INTER_AREA).ravel() / 255.0


@pytest.fixture(autouse=True)
def _only_colours(monkeypatch):
    made = {"colours": lambda folder: Colours()}
    monkeypatch.setattr("models.evaluation.attacks.from_bundle.EMBEDDERS", made)


def test_attacking_a_bundle_and_its_outputs(bundle, tmp_path):
    sought, learn = faces(tmp_path / "s", range(30, 34)), faces(tmp_path / "l", range(8))
    references = faces(tmp_path / "r", range(50, 53), 1)
    words = [
        "attack", bundle, sought, "--learn", learn, "--references", references, "--size", 32,
        "--out", tmp_path / "run", *SHORT, "--camera", "learned optics",
    ]  # fmt: skip
    found = rig(*words, "--attack", "tuned", "--attack", "invert", "--attack", "link", "--json")
    assert {cell["attack"] for cell in found["cells"]} == {"tuned", "invert", "link"}
    link = next(cell for cell in found["cells"] if cell["attack"] == "link")
    assert {"colours, other reference", "colours, one reference for all"} == set(link["ranks"])
    invert = next(cell for cell in found["cells"] if cell["attack"] == "invert")
    assert "de-identified outputs" in invert["knows"] and invert["curve"]["steps"] == [0, 2]
    assert (tmp_path / "run" / "attack.html").exists()
    # More attacks join the same folder; other settings do not.
    text = rig(*words, "--attack", "frame")
    assert "Strongest attack" in text and len(list((tmp_path / "run/cells").iterdir())) == 4
    refused = rig(*words, "--set", "seed=3", "--attack", "frame", "--json", code=2)
    assert "something else" in refused["message"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--attack", "magic"], "magic"),
        (["--set", "restore.stepps=3"], "stepps"),
        (["--set", "probes=none"], "probes"),
    ],
)
def test_a_wrong_word_is_named(bundle, tmp_path, words, told):
    error = rig("attack", bundle, tmp_path, "--out", tmp_path / "r", *words, "--json", code=2)
    assert told in error["message"]


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ("heads:0", []),
        ("heads:10001", []),
        ("nowhere", []),
        (".", ["--learn", "nowhere"]),
        (".", ["--references", "nowhere"]),
    ],
)
def test_faces_that_are_nowhere_are_refused_before_anything_is_rendered(
    bundle, tmp_path, monkeypatch, people, words
):
    monkeypatch.chdir(faces(tmp_path / "s", range(30, 34)))
    monkeypatch.setattr("models.heads.render_heads", lambda *_: pytest.fail("heads are rendered"))
    told = rig("attack", bundle, people, "--out", tmp_path / "r", *words, "--json", code=2)
    wrong = words[1] if words else people
    assert wrong in told["message"] and told["hint"]


def test_the_same_faces_cannot_be_learned_from_and_sought(bundle, tmp_path):
    folder = faces(tmp_path / "s", range(30, 34))
    error = rig(
        "attack", bundle, folder, "--learn", folder, "--size", 32, "--references", folder,
        "--out", tmp_path / "r", "--json", code=2,
    )  # fmt: skip
    assert "both learned from and sought" in error["message"]


def test_a_study_from_page_to_percentages(bundle, tmp_path):
    sought = faces(tmp_path / "s", range(30, 42))
    made = rig(
        "study", "build", bundle, sought, "--references", sought, "--questions", 2,
        "--choices", 3, "--out", tmp_path / "study", "--seed", 1, "--json",
    )  # fmt: skip
    key = json.loads((tmp_path / "study" / "key.json").read_text())
    assert made["questions"] == len(key["truths"]) == 10
    for person in ("a", "b"):
        answers = [
            {"question": question, "option": truth["options"][-1], "seconds": 1.0}
            for question, truth in key["truths"].items()
        ]
        told = {"study": key["study"], "participant": person, "answers": answers}
        (tmp_path / f"{person}.json").write_text(json.dumps(told))
    results = [tmp_path / "a.json", tmp_path / "b.json"]
    found = rig("study", "score", tmp_path / "study", *results, "--json")
    assert found["participants"] == 2
    high = [s for s in found["shares"] if s["answer"] == "Highly protected"]
    assert [s["percent"] for s in high] == [100.0, 100.0]
    assert "source-of-output" in rig("study", "score", tmp_path / "study", *results)


def test_a_folder_without_scope_is_not_shown_to_anybody(bundle, tmp_path):
    pictures = faces(tmp_path / "s", range(30, 42), rendered=False)
    error = rig(
        "study", "build", bundle, pictures, "--references", pictures, "--out", tmp_path / "x",
        "--json", code=9,
    )  # fmt: skip
    assert "may not be shown" in error["message"]
    assert not (tmp_path / "x").exists()
