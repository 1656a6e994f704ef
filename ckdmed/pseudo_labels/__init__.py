"""Labels that several networks agree on, for images that have none."""

from __future__ import annotations

from ckdmed.pseudo_labels.ensemble import Agreed, combined
from ckdmed.pseudo_labels.labelling import write_pseudo_labels
from ckdmed.pseudo_labels.settings import PseudoLabelSettings
from ckdmed.pseudo_labels.written_folder import check_pseudo_labels

__all__ = ["Agreed", "PseudoLabelSettings", "check_pseudo_labels", "combined", "write_pseudo_labels"]
