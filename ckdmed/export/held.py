"""What an exported bundle holds and how Python loads it, in the words of its model card."""

from __future__ import annotations

import json
import re
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from ckdmed.bundle.idle_settings import idle_settings
from ckdmed.bundle.settings_table import settings_for
from ckdmed.bundle.unread_settings import unread_settings
from ckdmed.export.configs import component_settings

__all__ = ["with_network_named"]

_FIRST_PARAGRAPH = re.compile(r"\A# Model Overview\n(?:[^\n]+\n)+")


def with_network_named(text: str, name: str, network: nn.Module, parser: ConfigParser, shipped: bool = False) -> str:
    """A model card with a second paragraph that says which network it holds, and what images it was trained on.

    The card describes the bundle, of which one export may hold a network of another kind, or of somebody's own, trained
    on images of another size or scaling.

    Args:
        text: of the card.
        name: of the exported bundle.
        network: that of the exported inference.
        parser: of its configuration.
        shipped: the weights are those that the text describes.

    Raises:
        ValueError: the card does not begin with an overview.
    """
    first = _FIRST_PARAGRAPH.match(text)
    if first is None:
        raise ValueError("the bundle's README must begin with '# Model Overview' and a paragraph.")
    told = "" if shipped else _held(network, parser)
    # the default, a training, would build the teacher as well
    told += (
        f'In Python, `monai.bundle.load("{name}", bundle_dir=".", workflow_type="inference")` gives the network with '
        "its weights, where `bundle_dir` is the folder around this bundle.\n"
    )
    return f"{text[: first.end()]}\n{told}{text[first.end() :]}"


def _held(network: nn.Module, parser: ConfigParser) -> str:
    config = parser.get()
    read, known = component_settings(config, ("network_def", "preprocessing")), settings_for(config)
    names = [name for name in config if name in read and name in known and not known[name].kind.is_path]
    without = unread_settings(parser) | idle_settings(parser, names).keys()
    values = {name: parser.get_parsed_content(name) for name in names if name not in without}
    listed = ", ".join(f"`{name}` {_written(value)}" for name, value in values.items() if value is not None)
    count = sum(weight.numel() for weight in network.parameters())
    return (
        f"This export holds a {type(network).__name__} with {count:,} parameters; its settings are {listed}. The text "
        "below describes the bundle with its usual settings. Where it differs, these and `models/model.json` hold.\n\n"
    )


def _written(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
