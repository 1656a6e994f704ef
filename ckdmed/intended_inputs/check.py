"""Whether an input is one that a network was made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ckdmed.intended_inputs.appearance import Appearance
from ckdmed.intended_inputs.record import IntendedInputs
from ckdmed.intended_inputs.series_facts import SEQUENCE_NAMES, SeriesFacts
from ckdmed.intended_inputs.slice_features import network_view, slice_features

__all__ = ["InputCheck", "check_input", "features_of"]

Status = Literal["intended", "outside", "unknown"]
# a head may fill the field of view or half of it, and scanners crop
_SMALLER, _LARGER = 0.75, 1.35
# scanners make square pixels; longer ones are the distance of the slices, in a volume that is cut across them
_LONG_PIXEL = 2.0
# a volume is judged by its median slice; two or three slices are no volume
_VOLUME = 4
# of a volume so many are looked at, evenly spread
_MOST = 32
_WARNING = "Not an input that the network was made for"


@dataclass(frozen=True)
class InputCheck:
    """What came of the check of an input.

    Args:
        status: "intended", "outside", or "unknown" where nothing is recorded or nothing could be compared.
        reasons: why it is outside, or why that is not known; each a part of a sentence.
        slices: how many were looked at.
        flagged: how many of these look unlike those of the training.
        distance: the median slice's, in units of the threshold (above 1 is outside); None where none was looked at.
        intended: what the network was made for, in words.
        facts: what the input says of itself.
        causes: of the reasons, in their order: "modality", "sequence", "field of view", "cut", "place" or
            "appearance".
    """

    status: Status
    reasons: tuple[str, ...] = ()
    slices: int = 0
    flagged: int = 0
    distance: float | None = None
    intended: str = ""
    facts: SeriesFacts = SeriesFacts()
    causes: tuple[str, ...] = ()

    @property
    def outside(self) -> bool:
        """Whether the input is not one that the network was made for."""
        return self.status == "outside"

    @property
    def unintended(self) -> tuple[str, ...] | None:
        """Reasons why it is outside; empty where it is not, None where that is not known."""
        return None if self.status == "unknown" else self.reasons

    @property
    def sentence(self) -> str:
        """The result in one sentence, for reports and for what a command prints at its end."""
        if self.status == "intended":
            return f"The input is like those that the network was made for ({self.intended})."
        why = "; ".join(self.reasons)
        if self.status == "unknown":
            return f"Whether the network was made for this input is not known: {why}."
        return f"NOT AN INPUT THAT THE NETWORK WAS MADE FOR ({self.intended}): {why}. Do not rely on the result."

    @property
    def short(self) -> str:
        """A few words, for pictures and for fields of 64 letters; "" where there is nothing to warn of."""
        return _WARNING if self.outside else ""

    def to_json(self) -> dict[str, Any]:
        """As plain values, for reports."""
        return {
            "status": self.status,
            "reasons": list(self.reasons),
            "causes": list(self.causes),
            "intended": self.intended,
            "modality": self.facts.modality,
            "sequence": self.facts.sequence,
            "slices": self.slices,
            "flagged_slices": self.flagged,
            "distance": None if self.distance is None else round(self.distance, 3),
        }


def check_input(
    intended: IntendedInputs | None, slices: np.ndarray, facts: SeriesFacts | Sequence[SeriesFacts] = SeriesFacts()
) -> InputCheck:
    """Compare an input with those of the training.

    It is outside when its header or name says another modality or sequence, when its field of view is below 0.75 or
    above 1.35 times those of the training, when its pixels are more than twice as long as wide (a volume that is cut
    across the slices that were made, as they lie along another axis than the last), when a NIfTI file does not tell how
    it lies, when its one slice (or most of two
    or three) looks unlike the training's, or when the median slice of its volume does.

    Args:
        intended: what the network was made for; None where nothing is recorded.
        slices: (S, H, W) as read; of an input of several images (images * S, H, W), those of the first image first.
        facts: what the input says of itself; of several images those of each.
    """
    told = [facts] if isinstance(facts, SeriesFacts) else list(facts)
    if intended is None:
        return InputCheck("unknown", ("nothing is recorded beside its weights",), facts=told[0])
    images = len(intended.sequences)
    told = told if len(told) == images else [told[0]] + [SeriesFacts()] * (images - 1)
    found: list[tuple[str, str]] = []
    for one, sequence in zip(told, intended.sequences, strict=True):
        found += _by_header(intended, one, sequence)
    parts = np.split(slices, images) if images > 1 else [slices]
    looked_at, flagged, distances = 0, 0, []
    for part, appearance, sequence in zip(parts, intended.appearances, intended.sequences, strict=True):
        features = features_of(part)
        if not len(features):
            continue
        away, far, reason = _by_appearance(features, appearance, sequence if images > 1 else "")
        looked_at, flagged = looked_at + len(features), flagged + far
        distances.append(away)
        found += [("appearance", reason)] if reason else []
    distance = max(distances) if distances else None
    causes, reasons = tuple(cause for cause, _ in found), tuple(reason for _, reason in found)
    status: Status = "outside" if found else "intended"
    if not found and distance is None:
        status, reasons = "unknown", ("no slice shows enough to be compared",)
    return InputCheck(status, reasons, looked_at, flagged, distance, intended.description, told[0], causes)


def features_of(slices: np.ndarray, most: int = _MOST) -> np.ndarray:
    """Features (N, F) of up to `most` evenly spread slices that show something."""
    count = len(slices)
    chosen = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
    found = [slice_features(view) for view in network_view(slices[chosen])]
    kept = [features for features in found if features is not None]
    return np.array(kept) if kept else np.empty((0, 0))


def _by_header(intended: IntendedInputs, facts: SeriesFacts, sequence: str) -> list[tuple[str, str]]:
    """Cause and reason of what does not fit."""
    reasons = []
    if facts.modality and intended.modality and facts.modality != intended.modality:
        reasons.append(("modality", f"its modality is {facts.modality}, not {intended.modality}"))
    if facts.sequence and sequence and facts.sequence != sequence:
        wanted = SEQUENCE_NAMES.get(sequence, sequence)
        reasons.append(("sequence", f"it is {facts.sequence_text}, not {wanted} ({facts.because})"))
    if facts.field_of_view_mm is not None and intended.field_of_view_mm is not None:
        low, high = intended.field_of_view_mm[0] * _SMALLER, intended.field_of_view_mm[1] * _LARGER
        if not low <= facts.field_of_view_mm <= high:
            text = f"its field of view is {facts.field_of_view_mm:.0f} mm, not {low:.0f} to {high:.0f} mm"
            reasons.append(("field of view", text))
    if facts.pixel_mm is not None and facts.pixel_mm[1] > _LONG_PIXEL * facts.pixel_mm[0]:
        short, long = facts.pixel_mm
        text = (
            f"it is cut across the acquired slices, into pixels of {short:.2g} x {long:.2g} mm; store the volume with "
            "its slices along the last axis, or give slice_axis"
        )
        reasons.append(("cut", text))
    if intended.placed and not facts.placed:
        text = (
            "its file does not state its orientation (sform_code and qform_code are 0), so its slices may be upside "
            "down, and left and right are guessed; write its affine into its header"
        )
        reasons.append(("place", text))
    return reasons


def _by_appearance(features: np.ndarray, appearance: Appearance, sequence: str) -> tuple[float, int, str]:
    """Distance in units of the threshold, number of flagged slices, and why it is outside ("" if it is not)."""
    distances = appearance.distance(features)
    far = int((distances > appearance.slice_threshold).sum())
    volume = len(distances) >= _VOLUME
    threshold = appearance.volume_threshold if volume else appearance.slice_threshold
    distance = float(np.median(distances)) / threshold
    if distance <= 1:
        return distance, far, ""
    what = f"the image of {sequence} " if sequence else ""
    strange = ", ".join(f"{name} {value:+.1f}" for name, value in appearance.strangest(features))
    shown = f"{what}its slices look" if volume else f"{what}it looks"
    return distance, far, f"{shown} unlike those of the training ({distance:.1f} times the limit; {strange} SD)"
