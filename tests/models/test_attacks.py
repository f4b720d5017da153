from __future__ import annotations

import csv
import html
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from camera_rig.errors import ConfigError, StateError, UnsupportedError
from camera_rig.optics import Coefficients, Order, Unit
from models.camera import FixedCamera, LowResolutionCamera, OpticsSpec, fixed_defocus
from models.evaluation.attacks import cameras, verdict
from models.evaluation.attacks.catalogue import ATTACKS, chosen
from models.evaluation.attacks.figures import CellResult, Range, Ranks, fidelity, ranks
from models.evaluation.attacks.frames import (
    FaceTable,
    gallery_split,
    joined,
    photographed,
    thinned,
    to_planes,
)
from models.evaluation.attacks.ground import AttackSettings, Ground
from models.evaluation.attacks.learning import Curve, Effort, Learner, learn
from models.evaluation.attacks.on_pictures import wiener
from models.evaluation.attacks.outputs import VectorInverter, linking_eer
from models.evaluation.attacks.prior import FacePrior, Rounds, _near_both, plug_and_play
from models.evaluation.attacks.report import CSV, JSON, PAGE, write_report
from models.evaluation.attacks.restore import LinearFilter, Restorer
from models.evaluation.attacks.run import cells_of, planned, run
from models.evaluation.attacks.trunks import OnnxTrunk, SmallTrunk, face_crops
from models.evaluation.attacks.tuned import ArcLoss, TunedRecogniser
from models.evaluation.embedders import FIVE_IN_112, aligned, five_points
from tests.models.conftest import draw_face

SIZE = 48
SPEC = OpticsSpec(psf_px=23, max_waves_rms=0.8, noise=0.003)
SHORT = Effort(steps=6, batch=4, rate=1e-3, judge_every=3)


def table(people: range, frames: int = 3, *, sensitive: bool = False) -> FaceTable:
    drawn = [draw_face(who, frame, SIZE) for who in people for frame in range(frames)]
    return FaceTable(
        sharp=np.stack([picture for picture, _ in drawn]),
        labels=np.repeat(np.array(people), frames),
        landmarks_px=np.stack([points for _, points in drawn]),
        sensitive=sensitive,
    )


class ColourReader:
    """A recogniser that knows people by the colours of their aligned crop."""

    name, trained_on = "colours", "nothing"

    def __call__(self, picture, landmarks_px):
        crop = aligned(picture, five_points(landmarks_px), FIVE_IN_112, 112)
        return crop.reshape(8, 14, 8, 14, 3).mean((1, 3)).ravel() / 255.0


def defocused(waves: float = 0.4, **changes) -> FixedCamera:
    spec = SPEC.model_copy(update=changes)
    return FixedCamera(spec, fixed_defocus(spec, waves))


def ground(**changes) -> Ground:
    spec = SPEC
    shape = Coefficients.numbered({4: 0.3, 6: 0.1}, Unit.WAVES_RMS, Order.NOLL, 550)
    own = cameras.camera_of((shape,), spec)
    lessons, sought = table(range(12)), table(range(20, 25))
    victims = cameras.line_up(own, to_planes(lessons.sharp[::6]))

    def stolen(error: float) -> cameras.Victim:
        wrong = cameras.camera_of((cameras.with_error(shape, error, spec),), spec)
        return cameras.Victim(cameras.OWN, "stolen", wrong, wrong.whole_psf())

    settings = AttackSettings(
        size_px=SIZE, probes=2, tuned=SHORT, restore=SHORT, prior=SHORT, vectors=SHORT,
        theft_sweep=(0.0, 1.5),
    )  # fmt: skip
    made = Ground(
        settings=settings, optics_id="drawn", victims=victims, learned=(lessons,), sought=sought,
        split=gallery_split(sought.labels, 2), recognisers={"colours": ColourReader()},
        stolen=stolen,
    )  # fmt: skip
    return replace(made, **changes)


# cameras


