"""From a driver's name to its class, with errors that list what is known."""

import sys
from importlib.metadata import EntryPoint

import pytest

from camera_rig import registry
from camera_rig.contracts import DeviceKind
from camera_rig.errors import ConfigError, ConnectError
from tests.support.toy_drivers import ToyMirror


def test_module_path_gives_the_class():
    name = "tests.support.toy_drivers:ToyMirror"
    assert registry.driver_class(DeviceKind.MIRROR, name) is ToyMirror


def test_entry_points_of_other_packages_are_found(monkeypatch):
    point = EntryPoint(
        "mirror.acme", "tests.support.toy_drivers:ToyMirror", registry.ENTRY_POINT_GROUP
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert "acme" in registry.known_drivers(DeviceKind.MIRROR)
    assert "acme" not in registry.known_drivers(DeviceKind.CAMERA)
    assert registry.driver_class(DeviceKind.MIRROR, "acme") is ToyMirror


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="unknown camera driver 'cannon'; did you mean 'canon'"):
        registry.driver_class(DeviceKind.CAMERA, "cannon")


def test_wrong_kind_is_refused():
    with pytest.raises(ConfigError, match="is not a camera"):
        registry.driver_class(DeviceKind.CAMERA, "tests.support.toy_drivers:ToyMirror")


def test_a_missing_package_is_a_connect_error_with_its_name(tmp_path, monkeypatch):
    (tmp_path / "needy_driver.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConnectError, match="needs the Python package 'a_package_nobody_has'"):
        registry.driver_class(DeviceKind.STAGE, "needy_driver:Thing")
    sys.modules.pop("needy_driver", None)


@pytest.mark.parametrize("kind", list(DeviceKind))
def test_every_built_in_name_leads_to_a_driver_of_its_kind(kind):
    for name in registry.known_drivers(kind):
        found = registry.driver_class(kind, name)
        assert found.kind is kind, name
