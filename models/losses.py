"""The paper's losses, one function per equation, and our own options named as ours.

A norm with index 1 is the mean of absolute values here and the squared norm of
eq. 4 the mean of squares, so that weights do not depend on the picture size.
Every function returns a scalar. Pictures are in 0 … 1 in Stage I and in -1 … 1
in Stage II, as each docstring says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as fn
from torch import Tensor

from camera_rig.errors import ConfigError


def optics_loss(
    scene: Tensor, frame: Tensor, psf: Tensor, fixed_psf: Tensor, alpha1: float
) -> Tensor:
    """Eq. 4: degrade the frame, and keep the PSF near a fixed defocus PSF.

    Args:
        scene: x, 0 … 1.
        frame: y, 0 … 1.
        psf: H, energy share per pixel.
        fixed_psf: H_f, same shape.
        alpha1: Weight of the PSF term.
    """
    return 1.0 - fn.mse_loss(frame, scene) + alpha1 * torch.linalg.vector_norm(psf - fixed_psf)


def heatmap_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Eq. 5: mean absolute difference of U(y) and the frozen U*(x)."""
    return fn.l1_loss(found, wanted)


def design_loss(optics: Tensor, heatmap: Tensor, alpha2: float) -> Tensor:
    """Eq. 6: eq. 4 plus ``alpha2`` times eq. 5."""
    return optics + alpha2 * heatmap


