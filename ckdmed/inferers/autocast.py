"""Precision and memory format of a network's pass, on any device, by wrapping the inferer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer
from monai.utils import convert_to_dst_type
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from ckdmed.inferers.precision import amp_dtype

__all__ = ["AutocastInferer"]

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# Channels that oneDNN computes together at most, with AVX-512.
_WIDEST_BLOCK = 16


class AutocastInferer(Inferer):
    """Run another inferer with the network in the channels-last memory format and, with ``amp``, under autocast.

    ``amp=True`` of MONAI's engines acts on CUDA only; this is the same for any device. Each call of the network runs in
    bfloat16, float16 or full precision; its floating-point outputs come back as float32, so that a sliding window adds
    up and a loss is computed in full precision. Keep ``amp=False`` in the engine that it is given to. Gradients of
    float16 underflow without a scaler, which :class:`~ckdmed.handlers.GradientScaling` gives a trainer; bfloat16 needs
    none.

    4D and 5D inputs are brought to channels-last, in which a U-Net's step takes two thirds to four fifths of the time
    on a CPU, in full precision too. There a network with instance normalisation, which is slower so, keeps its format;
    and one whose gradients oneDNN would compute wrongly so is computed in the contiguous format on every CPU.
    The weights stay float32. Those of convolutions are rearranged in memory on the first call: values, state-dict keys
    and the optimiser's references are unchanged.

    A MetaTensor is unwrapped for the network (each of its operations costs extra). Its meta go to an output that
    is a tensor or a plain tuple, list or dict of tensors, as they do without this class; a NamedTuple, such as
    the tapped networks' features, stays plain.

    Args:
        inferer: the inferer to run. Default: MONAI's ``SimpleInferer``. It is given a function in place of
            the network, which MONAI's inferers accept except those that look inside it (``SaliencyInferer``).
        amp: "bf16", "fp16", True (default) for what the device has (see :func:`~ckdmed.inferers.amp_dtype`; full
            precision where it has neither), or False for full precision.

    Raises:
        ValueError: another word for ``amp``.
        RuntimeError: when called with "bf16" on a CUDA device that has no bfloat16.

    Example::

        trainer = SupervisedTrainer(..., inferer=AutocastInferer(), amp=False)
        AutocastInferer(SlidingWindowInferer(roi_size=(96, 96, 96)))(volume, network)
    """

    def __init__(self, inferer: Inferer | None = None, amp: bool | str = True) -> None:
        super().__init__()
        amp_dtype(amp if isinstance(amp, str) else bool(amp), "cpu")
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.amp = amp

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Infer ``inputs`` with ``network``; further arguments go to the wrapped inferer."""
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs

        def arranged(batch: torch.Tensor, *network_args: Any, **network_kwargs: Any) -> Any:
            dtype = amp_dtype(self.amp, batch.device)
            memory_format = _CHANNELS_LAST.get(batch.ndim)
            if batch.device.type == "cpu" and _has_narrow_strided_projection(network):
                memory_format = torch.contiguous_format
            elif dtype is None and _has_instance_norm(network):
                memory_format = None
            if memory_format is not None:
                _rearrange_weights(network, memory_format, batch.ndim)
                batch = batch.contiguous(memory_format=memory_format)
            if dtype is None:
                # autocast would take None for its own default, bfloat16
                return network(batch, *network_args, **network_kwargs)
            with torch.autocast(batch.device.type, dtype=dtype):
                return _map_tensors(network(batch, *network_args, **network_kwargs), _as_float32)

        outputs = self.inferer(plain, arranged, *args, **kwargs)
        if not isinstance(inputs, MetaTensor) or hasattr(outputs, "_fields"):
            return outputs
        return _map_tensors(outputs, lambda out: convert_to_dst_type(out, dst=inputs, dtype=out.dtype)[0])


def _has_instance_norm(network: Callable[..., Any]) -> bool:
    return isinstance(network, nn.Module) and any(isinstance(module, _InstanceNorm) for module in network.modules())


def _has_narrow_strided_projection(network: Callable[..., Any]) -> bool:
    """Whether oneDNN writes past its memory where it computes the weights' gradient of a layer in channels-last.

    It does so for 1x1 convolutions with a stride whose input has fewer channels than one of its blocks, 8 or 16 by the
    processor: crashes and wrong gradients (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """
    return isinstance(network, nn.Module) and any(
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < _WIDEST_BLOCK
        for module in network.modules()
    )


def _rearrange_weights(network: Callable[..., Any], memory_format: torch.memory_format, ndim: int) -> None:
    """Bring the weights of a module to ``memory_format`` unless they are; other callables stay as they are."""
    if not isinstance(network, nn.Module):
        return
    if memory_format is torch.contiguous_format:
        for weights in network.parameters():
            # a kernel of one channel is contiguous in both formats; torch goes by its strides
            if weights.ndim == ndim and weights.stride() != torch.empty(weights.shape, device="meta").stride():
                weights.data = weights.data.clone(memory_format=memory_format)
    elif any(p.ndim == ndim and not p.is_contiguous(memory_format=memory_format) for p in network.parameters()):
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
