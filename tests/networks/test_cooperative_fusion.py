from __future__ import annotations

import pytest
import torch

from ckdmed.networks import CooperativeFusion


@pytest.mark.parametrize("dims", [2, 3])
def test_fusion_is_the_head_of_the_sum(dims: int) -> None:
    torch.manual_seed(0)
    fusion = CooperativeFusion([4, 6], 3, spatial_dims=dims)
    features = [torch.randn(2, c, *(4,) * dims) for c in (4, 6)]
    parts = [conv(gate(f)) for gate, conv, f in zip(fusion.gates, fusion.convs, features)]
    out = fusion(features)
    assert out.shape == (2, 3, *(4,) * dims)
    torch.testing.assert_close(out, fusion.head(parts[0] + parts[1]))
    out.sum().backward()
    assert all(p.grad is not None for p in fusion.parameters())


def test_depth_one_equals_two_dimensions() -> None:
    flat, deep = CooperativeFusion([4], 2), CooperativeFusion([4], 2, spatial_dims=3)
    deep.load_state_dict({n: v.unsqueeze(2) if v.ndim == 4 else v for n, v in flat.state_dict().items()})
    x = torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(deep([x.unsqueeze(2)]).squeeze(2), flat([x]))


def test_gradcheck() -> None:
    fusion = CooperativeFusion([2, 3], 2).double()
    features = [torch.randn(1, c, 2, 3, dtype=torch.float64, requires_grad=True) for c in (2, 3)]
    assert torch.autograd.gradcheck(lambda *f: fusion(f), features)


def test_refusals() -> None:
    fusion = CooperativeFusion([2, 3], 2)
    with pytest.raises(ValueError, match="1 features for a fusion of 2"):
        fusion([torch.zeros(1, 2, 4, 4)])
    with pytest.raises(ValueError, match="several grids"):
        fusion([torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 2, 2)])
    with pytest.raises(ValueError, match="at least one teacher"):
        CooperativeFusion([], 2)
