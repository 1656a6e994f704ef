"""How well each of several teachers does, and the shares that follow."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import IterationEvents
from monai.inferers import Inferer, SimpleInferer
from monai.utils import CommonKeys
from torch import distributed

from ckdmed.engines.teachers.group import TeacherEnsemble
from ckdmed.engines.trainer import LABELLED
from ckdmed.losses.performance_weights import TeacherShares

__all__ = ["SOURCES", "TeacherPerformance", "overlap_counts"]

SOURCES = ("held_out", "average", "epoch", "equal")


def overlap_counts(logits: torch.Tensor, label: torch.Tensor, teachers: int, link: str = "sigmoid") -> torch.Tensor:
    """Positions that each teacher and the label share, and those that either has: Dice is 2 a / (2 a + the rest).

    Args:
        logits: (B, K * C, *S), the teachers' one after another.
        label: (B, C, *S) of 0 and 1 for "sigmoid"; class indices (B, 1, *S) for "softmax", of which everything but
            class 0 counts as one region (for BraTS the whole tumour, by which the source measures).

    Returns:
        float64 [2, K, C] (C = 1 for "softmax"): twice the common positions, and the sum of both sizes.
    """
    apart = logits.detach().unflatten(1, (teachers, -1))
    if link == "sigmoid":
        found, truth = apart > 0, label.unsqueeze(1) > 0.5
    else:
        found, truth = (apart.argmax(dim=2) > 0).unsqueeze(2), label.unsqueeze(1) > 0
    dims = [0, *range(3, found.ndim)]
    common = (found & truth).sum(dim=dims, dtype=torch.float64)
    return torch.stack(
        [2 * common, found.sum(dim=dims, dtype=torch.float64) + truth.sum(dim=dims, dtype=torch.float64)]
    )


class TeacherPerformance:
    """Measure the teachers by their Dice and set their shares.

    Args:
        shares: of the losses; set at the start ("held_out") and at the end of each epoch in which teachers learn.
        ensemble: the teachers.
        source: "held_out": Dice of all positions of ``data_loader``, which the teachers do not learn from. "average":
            exponential average of the Dice of their training batches. "epoch": plain mean over the batches of the
            epoch, as published; like the former it rewards a teacher that remembers its training data. "equal": the
            shares stay equal.
        data_loader: for "held_out".
        inferer: for "held_out"; MONAI's ``SimpleInferer`` by default.
        link: "sigmoid" or "softmax", see :func:`overlap_counts`.
        decay: of the exponential average for each batch, in [0, 1).
        learning: False for frozen teachers: measured once, at the start.

    Attach to a :class:`~ckdmed.engines.MultiTeacherTrainer`, before ``ResumeCheckpoint``, which keeps its state.

    Raises:
        ValueError: an unknown source or link, "held_out" without data, measuring frozen teachers by their training
            batches, a decay outside [0, 1).

    Source: Ahmad et al. 2024, MTCM-KD; measuring on held-out data is this project's addition.
    """

    def __init__(
        self,
        shares: TeacherShares,
        ensemble: TeacherEnsemble,
        source: str = "held_out",
        data_loader: Iterable[Any] | None = None,
        inferer: Inferer | None = None,
        link: str = "sigmoid",
        decay: float = 0.95,
        learning: bool = False,
    ) -> None:
        if source not in SOURCES or link not in ("sigmoid", "softmax"):
            raise ValueError(
                f"source must be one of {SOURCES} and link 'sigmoid' or 'softmax', got {source!r}, {link!r}."
            )
        if source == "held_out" and data_loader is None:
            raise ValueError("performance on held-out data needs a data_loader.")
        if source in ("average", "epoch") and not learning:
            raise ValueError(f"frozen teachers are measured on held-out data, not by source={source!r}.")
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; it must lie in [0, 1).")
        self.shares = shares
        self.ensemble = ensemble
        self.source = source
        self.data_loader = data_loader
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.link = link
        self.decay = float(decay)
        self.learning = learning
        # running sum and its weight, [K, C] each, empty before the first batch
        self._sum, self._weight = torch.empty(0), torch.empty(0)
        self.dice: torch.Tensor | None = None
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        """Register on the trainer's start, on its losses, and on the ends of its epochs."""
        if self.source == "held_out":
            engine.add_event_handler(Events.STARTED, self._measure)
            if self.learning:
                engine.add_event_handler(Events.EPOCH_COMPLETED, self._measure)
        elif self.source != "equal":
            engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
            engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._batch)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._close)

    def _begin(self, _: Engine) -> None:
        if self.source == "epoch":
            self._sum, self._weight = torch.empty(0), torch.empty(0)

    def _batch(self, engine: Any) -> None:
        output, flags = engine.teacher_output, engine.state.batch.get(LABELLED)
        if output is None:
            return
        logits, label = output.logits, _plain(engine.state.output[CommonKeys.LABEL])
        if flags is not None:
            chosen = torch.as_tensor(flags).to(device=logits.device, dtype=torch.bool)
            logits, label = logits[chosen], label[chosen]
        # without labelled samples the counts are 0, but of the right shape: all processes sum up at the epoch's end
        self._add(overlap_counts(logits, label, self.shares.teachers, self.link))

    def _add(self, counts: torch.Tensor) -> None:
        if not self._sum.numel():
            self._sum = self._weight = torch.zeros_like(counts[0])
        present = counts[1] > 0
        dice = counts[0] / counts[1].clamp_min(1)
        if self.source == "epoch":
            kept, new = 1.0, 1.0
        else:
            kept, new = self.decay, 1 - self.decay
        # a region that neither teacher nor label has in this batch says nothing
        self._sum = torch.where(present, kept * self._sum + new * dice, self._sum)
        self._weight = torch.where(present, kept * self._weight + new, self._weight)

    def _close(self, engine: Engine) -> None:
        if not self._sum.numel():
            return
        together = _summed(torch.stack([self._sum, self._weight]))
        if not together[1].any():
            return
        self._set(together[0] / together[1], f"on the batches up to epoch {engine.state.epoch}")

    @torch.no_grad()
    def _measure(self, engine: Engine) -> None:
        device = next(self.ensemble.parameters()).device
        modes = {module: module.training for module in self.ensemble.modules()}
        self.ensemble.eval()
        counts: torch.Tensor | None = None
        for batch in self.data_loader or ():
            output = self.inferer(_plain(batch[CommonKeys.IMAGE]).to(device), self.ensemble)
            label = _plain(batch[CommonKeys.LABEL]).to(device)
            new = overlap_counts(_plain(output), label, self.shares.teachers, self.link)
            counts = new if counts is None else counts + new
        for module, mode in modes.items():
            module.training = mode
        if counts is None:
            raise ValueError("the data on which the teachers are measured hold no batches.")
        counts = _summed(counts)
        self._set(counts[0] / counts[1], "on held-out data")

    def _set(self, dice: torch.Tensor, where: str) -> None:
        self.dice = dice.cpu()
        self.shares.update(self.dice)
        listing = "; ".join(
            f"{name} Dice {_listed(row)}, share {_listed(share)}"
            for name, row, share in zip(self.ensemble.names, self.dice, self.shares.shares)
        )
        self.logger.info(f"teachers {where}: {listing}")

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Shares and running sums."""
        return {"shares": self.shares.shares.clone(), "sum": self._sum, "weight": self._weight}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: it is of other teachers.
        """
        if state["shares"].shape != self.shares.shares.shape:
            raise ValueError(f"shares of shape {tuple(state['shares'].shape)}, not {tuple(self.shares.shares.shape)}")
        self.shares.shares.copy_(state["shares"])
        self._sum, self._weight = state["sum"], state["weight"]


def _plain(tensor: Any) -> torch.Tensor:
    # what comes of a MetaTensor is one too, and no checkpoint of plain values can hold it
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else torch.as_tensor(tensor)


def _summed(values: torch.Tensor) -> torch.Tensor:
    if distributed.is_initialized():
        distributed.all_reduce(values)
    return values


def _listed(values: Sequence[float] | torch.Tensor) -> str:
    return " ".join(f"{float(value):.3f}" for value in values)
