"""Record what inputs a network was made for, and say of inputs whether they are such."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.overwriting import add_force, refuse_existing
from ckdmed.counted import counted

NAME = "intended-inputs"
HELP = "record what a checkpoint's training inputs look like, or check which inputs differ from them"
EXAMPLES = (
    "ckdmed intended-inputs record path/to/figshare --checkpoint my_run/models/model.pt --sequence t1c",
    "ckdmed intended-inputs check new=path/to/scans other='lgg/*/*_flair.nii.gz'",
)
STATUSES = {1: "the table lacks inputs that could not be read; each is listed"}

_SECTIONS = ("train", "validation")


def _data_set(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    what = parser.add_subparsers(title="what", dest="what", metavar="<what>", required=True)
    record = what.add_parser("record", help="write model.inputs.json beside model.pt, from its training data")
    record.add_argument(
        "dataset_dir", help="folder of Figshare files, or a datalist: the --dataset_dir of the training"
    )
    record.add_argument("--checkpoint", type=Path, required=True, help="weights that the record is for")
    record.add_argument(
        "--sequence",
        default="",
        choices=("", "t1n", "t1c", "t2w", "t2f"),
        help="MR sequence of the inputs (default: unknown)",
    )
    record.add_argument("--description", default="MR slices", help="description of the inputs (default: %(default)s)")
    record.add_argument("--data", default="", help="description of the data (default: the folder's name)")
    record.add_argument(
        "--field-of-view-mm", type=float, nargs=2, metavar=("LEAST", "MOST"), help="field of view of the slices"
    )
    record.add_argument("--split-seed", type=int, default=0, help="split_seed of the training (default: %(default)s)")
    record.add_argument(
        "--slice-axis", default="-1", help="slice_axis of the training, for volumes (default: %(default)s)"
    )
    add_force(record, "a record")
    record.add_argument("--quiet", action="store_true", help="no progress bar")
    check = what.add_parser("check", help="print a table of how many inputs of each data set are flagged")
    check.add_argument(
        "data_sets",
        type=_data_set,
        nargs="+",
        metavar="NAME=PATH",
        help="a file, a folder, a datalist, or a pattern such as 'lgg/*/*_flair.nii.gz'",
    )
    check.add_argument(
        "--checkpoint", type=Path, help="weights whose record is used (default: those of the bundle seg_kd)"
    )
    check.add_argument("--section", default="test", help="section of datalists (default: %(default)s)")
    check.add_argument("--output", type=Path, metavar="FILE.md", help="also write the table to this file")
    add_force(check, "a table")
    check.add_argument("--quiet", action="store_true", help="no progress bar, and no line per flagged input")


def run(args: argparse.Namespace) -> int:
    """Record or check.

    Returns:
        0; of a check 1 where an input could not be read.
    """
    return _record(args) if args.what == "record" else _check(args)


def _record(args: argparse.Namespace) -> int:
    import tempfile

    from tqdm import tqdm

    from ckdmed.data.slice_files import read_slices
    from ckdmed.intended_inputs import INPUTS_SUFFIX, fit_intended_inputs
    from ckdmed.sections.record import find_own_or_shipped
    from ckdmed.sections.slices import figshare_sections

    target = args.checkpoint.with_suffix(INPUTS_SUFFIX)
    refuse_existing(target, args.force, lambda path: path.name.endswith(INPUTS_SUFFIX))
    known = args.checkpoint.is_file() and find_own_or_shipped(args.checkpoint) is not None
    with tempfile.TemporaryDirectory() as nowhere:
        sections = figshare_sections(
            args.dataset_dir,
            nowhere,
            split_seed=args.split_seed,
            checkpoint=str(args.checkpoint) if known else None,
        )
    items = [item for name in _SECTIONS for item in sections[name]]
    axis = int(args.slice_axis) if args.slice_axis.lstrip("-").isdigit() else args.slice_axis
    # a volume's slices are items of their own, and are read with it
    images = {str(item["image"]): item["patient_group"] for item in items}
    with tqdm(total=len(images), desc="reading", unit="input", disable=args.quiet) as bar:
        intended = fit_intended_inputs(
            [((read_slices(path, axis)[0], str(group)) for path, group in images.items())],
            [args.sequence],
            args.description,
            args.data or f"{Path(args.dataset_dir).name}, sections {' and '.join(_SECTIONS)}",
            field_of_view_mm=None if args.field_of_view_mm is None else tuple(args.field_of_view_mm),
            each=lambda _: bar.update(),
        )
    intended.write(target)
    appearance = intended.appearances[0]
    print(f"{target}: of {counted(appearance.slices, 'slice')} of {counted(appearance.patients, 'patient')}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from ckdmed.bundle_files import bundle_folder
    from ckdmed.files import write_atomic
    from ckdmed.intended_inputs import IntendedInputs
    from ckdmed.intended_inputs.flag_table import count_flags, flag_table

    if args.output is not None:
        refuse_existing(args.output, args.force)
    checkpoint = args.checkpoint or bundle_folder("seg_kd") / "models/model.pt"
    intended = IntendedInputs.beside(checkpoint)
    if intended is None:
        raise ValueError(
            f"{checkpoint}: nothing is recorded beside it; write the record with ckdmed intended-inputs record."
        )
    counts, unread = [], 0
    for name, path in args.data_sets:
        found = count_flags(name, path, intended, args.section, progress=not args.quiet)
        counts.append(found)
        unread += len(found.unread)
        for reason in found.unread:
            print(f"skipped {reason}")
        for line in found.flagged if not args.quiet else ():
            print(line)
    table = flag_table(counts)
    print(table)
    if args.output is not None:
        write_atomic(args.output, lambda part: part.write_text(table + "\n", encoding="utf-8"))
    return 1 if unread else 0
