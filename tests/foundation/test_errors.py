"""The error tree: hints, exit codes, process boundaries."""

import pickle

import pytest

from camera_rig import errors
from camera_rig.errors import ConfigError, ConnectError, GatheredError, RigError, SafetyError


def leaves():
    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, RigError) and one is not GatheredError
    ]


def test_every_class_has_its_own_exit_code_and_kind():
    assert len({one.exit_code for one in leaves()}) == len(leaves())
    assert len({one.kind for one in leaves()}) == len(leaves())


@pytest.mark.parametrize("kind", leaves())
def test_message_and_hint_are_both_shown(kind):
    assert str(kind("it broke", hint="mend it")) == "it broke\n  → mend it"


@pytest.mark.parametrize("kind", leaves())
def test_errors_survive_a_process_boundary(kind):
    error = kind("it broke", hint="mend it")
    error.port = "usb:1"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.port) == (kind, str(error), "usb:1")


def test_gathered_errors_show_all_and_exit_with_the_gravest():
    several = GatheredError(
        "could not open",
        [("mirror", SafetyError("hot", hint="wait")), ("side", ConnectError("gone", hint="plug"))],
    )
    assert several.exit_code == SafetyError.exit_code
    assert "  mirror: hot\n    → wait" in str(several)
    assert "  side: gone\n    → plug" in str(several)
    copy = pickle.loads(pickle.dumps(several))
    assert str(copy) == str(several)


def test_gathering_nothing_is_a_mistake():
    with pytest.raises(ValueError, match="at least one"):
        GatheredError("nothing", [])


def test_config_error_is_not_a_connect_error():
    assert not issubclass(ConfigError, ConnectError)
