"""What the exported network takes and gives, as the metadata state it: channels with names, sizes, intensities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.deployed_check import named_outputs
from ckdmed.counted import counted
from ckdmed.transforms.classification import imagenet_statistics

__all__ = ["with_network_format"]

# the settings scaling and clahe in the words of the metadata, of slices and of cases
_OF_SLICES = {
    "percentiles": "0.5th to 99.5th percentile scaled to [0, 1]",
    "unit": "minimum to maximum scaled to [0, 1]",
    "zscore": "values scaled to mean 0 and deviation 1",
    "report": "minimum to maximum scaled to 8 bits and then to [0, 1]",
    "volume": "values scaled to [0, 1] with those of the volume",
}
_OF_BRAINS = {
    "zscore": "z-scores over the brain",
    "percentiles": "the brain's 0.5th to 99.5th percentile scaled to [0, 1]",
    "unit": "the brain's minimum to maximum scaled to [0, 1]",
    "report": "the brain's minimum to maximum scaled to 8 bits and then to [0, 1]",
}
_STANDARDISED = ", then standardised with ImageNet's mean and deviation"
_EQUALISED = {True: " (after CLAHE)", "global": " (after an equalisation of the histogram)", False: ""}


def with_network_format(metadata: Mapping[str, Any], inference: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with the channels, the size and the intensities of the images that the network takes and gives.

    What the metadata say of channels stays where the network has those; else the texts ``image_classes``,
    ``label_classes`` and ``pred_classes`` name the network's. ``image_classes`` says how its images are scaled, and
    ``value_range`` between which values that is; it is empty where there are no such values.

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
    scaled, limits = _intensities(parser, inputs)
    for tensor in stated["inputs"].values():
        tensor["value_range"] = limits
    if inputs != takes:
        result["image_classes"] = f"{counted(len(inputs), 'channel')}: {', '.join(inputs)}; {scaled}"
    else:
        # that of the scaling which the bundle has by default
        usual = max((text for text in _all_scalings() if text in result["image_classes"]), key=len, default=scaled)
        result["image_classes"] = result["image_classes"].replace(usual, scaled)
    if outputs != gives:
        result["label_classes"] = ", ".join(outputs)
        result["pred_classes"] = f"{counted(len(outputs), 'channel')} of logits: {', '.join(outputs)}"
    return result


def _stated(tensors: Iterable[Mapping[str, Any]]) -> list[str]:
    return [str(name) for tensor in tensors for name in tensor["channel_def"].values()]


def _describe(tensor: dict[str, Any], names: Sequence[str], shape: Sequence[int]) -> None:
    tensor["num_channels"] = len(names)
    tensor["channel_def"] = {str(number): name for number, name in enumerate(names)}
    # logits of classes have none
    if tensor["spatial_shape"]:
        tensor["spatial_shape"] = list(shape)


def _intensities(parser: ConfigParser, inputs: Sequence[str]) -> tuple[str, list[float]]:
    """How the images are scaled, in words, and the lowest and the highest value that they can have then, if any."""
    config = parser.get()
    scaling, clahe = (parser.get_parsed_content(name) for name in ("scaling", "clahe"))
    classes = "task" in config
    brain = "modalities" in config and not classes
    words = (_OF_BRAINS if brain else _OF_SLICES)[scaling]
    standardised = scaling == "report" or (classes and scaling != "zscore")
    words += _STANDARDISED * standardised + ", 0 outside" * brain + _EQUALISED[clahe]
    if scaling == "zscore":
        return words, []
    if not standardised:
        return words, [0, 1]
    # the colours have statistics of their own where one image is copied to them, else their averages
    copied = classes or ("grey_as_rgb" in config and parser.get_parsed_content("grey_as_rgb"))
    statistics = imagenet_statistics(1 if copied and len(set(inputs)) == 1 else 2, scaling)
    ends = [((0 - mean) / deviation, (1 - mean) / deviation) for mean, deviation in zip(*statistics, strict=True)]
    return words, [round(min(low for low, _ in ends), 3), round(max(high for _, high in ends), 3)]


def _all_scalings() -> list[str]:
    slices = [text + standardised for text in _OF_SLICES.values() for standardised in ("", _STANDARDISED)]
    return slices + [f"{text}, 0 outside" for text in _OF_BRAINS.values()]


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
