"""A mirror with forty real electrodes: plate model, hysteresis, and a record of its wire."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from camera_rig.bench import MirrorGeometry
from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceContext
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import InfluenceMatrix, InfluenceModel
from camera_rig.optics import Coefficients
from tests.support.toy_drivers import ToyMirror, ToyOptions

MATRIX: InfluenceMatrix = InfluenceModel(MirrorGeometry(), 14.0).matrix()
PAPER = {4: -0.83, 6: -0.31, 7: 0.08, 8: -0.69, 12: -0.67, 14: 0.18}


def waves(values: dict[int, float]) -> Coefficients:
    return Coefficients.numbered(values, "waves_rms", "noll", 550.0)


class FortyMirror(ToyMirror):
    """Electrodes answer through play operators; ``true_um`` is what the light sees."""

    actuators = 40
    slew_v_per_s = 3000.0
    truth: ClassVar[PlayModel] = PlayModel.nominal(40)

    @property
    def limits(self):
        return np.tile([0.0, 300.0], (40, 1))

    def _do_open(self):
        self._connect()
        self.volts = np.full(40, 150.0)
        self.sent = []
        self.play = PlayOperators(self.truth)

    def _do_apply(self, command_v):
        super()._do_apply(command_v)
        self.play.advance((command_v - 150.0) / 150.0)

    @property
    def true_um(self):
        return MATRIX.wavefront_um(self.play.preview((self.volts - 150.0) / 150.0))


class PatternMirror(FortyMirror):
    """One with a maker's library: adds modes up linearly, compensates hysteresis itself."""

    compensates_hysteresis = True

    def maker_pattern(self, fractions):
        pattern = np.zeros(40)
        for mode, share in fractions.items():
            if any(mode == each for each in ((0, 0), (1, -1), (1, 1))):
                continue
            row = MATRIX.um_per_unit[MATRIX.places([mode])[0]]
            pattern += share * row / np.abs(row).max()
        return 150.0 + 150.0 * pattern


def made(kind=FortyMirror, serial="M00000001", **options):
    return kind(ToyOptions(serial=serial, **options), DeviceContext("mirror", ManualClock()))


def opened(kind=FortyMirror, serial="M00000001", **options):
    mirror = made(kind, serial, **options)
    mirror.open()
    return mirror
