"""The shape that hides faces: loaded, verified, and watched; in doubt it does not stand."""

import numpy as np
import pytest

from camera_rig.clock import ManualClock
from camera_rig.config import StorageConfig, coefficient_file, load_config
from camera_rig.errors import ConfigError, ConnectError, PrivacyError
from camera_rig.private_shape import private_shape
from camera_rig.rig import Rig


@pytest.fixture
def config(tmp_path):
    config = load_config("simulated")
    storage = StorageConfig(root=tmp_path / "data", keys=tmp_path / "keys")
    return config.model_copy(update={"storage": storage})


@pytest.fixture
def rig(config):
    with Rig.open(config, clock=ManualClock(), only={"mirror"}) as rig:
        yield rig


def test_shape_of_the_configuration_stands_and_is_told(rig):
    with private_shape(rig) as shape:
        assert shape.why_not(rig.mirror) == []
        assert np.allclose(rig.mirror.read_back(), shape.command_v, atol=0.5)
        told = shape.to_dict()
        assert told["source"] == "lopez2024.yaml" and told["unit"] == "waves_rms"
        assert [2, 0, -0.83] in told["values"] and told["origin"] == "model"


def test_one_wrong_electrode_is_seen(rig):
    with private_shape(rig) as shape:
        moved_v = shape.command_v.copy()
        moved_v[17] += 5.0 if moved_v[17] < 200 else -5.0
        rig.mirror.apply(moved_v, reason="test")
        (why,) = shape.why_not(rig.mirror)
        assert "actuator 17" in why


@pytest.mark.parametrize("answer", [np.full(40, np.nan), ConnectError("gone", hint="plug it in")])
def test_a_mirror_that_cannot_be_asked_counts_as_not_standing(rig, monkeypatch, answer):
    def read_back():
        if isinstance(answer, Exception):
            raise answer
        return answer

    with private_shape(rig) as shape:
        monkeypatch.setattr(rig.mirror, "_do_read_back", read_back)
        assert shape.why_not(rig.mirror)
        monkeypatch.undo()


def test_a_rig_without_a_shape_refuses(config):
    bare = config.devices["mirror"].model_copy(update={"shape": None})
    config = config.model_copy(update={"devices": {**config.devices, "mirror": bare}})
    with Rig.open(config, clock=ManualClock(), only={"mirror"}) as rig:
        with pytest.raises(PrivacyError, match="names no shape that hides faces"):
            with private_shape(rig):
                pass


def test_names_of_shipped_sets_are_found_and_typos_guessed(tmp_path):
    assert coefficient_file("lopez2024").name == "lopez2024.yaml"
    with pytest.raises(ConfigError, match="did you mean 'lopez2024'"):
        coefficient_file("lopez2042")
    own = tmp_path / "own.yaml"
    own.write_text("")
    assert coefficient_file(own) == own
