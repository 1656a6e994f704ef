"""Pseudo-labels without a tumour, which nobody has looked at."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ckdmed.counted import counted

__all__ = ["tell_of_empty"]

logger = logging.getLogger(__name__)

_SHOWN = 3


def tell_of_empty(names: Sequence[str]) -> None:
    """Warn of labels in whose image the networks found nothing.

    Args:
        names: of the images or cases.
    """
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        logger.warning(
            f"{counted(len(names), 'label')} without any tumour ({', '.join(names[:_SHOWN])}{more}): if there is one, "
            "a student learns to miss it; take the label out of the datalist, or use other networks."
        )
