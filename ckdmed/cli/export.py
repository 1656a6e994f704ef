"""`ckdmed export`: write a trained bundle in the layout of the MONAI Model Zoo."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ckdmed.cli.overwriting import add_output_dir, refuse_existing

NAME = "export"
HELP = "write a trained bundle in the layout of the MONAI Model Zoo, and check it by the zoo's rules"
EXAMPLES = (
    "ckdmed export --bundle seg_kd --checkpoint output/models/model.pt --output_dir brain_tumour_seg_kd --archive",
    "ckdmed export --bundle cls_kd --checkpoint model.pt --output_dir tumour_type --evaluation evaluation/summary.json",
)
STATUSES = {1: "a check failed; nothing is written"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--bundle", required=True, help="seg_kd, seg_teacher, cls_kd ..., or the folder of one")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the trained network, such as model.pt of a run")
    add_output_dir(parser, "folder to write; its name (brain_tumour_seg_kd) is the bundle's", "--output")
    parser.add_argument("--teacher-checkpoint", type=Path, help="a teacher to ship for further training")
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="setting to write into the configurations, such as threshold=0.4; may be repeated. What the record of the "
        "checkpoint tells (model.json beside it, or settings.json of its run), such as sizes, need not be given",
    )
    parser.add_argument(
        "--evaluation", type=Path, help="summary.json of an evaluation of this checkpoint, for the docs"
    )
    parser.add_argument(
        "--archive",
        action="store_true",
        help="also write NAME_vVERSION.zip beside the folder, for `monai.bundle download --url`",
    )
    parser.add_argument("--large-files-url", help="address under which files over 25 MB will be published")
    parser.add_argument("--schema", type=Path, help="a copy of the metadata schema (default: our statement of it)")
    parser.add_argument("--force", action="store_true", help="replace an exported bundle that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Export and check.

    Returns:
        0 when the bundle is written and passes; 1 when a check failed, and nothing is written.
    """
    from ckdmed.bundle_files import named_bundle
    from ckdmed.export import export_bundle
    from ckdmed.export.archive import archive_of, write_archive

    bundle = named_bundle(args.bundle)
    if args.archive:
        refuse_existing(archive_of(args.output_dir.absolute(), bundle / "metadata.json"), args.force)
    result = export_bundle(
        bundle,
        args.checkpoint,
        args.output_dir,
        teacher_checkpoint=args.teacher_checkpoint,
        overrides=dict(_pair(text) for text in args.override),
        evaluation=args.evaluation,
        large_files_url=args.large_files_url,
        schema=args.schema,
        force=args.force,
        progress=not args.quiet,
    )
    width = max(len(check.name) for check in result.checks)
    for check in result.checks:
        print(f"{check.name:<{width}}  {'passed' if check.passed else 'FAILED'}  {check.detail}")
    if not result.passed:
        print(f"nothing is written to {result.folder}")
        return 1
    for path in result.large_files:
        print(f"notice: {path} is over 25 MB and stands in {result.large_folder}; copy it back to run the bundle")
    if result.large_files and not args.large_files_url:
        print("notice: large_files.yml has no addresses yet; fill in 'url', or export with --large-files-url")
    print(f"the bundle is in {result.folder}")
    if args.archive:
        print(f"archive: {write_archive(result.folder, args.force)}")
    return 0


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"--override takes KEY=VALUE, such as student_base=8; got '{text}'.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
