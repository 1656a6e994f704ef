"""The image alignment module of mutual distillation: one sequence is made to look like another while all learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import PatchDiscriminator
from torch import nn
from torch.nn import functional as F

from ckdmed.networks.translator import Translator

__all__ = ["ALIGNMENTS", "ImageAlignment", "image_alignment"]

ALIGNMENTS = ("cyclegan",)
_RATE, _BETAS = 2e-4, (0.5, 0.999)
_POOL = 50


class _Pool:
    """Translated images of earlier steps: each new one is, in half of the cases, exchanged for one of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[torch.Tensor] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        given = []
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image)
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                image, self.images[place] = self.images[place], image
            given.append(image)
        return torch.stack(given)


class ImageAlignment(nn.Module):
    """Translators between two sets of channels, G from the assisting sequences a to the target's t and F back.

    They learn without pairs (CycleGAN): ``generator_terms`` are the least-squares adversarial term of G and F, and the
    cycle's weight times |F(G(a)) - a| + |G(F(t)) - t|. What a peer learns from G(a) reaches G as well. Discriminators
    see single patches and make their own steps (``step_discriminators``), on translated images of a pool. The pool is
    emptied at each epoch's start, so that a resumed training needs none of it.

    Args:
        assisting, target: channels of the batch, a and t.
        spatial_dims: 2 or 3.
        base: channels of the first level of translators and discriminators.
        blocks: of the translators.
        w_cycle: weight of each way of the cycle.
        layers: halvings of the discriminators.
        pool: images of the pool; the default is 50 of 2D and 4 of 3D.

    Shape: forward: (B, channels of the batch, *spatial) to the same, its channels t replaced by G(a).

    Raises:
        ValueError: in forward, a channel that the batch does not have.

    Source: Li et al. 2020 (arXiv 2010.01532) with the losses of Zhu et al. 2017 (arXiv 1703.10593): Adam of 0.0002 and
        betas 0.5 and 0.999, cycle weight 10.
    """

    def __init__(
        self,
        assisting: Sequence[int],
        target: Sequence[int],
        spatial_dims: int = 2,
        base: int = 32,
        blocks: int = 6,
        w_cycle: float = 10.0,
        layers: int = 3,
        pool: int | None = None,
    ) -> None:
        super().__init__()
        self.assisting, self.target = list(assisting), list(target)
        self.w_cycle = float(w_cycle)
        a, t = len(self.assisting), len(self.target)
        self.to_target = Translator(spatial_dims, a, t, base, blocks)
        self.to_assisting = Translator(spatial_dims, t, a, base, blocks)
        shared: dict[str, Any] = {"channels": base, "num_layers_d": layers, "norm": "instance"}
        self.judge_target = PatchDiscriminator(spatial_dims, in_channels=t, **shared)
        self.judge_assisting = PatchDiscriminator(spatial_dims, in_channels=a, **shared)
        # least squares of the judges' plain outputs, as published
        self.adversarial = PatchAdversarialLoss(no_activation_leastsq=True)
        size = pool if pool is not None else (_POOL if spatial_dims == 2 else 4)
        self.pools = (_Pool(size), _Pool(size))
        translators = [*self.to_target.parameters(), *self.to_assisting.parameters()]
        judges = [*self.judge_target.parameters(), *self.judge_assisting.parameters()]
        self.optimizer = torch.optim.Adam(translators, lr=_RATE, betas=_BETAS)
        self.judges_optimizer = torch.optim.Adam(judges, lr=_RATE, betas=_BETAS)
        self._back: torch.Tensor | None = None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = _plain(image)
        if image.shape[1] <= max(self.assisting + self.target):
            raise ValueError(
                f"the batch has {image.shape[1]} channels; alignment reads {self.assisting + self.target}."
            )
        made = self.to_target(image[:, self.assisting])
        aligned = image.to(made.dtype).clone()
        aligned[:, self.target] = made
        return aligned

    def generator_terms(self, image: torch.Tensor, aligned: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict]:
        """Raw terms of the translators, and their weights.

        Args:
            image: the batch.
            aligned: `forward` of it, with its graph.
        """
        image = _plain(image).float()
        a, t, made = image[:, self.assisting], image[:, self.target], aligned[:, self.target].float()
        back = self.to_assisting(t)
        self._back = back.detach()
        fooled = [
            self.adversarial(self.judge_target(made)[-1], True, False),
            self.adversarial(self.judge_assisting(back)[-1], True, False),
        ]
        cycle = F.l1_loss(self.to_assisting(made), a) + F.l1_loss(self.to_target(back), t)
        terms = {"translation_adversarial": fooled[0] + fooled[1], "translation_cycle": cycle}
        return terms, {"translation_adversarial": 1.0, "translation_cycle": self.w_cycle}

    def step_discriminators(self, image: torch.Tensor, aligned: torch.Tensor) -> torch.Tensor:
        """One step of both judges, after `generator_terms` of the batch; returns the mean of their losses."""
        if self._back is None:
            raise RuntimeError("the judges make their step after the translators' terms of the batch.")
        image = _plain(image).float()
        pairs = (
            (self.judge_target, image[:, self.target], self.pools[0](aligned[:, self.target].detach().float())),
            (self.judge_assisting, image[:, self.assisting], self.pools[1](self._back)),
        )
        self._back = None
        self.judges_optimizer.zero_grad(set_to_none=True)
        total = image.new_zeros(())
        for judge, real, made in pairs:
            total = total + self.adversarial(judge(real)[-1], True, True) / 4
            total = total + self.adversarial(judge(made)[-1], False, True) / 4
        total.backward()
        self.judges_optimizer.step()
        return total.detach()

    def begin_epoch(self) -> None:
        """Empty the pools."""
        for pool in self.pools:
            pool.images = []

    def get_extra_state(self) -> dict[str, Any]:
        """States of both optimisers."""
        return {"translators": self.optimizer.state_dict(), "judges": self.judges_optimizer.state_dict()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.optimizer.load_state_dict(state["translators"])
        self.judges_optimizer.load_state_dict(state["judges"])


def image_alignment(
    align: str | None,
    views: Mapping[str, Sequence[int]],
    target: Sequence[int],
    input_shape: Sequence[int],
    base: int = 32,
    seed: int = 0,
) -> ImageAlignment | None:
    """The alignment of a bundle: of its one teacher's channels with the student's; None without.

    Small images have discriminators of fewer halvings.

    Args:
        align: one of `ALIGNMENTS`, or None.
        views: name -> channels of the teachers.
        target: the student's channels.
        input_shape: (B, channels, *spatial) of a batch.
        base: see :class:`ImageAlignment`.
        seed: of its weights; the global random state stays as it was.

    Raises:
        ValueError: an unknown word; more than one teacher; images below 16 pixels.
    """
    if align is None:
        return None
    if align not in ALIGNMENTS:
        raise ValueError(f"align must be one of {', '.join(ALIGNMENTS)} or null, got {align!r}.")
    if len(views) != 1:
        raise ValueError(
            f"alignment translates one assisting set of sequences to the student's, but there are {len(views)} "
            "teachers: give a single list as teachers."
        )
    edge = min(input_shape[2:])
    # the last two layers need four positions
    layers = next((number for number in (3, 2) if edge // 2**number >= 4), None)
    if layers is None:
        raise ValueError(f"images of {edge} pixels are too small for alignment, which needs at least 16.")
    (assisting,) = views.values()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImageAlignment(assisting, target, len(input_shape) - 2, base, layers=layers)


def _plain(image: torch.Tensor) -> torch.Tensor:
    return image.as_tensor() if isinstance(image, MetaTensor) else image
