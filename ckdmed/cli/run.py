"""`ckdmed run`: a bundle's training, evaluation or inference, from any folder, by the bundle's name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ckdmed.bundle_files import bundle_configs
from ckdmed.cli.exit_status import FOUND, SKIPPED
from ckdmed.cli.exit_status import STATUSES as _SHARED
from ckdmed.cli.exit_status import TERMINATED

NAME = "run"
HELP = "train, evaluate or run inference with a bundle, given by name or folder; pass any setting as --NAME VALUE"
EXAMPLES = (
    "ckdmed run seg_kd train",
    "ckdmed run seg_kd train --dataset_dir path/to/figshare --epochs 30 --output_dir my_run",
    "ckdmed run seg_kd evaluate --checkpoint my_run/models/model.pt --dataset_dir path/to/figshare",
    "ckdmed run seg_kd infer --dataset_dir path/to/scans --output_dir masks",
    "ckdmed run path/to/my_bundle train --config_file my_settings.json",
    "ckdmed run seg_kd train --help",
)
STATUSES = {
    FOUND: "an error during the run, with its traceback and the cause as the last line",
    SKIPPED: _SHARED[SKIPPED],
    TERMINATED: _SHARED[TERMINATED],
}

#: workflow -> the bundle's files that MONAI merges for it, a later one over an earlier one
WORKFLOWS: dict[str, tuple[str, ...]] = {
    "train": ("train.json",),
    "evaluate": ("train.json", "evaluate.json"),
    "infer": ("inference.json",),
}
_FILE = "--config_file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command; the settings are checked by the bundle."""
    parser.add_argument("bundle", help="seg_kd, seg_teacher, cls_kd ..., or a bundle's folder, exported or not")
    parser.add_argument("workflow", choices=tuple(WORKFLOWS), help="what to do")
    parser.add_argument(
        "settings",
        nargs=argparse.REMAINDER,
        metavar="--NAME VALUE",
        help=f"settings of the bundle (`ckdmed settings BUNDLE` lists them); {_FILE} FILE merges your own JSON file "
        "over the bundle's configuration and is repeatable",
    )


def run(args: argparse.Namespace) -> int:
    """Run the workflow as `python -m monai.bundle run` does.

    Returns:
        0, or 1 after an error while it ran. An inference that skipped inputs ends in SystemExit.

    Raises:
        ValueError: there is no such bundle or workflow; a word is no setting; what the bundle refuses before it runs.
    """
    words = list(args.settings)
    if "--debug" in words:
        words.remove("--debug")
        args.debug = True
    configs = bundle_configs(args.bundle)
    if {"-h", "--help"} & set(words):
        from ckdmed.bundle.settings_list import settings_text

        print(f"usage: ckdmed run {args.bundle} {args.workflow} [--NAME VALUE ...]\n\n{settings_text(args.bundle)}")
        return 0
    overlays, settings = _parted(words)
    files = [configs / name for name in WORKFLOWS[args.workflow]]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise ValueError(f"'{args.bundle}' has no workflow '{args.workflow}': there is no {', '.join(missing)}.")
    files += [_overlay(name, configs) for name in overlays]

    from ckdmed.bundle.command import run_bundle

    return run_bundle(files, settings, getattr(args, "debug", False))


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of every ``--config_file``, and the other words.

    Raises:
        ValueError: a word that is neither a setting's name nor its value; ``--config_file`` without a file.
    """
    files, settings = [], []
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise ValueError(f"'{name}' is neither a setting nor the value of one; settings are given as --NAME VALUE.")
        given = [value] if equals else [rest.pop(0)] if rest and not rest[0].startswith("--") else []
        if name == _FILE:
            if not given:
                raise ValueError(f"{_FILE} takes the name of a JSON file.")
            files += given
        else:
            settings += [f"{name}={value}"] if equals else [name, *given]
    return files, settings


def _overlay(name: str, configs: Path) -> Path:
    """A file by its path, else one of the bundle's own, such as ``multi_gpu_train.json``.

    Raises:
        ValueError: there is neither.
    """
    for path in (Path(name), configs / name):
        if path.is_file():
            return path
    raise ValueError(f"there is no file '{name}', neither from here nor in {configs}.")
