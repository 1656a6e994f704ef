"""An exported bundle as the one file that `monai.bundle download` takes."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ckdmed.export.configs import read_object
from ckdmed.files import write_atomic
from ckdmed.folders import files_below

__all__ = ["archive_of", "write_archive"]

# the beginning of what a zip can say of time: the same bundle gives the same bytes
_DATE = (1980, 1, 1, 0, 0, 0)


def archive_of(folder: Path, metadata: Path | None = None) -> Path:
    """Where the archive of a bundle goes: ``NAME_vVERSION.zip``, as the Model Zoo calls the files that it hosts.

    Args:
        folder: of the exported bundle, which need not be there yet.
        metadata: whose version counts; by default the bundle's.
    """
    version = read_object(metadata or folder / "configs/metadata.json")["version"]
    return folder.with_name(f"{folder.name}_v{version}.zip")


def write_archive(folder: Path, force: bool = False) -> Path:
    """Write the archive of an exported bundle beside its folder; its files lie in a folder of the bundle's name.

    Args:
        folder: of the bundle.
        force: replace an archive that is there.

    Raises:
        FileExistsError: the archive is there; it is not replaced without ``force``.
    """
    path = archive_of(folder)
    if path.exists() and not force:
        raise FileExistsError(f"'{path}' exists; move it, or replace it with --force.")

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in files_below(folder):
                entry = zipfile.ZipInfo(f"{folder.name}/{Path(name).as_posix()}", _DATE)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, (folder / name).read_bytes())

    return write_atomic(path, write)
