"""Configuration files: round trips, and errors a user can act on."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from camera_rig.bench import Bench
from camera_rig.config import RigConfig, embedded_configs, json_schema, load_config
from camera_rig.errors import ConfigError
from tests.support.rigs import TOY, toy_rig

GOOD = f"""\
schema: 1
name: probe
bench:
  privacy: {{focal_length_mm: 75}}
devices:
  privacy:
    driver: {TOY}:ToyCamera
    serial: A1
    settings: {{exposure_s: 0.01}}
  mirror:
    driver: {TOY}:ToyMirror
    max_temperature_c: 55
    temperature_c: 20
"""


def write(tmp_path, text):
    path = tmp_path / "rig.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def fault(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    return caught.value.message


def test_good_file(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    assert config.bench.privacy.focal_length_mm == 75
    assert config.devices["privacy"].options.serial == "A1"
    assert config.devices["privacy"].settings.to_settings().exposure_s == 0.01
    assert config.devices["mirror"].max_temperature_c == 55
    assert config.devices["mirror"].options.temperature_c == 20
    assert not config.simulated


def test_config_is_frozen(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    with pytest.raises(Exception, match="frozen"):
        config.name = "other"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("focal_length_mm", "focal_lenght_mm", 4, "did you mean 'focal_length_mm'"),
        ("focal_length_mm: 75", "focal_length_mm: -1", 4, "greater than 0 (given: -1)"),
        ("serial: A1", "seriel: A1", 8, "did you mean 'serial'"),
        ("exposure_s: 0.01", "exposure_ms: 10", 9, "did you mean 'exposure_s'"),
        ("temperature_c: 20", "temperature_c: warm", 13, "valid number"),
        ("  mirror:", "  mirrro:", 10, "Allowed here: privacy, side, mirror, stage, light"),
        ("ToyMirror", "ToyCamera", 11, "is not a mirror"),
        ("ToyMirror", "ToyMiror", 11, "has no 'ToyMiror'"),
        (f"{TOY}:ToyMirror", "thorlab-dm", 11, "did you mean 'thorlabs-dm'"),
        (f"{TOY}:ToyMirror", "no.such:Thing", 11, "no module 'no'"),
        ("schema: 1", "schema: 2", 1, "schema"),
        ("name: probe", "name: 'a b'", 2, "pattern"),
    ],
)
def test_faults_name_file_line_key_and_what_is_allowed(tmp_path, old, new, line, words):
    message = fault(tmp_path, GOOD.replace(old, new))
    assert f"rig.yaml:{line}: " in message
    assert words in message


def test_all_faults_come_at_once(tmp_path):
    text = GOOD.replace("serial", "seriel").replace("focal_length_mm", "focus").replace("55", "x")
    assert len(fault(tmp_path, text).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "devices: must list at least one"),
        ("- 1\n- 2\n", "expected keys"),
        ("schema: 1\nname: a\ndevices: {mirror: 3}\n", "needs 'driver:', one of remote"),
        ("schema: 1\nschema: 1\n", "rig.yaml:2: 'schema' is given twice (first on line 1)"),
        ("a: [1\nb: 2\n", "rig.yaml:2"),
        ("a: !!python/object:os.system {}\n", "could not determine a constructor"),
    ],
)
def test_broken_files(tmp_path, text, words):
    assert words in fault(tmp_path, text)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(binary)
    with pytest.raises(ConfigError, match="no configuration named 'simulatd'"):
        load_config("simulatd")


def test_every_shipped_file_round_trips(tmp_path):
    from cli.config import _as_file

    assert "simulated" in embedded_configs()
    for path in embedded_configs().values():
        config = load_config(path)
        data = _as_file(config.model_dump(mode="json", by_alias=True))
        again = load_config(write(tmp_path, yaml.safe_dump(data)))
        assert again.model_dump() == config.model_dump(), path


def test_toy_rig_is_good(tmp_path):
    assert set(load_config(toy_rig(tmp_path)).devices) == {
        "privacy",
        "side",
        "mirror",
        "stage",
        "light",
    }


@given(
    st.builds(
        Bench,
        object_distance_mm=st.floats(1, 1e5),
        incidence_deg=st.floats(0, 59),
        wavelengths_nm=st.tuples(*[st.floats(300, 1100)] * 3),
    )
)
def test_bench_round_trips_through_json(bench):
    assert Bench.model_validate_json(bench.model_dump_json()) == bench


def test_json_schema_knows_every_role_and_driver():
    schema = json_schema()
    text = json.dumps(schema)
    for word in ("thorlabs-dm", "canon", "max_temperature_c", "focal_length_mm"):
        assert word in text
    assert set(schema["properties"]["devices"]["properties"]) == {
        "privacy",
        "side",
        "mirror",
        "stage",
        "light",
    }


def test_model_refuses_unknown_keys_in_python_too():
    with pytest.raises(ValueError, match="extra"):
        RigConfig(schema=1, name="a", devices={}, surprise=1)