def adversarial_value(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Eq. 7 as printed: E log D(r) + E log(1 - D(fake)), which D maximises.

    Args:
        real_logits: D before the sigmoid, on references.
        fake_logits: D before the sigmoid, on painted faces.
    """
    return fn.logsigmoid(real_logits).mean() + fn.logsigmoid(-fake_logits).mean()


def critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What D minimises: the negative of eq. 7."""
    return -adversarial_value(real_logits, fake_logits)


def painter_loss(fake_logits: Tensor) -> Tensor:
    """What G minimises for eq. 7: -E log D(fake), the form that does not saturate."""
    return -fn.logsigmoid(fake_logits).mean()


def style_loss(style: Tensor, recovered: Tensor) -> Tensor:
    """Eq. 8: mean absolute difference of the style asked for and that of the output."""
    return fn.l1_loss(recovered, style)


def diversity(first: Tensor, second: Tensor) -> Tensor:
    """Eq. 9: mean absolute difference of two outputs in two styles. To be maximised."""
    return (first - second).abs().mean()


def cycle_loss(frame: Tensor, rebuilt: Tensor) -> Tensor:
    """Eq. 10: mean absolute difference of the privacy frame and its rebuilt form."""
    return fn.l1_loss(rebuilt, frame)


def perceptual_loss(reference: Sequence[Tensor], painted: Sequence[Tensor]) -> Tensor:
    """Eq. 11: L2 distance between features of reference and output.

    Channels are normalised at each place, squared differences averaged over
    places, summed over levels, then averaged over the batch.

    Args:
        reference: Q(r), one tensor per level, ``(batch, channels, h, w)``.
        painted: Q of the output, the same shapes.
    """
    total = torch.zeros((), device=painted[0].device, dtype=painted[0].dtype)
    for wanted, found in zip(reference, painted, strict=True):
        a = fn.normalize(wanted, dim=1, eps=1e-8)
        b = fn.normalize(found, dim=1, eps=1e-8)
        total = total + (a - b).square().sum(1).mean((1, 2)).mean()
    return total


def expression_loss(scene: Tensor, frame: Tensor, scene_mask: Tensor, frame_mask: Tensor) -> Tensor:
    """Eq. 12 as printed: mean of ‖m* x - m y‖.

    With ``frame`` the privacy frame, as printed, no network of Stage II is in
    it, only U: it then trains the masks. With ``frame`` the painted face it
    compares what is painted where the features are, which trains G too.

    Args:
        scene: x.
        frame: y, or the painted face; same range as ``scene``.
        scene_mask: m*, 0 … 1.
        frame_mask: m, 0 … 1.
    """
    return (scene_mask * scene - frame_mask * frame).abs().mean()


def full_objective(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Eq. 13: the weighted sum of terms; ``diversity`` is subtracted.

    Args:
        terms: Name to value.
        weights: Name to weight; a term without a weight is an error.

    Raises:
        ConfigError: A term has no weight.
    """
    missing = [name for name in terms if name not in weights]
    if missing:
        raise ConfigError(
            f"loss terms without a weight: {', '.join(missing)}", hint="add them to the weights"
        )
    total = sum(
        (-1.0 if name == "diversity" else 1.0) * weights[name] * value
        for name, value in terms.items()
    )
    return torch.as_tensor(total)


def gradient_penalty(logits: Tensor, pictures: Tensor) -> Tensor:
    """R1: half the squared gradient of D on real pictures, mean over the batch.

    Args:
        logits: D on ``pictures``, before the sigmoid.
        pictures: Must require a gradient.
    """
    (slope,) = torch.autograd.grad(logits.sum(), pictures, create_graph=True)
    return 0.5 * slope.square().flatten(1).sum(1).mean()


def adaptive_wing_loss(
    found: Tensor,
    wanted: Tensor,
    *,
    omega: float = 14.0,
    theta: float = 0.5,
    epsilon: float = 1.0,
    alpha: float = 2.1,
    emphasis: float = 10.0,
) -> Tensor:
    """Adaptive wing loss with weighted foreground (Wang 2019), to pretrain U.

    Args:
        found: Heatmaps of U.
        wanted: Target heatmaps, 0 … 1.
        omega: Height of the curved part.
        theta: Error at which the loss becomes straight.
        epsilon: Width of the curved part.
        alpha: Exponent at background; smaller at a spot's centre.
        emphasis: Extra weight of pixels within one pixel of a target above 0.2.
    """
    error = (wanted - found).abs()
    power = alpha - wanted
    ratio = theta / epsilon
    at_theta = ratio**power
    slope = omega * power * ratio ** (power - 1.0) / epsilon / (1.0 + at_theta)
    offset = theta * slope - omega * torch.log1p(at_theta)
    # The straight part's branch must not see an infinite slope at error 0.
    curved = omega * torch.log1p((error.clamp(min=1e-12) / epsilon) ** power)
    value = torch.where(error < theta, curved, slope * error - offset)
    near = fn.max_pool2d(wanted, 3, stride=1, padding=1) > 0.2
    return (value * (1.0 + emphasis * near)).mean()


# Below: ours, not the paper's.


def landmark_loss(found_px: Tensor, wanted_px: Tensor, size_px: int) -> Tensor:
    """Ours: mean distance of landmarks of output and truth, in picture widths.

    Args:
        found_px: ``(batch, points, 2)``, pixels.
        wanted_px: The same.
        size_px: Width of the picture.
    """
    return (found_px - wanted_px).square().sum(-1).add(1e-12).sqrt().mean() / size_px


def identity_loss(painted: Tensor, source: Tensor, margin: float) -> Tensor:
    """Ours: push the output's identity vector away from the source's.

    Zero once the cosine is below ``margin``.

    Args:
        painted: ``(batch, n)`` vectors of outputs.
        source: ``(batch, n)`` vectors of sources, from the same network.
        margin: Cosine below which two faces count as two people.
    """
    cosine = fn.cosine_similarity(painted, source, dim=1)
    return fn.relu(cosine - margin).mean()


def flow_expression_loss(
    scene: Tensor, painted: Tensor, mask: Tensor, window_px: int = 7
) -> Tensor:
    """Ours: eq. 12 as motion. How far features would have to move, in pixels.

    One least-squares step of optical flow (Lucas–Kanade) from the scene to the
    painted face, averaged where the mask is. Brightness and contrast are taken
    out first, because the new face has another skin.

    Args:
        scene: ``(batch, 3, h, w)``.
        painted: The same range and shape.
        mask: ``(batch, 1, h, w)``, 0 … 1.
        window_px: Side of the window, odd.
    """
    here, there = _flat_grey(scene, window_px), _flat_grey(painted, window_px)
    slope_y, slope_x = torch.gradient(here + there, dim=(2, 3))
    slope_y, slope_x, change = slope_y / 2.0, slope_x / 2.0, there - here

    def around(values: Tensor) -> Tensor:
        return fn.avg_pool2d(values, window_px, 1, window_px // 2)

    xx, yy = around(slope_x * slope_x) + 1e-2, around(slope_y * slope_y) + 1e-2
    xy = around(slope_x * slope_y)
    xt, yt = around(slope_x * change), around(slope_y * change)
    determinant = xx * yy - xy * xy
    move_x = (xy * yt - yy * xt) / determinant
    move_y = (xy * xt - xx * yt) / determinant
    length = (move_x.square() + move_y.square() + 1e-12).sqrt()
    return (length * mask).sum() / mask.sum().clamp(min=1.0)


def _flat_grey(pictures: Tensor, window_px: int) -> Tensor:
    grey = pictures.mean(1, keepdim=True)
    side = 2 * window_px + 1
    mean = fn.avg_pool2d(grey, side, 1, window_px, count_include_pad=False)
    spread = fn.avg_pool2d((grey - mean).square(), side, 1, window_px, count_include_pad=False)
    return (grey - mean) / (spread + 1e-3).sqrt()
