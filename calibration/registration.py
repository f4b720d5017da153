"""Where the side camera's pixels lie in the privacy picture: by a board, or by any scene.

Both cameras look at a plane, so a homography does most; radial distortion of either lens
does the rest. The mirror is at rest meanwhile. The shape it will carry later shifts the
picture (coma and tilt move a PSF's centre), and :func:`centroid_shift_px` says by how much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from calibration import stacks
from calibration.artifact import HeldOut
from calibration.board import Board
from calibration.natural import natural_pairs
from calibration.operator import SceneRequest
from calibration.plane_map import PlaneMap, centroid_shift_px, fit_plane_map, rms
from calibration.point_camera import pupil_of
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from calibration.registration_figures import pictures
from calibration.resting_spot import resting_kernel
from camera_rig.config import MirrorConfig, RigConfig, coefficient_file
from camera_rig.contracts import Camera, CameraMode, CameraSettings
from camera_rig.errors import StateError
from camera_rig.optics import Coefficients, Unit

__all__ = ["PlaneMap", "RegistrationProcedure", "centroid_shift_px", "fit_plane_map"]

POSES: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.0, 0.0),
    (-80.0, -50.0, 6.0),
    (80.0, 50.0, -5.0),
    (80.0, -50.0, 3.0),
    (-80.0, 50.0, -6.0),
)
"""Where the board is held: right and down of the middle, mm, and its turn, degrees."""
TRIES = 3
DARK_CODE = 40.0
"""8-bit code of the brighter parts of a picture below which there is nothing to see."""
BURNT_CODE = 250.0
"""The same above which a picture holds nothing but white."""
LIMIT_PX = {"board": 0.5, "scene": 0.8}
"""Of single places; the map averages some hundreds of them."""
MAX_FIELD_SIGMA_PX = 0.3
"""Largest uncertainty of the map, RMS over the field, px."""


class RegistrationProcedure(Procedure):
    """Side to privacy geometry.

    Args:
        board: The board.
        natural_scene: Use whatever stands before the rig when no board is found.
    """

    name: ClassVar[str] = "registration"
    title: ClassVar[str] = "Registration of the two cameras"
    devices: ClassVar[tuple[str, ...]] = ("privacy", "side", "mirror")
    uses: ClassVar[tuple[str, ...]] = ("psf",)
    scene: ClassVar[SceneRequest | None] = None
    advice: ClassVar[str] = (
        "hold the board still, flat and square to the rig, evenly lit, then run it again"
    )

    def __init__(self, board: Board = Board(), natural_scene: bool = False) -> None:
        self.board, self.natural_scene = board, natural_scene

    def plan(self, config: RigConfig) -> Plan:
        """Return what a run would do."""
        notes = ("without a board: whatever stands there",) if self.natural_scene else ()
        exposures = 2 * 12 * len(POSES)
        return Plan(
            40 + len(POSES), exposures, 1.0 + 0.5 * len(POSES), self._request(0).instruction, notes
        )

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield one step per place of the board."""
        for place in range(len(POSES)):
            yield Step(
                f"pose-{place}", f"board, place {place + 1}", partial(self._pose, context, place)
            )

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Fit all places but every fifth; check on those."""
        side = np.concatenate([data[name]["side_px"] for name in sorted(data)])
        privacy = np.concatenate([data[name]["privacy_px"] for name in sorted(data)])
        first = data["pose-0"]
        side_size, privacy_size = (
            (int(w), int(h)) for w, h in (first["side_size"], first["privacy_size"])
        )
        way = "board" if bool(first["board"]) else "scene"
        held = np.arange(len(side)) % 5 == 2
        mapped = fit_plane_map(side[~held], privacy[~held], side_size, privacy_size)
        error = mapped(side) - privacy
        sigma_px = rms(mapped.sigma_px(mapped.grid(13, 9)))
        figures = {
            "place_error_px": rms(error[held]),
            "places": float(len(side)),
            "field_sigma_px": sigma_px,
            **_geometry(mapped),
        }
        shift = self._shift(context)
        if shift is not None:
            figures["shape_moves_picture_x_px"], figures["shape_moves_picture_y_px"] = shift
        middle_sigma = mapped.sigma_px((np.array(side_size)[None] - 1.0) / 2.0)[0]
        problems = []
        if sigma_px > MAX_FIELD_SIGMA_PX:
            problems.append(f"the map is uncertain by {sigma_px:.2f} px RMS over the field")
        homography = mapped.homography
        return Fitted(
            figures=figures,
            uncertainty={
                "shift_of_middle_x_px": float(middle_sigma[0]),
                "shift_of_middle_y_px": float(middle_sigma[1]),
            },
            held_out=HeldOut(
                metric=f"error of places of the {way} not fitted, px RMS",
                before=rms((mapped.stretched(side) - privacy)[held]),
                after=rms(error[held]),
                limit=LIMIT_PX[way],
            ),
            payload={
                "parameters": mapped.parameters.tolist(),
                "side_size": list(side_size),
                "privacy_size": list(privacy_size),
                "by": way,
                "shift_of_shown_shape_px": shift,
            },
            arrays={"side_px": side, "privacy_px": privacy, "error_px": error},
            texts={"registration.json": json.dumps({"homography": homography.tolist()}) + "\n"},
            pictures=pictures(mapped, privacy, error, held),
            problems=tuple(problems),
            notes=_notes(way, bool(first["by_chief_ray"])),
        )

    def _request(self, place: int) -> SceneRequest:
        x, y, turn = POSES[place]
        where = "in the middle" if not place else f"{x:+.0f} mm across, {y:+.0f} mm down"
        return SceneRequest(
            "charuco",
            f"Hold the {self.board.words} at the subject's place, {where}, turned by about "
            f"{turn:+.0f} degrees, square to the rig (place {place + 1} of {len(POSES)}).",
            settings=(
                ("squares", self.board.squares),
                ("square_mm", self.board.square_mm),
                ("centre_mm", (x, y, 0.0)),
                ("rotation_deg", (0.0, 0.0, turn)),
            ),
        )

    def _pose(self, context: Context, place: int) -> dict[str, Any]:
        rig = context.rig
        if place and not bool(context.store.partial(self.name).get("pose-0")["board"]):
            # A scene is one place; there is nothing to hold anywhere else.
            return {"side_px": np.zeros((0, 2)), "privacy_px": np.zeros((0, 2))}
        if place == 0:
            stacks.settle(rig.mirror)
        rest = stacks.to_volts(rig.mirror, np.zeros(rig.mirror.actuators))
        rig.mirror.apply(rest, reason="registration: rest")
        kernel = resting_kernel(context)
        request = self._request(place)
        context.operator.provide(request)
        for attempt in range(1, TRIES + 1):
            shots = {"side": _photograph(rig.side), "privacy": _photograph(rig.privacy)}
            try:
                side_px, privacy_px = self.board.pairs(shots["side"], shots["privacy"], kernel)
                by_board = True
                break
            except StateError as error:
                if self.natural_scene and place == 0:
                    side_px, privacy_px = natural_pairs(shots["side"], shots["privacy"], kernel)
                    by_board = False
                    break
                if attempt == TRIES or not context.operator.mend(request, error.message):
                    raise
        sizes = {f"{r}_size": np.array((p.shape[1], p.shape[0])) for r, p in shots.items()}
        how = {"board": by_board, "by_chief_ray": kernel is not None}
        return {"side_px": side_px, "privacy_px": privacy_px, **how, **sizes}

    def _shift(self, context: Context) -> list[float] | None:
        """Return how far the mirror's shape moves the picture: the one shown, or to be shown."""
        shown = context.store.active("realise")
        entry = context.rig.config.devices["mirror"]
        if shown is not None:
            values = {int(j): float(v) for j, v in shown.payload["shown_noll_waves"].items()}
            shape = Coefficients.numbered(values, Unit.WAVES_RMS, "noll", 550.0)
        elif isinstance(entry, MirrorConfig) and entry.shape is not None:
            shape = Coefficients.load(coefficient_file(entry.shape))
        else:
            return None
        return list(centroid_shift_px(shape, pupil_of(context)))


