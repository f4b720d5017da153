from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.errors import ConfigError
from models.camera import FixedCamera, OpticsSpec, fixed_defocus
from models.evaluation import detection, identity, quality
from models.evaluation.attacks import best_wiener, richardson_lucy, wiener, wiener_picture
from models.evaluation.attacks.wiener import transfer_function

# identity


def test_distances_and_dis_by_hand():
    a = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert identity.distances(a, a).tolist() == [[0, 5], [5, 0]]
    assert identity.identity_distance(a, a) == 0.0
    assert identity.identity_distance(a, a[::-1]) == 5.0
    several = np.stack([a, a[::-1]], axis=1)  # one reference right on it, one 5 away
    assert identity.identity_distance(a, several) == 2.5
    assert identity.protection_rate(a, np.array([[0, 0.5], [3, 5.0]]), 0.6) == 0.5
    assert np.allclose(identity.unit(np.array([[3.0, 4.0], [0, 0]])), [[0.6, 0.8], [0, 0]])


def test_verification_by_hand():
    # Same: 1 2 3 4. Different: 3.5 5 6 7. At 3.5 one of four is missed, one of four passes.
    found = identity.verification([1, 2, 3, 4], [3.5, 5, 6, 7], rates=(0.0, 0.25))
    assert found.eer == pytest.approx(0.25)
    assert found.eer_threshold == 3.5
    assert found.auc == pytest.approx(15 / 16)  # one of sixteen pairs is the wrong way round
    assert found.tpr_at_fpr == {0.0: 0.75, 0.25: 1.0}
    assert found.best_accuracy == pytest.approx(0.875)


def test_verification_at_its_limits():
    apart = identity.verification([0.1, 0.2], [0.8, 0.9])
    assert apart.eer == 0.0 and apart.auc == 1.0 and apart.tpr_at_fpr[1e-3] == 1.0
    turned = identity.verification([0.8, 0.9], [0.1, 0.2])
    assert turned.eer == 1.0 and turned.auc == 0.0
    with pytest.raises(ConfigError, match="pairs"):
        identity.verification([], [1.0])


def test_verification_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    same, different = rng.normal(0, 1, 40_000), rng.normal(2, 1, 40_000)
    found = identity.verification(same, different)
    phi = 0.5 * math.erfc(1 / math.sqrt(2))  # P(N > 1)
    assert found.eer == pytest.approx(phi, abs=0.004)
    assert found.auc == pytest.approx(1 - 0.5 * math.erfc(1.0), abs=0.004)
    assert found.eer_threshold == pytest.approx(1.0, abs=0.03)


def test_shuffled_identities_are_chance():
    rng = np.random.default_rng(1)
    rows, people = rng.normal(size=(200, 8)), np.repeat(np.arange(20), 10)
    same, different = identity.pairs(rows, people)
    assert len(same) == 20 * 45 and len(different) == 200 * 199 / 2 - 900
    assert identity.verification(same, different).eer == pytest.approx(0.5, abs=0.03)
    rate = identity.rank_rate(rows[:20], np.arange(20), rows, rng.integers(0, 20, 200))
    assert rate == pytest.approx(1 / 20, abs=0.05)


def test_rank_by_hand():
    gallery, people = np.array([[0.0], [10.0], [20.0], [0.5]]), [7, 8, 9, 8]
    probes, own = np.array([[0.1], [11.0], [14.0], [99.0]]), [7, 8, 9, 5]
    assert identity.rank_rate(gallery, people, probes, own) == 0.5
    assert identity.rank_rate(gallery, people, probes, own, rank=2) == 0.75
    # Everybody equally near: chance, not a win and not a loss.
    same = np.zeros((4, 1))
    assert identity.rank_rate(same, [1, 2, 3, 4], np.zeros((2, 1)), [1, 4]) == 0.25


def test_swap_floor_steadiness_and_diversity_by_hand():
    rows = np.array([[0.0], [0.0], [4.0]])
    assert identity.swap_floor(rows, [1, 1, 2]) == 4.0
    assert identity.steadiness(np.array([[0.0], [1.0], [3.0]])) == 1.5
    assert identity.reference_diversity(np.array([[[0.0], [2.0]], [[0.0], [4.0]]])) == 3.0
    with pytest.raises(ConfigError):
        identity.swap_floor(rows, [1, 1, 1])


