from __future__ import annotations

import numpy as np
import pytest

from camera_rig.clock import ManualClock
from camera_rig.errors import PrivacyError
from camera_rig.recording.prepared import PreparedSet
from camera_rig.recording.store import DataStore
from models.prepared import open_prepared
from models.training.loop import Trainer
from models.training.start import build_task, train
from models.training.world import World
from tests.recording.test_prepare import prepared, record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A prepared set of two takes of a drawn world, encrypted as any set is."""
    root = tmp_path_factory.mktemp("store")
    store = DataStore(root / "data", root / "keys", ManualClock(), "tester")
    store.keys.init(None)
    takes = [record(store, number) for number in range(3)]
    return store, prepared(store, takes, root / "set").folder


def test_pairs_are_read_in_memory_and_split_as_the_set_is(recorded):
    store, folder = recorded
    with PreparedSet(folder, store.access("test")) as source:
        faces, held_out = open_prepared(source, 32)
        assert len(faces) == source.manifest.counts["train"]
        assert len(held_out) == source.manifest.counts["test"]
        face, pair = faces[0], source.pair(source.split("train")[0])
        assert face.name == pair.sample.key and face.picture.shape == (32, 32, 3)
        coarse = pair.side.reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(face.picture - coarse).max() <= 1
        assert faces.identity_of(0) == source.manifest.subjects.index(pair.sample.subject)
        assert not faces.sensitive  # a set of the twin
    assert {p.suffix for p in folder.iterdir()} <= {".json", ".jsonl", ".tar", ".html", ".enc"}


def test_sets_of_people_are_sensitive(recorded):
    store, folder = recorded
    with PreparedSet(folder, store.access("test")) as source:
        source.manifest = source.manifest.model_copy(update={"simulated": False})
        assert all(part.sensitive for part in open_prepared(source, 32))


def test_without_a_key_nothing_is_learned(recorded):
    _, folder = recorded
    with PreparedSet(folder) as source, pytest.raises(PrivacyError, match="no key"):
        open_prepared(source, 32)[0][0]


def test_finetuning_reads_a_prepared_set(recorded, tiny_config, faces_folder, tmp_path):
    store, folder = recorded
    world = World()
    heat = train(tiny_config("heatmap", engine={"steps": 1}), tmp_path / "h", world).folder
    design = train(
        tiny_config("design", engine={"steps": 1}, design={"teacher": str(heat)}),
        tmp_path / "d",
        world,
    ).folder
    faces = train(
        tiny_config("faces", engine={"steps": 1}, faces={"design": str(design)}),
        tmp_path / "f",
        world,
    ).folder
    config = tiny_config(
        "finetune",
        data={"folder": str(folder), "references": str(faces_folder)},
        engine={"steps": 2, "batch": 2},
        faces={"start": str(faces), "rate": 1e-3, "heatmap_rate": 1e-3},
    )
    with PreparedSet(folder, store.access("finetune")) as source:
        task = build_task(config, world, prepared=source)
        batch = task.batch(range(2))
        assert bool(batch["is_real"].all())  # no PSF bank: only recorded frames
        before = {k: v.clone() for k, v in task.nets.generator.state_dict().items()}
        Trainer(task, tmp_path / "t").run()
        after = task.nets.generator.state_dict()
    assert any(not np.array_equal(before[k], after[k]) for k in before)
