from __future__ import annotations

import pytest
import torch

from camera_rig.errors import ConfigError
from models.heatmaps import GUIDE, IBUG68
from models.networks import (
    NetworkSizes,
    build_face_networks,
    build_heatmap_network,
    parameter_count,
    preset,
)
from models.networks.layers import Coordinates, laplacian
from models.networks.style import DomainLinear

# Published counts, million parameters. The generator's 43.467 includes 0.172 of
# shortcut convolutions that its forward pass never uses; ours does not make them.
PUBLISHED = {"U": 6.334, "E+G": 43.467 - 0.172, "S": 20.917, "D": 20.852, "F": 2.438}


def test_paper_preset_has_the_published_sizes():
    with torch.device("meta"):
        nets = build_face_networks(preset("paper"), domains=2, seed=0)
        heat = build_heatmap_network(preset("paper"), points=98, seed=0)
    ours = {
        "U": parameter_count(heat),
        "E+G": parameter_count(nets.encoder) + parameter_count(nets.generator),
        "S": parameter_count(nets.style),
        "D": parameter_count(nets.critic),
        "F": parameter_count(nets.mapping),
    }
    for name, millions in PUBLISHED.items():
        assert ours[name] / 1e6 == pytest.approx(millions, abs=5.1e-4), name


def test_live_preset_ships_within_25_mb():
    with torch.device("meta"):
        nets = build_face_networks(preset("live"), domains=1, seed=0)
        heat = build_heatmap_network(preset("live"), points=68, seed=0)
    shipped = sum(map(parameter_count, (heat, nets.encoder, nets.generator, nets.style)))
    assert shipped * 4 <= 25e6


STUDENT = NetworkSizes(
    name="s", size_px=32, painter="student", width=8, cap=16, student_blocks=2, style_width=4,
    critic_width=4, style_dim=8, latent_dim=4, hidden=16, heat_channels=16, heat_depth=2,
    heat_stacks=2, heat_foldable=True,
)  # fmt: skip


@pytest.mark.parametrize("sizes", [preset("tiny"), STUDENT], ids=["paper form", "student"])
def test_every_parameter_gets_a_gradient(sizes):
    nets = build_face_networks(sizes, domains=2, seed=1)
    heat = build_heatmap_network(sizes, IBUG68.points, seed=1)
    draw = torch.Generator().manual_seed(0)
    frames = torch.rand(4, 3, 32, 32, generator=draw)
    domain = torch.tensor([0, 1, 0, 1])
    masks = torch.rand(4, GUIDE, 8, 8, generator=draw)
    latents = torch.randn(4, sizes.latent_dim, generator=draw)
    style = nets.style(frames * 2 - 1, domain) + nets.mapping(latents, domain)
    faces = nets.paint(frames, style, masks)
    assert faces.shape == (4, 3, 32, 32)
    loss = faces.square().mean() + nets.critic(faces, domain).square().mean()
    loss = loss + sum(maps.square().mean() for maps in heat.stages(frames))
    loss.backward()
    for name, net in {**nets.named(), "heat": heat}.items():
        for key, parameter in net.named_parameters():
            assert parameter.grad is not None, f"{name}.{key}"
            assert torch.isfinite(parameter.grad).all(), f"{name}.{key}"


def test_same_seed_same_weights_and_global_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = build_face_networks(preset("tiny"), 1, seed=3).generator.state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    two = build_face_networks(preset("tiny"), 1, seed=3).generator.state_dict()
    other = build_face_networks(preset("tiny"), 1, seed=4).generator.state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_masks_decide_where_the_frame_enters():
    # The decoder has no shortcut: outside the masks a skip changes nothing.
    nets = build_face_networks(preset("tiny"), 1, seed=0)
    style = torch.zeros(1, 8)
    latent, skips = nets.encoder(torch.rand(1, 3, 32, 32))
    other = [s + 1.0 + torch.rand_like(s) for s in skips]
    closed, opened = torch.zeros(1, GUIDE, 8, 8), torch.ones(1, GUIDE, 8, 8)
    paint = nets.generator
    assert torch.equal(paint(latent, skips, style, closed), paint(latent, other, style, closed))
    assert not torch.allclose(
        paint(latent, skips, style, opened), paint(latent, other, style, opened)
    )


