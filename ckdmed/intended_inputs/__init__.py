"""What inputs a network was made for, recorded beside its weights, and whether an input is one of them."""

from __future__ import annotations

from ckdmed.intended_inputs.check import InputCheck, check_input
from ckdmed.intended_inputs.fit import fit_intended_inputs, intended_inputs_of
from ckdmed.intended_inputs.record import INPUTS_SUFFIX, IntendedInputs
from ckdmed.intended_inputs.series_facts import SEQUENCE_NAMES, SeriesFacts, facts_of_slices, series_facts

__all__ = [
    "INPUTS_SUFFIX",
    "SEQUENCE_NAMES",
    "InputCheck",
    "IntendedInputs",
    "SeriesFacts",
    "check_input",
    "facts_of_slices",
    "fit_intended_inputs",
    "intended_inputs_of",
    "series_facts",
]
