"""The description of a training that a method gets."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from ckdmed.losses.conventions import PairLoss
from ckdmed.losses.performance_weights import PerformanceWeightedLoss, TeacherShares
from ckdmed.losses.supervised import supervised_classification_loss, supervised_segmentation_loss

__all__ = ["TASKS", "Task", "supervised_loss_of"]

#: name of a task -> what it is; each bundle that distils has one of them
TASKS = {
    "segmentation": "one mask of an image (seg_kd)",
    "regions": "overlapping regions of slices or volumes (brats_seg_kd)",
    "classification": "one class of an image (cls_kd)",
    "unimodal": "overlapping regions, several teachers of other modalities (brats_unimodal_kd)",
}


@dataclass(frozen=True)
class Task:
    """The side of a distillation that a method does not choose.

    Attributes:
        name: one of ``TASKS``.
        link: "sigmoid" for one mask or overlapping regions, "softmax" for exclusive classes.
        layers: names of the taps that both networks have and whose features are maps, deepest first.
        levels: names of further such taps, deepest first, which are compared only where they are chosen.
        tokens: names of the taps where the teacher's feature is a transformer's, class token first: its normalised
            "tokens", and "qkv", the queries, keys and values of its last block.
        exits: names of the student's taps that may be early exits, deepest first, whatever the teacher has.
        heads: attention heads of the teacher's transformer.
        supervised: the supervised loss of the task, called as ``loss(logits, label)``.
        shares: the weights of several teachers; None for one teacher.
        cooperative: whether several teachers give cooperative logits.
        warm_up: share of the training in which the teachers' terms are off.
    """

    name: str
    link: str = "sigmoid"
    layers: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    exits: tuple[str, ...] = ()
    heads: int = 1
    supervised: nn.Module = field(default_factory=supervised_segmentation_loss)
    shares: TeacherShares | None = None
    cooperative: bool = False
    warm_up: float = 0.0

    def maps(self, chosen: list[str] | None = None, deepest: int | None = None) -> tuple[str, ...]:
        """The layers that a method compares, deepest first: those chosen, or the ``deepest`` ones (all by default).

        Raises:
            ValueError: a layer that the networks do not have in common; none at all, or none chosen.
        """
        if chosen is not None and not chosen:
            raise ValueError(
                "this method compares feature maps of at least one layer: feature_layers cannot be an empty list."
            )
        known = [*self.layers, *self.levels]
        if unknown := [name for name in chosen or () if name not in known]:
            raise ValueError(f"the layers {unknown} are not among those of both networks, {known}.")
        # in the networks' own order, in which some methods go through them, whatever that of the choice
        found = tuple(name for name in known if name in chosen) if chosen else self.layers[:deepest]
        if not found:
            raise ValueError(
                "this method compares feature maps, but these two networks have none in common: choose another "
                "teacher, or a method that compares outputs."
            )
        return found

    def response(self, loss: PairLoss) -> PairLoss:
        """A loss between logits as this task needs it: of several teachers, each weighted by its share.

        Raises:
            ValueError: several teachers without shares.
        """
        if self.name != "unimodal":
            return loss
        if self.shares is None:
            raise ValueError("the response of several teachers needs their shares: pass shares=TeacherShares(...).")
        return PerformanceWeightedLoss(self.shares, loss, self.link)


def supervised_loss_of(name: str, link: str = "sigmoid") -> nn.Module:
    """The supervised loss of a task: half cross entropy and half Dice, or cross entropy for classification.

    A student of few modalities leaves out of the Dice the samples in which a region is empty, see
    :func:`~ckdmed.losses.supervised_segmentation_loss`.
    """
    if name == "classification":
        return supervised_classification_loss()
    return supervised_segmentation_loss(link, skip_empty=name == "unimodal" and link == "sigmoid")
