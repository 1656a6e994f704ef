"""Read a checkpoint file and put its tensors into a network, with an account of what went where."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ckdmed.files import load_weights
from ckdmed.limits import FileTooLargeError
from ckdmed.safetensors_file import read_safetensors

__all__ = [
    "WeightReport",
    "adapt_input_channels",
    "fill_network",
    "network_state",
    "read_checkpoint",
    "read_state_dict",
    "was_replaced",
]

logger = logging.getLogger(__name__)

#: Keys under which training scripts keep the network among other things.
CONTAINERS = ("state_dict", "model_state_dict", "model", "network", "net", "student", "teacher")
#: Prefixes that wrappers put before every name.
WRAPPERS = ("module.", "_orig_mod.")
EXAMPLES = 4
# real path of each file that was read -> by what it is known again
_READ: dict[str, tuple[int, int, int] | None] = {}


@dataclass(frozen=True)
class WeightReport:
    """What became of a checkpoint's tensors. `str()` of it is a readable account.

    Attributes:
        source: the file.
        layout: whose names the file uses.
        matched: names in the network that took the file's tensor as it was.
        adapted: name in the network, and how the file's tensor was changed to fit.
        kept: name in the network, and why it keeps its initial value although the file has something for it.
        missing: names in the network for which the file has nothing.
        unexpected: names in the file for which the network has no place.
        matched_elements: numbers filled from the file (matched and adapted).
        matched_tensors: tensors that these numbers make up.
        total_elements: numbers that could have been filled: parameters and buffers, but not a head of another size,
            nor what the network holds and does not use.
        total_tensors: tensors that these numbers make up.
        notes: differences that a state dict does not hold.
    """

    source: str
    layout: str
    matched: tuple[str, ...]
    adapted: Mapping[str, str]
    kept: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    matched_elements: int
    matched_tensors: int
    total_elements: int
    total_tensors: int
    notes: tuple[str, ...] = field(default=())

    @property
    def share(self) -> float:
        """Share of the network's numbers that came from the file, in [0, 1]."""
        return self.matched_elements / self.total_elements if self.total_elements else 0.0

    @property
    def tensor_share(self) -> float:
        """Share of the network's tensors that came from the file, in [0, 1]."""
        return self.matched_tensors / self.total_tensors if self.total_tensors else 0.0

    def __str__(self) -> str:
        lines = [
            f"{self.source} ({self.layout} layout): {self.share:.1%} of the network's {self.total_elements:,} numbers "
            f"and {self.tensor_share:.1%} of its {self.total_tensors} tensors; {len(self.matched)} as they are, "
            f"{len(self.adapted)} adapted"
        ]
        lines += [f"  adapted {name}: {how}" for name, how in self.adapted.items()]
        lines += [f"  kept at its initial value {name}: {why}" for name, why in self.kept.items()]
        if self.missing:
            lines.append(f"  not in the file: {_examples(self.missing)}")
        if self.unexpected:
            lines.append(f"  not in the network: {_examples(self.unexpected)}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def _examples(names: Sequence[str]) -> str:
    shown = ", ".join(names[:EXAMPLES])
    return shown if len(names) <= EXAMPLES else f"{shown} and {len(names) - EXAMPLES} more"


def read_checkpoint(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Any:
    """What a file of PyTorch's or a ``.safetensors`` file holds; nothing in it is run.

    Raises:
        FileNotFoundError, ValueError: see :func:`ckdmed.files.load_weights`.
    """
    before = _mark(path)
    safe = str(path).endswith(".safetensors") and os.path.isfile(path)
    content = read_safetensors(Path(path), device) if safe else load_weights(path, device)
    _READ[os.path.realpath(path)] = before
    return content


def was_replaced(path: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint that this process has read is another file now, as a training that goes on leaves it.

    What is noted of the file from then on, such as its SHA-256, is not of the weights that were read.
    """
    known = _READ.get(os.path.realpath(path))
    return known is not None and known != _mark(path)


def _mark(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        # whoever reads it says so
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def network_state(content: Any, file: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The state dict of a network in the content of a checkpoint.

    A network kept inside a larger checkpoint (under `state_dict`, `model`, ...) is found, and the prefixes that
    DataParallel and torch.compile put before every name are taken off.

    Raises:
        ValueError: there are no tensors by name.
    """
    for _ in range(len(CONTAINERS)):
        inner = next((content[key] for key in CONTAINERS if isinstance(content, Mapping) and key in content), None)
        if not isinstance(inner, Mapping):
            break
        content = inner
    tensors = {}
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{file}: holds no state dict (a mapping from names to tensors).")
    for wrapper in WRAPPERS * 2:
        if all(name.startswith(wrapper) for name in tensors):
            tensors = {name[len(wrapper) :]: value for name, value in tensors.items()}
    return tensors


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint file (see :func:`network_state`), without running any code that it may hold.

    Raises:
        ValueError: the file does not exist, cannot be read, holds more than tensors and plain containers, holds no
            tensors, or holds a NaN or an infinity; the message names the file.
    """
    file = os.fspath(path)
    if not os.path.isfile(file):
        raise ValueError(f"{file}: there is no such checkpoint file.")
    try:
        content = read_checkpoint(file)
    except FileTooLargeError:
        raise
    except ValueError as error:
        cause = error.__cause__ or error
        raise ValueError(
            f"{file}: not a readable PyTorch checkpoint of tensors ({type(cause).__name__}: "
            f"{str(cause).splitlines()[0] if str(cause) else 'no message'}). The file is damaged, or it pickles whole "
            "objects; save network.state_dict() instead."
        ) from error
    tensors = network_state(content, file)
    for name, value in tensors.items():
        # The extremes carry any NaN or infinity, and need no second tensor as large as the first.
        if value.is_floating_point() and value.numel() and not torch.isfinite(torch.stack(value.aminmax())).all():
            raise ValueError(f"{file}: tensor {name} holds a NaN or an infinity; the training that wrote it diverged.")
    return tensors


def adapt_input_channels(weight: torch.Tensor, in_channels: int) -> torch.Tensor:
    """Fit a first convolution's weight (out, in, *kernel) to another number of input channels.

    Every new channel gets the mean over the file's channels, times old / new. So an image that is the same in all new
    channels gets exactly the response the file's network gives to that image in all of its own channels: one-channel
    input equals grey copied to RGB, and four MRI modalities weigh the same.
    """
    if weight.shape[1] == in_channels:
        return weight
    mean = weight.mean(dim=1, keepdim=True) * (weight.shape[1] / in_channels)
    return mean.expand(-1, in_channels, *weight.shape[2:]).contiguous()


def fill_network(
    network: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    source: str | os.PathLike[str],
    layout: str,
    adapted: Mapping[str, str] | None = None,
    unexpected: Iterable[str] = (),
    input_weight: str | None = None,
    heads: Iterable[str] = (),
    unused: Iterable[str] = (),
    min_share: float = 0.9,
    notes: Iterable[str] = (),
) -> WeightReport:
    """Copy tensors that already bear the network's names into it, and report.

    Args:
        network: changed in place, and only when the file is accepted.
        tensors: name in the network to tensor.
        source: the file, for messages.
        layout: whose names the file used.
        adapted: names among `tensors` that a converter has changed, with how.
        unexpected: names in the file that the converter could not place.
        input_weight: the first convolution's weight, fitted by `adapt_input_channels`.
        heads: names of the classifier's last layer; if the shape differs it keeps its initial value, and neither it nor
            its size counts against the file.
        unused: names in the network that its forward pass does not use; they do not count either.
        min_share: least share, in [0, 1], of the network's numbers and of its tensors that the file must fill. Both,
            because one linear layer can hold most of the numbers: nine tenths of a VGG are in three of them.
        notes: passed on to the report.

    Raises:
        ValueError: the file fills less than `min_share`.
    """
    own = network.state_dict()
    changed, kept, filled = dict(adapted or {}), {}, {}
    heads = set(heads)
    surplus = list(unexpected) + [name for name in tensors if name not in own]
    for name, target in own.items():
        if name not in tensors:
            continue
        value = tensors[name]
        if name == input_weight and value.shape[2:] == target.shape[2:] and value.shape[1] != target.shape[1]:
            changed[name] = (
                f"{value.shape[1]} input channels to {target.shape[1]}, mean of the channels times old / new"
            )
            value = adapt_input_channels(value, target.shape[1])
        if value.shape == target.shape:
            filled[name] = value
        else:
            kept[name] = f"the file has {list(value.shape)}, the network {list(target.shape)}"
            changed.pop(name, None)
    uncounted = set(unused) | {name for name in heads if name not in filled}
    counted = {
        name: value.numel()
        for name, value in own.items()
        if name not in uncounted and not name.endswith("num_batches_tracked")
    }
    report = WeightReport(
        source=os.fspath(source),
        layout=layout,
        matched=tuple(name for name in filled if name not in changed),
        adapted={name: how for name, how in changed.items() if name in filled},
        kept=kept,
        missing=tuple(name for name in own if name not in tensors and not name.endswith("num_batches_tracked")),
        unexpected=tuple(surplus),
        matched_elements=sum(counted.get(name, 0) for name in filled),
        matched_tensors=sum(name in counted for name in filled),
        total_elements=sum(counted.values()),
        total_tensors=len(counted),
        notes=tuple(notes),
    )
    if min(report.share, report.tensor_share) < min_share:
        differing = [f"{name} ({why})" for name, why in kept.items()]
        raise ValueError(
            f"{report.source}: fills {report.share:.1%} of the network's numbers and {report.tensor_share:.1%} of its "
            f"tensors, but at least {min_share:.0%} of either is needed, so it is a checkpoint of another network. Of "
            f"another shape: {_examples(differing) or 'none'}. Not in the file: "
            f"{_examples(report.missing) or 'none'}. Not in the network: {_examples(report.unexpected) or 'none'}."
        )
    with torch.no_grad():
        for name, value in filled.items():
            own[name].copy_(value)
    logger.info("%s", report)
    return report
