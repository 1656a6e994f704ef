"""Whether a checkpoint is whole and harmless, before and after torch reads it."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ckdmed.limits import check_decoded_size

__all__ = ["check_archive", "check_loaded_sizes"]

# What a state of tensors and plain values is built of. Others that torch allows, among them bytearray and the
# constructors of tensors, take a size from the file and allocate it at once.
_CALLED = re.compile(
    r"collections (OrderedDict|Counter|defaultdict)|_codecs encode|(builtins|__builtin__) (set|complex)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch\._tensor _rebuild_from_type_v2|torch\.nn\.parameter Parameter|torch\.serialization _get_layout"
    r"|torch\.storage (Typed|Untyped)Storage|torch (\w+Storage|Size|device|[a-z]\w*)"
)


def check_archive(path: Path) -> None:
    """Compare the checksums of a zip checkpoint, and what it would build with what is allowed.

    Files older than torch 1.6 are no zip archives and have no checksums; they pass.

    Raises:
        ValueError: an entry is damaged or compressed, entries overlap, or the pickle calls what is not needed for
            tensors and plain values.
    """
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as stream:
            if stream.read(2) == b"PK":
                raise ValueError("a zip archive that is truncated or damaged")
            stream.seek(0)
            # Three short pickles, the state's own, and that of the storages' names, before the numbers.
            for _ in range(5):
                _check_calls(stream)
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if packed := [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"its entry {packed[0]} is compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries are larger than the file")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of its entry {damaged} is wrong")
        for entry in entries:
            if entry.filename.endswith("data.pkl"):
                check_decoded_size(path, 20 * entry.file_size, "its pickle")
                _check_calls(io.BytesIO(archive.read(entry)))


def _check_calls(pickled: BinaryIO) -> None:
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL" and not _CALLED.fullmatch(str(argument)):
            raise ValueError(f"its pickle asks for {str(argument).replace(' ', '.')}")


def check_loaded_sizes(path: Path, state: Any) -> None:
    """Refuse tensors that are larger than the numbers behind them: a stride of 0 makes any size of one number.

    Raises:
        FileTooLargeError: together they would take more memory than is allowed for the file.
    """
    seen: set[int] = set()
    todo, total = [state], 0
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            # Counted in Python's integers, which do not overflow.
            count = 1
            for size in value.shape:
                count *= int(size)
            total += count * value.element_size()
        elif isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            todo += value
    check_decoded_size(path, total, "its tensors")
