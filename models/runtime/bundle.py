"""Bundles: everything a trained system needs, with a card and hashes, and no pickle.

A bundle is a folder: ``card.json`` (what it is, for whom, how good),
``weights.safetensors``, ``coefficients.yaml`` for a learned optic, and further
files such as exported networks. The card lists the SHA-256 of every other file,
so a changed, missing or added file is noticed before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file

from camera_rig.errors import ConfigError, StorageError
from camera_rig.optics import Coefficients
from models.camera import OpticsSpec
from models.networks import NetworkSizes
from models.training.checkpoint import file_hash
from models.training.sources import Trained, coefficients_of

if TYPE_CHECKING:
    from models.runtime.references import Reference

CARD, WEIGHTS, COEFFICIENTS = "card.json", "weights.safetensors", "coefficients.yaml"
FORMAT = 1
SHIPPED = ("camera", "heat", "teacher", "encoder", "generator", "style")
"""Networks that a bundle holds; D and the mapping network stay with the run."""

DEFAULT = "default"
"""What every command takes for the bundle that comes with the toolkit."""


def bundle_folder(named: str | Path) -> Path:
    """Return the folder meant; ``default`` is the shipped one, unless such a folder is here."""
    folder = Path(named)
    if str(named) == DEFAULT and not folder.exists():
        return Path(__file__).resolve().parents[1] / "default_bundle"
    return folder


class Card(BaseModel):
    """What a bundle is and what it may be used for.

    Args:
        format: Version of the bundle format.
        name: Name for people.
        created: Date and time, UTC, ISO 8601.
        software: Version of the toolkit.
        licence: Licence of the weights.
        data: What it was trained on, in words.
        people: True when real people are in the training data.
        scopes: What it may be used for; empty means no statement.
        metrics: Figures with the set they belong to, named in their keys.
        sizes: The networks.
        layout: Name of the landmark layout.
        domains: Number of domains.
        optics: The camera it was trained for.
        optics_id: Hash of what the camera does to light; see :func:`optics_id`.
        calibrations: Calibrations of the instrument it was fine-tuned on.
        files: File name to SHA-256 of every file beside the card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    name: str
    created: str
    software: str
    licence: str
    data: str
    people: bool
    scopes: tuple[str, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    sizes: NetworkSizes
    layout: str
    domains: int
    optics: OpticsSpec
    optics_id: str
    calibrations: tuple[str, ...] = ()
    files: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """An opened, verified bundle.

    Args:
        folder: Where it lies.
        card: What it is.
        trained: Its weights.
    """

    folder: Path
    card: Card
    trained: Trained

    def references(self) -> Mapping[str, Reference]:
        """Return the public faces whose style can be painted, by name; never empty."""
        from models.runtime.references import references_of

        return references_of(self)

    def check_optics(
        self, shapes: Sequence[Coefficients], calibrations: Sequence[str] = ()
    ) -> None:
        """Refuse to run behind an optic it was not trained for.

        Args:
            shapes: What the instrument shows now.
            calibrations: Calibrations of the instrument in force now; only compared
                when the bundle names some.

        Raises:
            ConfigError: They differ, and how.
        """
        here = optics_id(shapes, self.card.optics)
        if here != self.card.optics_id:
            raise ConfigError(
                f"bundle {self.card.name!r} belongs to optics {self.card.optics_id}, "
                f"the instrument shows {here}",
                hint=f"load {self.folder / COEFFICIENTS} into the mirror, or use the bundle "
                "that was trained for this shape",
            )
        missing = sorted(set(self.card.calibrations) - set(calibrations))
        if missing:
            raise ConfigError(
                f"bundle {self.card.name!r} was tuned under calibrations not in force: "
                f"{', '.join(missing)}",
                hint="use these calibrations, or fine-tune on pairs taken under the new ones",
            )


@dataclass(frozen=True)
class CardText:
    """What a person states about a bundle.

    Args:
        name: Name for people.
        data: What it was trained on.
        licence: Licence of the weights.
        people: True when real people are in the training data.
        scopes: What it may be used for.
        calibrations: Calibrations it was fine-tuned under.
        created: Date and time, UTC, ISO 8601.
    """

    name: str
    data: str
    created: str
    licence: str = "Apache-2.0"
    people: bool = False
    scopes: tuple[str, ...] = ()
    calibrations: tuple[str, ...] = ()


def write_bundle(
    trained: Trained,
    folder: str | Path,
    text: CardText,
    metrics: Mapping[str, float] | None = None,
) -> Card:
    """Write a bundle, aside and renamed; never over another one.

    Args:
        trained: Weights to ship; networks that only training needs are left out.
        folder: Where it goes; must not exist.
        text: What a person states about it.
        metrics: Figures to print on the card.

    Raises:
        StorageError: The folder exists or cannot be written.
    """
    from camera_rig import __version__

    target = Path(folder)
    if target.exists():
        raise StorageError(f"{target} exists already", hint="choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        tensors = {
            f"{name}/{key}": value.contiguous()
            for name in SHIPPED
            for key, value in trained.parts.get(name, {}).items()
        }
        save_file(tensors, aside / WEIGHTS)
        for shape, place in zip(
            trained.coefficients, _coefficient_files(trained, aside), strict=True
        ):
            shape.save(place)
        card = Card(
            **{key: getattr(text, key) for key in CardText.__dataclass_fields__},
            software=__version__,
            metrics=dict(metrics or {}),
            sizes=trained.sizes,
            layout=trained.layout,
            domains=trained.domains,
            optics=trained.optics,
            optics_id=optics_id(trained.coefficients, trained.optics),
            files=_hashes(aside),
        )
        (aside / CARD).write_text(card.model_dump_json(indent=2), encoding="utf-8")
        aside.replace(target)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StorageError(
            f"cannot write bundle {target}: {error}", hint="check disk space and permissions"
        ) from error
    return card


def read_card(folder: str | Path) -> Card:
    """Read the card alone, without trusting the rest.

    Raises:
        StorageError: There is none, or it cannot be read.
        ConfigError: It is of another format.
    """
    file = bundle_folder(folder) / CARD
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.get("format") != FORMAT:
            raise ConfigError(
                f"{file} is of format {content.get('format')!r}, this software reads {FORMAT}",
                hint="use the version of the toolkit that made it, or make the bundle again",
            )
        return Card.model_validate(content)
    except FileNotFoundError as error:
        raise StorageError(
            f"{file.parent} is no bundle: it has no {CARD}",
            hint=f"give the folder of a bundle, or `{DEFAULT}` for the one that ships",
        ) from error
    except (OSError, json.JSONDecodeError, AttributeError, ValidationError) as error:
        raise StorageError(
            f"{file} is no bundle card: {error}", hint="give the folder of a bundle"
        ) from error


def verify(folder: str | Path) -> list[str]:
    """Return what is wrong with a bundle's files; an empty list when all is well."""
    place, card = bundle_folder(folder), read_card(folder)
    here = _hashes(place)
    wrong = [f"{name} is missing" for name in sorted(card.files.keys() - here.keys())]
    wrong += [f"{name} was added" for name in sorted(here.keys() - card.files.keys())]
    wrong += [
        f"{name} was changed"
        for name in sorted(here.keys() & card.files.keys())
        if here[name] != card.files[name]
    ]
    if WEIGHTS not in card.files:
        wrong.append(f"{WEIGHTS} is not on the card")
    return wrong


def open_bundle(folder: str | Path) -> Bundle:
    """Open a bundle whose every file is as written.

    Raises:
        StorageError: A file is missing, added or changed.
        ConfigError: Weights, coefficients and card do not belong together.
    """
    place = bundle_folder(folder)
    card = read_card(place)
    if wrong := verify(place):
        raise StorageError(
            f"bundle {place} is not what was written: {'; '.join(wrong)}",
            hint="get the bundle again from where it came; do not use this copy",
        )
    parts: dict[str, dict[str, Any]] = {}
    for name, value in load_file(place / WEIGHTS).items():
        network, key = name.split("/", 1)
        parts.setdefault(network, {})[key] = value
    shapes = coefficients_of(parts, card.optics)
    written = tuple(Coefficients.load(p) for p in sorted(place.glob("coefficients*.yaml")))
    ids = {optics_id(s, card.optics) for s in ((shapes, written) if written else (shapes,))}
    if ids != {card.optics_id}:
        raise ConfigError(
            f"the optics of {place} do not match its card ({card.optics_id})",
            hint="the bundle was put together from two others: make it again",
        )
    trained = Trained(
        origin=place,
        sizes=card.sizes,
        layout=card.layout,
        domains=card.domains,
        optics=card.optics,
        parts=parts,
        coefficients=shapes,
    )
    return Bundle(place, card, trained)


def add_file(folder: str | Path, name: str, source: Path) -> None:
    """Put a further file (an exported network) into a bundle and onto its card."""
    place = Path(folder)
    open_bundle(place)
    shutil.copyfile(source, place / name)
    card = read_card(place)
    files = {**card.files, name: file_hash(place / name)}
    aside = place / f".{CARD}"
    aside.write_text(
        card.model_copy(update={"files": files}).model_dump_json(indent=2), encoding="utf-8"
    )
    aside.replace(place / CARD)


def optics_id(shapes: Sequence[Coefficients], optics: OpticsSpec) -> str:
    """Return a short hash of what the camera does to light.

    Shapes count to a thousandth of a wave, so that rounding in a file does not
    make another optic. Noise and window do not count.
    """
    rows = [
        {
            str(j): round(v, 3) + 0.0
            for j, v in s.to(unit="waves_rms", order="noll", wavelength_nm=550.0).numbers.items()
            if round(v, 3)
        }
        for s in shapes
    ]
    keys = ("pupil_mm", "focal_mm", "pixel_um", "wavelengths_nm")
    told = {"shapes": rows, **{key: getattr(optics, key) for key in keys}}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _coefficient_files(trained: Trained, folder: Path) -> list[Path]:
    count = len(trained.coefficients)
    if count == 1:
        return [folder / COEFFICIENTS]
    return [folder / f"coefficients-{i:02d}.yaml" for i in range(count)]


def _hashes(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in (CARD, f".{CARD}"))
    return {p.relative_to(folder).as_posix(): file_hash(p) for p in sorted(files)}
