"""What the commands that look for cases have in common: options for what names do not tell, and files not used."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckdmed.data.input_walk import UnusedFiles

__all__ = ["add_mask_is", "add_modalities", "add_patients", "add_release", "patients_of", "print_unused"]


def add_mask_is(parser: argparse._ActionsContainer) -> None:
    """Declare `--mask-is`."""
    parser.add_argument(
        "--mask-is",
        choices=("label", "brain"),
        help="whether files called mask are tumour or brain masks (default: they are not used)",
    )


def add_modalities(parser: argparse._ActionsContainer) -> None:
    """Declare `--modalities`."""
    parser.add_argument(
        "--modalities", nargs="+", metavar="NAME", help="modalities that a case must have (default: all four)"
    )


def add_release(parser: argparse._ActionsContainer) -> None:
    """Declare `--release`."""
    parser.add_argument(
        "--release",
        help="release whose labels the masks have, if names do not tell: a year or decathlon (default: from names and "
        "labels; required if these are ambiguous)",
    )


def add_patients(parser: argparse._ActionsContainer) -> None:
    """Declare `--patients`."""
    parser.add_argument(
        "--patients",
        type=Path,
        metavar="CSV",
        help="table with columns case and patient, for cases whose names do not identify the patient",
    )


def patients_of(args: argparse.Namespace) -> dict[str, str]:
    """The table that was given, or none of any case."""
    from ckdmed.data.patient_table import read_patient_table

    return {} if args.patients is None else read_patient_table(args.patients)


def print_unused(unused: UnusedFiles) -> None:
    """A line for each cause."""
    for line in unused.lines():
        print(line)
