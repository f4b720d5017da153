"""Journal, named shapes, safe shape on trouble, pictures."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from camera_rig.bench import MirrorGeometry
from camera_rig.errors import ConfigError, SafetyError, StorageError
from camera_rig.mirror.hysteresis import PlayModel
from camera_rig.mirror.influence import InfluenceModel, Provenance
from camera_rig.mirror.picture import electrode_grid, save_map, terminal_map, terminal_psf
from camera_rig.mirror.reference import MirrorFolder, Reference
from camera_rig.mirror.session import modal_session
from camera_rig.mirror.shape import Hysteresis
from tests.mirror.forty import MATRIX, PAPER, PatternMirror, made, waves

SERIAL = "M00000001"


@pytest.fixture
def folder(tmp_path):
    return MirrorFolder(tmp_path, SERIAL)


def test_every_command_is_journalled_with_its_reason(folder):
    with made() as mirror:
        with modal_session(mirror, folder, MATRIX) as modal:
            loaded = modal.load(waves(PAPER), reason="the published set")
            with pytest.raises(SafetyError):
                modal.load(waves({5: 99.0}))
        assert mirror.observers == []
    (file,) = folder.journal.glob("*.jsonl")
    assert file.name == "commands-2026-01-01.jsonl"
    (line,) = [json.loads(text) for text in file.read_text().splitlines()]
    assert line["reason"] == "the published set" and line["serial"] == SERIAL
    assert line["command_v"] == pytest.approx(loaded.plan.command_v, abs=1e-3)


def test_trouble_walks_to_the_safe_shape(folder):
    with made() as mirror:
        with pytest.raises(KeyboardInterrupt), modal_session(mirror, folder, MATRIX) as modal:
            safe_v = modal.load(waves(PAPER)).plan.command_v
            mirror.apply(np.full(40, 20.0))
            raise KeyboardInterrupt
        assert np.array_equal(mirror.volts, safe_v), "the shape that hides faces, not flat"


def test_calibration_and_hysteresis_are_taken_up(folder):
    folder.keep_hysteresis(PlayModel.nominal(40))
    folder.keep_influence(
        dataclasses.replace(MATRIX, provenance=Provenance("measured", SERIAL, "2026-01-01"))
    )
    with made() as mirror, modal_session(mirror, folder) as modal:
        assert modal.hysteresis is Hysteresis.MODEL
        assert modal.influence.provenance.kind == "measured"
        list(mirror.relax())
        assert modal.plan(waves(PAPER)).notes == ()
    assert json.loads(folder.memory.read_text())["clean"] is True
    with made(PatternMirror) as mirror, modal_session(mirror, folder) as modal:
        assert modal.hysteresis is Hysteresis.MAKER


def test_matrix_of_another_mirror_is_refused(folder):
    other = dataclasses.replace(MATRIX, provenance=Provenance("measured", "M00000099"))
    with pytest.raises(ConfigError, match="M00000099"):
        folder.keep_influence(other)


def test_named_shapes(folder, tmp_path):
    shape = Reference("flat-1", SERIAL, np.arange(40.0), "2026-01-01T00:00:00Z", "after relax")
    folder.keep_reference(shape)
    assert folder.references() == ["flat-1"]
    assert np.array_equal(folder.reference("flat-1").command_v, np.arange(40.0))
    with pytest.raises(StorageError, match="already"):
        folder.keep_reference(shape)
    folder.keep_reference(dataclasses.replace(shape, note="again"), replace=True)
    assert folder.reference("flat-1").note == "again"
    with pytest.raises(ConfigError, match="flat-1"):
        folder.reference("flat")
    for name in ("../evil", "a/b", "", ".hidden", "x" * 65):
        with pytest.raises(ConfigError, match="name"):
            folder.reference(name)
    stolen = MirrorFolder(tmp_path, "M00000002")
    stolen.path.mkdir(parents=True)
    (folder.path / "references").rename(stolen.path / "references")
    with pytest.raises(StorageError, match="belongs to mirror M00000001"):
        stolen.reference("flat-1")


def test_kept_safe_shape_is_taken_up_again(folder):
    with made() as mirror:
        assert not folder.restore_safe(mirror)
        folder.keep_reference(Reference("safe", SERIAL, np.full(40, 99.0), "2026-01-01"))
        assert folder.restore_safe(mirror)
        mirror.park()
        assert np.array_equal(mirror.volts, np.full(40, 99.0))


@pytest.mark.parametrize("clockwise", [False, True])
def test_picture_and_model_agree_on_where_electrodes_are(clockwise):
    geometry = MirrorGeometry(segment0_angle_deg=17.0, counter_clockwise=not clockwise)
    grid = electrode_grid(geometry, 101)
    line_mm = (2.0 * np.arange(101) - 100) / 101 * 10.5
    for number, (ring, middle) in enumerate(InfluenceModel(geometry, 14.0).sectors):
        radius_mm = (1.75, 5.25, 8.25)[ring]
        column = np.argmin(np.abs(line_mm - radius_mm * np.cos(middle)))
        row = np.argmin(np.abs(line_mm[::-1] - radius_mm * np.sin(middle)))
        assert grid[row, column] == number
    assert set(np.unique(grid)) == set(range(-1, 40))


def test_pictures_can_be_drawn(tmp_path):
    limits_v = np.tile([0.0, 300.0], (40, 1))
    volts = np.linspace(0, 300, 40)
    psf = np.zeros((3, 50, 50))
    psf[:, 27, 27] = 1.0
    save_map(tmp_path / "map.png", MirrorGeometry(), volts, limits_v, psf)
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    text = terminal_map(MirrorGeometry(), volts, limits_v, width=20)
    assert len(text.plain.splitlines()) == 11
    plain = terminal_map(MirrorGeometry(), volts, limits_v, width=20, colour=False).plain
    assert len(plain.splitlines()) == 11 and {".", "@"} <= set(plain) and "▀" not in plain
    assert "▀" in terminal_psf(psf, width=10).plain
    assert terminal_psf(psf, width=10, colour=False).plain.count("@") == 1
