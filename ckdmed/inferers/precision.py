"""The floating-point type of mixed precision on a device."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["AMP", "amp_dtype", "autocast_dtype", "precision_of"]

#: names of the types that mixed precision may have, beside True (what the device has) and False
AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def amp_dtype(amp: bool | str | None, device: torch.device | str) -> torch.dtype | None:
    """The type that a network computes in, None for full precision.

    Args:
        amp: False or None for full precision; "bf16", "fp16"; True for bfloat16 where the device has it and float16 on
            a GPU without it.
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
        return torch.bfloat16 if amp is True else AMP[amp]
    with torch.cuda.device(device):
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if amp is True:
        return torch.bfloat16 if has_bf16 else torch.float16
    if amp == "bf16" and not has_bf16:
        raise RuntimeError(
            f"the device {device} ({torch.cuda.get_device_name(device)}) has no bfloat16: give amp fp16, or true for "
            "what the device has."
        )
    return AMP[amp]


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
