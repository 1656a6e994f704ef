from __future__ import annotations

import pytest
import torch

from ckdmed.inferers.slices import SliceClassifierInferer


def network(x: torch.Tensor) -> torch.Tensor:
    """Brightness of the left half and of the whole."""
    return torch.stack([x[..., :2].mean(dim=(1, 2, 3)), x.mean(dim=(1, 2, 3))], dim=1)


def test_slices_one_by_one_in_their_order():
    stack = torch.rand(2, 5, 3, 4, 4)
    sizes: list[int] = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return network(x)

    got = SliceClassifierInferer(batch_size=4)(stack, counted)
    assert got.shape == (2, 5, 2) and sizes == [4, 4, 2]
    torch.testing.assert_close(got[1, 3], network(stack[1, 3:4])[0])


def test_flip_averages_left_and_right():
    stack = torch.rand(1, 3, 3, 4, 4)
    got = SliceClassifierInferer(flip=True)(stack, network)
    torch.testing.assert_close(got[..., 0], got[..., 1])


def test_refusals():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        SliceClassifierInferer(batch_size=0)
    with pytest.raises(ValueError, match=r"\(B, S, C, H, W\), got shape \(1, 3, 4, 4\)"):
        SliceClassifierInferer()(torch.rand(1, 3, 4, 4), network)
