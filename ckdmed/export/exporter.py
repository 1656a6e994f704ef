"""One command from a trained bundle of the source tree to a folder that the Model Zoo can take."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from ckdmed.bundle.scans import BRATS_NAMES, made_like_brats
from ckdmed.bundle.trained import OF_PREDICTIONS, reads_record
from ckdmed.deployed_network import refuse_deployed
from ckdmed.export.checks import Check, check_bundle, check_sizes
from ckdmed.export.configs import (
    component_settings,
    is_plain,
    json_text,
    read_object,
    rewrite_configs,
)
from ckdmed.export.documents import exported_metadata, exported_readme, read_evaluation
from ckdmed.export.held import with_network_named
from ckdmed.export.large_files import LIMIT, move_large_files
from ckdmed.export.network_format import with_network_format
from ckdmed.export.own_components import check_own_components
from ckdmed.export.record import student_record, teacher_record
from ckdmed.export.torchscript import export_torchscript, scripting_problem
from ckdmed.export.undisturbed import undisturbed
from ckdmed.file_hash import sha256_of
from ckdmed.files import load_weights, save_weights
from ckdmed.folders import files_below, put_in_place, remove_leftover_folders, work_folder
from ckdmed.intended_inputs import INPUTS_SUFFIX, IntendedInputs
from ckdmed.networks.checkpoint import read_checkpoint, read_state_dict
from ckdmed.sections.record import find_own_or_shipped

__all__ = ["Export", "export_bundle"]

CONFIGS = ("inference.json", "train.json", "evaluate.json", "multi_gpu_train.json")
_FOLDERS = ("configs", "docs", "models")
_WEIGHTS = ("checkpoint", "teacher_checkpoint")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")


@dataclass(frozen=True)
class Export:
    """What an export came to.

    Attributes:
        folder: the bundle, or where it would have gone.
        checks: every check with its finding.
        large_files: what was moved out for its size, relative to the bundle.
        large_folder: where to.
    """

    folder: Path
    checks: tuple[Check, ...]
    large_files: tuple[Path, ...]
    large_folder: Path

    @property
    def passed(self) -> bool:
        """Whether the bundle was written: it is only when it passed every check."""
        return all(check.passed for check in self.checks)


def export_bundle(
    bundle: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    teacher_checkpoint: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    evaluation: str | os.PathLike[str] | None = None,
    large_files_url: str | None = None,
    schema: str | os.PathLike[str] | None = None,
    force: bool = False,
    size_limit: int = LIMIT,
    progress: bool = False,
) -> Export:
    """Write a trained bundle in the Model Zoo's layout, check it by the zoo's rules, and put it in place if it passed.

    The record of the checkpoint's training goes along as ``models/model.json``, without files and folders of this
    machine, and so does that of a teacher. Inference and evaluation read settings of the network and of its
    preprocessing there, so that other weights bring theirs; a further training begins with those of the checkpoint.

    Args:
        bundle: folder in the source tree, such as ``bundles/seg_kd``.
        checkpoint: the trained network.
        output: folder to write; its name, in snake_case of two words at least, is the bundle's name in the zoo.
        teacher_checkpoint: a teacher to ship for further training; inference never needs it.
        overrides: setting -> value to write into the configurations; of a checkpoint without a record, all that an
            inference would read there.
        evaluation: ``summary.json`` of an evaluation of this checkpoint, for the README and ``eval_metrics``.
        large_files_url: where files over the limit will be published; they are moved to ``<output>_large_files``.
        schema: a copy of the metadata's schema to use instead of the package's.
        force: replace an exported bundle that is there.
        size_limit: of one file, in bytes.
        progress: show a bar over the checks.

    Raises:
        FileNotFoundError: a file of the bundle, or a checkpoint, is missing.
        FileExistsError: the output exists; or, with ``force``, is no exported bundle, or holds what it is made of, or
            results of its own.
        ValueError: a bad name, a damaged checkpoint or a deployed file, an unknown setting, one that contradicts the
            record of the checkpoint, no record, figures of another checkpoint.
    """
    bundle, checkpoint, output = Path(bundle), Path(checkpoint), Path(output).absolute()
    large_folder = output.with_name(f"{output.name}_large_files")
    sources = [Path(path) for path in (bundle, checkpoint, teacher_checkpoint, evaluation, schema) if path is not None]
    remove_leftover_folders(output.parent, [output.name, large_folder.name])
    _refuse_existing(output, "configs/metadata.json", sources, force)
    # without --force it may be what a killed export had put there; it is compared in the end
    _refuse_existing(large_folder, "models", sources, force=True)
    if not _NAME.fullmatch(output.name):
        raise ValueError(
            f"'{output.name}' is not a name for a bundle of the zoo: use lower-case words joined by underscores, such "
            "as brain_tumour_seg_kd."
        )
    for weights in (checkpoint, teacher_checkpoint):
        refuse_deployed(weights, "exported as a bundle")
    for option, file in (("evaluation", evaluation), ("schema", schema)):
        if file is not None and not Path(file).is_file():
            raise FileNotFoundError(f"--{option}: there is no file '{file}'.")
    for name in _WEIGHTS:
        if name in (overrides or {}):
            raise ValueError(
                f"--override {name}: an exported bundle has its weights in its own folder; give --{name} instead, and "
                "they are copied there."
            )
    summary = None if evaluation is None else read_evaluation(Path(evaluation), checkpoint)
    output.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(output) as temporary:
        folder, large = temporary / output.name, temporary / large_folder.name
        _write_files(folder, bundle, checkpoint, teacher_checkpoint, overrides or {}, summary)
        checks = check_bundle(folder, None if schema is None else Path(schema), progress=progress)
        moved = move_large_files(folder, large, large_files_url, size_limit)
        checks.append(check_sizes(folder, size_limit))
        result = Export(output, tuple(checks), tuple(moved), large_folder)
        if result.passed:
            # another process may have been faster
            _refuse_existing(output, "configs/metadata.json", sources, force)
            _put_both_in_place((folder, output), (large, large_folder), force)
        return result


def _refuse_existing(target: Path, marker: str, sources: Sequence[Path], force: bool) -> None:
    if not os.path.lexists(target):
        return
    if not force:
        raise FileExistsError(f"'{target}' exists; name another folder, or replace it with --force.")
    if target.is_symlink() or not target.is_dir() or (any(target.iterdir()) and not (target / marker).exists()):
        raise FileExistsError(f"'{target}' is not an exported bundle; it is not replaced even with --force.")
    # by default the bundle's own trainings and inferences go there, to output
    if kept := sorted(path.name for path in target.iterdir() if path.is_dir() and path.name not in _FOLDERS):
        raise FileExistsError(
            f"'{target}' holds {', '.join(kept)}, which no export wrote; it is not replaced even with --force. Move "
            "that elsewhere, or name another folder."
        )
    for source in sources:
        if source.resolve().is_relative_to(target.resolve()):
            raise FileExistsError(f"'{target}' holds {source}, from which the export is made; name another folder.")


def _put_both_in_place(bundle: tuple[Path, Path], large: tuple[Path, Path], force: bool) -> None:
    """The bundle comes last: where it stands, the large files that belong to it do."""
    files, place = large
    if place.exists() and not force:
        # an export was killed between the two: it had the same files, or it was one of something else
        if not _same_files(files, place):
            raise FileExistsError(f"'{place}' exists and holds other files; move it, or replace it with --force.")
    elif files.exists():
        put_in_place(files, place)
    elif place.exists():
        shutil.rmtree(place)
    put_in_place(*bundle)


def _same_files(one: Path, other: Path) -> bool:
    names = files_below(one) if one.exists() else []
    return names == files_below(other) and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names)


def _write_files(
    folder: Path,
    bundle: Path,
    checkpoint: Path,
    teacher_checkpoint: str | os.PathLike[str] | None,
    overrides: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
) -> None:
    for name in (*CONFIGS, "metadata.json", "logging.conf", "LICENSE", "docs/README.md", "docs/data_license.txt"):
        if not (bundle / name).is_file():
            raise FileNotFoundError(f"'{bundle}' lacks {name}; an exported bundle needs it.")
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True)
    readme = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    # a bundle that was installed or copied elsewhere is still called so in its documents
    named = re.search(r"--config_file (\S+)/train\.json", readme)
    source = named[1] if named else "/".join(bundle.absolute().parts[-2:])

    configs = {name: read_object(bundle / name) for name in CONFIGS}
    teacher = None if teacher_checkpoint is None else Path(teacher_checkpoint)
    trained = student_record(configs, checkpoint, overrides)
    taught = None if teacher is None else teacher_record(configs["train.json"], teacher, overrides)
    sizes, shown = _sizes(configs["inference.json"], trained), _as_shown(configs["inference.json"], checkpoint)
    settings = {**sizes, **shown, **overrides}
    rewritten = rewrite_configs(configs, source, settings, trained, taught)
    own = bundle / "models" / "model.pt"
    shipped = own.is_file() and checkpoint.is_file() and sha256_of(own) == sha256_of(checkpoint)
    stated = with_network_format(read_object(bundle / "metadata.json"), rewritten["inference.json"])
    metadata = exported_metadata(stated, summary, shipped)
    for name, config in {**rewritten, "metadata.json": metadata}.items():
        (folder / "configs" / name).write_text(json_text(config), encoding="utf-8")
    shutil.copyfile(bundle / "logging.conf", folder / "configs" / "logging.conf")
    shutil.copyfile(bundle / "LICENSE", folder / "LICENSE")
    shutil.copyfile(bundle / "docs" / "data_license.txt", folder / "docs" / "data_license.txt")
    inference = {
        name: trained[name] if reads_record(value) else value for name, value in rewritten["inference.json"].items()
    }
    readme = exported_readme(readme, source, summary, shipped, inference)

    # so that weights which are taken out of the exported bundle tell it, too
    names = {BRATS_NAMES: made_like_brats(str(checkpoint))} if "brain" in configs["inference.json"] else {}
    _write_weights(checkpoint, folder / "models" / "model.pt", trained, names)
    if (inputs := IntendedInputs.beside(checkpoint)) is not None:
        record = json_text(read_object(inputs.path))
        (folder / "models" / f"model{INPUTS_SUFFIX}").write_text(record, encoding="utf-8")
    if teacher is not None:
        _write_weights(teacher, folder / "models" / "teacher.pt", taught or {})
    with undisturbed():
        parser = ConfigParser()
        parser.read_config(str(folder / "configs" / "inference.json"))
        check_own_components(parser, checkpoint, overrides)
        network = parser.get_parsed_content("network_def")
        if not isinstance(network, nn.Module):
            raise ValueError(f"network_def gives a {type(network).__name__}, not a network; write it as a component.")
        _check_fit(network, folder / "models" / "model.pt", checkpoint, source)
        readme = with_network_named(readme, folder.name, network, parser, shipped)
        (folder / "docs" / "README.md").write_text(readme, encoding="utf-8")
        # some networks cannot be scripted, which the zoo allows; the check of the bundle says so
        if scripting_problem(network) is None:
            export_torchscript(folder)


def _check_fit(network: nn.Module, weights: Path, checkpoint: Path, source: str) -> None:
    try:
        network.load_state_dict(load_weights(weights))
    except RuntimeError as error:
        # the first line says that there are errors, the second is the first of them
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ValueError(
            f"'{checkpoint}' is of another network than {source}: {lines[min(1, len(lines) - 1)]} If it is of another "
            "size, give its settings with --override (its run's settings.json holds them)."
        ) from error


def _sizes(inference: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """What the network and its input depend on, as the checkpoint has it: a further training begins with it, too."""
    found = component_settings(inference, ("network_def", "preprocessing"))
    # how predictions are made belongs to an inference with these weights, not to a training or an evaluation
    read = [name for name, value in inference.items() if reads_record(value) and name not in OF_PREDICTIONS]
    # an expression of other settings stays one, even where a setting of the training has its name: the modalities of a
    # student of one sequence are not those of its teachers
    plain = {name: trained.get(name, value) for name, value in found.items() if is_plain(value)}
    return {
        **{name: value for name, value in plain.items() if is_plain(value)},
        **{name: trained[name] for name in read},
    }


def _as_shown(inference: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """How scans are shown to a network whose training had none with a BraTS name: whom it knew is not exported."""
    as_they_are = {"brain": "nonzero", "field_of_view": None, "spacing": None}
    if not as_they_are.keys() <= inference.keys() or made_like_brats(str(checkpoint)):
        return {}
    return as_they_are


def _write_weights(
    source: Path, target: Path, settings: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> None:
    """Copy a plain state dict as it is, take the network out of any other checkpoint; and write the record beside."""
    held, state = read_checkpoint(source), read_state_dict(source)
    if source.suffix != ".safetensors" and isinstance(held, Mapping) and held.keys() == state.keys():
        shutil.copyfile(source, target)
    else:
        save_weights(target, state)
    record: dict[str, Any] = {"sha256": sha256_of(target), "settings": settings, **(facts or {})}
    # whom a user's own weights know is nobody else's business
    if (known := find_own_or_shipped(source)) is not None and known.shipped:
        record["sections"] = known.content()
    target.with_suffix(".json").write_text(json_text(record), encoding="utf-8")
