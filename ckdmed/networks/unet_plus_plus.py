"""UNet++: MONAI's, with one tensor of logits, deep supervision in training and pruning by depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNetPlusPlus

from ckdmed.networks.channel_counts import channel_counts, with_channel_counts
from ckdmed.networks.padded import cropped, padded

__all__ = ["UNetPlusPlus", "depth_taps"]

DEPTHS = (1, 2, 3, 4)


class _NestedUNet(BasicUNetPlusPlus):
    """MONAI's network with the nodes (i, k), i + k <= depth alone; its list of heads as one tensor."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        depth: int,
        deep_supervision: bool,
        ensemble: bool,
        norm: str | tuple,
        act: str | tuple,
        dropout: float | tuple,
        upsample: str,
    ) -> None:
        super().__init__(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            features=tuple(features),
            deep_supervision=deep_supervision,
            act=act,
            norm=norm,
            dropout=dropout,
            upsample=upsample,
        )
        self.depth = depth
        self.ensemble = ensemble
        for row in range(1, 5):
            if row > depth:
                delattr(self, f"conv_{row}_0")
                for column in range(1, row + 1):
                    delattr(self, f"upcat_{row - column}_{column}")
            # an inner head that nothing reads would have no gradient
            if row > depth or (row < depth and not (deep_supervision or ensemble)):
                delattr(self, f"final_conv_0_{row}")

    def heads(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits of the nodes (0, 1) to (0, depth) that have a head, the shallowest first."""
        found: list[torch.Tensor] = []
        x_0_0 = self.conv_0_0(x)
        x_1_0 = self.conv_1_0(x_0_0)
        x_0_1 = self.upcat_0_1(x_1_0, x_0_0)
        if hasattr(self, "final_conv_0_1"):
            found.append(self.final_conv_0_1(x_0_1))
        if hasattr(self, "conv_2_0"):
            x_2_0 = self.conv_2_0(x_1_0)
            x_1_1 = self.upcat_1_1(x_2_0, x_1_0)
            x_0_2 = self.upcat_0_2(x_1_1, torch.cat([x_0_0, x_0_1], dim=1))
            if hasattr(self, "final_conv_0_2"):
                found.append(self.final_conv_0_2(x_0_2))
            if hasattr(self, "conv_3_0"):
                x_3_0 = self.conv_3_0(x_2_0)
                x_2_1 = self.upcat_2_1(x_3_0, x_2_0)
                x_1_2 = self.upcat_1_2(x_2_1, torch.cat([x_1_0, x_1_1], dim=1))
                x_0_3 = self.upcat_0_3(x_1_2, torch.cat([x_0_0, x_0_1, x_0_2], dim=1))
                if hasattr(self, "final_conv_0_3"):
                    found.append(self.final_conv_0_3(x_0_3))
                if hasattr(self, "conv_4_0"):
                    x_4_0 = self.conv_4_0(x_3_0)
                    x_3_1 = self.upcat_3_1(x_4_0, x_3_0)
                    x_2_2 = self.upcat_2_2(x_3_1, torch.cat([x_2_0, x_2_1], dim=1))
                    x_1_3 = self.upcat_1_3(x_2_2, torch.cat([x_1_0, x_1_1, x_1_2], dim=1))
                    x_0_4 = self.upcat_0_4(x_1_3, torch.cat([x_0_0, x_0_1, x_0_2, x_0_3], dim=1))
                    found.append(self.final_conv_0_4(x_0_4))
        return found


class UNetPlusPlus(_NestedUNet):
    """UNet++ of five levels over MONAI's ``BasicUNetPlusPlus``, which returns one tensor of raw logits.

    Node (i, k) stands on level i and is the k-th of its row; (i, 0) is the encoder, (0, k) gives head k. In training
    with deep supervision all heads come out, (B, depth, C, *spatial), the deepest first; each has the same weight,
    `head_weights`. Else the deepest head, or the mean of all with `ensemble`.

    The head of node (0, j) needs only the nodes (i, k) with i + k <= j: `pruned(j)` is the network of these, with the
    same output bit for bit and far less to compute. j is chosen on the validation set (``ckdmed prune``).

    Weights have MONAI's names: ``conv_<i>_0``, ``upcat_<i>_<k>``, ``final_conv_0_<k>``.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the image and of the logits.
        features: widths of the five levels, and of node (0, 4).
        depth: 1 to 4; below 4 the network of the nodes that `pruned` keeps.
        deep_supervision: train all heads. Without it a pruned network cannot be had.
        ensemble: outside training the mean of the heads' logits instead of the deepest head.
        norm, act, dropout, upsample: see ``BasicUNetPlusPlus``.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial). Any size: the far ends are padded with 0 to
        multiples of 2^depth.

    Raises:
        ValueError: another depth; an ensemble whose heads were not trained; another number of features than six.

    Source: Zhou et al. 2018 (arXiv 1807.10165), Figure 1 and the section on deep supervision. The paper adds the heads'
        losses up; here they are averaged, so that the term's size does not depend on the depth.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        features: Sequence[int] = (32, 64, 128, 256, 512, 32),
        depth: int = 4,
        deep_supervision: bool = True,
        ensemble: bool = False,
        norm: str | tuple = ("instance", {"affine": True}),
        act: str | tuple = ("leakyrelu", {"negative_slope": 0.1, "inplace": False}),
        dropout: float | tuple = 0.0,
        upsample: str = "deconv",
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f"the depth of a UNet++ must be one of {', '.join(map(str, DEPTHS))}, got {depth!r}.")
        if ensemble and not deep_supervision:
            raise ValueError("ensemble averages the heads, which only deep_supervision trains: set it to true.")
        if len(features) != 6:
            raise ValueError(f"features must be six widths, those of five levels and of the last node, got {features}.")
        super().__init__(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            features=features,
            depth=depth,
            deep_supervision=deep_supervision,
            ensemble=ensemble,
            norm=norm,
            act=act,
            dropout=dropout,
            upsample=upsample,
        )
        self.divisor = 2**depth
        self.settings = {
            "spatial_dims": spatial_dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "features": tuple(features),
            "norm": norm,
            "act": act,
            "dropout": dropout,
            "upsample": upsample,
        }
        if deep_supervision:
            self.head_weights = [1.0 / depth] * depth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.heads(padded(x, self.divisor))
        if self.training and self.deep_supervision:
            # the deepest first, as MONAI's DynUNet has its finest
            logits = torch.stack(found[::-1], dim=1)
        elif self.ensemble:
            logits = torch.stack(found, dim=0).mean(dim=0)
        else:
            logits = found[len(found) - 1]
        return cropped(logits, x)

    def pruned(self, depth: int) -> UNetPlusPlus:
        """The network of node (0, depth)'s head, with this one's weights; it has one head.

        Raises:
            ValueError: a depth above this network's, or a network without the inner heads.
        """
        if not 1 <= depth <= self.depth:
            raise ValueError(
                f"a UNet++ of depth {self.depth} can be pruned to a depth of 1 to {self.depth}, got {depth}."
            )
        if depth < self.depth and not self.deep_supervision:
            raise ValueError("this UNet++ was trained without deep supervision, so its inner nodes have no heads.")
        small = UNetPlusPlus(depth=depth, deep_supervision=False, **self.settings)  # type: ignore[arg-type]
        # this network may have lost channels
        counts = channel_counts(self)
        with_channel_counts(small, {name: counts[name] for name in channel_counts(small)})
        own = self.state_dict()
        small.load_state_dict({name: own[name] for name in small.state_dict()})
        return small.to(next(self.parameters()).device).train(self.training)


def depth_taps(depth: int = 4) -> dict[str, str]:
    """Paths of the nodes (i, depth - i): d1 the image's grid, d4 an eighth of it; a pruned network has fewer."""
    return {f"d{level + 1}": f"upcat_{level}_{depth - level}" for level in reversed(range(depth))}
