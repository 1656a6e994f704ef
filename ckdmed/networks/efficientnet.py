"""MONAI's EfficientNet-B0 with the padding and normalisation of the published PyTorch weights."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from monai.networks.layers.factories import Pad
from monai.networks.nets import EfficientNet, EfficientNetBN
from torch import nn

from ckdmed.networks.checkpoint import WeightReport, fill_network, read_state_dict
from ckdmed.networks.published_weights import weights_file

__all__ = ["EfficientNetB0", "load_efficientnet_weights"]

PADDINGS = ("symmetric", "same")
#: Parts of a block in MONAI's names, and in the file's: for blocks with and without an expansion.
TORCHVISION_PARTS = {
    True: {
        "_expand_conv": "block.0.0",
        "_bn0": "block.0.1",
        "_depthwise_conv": "block.1.0",
        "_bn1": "block.1.1",
        "_se_reduce": "block.2.fc1",
        "_se_expand": "block.2.fc2",
        "_project_conv": "block.3.0",
        "_bn2": "block.3.1",
    },
    False: {
        "_depthwise_conv": "block.0.0",
        "_bn1": "block.0.1",
        "_se_reduce": "block.1.fc1",
        "_se_expand": "block.1.fc2",
        "_project_conv": "block.2.0",
        "_bn2": "block.2.1",
    },
}
TIMM_PARTS = {
    True: {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_se_reduce": "se.conv_reduce",
        "_se_expand": "se.conv_expand",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    },
    False: {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        "_se_reduce": "se.conv_reduce",
        "_se_expand": "se.conv_expand",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    },
}
ENDS: Mapping[str, Mapping[str, str]] = {
    "torchvision": {
        "_conv_stem": "features.0.0",
        "_bn0": "features.0.1",
        "_conv_head": "features.8.0",
        "_bn1": "features.8.1",
        "_fc": "classifier.1",
    },
    "timm": {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"},
}
MARKS = {
    "torchvision": "features.0.0.weight",
    "timm": "conv_stem.weight",
    "MONAI": "_blocks.0.0._depthwise_conv.weight",
    "EfficientNet-PyTorch": "_blocks.0._depthwise_conv.weight",
}

#: Squeeze and excitation in the names of MONAI and EfficientNet-PyTorch, of timm, of torchvision.
SQUEEZE = re.compile(r"\._se_reduce\.|\.se\.conv_reduce\.|\.block\.\d\.fc1\.")


class EfficientNetB0(EfficientNetBN):
    """EfficientNet-B0 (5.3 million parameters at 1000 classes) that returns raw logits.

    It is MONAI's `EfficientNetBN("efficientnet-b0")`, and as such has its names. MONAI follows TensorFlow: a strided
    convolution is padded more behind than before, and batch normalisation has epsilon 1e-3 and momentum 0.01. The
    weights of torchvision and timm were trained with equal padding on both sides, epsilon 1e-5 and momentum 0.1.
    Neither is part of a state dict, so weights of the one kind run in the other network, and give other numbers.
    Nothing is downloaded.

    The third MBConv stage's output (80 channels, 14x14 at 224) is the path `_blocks.3`.

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        spatial_dims: 2 or 3.
        padding: "symmetric", as in torchvision and timm, or "same", which is MONAI's own network. The higher momentum
            of "symmetric" also keeps the running statistics up in a short training.
        weights: checkpoint file, see `load_efficientnet_weights`; what matched is logged.

    Shape: (B, in_channels, *spatial) to (B, num_classes), best at a multiple of 32 per axis.

    Raises:
        ValueError: an unknown `padding`; as `load_efficientnet_weights`.

    Source: Tan and Le 2019 (arXiv 1905.11946).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        spatial_dims: int = 2,
        padding: str = "symmetric",
        weights: str | None = None,
    ) -> None:
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}.")
        options = {"eps": 1e-5, "momentum": 0.1} if padding == "symmetric" else {"eps": 1e-3, "momentum": 0.01}
        super().__init__(
            "efficientnet-b0",
            pretrained=False,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            num_classes=num_classes,
            norm=("batch", options),
        )
        self.padding = padding
        if padding == "symmetric":
            for module in self.modules():
                for name, child in list(module.named_children()):
                    if name.endswith("_padding"):
                        setattr(module, name, _symmetric(getattr(module, name[: -len("_padding")])))
        # MONAI draws the last layer from +-1 / sqrt(num_classes): right for 1000 classes, but with 3 the first logits
        # have a deviation of about 6 and the training begins by undoing them.
        self._fc.reset_parameters()
        # The memory-saving form is an autograd function, which cannot be scripted.
        self.set_swish(memory_efficient=False)
        if weights:
            load_efficientnet_weights(self, weights_file(weights, "efficientnet_b0"))


