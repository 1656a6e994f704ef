"""A teacher that training cannot change."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.data import MetaTensor
from torch import nn

from ckdmed.networks.taps import TappedOutput, Taps

__all__ = ["FrozenTeacher", "TeacherIdentity", "weights_hash"]


class FrozenTeacher(nn.Module):
    """A frozen network: always in evaluation mode, without gradients, its buffers untouched.

    ``train()`` on it, or on a module that holds it, leaves it in evaluation mode; no parameter of it requires a
    gradient, so that an optimiser over ``parameters()`` that require one never sees it.

    Args:
        network: any network that maps (B, C, *spatial) to raw logits.
        taps: tap name -> module path of what the student is to imitate besides the logits.
        input_channels: which channels of the student's batch the teacher sees, all by default.
        spatial_dims: 2 lets a two-dimensional teacher look at the slices (first spatial axis) of the volumes that a
            three-dimensional student is given; by default the teacher sees the batch as it is.
        average_flips: the logits are the mean over all mirror images of the batch, each mirrored back (4 passes in two
            dimensions, 8 in three): a better teacher at a price that a cache pays once. Features are those of the batch
            as it is.

    Raises:
        ValueError: taps of a network in whose place a deployed file computes.

    Shape:
        image (B, C, *spatial); logits (B, N, *spatial) of :class:`TappedOutput`, features as tapped. For a
        two-dimensional teacher of volumes, (B, N, D, H, W) and (B, C', D, h, w).

    Examples:
        >>> teacher = FrozenTeacher(UNetViT(), taps={"d4": "unet.decoder.d4"})
        >>> teacher(image).logits
    """

    def __init__(
        self,
        network: nn.Module,
        taps: Mapping[str, str] | None = None,
        input_channels: Sequence[int] | None = None,
        spatial_dims: int | None = None,
        average_flips: bool = False,
    ) -> None:
        super().__init__()
        if taps and hasattr(network, "deployed_sha256"):
            raise ValueError(
                f"a deployed file gives only logits, none of the features {', '.join(taps)} that the method compares: "
                "use a method that compares only logits, such as kd, or the weights that the file was made from as "
                "the teacher."
            )
        self.network = network
        self.average_flips = average_flips
        self.input_channels = None if input_channels is None else list(input_channels)
        self.spatial_dims = spatial_dims
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self.taps = Taps(self.network, taps or {}, detach=True)
        # empty unless the reports' literal form is chosen, which projects the teacher instead of the student
        self.projections = nn.ModuleDict()
        self.eval()

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in evaluation mode, whatever ``mode`` is given."""
        return super().train(False)

    def for_samples(self, batch: Mapping[Hashable, Any], rows: Sequence[int] | None = None) -> nn.Module:
        """What answers for the samples of a batch, or for some of its rows: itself, whosever samples they are."""
        return self

    # not inference_mode: its tensors may not enter operations that are saved for a student's backward pass
    @torch.no_grad()
    def forward(self, image: torch.Tensor) -> TappedOutput:
        if isinstance(image, MetaTensor):
            image = image.as_tensor()
        if self.input_channels is not None:
            image = image[:, self.input_channels]
        depth = None
        if self.spatial_dims is not None and image.ndim == self.spatial_dims + 3:
            depth = image.shape[2]
            image = image.transpose(1, 2).flatten(0, 1)
        with self.taps:
            logits = self.network(image)
        if self.average_flips and isinstance(logits, torch.Tensor):
            logits = self._averaged(image, logits)
        if not isinstance(logits, torch.Tensor):
            raise TypeError(
                f"the teacher {type(self.network).__name__} returned a {type(logits).__name__}; a teacher must return "
                "its logits as one tensor: wrap the network so that it does."
            )
        features = self.taps.collect()
        if depth is not None:
            logits = _to_volumes(logits, depth)
            features = {name: _to_volumes(value, depth) for name, value in features.items()}
        return TappedOutput(logits=logits, features=features, projected=self.project(features))

    def _averaged(self, image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        axes = range(2, image.ndim)
        chosen = [list(some) for count in range(1, len(axes) + 1) for some in combinations(axes, count)]
        for some in chosen:
            output = self.network(image.flip(some))
            # logits of a class have no axes to mirror back
            logits = logits + (output.flip(some) if output.ndim == image.ndim else output)
        return logits / (len(chosen) + 1)

    @torch.no_grad()
    def project(self, features: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Those features that have a projection on the teacher's side, projected."""
        return {name: projection(features[name]) for name, projection in self.projections.items()}

    def state_hash(self) -> str:
        """SHA-256 over names, types, shapes and values of all weights and buffers."""
        return weights_hash(self.network)


class TeacherIdentity:
    """Lets a resumed run notice that its teacher is another one: give it to ``ResumeCheckpoint`` among the objects.

    Its state is the teacher's hash alone, not its weights.

    Raises:
        ValueError: on loading, when the teacher at hand has other weights.
    """

    def __init__(self, teacher: FrozenTeacher) -> None:
        self.teacher = teacher
        self._hash: str | None = None

    def state_dict(self) -> dict[str, str]:
        """The teacher's hash, taken once: it is frozen."""
        if self._hash is None:
            self._hash = self.teacher.state_hash()
        return {"sha256": self._hash}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Compare."""
        if state["sha256"] != self.state_dict()["sha256"]:
            raise ValueError(
                f"weights with SHA-256 {state['sha256'][:12]}..., now {self.state_dict()['sha256'][:12]}..."
            )


def _to_volumes(slices: torch.Tensor, depth: int) -> torch.Tensor:
    return slices.unflatten(0, (-1, depth)).transpose(1, 2)


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of a network's weights and buffers, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{name}|{array.dtype}|{tuple(array.shape)}|".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
