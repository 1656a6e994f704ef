from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckdmed.networks.fusion import (
    MAP_FUSIONS,
    DeformableConv,
    GeometryAwareAttention,
    GraphAttentionLayer,
    GraphFusion,
    SpatialTransformerFusion,
    WeightedSum,
    cell_edges,
    deformable_conv,
    map_fusion,
)

dims = pytest.mark.parametrize("spatial_dims", [2, 3])
names = pytest.mark.parametrize("name", MAP_FUSIONS)


def maps(spatial_dims: int = 2, channels: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (6, 5, 4)[:spatial_dims], (3, 4, 5)[:spatial_dims]
    return (
        torch.randn(2, channels, *first, generator=generator),
        torch.randn(2, channels, *second, generator=generator),
    )


@names
@dims
def test_shape_gradients_and_script(name: str, spatial_dims: int) -> None:
    torch.manual_seed(0)
    fusion = map_fusion(name, 8, spatial_dims)
    first, second = maps(spatial_dims)
    first.requires_grad_()
    second.requires_grad_()
    fused = fusion(first, second)
    assert fused.shape == first.shape
    # zero layers hide what lies before them
    for parameter in fusion.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    if isinstance(fusion, SpatialTransformerFusion):
        nn.init.normal_(fusion.theta.weight, std=0.1)
    fusion(first, second).square().sum().backward()
    assert first.grad is not None and second.grad is not None and second.grad.abs().max() > 0
    for key, parameter in fusion.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key
    torch.testing.assert_close(torch.jit.script(fusion)(first, second), fusion(first, second))


@names
def test_half_precision_has_no_nan(name: str) -> None:
    torch.manual_seed(0)
    fusion = map_fusion(name, 8)
    first, second = maps()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            fused = fusion(first.to(dtype) * 60, second.to(dtype) * 60)
        assert fused.isfinite().all()


@names
def test_gradients_in_float64(name: str) -> None:
    torch.manual_seed(0)
    fusion = map_fusion(name, 4).double()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.05)
    first, second = (m[:1, :4].double().requires_grad_() for m in maps())
    assert torch.autograd.gradcheck(fusion, (first, second), eps=1e-6, atol=1e-4)


def test_an_unknown_fusion_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="attention, stn, deformable, graph, geometric, pyramid, got 'sum'"):
        map_fusion("sum", 8)


@dims
def test_spatial_transformer_starts_as_the_identity(spatial_dims: int) -> None:
    first, _ = maps(spatial_dims)
    second = torch.randn_like(first)
    fusion = SpatialTransformerFusion(8, spatial_dims)
    torch.testing.assert_close(fusion(first, second), first + second, atol=1e-5, rtol=0)
    theta = fusion.transform(first, second)
    assert fusion.theta.output_penalty(theta.flatten(1)).item() == 0.0
    with torch.no_grad():
        fusion.theta.bias[2 if spatial_dims == 2 else 3] += 0.5
    penalty = fusion.theta.output_penalty(fusion.transform(first, second).flatten(1))
    torch.testing.assert_close(penalty, torch.tensor(1e-3 * 0.25))


def test_spatial_transformer_recovers_a_known_shift() -> None:
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")

    def blob(right: float) -> torch.Tensor:
        return torch.exp(-((x - right) ** 2 + y**2) / 0.1).expand(1, 2, 16, 16)

    fusion = SpatialTransformerFusion(2)
    optimizer = torch.optim.Adam(fusion.parameters(), lr=0.02)
    first, second = blob(0.0), blob(0.25)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (fusion(first, second) - 2 * first).square().mean()
        loss.backward()
        optimizer.step()
    theta = fusion.transform(first, second)[0].detach()
    # the middle of the output is taken from a quarter to the right
    torch.testing.assert_close(theta[:, 2], torch.tensor([0.25, 0.0]), atol=0.05, rtol=0)


