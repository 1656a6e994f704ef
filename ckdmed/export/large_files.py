"""Files that are too large for the Model Zoo's repository, which takes their addresses instead."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from ckdmed.file_hash import sha256_of

__all__ = ["LIMIT", "files_over_limit", "move_large_files"]

#: The zoo's limit for one file, in bytes.
LIMIT = 25_000_000


def files_over_limit(folder: Path, limit: int = LIMIT) -> list[Path]:
    """Files below ``folder`` with more than ``limit`` bytes, relative to it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.relative_to(folder) for path in paths if path.stat().st_size > limit]


def move_large_files(folder: Path, target: Path, base_url: str | None = None, limit: int = LIMIT) -> list[Path]:
    """Move what is over the limit to ``target`` under the same relative path, and name it in ``large_files.yml``.

    Args:
        folder: the bundle.
        target: where the large files go; made only when there are any.
        base_url: where the user will publish them; the file's name is appended. Without it the addresses stay empty
            and have to be filled in.
        limit: in bytes.

    Returns:
        The moved files, relative to the bundle; without any, no ``large_files.yml`` is written.
    """
    large = files_over_limit(folder, limit)
    entries = []
    for path in large:
        url = f"{base_url.rstrip('/')}/{path.name}" if base_url else ""
        entries.append(
            {"path": path.as_posix(), "url": url, "hash_val": sha256_of(folder / path), "hash_type": "sha256"}
        )
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / path, target / path)
    if entries:
        text = yaml.safe_dump({"large_files": entries}, sort_keys=False)
        (folder / "large_files.yml").write_text(text, encoding="utf-8")
    return large
