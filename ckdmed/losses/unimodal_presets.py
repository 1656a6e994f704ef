"""Ready-made totals for a student of few modalities with several teachers of more or other ones."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from ckdmed.losses.bce_dice import BCEDiceLoss
from ckdmed.losses.combination import CombinationLoss
from ckdmed.losses.cooperative import DeepSupervisionTerm
from ckdmed.losses.performance_weights import REPO_TEMPERATURE, PCRLoss, PerformanceWeightedLoss, TeacherShares
from ckdmed.losses.presets import supervised_segmentation_loss
from ckdmed.losses.schedules import StepAfter
from ckdmed.losses.soft_dice import SoftDiceKDLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import DistillationLoss, LossTerm

__all__ = ["HEAD", "UNIMODAL_PRESETS", "unimodal_distillation_loss", "unimodal_supervised_loss"]

# name of the student's intermediate head, and of the cooperative logits among the teachers' features
HEAD = "cooperative"


class _Weights(NamedTuple):
    w_sup: float
    w_response: float
    w_deep: float
    deep_label: float
    temperature: float


UNIMODAL_PRESETS = {
    "ours": _Weights(w_sup=1.0, w_response=1.0, w_deep=0.1, deep_label=0.7, temperature=2.0),
    "mtcm": _Weights(w_sup=0.75, w_response=0.15, w_deep=0.1, deep_label=0.7, temperature=4.0),
    "mtcm_repo": _Weights(w_sup=0.75, w_response=0.15, w_deep=0.1, deep_label=0.7, temperature=REPO_TEMPERATURE),
    "alone": _Weights(w_sup=1.0, w_response=0.0, w_deep=0.0, deep_label=1.0, temperature=2.0),
}


def unimodal_supervised_loss(preset: str = "ours", link: str = "sigmoid") -> nn.Module:
    """The supervised loss of a preset: half cross entropy and half Dice, or for the published presets with exclusive
    classes ("softmax") Dice, Jaccard and cross entropy in equal parts. Overlapping regions have the former always.

    The Dice of regions leaves out samples in which a region is empty. Slices mostly have no enhancing tumour, and a
    student that sees little of it in its one modality learns from their Dice, 1 for any false positive, to say nothing.

    Raises:
        ValueError: an unknown preset or link.
    """
    _check(preset)
    if preset.startswith("mtcm") and link == "softmax":
        return CombinationLoss("repo" if preset == "mtcm_repo" else "correct")
    return BCEDiceLoss(skip_empty=True) if link == "sigmoid" else supervised_segmentation_loss(link)


def unimodal_distillation_loss(
    preset: str = "ours",
    shares: TeacherShares | None = None,
    link: str = "sigmoid",
    temperature: float | None = None,
    w_sup: float | None = None,
    w_response: float | None = None,
    w_deep: float | None = None,
    deep_label: float | None = None,
    cooperative: bool = True,
    warm_up: float = 0.0,
) -> DistillationLoss:
    """The student's total: w_sup sup(z, y) + w_response sum_i w_i D(z, z_i)
    + w_deep (deep_label sup(h, y') + (1 - deep_label) KD(h, c)).

    z are the student's logits, z_i those of teacher i with share w_i, h the student's intermediate head, c the
    cooperative logits of the teachers, y the label.

    ========= ========================================================================================================
    preset    total
    ========= ========================================================================================================
    ours      weights 1, 1, 0.1; D is half the divergence at T 2 and half squared soft Dice, which small regions need,
              over the samples in which a teacher finds the region
    mtcm      weights 0.75, 0.15, 0.1 as published; D is the divergence alone, at T 4, as a mean over positions
    mtcm_repo the same with the published code's scale: T 20, sums over positions, overlaps slice by slice. It drowns
              the label: only to compare with published numbers
    alone     sup(z, y) and nothing else
    ========= ========================================================================================================

    Args:
        preset: one of these.
        shares: of the teachers; needed where w_response is above 0.
        link: "sigmoid" for overlapping regions (default), "softmax" for exclusive classes.
        temperature: T of all divergences; the preset's by default.
        w_sup, w_response, w_deep, deep_label: replace the preset's.
        cooperative: False where the teachers have no fusion: the head then listens to the label alone, with the
            weight w_deep * deep_label.
        warm_up: share of the training without the terms that listen to teachers. For teachers that learn at the same
            time one epoch, as in the published code: before it they know nothing, and their shares are not measured.

    Raises:
        ValueError: an unknown preset or link; no shares where they are needed; deep_label or warm_up outside [0, 1].

    Source: Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems 297) and its code. How the published weights are read,
    and what "ours" changes, stands in docs/unimodal.md.
    """
    _check(preset)
    given = {"w_sup": w_sup, "w_response": w_response, "w_deep": w_deep, "deep_label": deep_label}
    chosen = UNIMODAL_PRESETS[preset]._replace(**{k: float(v) for k, v in given.items() if v is not None})
    for name, value in (("deep_label", chosen.deep_label), ("warm_up", warm_up)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must lie in [0, 1].")
    if chosen.w_response > 0 and shares is None:
        raise ValueError("the response term needs the shares of the teachers: pass shares=TeacherShares(...).")
    degree = float(temperature) if temperature is not None else chosen.temperature
    # the last step of the warm-up lies on its end, up to rounding
    schedule = StepAfter(warm_up + 1e-9) if warm_up > 0 else None
    supervised = unimodal_supervised_loss(preset, link)
    mode = "repo" if preset == "mtcm_repo" else "ours"
    terms = {"supervised": LossTerm(supervised, "target", chosen.w_sup)}
    if shares is not None:
        halves = 0.5 if preset in ("ours", "alone") else 0.0
        terms["response"] = LossTerm(
            PCRLoss(shares, link, degree, mode), "logits", (1 - halves) * chosen.w_response, schedule=schedule
        )
        terms["response_dice"] = LossTerm(
            PerformanceWeightedLoss(shares, SoftDiceKDLoss(link, skip_empty=True), link),
            "logits",
            halves * chosen.w_response,
            schedule=schedule,
        )
    terms["deep_label"] = DeepSupervisionTerm(supervised, HEAD, chosen.w_deep * chosen.deep_label)
    if cooperative:
        divergence = PCRLoss(TeacherShares(1), link, degree, mode) if mode == "repo" else KDLoss(link, degree)
        terms["deep_cooperative"] = LossTerm(
            divergence, "features", chosen.w_deep * (1 - chosen.deep_label), layers=(HEAD,), schedule=schedule
        )
    return DistillationLoss({name: term for name, term in terms.items() if term.weight > 0})


def _check(preset: str) -> None:
    if preset not in UNIMODAL_PRESETS:
        raise ValueError(f"preset must be one of {sorted(UNIMODAL_PRESETS)}, got {preset!r}.")
