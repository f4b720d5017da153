"""Folders and videos of privacy frames to painted faces; what cannot be protected is a card.

There is no mirror to ask any more: the user states that the frames were taken through the
private shape. The gate looks at every frame all the same, and refuses one that holds more
detail than that shape lets through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from camera_rig.bench import Bench
from camera_rig.clock import ManualClock
from camera_rig.contracts import Frame
from camera_rig.errors import ConfigError, StorageError
from models.data import SUFFIXES
from models.runtime.bundle import Bundle
from models.runtime.core import LiveCore
from models.runtime.engine import Engine
from models.runtime.live_data import Blank, LiveFrame, LiveSettings, Picture, PrivacyFrame
from models.runtime.outputs import Recording
from models.runtime.watch import Stated

__all__ = ["LEDGER", "Deidentifier", "Outcome", "find_inputs"]

LEDGER = "deidentified.jsonl"
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
_FILE_CAMERA = "file"
_WHOLE_SEARCH = 1000
"""Windows tried on one frame: there is no next one to go on with."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input file.

    Args:
        name: Path below the input, with the input's name.
        out: File written, below the output folder.
        bundle: Name of the bundle, its weights' hash and the reference.
        stamp: Size and time of the input, to notice another one of the same name.
        frames: Frames in it.
        unprotected: Frame number to the reason why a card stands in its place.
    """

    name: str
    out: str
    bundle: str
    stamp: str
    frames: int
    unprotected: dict[int, str]


@dataclass(frozen=True)
class Input:
    """One file to work on.

    Args:
        path: The file.
        name: Its name below the output folder.
        video: Whether it holds many frames.
    """

    path: Path
    name: str
    video: bool


def find_inputs(paths: Sequence[Path]) -> list[Input]:
    """Return the pictures and videos below the given files and folders, in order.

    Raises:
        ConfigError: A path does not exist, holds nothing to work on, or two files would
            get one name.
    """
    found: list[Input] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} does not exist", hint="give folders, pictures or videos")
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        here = [
            Input(file, f"{path.name}/{file.relative_to(path)}" if file != path else file.name, v)
            for file in files
            if not file.name.startswith(".")
            for v in (file.suffix.lower() in VIDEOS,)
            if v or file.suffix.lower() in SUFFIXES
        ]
        if not here:
            raise ConfigError(
                f"nothing to work on in {path}",
                hint=f"pictures ({', '.join(sorted(SUFFIXES))}) or videos",
            )
        found += here
    names = [_out_name(item) for item in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"two inputs would both become {twice[0]}", hint="work on them into two folders"
        )
    return found


class Deidentifier:
    """Works through files one by one; what is done is not done again.

    Args:
        bundle: The trained system.
        engine: Makes what runs it; asked when the first file has to be painted.
        out: Output folder; made when needed.
        settings: View, size, style, smoothing (of videos).
        bench: Gives the size of a head on whole frames; square pictures count as windows.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Callable[[], Engine],
        out: Path,
        settings: LiveSettings,
        bench: Bench,
    ) -> None:
        self._bundle, self._make_engine, self._out = bundle, engine, out
        self._engine: Engine | None = None
        self._settings, self._bench = settings, bench
        self._clock = ManualClock(start_ns=1)
        self._cores: dict[float | None, LiveCore] = {}
        reference = self._core_for(None).reference
        weights = bundle.card.files["weights.safetensors"][:12]
        self._stamp = f"{bundle.card.name} {weights} {reference}"
        self._done = self._read_ledger()

    @property
    def engine(self) -> Engine:
        """What paints; made now if nothing had to be painted before."""
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine

    def is_done(self, item: Input) -> Outcome | None:
        """Return the outcome of an earlier run, if it still holds."""
        known = self._done.get(item.name)
        if known is None or (known.bundle, known.stamp) != (self._stamp, _stamp(item.path)):
            return None
        return known if (self._out / known.out).exists() else None

    def work(self, item: Input, progress: Callable[[int], None] | None = None) -> Outcome:
        """Paint one file and write it; skip what an earlier run has done.

        Args:
            item: From :func:`find_inputs`.
            progress: Called with the frames of this file done so far.

        Raises:
            StorageError: The input cannot be read at all, or the output not written.
        """
        if known := self.is_done(item):
            return known
        target = self._out / _out_name(item)
        target.parent.mkdir(parents=True, exist_ok=True)
        unprotected: dict[int, str] = {}
        frames = 0
        if item.video:
            # A video is done or not: a torn one from a run that was stopped is made anew.
            target.unlink(missing_ok=True)
            pictures, fps = _video_frames(item.path)
            with Recording(target, fps) as recording:
                for frames, shown in enumerate(self._shown(pictures, fps), start=1):
                    recording.show(shown)
                    if shown.blank:
                        unprotected[frames - 1] = shown.reason
                    if progress is not None:
                        progress(frames)
        else:
            (shown,) = self._shown([_picture(item.path)], 1.0)
            frames = 1
            _write_picture(target, shown.picture)
            if shown.blank:
                unprotected[0] = shown.reason
        if not frames:
            raise StorageError(f"{item.path} holds no frame", hint="is it a whole video file?")
        outcome = Outcome(
            item.name, _out_name(item), self._stamp, _stamp(item.path), frames, unprotected
        )
        self._note(outcome)
        return outcome

    def _shown(self, pictures: Iterable[Picture | None], fps: float) -> Iterator[LiveFrame]:
        core: LiveCore | None = None
        for number, picture in enumerate(pictures):
            self._clock.advance(round(1e9 / fps))
            if core is None:
                core = self._core_for(picture)
                core.restart()
            yield self._one(core, picture, number)

    def _core_for(self, picture: Picture | None) -> LiveCore:
        square = picture is not None and picture.shape[0] == picture.shape[1]
        side = float(picture.shape[0]) if picture is not None and square else None
        if side not in self._cores:
            settings = self._settings.model_copy(update={"window_px": side})
            self._cores[side] = LiveCore(
                self._bundle, self._bench, self._clock, settings, search_per_frame=_WHOLE_SEARCH
            )
        return self._cores[side]

    def _one(self, core: LiveCore, picture: Picture | None, number: int) -> LiveFrame:
        now_ns = self._clock.now_ns()
        if picture is None:
            return core.blank(Blank.FAILED, "the frame could not be decoded")
        frame = PrivacyFrame(
            Frame(
                picture=picture,
                camera=_FILE_CAMERA,
                sequence=number,
                captured_ns=now_ns,
                uncertainty_ns=0,
                exposure_s=0.0,
            ),
            _FILE_CAMERA,
            now_ns,
        )
        painting = core.paint(frame, self.engine)
        if painting.face is None and core.box is not None:
            painting = core.paint(frame, self.engine)  # found just now: look again, centred
        return core.show(painting, Stated(), None)[0]

    def _read_ledger(self) -> dict[str, Outcome]:
        file = self._out / LEDGER
        if not file.exists():
            return {}
        found = {}
        text = file.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            with file.open("a", encoding="utf-8") as torn:
                torn.write("\n")  # so that the next line does not join a torn one
        for line in text.splitlines():
            try:
                told = json.loads(line)
                told["unprotected"] = {int(n): why for n, why in told["unprotected"].items()}
                outcome = Outcome(**told)
            except (json.JSONDecodeError, TypeError, KeyError, ValueError):
                continue  # the torn last line of a run that was stopped: made again
            found[outcome.name] = outcome
        return found

    def _note(self, outcome: Outcome) -> None:
        with (self._out / LEDGER).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
        self._done[outcome.name] = outcome


def _out_name(item: Input) -> str:
    return str(Path(item.name).with_suffix(".mp4" if item.video else ".png"))


def _stamp(path: Path) -> str:
    told = path.stat()
    return f"{told.st_size} {told.st_mtime_ns}"


def _picture(path: Path) -> Picture | None:
    import cv2

    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if stored is None else np.ascontiguousarray(stored[..., ::-1])


def _video_frames(path: Path) -> tuple[Iterator[Picture], float]:
    import cv2

    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise StorageError(f"{path} cannot be read as video", hint="is it a whole video file?")
    fps = video.get(cv2.CAP_PROP_FPS) or 30.0

    def frames() -> Iterator[Picture]:
        try:
            while True:
                good, picture = video.read()
                if not good:
                    return
                yield np.ascontiguousarray(picture[..., ::-1])
        finally:
            video.release()

    return frames(), float(fps)


def _write_picture(target: Path, picture: Picture) -> None:
    import cv2

    aside = target.with_name(f".{target.name}.part.png")
    if not cv2.imwrite(str(aside), np.ascontiguousarray(picture[..., ::-1])):
        raise StorageError(f"{target} cannot be written", hint="check the disk and permissions")
    aside.replace(target)
