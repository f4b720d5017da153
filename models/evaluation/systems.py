"""What is compared: no protection, the optic alone, plain ways to blur, and the bundle.

Each system turns sharp faces into what an onlooker gets. Plain blurs are set to the
strength of the learned optic (equal PSNR to the sharp face), or the comparison would
be one of settings. Everything is decided by the sample, so a run can be repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as fn

from camera_rig.errors import ConfigError
from models.camera import FixedCamera, LowResolutionCamera, OpticsSpec, PrivacyCamera
from models.data import planar
from models.draws import Purpose, draw
from models.evaluation.attacks.cameras import LOW_RESOLUTION_PX, OWN, camera_of, line_up
from models.evaluation.embedders import Floats, Picture
from models.evaluation.material import Sample
from models.runtime.bundle import Bundle, open_bundle
from models.runtime.engine import Engine
from models.runtime.painter import Painter, StyleReader
from models.runtime.pick import pick_engine
from models.runtime.references import references_of
from models.training.sources import Trained

ORIGINAL = "original"
BUNDLE = "bundle"
TORCH = "torch"
BASELINES = ("original", "optics", "low-resolution", "defocus", "blur", "pixelation")
"""Names for ``--baselines``; the bundle itself is always judged."""

_STRENGTH_FACES = 8
_BATCH = 8


class System(Protocol):
    """Something that stands between a face and an onlooker.

    ``key`` changes whenever its pictures would; ``references`` is in how many ways it
    paints the same face.
    """

    name: str
    detail: str
    references: int

    @property
    def key(self) -> str:
        """Hash of everything that decides its pictures."""
        ...

    def show(self, samples: Sequence[Sample], reference: int) -> list[Picture]:
        """Return what an onlooker gets, RGB, 8 bit."""
        ...


@dataclass(frozen=True)
class Unprotected:
    """The sharp face: the ceiling of use and the floor of privacy."""

    name: str = ORIGINAL
    detail: str = "no protection"
    references: int = 1
    key: str = "original"

    def show(self, samples: Sequence[Sample], reference: int) -> list[Picture]:
        """Return the faces as they are."""
        return [sample.picture for sample in samples]


@dataclass(frozen=True, eq=False)
class Optic:
    """A camera's frame itself, with its noise and its 8 bits.

    Args:
        name: For tables.
        detail: Its strength, in words.
        spec: Noise, light and padding.
        psf: ``(3, k, k)`` or ``(n, 3, k, k)``, energy share per pixel; None for few pixels.
        cells: Pixels across the sensor, without a PSF.
        recorded: Show what the privacy camera recorded, where a sample has it.
    """

    name: str
    detail: str
    spec: OpticsSpec
    psf: Floats | None = None
    cells: int = 0
    recorded: bool = False
    references: int = 1

    @cached_property
    def key(self) -> str:
        """Hash of PSF, cells and settings."""
        digest = hashlib.sha256(f"{self.spec.model_dump_json()}{self.cells}".encode())
        if self.psf is not None:
            digest.update(np.round(self.psf.astype(np.float64), 9).tobytes())
        return f"optic {digest.hexdigest()[:24]} {self.recorded}"

    def show(self, samples: Sequence[Sample], reference: int) -> list[Picture]:
        """Return the frames."""
        return [self._frame(sample) for sample in samples]

    def _frame(self, sample: Sample) -> Picture:
        if self.recorded and sample.privacy is not None:
            return sample.privacy
        scene = torch.from_numpy(planar(sample.picture))[None]
        numbers = draw(int(sample.key[:8], 16), Purpose.NOISE).standard_normal(scene.shape)
        with torch.inference_mode():
            frame = self._camera()(scene, torch.from_numpy(numbers.astype(np.float32)))
        return as_picture(frame[0])

    def _camera(self) -> PrivacyCamera:
        if self.psf is None:
            return LowResolutionCamera(self.spec, self.cells)
        return FixedCamera(self.spec, self.psf)


@dataclass(frozen=True)
class Pixelation:
    """Flat cells: the mean of each, enlarged without smoothing.

    Args:
        cells: Cells across the picture.
        detail: Its strength, in words.
    """

    cells: int
    detail: str
    name: str = "pixelation"
    references: int = 1

    @property
    def key(self) -> str:
        """The number of cells."""
        return f"pixelation {self.cells}"

    def show(self, samples: Sequence[Sample], reference: int) -> list[Picture]:
        """Return the faces in cells."""
        return [self._cells(sample.picture) for sample in samples]

    def _cells(self, picture: Picture) -> Picture:
        scene = torch.from_numpy(planar(picture))[None]
        means = fn.adaptive_avg_pool2d(scene, self.cells)
        return as_picture(fn.interpolate(means, size=tuple(scene.shape[-2:]), mode="nearest")[0])


@dataclass(frozen=True, eq=False)
class Painted:
    """A bundle: optic, U, E and G, painting in the styles of public references.

    Every person is painted in ``references`` of the styles given, the same ones in
    every frame.

    Args:
        folder: The bundle.
        weights: SHA-256 of its weights.
        optic: Its camera.
        styles: ``(n, size, size, 3)`` public reference faces, RGB, 8 bit.
        domains: Domain of each reference.
        references: How many of them a person is painted in.
        seed: Decides which.
        codes: ``(n, style_dim)`` style codes of the faces, where a bundle ships its own;
            None has S read them.
        engine: What runs the networks, as for the live view; ``torch`` is the reference.
    """

    folder: str
    weights: str
    optic: Optic
    styles: Picture
    domains: tuple[int, ...]
    references: int = 10
    seed: int = 0
    name: str = BUNDLE
    detail: str = ""
    codes: Floats | None = None
    engine: str = TORCH

    @cached_property
    def key(self) -> str:
        """Hash of weights, optic and references, and the engine where it is another."""
        told = np.ascontiguousarray(self.styles if self.codes is None else self.codes)
        digest = hashlib.sha256(told.tobytes()).hexdigest()[:16]
        other = "" if self.engine == TORCH else f" {self.engine}"
        return f"painted {self.weights[:16]} {self.optic.key} {digest} {self.seed}{other}"

    def style_of(self, person: int, reference: int) -> int:
        """Return which public reference a person is painted in."""
        order = draw(self.seed, Purpose.REFERENCE, abs(person)).permutation(len(self.styles))
        return int(order[reference])

    def show(self, samples: Sequence[Sample], reference: int) -> list[Picture]:
        """Return the painted faces."""
        frames = self.optic.show(samples, 0)
        codes = _codes(self)
        if self.engine != TORCH:
            return self._by_engine(samples, frames, codes.numpy(), reference)
        painter = _painter(self.folder)
        shown: list[Picture] = []
        for start in range(0, len(samples), _BATCH):
            part = slice(start, start + _BATCH)
            rows = [self.style_of(sample.person, reference) for sample in samples[part]]
            batch = torch.from_numpy(np.stack([planar(frame) for frame in frames[part]]))
            with torch.inference_mode():
                faces, _ = painter(batch, codes[rows])
            shown.extend(as_picture(face) for face in faces)
        return shown

    def _by_engine(
        self, samples: Sequence[Sample], frames: Sequence[Picture], codes: Floats, reference: int
    ) -> list[Picture]:
        """Paint frame by frame, as the live view does."""
        engine = _engine(self.folder, self.engine)
        shown = []
        for sample, frame in zip(samples, frames, strict=True):
            row = self.style_of(sample.person, reference)
            faces, _ = engine(planar(frame)[None], codes[row : row + 1].astype(np.float32))
            shown.append(as_picture(torch.from_numpy(faces[0])))
        return shown


@lru_cache(maxsize=2)
def _engine(folder: str, wanted: str) -> Engine:
    return pick_engine(open_bundle(folder), wanted).engine


@lru_cache(maxsize=2)
def _painter(folder: str) -> Painter:
    return Painter(open_bundle(folder))


@lru_cache(maxsize=2)
def _style_reader(folder: str) -> StyleReader:
    return StyleReader(open_bundle(folder))


_CODES: dict[str, torch.Tensor] = {}


def _codes(system: Painted) -> torch.Tensor:
    """Style codes of all references, read once in a process: a job brings a new copy of them."""
    if system.codes is not None:
        return torch.from_numpy(system.codes)
    if system.key not in _CODES:
        reader = _style_reader(system.folder)
        with torch.inference_mode():
            rows = [
                reader(torch.from_numpy(planar(style))[None], domain)
                for style, domain in zip(system.styles, system.domains, strict=True)
            ]
        _CODES.clear()
        _CODES[system.key] = torch.cat(rows)
    return _CODES[system.key]


def as_picture(planes: torch.Tensor) -> Picture:
    """Return ``(h, w, 3)`` RGB, 8 bit, of ``(3, h, w)`` in 0 … 1."""
    return np.asarray((planes.clamp(0, 1) * 255.0).round().byte().permute(1, 2, 0).numpy())


def camera_of_bundle(trained: Trained) -> PrivacyCamera:
    """Return the camera that a bundle was trained for.

    Raises:
        ConfigError: It holds no optic.
    """
    table = trained.parts.get("camera", {})
    if trained.coefficients:
        return camera_of(trained.coefficients, trained.optics)
    if "bank" in table:
        return FixedCamera(trained.optics, torch.as_tensor(table["bank"]))
    raise ConfigError(
        f"{trained.origin} holds no optic", hint="make the bundle from a run of `rig train`"
    )


@dataclass(frozen=True, eq=False)
class Styles:
    """Public reference faces.

    Args:
        pictures: ``(n, size, size, 3)`` RGB, 8 bit.
        domains: Domain of each.
        codes: ``(n, style_dim)`` their style codes, where a bundle ships its own.
    """

    pictures: Picture
    domains: tuple[int, ...]
    codes: Floats | None = None

    @classmethod
    def shipped(cls, bundle: Bundle) -> Styles | None:
        """Return the references that a bundle ships; None when it has no picture of any."""
        found = [r for r in references_of(bundle).values() if r.picture is not None]
        if not found:
            return None
        pictures = np.stack([r.picture for r in found if r.picture is not None])
        return cls(pictures, (0,) * len(found), np.stack([r.style for r in found]))


def systems_for(
    bundle: Bundle,
    samples: Sequence[Sample],
    styles: Styles,
    *,
    baselines: Sequence[str] = BASELINES,
    references: int = 10,
    engine: str = TORCH,
) -> tuple[System, ...]:
    """Return what is compared: the baselines asked for, then the bundle.

    Args:
        bundle: Opened bundle.
        samples: The faces that strengths are set on: some, spread evenly.
        styles: Public references.
        baselines: Names of :data:`BASELINES`.
        references: In how many styles every person is painted.
        engine: What runs the bundle, as for the live view.

    Raises:
        ConfigError: An unknown baseline, or fewer references than styles wanted.
    """
    if unknown := sorted(set(baselines) - set(BASELINES)):
        raise ConfigError(
            f"no baseline {', '.join(unknown)}", hint=f"choose among {', '.join(BASELINES)}"
        )
    if len(styles.pictures) < references:
        raise ConfigError(
            f"{len(styles.pictures)} reference faces for {references} styles",
            hint="give more reference faces, or fewer --styles",
        )
    trained = bundle.trained
    own = camera_of_bundle(trained)
    faces = _strength_faces(samples)
    shown = (own.blur(faces) - faces).square().mean((1, 2, 3))
    wanted_db = float((-10.0 * shown.clamp(min=1e-12).log10()).mean())
    optic = Optic(
        "optics", f"the camera's frame, {wanted_db:.1f} dB", own.spec,
        own.whole_psf().detach().numpy(), recorded=True,
    )  # fmt: skip
    if engine != TORCH:
        engine = pick_engine(bundle, engine).engine.name
    painted = Painted(
        folder=str(bundle.folder),
        weights=bundle.card.files["weights.safetensors"],
        optic=optic,
        styles=styles.pictures,
        domains=styles.domains,
        references=references,
        codes=styles.codes,
        detail=f"{bundle.card.name}, {references} references each"
        + ("" if engine == TORCH else f", {engine}"),
        engine=engine,
    )
    made: dict[str, System] = {"original": Unprotected(), "optics": optic}
    if wanted := set(baselines) & {"low-resolution", "defocus", "blur"}:
        made.update(_same_strength(own, faces, wanted))
    if "pixelation" in baselines:
        made["pixelation"] = _pixelation(faces, wanted_db)
    return (*(made[name] for name in baselines), painted)


def _strength_faces(samples: Sequence[Sample]) -> torch.Tensor:
    step = max(len(samples) // _STRENGTH_FACES, 1)
    return torch.from_numpy(np.stack([planar(s.picture) for s in samples[::step]]))


def _same_strength(own: PrivacyCamera, faces: torch.Tensor, wanted: set[str]) -> dict[str, System]:
    """Blurs as strong as the own optic, from the same line-up that is attacked."""
    names = {f"{LOW_RESOLUTION_PX} x {LOW_RESOLUTION_PX}": "low-resolution",
             "defocus": "defocus", "Gaussian blur": "blur"}  # fmt: skip
    found: dict[str, System] = {}
    for victim in line_up(own, faces):
        name = names.get(victim.name, "")
        if victim.name == OWN or name not in wanted:
            continue
        if isinstance(victim.camera, LowResolutionCamera):
            detail = f"{victim.name} pixels, {victim.detail}"
            found[name] = Optic(name, detail, own.spec, cells=victim.camera.pixels)
        else:
            psf = victim.camera.whole_psf().detach().numpy()
            found[name] = Optic(name, victim.detail, own.spec, psf)
    return found


def _pixelation(faces: torch.Tensor, wanted_db: float) -> Pixelation:
    """Return the number of cells whose pictures differ as much from the sharp ones."""
    best, gap, reached = 2, np.inf, 0.0
    for cells in range(2, min(128, faces.shape[-1]) + 1):
        means = fn.adaptive_avg_pool2d(faces, cells)
        big = fn.interpolate(means, size=tuple(faces.shape[-2:]), mode="nearest")
        db = float((-10.0 * (big - faces).square().mean((1, 2, 3)).clamp(min=1e-12).log10()).mean())
        if abs(db - wanted_db) < gap:
            best, gap, reached = cells, abs(db - wanted_db), db
    return Pixelation(best, f"{best} x {best} cells, {reached:.1f} dB")
