"""Components of one's own that a run was trained with: its export has them, or is not made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from pathlib import Path

from monai.bundle import ConfigParser

from ckdmed.bundle.trained import other_components

__all__ = ["check_own_components"]

# what a training reads its images by, and the component of an inference that does it
_COUNTERPARTS = {"preprocessing_of": "preprocessing"}


def check_own_components(inference: ConfigParser, checkpoint: Path, overrides: Collection[str]) -> None:
    """Refuse an inference with another network, preprocessing or other component than the run was trained with.

    They stand in the record of the run, but what a record holds may be code, which nobody runs unasked.

    Args:
        inference: the configuration, as it is to be exported.
        checkpoint: weights of the run.
        overrides: ids that the user gave, whatever the record says of them.

    Raises:
        ValueError: the record has entries of such a component that the configuration lacks.
    """
    given = {name.split("#")[0] for name in overrides}
    missing = {}
    for name, content in other_components(inference, checkpoint).items():
        top = name.split("#")[0]
        # that of a training alone would leave the inference as it was
        if (top in inference.get() or top in _COUNTERPARTS) and _COUNTERPARTS.get(top, top) not in given:
            missing[name] = content
    if missing:
        entries = " ".join(shlex.join(["--override", f"{name}={json.dumps(value)}"]) for name, value in missing.items())
        raise ValueError(
            f"'{checkpoint}' was trained with {', '.join(missing)} of your own, which the exported inference would "
            "lack. Give the file that has them with --config_file, or, if you trust the record of the run, "
            f"{entries} (docs/own_networks.md){_of_inference(missing)}."
        )


def _of_inference(missing: Collection[str]) -> str:
    others = [(name, _COUNTERPARTS[name.split("#")[0]]) for name in missing if name.split("#")[0] in _COUNTERPARTS]
    return "".join(
        f"; for the inference, also give {other}, which does there what {name} does" for name, other in others
    )