@dims
def test_deformable_convolution_starts_as_the_ordinary_one(spatial_dims: int) -> None:
    torch.manual_seed(0)
    x, _ = maps(spatial_dims)
    layer = DeformableConv(8, 6, 8, groups=2, spatial_dims=spatial_dims)
    plain = (F.conv2d if spatial_dims == 2 else F.conv3d)(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x, x), plain, atol=1e-5, rtol=0)


def slow(x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor):
    """Loops over everything; torchvision's layout, two dimensions."""
    batch, channels, height, width = x.shape
    out, _, k, _ = weight.shape
    groups = mask.shape[1] // (k * k)
    result = torch.zeros(batch, out, height, width, dtype=x.dtype)

    def at(b: int, c: int, i: int, j: int) -> float:
        return float(x[b, c, i, j]) if 0 <= i < height and 0 <= j < width else 0.0

    for b, o, i, j in itertools.product(range(batch), range(out), range(height), range(width)):
        total = float(bias[o])
        for c, tap in itertools.product(range(channels), range(k * k)):
            number = (c // (channels // groups)) * k * k + tap
            py = i + tap // k - k // 2 + float(offset[b, 2 * number, i, j])
            px = j + tap % k - k // 2 + float(offset[b, 2 * number + 1, i, j])
            y0, x0 = int(py // 1), int(px // 1)
            fy, fx = py - y0, px - x0
            value = (1 - fy) * ((1 - fx) * at(b, c, y0, x0) + fx * at(b, c, y0, x0 + 1))
            value += fy * ((1 - fx) * at(b, c, y0 + 1, x0) + fx * at(b, c, y0 + 1, x0 + 1))
            total += float(weight[o, c, tap // k, tap % k]) * float(mask[b, number, i, j]) * value
        result[b, o, i, j] = total
    return result


def deformable_inputs(size: tuple[int, ...], low: float, high: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    d, taps = len(size), 3 ** len(size)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    offset = (low + (high - low) * draw(1, d * 2 * taps, *size)) * torch.where(draw(1, 1, *size) > 0.5, 1.0, -1.0)
    return [draw(1, 2, *size), offset, 2 * draw(1, 2 * taps, *size), draw(2, 2, *[3] * d) - 0.5, draw(2)]


def test_deformable_convolution_against_a_slow_reference() -> None:
    inputs = deformable_inputs((4, 5), 0.0, 2.5)
    torch.testing.assert_close(deformable_conv(*inputs), slow(*inputs), atol=1e-10, rtol=0)


@pytest.mark.parametrize("size", [(3, 4), (2, 2, 2)])
def test_deformable_convolution_gradients(size: tuple[int, ...]) -> None:
    """Offsets of .1 to .4: bilinear sampling has kinks at whole positions."""
    inputs = [value.requires_grad_() for value in deformable_inputs(size, 0.1, 0.4)]
    assert torch.autograd.gradcheck(deformable_conv, inputs, fast_mode=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 2}, "must be odd, got 2"),
        ({"groups": 3}, "must divide the 8 channels, got 3"),
        ({"spatial_dims": 4}, "must be 2 or 3, got 4"),
    ],
)
def test_bad_settings_of_the_deformable_convolution(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeformableConv(8, 8, 8, **settings)


def test_edges_of_the_graph() -> None:
    edges = cell_edges([(7, 7), (2, 2)])
    assert torch.equal(edges, edges.T) and edges.diagonal().all()
    middle = 3 * 7 + 3
    near = {(middle + 7 * dy + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    assert near <= set(edges[middle, :49].nonzero().flatten().tolist())
    # each fine cell has one that covers it, and the coarse one of the corner covers 4 x 4 centres or fewer
    assert (edges[:49, 49:].sum(dim=1) >= 1).all() and edges[0, 49] and not edges[0, 50]
    assert cell_edges([(2, 2)]).all()


def test_graph_attention_is_equivariant_to_a_permutation_of_the_nodes() -> None:
    torch.manual_seed(0)
    layer = GraphAttentionLayer(8).double()
    nodes, edges = torch.randn(2, 13, 8, dtype=torch.float64), cell_edges([(3, 3), (2, 2)])
    order = torch.randperm(13)
    torch.testing.assert_close(layer(nodes[:, order], edges[order][:, order]), layer(nodes, edges)[:, order])
    alone = torch.eye(13, dtype=torch.bool)
    torch.testing.assert_close(layer(nodes, alone), nodes + F.elu(layer.linear(nodes)))


def test_graph_joins_as_many_maps_as_it_was_built_for() -> None:
    first, second = maps()
    assert GraphFusion(8, maps=3).join([first, second, first]).shape == first.shape
    with pytest.raises(ValueError, match="built for 3 maps, got 2"):
        GraphFusion(8, maps=3)(first, second)


def test_geometric_attention_starts_as_plain_attention_and_sees_places() -> None:
    torch.manual_seed(0)
    geometric, plain = GeometryAwareAttention(8), GeometryAwareAttention(8, geometric=False)
    plain.load_state_dict({k: v for k, v in geometric.state_dict().items() if not k.startswith("bias.")})
    first, second = maps()
    torch.testing.assert_close(geometric(first, second), plain(first, second))
    # plain attention does not mind where a key lies
    moved = second.flip(3)
    torch.testing.assert_close(plain(first, moved), plain(first, second))
    nn.init.normal_(geometric.bias[2].weight)
    assert (geometric(first, moved) - geometric(first, second)).abs().max() > 1e-3


def test_plain_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    layer = GeometryAwareAttention(8, heads=1, geometric=False)
    first, second = maps()
    rows, columns = first.flatten(2).mT, second.flatten(2).mT
    attended = F.scaled_dot_product_attention(layer.query(rows), layer.key(columns), layer.value(columns))
    expected = first + layer.project(attended).mT.reshape(first.shape)
    torch.testing.assert_close(layer(first, second), expected)


def test_geometry_of_two_grids() -> None:
    geometry = GeometryAwareAttention(8).geometry([2, 2], [1, 1], torch.zeros(1))
    torch.testing.assert_close(geometry[0, 0], torch.tensor([0.25, 0.25, 0.6931472]))
    torch.testing.assert_close(geometry[3, 0], torch.tensor([-0.25, -0.25, 0.6931472]))


def test_attention_with_a_boundary() -> None:
    torch.manual_seed(0)
    layer = GeometryAwareAttention(8, boundary=True)
    nn.init.normal_(layer.bias[2].weight)
    first, second = maps()
    near, far = (layer(first, second, torch.rand(2, 1, 9, 9) * factor) for factor in (1.0, 50.0))
    assert near.shape == first.shape and (near - far).abs().max() > 1e-3
    with pytest.raises(ValueError, match="boundary=True"):
        layer(first, second)
    with pytest.raises(ValueError, match="leave geometric on"):
        GeometryAwareAttention(8, geometric=False, boundary=True)


@pytest.mark.parametrize("weights", ["global", "gated"])
def test_weighted_sum(weights: str) -> None:
    torch.manual_seed(0)
    layer = WeightedSum(2, 8, weights)
    first, second = maps()
    mean = (first + F.interpolate(second, (6, 5), mode="bilinear", antialias=True)) / 2
    torch.testing.assert_close(layer([first, second], [6, 5]), mean)
    with torch.no_grad():
        layer.logits[0] = 100.0
    torch.testing.assert_close(layer([first, second], [6, 5]), first)
    if weights == "gated":
        with torch.no_grad():
            layer.logits.zero_()
        nn.init.normal_(layer.gate.weight)
        found = layer.scale_weights([first, second])
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2))
        assert (found[0] - found[1]).abs().max() > 1e-3


def test_bad_weighted_sums() -> None:
    with pytest.raises(ValueError, match="at least two maps, got 1"):
        WeightedSum(1, 8)
    with pytest.raises(ValueError, match="global, gated, got 'learned'"):
        WeightedSum(2, 8, "learned")
    with pytest.raises(ValueError, match="built for 2 maps, got 1"):
        WeightedSum(2, 8)([torch.rand(1, 8, 2, 2)], [2, 2])