def _symmetric(convolution: nn.Module) -> nn.Module:
    kernel = getattr(convolution, "kernel_size", ())
    pads = [size // 2 for size in reversed(kernel) for _ in range(2)]
    return Pad[Pad.CONSTANTPAD, len(kernel)](pads, 0.0) if any(pads) else nn.Identity()


def _file_name(name: str, layout: str, own: Sequence[str]) -> str:
    """The file's name for one of MONAI's, whose blocks are called `_blocks.<stage>.<number through all stages>`."""
    if layout == "MONAI":
        return name
    module, _, kind = name.rpartition(".")
    block = re.fullmatch(r"_blocks\.(\d+)\.(\d+)\.(.+)", module)
    if layout == "EfficientNet-PyTorch":
        return name if block is None else f"_blocks.{block[2]}.{block[3]}.{kind}"
    if block is None:
        return f"{ENDS[layout][module]}.{kind}"
    stage, number, part = int(block[1]), int(block[2]), block[3]
    first = min(int(other.split(".")[2]) for other in own if other.startswith(f"_blocks.{stage}."))
    expands = f"_blocks.{stage}.{number}._expand_conv.weight" in own
    if layout == "torchvision":
        return f"features.{stage + 1}.{number - first}.{TORCHVISION_PARTS[expands][part]}.{kind}"
    return f"blocks.{stage}.{number - first}.{TIMM_PARTS[expands][part]}.{kind}"


def load_efficientnet_weights(
    network: EfficientNet, path: str | os.PathLike[str], min_share: float = 0.9
) -> WeightReport:
    """Load an EfficientNet checkpoint file of torchvision, timm, MONAI or EfficientNet-PyTorch.

    Other input channels are fitted as in `adapt_input_channels`; a last layer with another number of classes keeps its
    initial value.

    Args:
        network: `EfficientNetB0`, `EfficientNetLiteEncoder`, or MONAI's `EfficientNetBN`; changed in place.
        path: the file, read by `read_state_dict`.
        min_share: least share of the network's numbers, and of its tensors, that the file must fill.

    Raises:
        ValueError: an unreadable file, an unknown layout, one that fills less than `min_share`, a file with squeeze and
            excitation for a network without (B0's for a Lite one), or a file whose weights were trained with the other
            padding than the network's (see `EfficientNetB0`). timm uses one set of names for both: its `tf_` files need
            padding="same", which their names do not tell.
    """
    file = read_state_dict(path)
    layout = next((layout for layout, mark in MARKS.items() if mark in file), None)
    if layout is None:
        marks = ", ".join(f"{mark} ({name})" for name, mark in MARKS.items())
        raise ValueError(
            f"{os.fspath(path)}: not an EfficientNet checkpoint of a known layout, it has none of {marks}. "
            f"Its first names: {', '.join(list(file)[:4])}."
        )
    padding = getattr(network, "padding", "same")
    trained = {"torchvision": "symmetric", "EfficientNet-PyTorch": "same"}.get(layout, padding)
    if trained != padding:
        raise ValueError(
            f"{os.fspath(path)}: weights in {layout}'s layout were trained with padding={trained!r}, this network has "
            f"padding={padding!r}, so its outputs would be wrong. Build EfficientNetB0(padding={trained!r})."
        )
    own = list(network.state_dict())
    squeezing = next((name for name in file if SQUEEZE.search(name)), None)
    if squeezing and not any(SQUEEZE.search(name) for name in own):
        raise ValueError(
            f"{os.fspath(path)}: holds squeeze-and-excitation layers ({squeezing}), but this {type(network).__name__} "
            "has none, so its outputs would be wrong. EfficientNet-Lite needs its own file, not B0's."
        )
    names = {_file_name(name, layout, own): name for name in own}
    notes = []
    if layout == "timm":
        notes.append(
            f'taken as trained with padding={padding!r}; timm\'s tf_ files have "same", its others "symmetric"'
        )
    return fill_network(
        network,
        {names[name]: tensor for name, tensor in file.items() if name in names},
        path,
        layout,
        unexpected=[name for name in file if name not in names],
        input_weight="_conv_stem.weight",
        heads=("_fc.weight", "_fc.bias"),
        min_share=min_share,
        notes=notes,
    )
