"""Segment the tumours of any mix of patients."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.exit_status import SKIPPED
from ckdmed.cli.exit_status import STATUSES as SHARED
from ckdmed.counted import counted

NAME = "segment"
HELP = "segment tumours in patients' scans (DICOM, NIfTI, slices): masks, volumes, overlays, DICOM results, one table"
EXAMPLES = (
    "ckdmed segment path/to/scans -o results",
    "ckdmed segment path/to/scans -o results --checkpoint output/models/model.pt",
)
STATUSES = {SKIPPED: SHARED[SKIPPED]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("source", type=Path, help="a folder of any mix of patients, one series, or one file")
    parser.add_argument(
        *("-o", "--output_dir", "--out", "--output-dir"),
        dest="output_dir",
        type=Path,
        metavar="FOLDER",
        required=True,
        help="folder for the results; finished ones are kept",
    )
    parser.add_argument("--bundle", default="seg_kd", help="a segmentation bundle with weights (default: %(default)s)")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights other than the bundle's: from your own training, or a file written by `ckdmed deploy`",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="redo results in the folder that were made with other weights or settings",
    )
    parser.add_argument(
        "--no-tta", action="store_true", help="do not average over mirror images: faster, less accurate"
    )
    parser.add_argument(
        "--no-dicom", action="store_true", help="do not write a DICOM Segmentation and report for DICOM series"
    )


def run(args: argparse.Namespace) -> int:
    """Segment all patients.

    Returns:
        0, or 3 where something was skipped.
    """
    from ckdmed.bundle_files import bundle_configs, bundle_folder, bundle_root
    from ckdmed.clinic import PatientResult, find_patients, segment_patients
    from ckdmed.clinic.run import TABLE
    from ckdmed.inference.job import SKIPPED as LIST_OF_SKIPPED
    from ckdmed.inference.several_images import refuse_several_images
    from ckdmed.inference.unrecorded import refuse_unrecorded
    from ckdmed.intended_inputs import IntendedInputs
    from ckdmed.json_files import read_json
    from ckdmed.research_use import RESEARCH_USE_ONLY

    bundle = bundle_folder(args.bundle) if args.bundle == "seg_kd" else bundle_configs(args.bundle)
    config = read_json(bundle / "inference.json")
    # without the masks of slices every patient would be one in whom nothing is marked
    if "class_names" in config:
        raise ValueError(f"{args.bundle}: its network classifies and makes no masks; give a bundle that segments.")
    if "slice_axis" not in config:
        raise ValueError(
            f"{args.bundle}: its network takes whole cases, not single series; segment these with `ckdmed run "
            f"{args.bundle} infer --dataset_dir CASES --output_dir RESULTS`."
        )
    settings: dict[str, object] = {"tta": False} if args.no_tta else {}
    weights = bundle_root(bundle) / "models/model.pt"
    if args.checkpoint is not None:
        weights = args.checkpoint.expanduser()
        if not weights.is_file():
            raise FileNotFoundError(
                f"{weights}: there are no such weights; a training leaves them in its output folder as models/model.pt."
            )
        settings["checkpoint"] = str(weights)
    refuse_unrecorded(bundle, weights)
    refuse_several_images(args.bundle, bundle, weights)
    intended = IntendedInputs.beside(weights)
    sequences = [] if intended is None else [sequence for sequence in intended.sequences if sequence]
    patients, skipped, unused = find_patients(args.source, sequences, exclude=args.output_dir)
    for patient in patients:
        for line in patient.passed_over:
            print(f"not taken: {patient.identifier}: {line}")
    results: list[PatientResult] = []
    if patients or skipped:
        results, skipped = segment_patients(
            patients,
            args.output_dir,
            bundle,
            settings,
            dicom=not args.no_dicom,
            each=lambda one: print(one.line),
            unread=skipped,
            replace=args.replace,
        )
    for entry in skipped:
        print(f"skipped: {entry.reason}")
    for line in unused.lines():
        print(line)
    outside = sum(result.intended == "outside" for result in results)
    listed = f" (listed in {args.output_dir / LIST_OF_SKIPPED})" if skipped else ""
    table = f"; {args.output_dir / TABLE}" if results else ""
    print(
        f"{counted(len(results), 'patient')} segmented, {outside} of them outside what the network was made for, "
        f"{counted(len(skipped), 'input')} skipped{listed}{table}. {RESEARCH_USE_ONLY}"
    )
    return SKIPPED if skipped else 0
