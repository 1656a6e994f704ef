"""Mixed precision on any device by wrapping the inferer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer
from monai.utils import convert_to_dst_type
from torch import nn

__all__ = ["AutocastInferer"]

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class AutocastInferer(Inferer):
    """Run another inferer with the network under ``torch.autocast``, on the CPU as well as on CUDA.

    ``amp=True`` of MONAI's engines acts on CUDA only; this is the same for any device, and bfloat16 needs no
    gradient scaler. Each call of the network runs in ``dtype`` and, for 4D and 5D inputs, in the
    channels-last memory format; its floating-point outputs come back as float32, so that a sliding window
    adds up and a loss is computed in full precision. Keep ``amp=False`` in the engine that it is given to.

    The weights stay float32. Those of convolutions are rearranged in memory to channels-last on the first
    call: values, state-dict keys and the optimiser's references are unchanged.

    A MetaTensor is unwrapped for the network (each of its operations costs extra). Its meta go to an output that
    is a tensor or a plain tuple, list or dict of tensors, as they do without this class; a NamedTuple, such as
    the tapped networks' features, stays plain.

    Args:
        inferer: the inferer to run. Default: MONAI's ``SimpleInferer``. It is given a function in place of
            the network, which MONAI's inferers accept except those that look inside it (``SaliencyInferer``).
        dtype: ``torch.bfloat16`` (default), ``torch.float16``, or their names. float16 is for inference: its
            gradients underflow without a scaler.
        enabled: False hands everything to ``inferer`` untouched. Default True.

    Raises:
        ValueError: if ``dtype`` is neither of the two.
        RuntimeError: when called on a CUDA device that has no bfloat16.

    Example::

        trainer = SupervisedTrainer(..., inferer=AutocastInferer(), amp=False)
        AutocastInferer(SlidingWindowInferer(roi_size=(96, 96, 96)))(volume, network)
    """

    def __init__(
        self, inferer: Inferer | None = None, dtype: torch.dtype | str = torch.bfloat16, enabled: bool = True
    ) -> None:
        super().__init__()
        resolved = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if resolved not in (torch.bfloat16, torch.float16):
            raise ValueError(f"dtype must be bfloat16 or float16, got {dtype!r}; for float32 set enabled=False.")
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.dtype: torch.dtype = resolved
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Infer ``inputs`` with ``network``; further arguments go to the wrapped inferer."""
        if not self.enabled:
            return self.inferer(inputs, network, *args, **kwargs)
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs

        def in_low_precision(batch: torch.Tensor, *network_args: Any, **network_kwargs: Any) -> Any:
            self._check_device(batch.device)
            memory_format = _CHANNELS_LAST.get(batch.ndim)
            if memory_format is not None:
                _rearrange_weights(network, memory_format)
                batch = batch.contiguous(memory_format=memory_format)
            with torch.autocast(batch.device.type, dtype=self.dtype):
                return _map_tensors(network(batch, *network_args, **network_kwargs), _as_float32)

        outputs = self.inferer(plain, in_low_precision, *args, **kwargs)
        if not isinstance(inputs, MetaTensor) or hasattr(outputs, "_fields"):
            return outputs
        return _map_tensors(outputs, lambda out: convert_to_dst_type(out, dst=inputs, dtype=out.dtype)[0])

    def _check_device(self, device: torch.device) -> None:
        if device.type != "cuda" or self.dtype != torch.bfloat16:
            return
        with torch.cuda.device(device):
            if torch.cuda.is_bf16_supported(including_emulation=False):
                return
        raise RuntimeError(
            f"The device {device} ({torch.cuda.get_device_name(device)}) has no bfloat16. Set enabled=False to run in "
            "float32, or enabled=False with amp=True in MONAI's engine for float16 with a gradient scaler; "
            "dtype=torch.float16 serves for inference alone."
        )


def _rearrange_weights(network: Callable[..., Any], memory_format: torch.memory_format) -> None:
    """Bring the weights of a module to ``memory_format`` unless they are; other callables stay as they are."""
    if not isinstance(network, nn.Module):
        return
    ndim = 4 if memory_format is torch.channels_last else 5
    if any(p.ndim == ndim and not p.is_contiguous(memory_format=memory_format) for p in network.parameters()):
        network.to(memory_format=memory_format)  # type: ignore[call-overload]


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _map_tensors(outputs: Any, function: Callable[[torch.Tensor], Any]) -> Any:
    """Apply ``function`` to each tensor in nested tuples, lists and mappings."""
    if isinstance(outputs, torch.Tensor):
        return function(outputs)
    if isinstance(outputs, Mapping):
        return {key: _map_tensors(value, function) for key, value in outputs.items()}
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return type(outputs)(*(_map_tensors(value, function) for value in outputs))
    if isinstance(outputs, (tuple, list)):
        return type(outputs)(_map_tensors(value, function) for value in outputs)
    return outputs
