"""Whether a teacher of classes learns, or has learnt, from smoothed labels."""

from __future__ import annotations

import logging

from monai.bundle import ConfigParser

from ckdmed.bundle.trained import Trained

__all__ = ["tell_of_smoothed_teacher"]

logger = logging.getLogger("ckdmed")

_WHY = (
    "such a teacher's outputs tell less of how the classes resemble each other, and its students may be worse than one "
    "trained alone (Müller et al. 2019; measured in docs/methods_compared.md)"
)


def tell_of_smoothed_teacher(parser: ConfigParser) -> None:
    """Warn of label smoothing in the training of the teacher whose outputs a student is to learn from.

    Nothing is said where no student is trained, or by a method without a teacher.

    Args:
        parser: of the bundle, with what is given.

    Source: Müller et al. 2019 (arXiv 1906.02629), section 4.
    """
    config = parser.get()
    if "trained" in config or not {"taught", "teacher_label_smoothing"} <= set(config):
        return
    if parser.get_parsed_content("method") == "supervised":
        return
    checkpoint = parser.get_parsed_content("teacher_checkpoint")
    if checkpoint is not None:
        if (smoothing := _of_record(parser.get_parsed_content("taught"))) > 0:
            logger.warning(f"'{checkpoint}' was trained with label_smoothing {smoothing}: {_WHY}. Train it without.")
        return
    if (smoothing := parser.get_parsed_content("teacher_label_smoothing")) > 0:
        logger.warning(
            f"--teacher_label_smoothing {smoothing} smooths the labels that the teacher learns from: {_WHY}."
        )


def _of_record(taught: Trained) -> float:
    # of a run that trained both, before teachers had a value of their own, it holds the value of both
    return taught.get("teacher_label_smoothing", taught.get("label_smoothing")) or 0.0
