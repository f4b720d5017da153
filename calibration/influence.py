"""What each electrode really does: pokes and a hysteresis sweep, seen through PSFs.

Small push-pull pokes give the influence of each electrode in Zernike modes; a sweep of
all electrodes in a pattern of high order gives the hysteresis loop, which they share.
Together: wavefront per unit of response, rest shape, play model, dead electrodes, and how
the mirror is turned, mirrored and decentred against the picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calibration import stacks
from calibration.artifact import Artifact
from calibration.influence_checks import (
    SMALL_LIMIT,
    STRONG_LIMIT,
    Foretold,
    foretold_change,
    held_out,
    small_pattern,
    strong_pattern,
)
from calibration.influence_figures import Seen, pictures
from calibration.layout import find_layout, harmonic_signs
from calibration.loop import Loop, fit_loop, sweep_levels
from calibration.mirror_files import keep_for_mirror
from calibration.operator import SceneRequest
from calibration.point_camera import POINT, PointCamera
from calibration.poke_fits import BIAS_WAVES, WAVE_UM, PokeFits, Pokes
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from calibration.psf import honest, inflation_note
from calibration.stacks import DEFOCUS
from camera_rig.bench import Bench
from camera_rig.config import RigConfig
from camera_rig.contracts import Volts
from camera_rig.mirror.creep import CreepModel
from camera_rig.mirror.hysteresis import PlayModel
from camera_rig.mirror.influence import InfluenceMatrix, InfluenceModel, Provenance
from camera_rig.optics import Mode, Order, modes

__all__ = ["InfluenceProcedure"]

Vector = npt.NDArray[np.float64]

TILTS: tuple[Mode, Mode] = ((1, 1), (1, -1))
HIGHEST_POKE = 0.2
"""Height of a poke, normalised volts: inside the slack of the hysteresis."""
POKE_WAVES = 0.18
"""What a poke may change, waves RMS: farther off the next valley is near."""
CHECK_SHARE = 0.3
"""Height of the small pattern to check with, over a poke's."""
DEAD_SHARE = 0.15
CREEP_LEVEL = 0.44
CREEP_S = (0.2, 0.6, 1.2, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0)
"""When to look at a step, s after it."""


