from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ckdmed.networks.deep_medic import DeepMedic
from ckdmed.networks.pyramid_pooling import PyramidPooling
from ckdmed.networks.res2net_block import Res2NetBlock

SMALL = {"widths": (2, 2, 3, 3, 3, 3, 4, 4), "hidden": 5}


def test_deep_medic_gives_9_of_a_segment_of_25() -> None:
    network = DeepMedic(**SMALL).eval()
    logits = network.segments(torch.rand(1, 1, 25, 25, 25), torch.rand(1, 1, 19, 19, 19))
    assert logits.shape == (1, 1, 9, 9, 9)
    with pytest.raises(ValueError, match="too small for a fine one"):
        network.segments(torch.rand(1, 1, 25, 25, 25), torch.rand(1, 1, 17, 17, 17))


def test_the_fine_pathway_sees_17_positions() -> None:
    network = DeepMedic(spatial_dims=2, **SMALL).eval()
    image = torch.rand(1, 1, 33, 33, requires_grad=True)
    network.fine(image)[0, :, 8, 8].sum().backward()
    assert image.grad is not None
    rows = image.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (8, 24)


@pytest.mark.parametrize("size", [(17, 22), (9, 10, 11)])
def test_deep_medic_on_any_size(size: tuple[int, ...]) -> None:
    network = DeepMedic(spatial_dims=len(size), in_channels=2, out_channels=3, **SMALL)
    logits = network(torch.rand(2, 2, *size))
    assert logits.shape == (2, 3, *size)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    again = DeepMedic(spatial_dims=len(size), in_channels=2, out_channels=3, **SMALL)
    again.load_state_dict(network.state_dict(), strict=True)


def test_pyramid_pooling_keeps_the_map_and_adds_its_averages() -> None:
    block = PyramidPooling(2, 8)
    x = torch.rand(2, 8, 7, 9)
    y = block(x)
    assert y.shape == (2, 16, 7, 9) and torch.equal(y[:, :8], x)
    # one cell: the same value everywhere, that of the mean
    expected = block.levels[0][1](x.mean(dim=(2, 3), keepdim=True))
    assert torch.allclose(y[:, 8:10], expected.expand(-1, -1, 7, 9), atol=1e-6)
    assert PyramidPooling(3, 4)(torch.rand(1, 4, 3, 4, 5)).shape == (1, 8, 3, 4, 5)
    assert torch.allclose(torch.jit.script(block)(x), y)


def test_a_res2net_block_is_its_chain_written_out() -> None:
    block = Res2NetBlock(2, 16).eval()
    x = torch.rand(2, 16, 6, 7)
    a, b, c, d = block.before(x).split(16 * 26 // 64, dim=1)
    first = block.chain[0](a)
    second = block.chain[1](b + first)
    third = block.chain[2](c + second)
    expected = F.relu(x + block.after(torch.cat([first, second, third, d], dim=1)))
    with torch.no_grad():
        assert torch.allclose(block(x), expected)
    block.train()(x).sum().backward()
    assert all(p.grad is not None for p in block.parameters())
