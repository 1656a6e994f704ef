"""What the exported network takes and gives, as the metadata state it: channels with their names, and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.deployed_check import named_outputs

__all__ = ["with_network_format"]


def with_network_format(metadata: Mapping[str, Any], inference: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with the channels and the size of the images that the exported network takes and gives.

    What the metadata say of channels stays where the network has those; else the texts ``image_classes``,
    ``label_classes`` and ``pred_classes`` name the network's.

    Args:
        metadata: as in the source tree.
        inference: configuration of the exported inference.
    """
    # a parser rewrites the references in what it is given
    parser = ConfigParser(deepcopy(dict(inference)))
    result = deepcopy(dict(metadata))
    stated = result["network_data_format"]
    takes, gives = (_stated(stated[side].values()) for side in ("inputs", "outputs"))
    inputs = _inputs(parser, takes)
    outputs = _in_words(named_outputs(parser), gives)
    shape = _shape(parser)
    for key in filter(lambda key: key.endswith("_data_format"), result):
        for side, tensors in result[key].items():
            for tensor in tensors.values():
                _describe(tensor, inputs if side == "inputs" else outputs, shape)
    if inputs != takes:
        result["image_classes"] = f"{_counted(inputs)}: {', '.join(inputs)}"
    if outputs != gives:
        result["label_classes"] = ", ".join(outputs)
        result["pred_classes"] = f"{_counted(outputs)} of logits: {', '.join(outputs)}"
    return result


def _stated(tensors: Iterable[Mapping[str, Any]]) -> list[str]:
    return [str(name) for tensor in tensors for name in tensor["channel_def"].values()]


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} channel{'' if len(names) == 1 else 's'}"


def _describe(tensor: dict[str, Any], names: Sequence[str], shape: Sequence[int]) -> None:
    tensor["num_channels"] = len(names)
    tensor["channel_def"] = {str(number): name for number, name in enumerate(names)}
    # logits of classes have none
    if tensor["spatial_shape"]:
        tensor["spatial_shape"] = list(shape)


def _shape(parser: ConfigParser) -> list[int]:
    if "spatial_dims" in parser.get() and parser.get_parsed_content("spatial_dims") == 3:
        return [int(size) for size in parser.get_parsed_content("roi_size")]
    return [int(parser.get_parsed_content("image_size"))] * 2


def _inputs(parser: ConfigParser, stated: Sequence[str]) -> list[str]:
    """A name for each input channel."""
    config = parser.get()
    count = int(parser.get_parsed_content("in_channels"))
    figshare = "task" in config and parser.get_parsed_content("task") == "figshare"
    if "modalities" in config and not figshare:
        modalities = parser.get_parsed_content("modalities")
        # of slices with their neighbours one after the other, or copies of the only one
        return _in_words([str(name) for name in modalities] * (count // len(modalities)), stated)
    if count == len(stated):
        return list(stated)
    copies = "grey_as_rgb" in config and parser.get_parsed_content("grey_as_rgb")
    return [stated[0] if copies else f"image {number}" for number in range(1, count + 1)]


def _in_words(names: Sequence[str], stated: Sequence[str]) -> list[str]:
    """The stated text of each name, such as "whole tumour (WT)" of WT, else the name itself."""
    words = {name: next((text for text in stated if text.endswith(f"({name})")), name) for name in names}
    return [words[name] for name in names]