def test_plain_blurs_are_as_strong_as_the_own_camera():
    faces = to_planes(table(range(4)).sharp)
    own = defocused(0.4)
    victims = {v.name: v for v in cameras.line_up(own, faces)}

    def db(camera) -> float:
        return float((-10 * (camera.blur(faces) - faces).square().mean((1, 2, 3)).log10()).mean())

    for name in ("defocus", "Gaussian blur"):
        assert db(victims[name].camera) == pytest.approx(db(own), abs=0.1)
    # The same kind of blur is found again, with the same strength.
    assert float(victims["defocus"].detail.split()[0]) == pytest.approx(0.4, abs=0.02)
    assert float((victims["no optics"].camera.blur(faces) - faces).abs().max()) < 1e-5
    for victim in victims.values():
        assert victim.psf.sum((-2, -1)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    # What the window cannot carry is taken as far as it goes, and told.
    wide = FixedCamera(SPEC.model_copy(update={"max_waves_rms": 0.1}), torch.ones(3, 23, 23))
    weak = {v.name: v for v in cameras.line_up(wide, faces)}["defocus"]
    assert weak.detail == f"0.09 waves RMS, {db(weak.camera):.1f} dB"
    assert db(weak.camera) > db(wide) + 1.0


def test_measured_psf_of_few_pixels_is_a_cell_wide():
    camera = LowResolutionCamera(SPEC, 16)
    psf = cameras.measured_psf(camera, 64)[0]
    assert psf.shape == (25, 25)
    line = psf.sum(0)
    place = torch.arange(25.0)
    centre = float((line * place).sum())
    # A mean over a cell of 4, laid at cell centres, has its middle on the point itself.
    assert centre == pytest.approx(12.0, abs=0.05)
    # Variance: places within a cell of 4 (15/12), and the bicubic kernel of slope -3/4,
    # whose second moment is -1/15 of a cell squared.
    wanted = 15 / 12 - 16 / 15
    assert float((line * (place - centre) ** 2).sum()) == pytest.approx(wanted, abs=0.1)


def test_size_keeps_the_angle_and_an_error_has_its_length():
    small = cameras.at_size(OpticsSpec(), 256, 128)
    assert small.pixel_um == 12.0 and small.psf_px == 79
    shape = Coefficients.numbered({4: -0.83, 8: 0.5}, Unit.WAVES_RMS, Order.NOLL, 550)
    wrong = cameras.with_error(shape, 0.05, OpticsSpec())
    true_um = shape.to(unit=Unit.UM_RMS)
    modes = OpticsSpec().learned_modes
    away = wrong.array(modes) - true_um.array(modes)
    assert np.linalg.norm(away) == pytest.approx(0.05 * true_um.rms)
    assert cameras.with_error(shape, 0.0, OpticsSpec()).array(modes) == pytest.approx(
        true_um.array(modes)
    )


# tables


def test_tables_are_thinned_split_and_joined():
    labels = np.repeat([3, 1, 2], [4, 2, 1])
    assert thinned(labels, 2).tolist() == [4, 5, 6, 0, 3]
    split = gallery_split(labels, 2)
    assert split.gallery.tolist() == [4, 6, 0] and split.probes.tolist() == [5, 1, 3]
    with pytest.raises(ConfigError, match="two people"):
        gallery_split(np.array([1, 1]), 2)
    both = joined(table(range(2)), table(range(2), sensitive=True))
    assert both.people == 4 and both.sensitive


def test_frames_are_repeatable_and_noisy_in_eight_bits():
    sharp = np.full((3, SIZE, SIZE, 3), 128, np.uint8)
    camera = FixedCamera(SPEC.model_copy(update={"noise": 0.02}), fixed_defocus(SPEC, 0.1))
    first, again = photographed(camera, sharp, 1), photographed(camera, sharp, 1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, photographed(camera, sharp, 2))
    assert first.std() == pytest.approx(0.02 * 255, rel=0.05)


# learning


def test_learning_keeps_the_best_and_takes_up_what_was_trained(tmp_path):
    calls = []

    def learner():
        network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(network.weight, 3.0)

        def loss(rows):
            calls.append(rows)
            return (network.weight - 1.0).square().sum()

        def judge() -> float:
            return float((network.weight.detach() - 2.0).abs())

        return network, Learner(network, loss, judge, "distance to 2", "lower", 10)

    network, what = learner()
    curve = learn(what, Effort(40, 2, 0.2, 4), tmp_path / "kept")
    # It walks from 3 past 2 to 1; judged best on the way, and that state is kept.
    assert network.weight.item() == pytest.approx(2.0, abs=0.5)
    assert curve.held_out[0] == 1.0 and min(curve.held_out) < 0.5
    done = len(calls)
    fresh, what = learner()
    assert learn(what, Effort(40, 2, 0.2, 4), tmp_path / "kept") == curve
    assert len(calls) == done and torch.equal(fresh.weight, network.weight)
    broken = replace(what, loss=lambda rows: what.loss(rows) * math.nan)
    with pytest.raises(StateError, match="not finite"):
        learn(broken, Effort(3, 2, 0.1, 3))


@pytest.mark.parametrize(
    ("looks", "rising"),
    [((0, 5, 9, 10, 10, 10), False), ((0, 2, 4, 6, 8, 10), True), ((1, 2), True)],
)
def test_a_curve_tells_whether_it_levelled_off(looks, rising):
    curve = Curve("x", tuple(range(len(looks))), tuple(map(float, looks)), 1.0, "higher")
    assert curve.still_rising is rising


# attackers


def test_angular_margin_is_the_closed_form():
    vectors, centres = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    loss = ArcLoss(scale=10.0, margin_rad=0.5)(vectors, centres, torch.tensor([0]))
    wanted = math.log(1 + math.exp(-10.0 * math.cos(0.5)))
    assert float(loss) == pytest.approx(wanted, rel=1e-2)


def test_a_recogniser_learns_people_through_a_blur(tmp_path):
    faces, others = table(range(16)), table(range(30, 36))
    camera = defocused(0.4)
    attacker = TunedRecogniser(SmallTrunk(width=8, dim=16), Effort(40, 16, 3e-3, 10))
    curve = attacker.train(faces, photographed(camera, faces.sharp, 0), tmp_path / "t")
    assert curve.figure.startswith("rank-1 among 2")
    vectors = attacker.embed(photographed(camera, others.sharp, 1), others.landmarks_px)
    split = gallery_split(others.labels, 2)
    first, _ = ranks(vectors[split.gallery], vectors[split.probes], others.labels, split)
    assert first.value > 2.5 / 6  # of people it has never seen; guessing is 1/6


def test_an_onnx_recogniser_becomes_trainable_and_stays_the_same(tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(4, 3, 3, 3)), "b": rng.normal(size=4), "s": rng.random((4, 1, 1)),
        "d": rng.normal(size=(4, 1, 28, 28)) / 28,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["x"], strides=[4, 4], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["x", "s"], ["y"]),
        helper.make_node("Add", ["x", "y"], ["z"]),
        helper.make_node("Conv", ["z", "d"], ["v"], group=4),
        helper.make_node("Flatten", ["v"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    crops = torch.rand(1, 3, 112, 112)
    trunk = OnnxTrunk(tmp_path / "m.onnx")
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"input": ((crops * 255 - 127) / 128).numpy()})
    found = trunk(crops)
    assert np.allclose(found.detach().numpy(), wanted, atol=1e-4)
    found.sum().backward()
    assert all(p.grad is not None for p in trunk.parameters())
    model.graph.node[1].op_type = "Tanh"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UnsupportedError, match="Tanh"):
        OnnxTrunk(tmp_path / "other.onnx")