def test_bootstrap_draws_whole_people():
    # Ten people, five equal pictures each: the interval is that of ten values, not fifty.
    values = np.repeat(np.random.default_rng(3).normal(size=10), 5)
    people = np.repeat(np.arange(10), 5)
    found = identity.mean_by_identity(values, people, draws=2000)
    assert found.value == pytest.approx(values.mean())
    spread = values[::5].std() / math.sqrt(10)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(spread, rel=0.15)
    again = identity.mean_by_identity(values, people, draws=2000)
    assert again == found


# quality


def test_psnr_by_hand():
    assert quality.psnr_db(np.zeros((2, 2)), np.full((2, 2), 0.1)) == pytest.approx(20.0)
    assert quality.psnr_db(np.zeros(4), np.full(4, 25.5), full_scale=255) == pytest.approx(20.0)
    assert quality.psnr_db(np.ones(3), np.ones(3)) == math.inf
    with pytest.raises(ConfigError):
        quality.psnr_db(np.zeros(3), np.zeros(4))


def test_ssim_limits_and_closed_form():
    rng = np.random.default_rng(0)
    x = rng.random((40, 40))
    assert quality.ssim(x, x) == pytest.approx(1.0)
    # Two flat pictures: only the luminance term is left.
    a, b = np.full((40, 40), 0.5), np.full((40, 40), 0.25)
    c1 = 1e-4
    wanted = (2 * 0.125 + c1) / (0.25 + 0.0625 + c1)
    assert quality.ssim(a, b) == pytest.approx(wanted)
    assert quality.ssim(x, rng.random((40, 40))) < 0.1
    assert quality.ssim(x, 1 - x) < 0
    # Scaling about a flat mean: structure times contrast terms, in the same window.
    colours = np.stack([x, x, x], -1)
    assert quality.ssim(colours, colours * 0.9) == pytest.approx(quality.ssim(x, x * 0.9))
    with pytest.raises(ConfigError, match="window"):
        quality.ssim(np.zeros((8, 8)), np.zeros((8, 8)))


@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-2, 2), scale=st.floats(0.3, 3))
def test_frechet_of_scaled_sets_is_the_closed_form(shift, scale):
    rows = np.random.default_rng(5).normal(size=(300, 4)) * [1, 2, 0.5, 1]
    # (s - 1)² trace(C) when one set is the other about its mean, times s, plus the shift.
    mean = rows.mean(0)
    other = mean + (rows - mean) * scale + shift
    wanted = 4 * shift**2 + (scale - 1) ** 2 * np.trace(np.cov(rows, rowvar=False))
    assert quality.frechet_distance(rows, other) == pytest.approx(wanted, abs=1e-8)


def test_frechet_agrees_with_a_matrix_square_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(50, 5))
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    away = a.mean(0) - b.mean(0)
    wanted = away @ away + np.trace(ca + cb - 2 * np.real(sqrtm(ca @ cb)))
    assert quality.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert quality.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


# detection


def test_detection_by_hand():
    originals = [(0, 0, 64, 64), (0, 0, 10, 10), None, (0, 0, 8, 8)]
    outputs = [(8, 0, 72, 64), None, (1, 1, 2, 2), (0, 0, 8, 8)]
    found = detection.detection_figures(originals, outputs, size_px=128)
    assert found.rate == 0.75 and found.both == 2 and found.total == 4
    # (8, 0, 8, 0) at twice the size has mean 8; the other pair has 0.
    assert found.box_l1_px == 4.0
    assert found.overlap == pytest.approx((56 / 72 + 1) / 2)
    none = detection.detection_figures([None], [None], 128)
    assert none.rate == 0 and none.box_l1_px is None


def test_landmarks_by_hand():
    truth = np.zeros((1, 3, 2))
    truth[0, 1] = [50, 0]
    found = truth + np.array([3.0, 4.0])
    assert detection.landmark_l1_px(found, truth, 128) == 7.0
    assert detection.landmark_distance_px(found, truth, 256) == 5.0
    assert detection.normalised_mean_error(found, truth, (0, 1)) == pytest.approx(0.1)
    with pytest.raises(ConfigError):
        detection.landmark_l1_px(truth[0], truth[0], 128)


