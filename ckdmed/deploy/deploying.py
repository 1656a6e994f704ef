"""From a run or bundle to a folder of deployed files, each judged and measured."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ckdmed.bundle.scored_data import check_scored_data
from ckdmed.counted import counted
from ckdmed.deploy.companions import copy_training_records
from ckdmed.deploy.deployment import Deployment, FormResult, form_files
from ckdmed.deploy.finetune import finetuned
from ckdmed.deploy.float_forms import FormError, as_function, write_onnx, write_openvino, write_torchscript
from ckdmed.deploy.held_out import BundleData, Run, bundle_data
from ckdmed.deploy.int8_forms import write_int8_onnx, write_int8_openvino
from ckdmed.deploy.measure import measured
from ckdmed.deploy.sensitive_layers import layer_errors, sensitive_layers
from ckdmed.deploy.source import DeploySource, find_source
from ckdmed.deploy.table import write_documents
from ckdmed.deploy.verdict import Changes, Limits, changes_of, problems
from ckdmed.deployed_network import refuse_deployed
from ckdmed.folders import put_in_place, remove_leftover_folders, work_folder
from ckdmed.runtime import open_form

__all__ = ["FORMATS", "DeployOptions", "deploy"]

#: name -> file
FORMATS = {
    "onnx": "model.onnx",
    "onnx-int8": "model-int8.onnx",
    "openvino": "model.xml",
    "openvino-int8": "model-int8.xml",
    "torchscript": "model.ts",
}


@dataclass(frozen=True)
class DeployOptions:
    """How to deploy.

    Args:
        formats: some of `FORMATS`.
        dataset_dir: of the bundle; int8 needs one, the others are judged on phantoms without.
        section: that forms are judged on.
        calibration: slices of the training section for int8.
        held_out: items to judge on at most, spread over the patients; all by default.
        limits: of the gate.
        force: write forms that fail.
        finetune: epochs of training through the quantisers where int8 fails; 0 for none.
        rounds: of the timing.
        measure: whether to time the forms at all.
    """

    formats: Sequence[str] = ("onnx",)
    dataset_dir: str | None = None
    section: str = "test"
    calibration: int = 100
    held_out: int | None = None
    limits: Limits = field(default_factory=Limits)
    force: bool = False
    finetune: int = 0
    rounds: int = 15
    measure: bool = True

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise ValueError(
                f"formats must be one or more of {', '.join(FORMATS)}, got {', '.join(unknown) or 'none'}."
            )
        int8 = any(name.endswith("int8") for name in self.formats)
        if self.dataset_dir is None and int8:
            raise ValueError("int8 is calibrated on real slices of the training section: give --dataset_dir.")
        for name, least in (("calibration", 1), ("rounds", 1), ("finetune", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if self.finetune and not int8:
            raise ValueError(
                "finetune trains int8 through quantisers, but the formats contain none; leave it out, or add onnx-int8."
            )
        if self.held_out is not None and self.held_out < 1:
            raise ValueError(f"held_out must be at least 1, got {self.held_out}.")


def deploy(
    given: str,
    output_dir: str | os.PathLike[str],
    options: DeployOptions,
    checkpoint: str | None = None,
    say: Callable[[str], None] = print,
) -> Deployment:
    """Write a network's deployed files into a new folder, with a table and a picture of what each costs and changes.

    Args:
        given, checkpoint: see `find_source`.
        output_dir: must not exist yet, or be empty.
        options: see there.
        say: told of each step.

    Raises:
        ValueError: see `find_source` and `DeployOptions`; a deployed file; FileExistsError: the folder is not empty.
        RefusedStart: no data are given for a network that was trained on some, see `check_scored_data`.
        ModuleNotFoundError: a form needs a package that is not installed.
    """
    _check_packages(options)
    output = Path(output_dir).absolute()
    _refuse_existing(output)
    refuse_deployed(checkpoint, "deployed again")
    source = find_source(given, checkpoint, options.dataset_dir)
    check_scored_data(options.dataset_dir, str(source.checkpoint))
    output.parent.mkdir(parents=True, exist_ok=True)
    remove_leftover_folders(output.parent, [output.name])
    with work_folder(output) as temporary:
        folder = temporary / output.name
        folder.mkdir()
        with bundle_data(source, options.dataset_dir, options.section) as data:
            forms = _forms(source, data, options, folder, say)
            inputs = data.inputs(data.held_out, as_function(source.network), 8)
        written = {form.name: folder / form.file for form in forms if form.written}
        costs = measured(source, written, inputs, options.rounds, say) if options.measure else None
        deployment = Deployment(source.bundle, options, source.description, forms, costs)
        write_documents(folder, deployment)
        _copy_companions(source, folder, [form.file for form in forms if form.written])
        # another process may have been faster
        _refuse_existing(output)
        put_in_place(folder, output)
    return deployment


def _refuse_existing(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"'{output}' exists and is not empty; name another --output_dir.")


def _check_packages(options: DeployOptions) -> None:
    """Before anything takes its time."""
    needed = {"onnxruntime": "onnx", "openvino": "openvino", "nncf": "openvino-int8"}
    wanted = [package for package, form in needed.items() if any(name.startswith(form) for name in options.formats)]
    if any("int8" in name for name in options.formats):
        # runs the layers one by one, to find those that int8 harms
        wanted.append("onnxruntime")
    if options.finetune:
        # NNCF needs torchao for what it has trained
        wanted += ["nncf", "torchao"]
    for package in wanted:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)


def _forms(
    source: DeploySource, data: BundleData, options: DeployOptions, folder: Path, say: Callable[[str], None]
) -> list[FormResult]:
    makers = _Makers(source, data, options, folder.parent / "float.onnx")
    results: dict[str, FormResult] = {}
    made = []
    for name in dict.fromkeys(options.formats):
        say(f"writing {name}")
        try:
            makers.write(name, folder / FORMATS[name])
            _run(folder / FORMATS[name])
            made.append(name)
        except FormError as error:
            say(f"{name}: {error}; the others continue")
            results[name] = FormResult(name, FORMATS[name], written=False, reasons=[str(error)])

    def judged(names: Sequence[str]) -> Iterator[tuple[str, Changes, list[str]]]:
        runs = {name: _run(folder / FORMATS[name]) for name in names}
        for name, changes in changes_of(runs, as_function(source.network), data, options.held_out).items():
            yield name, changes, problems(changes, options.limits)

    say(f"judging {counted(len(made), 'form')} on the section {data.section}")
    for name, changes, reasons in judged(made):
        results[name] = FormResult(name, FORMATS[name], True, reasons, changes)
    if failed := _failed_int8(results):
        say(f"looking for the layers that int8 harms most, for {', '.join(failed)}")
        layers, written = _with_float_layers(makers, failed, folder, say)
        for name, changes, reasons in judged(written):
            results[name] = FormResult(name, FORMATS[name], True, reasons, changes, layers, results[name].changes)
    if options.finetune and (failed := _failed_int8(results)):
        say(f"training {', '.join(failed)} through quantisers, {counted(options.finetune, 'epoch')}")
        try:
            layers = max((list(results[name].float_layers) for name in failed), key=len)
            trained = finetuned(source, data, failed, folder, options.finetune, options.calibration, layers)
        except FormError as error:
            say(f"{error}; the forms remain as they were")
        else:
            say(f"error of the int8 logits: {trained.before:.2g} before, {trained.after:.2g} after")
            for name, changes, reasons in judged(failed):
                before = results[name]
                results[name] = replace(
                    before,
                    reasons=reasons,
                    changes=changes,
                    finetuned=options.finetune,
                    before_finetuning=before.changes,
                    logit_errors=(trained.before, trained.after),
                )
    for name, result in results.items():
        if result.changes is not None and result.reasons and not options.force:
            say(f"{name} is not written: {'; '.join(result.reasons)}")
            result.written = False
            for file in form_files(folder / FORMATS[name]):
                file.unlink(missing_ok=True)
    return [results[name] for name in dict.fromkeys(options.formats)]


def _with_float_layers(
    makers: _Makers, names: Sequence[str], folder: Path, say: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """Write int8 forms again with the most sensitive layers in float32: these layers, and the forms that have them."""
    try:
        layers = makers.sensitive_layers()
    except FormError as error:
        say(f"{error}; all layers stay in int8")
        return [], []
    if not layers:
        say("int8 changes the output of no single layer; all layers stay in int8")
        return [], []
    say(f"{counted(len(layers), 'layer')} in float32: {', '.join(layers)}")
    written = []
    for name in names:
        try:
            makers.write(name, folder / FORMATS[name], layers)
            written.append(name)
        except FormError as error:
            say(f"{name}: {error}; all its layers stay in int8")
            # what was begun may lie in its place
            makers.write(name, folder / FORMATS[name])
    return layers, written


def _failed_int8(results: Mapping[str, FormResult]) -> list[str]:
    return [name for name, result in results.items() if result.changes and result.reasons and "int8" in name]


class _Makers:
    """Writes forms; what several of them need is made once, when the first asks for it."""

    def __init__(self, source: DeploySource, data: BundleData, options: DeployOptions, float_file: Path) -> None:
        self.source, self.data, self.options, self.float_file = source, data, options, float_file
        self._images: np.ndarray | None = None

    def write(self, name: str, path: Path, float_layers: Sequence[str] = ()) -> None:
        description = self.source.description
        if name == "torchscript":
            write_torchscript(self.source.network, description, path)
            return
        if not self.float_file.exists():
            write_onnx(self.source.network, description, self.float_file)
        if name == "onnx":
            shutil.copyfile(self.float_file, path)
        elif name == "openvino":
            write_openvino(self.float_file, description, path)
        elif name == "onnx-int8":
            write_int8_onnx(self.float_file, self.images, description, path, float_layers)
        else:
            write_int8_openvino(self.float_file, self.images, description, path, float_layers)

    def sensitive_layers(self) -> list[str]:
        return sensitive_layers(layer_errors(self.float_file, self.images))

    @property
    def images(self) -> np.ndarray:
        if self._images is None:
            self._images = self.data.calibration(as_function(self.source.network), self.options.calibration)
        return self._images


def _run(path: Path) -> Run:
    if path.suffix == ".ts":
        return as_function(torch.jit.load(str(path), map_location="cpu").eval())
    return open_form(path, torch.get_num_threads())


def _copy_companions(source: DeploySource, folder: Path, files: Sequence[str]) -> None:
    """The licences, and what tells of the patients and inputs of the training, which inference looks for."""
    shutil.copyfile(source.root / "LICENSE", folder / "LICENSE")
    data = source.root / "docs" / "data_license.txt"
    if data.is_file():
        shutil.copyfile(data, folder / data.name)
    copy_training_records(source.checkpoint, folder, files)