def test_crops_put_the_face_in_its_place():
    faces = table(range(2), 1)
    crops = face_crops(faces.sharp, list(faces.landmarks_px))
    assert crops.shape == (2, 112, 112, 3)
    wanted = aligned(faces.sharp[1], five_points(faces.landmarks_px[1]), FIVE_IN_112, 112)
    assert np.array_equal(crops[1], wanted)


def test_the_linear_filter_undoes_a_blur_and_leaves_a_sharp_camera_alone():
    faces = table(range(12))
    for waves, least_gain in ((0.0, -0.5), (0.35, 2.0)):
        camera = defocused(waves, noise=0.001)
        frames = photographed(camera, faces.sharp, 0)
        linear = LinearFilter(SIZE)
        linear.fit(frames[:30], faces.sharp[:30])
        seen, truth = to_planes(frames[30:]), to_planes(faces.sharp[30:])

        def db(pictures, truth=truth) -> float:
            return float(-10 * (pictures - truth).square().mean().log10())

        assert db(linear(seen)) - db(seen) > least_gain
    # Wiener's filter is the least-squares answer: no other strength does better on its lessons.
    seen, truth = to_planes(frames[:30]), to_planes(faces.sharp[:30])
    found = linear(seen)
    assert db(found, truth) > db(0.97 * found + 0.03 * seen, truth) - 0.05


def test_restoration_starts_at_the_filter_and_only_wins(tmp_path):
    faces = table(range(12))
    frames = photographed(defocused(0.35), faces.sharp, 0)
    restorer = Restorer(SIZE, Effort(20, 4, 1e-3, 5), width=8)
    curve = restorer.train(frames, faces.sharp, tmp_path / "r")
    assert max(curve.held_out) >= curve.held_out[0] and len(curve.held_out) == 5
    found = restorer.restored(frames[-3:])
    again = Restorer(SIZE, Effort(20, 4, 1e-3, 5), width=8)
    assert again.train(frames, faces.sharp, tmp_path / "r") == curve
    assert np.array_equal(again.restored(frames[-3:]), found)


