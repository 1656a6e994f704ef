"""`ckdmed settings`: the settings of a bundle with meaning, unit, range and defaults."""

from __future__ import annotations

import argparse

NAME = "settings"
HELP = "print every setting of a bundle with its meaning, unit, range and default"
EXAMPLES = (
    "ckdmed settings seg_kd",
    "ckdmed settings path/to/my_bundle",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("bundle", help="seg_kd, seg_teacher, cls_kd ..., or a bundle's folder")


def run(args: argparse.Namespace) -> int:
    """Print the settings of each of the bundle's configurations.

    Returns:
        0.
    """
    from ckdmed.bundle.settings_list import settings_text

    print(settings_text(args.bundle))
    return 0
