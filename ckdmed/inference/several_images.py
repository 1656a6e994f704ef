"""Networks of which an input is several images, where each input is one series."""

from __future__ import annotations

from pathlib import Path

from ckdmed.bundle.errors import in_words, root_cause
from ckdmed.bundle.workflow import bundle_parser
from ckdmed.json_files import read_json

__all__ = ["refuse_several_images"]


def refuse_several_images(name: str, bundle: Path, weights: Path) -> None:
    """Refuse the weights of a network that takes several images at once: no series by itself could be segmented.

    Args:
        name: of the bundle as it was given, for the message.
        bundle: folder of the configuration; one without the setting ``input_images`` is accepted.
        weights: whose record tells how many they are.

    Raises:
        ValueError: they are several, or the record cannot be read; says which other command takes them.
    """
    if "input_images" not in read_json(bundle / "inference.json"):
        return
    try:
        images = bundle_parser(bundle, {"checkpoint": str(weights)}, "inference.json").get_parsed_content(
            "input_images"
        )
    except RuntimeError as error:
        raise ValueError(in_words(root_cause(error))) from error
    if images != 1:
        raise ValueError(
            f"{weights}: its network takes {images} images of each input (input_images), but a series is only one. "
            f"List which images belong together under 'image' of a datalist, and segment them with `ckdmed run {name} "
            f"infer --checkpoint {weights} --dataset_dir DATALIST --output_dir RESULTS`."
        )