def test_the_wiener_attack_is_not_stopped_by_the_edge():
    # The scene ends at the edge in another way than a periodic filter thinks; an attacker
    # who tries only strengths about the noise gets nothing, and that would look like privacy.
    made = ground()
    frames = made.sought_frames(made.victims[0])
    found = wiener(made, made.victims[0], None).pictures
    before, _ = fidelity(frames, made.sought.sharp, made.sought.labels)
    after, _ = fidelity(found, made.sought.sharp, made.sought.labels)
    assert after.value > before.value + 2.0


def test_conjugate_gradients_solve_the_normal_equations():
    # Oracle: on a periodic grid the answer is one division per frequency.
    spec = SPEC.model_copy(update={"padding": "wrap"})
    camera = FixedCamera(spec, fixed_defocus(spec, 0.3)).double()
    draw = torch.Generator().manual_seed(0)
    seen, wish = (torch.rand(2, 3, SIZE, SIZE, generator=draw, dtype=torch.float64) for _ in "ab")
    from models.evaluation.attacks.wiener import transfer_function

    otf = transfer_function(camera.whole_psf()[0].double(), (SIZE, SIZE))
    balance = 0.3
    above = otf.conj() * torch.fft.rfft2(seen) + balance * torch.fft.rfft2(wish)
    wanted = torch.fft.irfft2(above / (otf.abs().square() + balance), s=(SIZE, SIZE))
    found = _near_both(camera, seen, wish, (balance, 40))
    assert torch.allclose(found, wanted, atol=1e-5)


def test_plug_and_play_with_a_trained_prior_beats_the_frame(tmp_path):
    faces, others = table(range(12)), table(range(20, 22))
    prior = FacePrior(Effort(60, 4, 2e-3, 20), width=8)
    curve = prior.train(faces.sharp, tmp_path / "prior")
    assert curve.held_out[-1] > curve.held_out[0] + 0.05
    camera = defocused(0.35)
    frames = photographed(camera, others.sharp, 0)
    found = plug_and_play(frames, camera, prior, Rounds(rounds=4), 0.004)
    before, _ = fidelity(frames, others.sharp, others.labels)
    after, _ = fidelity(found, others.sharp, others.labels)
    assert after.value > before.value + 1.0


def test_vectors_are_turned_back_when_they_can_be(tmp_path):
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    labels = np.repeat(np.arange(60), 3)
    sharp = rng.normal(size=(60, 16))[labels]
    changed = sharp @ turn + 0.05 * rng.normal(size=sharp.shape)
    inverter = VectorInverter(16, Effort(150, 64, 3e-3, 50), width=64)
    curve = inverter.train(changed, sharp, labels, tmp_path / "v")
    assert curve.held_out[-1] > 0.8 > 0.4 > curve.held_out[0]
    noise = rng.normal(size=changed.shape)
    blind = VectorInverter(16, Effort(30, 64, 3e-3, 30), width=64)
    assert blind.train(noise, sharp, labels).held_out[-1] < 0.6  # among six: little to find


def test_linking_by_hand():
    people = (np.array([1, 2]), np.array([1, 2]))
    gallery = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert linking_eer(gallery, gallery, people) == 0.0
    assert linking_eer(gallery, gallery[::-1], people) == 1.0


# a run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks") / "run"
    torch.set_num_threads(1)
    steps: list[tuple[int, int, str]] = []
    made = ground()
    results = run(made, chosen([]), folder, progress=lambda *step: steps.append(step))
    return made, folder, results, steps


def test_a_run_attacks_every_camera_and_tells_progress(finished):
    made, _, results, steps = finished
    names = {(cell.attack, cell.camera) for cell in results}
    everywhere = {name for name, info in ATTACKS.items() if info.every_camera}
    for victim in made.victims[:-1]:
        assert {a for a, camera in names if camera == victim.name} >= everywhere
    assert ("theft", cameras.OWN) in names and ("frame", "no optics") in names
    assert not {a for a, _ in names} & {"invert", "link"}  # no painter, no outputs
    assert [s[0] for s in steps] == sorted(s[0] for s in steps) and steps[-1][0] == steps[-1][1]
    assert all(cell.knows for cell in results)
    cell = next(c for c in results if c.attack == "frame" and c.camera == "no optics")
    assert cell.ranks["colours"].rank1.value > 0.7 and cell.psnr_db.value > 40
    assert cell.ranks["colours"].chance == 0.2
    trained = [c for c in results if ATTACKS[c.attack].trained]
    assert trained and all(c.curve is not None and len(c.curve.steps) == 3 for c in trained)
    sweep = next(c for c in results if c.attack == "theft").extra
    assert sweep["Wiener at 0% error, PSNR dB"] > sweep["Wiener at 150% error, PSNR dB"]


