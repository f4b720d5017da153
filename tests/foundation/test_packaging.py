"""What a user installs: licences told, extras as promised, embedded files found."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements):
    return {re.split(r"[<>=;\[ ]", one)[0] for one in requirements}


def test_every_dependency_has_its_licence_told():
    legal = (ROOT / "docs" / "legal.md").read_text(encoding="utf-8")
    wanted = names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted |= names(extra)
    stubs = {name for name in wanted if name.startswith("types-")}
    assert not {name for name in wanted - stubs if name not in legal}


def test_gpl_packages_are_never_required():
    assert not names(PROJECT["dependencies"]) & {"thorlabs-apt-device", "pyvirtualcam", "pylablib"}


def test_every_dependency_is_pinned_and_torch_is_the_promised_one():
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    wanted = names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted |= names(extra)
    lines = {line.split("==")[0].lower().replace("_", "-") for line in pinned.splitlines()}
    assert not {name for name in wanted if name.lower() not in lines}
    assert "torch==2.13.0" in pinned.splitlines()
    assert not re.search(r"^(nvidia|cuda|triton)", pinned, re.MULTILINE)


def test_python_floor_and_licence():
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["license"] == "Apache-2.0"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").strip().startswith("Apache License")
