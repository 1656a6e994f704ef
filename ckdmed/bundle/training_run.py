"""The beginning of a training in its claimed folder, once its data are known, and its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.processes import end_process, is_first_process
from ckdmed.bundle.run import finish_run, start_run
from ckdmed.bundle.scans import brats_names_of
from ckdmed.bundle.training_inputs import record_inputs
from ckdmed.counted import counted
from ckdmed.sections.contents import changed_contents, contents_of, write_contents
from ckdmed.sections.record import listed
from ckdmed.sections.training_record import record_sections

__all__ = ["end_training", "start_training"]

logger = logging.getLogger(__name__)

Sections = Mapping[str, Sequence[Mapping[str, Any]]]


def start_training(
    sections: Sections,
    output_dir: str,
    ckpt_dir: str,
    resume: bool = False,
    made_from: Sequence[str | None] = (),
    parts: Sequence[str | None] = (),
) -> str:
    """Note the patients of the sections, then the settings, in the folder of the run and beside its weights.

    What the data are is noted by their contents in the output folder, so that a run does not go on with others.

    Args:
        sections: "train", "validation", "test" -> items.
        output_dir, ckpt_dir: of the run; claim it before the sections are made (:func:`~ckdmed.bundle.claim_run`).
        resume: the run goes on.
        made_from: checkpoints, or folders of bundles, that the training starts or learns from; None among them is
            passed over.
        parts: files that parts of the networks start from, see :func:`~ckdmed.bundle.record_sections`.

    Of several processes the first one writes.

    Returns:
        the output folder.

    Raises:
        SectionOverlapError: see :func:`~ckdmed.bundle.record_sections`.
        RefusedStart: see :func:`~ckdmed.bundle.start_run`; files of a resumed run have other contents than they had.
    """
    first = is_first_process()
    record_sections(sections, output_dir, ckpt_dir, resume, made_from, first, parts)
    _record_contents(sections, Path(output_dir), ckpt_dir, resume, first)
    start_run(output_dir, resume, first, ckpt_dir, facts=brats_names_of(sections))
    return output_dir


def _record_contents(sections: Sections, folder: Path, ckpt_dir: str, resume: bool, save: bool) -> None:
    if not (resume or save):
        return
    contents = contents_of(sections)
    if resume:
        try:
            changed = changed_contents(contents, folder)
        except ValueError as error:
            raise RefusedStart(str(error)) from error
        if changed:
            raise RefusedStart(
                f"the run in {folder} cannot be resumed with different data: the files of "
                f"{counted(len(changed), 'item')} have other contents than when it began ({listed(changed)}). Give the "
                "files of then, or start a new run in another output_dir."
            )
        # without weights there is no run to go on with: it begins here
        if changed is None and any(Path(ckpt_dir).glob("*.pt")):
            logger.warning(
                f"{folder} has no record of the contents of the run's data; whether they are the same is unknown"
            )
    if save:
        write_contents(contents, folder)


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
