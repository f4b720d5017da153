"""What a calibration of the mirror leaves for those who only drive it.

``rig mirror load`` knows nothing of calibrations: it reads the mirror's own folder. An
influence calibration that is taken into use is copied there.
"""

from __future__ import annotations

import json
from pathlib import Path

from calibration.artifact import Artifact, CalibrationStore
from camera_rig.errors import ConfigError
from camera_rig.mirror import MirrorFolder
from camera_rig.mirror.creep import CreepModel
from camera_rig.mirror.hysteresis import PlayModel
from camera_rig.mirror.influence import InfluenceMatrix

__all__ = ["keep_for_mirror"]


def keep_for_mirror(store: CalibrationStore, artifact: Artifact, storage_root: Path) -> Path:
    """Copy an influence calibration into the folder of its mirror; return that folder.

    Args:
        store: Where the calibration lies.
        artifact: An influence calibration.
        storage_root: Storage root of the rig.

    Raises:
        ConfigError: It is no influence calibration, or of another mirror.
    """
    if artifact.procedure != "influence":
        raise ConfigError(
            f"a {artifact.procedure} calibration says nothing of the mirror's electrodes",
            hint="take one of `rig calibrate list influence`",
        )
    source = store.folder(artifact)
    matrix = InfluenceMatrix.load(source / "influence.json")
    folder = MirrorFolder(storage_root, artifact.serials["mirror"])
    folder.keep_influence(matrix)
    loop, creep = source / "hysteresis.json", source / "creep.json"
    if loop.exists():
        folder.keep_hysteresis(PlayModel.from_dict(json.loads(loop.read_text(encoding="utf-8"))))
    if creep.exists():
        folder.keep_creep(CreepModel(**json.loads(creep.read_text(encoding="utf-8"))))
    return folder.path
