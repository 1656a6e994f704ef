"""A distillation loss as a sum of named terms, each with its own weight, schedule and samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from ckdmed.losses.conventions import PairLoss
from ckdmed.losses.exclusive_masks import class_indices
from ckdmed.losses.label_forms import with_teacher_labels
from ckdmed.losses.resizing import on_grid_of

__all__ = ["DistillationLoss", "LossTerm", "LossValues", "NetworkOutput", "Projector"]

SOURCES = ("target", "logits", "features", "exits")
SAMPLES = ("all", "labelled", "unlabelled")

#: makes the module that maps a student's feature to the teacher's space, from the shapes of both
Projector = Callable[[Sequence[int], Sequence[int]], nn.Module]


class NetworkOutput(Protocol):
    """What a term reads of a network: see :class:`ckdmed.networks.TappedOutput`, whose further heads are optional."""

    @property
    def logits(self) -> torch.Tensor: ...
    @property
    def features(self) -> dict[str, torch.Tensor]: ...
    @property
    def projected(self) -> dict[str, torch.Tensor]: ...


class LossValues(NamedTuple):
    """One step's loss.

    Attributes:
        total: scalar, the weighted sum, with its graph.
        terms: raw (unweighted) scalars by term name, with their graphs; terms of weight 0 are absent.
        weights: the weight that each of them had in this step.
    """

    total: torch.Tensor
    terms: dict[str, torch.Tensor]
    weights: dict[str, float]


class LossTerm(nn.Module):
    """One named term: a loss, what it compares, on which samples, and how its weight runs over the training.

    Args:
        loss: called as ``loss(student, other)``; gives a scalar.
        source: what ``other`` is: "target" the label (of every head of a student with deep supervision), "logits" the
            teacher's logits (of every head where no term has a label for them), "features" its tapped features, layer
            by layer, "exits" the teacher's logits for the student's features, given as name -> feature.
        weight: not negative. With 0 the term is not computed.
        layers: tap names, for ``source="features"`` (of both networks) and "exits" (of the student).
        layer_weights: one per layer; 1/len(layers) each by default, so that the term does not grow with the layers.
        projected: compare projected features (those that have a projection) instead of the tapped ones.
        samples: "labelled" is the default for "target" and for ``with_label``, "all" for the others.
        schedule: progress in (0, 1] -> factor on the weight; constant by default.
        projector: makes the projection of the student's features from the shapes of both; a 1x1 convolution to the
            teacher's channels by default.
        with_label: the loss reads the label as well: ``loss(student, teacher, target=label)``.
        teacher_labels: the link, "softmax" or "sigmoid", by which the teacher's answer takes the place of the label of
            samples that have none; a term ``with_label`` is then of all samples.
        joint: features of all layers are compared at once, ``loss(student, teacher)`` with name -> feature each.
        min_samples: with fewer samples in a batch the term is left out, as the relations of one sample to others are.

    Raises:
        ValueError: unknown source or samples, a negative weight, layers missing or given in vain, weights of another
            number than layers, a projector without projected features, a label for a source that is the label.
    """

    def __init__(
        self,
        loss: Callable[..., torch.Tensor],
        source: str,
        weight: float = 1.0,
        layers: Sequence[str] = (),
        layer_weights: Sequence[float] | None = None,
        projected: bool = True,
        samples: str | None = None,
        schedule: Callable[[float], float] | None = None,
        projector: Projector | None = None,
        with_label: bool = False,
        teacher_labels: str | None = None,
        joint: bool = False,
        min_samples: int = 1,
    ) -> None:
        super().__init__()
        of_labels = source == "target" or (with_label and teacher_labels is None)
        samples = samples or ("labelled" if of_labels else "all")
        if source not in SOURCES:
            raise ValueError(f"source must be one of {SOURCES}, got {source!r}.")
        if samples not in SAMPLES:
            raise ValueError(f"samples must be one of {SAMPLES}, got {samples!r}.")
        if source == "target" and samples != "labelled":
            raise ValueError(f"only labelled samples have a target; got samples={samples!r} for source='target'.")
        if teacher_labels not in (None, "softmax", "sigmoid") or (teacher_labels and not with_label):
            raise ValueError(f"teacher_labels is for terms with_label, 'softmax' or 'sigmoid', got {teacher_labels!r}.")
        if with_label and (source == "target" or (samples != "labelled" and teacher_labels is None)):
            raise ValueError(
                f"with_label is for a teacher's output on labelled samples; got source={source!r}, samples={samples!r}."
            )
        if weight < 0:
            raise ValueError(f"a term's weight cannot be negative, got {weight}.")
        if (source in ("features", "exits")) != bool(layers):
            raise ValueError(f"layers belong to source='features' or 'exits' only; got source={source!r}, {layers}.")
        if layer_weights is not None and len(layer_weights) != len(layers):
            raise ValueError(f"{len(layer_weights)} layer weights for {len(layers)} layers.")
        if projector is not None and not (layers and projected):
            raise ValueError("a projector is only for a term that compares projected features.")
        self.loss = loss
        self.source = source
        self.weight = float(weight)
        self.layers = tuple(layers)
        self.layer_weights = tuple(layer_weights or (1.0 / max(len(layers), 1),) * len(layers))
        self.projected = projected
        self.samples = samples
        self.schedule = schedule
        self.projector = projector
        self.with_label = with_label
        self.teacher_labels = teacher_labels
        self.joint = joint
        self.min_samples = min_samples

    def weight_at(self, progress: float) -> float:
        """The weight at ``progress`` (0 to 1) of the training."""
        return self.weight * (self.schedule(progress) if self.schedule is not None else 1.0)

    def forward(
        self,
        student: NetworkOutput,
        teacher: NetworkOutput | None,
        target: torch.Tensor | None,
        chosen: torch.Tensor | None,
    ) -> torch.Tensor:
        """The raw term over the samples that ``chosen`` (B,) marks, or over all."""
        logits = _select(student.logits, chosen)
        if self.source == "target":
            if target is None:
                raise ValueError("a supervised term was given no target.")
            truth = _select(target, chosen)
            heads: Sequence[torch.Tensor] = getattr(student, "heads", ())
            if not heads:
                return self.loss(logits.float(), truth)
            weights: Sequence[float] = getattr(student, "head_weights", ())
            total = weights[0] * self.loss(logits.float(), truth)
            for weight, head in zip(weights[1:], heads):
                total = total + weight * self.loss(_select(head, chosen).float(), truth)
            return total
        if teacher is None:
            raise ValueError(f"a term on the teacher's {self.source} was given no teacher.")
        if self.with_label and target is None:
            raise ValueError("a term that reads the label was given no target.")
        label = {"target": _select(target, chosen)} if self.with_label and target is not None else {}
        if self.source == "logits":
            teacher_logits = on_grid_of(_select(teacher.logits, chosen).float(), logits)
            return self.loss(logits.float(), teacher_logits, **label)
        if self.source == "exits":
            maps = {name: _select(student.features[name], chosen).float() for name in self.layers}
            return self.loss(maps, _select(teacher.logits, chosen).float(), **label)
        if self.joint:
            sides = [
                {name: _select(self._read(side, name), chosen).float() for name in self.layers}
                for side in (student, teacher)
            ]
            return self.loss(*sides, **label)
        total = logits.new_zeros((), dtype=torch.float32)
        for name, weight in zip(self.layers, self.layer_weights):
            student_features, teacher_features = self._read(student, name), self._read(teacher, name)
            if not isinstance(self.loss, PairLoss):
                # a PairLoss sees to its precision itself, and may do with less than a copy of the whole map
                student_features, teacher_features = student_features.float(), teacher_features.float()
            chosen_features = _select(student_features, chosen), _select(teacher_features, chosen)
            total = total + weight * self.loss(*chosen_features, **label)
        return total

    def _read(self, side: NetworkOutput, name: str) -> torch.Tensor:
        found = side.features[name]
        return side.projected.get(name, found) if self.projected else found


class DistillationLoss(nn.Module):
    """The weighted sum of named terms, with every term's own value kept for the log.

    Args:
        terms: name -> term, in the order in which they are logged.
        projection_side: which side's features the projections act on, "student" or (the reports' literal form)
            "teacher"; read by whoever builds the projections.

    Attributes:
        exclusive_masks: the target is masks of regions that exclude each other, and the terms read class indices, but
            those whose loss has an attribute ``reads_masks`` that is true.

    Raises:
        ValueError: no terms, an unknown side, a layer with two projectors, a projector on the teacher's side.

    Parameters of a loss itself, such as learned weights of scales, are parameters of this module. They have to learn
    with the student: :func:`~ckdmed.engines.attach_student` sees to it.

    Examples:
        >>> loss = DistillationLoss({
        ...     "supervised": LossTerm(DiceCELoss(sigmoid=True), "target"),
        ...     "soft_targets": LossTerm(KDLoss("sigmoid", temperature=2.0), "logits", weight=0.5)})
        >>> loss(student_output, teacher_output, label).total.backward()
    """

    def __init__(self, terms: Mapping[str, LossTerm], projection_side: str = "student") -> None:
        super().__init__()
        if not terms:
            raise ValueError("a distillation loss needs at least one term.")
        if projection_side not in ("student", "teacher"):
            raise ValueError(f"projection_side must be 'student' or 'teacher', got {projection_side!r}.")
        self.terms = nn.ModuleDict(dict(terms))
        self.projection_side = projection_side
        self.exclusive_masks = False
        self.projectors: dict[str, Projector] = {}
        for term in self._active():
            for layer in term.layers if term.projector is not None else ():
                if self.projectors.setdefault(layer, term.projector) is not term.projector:  # type: ignore[arg-type]
                    raise ValueError(f"two terms project the layer '{layer}' in different ways.")
        if self.projectors and projection_side == "teacher":
            raise ValueError(
                "projectors are for the student's side; the teacher's side has a frozen orthogonal projection."
            )

    @property
    def active_terms(self) -> dict[str, LossTerm]:
        """The terms of positive weight by their names."""
        return {name: term for name, term in self.terms.items() if isinstance(term, LossTerm) and term.weight > 0}

    def _active(self) -> list[LossTerm]:
        return list(self.active_terms.values())

    @property
    def layers(self) -> tuple[str, ...]:
        """Tap names that terms of positive weight read of both networks."""
        return tuple(dict.fromkeys(name for term in self._active() if term.source != "exits" for name in term.layers))

    @property
    def student_layers(self) -> tuple[str, ...]:
        """Tap names that terms of positive weight read of the student, those of both networks among them."""
        return tuple(dict.fromkeys(name for term in self._active() for name in term.layers))

    @property
    def projected_layers(self) -> tuple[str, ...]:
        """Tap names that terms of positive weight read projected."""
        terms = [term for term in self._active() if term.projected and term.source != "exits"]
        return tuple(dict.fromkeys(name for term in terms for name in term.layers))

    @property
    def channel_terms(self) -> tuple[str, ...]:
        """Names of the terms of positive weight that compare features channel by channel, projected or fused."""
        by_channel = [t for t in self._active() if t.source == "features" and (t.projected or t.joint)]
        return tuple(name for name, term in self.terms.items() if term in by_channel)

    @property
    def needs_teacher(self) -> bool:
        """Whether a term of positive weight uses the teacher's outputs."""
        return any(term.source != "target" for term in self._active())

    def leave_out_unlabelled(self) -> list[str]:
        """For a training without unlabelled samples: give the teacher's terms no weight where all are of such samples.

        Returns:
            their names; none where a term uses the teacher's outputs for labelled samples.
        """
        active = self._active()
        taught = {name: term for name, term in self.terms.items() if term in active and term.source != "target"}
        if any(term.samples != "unlabelled" for term in taught.values()):
            return []
        for term in taught.values():
            term.weight = 0.0
        return list(taught)

    def select_taps(self, taps: Mapping[str, str], of_student: bool = False) -> dict[str, str]:
        """Those of ``taps`` that the terms read of a teacher, or of the student.

        Raises:
            ValueError: a layer that the terms read has no tap.
        """
        wanted = self.student_layers if of_student else self.layers
        missing = [name for name in wanted if name not in taps]
        if missing:
            raise ValueError(f"the loss reads layers {missing}, for which no tap is given; taps: {sorted(taps)}.")
        return {name: taps[name] for name in wanted}

    def build(
        self,
        student: Mapping[str, Sequence[int]],
        projected: Mapping[str, Sequence[int]],
        teacher: Mapping[str, Sequence[int]],
    ) -> None:
        """Let losses with networks of their own make them from shapes: each that has a method ``build``.

        Each is given the shapes of the layers that its term reads, and of the "logits".

        Args:
            student: shapes of the student's features by layer, and of its "logits".
            projected: of those that are projected, shapes behind the projection.
            teacher: shapes of the teacher's features and "logits".
        """
        for term in self._active():
            if build := getattr(term.loss, "build", None):
                behind = projected if term.projected and term.source == "features" else {}
                read = (*term.layers, "logits")
                sides = ({**student, **behind}, teacher)
                build(*({name: side[name] for name in read if name in side} for side in sides))

    def forward(
        self,
        student: NetworkOutput,
        teacher: NetworkOutput | None,
        target: torch.Tensor | None,
        labelled: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> LossValues:
        """The loss of one batch.

        Args:
            student: its logits (B, N, *spatial) and features.
            teacher: the same of the teacher; its logits are resampled to the student's grid where they differ.
            target: label of the whole batch; rows of unlabelled samples are not read.
            labelled: (B,) booleans; all samples are labelled by default.
            progress: share of the training done, for the schedules.
        """
        masks = target
        if self.exclusive_masks and target is not None:
            target = class_indices(target)
        total = student.logits.new_zeros((), dtype=torch.float32)
        values: dict[str, torch.Tensor] = {}
        weights: dict[str, float] = {}
        # everything labelled is the common case and needs no copies
        mixed = labelled is not None and not bool(labelled.all())
        # heads that no label reaches would stay as they were initialised
        untaught = bool(getattr(student, "heads", ())) and all(term.source != "target" for term in self._active())
        with torch.autocast(student.logits.device.type, enabled=False):
            for name, term in self.terms.items():
                weight = term.weight_at(progress)  # type: ignore[operator]
                if weight == 0:
                    continue
                chosen = _chosen(term.samples, labelled if mixed else None, student.logits)  # type: ignore[arg-type]
                count = student.logits.shape[0] if chosen is None else int(chosen.sum())
                if count < term.min_samples:  # type: ignore[operator]
                    continue
                label = masks if getattr(term.loss, "reads_masks", False) else target
                if mixed and term.teacher_labels and label is not None and teacher is not None:
                    said = on_grid_of(teacher.logits.float(), student.logits)
                    label = with_teacher_labels(label, said, labelled, term.teacher_labels)  # type: ignore[arg-type]
                if untaught and term.source == "logits":
                    found = [term(head, teacher, label, chosen) for head in _heads_of(student)]
                    values[name] = torch.stack(found) @ total.new_tensor(getattr(student, "head_weights", ()))
                else:
                    values[name] = term(student, teacher, label, chosen)
                weights[name] = weight
                total = total + weight * values[name]
            # a batch in which no term has a sample still needs a graph for the backward pass
            if not values:
                total = total + 0.0 * student.logits.float().sum()
        return LossValues(total=total, terms=values, weights=weights)


def _chosen(samples: str, labelled: torch.Tensor | None, logits: torch.Tensor) -> torch.Tensor | None:
    if samples == "all" or (labelled is None and samples == "labelled"):
        return None
    if labelled is None:
        return torch.zeros(logits.shape[0], dtype=torch.bool, device=logits.device)
    labelled = labelled.to(device=logits.device, dtype=torch.bool)
    return labelled if samples == "labelled" else ~labelled


class _Head(NamedTuple):
    logits: torch.Tensor
    features: dict[str, torch.Tensor]
    projected: dict[str, torch.Tensor]


def _heads_of(student: NetworkOutput) -> list[_Head]:
    """The main head of a student with deep supervision and the further ones, each as an output of its own."""
    every = (student.logits, *getattr(student, "heads", ()))
    return [_Head(logits, student.features, student.projected) for logits in every]


def _select(tensor: torch.Tensor, chosen: torch.Tensor | None) -> Any:
    return tensor if chosen is None else tensor[chosen]
