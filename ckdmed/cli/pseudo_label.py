"""`ckdmed pseudo-label`: masks for images that have none, by several networks together."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.cli.exit_status import FOUND
from ckdmed.counted import counted

NAME = "pseudo-label"
HELP = "pseudo-label the unlabelled training images or cases of a datalist with several networks, with an audit"
EXAMPLES = (
    "ckdmed pseudo-label datalist.json --models a/model.pt b/model.pt c/model.pt --output_dir labelled",
    "ckdmed pseudo-label datalist.json --models a.pt b.pt --min_confidence 0.8 --min_agreement 0.7 --output_dir out",
    "ckdmed pseudo-label brats --models volumes/models/model.pt slices/models/model.pt --output_dir labelled",
    "ckdmed pseudo-label labelled --check",
)
STATUSES = {FOUND: "with --check: files have changed since the labels were made; each is listed"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "datalist", type=Path, help="datalist of your own images or of BraTS cases; with --check, a folder of labels"
    )
    parser.add_argument("--models", type=Path, nargs="+", default=[], help="checkpoints of the networks")
    parser.add_argument(
        "--output_dir", "--out", type=Path, help="new folder for copies of images and masks, with their datalist"
    )
    parser.add_argument(
        "--average",
        choices=("prob", "logit"),
        default="prob",
        help="what is averaged over the networks: probabilities or logits (default: prob)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--hard", action="store_true", help="labels are masks (default)")
    kind.add_argument("--soft", action="store_true", help="labels are the averaged probabilities (not for cases)")
    parser.add_argument(
        "--min_confidence",
        "--min-confidence",
        type=float,
        default=0.5,
        help="lowest probability of a voxel in the mask, 0.5 to 1",
    )
    parser.add_argument(
        "--min_agreement",
        "--min-agreement",
        type=float,
        default=0.0,
        help="images with less agreement between the networks stay unlabelled (mean pairwise Dice; for a case, of its "
        "worst region)",
    )
    parser.add_argument("--check", action="store_true", help="compare a folder of labels with its manifest")


def run(args: argparse.Namespace) -> int:
    """Label, or check.

    Returns:
        0, or 1 where a check found something.
    """
    from ckdmed.pseudo_labels import PseudoLabelSettings, check_pseudo_labels, write_pseudo_labels

    if args.check:
        problems = check_pseudo_labels(args.datalist)
        for problem in problems:
            print(problem)
        print(f"{args.datalist}: {counted(len(problems), 'problem')}")
        return FOUND if problems else 0
    if args.output_dir is None:
        raise ValueError("give --output_dir, a new folder for what is written.")
    settings = PseudoLabelSettings(args.average, args.min_confidence, args.min_agreement, args.soft)
    manifest = write_pseudo_labels(args.datalist, args.models, args.output_dir, settings)
    labelled = sum("label" in entry for entry in manifest["images"])
    cases = "case" in manifest["images"][0]
    total = counted(len(manifest["images"]), "case" if cases else "image")
    print(f"{labelled} of {total} labelled: {args.output_dir / 'audit.csv'}")
    bundle, data = ("brats_seg_kd", args.output_dir) if cases else ("seg_kd", args.output_dir / "datalist.json")
    print(f"train on them with: ckdmed run {bundle} train --dataset_dir {data}")
    return 0
