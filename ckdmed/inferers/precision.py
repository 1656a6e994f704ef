"""The floating-point type of mixed precision on a device."""

from __future__ import annotations

import logging
import platform
from functools import cache
from typing import Any

import torch

__all__ = ["AMP", "amp_dtype", "autocast_dtype", "precision_of"]

logger = logging.getLogger(__name__)

#: names of the types that mixed precision may have, beside True (what the device has) and False
AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def amp_dtype(amp: bool | str | None, device: torch.device | str) -> torch.dtype | None:
    """The type that a network computes in, None for full precision.

    Args:
        amp: False or None for full precision; "bf16", "fp16"; True for bfloat16 where the device has it, else float16
            on a GPU and full precision on a processor, which computes neither type itself then and emulates it many
            times slower.
        device: where the network is.

    Raises:
        ValueError: another word.
        RuntimeError: "bf16" on a GPU that has no bfloat16.
    """
    device = torch.device(device)
    if amp is None or amp is False:
        return None
    if amp is not True and amp not in AMP:
        raise ValueError(f"amp must be true, false, {' or '.join(AMP)}, got {amp!r}.")
    if device.type != "cuda":
        if device.type == "cpu" and amp != "fp16" and not _processor_has_bf16():
            _tell(amp)
            return None if amp is True else AMP[amp]
        return torch.bfloat16 if amp is True else AMP[amp]
    with torch.cuda.device(device):
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if amp is True:
        return torch.bfloat16 if has_bf16 else torch.float16
    if amp == "bf16" and not has_bf16:
        raise RuntimeError(
            f"the device {device} ({torch.cuda.get_device_name(device)}) does not support bfloat16: set amp to fp16, "
            "or to true for what the device supports."
        )
    return AMP[amp]


def _processor_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16; one that is not x86 is taken at its word."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in names if hasattr(torch.cpu, name))


@cache
def _tell(amp: bool | str) -> None:
    """Once for each value."""
    if amp is True:
        logger.info("This processor has no bfloat16: --amp true computes in full precision.")
    else:
        logger.warning("This processor has no bfloat16: --amp bf16 emulates it and is slower than --amp false.")


def precision_of(amp: bool | str | None, device: torch.device | str) -> str:
    """The name of that type: "float32", "bfloat16" or "float16"."""
    return str(amp_dtype(amp, device) or torch.float32).removeprefix("torch.")


def autocast_dtype(inferer: Any, device: torch.device | str) -> torch.dtype | None:
    """The type in which an inferer runs a network, looked for in the inferers that it wraps."""
    while inferer is not None:
        if hasattr(inferer, "amp"):
            return amp_dtype(inferer.amp, device)
        inferer = getattr(inferer, "inferer", None)
    return None
