"""Writing a bundle into a folder of the user's."""

from __future__ import annotations

import shutil
from pathlib import Path

from ckdmed.bundle.bundle_files import bundle_files
from ckdmed.folders import replaced_folder

__all__ = ["copy_bundle"]

_README = Path("docs/README.md")


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