def test_style_changes_the_face_and_domains_have_their_own_heads():
    nets = build_face_networks(preset("tiny"), domains=2, seed=0)
    face = torch.rand(1, 3, 32, 32) * 2 - 1
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert not torch.allclose(nets.style(face, zero), nets.style(face, one))
    frames, masks = torch.rand(1, 3, 32, 32), torch.zeros(1, GUIDE, 8, 8)
    a = nets.paint(frames, nets.style(face, zero), masks)
    b = nets.paint(frames, nets.style(face, one), masks)
    assert not torch.allclose(a, b)


def test_domain_linear_is_a_linear_layer_per_domain():
    layer = DomainLinear(3, 2, domains=2)
    x = torch.randn(4, 3)
    domain = torch.tensor([1, 0, 1, 1])
    found = layer(x, domain)
    for row, which, out in zip(x, domain, found, strict=True):
        assert torch.allclose(out, layer.weight[which] @ row + layer.bias[which], atol=1e-6)


def test_coordinates_and_laplacian_by_hand():
    made = Coordinates(gated=True)(torch.zeros(1, 1, 3, 3), torch.eye(3)[None, None])
    assert made.shape == (1, 6, 3, 3)
    assert made[0, 1].tolist() == [[-1, 0, 1]] * 3
    assert made[0, 2].tolist() == [[-1] * 3, [0] * 3, [1] * 3]
    assert made[0, 3, 0, 0] == pytest.approx(1.0) and made[0, 3, 1, 1] == 0
    assert made[0, 4].tolist() == [[-1, 0, 0], [0, 0, 0], [0, 0, 1]]
    spot = torch.zeros(1, 1, 3, 3)
    spot[..., 1, 1] = 2.0
    assert laplacian(spot)[0, 0].tolist() == [[-2, -2, -2], [-2, 16, -2], [-2, -2, -2]]


@pytest.mark.parametrize(
    ("change", "word"),
    [({"size_px": 48}, "power of two"), ({"halvings": 3}, "1/8"), ({"heat_depth": 4}, "multiple"),
     ({"painter": "oil"}, "student")],
)  # fmt: skip
def test_sizes_that_cannot_work_are_refused(change, word):
    sizes = preset("tiny").model_copy(update=change)
    with pytest.raises(ConfigError) as caught:
        build_face_networks(sizes, 1, 0)
    assert word in str(caught.value)


def test_u_learns_one_batch():
    from models.heatmaps import draw_targets, read_landmarks
    from models.losses import adaptive_wing_loss

    draw = torch.Generator().manual_seed(2)
    xy = torch.rand(2, 68, 2, generator=draw) * 20 + 6
    pictures = torch.rand(2, 3, 32, 32, generator=draw)
    target = draw_targets(xy, IBUG68, 32, sigma_map=1.0)
    heat = build_heatmap_network(preset("tiny"), 68, seed=0)
    optimiser = torch.optim.Adam(heat.parameters(), 5e-3)

    @torch.no_grad()
    def error() -> float:
        return float((read_landmarks(heat(pictures), IBUG68) - xy).norm(dim=-1).mean())

    before = error()
    for _ in range(80):
        optimiser.zero_grad()
        adaptive_wing_loss(heat(pictures), target).backward()
        optimiser.step()
    assert error() < 0.5 * before


def test_s_and_d_learn_one_batch():
    draw = torch.Generator().manual_seed(1)
    pictures = torch.rand(4, 3, 32, 32, generator=draw) * 2 - 1
    wanted = torch.randn(4, 8, generator=draw)
    domain = torch.zeros(4, dtype=torch.long)
    nets = build_face_networks(preset("tiny"), 1, seed=0)
    label = torch.tensor([1.0, 0.0, 1.0, 0.0])
    optimiser = torch.optim.Adam([*nets.style.parameters(), *nets.critic.parameters()], 3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        judged = nets.critic(pictures, domain)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(judged, label)
        style = (nets.style(pictures, domain) - wanted).abs().mean()
        (loss + style).backward()
        optimiser.step()
    assert loss.item() < 0.05 and style.item() < 0.15
