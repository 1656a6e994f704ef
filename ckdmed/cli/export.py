"""`ckdmed export`: write a trained bundle in the layout of the MONAI Model Zoo."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckdmed.cli.overwriting import add_output_dir, refuse_existing

NAME = "export"
HELP = "write a trained bundle in the MONAI Model Zoo layout and check it against the zoo's rules"
EXAMPLES = (
    "ckdmed export path/to/run --output_dir brain_tumour_seg_kd --archive",
    "ckdmed export --bundle cls_kd --checkpoint model.pt --output_dir tumour_type --evaluation evaluation/summary.json",
)
STATUSES = {1: "a check failed; nothing is written"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "source", nargs="?", metavar="RUN", help="a run's output folder, a bundle's folder, or a bundle's name"
    )
    parser.add_argument("--bundle", help="instead of RUN: seg_kd, cls_kd ..., or a bundle's folder; needs --checkpoint")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="other weights than its models/model.pt")
    add_output_dir(parser, "folder to write; the bundle is named after it (brain_tumour_seg_kd)", "--output")
    parser.add_argument(
        "--teacher_checkpoint", "--teacher-checkpoint", type=Path, help="teacher to include for further training"
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="setting to write to the configurations, such as threshold=0.4; repeatable. Settings in the checkpoint's "
        "record (model.json beside it, or settings.json of its run), such as sizes, need not be given",
    )
    parser.add_argument(
        "--config_file",
        "--config-file",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="configuration (JSON or YAML) that the run was trained with beside the bundle's own, such as one with a "
        "network of your own; its entries are written to the configurations. Repeatable",
    )
    parser.add_argument("--evaluation", type=Path, help="summary.json of this checkpoint's evaluation, for the docs")
    parser.add_argument(
        "--archive",
        action="store_true",
        help="also write NAME_vVERSION.zip beside the folder, for `monai.bundle download --url`",
    )
    parser.add_argument("--large-files-url", help="URL where files over 25 MB will be published")
    parser.add_argument("--schema", type=Path, help="copy of the metadata schema (default: the one in this package)")
    parser.add_argument("--force", action="store_true", help="replace an existing exported bundle")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Export and check.

    Returns:
        0 when the bundle is written and passes; 1 when a check failed, and nothing is written.
    """
    from ckdmed.export import export_bundle
    from ckdmed.export.archive import archive_of, write_archive

    bundle, checkpoint = _bundle_and_weights(args)
    if args.archive:
        refuse_existing(archive_of(args.output_dir.absolute(), bundle / "metadata.json"), args.force)
    result = export_bundle(
        bundle,
        checkpoint,
        args.output_dir,
        teacher_checkpoint=args.teacher_checkpoint,
        overrides={**_entries(args.config_file), **dict(_pair(text) for text in args.override)},
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
        print(f"notice: {path} is over 25 MB and lies in {result.large_folder}; copy it back to run the bundle")
    if result.large_files and not args.large_files_url:
        print("notice: large_files.yml has no addresses yet; fill in 'url', or export with --large-files-url")
    print(f"the bundle is in {result.folder}")
    if args.archive:
        print(f"archive: {write_archive(result.folder, args.force)}")
    return 0


def _bundle_and_weights(args: argparse.Namespace) -> tuple[Path, Path]:
    """As `deploy` and `prune` are given them; or the configurations of a bundle, and any weights."""
    from ckdmed.bundle.given_run import bundle_and_weights
    from ckdmed.bundle_files import named_bundle

    if (args.source is None) == (args.bundle is None):
        raise ValueError("give a run, or a bundle, such as `ckdmed export path/to/run`; --bundle takes its place.")
    if args.bundle is not None:
        if args.checkpoint is None:
            raise ValueError(
                "--bundle says whose configurations are written, and --checkpoint which weights: give both, or a run's "
                "output folder alone."
            )
        return named_bundle(args.bundle), args.checkpoint
    root, weights = bundle_and_weights(args.source, args.checkpoint)
    if not (root / "train.json").is_file():
        raise ValueError(
            f"{args.source}: is already exported; copy it, or give the ckdmed bundle that it was made from."
        )
    return root, weights


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"--override takes KEY=VALUE, such as student_base=8; got '{text}'.")
    try:
        return key, json.loads(value)
    except ValueError as error:
        if value.lstrip()[:1] in ("{", "["):
            raise ValueError(
                f"--override {key}: '{value}' is no JSON ({error}); write it in full, or give a file that has "
                f"{key} with --config_file."
            ) from error
        return key, value


def _entries(files: Sequence[Path]) -> dict[str, Any]:
    """Those of configurations, of later ones instead of those of earlier ones."""
    from monai.bundle import ConfigParser

    found: dict[str, Any] = {}
    for file in files:
        if not file.is_file():
            raise ValueError(f"--config_file: there is no file '{file}'.")
        try:
            read = ConfigParser.load_config_file(file)
        except Exception as error:
            # of the libraries that read JSON and YAML, each with errors of its own
            raise ValueError(f"--config_file: '{file}' cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(read, dict):
            raise ValueError(f"--config_file: '{file}' holds no entries by name, but a {type(read).__name__}.")
        found.update(read)
    return found