def test_a_stopped_run_goes_on_and_another_is_refused(finished):
    made, folder, *_ = finished
    gone = folder / "cells" / "wiener--learned-optics.json"
    old = json.loads(gone.read_text())
    gone.unlink()
    kept = {f: f.stat().st_mtime_ns for f in (folder / "cells").glob("*.json")}
    again = run(made, chosen(["wiener"]), folder)
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    new = json.loads(gone.read_text())
    assert {**new, "seconds": 0} == {**old, "seconds": 0}
    assert len(again) == len(made.victims) - 1
    other = replace(made, settings=made.settings.model_copy(update={"seed": 5}))
    with pytest.raises(ConfigError, match="something else"):
        run(other, chosen(["frame"]), folder)


def test_the_report_stands_alone_and_agrees_with_the_cells(finished):
    _, folder, *_ = finished
    line = write_report(folder)
    data = json.loads((folder / JSON).read_text())
    cells = cells_of(folder)
    assert data["verdict"] == line and len(data["cells"]) == len(cells)
    with (folder / CSV).open() as file:
        rows = list(csv.DictReader(file))
    cell = cells[0]
    mine = [
        r for r in rows
        if (r["attack"], r["camera"], r["figure"]) == (cell.attack, cell.camera, "PSNR dB")
    ]  # fmt: skip
    assert float(mine[0]["value"]) == pytest.approx(cell.psnr_db.value, rel=1e-3)
    page = html.unescape((folder / PAGE).read_text())
    assert "http" not in page.replace("http-equiv", "") and "<svg" in page
    assert page.count("data:image/png") > 5
    for info in ATTACKS.values():
        assert (info.title in page) == any(c.attack == info.name for c in cells)
    assert all(str(loss)[:40] in page for loss in verdict.losses(cells))
    with pytest.raises(StateError, match="no attacks"):
        write_report(folder / "none")


def test_without_another_camera_the_report_claims_no_comparison(finished, tmp_path):
    _, folder, *_ = finished
    (tmp_path / "cells").mkdir()
    for name in ("run.json", "cells/frame--learned-optics.json", "cells/frame--no-optics.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_report(tmp_path)
    page = (tmp_path / PAGE).read_text()
    assert "nothing is compared" in page and "In no comparison" not in page


def test_pictures_of_people_are_never_kept(tmp_path):
    made = ground(sought=table(range(20, 25), sensitive=True))
    run(made, chosen(["frame"]), tmp_path, cameras=[cameras.OWN])
    write_report(tmp_path)
    assert not list(tmp_path.rglob("*.png"))
    assert "data:image" not in (tmp_path / PAGE).read_text()


def test_plans_leave_out_what_has_no_ground():
    made = ground(stolen=None, recognisers={})
    assert {cell.attack.name for cell in planned(made, chosen([]))} == {"tuned"}
    with pytest.raises(ConfigError, match="no attack"):
        chosen(["magic"])


# verdict


def cell(attack: str, camera: str, rank: float, alike: float = 0.5) -> CellResult:
    def near(value: float) -> Range:
        return Range(value=value, low=value - 0.1, high=value + 0.1)

    told = Ranks(rank1=near(rank), rank5=near(rank), own_gallery=None, chance=0.025)
    return CellResult(
        attack=attack, camera=camera, detail="", knows=("x",), ranks={"dlib": told},
        ssim=near(alike), psnr_db=near(20.0),
    )  # fmt: skip


def test_the_verdict_names_the_worst_attack_and_every_loss():
    cells = [
        cell("frame", cameras.OWN, 0.1), cell("frame", "16 x 16", 0.4),
        cell("wiener", cameras.OWN, 0.9, 0.8), cell("wiener", "16 x 16", 0.5, 0.75),
        cell("frame", "no optics", 0.0),
    ]  # fmt: skip
    lost = verdict.losses(cells)
    assert [(loss.attack, loss.figure, loss.clear) for loss in lost] == [
        ("wiener", "rank-1", True), ("wiener", "SSIM", False),
    ]  # fmt: skip
    line = verdict.headline(cells)
    assert "Wiener" in line and "90%" in line and "loses 2" in line and "1 of them clearly" in line
    assert "No attack" in verdict.headline([])
