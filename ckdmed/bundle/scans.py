"""How an inference shows scans that bear no name of BraTS, where it is not told."""

from __future__ import annotations

from ckdmed.data.brats.names import parse_case_name
from ckdmed.sections.record import find_record

__all__ = ["made_like_brats"]


def made_like_brats(checkpoint: str) -> bool:
    """Whether scans of other names are brought to the field of view, spacing and brain of BraTS for a network.

    The cases of a training are shown as they are. Where none of them bore a name of BraTS, the network knows scans as
    its user has them, and would be shown them otherwise than in the training and the evaluation.

    Args:
        checkpoint: the network's weights. Where no record tells whom they were trained on it is True.

    Raises:
        ValueError: the record beside it cannot be read.
    """
    record = find_record(checkpoint)
    return record is None or any(parse_case_name(name) is not None for name in record.items["train"])