def test_pose_openness_and_jitter_by_hand():
    a, b = np.array([[179.0, 0, 5], [10, 0, 5]]), np.array([[-179.0, 0, 0], [10, 0, 0]])
    assert detection.pose_error_deg(a, b).tolist() == [1, 0, 5]
    assert detection.pose_error_deg(a, b, offset=True)[2] == 0
    eye = np.array([[[0, 0], [10, 0], [5, -2], [5, 3]]])
    assert detection.openness(eye, [2], [3], (0, 1)).tolist() == [0.5]
    line = np.arange(5.0)[:, None, None] * np.ones((1, 2, 2))
    assert detection.jitter_px(line) == 0.0
    line[2] += 1.0
    assert detection.jitter_px(line) > 1.0


# attacks


def smooth_scene() -> torch.Tensor:
    coarse = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    size = (96, 96)
    big = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
    return big.clamp(0, 1).double()


WRAP = OpticsSpec(psf_px=31, max_waves_rms=1.2, padding="wrap", noise=0.003)


def attacked_db(waves: float, noise: float) -> tuple[float, float]:
    spec = WRAP.model_copy(update={"noise": noise})
    scene = smooth_scene()
    camera = FixedCamera(spec, fixed_defocus(spec, waves)).double()
    psf = camera.psf()[0] / camera.psf()[0].sum((-2, -1), keepdim=True)
    draw = torch.Generator().manual_seed(1)
    frame = camera(scene, torch.randn(scene.shape, generator=draw, dtype=torch.float64))
    blurred = -10 * torch.log10((frame - scene).square().mean((1, 2, 3)))
    return float(blurred.mean()), float(best_wiener(scene, frame, psf, noise)[1].mean())


def test_transfer_function_is_that_of_the_camera():
    scene = smooth_scene()
    camera = FixedCamera(WRAP, fixed_defocus(WRAP, 0.5)).double()
    psf = camera.psf()[0] / camera.psf()[0].sum((-2, -1), keepdim=True)
    otf = transfer_function(psf, (96, 96))
    through = torch.fft.irfft2(torch.fft.rfft2(scene) * otf, s=(96, 96))
    assert torch.allclose(through, camera.blur(scene), atol=1e-9)


def test_wiener_recovers_what_noise_leaves_and_less_with_more():
    results = {noise: attacked_db(0.5, noise) for noise in (1e-4, 3e-3, 3e-2)}
    for blurred, recovered in results.values():
        assert recovered > blurred
    assert results[1e-4][1] > results[3e-3][1] > results[3e-2][1]
    assert results[3e-3][1] - results[3e-3][0] > 5.0
    # More defocus leaves less, as zeros of the transfer function do.
    assert attacked_db(1.0, 3e-3)[1] < results[3e-3][1]


def test_an_attack_never_scores_below_the_frame():
    # With a wrong PSF every filtering makes it worse: the attacker keeps the frame.
    scene = smooth_scene()
    wrong = torch.zeros(3, 31, 31, dtype=torch.float64)
    wrong[:, 0, 0] = wrong[:, 30, 30] = 0.5
    found, db = best_wiener(scene, scene, wrong, 1e-3)
    assert torch.equal(found, scene) and bool((db > 100).all())


def test_wiener_without_blur_and_noise_is_the_identity():
    point = torch.zeros(3, 5, 5, dtype=torch.float64)
    point[:, 2, 2] = 1.0
    scene = smooth_scene()
    assert torch.allclose(wiener(scene, point, 1e-6), scene, atol=1e-3)
    back, db = wiener_picture(
        scene[0].permute(1, 2, 0).numpy(), scene[0].permute(1, 2, 0).numpy(), point.numpy(), 1e-6
    )
    assert back.shape == (96, 96, 3) and db > 60
    with pytest.raises(ConfigError, match="PSF"):
        wiener(scene, torch.ones(3, 101, 101, dtype=torch.float64), 0.1)


def test_richardson_lucy_sharpens_and_stays_positive():
    scene = smooth_scene() * 0.8 + 0.1
    camera = FixedCamera(WRAP, fixed_defocus(WRAP, 0.5)).double()
    frame = camera.blur(scene)

    def db(picture: torch.Tensor) -> float:
        return float(-10 * torch.log10((picture - scene).square().mean()))

    few, many = (richardson_lucy(frame, camera.psf()[0], n) for n in (5, 60))
    assert db(many) > db(few) > db(frame) - 6
    assert db(many) > db(frame) + 3
    assert float(many.min()) >= 0
    # The noise-free fixed point: the true scene is not moved.
    assert db(many) < 60