class InfluenceProcedure(Procedure):
    """Influence matrix, hysteresis, orientation and dead electrodes, by PSFs.

    Args:
        pinhole_mm: Diameter of the pinhole.
        frames: Pictures averaged.
        last_noll: Last mode fitted; forty electrodes make shapes well beyond Noll 15.
        sweep: Record the hysteresis loop and the creep too.
    """

    name: ClassVar[str] = "influence"
    title: ClassVar[str] = "Influence of each electrode"
    devices: ClassVar[tuple[str, ...]] = ("privacy", "mirror")
    needs: ClassVar[tuple[str, ...]] = ("sensor", "psf")
    scene: ClassVar[SceneRequest | None] = POINT
    advice: ClassVar[str] = (
        "see that the pinhole stands still and that the mirror has warmed up, then run it again"
    )

    def __init__(
        self, pinhole_mm: float = 0.2, frames: int = 1, last_noll: int = 66, sweep: bool = True
    ) -> None:
        self.pinhole_mm, self.frames = pinhole_mm, frames
        self.last_noll, self.sweep = last_noll, sweep

    def plan(self, config: RigConfig) -> Plan:
        """Return what a run would do."""
        count = sum(config.bench.mirror.ring_segments)
        pictures_ = 3 + 2 * count + 2
        if self.sweep:
            pictures_ += len(sweep_levels()) + 1 + len(CREEP_S) + 2
        minutes = (pictures_ * 2.0 + self.sweep * CREEP_S[-1]) / 60.0
        return Plan(80 + pictures_, pictures_ * (self.frames + 1), minutes, POINT.instruction)

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield rest, pokes electrode by electrode, sweep and creep, shapes to check with."""
        # One for all steps: it remembers the exposure and its dark pictures.
        camera = PointCamera(context, frames=self.frames)

        def step(name: str, label: str, measure: Callable[..., dict[str, Any]], *more: int) -> Step:
            return Step(name, label, partial(measure, context, camera, *more))

        yield step("rest", "rest shape", self._rest)
        for actuator in range(context.rig.mirror.actuators):
            label = f"poke of electrode {actuator}"
            yield step(f"poke-{actuator:03d}", label, self._poke, actuator)
        yield step("check", "pattern not fitted", self._check)
        if self.sweep:
            yield step("sweep", "hysteresis sweep", self._sweep)
            yield step("creep", "creep after one step", self._creep)
            yield step("strong", "strong shape not fitted", self._strong)

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Retrieve every picture, build the matrix, fit loop and layout, predict the check."""
        listed = modes(Order.NOLL, 4, self.last_noll)
        fits = PokeFits(context, listed, self.pinhole_mm)
        rest = fits.rest(data["rest"])
        defocus_um = rest.gain * WAVE_UM * BIAS_WAVES
        names = sorted(name for name in data if name.startswith("poke-"))
        height = _poke_height(context.rig.config.bench)
        pokes = fits.pokes([data[name] for name in names], rest, defocus_um, height)
        small, sigma = pokes.um_per_volt, pokes.sigma_um
        loop: Loop | None = None
        creep: CreepModel | None = None
        if self.sweep:
            creep = fits.creep(data["creep"], rest, defocus_um, small)
            loop = fit_loop(fits.sweep(data["sweep"], rest, defocus_um, small), creep)
        scale = 1.0 if loop is None else loop.scale
        matrix_um = small / scale
        rows = (*TILTS, *listed)
        resting = np.concatenate([[0.0, 0.0], rest.values * WAVE_UM])
        matrix = InfluenceMatrix(
            modes=rows,
            um_per_unit=matrix_um,
            beam_diameter_mm=context.rig.config.bench.mirror_pupil_mm,
            provenance=Provenance(
                "measured",
                serial=context.rig.mirror.info.serial,
                made_at=stacks.wall_time(context.rig.clock),
                note=f"PSF pokes of ±{height:.2g} of the half-range, Noll 2 to {self.last_noll}",
            ),
            rest_um=resting,
            sigma_um=sigma / scale,
        )
        nominal = InfluenceModel(
            context.rig.config.bench.mirror, context.rig.config.bench.mirror_pupil_mm
        ).matrix(listed)
        checks = [_small_check(fits, data["check"], pokes, defocus_um, nominal)]
        if loop is not None:
            model = loop.tiled(matrix.actuators)
            near = rest.values + (defocus_um / WAVE_UM) * (np.array(listed) == DEFOCUS).all(axis=1)
            checks.append(_strong_check(fits, data["strong"], near, matrix, model, nominal))
        layout = find_layout(context.rig.config.bench, matrix_um[2:], listed)
        dead = [int(i) for i in np.flatnonzero(layout.gain < DEAD_SHARE)]
        figures = {
            "orientation_deg": layout.rotation_deg,
            "flipped": float(layout.flipped),
            "beam_scale": layout.scale,
            "decentre_x_mm": layout.decentre_mm[0],
            "decentre_y_mm": layout.decentre_mm[1],
            "layout_misfit": layout.misfit,
            "dead_actuators": float(len(dead)),
            "small_signal_gain": scale,
            "matrix_sigma_um": float(np.sqrt(np.mean((sigma / scale) ** 2))),
            "defocus_gain": rest.gain,
            "chi2": pokes.chi2,
        }
        for check in checks:
            figures[f"{check.name}_error"] = check.error
            figures[f"{check.name}_error_sigmas"] = check.error_in_sigmas
        seen = Seen(
            modes=listed,
            rest=rest.values,
            rest_sigma=np.sqrt(np.diag(honest(rest))),
            checks=tuple(checks),
        )
        texts = {"influence.json": json.dumps(matrix.to_dict()) + "\n"}
        if loop is not None:
            figures["hysteresis"] = float(loop.model.opening().mean())
            figures["loop_residual"] = loop.residual
            figures["creep_per_decade"] = 0.0 if creep is None else creep.per_decade
            count = matrix.actuators
            texts["hysteresis.json"] = json.dumps(loop.tiled(count).to_dict()) + "\n"
        if creep is not None:
            texts["creep.json"] = json.dumps(vars(creep)) + "\n"
        notes = [
            f"electrode {i} does nothing: leave it out, or have the mirror mended" for i in dead
        ]
        problems = []
        if pokes.lost:
            listed_ = ", ".join(str(i) for i in pokes.lost)
            problems.append(
                f"the pictures of electrodes {listed_} fit no shape near the rest: electrodes "
                f"that large need more modes than Noll {self.last_noll}, or the mirror moved"
            )
        return Fitted(
            figures=figures,
            problems=tuple(problems),
            held_out=held_out(checks),
            payload={
                "dead": dead,
                "gain": layout.gain.tolist(),
                "sign": np.sign(layout.projection).tolist(),
                "static_um": dict(
                    zip(
                        [str(j) for j in range(4, self.last_noll + 1)],
                        resting[2:].tolist(),
                        strict=True,
                    )
                ),
            },
            arrays={"um_per_unit": matrix_um, "sigma_um": sigma / scale, "rest_um": resting},
            texts=texts,
            pictures=pictures(context.rig.config.bench, matrix, layout, loop, seen),
            notes=(*notes, *inflation_note(pokes.chi2)),
        )

    def taken_into_use(self, context: Context, artifact: Artifact) -> None:
        """Give the matrix and the loop to everybody who drives this mirror."""
        keep_for_mirror(context.store, artifact, context.rig.config.storage.root)

    def _unit(self, context: Context) -> float:
        bench = context.rig.config.bench
        return WAVE_UM * BIAS_WAVES / stacks.defocus_um_per_unit(bench)

    def _rest(self, context: Context, camera: PointCamera) -> dict[str, Any]:
        mirror = context.rig.mirror
        stacks.settle(mirror)
        ones, unit = np.ones(mirror.actuators), self._unit(context)
        commands = [stacks.to_volts(mirror, k * unit * ones) for k in (-1.0, 1.0, 0.0)]
        camera.light_on()
        mirror.apply(commands[1], reason="influence: window")
        size = max(camera.window_for() + 32, 160)
        return {**stacks.measure(camera, commands, size, "influence"), "size": size}

    def _size(self, context: Context) -> int:
        return int(context.store.partial(self.name).get("rest")["size"])

    def _poke(self, context: Context, camera: PointCamera, actuator: int) -> dict[str, Any]:
        mirror, unit = context.rig.mirror, self._unit(context)
        command = np.full(mirror.actuators, unit)
        pair, height = [], _poke_height(context.rig.config.bench)
        for sign in (1.0, -1.0):
            poked = command.copy()
            poked[actuator] += sign * height
            pair.append(stacks.to_volts(mirror, poked))
        camera.light_on()
        return stacks.measure(camera, pair, self._size(context), "influence: poke")

    def _check(self, context: Context, camera: PointCamera) -> dict[str, Any]:
        mirror = context.rig.mirror
        height = CHECK_SHARE * _poke_height(context.rig.config.bench)
        pattern = small_pattern(mirror.actuators, height)
        # Both signs: what drifts between rest and now is no business of this check.
        unit = self._unit(context)
        command = [stacks.to_volts(mirror, sign * pattern + unit) for sign in (1.0, -1.0)]
        camera.light_on()
        taken = stacks.measure(camera, command, self._size(context), "influence: check")
        return {**taken, "pattern": pattern}

    def _sweep(self, context: Context, camera: PointCamera) -> dict[str, Any]:
        levels = sweep_levels()
        commands, kept = self._pattern(context, levels)
        stacks.settle(context.rig.mirror)
        camera.light_on()
        taken = stacks.measure(camera, commands, self._largest(context), "influence: sweep")
        return {**taken, **kept}

    def _creep(self, context: Context, camera: PointCamera) -> dict[str, Any]:
        levels = np.array([0.0] + [CREEP_LEVEL] * len(CREEP_S))
        (start, end, *_), kept = self._pattern(context, levels)
        mirror, clock = context.rig.mirror, context.rig.clock
        stacks.settle(mirror)
        camera.light_on()
        size = self._largest(context)
        mirror.apply(end, reason="influence: creep, exposure")
        camera.picture(size)
        stacks.settle(mirror)
        mirror.apply(start, reason="influence: creep")
        seen = [camera.picture(size)]
        mirror.apply(end, reason="influence: creep")
        moved_ns = clock.now_ns()
        for since_s in CREEP_S:
            clock.sleep(max(0.0, since_s - (clock.now_ns() - moved_ns) * 1e-9))
            seen.append(camera.picture(size))
        return {**stacks.pack(seen), **kept, "moved_ns": moved_ns}

    def _strong(self, context: Context, camera: PointCamera) -> dict[str, Any]:
        mirror = context.rig.mirror
        before = np.full(mirror.actuators, self._unit(context))
        volts = np.array([before, before + strong_pattern(context.rig.config.bench)])
        stacks.settle(mirror)
        camera.light_on()
        # Beside a picture of just before it: focus drifts, and that is not asked for here.
        commands = [stacks.to_volts(mirror, each) for each in volts]
        taken = stacks.measure(camera, commands, self._largest(context), "influence: strong shape")
        return {**taken, "volts": volts}

    def _pattern(self, context: Context, levels: Vector) -> tuple[list[Volts], dict[str, Any]]:
        """Return the commands of a pattern of high order at each level, and what to keep."""
        mirror, unit = context.rig.mirror, self._unit(context)
        signs = harmonic_signs(context.rig.config.bench.mirror)
        commands = [stacks.to_volts(mirror, v * signs + unit) for v in levels]
        return commands, {"levels": levels, "signs": signs, "bias": unit}

    def _largest(self, context: Context) -> int:
        size = context.rig.privacy.settings.size or (320, 320)
        return min(512, min(size) // 32 * 32)


def _poke_height(bench: Bench) -> float:
    """Return the height of a poke, normalised volts: less where electrodes are large."""
    nominal = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix(modes(Order.NOLL, 4, 15))
    strongest_um = float(np.linalg.norm(nominal.um_per_unit, axis=0).max())
    return min(HIGHEST_POKE, POKE_WAVES * WAVE_UM / strongest_um)


def _small_check(
    fits: PokeFits,
    data: Mapping[str, Any],
    pokes: Pokes,
    defocus_um: float,
    nominal: InfluenceMatrix,
) -> Foretold:
    """Compare push and pull of a pattern with what the pokes say of it."""
    pattern = np.asarray(data["pattern"])
    small = pokes.um_per_volt[2:]
    # The prediction is where the fit begins; a hundred thousand photons say where it ends.
    ahead = small @ pattern / WAVE_UM
    found = [
        fits.one(data, pokes.middle + sign * ahead, defocus_um, p)
        for p, sign in enumerate((1.0, -1.0))
    ]
    variance = sum(np.diag(honest(one)) for one in found)
    return Foretold(
        name="small_pattern",
        measured_um=(found[0].values - found[1].values) * WAVE_UM / 2.0,
        foretold_um=small @ pattern,
        nominal_um=nominal.um_per_unit @ pattern,
        sigma_um=np.sqrt(variance) * WAVE_UM / 2.0,
        limit=SMALL_LIMIT,
    )


def _strong_check(
    fits: PokeFits,
    data: Mapping[str, Any],
    near: Vector,
    matrix: InfluenceMatrix,
    model: PlayModel,
    nominal: InfluenceMatrix,
) -> Foretold:
    """Compare the way from a shape near rest (waves) to a strong one with what was foretold."""
    first, second = np.asarray(data["volts"])
    change_um = matrix.rows(nominal.modes) @ foretold_change(model, first, second)
    before = fits.strong(data, 0, near)
    after = fits.strong(data, 1, before.values + change_um / WAVE_UM)
    return Foretold(
        name="strong_shape",
        measured_um=(after.values - before.values) * WAVE_UM,
        foretold_um=change_um,
        nominal_um=nominal.um_per_unit @ (second - first),
        sigma_um=np.sqrt(np.diag(honest(before)) + np.diag(honest(after))) * WAVE_UM,
        limit=STRONG_LIMIT,
    )
