"""From takes to sets: registered, judged, split, encrypted, and the same every time."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_rig.clock import ManualClock
from camera_rig.contracts import Frame
from camera_rig.errors import ConfigError, PrivacyError, StateError, StorageError
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.consent import Scope
from camera_rig.recording.export import ExportSettings, export_set
from camera_rig.recording.faces import BoxTrack, DlibFaces, Face
from camera_rig.recording.manifest import ConsentRef, FinishReason
from camera_rig.recording.packing import Group
from camera_rig.recording.prepare import PrepareSettings, prepare
from camera_rig.recording.prepared import PreparedSet
from camera_rig.recording.quality import QualityRules
from camera_rig.recording.reading import Take
from camera_rig.recording.registration import CropBox, Registration, cut_both
from camera_rig.recording.selection import Candidate, SplitRules, select
from camera_rig.recording.store import DataStore
from camera_rig.recording.take import DiskRules, TakeWriter
from camera_rig.recording.truth import write_truth
from camera_rig.recording.vault import FrameClass, new_keys
from tests.recording import support

WIDTH, HEIGHT = 200, 150
SHIFT = np.array([[1.0, 0, 7], [0, 1, -4], [0, 0, 1]])


def head(number: int, take: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a "head" that moves, but holds still from 10 to 22; return it and 68 points."""
    number = 10 if 10 < number <= 22 else number
    rng = np.random.default_rng(1000 * take + number)
    px = rng.integers(60, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    centre = np.array([100 + 20 * np.sin(number / 3 + take), 75 + 5 * np.cos(number / 4)])
    cv2.circle(px, centre.round().astype(int).tolist(), 24, (200, 160, 140), -1)
    mouth = 3 + number % 5
    lips = (centre + np.array([0, 10])).round().astype(int).tolist()
    cv2.ellipse(px, lips, (10, mouth), 0, 0, 360, (90, 30, 40), -1)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return px, centre + 24 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


@dataclass
class DrawnTruth:
    """Answers for the drawn world; frame 7 blinks."""

    take: int

    def true_time_ns(self, role: str, sequence: int, session: int | None = None) -> int:
        return sequence * support.PERIOD_NS

    def landmarks_px(self, role: str, at_ns: int | None = None) -> np.ndarray:
        points = head(at_ns // support.PERIOD_NS, self.take)[1]
        return points if role == "side" else self.side_to_privacy(points)

    def side_to_privacy(self, xy_px: np.ndarray) -> np.ndarray:
        return xy_px + SHIFT[:2, 2]

    def scene(self, at_ns: int | None = None):
        units = np.zeros(52)
        units[8] = 1.0 if at_ns // support.PERIOD_NS == 7 else 0.1
        return SimpleNamespace(
            coefficients=units, pose=SimpleNamespace(yaw_deg=2.0), identity=SimpleNamespace(seed=3)
        )


def frames_of(number: int, take: int) -> dict[str, Frame]:
    side, _ = head(number, take)
    if number == 5:
        side = cv2.GaussianBlur(side, (0, 0), 6)
    privacy = cv2.warpPerspective(side, SHIFT, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
    at = number * support.PERIOD_NS
    return {
        role: Frame(
            px, support.SERIALS[role], number, at + (4_000_000 if role == "side" else 0), 0, 0.01
        )
        for role, px in (("privacy", privacy), ("side", side))
    }


def record(store: DataStore, take: int, count: int = 24, scopes: tuple[str, ...] | None = None
           ) -> Take:  # fmt: skip
    name = f"take-{take}"
    simulated = scopes is None
    subject = store.keys.ensure_subject(f"T{take % 2}", simulated=simulated)
    keys, sealed = new_keys(name, subject)
    manifest = support.manifest(name, sealed, simulated=simulated, clock=store.clock)
    if scopes is not None:
        ref = ConsentRef(record="r", form_id="F", form_version="1", form_sha256="0" * 64,
                         scopes=scopes, retention_until="2099-01-01", operator="t")  # fmt: skip
        manifest = manifest.model_copy(update={"consent": ref})
    out = TakeWriter(store.takes / name, manifest, keys, store.clock, DiskRules(reserve_bytes=4096))
    packers = support.packers(keys)
    for number in range(count):
        frames = frames_of(number, take)
        out.write(Group({r: packers[r].pack(f, 0) for r, f in frames.items()}, 4_000_000, 1))
    out.seal(FinishReason.DURATION, ClockModel())
    found = Take(store.takes / name)
    store.catalog.put(found)
    if simulated:
        write_truth(found, DrawnTruth(take), {"privacy": 1, "side": 1})
    return found


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    made = DataStore(tmp_path / "data", tmp_path / "keys", ManualClock(), "tester")
    made.keys.init(None)
    return made


@pytest.fixture
def takes(store: DataStore) -> list[Take]:
    return [record(store, number) for number in range(3)]


SETTINGS = PrepareSettings(size_px=64, split=SplitRules(train=0.7, test=0.3))


def prepared(store: DataStore, takes: list[Take], out: Path, settings=SETTINGS):
    return prepare(takes, out, store.access("prepare"), settings)


def test_crops_of_both_branches_show_the_same_place(store, takes, tmp_path) -> None:
    made = prepared(store, takes, tmp_path / "set")
    with PreparedSet(made.folder, store.access("look")) as found:
        pairs = list(found.stream("train"))
    assert len(pairs) == made.manifest.counts["train"] > 15
    for pair in pairs:
        assert pair.side.shape == pair.privacy.shape == (64, 64, 3)
        inner = np.s_[8:-8, 8:-8]
        error = np.abs(pair.side[inner].astype(int) - pair.privacy[inner]).mean()
        assert error < 3, pair.sample.key


def test_reasons_are_kept(store, takes, tmp_path) -> None:
    made = prepared(store, takes, tmp_path / "set")
    lines = (made.folder / "rejected.jsonl").read_text().splitlines()
    why = {(r["take"], r["key"]): r["reasons"] for r in map(json.loads, lines)}
    for take in takes:
        assert why[take.id, "000007"] == ["eyes closed"]
        assert "blurred" in why[take.id, "000005"]
        still = [why.get((take.id, f"{number:06d}")) for number in range(13, 23)]
        assert ["near-duplicate"] in still
    kept = sum(made.manifest.counts.values())
    assert kept + len(why) == sum(len(take.pairs) for take in takes)
    page = (made.folder / "summary.html").read_text()
    assert "eyes closed" in page
    assert "<img" not in page


def test_the_same_seed_gives_the_same_set(store, takes, tmp_path) -> None:
    one = prepared(store, takes, tmp_path / "one")
    two = prepared(store, list(reversed(takes)), tmp_path / "two")
    assert one.manifest.content_sha256 == two.manifest.content_sha256
    names = [
        [(s.key, s.split, s.measures) for s in PreparedSet(made.folder).samples]
        for made in (one, two)
    ]
    assert names[0] == names[1]
    other = SETTINGS.model_copy(update={"split": SplitRules(train=0.7, test=0.3, seed=5)})
    three = prepared(store, takes, tmp_path / "three", other)
    splits = {s.take for s in PreparedSet(three.folder).split("test")}
    assert splits != {s.take for s in PreparedSet(one.folder).split("test")}


def test_a_cut_short_preparation_goes_on(store, takes, tmp_path, monkeypatch) -> None:
    import camera_rig.recording.prepare as module

    cut, calls = module.cut_shard, []

    def failing(*args):
        calls.append(1)
        if len(calls) == 2:
            raise StorageError("power cut", hint="-")
        return cut(*args)

    monkeypatch.setattr(module, "cut_shard", failing)
    out = tmp_path / "set"
    with pytest.raises(StorageError, match="power cut"):
        prepare(takes, out, store.access("prepare"), SETTINGS, workers=1)
    assert not (out / "set.json").exists()
    first = next(out.glob("*.tar")).read_bytes()
    monkeypatch.undo()
    made = prepared(store, takes, out)
    assert any(path.read_bytes() == first for path in out.glob("*.tar"))  # not made twice
    whole = prepared(store, takes, tmp_path / "whole")
    assert made.manifest.content_sha256 == whole.manifest.content_sha256
    with pytest.raises(StateError, match="finished already"):
        prepared(store, takes, out)
    (out / "set.json").unlink()
    with pytest.raises(StateError, match="other takes or settings"):
        prepared(store, takes[:2], out)


def test_the_set_is_encrypted_and_private(store, takes, tmp_path) -> None:
    made = prepared(store, takes, tmp_path / "set")
    assert made.folder.stat().st_mode & 0o777 == 0o700
    for path in made.folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
        data = path.read_bytes()
        # Long marks only: ciphertext may hold any short one by chance.
        assert b"\x89PNG\r\n" not in data, path
        assert b"\xff\xd8\xff\xe0\x00\x10" not in data, path
    with pytest.raises(PrivacyError, match="no key was given"):
        next(PreparedSet(made.folder).stream("train"))
    store.keys.destroy_subject("T0")
    with PreparedSet(made.folder, store.access("look")) as found:
        gone = [s for s in found.samples if s.subject == "T0"]
        left = [s for s in found.samples if s.subject == "T1"]
        assert found.pair(left[0]).side.shape == (64, 64, 3)
        with pytest.raises(PrivacyError, match="destroyed"):
            found.pair(gone[0])


def test_readers_on_many_machines_share_the_set(store, takes, tmp_path) -> None:
    pytest.importorskip("fsspec")
    made = prepared(store, takes, tmp_path / "set")
    with PreparedSet(f"file://{made.folder}", store.access("train")) as found:
        parts = [
            [p.sample.key for p in found.stream("train", seed=1, rank=rank, world=3)]
            for rank in range(3)
        ]
        everything = {s.key for s in found.split("train")}
    assert sorted(key for part in parts for key in part) == sorted(everything)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(StorageError, match="cannot be read"):
        PreparedSet(f"file://{tmp_path}/absent")


def test_contact_sheets_open_with_the_key(store, takes, tmp_path) -> None:
    made = prepared(store, takes, tmp_path / "set")
    with PreparedSet(made.folder, store.access("look")) as found:
        sheet = cv2.imdecode(np.frombuffer(found.sheet("take-1"), np.uint8), cv2.IMREAD_COLOR)
    assert sheet is not None
    assert sheet.shape[1] == 12 * 96


@pytest.mark.parametrize("form", ["webdataset", "folder", "mp4", "lerobot"])
def test_exports(store, takes, tmp_path, form: str) -> None:
    made = prepared(store, takes, tmp_path / "set")
    out = tmp_path / form
    settings = ExportSettings.parse(form=form, scope="train")
    done = export_set(made.folder, out, store.access("export"), settings)
    assert done.pairs == sum(made.manifest.counts.values())
    assert all(p.stat().st_mode & 0o077 == 0 for p in [out, *out.rglob("*")])
    entry = [e for e in store.audit.verify() if e.event == "exported"][-1]
    assert entry.facts["out"] == str(out)
    with pytest.raises(StateError, match="exists already"):
        export_set(made.folder, out, store.access("export"), settings)
    if form == "webdataset":
        names = []
        for path in sorted(out.glob("*.tar")):
            with tarfile.open(path) as tar:
                names += tar.getnames()
        assert sum(n.endswith(".side.png") for n in names) == done.pairs
    elif form == "folder":
        assert len(list(out.rglob("privacy/*.png"))) == done.pairs
    elif form == "lerobot":
        import pyarrow.parquet as pq

        info = json.loads((out / "meta" / "info.json").read_text())
        table = pq.read_table(out / "data" / "chunk-000" / "file-000.parquet")
        assert info["total_frames"] == table.num_rows == done.pairs
        episodes = pq.read_table(out / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
        assert sum(episodes.column("length").to_pylist()) == done.pairs
        video = out / info["video_path"].format(
            video_key="observation.images.side", chunk_index=0, file_index=0
        )
        reader = cv2.VideoCapture(str(video))
        assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == episodes.column("length")[0].as_py()
        reader.release()


def test_an_export_may_leave_the_sharp_branch_out(store, takes, tmp_path) -> None:
    made = prepared(store, takes, tmp_path / "set")
    settings = ExportSettings.parse(form="folder", scope="share", privacy_only=True)
    export_set(made.folder, tmp_path / "out", store.access("export"), settings)
    assert not list((tmp_path / "out").rglob("side"))
    with pytest.raises(ConfigError, match="not possible"):
        ExportSettings.parse(form="gif", scope="train")


def test_scopes_go_with_the_frames(store, tmp_path) -> None:
    people = [
        record(store, 0, scopes=("train", "share")),
        record(store, 1, scopes=("train",)),
        record(store, 2, scopes=("evaluate",)),
    ]
    register = Registration.of(SHIFT)
    with pytest.raises(PrivacyError, match="take-2 may not be used to train"):
        prepare(people, tmp_path / "set", store.access("p"), SETTINGS, registration=register)
    with pytest.raises(PrivacyError, match="is of a person"):
        prepare(people[:2], tmp_path / "set", store.access("p"), SETTINGS)
    # The drawn heads of this test are no faces; a finder of circles stands in for dlib.
    made = _with_circles(people[:2], tmp_path / "other", store, register)
    assert made.manifest.scopes == ("train",)
    with pytest.raises(PrivacyError, match="may not be used to share"):
        settings = ExportSettings.parse(form="folder", scope="share")
        export_set(made.folder, tmp_path / "out", store.access("export"), settings)
    assert not (tmp_path / "out").exists()
    with pytest.raises(PrivacyError, match="may not be used to publish"):
        PreparedSet(made.folder, scope=Scope.PUBLISH)


class CircleFaces:
    def find(self, pixels, truth) -> list[Face]:
        bright = np.argwhere(pixels[..., 0] > 150)
        if not len(bright):
            return []
        y, x = bright.mean(axis=0)
        return [Face(float(x), float(y), 48.0)]


def _with_circles(takes, out: Path, store: DataStore, register: Registration):
    import camera_rig.recording.prepare as module

    settings = SETTINGS.model_copy(update={"detector": "dlib"})
    patch = pytest.MonkeyPatch()
    try:
        patch.setattr(module, "DlibFaces", CircleFaces)
        return prepare(takes, out, store.access("p"), settings, registration=register)
    finally:
        patch.undo()


def test_too_few_pairs_are_told(store, takes, tmp_path) -> None:
    settings = PrepareSettings(size_px=64, split=SplitRules(train=3000, test=700))
    with pytest.raises(StateError, match=r"of 3000 for train.*of 700 for test"):
        prepared(store, takes, tmp_path / "set", settings)


def some(takes: int, each: int) -> list[Candidate]:
    return [
        Candidate(f"t{t}", f"{n:06d}", n * support.PERIOD_NS)
        for t in range(takes)
        for n in range(each)
    ]


@given(
    takes=st.integers(2, 20),
    each=st.integers(20, 60),
    by=st.sampled_from(["take", "time"]),
    seed=st.integers(0, 99),
)
def test_parts_never_touch(takes: int, each: int, by: str, seed: int) -> None:
    rules = SplitRules(train=0.8, test=0.2, by=by, gap_s=0.3, seed=seed)
    parts = select(some(takes, each), rules)
    train, test = parts["train"], parts["test"]
    assert not set(train) & set(test)
    assert train
    assert test
    if by == "take":
        assert not {c.take for c in train} & {c.take for c in test}
    else:
        for take in {c.take for c in train}:
            last = max(c.at_ns for c in train if c.take == take)
            first = min(c.at_ns for c in test if c.take == take)
            assert first - last > 300_000_000
    assert parts == select(some(takes, each), rules)


def test_exact_numbers_are_spread_evenly() -> None:
    parts = select(some(17, 300), SplitRules(train=3000, test=700))
    assert {name: len(part) for name, part in parts.items()} == {"train": 3000, "test": 700}
    for part in parts.values():
        assert len(set(part)) == len(part)
    with pytest.raises(StateError, match="needs two takes"):
        select(some(1, 300), SplitRules())


def test_the_track_bridges_misses_and_tells_jumps() -> None:
    track = BoxTrack(patience=2)
    assert track.follow(None) is None
    first = track.follow(Face(50, 50, 40))
    assert first is not None
    assert track.follow(Face(52, 50, 40)).x_px == pytest.approx(50.6)
    assert track.follow(None) is not None
    assert track.follow(None) is not None
    assert track.follow(None) is None
    assert track.follow(Face(50, 50, 40)) == first
    assert track.follow(Face(300, 50, 40)).x_px == 300


def test_a_crop_lies_where_it_should() -> None:
    px = np.zeros((100, 100, 3), np.uint8)
    px[40:60, 30:50] = 255
    box = CropBox(x_px=39.5, y_px=49.5, size_px=20)
    privacy = cv2.warpPerspective(px, SHIFT, (100, 100))
    for crop in cut_both(privacy, px, box, Registration.of(SHIFT), 20):
        assert (crop == 255).all()
    assert box.outside_share(100, 100) == 0
    assert CropBox(0, 50, 20).outside_share(100, 100) == pytest.approx(0.5)


def test_a_registration_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"homography": SHIFT.tolist(), "more": "is left alone"}))
    assert np.array_equal(Registration.load(path).matrix, SHIFT)
    path.write_text(json.dumps({"homography": np.zeros((3, 3)).tolist()}))
    with pytest.raises(ConfigError, match="no registration"):
        Registration.load(path)


def test_dlib_finds_no_face_in_noise() -> None:
    pytest.importorskip("dlib")
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    assert [f for f in DlibFaces().find(noise, None) if f.score > 0.5] == []


def test_skew_limits_are_the_rules_or_the_takes(store, takes, tmp_path) -> None:
    strict = SETTINGS.model_copy(update={"quality": QualityRules(max_skew_ms=1.0)})
    with pytest.raises(StateError):
        prepared(store, takes, tmp_path / "set", strict)
    assert "skew" in (tmp_path / "set" / "look-take-0.json").read_text()
    shutil.rmtree(tmp_path / "set")


def test_frame_classes_of_a_set_have_their_own_keys(store, takes, tmp_path) -> None:
    made = prepared(store, takes, tmp_path / "set")
    boxes = made.manifest.shards[0].keys.boxes
    assert set(boxes) == {str(FrameClass.PRIVACY), str(FrameClass.SIDE), "journal"}
    assert len({record.keys.boxes["side"] for record in made.manifest.shards}) == len(
        made.manifest.shards
    )
