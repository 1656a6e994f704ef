"""`ckdmed bundle`: where the bundles are, and a copy of one to change and run."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from ckdmed.bundle_files import bundle_files, bundle_folder, bundle_names, bundles_folder

_README = Path("docs/README.md")

NAME = "bundle"
HELP = "list the bundles with their folders, or copy a bundle to your own folder"
EXAMPLES = (
    "ckdmed bundle",
    "ckdmed bundle seg_kd my_bundle",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("bundle", nargs="?", help="seg_kd, seg_teacher, cls_kd ...; lists all bundles if omitted")
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="new folder to copy the bundle to; prints the bundle's folder if omitted",
    )


def run(args: argparse.Namespace) -> int:
    """List, print, or write.

    Returns:
        0.
    """
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


def copy_bundle(source: Path, folder: Path) -> list[Path]:
    """Copy a bundle's configurations, documents and weights; the commands in its README name the new folder.

    Args:
        source: folder of the bundle.
        folder: to write; it does not exist, or is empty.

    Returns:
        What was written.

    Raises:
        ValueError: the folder holds something, or is a file; nothing is written.
    """
    from ckdmed.folders import replaced_folder

    files = bundle_files(source)
    target = folder.absolute()
    with replaced_folder(target.parent, target.name, lambda _: "it holds files already") as new:
        for file in files:
            (new / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, new / file)
        readme = (new / _README).read_text(encoding="utf-8")
        own = f"bundles/{source.name}/"
        (new / _README).write_text(readme.replace(own, f"{folder.as_posix().rstrip('/')}/"), encoding="utf-8")
    return [folder / file for file in files]
