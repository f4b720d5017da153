"""What an earlier run or a bundle gives to the next stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from camera_rig.errors import ConfigError, StorageError
from camera_rig.optics import Coefficients
from models.camera import (
    FixedCamera,
    LearnedCamera,
    LowResolutionCamera,
    OpticsSpec,
    PrivacyCamera,
)
from models.networks import HeatmapNetwork, NetworkSizes, build_heatmap_network
from models.training import checkpoint as store
from models.training.config import FILE, FaceConfig, RunConfig


@dataclass(frozen=True)
class Trained:
    """Weights with the settings they belong to.

    Args:
        origin: Where they come from.
        sizes: The networks.
        layout: Name of the landmark layout.
        domains: Number of domains S was made for; 0 without it.
        optics: The camera.
        parts: Network name to its tensors.
        coefficients: The learned shapes; empty without a learned optic.
    """

    origin: Path
    sizes: NetworkSizes
    layout: str
    domains: int
    optics: OpticsSpec
    parts: Mapping[str, Mapping[str, Tensor]]
    coefficients: tuple[Coefficients, ...] = ()

    def into(self, name: str, network: nn.Module) -> None:
        """Load one network's weights.

        Raises:
            ConfigError: They are not there, or do not fit.
        """
        if name not in self.parts:
            raise ConfigError(
                f"{self.origin} has no network {name!r}",
                hint=f"it has: {', '.join(sorted(self.parts))}",
            )
        try:
            network.load_state_dict(dict(self.parts[name]))
        except RuntimeError as error:
            raise ConfigError(
                f"network {name!r} of {self.origin} does not fit: {str(error)[:300]}",
                hint="use the same preset, domains and landmark layout as there",
            ) from error


def open_trained(path: str | Path) -> Trained:
    """Open a run folder (its best or newest checkpoint) or a bundle.

    Raises:
        ConfigError: It is neither.
    """
    folder = Path(path)
    if (folder / FILE).exists():
        return _from_run(folder)
    from models.runtime.bundle import CARD, bundle_folder, open_bundle

    folder = bundle_folder(path)
    if (folder / CARD).exists():
        return open_bundle(folder).trained
    raise ConfigError(
        f"{folder} is neither a run nor a bundle", hint=f"expected {FILE} or {CARD} in it"
    )


def _from_run(folder: Path) -> Trained:
    config = RunConfig.load(folder)
    best = folder / "best"
    saved = store.load(best if store.found(best) else folder / "checkpoints")
    names = {key.split("/", 1)[0] for key in saved.tensors} - {"ema", "optimiser"}
    averaged = {key.split("/", 2)[1] for key in saved.tensors if key.startswith("ema/")}
    parts = {name: saved.part(name) for name in names}
    parts.update({name: saved.part(f"ema/{name}") for name in averaged})
    domains = 0
    if "heads.weight" in parts.get("style", {}):
        domains = len(parts["style"]["heads.weight"])  # S ships; D stays with its run
    return Trained(
        origin=folder,
        sizes=config.sizes,
        layout=config.layout,
        domains=domains,
        optics=config.optics,
        parts=parts,
        coefficients=coefficients_of(parts, config.optics),
    )


def coefficients_of(
    parts: Mapping[str, Mapping[str, Tensor]], optics: OpticsSpec
) -> tuple[Coefficients, ...]:
    """Return the learned shapes in some weights; empty without a learned optic."""
    table = parts.get("camera", {}).get("coefficients_um")
    if table is None:
        return ()
    camera = LearnedCamera(optics, shapes=len(table))
    camera.load_state_dict({"coefficients_um": table})
    return tuple(camera.coefficients)


def frozen_heat(trained: Trained, name: str) -> HeatmapNetwork:
    """Return U (``heat``) or U* (``teacher``), frozen."""
    points = int(trained.parts[name]["heads.0.read.weight"].shape[0]) - 1
    heat = build_heatmap_network(trained.sizes, points, seed=0)
    trained.into(name, heat)
    return heat.requires_grad_(False).eval()


def front_end(faces: FaceConfig, trained: Trained, optics: OpticsSpec) -> PrivacyCamera:
    """Return the frozen camera of Stage II: low resolution, measured, or learned."""
    if faces.low_res:
        return LowResolutionCamera(optics, faces.low_res)
    if faces.psf_bank:
        return FixedCamera(optics, _bank(faces.psf_bank))
    if optics != trained.optics:
        raise ConfigError(
            f"the run's optics are not those of {trained.origin}",
            hint="take its optics: copy the section from its run.yaml",
        )
    table = trained.parts.get("camera", {})
    if "coefficients_um" in table:
        camera: PrivacyCamera = LearnedCamera(optics, shapes=len(table["coefficients_um"]))
        trained.into("camera", camera)
    elif "bank" in table:
        camera = FixedCamera(optics, torch.as_tensor(table["bank"]))
    else:
        raise ConfigError(
            f"{trained.origin} has no optic",
            hint="run `rig design` first, or give --psf-bank or --low-res",
        )
    return camera.requires_grad_(False)


def _bank(path: str) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} is no PSF bank: {error}", hint="give a .npy of (n, 3, k, k) numbers"
        ) from error
