"""Reading intermediate tensors out of any network by module path, without editing the network."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

__all__ = ["TappedOutput", "Taps", "find_module", "tap_shapes"]

# what DistributedDataParallel and torch.compile put in front of the names of the module they wrap
_WRAPPERS = ("module.", "_orig_mod.")


class TappedOutput(NamedTuple):
    """The logits of a network and its tapped features.

    Attributes:
        logits: (B, C, *spatial) or (B, C), raw.
        features: tensors by tap name, as the tapped modules returned them.
        projected: the same tensors after the projections into the teacher's space; empty for a teacher.
        heads: logits of the further heads of a network with deep supervision, in training alone.
        head_weights: weights of the supervised term on ``logits`` and on each of ``heads``; empty without heads.
    """

    logits: torch.Tensor
    features: dict[str, torch.Tensor]
    projected: dict[str, torch.Tensor]
    heads: tuple[torch.Tensor, ...] = ()
    head_weights: tuple[float, ...] = ()


def find_module(module: nn.Module, path: str) -> nn.Module:
    """The submodule at ``path``, whatever wrappers (DDP, compile) stand around ``module`` or inside it.

    Raises:
        ValueError: no such submodule; the message lists the nearest paths that exist.
    """
    names = {_unwrapped(name): submodule for name, submodule in module.named_modules(remove_duplicate=False)}
    try:
        return names[_unwrapped(path)]
    except KeyError:
        near = difflib.get_close_matches(path, [n for n in names if n], n=5, cutoff=0.4)
        raise ValueError(
            f"{type(module).__name__} has no submodule '{path}'; "
            + (f"near matches: {', '.join(near)}." if near else f"it has: {', '.join(list(names)[1:9])}, ...")
        ) from None


def _unwrapped(name: str) -> str:
    parts = f"{name}."
    for wrapper in _WRAPPERS:
        parts = parts.replace(f".{wrapper}", ".")
        while parts.startswith(wrapper):
            parts = parts[len(wrapper) :]
    return parts.rstrip(".")


class Taps:
    """Forward hooks that hold the output of named submodules.

    Hooks stay on the network until :meth:`remove`; they record only between :meth:`open` and :meth:`close` (or inside
    a ``with`` block), so that a validation pass of the same network neither costs memory nor counts as a second firing.

    Args:
        module: the network; it is not changed.
        paths: tap name -> module path, such as ``{"d4": "decoder.d4"}``. A path may end in ``[i]`` when the module
            returns a tuple or list, of which element i is meant.
        detach: give tensors that carry no graph (a teacher's).

    Raises:
        ValueError: a path names no submodule.
        TypeError: in the forward pass, when the output is no tensor, or has no element i.

    Examples:
        >>> taps = Taps(network, {"deep": "decoder.d4"})
        >>> with taps:
        ...     logits = network(image)
        >>> taps.collect()["deep"].shape
    """

    def __init__(self, module: nn.Module, paths: Mapping[str, str], detach: bool = False) -> None:
        self.paths = dict(paths)
        self.detach = detach
        self._recording = False
        self._held: dict[str, torch.Tensor] = {}
        self._fired: dict[str, int] = {}
        self._handles = []
        for name, path in self.paths.items():
            target, index = _split_index(path)
            hook = self._hook(name, index)
            self._handles.append(find_module(module, target).register_forward_hook(hook))

    def _hook(self, name: str, index: int | None) -> Any:
        def hold(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not self._recording:
                return
            tensor = output if index is None else self._element(name, output, index)
            if not isinstance(tensor, torch.Tensor):
                raise TypeError(
                    f"tap '{name}' ({self.paths[name]}) gives a {type(tensor).__name__}, not a tensor; "
                    "append [i] to its path to take element i of a tuple or list."
                )
            self._fired[name] = self._fired.get(name, 0) + 1
            # a later in-place operation (ReLU(inplace=True)) would change what is held: keep a copy of one's own
            self._held[name] = tensor.detach().clone() if self.detach else tensor.clone()

        return hold

    def _element(self, name: str, output: Any, index: int) -> Any:
        # [i] of a tensor would silently be one sample of the batch
        if not isinstance(output, (tuple, list)) or not -len(output) <= index < len(output):
            size = f" of {len(output)}" if isinstance(output, (tuple, list)) else ""
            raise TypeError(
                f"tap '{name}' ({self.paths[name]}) asks for element {index}, but its module gives a "
                f"{type(output).__name__}{size}."
            )
        return output[index]

    def open(self) -> None:
        """Forget what was held and record from here on."""
        self._held, self._fired, self._recording = {}, {}, True

    def close(self) -> None:
        """Stop recording; what is held stays until it is collected."""
        self._recording = False

    def __enter__(self) -> Taps:
        self.open()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def collect(self) -> dict[str, torch.Tensor]:
        """Hand over the tensors of the forward pass and forget them.

        Raises:
            RuntimeError: a tap did not fire, or fired more than once (a shared or recomputed module).
        """
        silent = [f"'{n}' ({p})" for n, p in self.paths.items() if n not in self._fired]
        if silent:
            raise RuntimeError(
                f"these taps never fired: {', '.join(silent)}. The forward pass does not call these modules "
                "(fused attention does this, as does a branch that is switched off): choose other paths."
            )
        twice = [f"'{n}' ({p}), {self._fired[n]} times" for n, p in self.paths.items() if self._fired[n] > 1]
        if twice:
            raise RuntimeError(f"these taps fired more than once in one pass: {', '.join(twice)}.")
        held, self._held = self._held, {}
        return held

    def remove(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _split_index(path: str) -> tuple[str, int | None]:
    if path.endswith("]") and "[" in path:
        target, index = path[:-1].rsplit("[", 1)
        return target, int(index)
    return path, None


@torch.no_grad()
def tap_shapes(
    module: nn.Module, paths: Mapping[str, str], input_shape: tuple[int, ...]
) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """Shapes of the logits and of every tap for an input of ``input_shape`` (B, C, *spatial), by one dry run.

    The dry run leaves no trace: evaluation mode, no gradient, no change of buffers, modes or random state.
    """
    modes = {m: m.training for m in module.modules()}
    reference = next(iter(module.parameters()), torch.zeros(()))
    taps = Taps(module, paths, detach=True)
    try:
        module.eval()
        with torch.random.fork_rng(devices=[]), taps:
            logits = module(torch.zeros(input_shape, device=reference.device, dtype=reference.dtype))
        return tuple(logits.shape), {name: tuple(t.shape) for name, t in taps.collect().items()}
    finally:
        taps.remove()
        for m, mode in modes.items():
            m.training = mode