def _geometry(mapped: PlaneMap) -> dict[str, float]:
    """Return the map as a person thinks of it."""
    side, privacy = np.array(mapped.side_size), np.array(mapped.privacy_size)
    middle = mapped((side[None] - 1) / 2)[0] - (privacy - 1) / 2
    matrix = mapped.homography
    return {
        "shift_of_middle_x_px": float(middle[0]),
        "shift_of_middle_y_px": float(middle[1]),
        "rotation_deg": float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))),
        "magnification": float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))),
        "side_distortion": float(mapped.parameters[8]),
        "privacy_distortion": float(mapped.parameters[9]),
    }


def _notes(way: str, by_chief_ray: bool) -> tuple[str, ...]:
    notes = []
    if way == "scene":
        notes.append(
            "no board was found: registered by the scene; right for things as far away as it was"
        )
    if by_chief_ray:
        notes.append(
            "what the PSF at rest does to the places of things is taken off: this is the map "
            "of the chief ray, and what the mirror's shape moves the picture by comes on top"
        )
    else:
        notes.append(
            "no PSF calibration was in use: a lopsided PSF at rest moves the whole map by a "
            "pixel or so; run `rig calibrate run psf` first, then this again"
        )
    return tuple(notes)


def _photograph(camera: Camera) -> Any:
    """Return the mean of some pictures, 8-bit grey, with an exposure that suits them."""
    import cv2

    able = camera.capabilities
    mode = CameraMode.STILL if CameraMode.STILL in able.modes else CameraMode.LIVE
    exposure_s = camera.settings.exposure_s or 1 / 60
    for _ in range(8):
        camera.configure(CameraSettings(exposure_s=exposure_s, mode=mode, linear=False))
        grey = _grey(camera.snap().pixels)
        bright = float(np.percentile(grey, 97))
        if 120 <= bright <= 245:
            break
        # Codes are gamma coded: light goes with about the square.
        factor = 0.3 if bright > 245 else (190.0 / max(bright, 10.0)) ** 2.2
        low, high = able.exposure_s or (1e-4, 1.0)
        exposure_s = float(np.clip(exposure_s * factor, low, high))
    if bright < DARK_CODE:
        raise StateError(
            f"the {camera.name} camera sees no light: its picture is dark even at "
            f"{exposure_s:.3g} s",
            hint="switch on the room light, take the cap off, and see that nothing stands "
            "before the lens",
        )
    if bright > BURNT_CODE:
        raise StateError(
            f"the {camera.name} camera's picture is burnt white even at {exposure_s:.3g} s",
            hint="dim the light, or see that no lamp shines into the lens, and run again",
        )
    total = np.mean([_grey(camera.snap().pixels) for _ in range(4)], axis=0)
    return cv2.convertScaleAbs(total)


def _grey(pixels: Any) -> Any:
    import cv2

    if pixels.ndim == 2:
        return np.asarray(pixels >> 8 if pixels.dtype == np.uint16 else pixels, dtype=np.uint8)
    eight = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    return cv2.cvtColor(np.ascontiguousarray(eight), cv2.COLOR_RGB2GRAY)
