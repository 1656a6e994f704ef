"""Whether a teacher of classes learns, or has learnt, from smoothed labels."""

from __future__ import annotations

import logging

from monai.bundle import ConfigParser

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
    if "trained" in config or not {"taught", "label_smoothing", "teacher_checkpoint"} <= set(config):
        return
    if parser.get_parsed_content("method") == "supervised":
        return
    checkpoint = parser.get_parsed_content("teacher_checkpoint")
    if checkpoint is not None:
        smoothing = parser.get_parsed_content("taught").get("label_smoothing", 0.0) or 0.0
        if smoothing > 0:
            logger.warning(f"'{checkpoint}' was trained with label_smoothing {smoothing}: {_WHY}. Train it without.")
        return
    smoothing = parser.get_parsed_content("label_smoothing")
    if smoothing > 0:
        logger.warning(
            f"--label_smoothing {smoothing} is also that of the teacher which this run trains: {_WHY}. Train the "
            "teacher by its own bundle, without it, and give it as --teacher_checkpoint."
        )
