"""The beginning of a training in its claimed folder, once its data are known, and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckdmed.bundle.processes import end_process, is_first_process
from ckdmed.bundle.run import finish_run, start_run
from ckdmed.bundle.scans import brats_names_of
from ckdmed.bundle.training_inputs import record_inputs
from ckdmed.sections.training_record import record_sections

__all__ = ["end_training", "start_training"]

Sections = Mapping[str, Sequence[Mapping[str, Any]]]


def start_training(
    sections: Sections,
    output_dir: str,
    ckpt_dir: str,
    resume: bool = False,
    made_from: Sequence[str | None] = (),
    parts: Sequence[str | None] = (),
) -> None:
    """Note the patients of the sections, then the settings, in the folder of the run and beside its weights.

    Args:
        sections: "train", "validation", "test" -> items.
        output_dir, ckpt_dir: of the run; claim it before the sections are made (:func:`~ckdmed.bundle.claim_run`).
        resume: the run goes on.
        made_from: checkpoints that the training starts or learns from; None among them is passed over.
        parts: files that parts of the networks start from, see :func:`~ckdmed.bundle.record_sections`.

    Of several processes the first one writes.

    Raises:
        SectionOverlapError: see :func:`~ckdmed.bundle.record_sections`.
        RefusedStart: see :func:`~ckdmed.bundle.start_run`.
    """
    first = is_first_process()
    record_sections(sections, output_dir, ckpt_dir, resume, made_from, first, parts)
    start_run(output_dir, resume, first, ckpt_dir, facts=brats_names_of(sections))


def end_training(
    sections: Sections,
    output_dir: str,
    ckpt_dir: str,
    dataset_dir: str | None = None,
    modalities: Sequence[str] = (),
    last: bool = False,
    several: bool = False,
) -> None:
    """Note what the inputs look like, give the folder free, say where everything is, and leave the other processes.

    Args:
        sections, output_dir, ckpt_dir: as in :func:`start_training`.
        dataset_dir, modalities: see :func:`~ckdmed.bundle.record_inputs`.
        last: see :func:`~ckdmed.bundle.finish_run`.
        several: see :func:`~ckdmed.bundle.end_process`.
    """
    first = is_first_process()
    record_inputs(sections, ckpt_dir, dataset_dir, modalities, first)
    finish_run(output_dir, first, last)
    end_process(several)
