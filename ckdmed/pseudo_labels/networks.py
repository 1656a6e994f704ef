"""The networks that label: whether they may, and what they answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.as_teacher import is_of_a_student
from ckdmed.bundle.trained import recorded_settings
from ckdmed.bundle_files import bundle_configs
from ckdmed.counted import counted
from ckdmed.inference.inputs_skipped import InputsSkipped
from ckdmed.json_files import read_json
from ckdmed.sections.record import find_own_or_shipped

__all__ = ["check_models", "inferred"]

logger = logging.getLogger(__name__)

# settings that only trainings on whole cases with regions have
_OF_CASES = {"modalities", "roi_size"}


def check_models(models: Sequence[Path], test: Sequence[Mapping[str, Any]], cases: bool = False) -> None:
    """Refuse networks that cannot label, or may not.

    Args:
        models: checkpoints.
        test: the items of the test section, with ``patient`` and ``patient_group``.
        cases: whether BraTS cases are to be labelled, not slices.

    Raises:
        ValueError: there is no such checkpoint, or it has no record of its training; it was trained on cases where
            slices are to be labelled, or the other way round; it was trained or chosen on patients of the test section.
    """
    for model in models:
        if not model.is_file():
            raise ValueError(f"there is no checkpoint '{model}'.")
        settings = recorded_settings(model)
        if settings is None:
            raise ValueError(
                f"'{model}' has no record of its training (model.json beside it), which describes its network."
            )
        if cases != (_OF_CASES <= set(settings)):
            here, needed = ("BraTS cases", "brats_seg_kd and brats_seg_teacher") if cases else (
                "slices", "seg_kd and seg_teacher")  # fmt: skip
            raise ValueError(
                f"'{model}' is not a network of {needed}, according to the record of its training; the datalist is of "
                f"{here}, which only these can label."
            )
        _check_knows_no_test_patient(model, test)


def _check_knows_no_test_patient(model: Path, test: Sequence[Mapping[str, Any]]) -> None:
    record = find_own_or_shipped(model)
    if record is None:
        logger.warning(f"{model} has no record of its patients; whether it was trained on test patients is unknown")
        return
    known = {
        item["patient_group"]
        for item in test
        if {"train", "validation"} & set(record.sections_of([item["patient_group"], item["patient"]]))
    }
    if known:
        raise ValueError(
            f"'{model}' was trained or chosen on {counted(len(known), 'patient')} of the test section "
            f"({sorted(known)[0]}): its labels would leak them into the training. Give a network that was trained on "
            "the same split."
        )


def inferred(
    model: Path, bundles: tuple[str, str], dataset_dir: Path, output_dir: Path, **given: Any
) -> list[dict[str, Any]]:
    """What the inference of the bundle that trained a network reports of each input, in their order.

    Args:
        model: its checkpoint.
        bundles: that of students and that of teachers alone.
        dataset_dir, output_dir, given: settings of the inference.

    Raises:
        ValueError: an input could not be read; names the first.
    """
    from monai.bundle import ConfigWorkflow

    bundle = bundles[0 if is_of_a_student(model, recorded_settings(model) or {}) else 1]
    workflow = ConfigWorkflow(
        [str(bundle_configs(bundle) / "inference.json")],
        meta_file=None,
        logging_file=False,
        workflow_type="inference",
        checkpoint=str(model),
        dataset_dir=str(dataset_dir),
        output_dir=str(output_dir),
        **given,
    )
    workflow.initialize()
    workflow.run()
    try:
        workflow.finalize()
    except InputsSkipped as error:
        # where the inputs lie is gone when this is read
        folder = dataset_dir if dataset_dir.is_dir() else dataset_dir.parent
        first = error.skipped[0].reason.replace(f"{folder}{os.sep}", "")
        more = f", nor {len(error.skipped) - 1} more" if len(error.skipped) > 1 else ""
        raise ValueError(f"'{model}' could not label every image: {first.rstrip('.')}{more}.") from error
    results: list[dict[str, Any]] = read_json(output_dir / "report.json")["results"]
    return results
