"""Reading a ``.safetensors`` file: a header of JSON, then the numbers of all tensors, and nothing that could be run."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import torch

from ckdmed.json_files import parse_json
from ckdmed.limits import check_decoded_size

__all__ = ["read_safetensors"]

_TYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    "BOOL": torch.bool,
}
_METADATA = "__metadata__"


def read_safetensors(path: Path, device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
    """The tensors of a file by name.

    Raises:
        ValueError: the file is cut or no safetensors file; what a tensor claims does not fit its numbers.
        FileTooLargeError: see `ckdmed.limits`.
    """
    data = bytearray(path.read_bytes())
    check_decoded_size(path, len(data), "its tensors")
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else len(data)
    if length > len(data) - 8:
        raise ValueError(f"{path}: not a safetensors file: its header is truncated.")
    try:
        header = parse_json(data[8 : 8 + length].decode("utf-8"), f"{path}: its header")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a safetensors file: its header is not text.") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path}: not a safetensors file: its header names no tensors.")
    numbers = memoryview(data)[8 + length :]
    return {name: _tensor(path, name, entry, numbers).to(device) for name, entry in header.items() if name != _METADATA}


def _tensor(path: Path, name: str, entry: Any, numbers: memoryview) -> torch.Tensor:
    try:
        kind, shape, (begin, end) = (
            _TYPES[entry["dtype"]],
            [int(size) for size in entry["shape"]],
            entry["data_offsets"],
        )
        count = 1
        for size in shape:
            count *= size
        if min([0, *shape]) < 0 or not 0 <= begin <= end <= len(numbers) or count * kind.itemsize != end - begin:
            raise ValueError(f"{shape} of {entry['dtype']} in bytes {begin} to {end} of {len(numbers)}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its tensor {name} is damaged ({type(error).__name__}: {error}).") from error
    if not count:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(numbers[begin:end], dtype=torch.uint8).clone().view(kind).reshape(shape)
