"""`ckdmed bundle`: where the bundles are, and a copy of one to change and run."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "bundle"
HELP = "list the bundles with their folders, or write a bundle into a folder of your own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("bundle", nargs="?", help="seg_kd, seg_teacher, cls_kd ...; without it all are listed")
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="a new folder to write the bundle into; without it the bundle's own is printed",
    )


def run(args: argparse.Namespace) -> int:
    """List, print, or write.

    Returns:
        0.
    """
    from ckdmed.bundle.bundle_files import bundle_names, bundles_folder
    from ckdmed.bundle.copy_bundle import copy_bundle
    from ckdmed.bundle.workflow import bundle_folder

    if args.bundle is None:
        for name in bundle_names(bundles_folder()):
            print(f"{name:<18} {bundles_folder() / name}")
        return 0
    source = bundle_folder(args.bundle)
    if args.folder is None:
        print(source)
        return 0
    for path in copy_bundle(source, args.folder):
        print(path)
    print(f"run it with: python -m monai.bundle run --config_file {args.folder / 'train.json'}")
    return 0
