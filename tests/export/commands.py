"""The commands of the bundles' documents: read, checked, made small and run."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, onnx_export

from ckdmed.bundle.effective_settings import ineffective
from ckdmed.bundle.setting_check import hand_over
from ckdmed.bundle.strict import unknown_settings
from ckdmed.cli import build_parser
from ckdmed.cli import export as export_command
from ckdmed.data.phantoms import write_brats_phantoms, write_figshare_phantoms
from tests.export.tiny import RUN, RUN_OF_CASES, SIZES, config, environment, fitting, write_checkpoint

ENTRY_POINTS = ("initialize", "run", "finalize")


def commands_of(readme: Path) -> list[str]:
    """The commands in the fenced blocks of a README, one per block."""
    return [block.strip() for block in re.findall(r"```bash\n(.*?)```", readme.read_text("utf-8"), flags=re.DOTALL)]


def configs_of(arguments: list[str]) -> list[str]:
    """The configuration files that a command of ``monai.bundle`` names."""
    value = arguments[arguments.index("--config_file") + 1]
    return [part.strip(" '\"") for part in value.strip("[]").split(",")]


def options_of(arguments: list[str]) -> dict[str, str]:
    """``--name value`` pairs behind the module's name."""
    start = arguments.index("-m") + 2
    options = {}
    for name, value in zip(arguments[start:], arguments[start + 1 :]):
        if name.startswith("--"):
            options[name[2:]] = value
    return options


def tiny_arguments(command: str, folder: Path, python: str = sys.executable) -> list[str]:
    """The command as arguments of a Python, at small sizes and on the CPU if it runs a bundle.

    Args:
        command: as it stands in the document.
        folder: where it is started.
        python: of the environment that it runs in; this one by default.
    """
    arguments = shlex.split(command)
    if arguments[0] == "torchrun":
        arguments = [python, "-m", "torch.distributed.run", *arguments[1:]]
    elif arguments[0] == "python":
        arguments = [python, *arguments[1:]]
    if "monai.bundle" not in arguments:
        return arguments
    parser = ConfigParser()
    parser.read_config([str(folder / name) for name in configs_of(arguments)])
    options = small_settings(parser.get(), running="run" in arguments)
    if "torch.distributed.run" in arguments:
        options.pop("device", None)
    for key, value in options.items():
        if f"--{key}" in arguments:
            arguments[arguments.index(f"--{key}") + 1] = str(value)
        else:
            arguments += [f"--{key}", str(value)]
    return arguments


def small_settings(merged: dict[str, Any], running: bool = True) -> dict[str, Any]:
    """What makes a configuration small and, where it is run, keeps it on the CPU."""
    chosen = {**SIZES, **RUN} if running else dict(SIZES)
    if merged.get("sections", {}).get("_target_") == "ckdmed.bundle.brats_sections":
        chosen = {**{k: v for k, v in chosen.items() if k != "sections#phantom_size"}, **RUN_OF_CASES}
    options = fitting(chosen, merged)
    if not running:
        return options
    # what a checkpoint was trained with is in its record
    options = {key: value for key, value in options.items() if key in SIZES or "@trained" not in str(merged.get(key))}
    # an evaluation refuses the settings of a training
    for name in ineffective(merged, options, ENTRY_POINTS):
        del options[name.replace("::", "#")]
    if "device" in merged:
        options["device"] = "$torch.device('cpu')"
    return options


def check_command(command: str, folder: Path) -> None:
    """The program, its files and every option exist, and every setting has an effect."""
    arguments = shlex.split(command)
    assert arguments[0] in ("python", "torchrun")
    if "ckdmed" in arguments:
        parsed = build_parser([export_command]).parse_args(arguments[arguments.index("ckdmed") + 1 :])
        assert (folder / parsed.bundle).is_dir()
        return
    verb = arguments[arguments.index("monai.bundle") + 1]
    options = options_of(arguments[arguments.index("monai.bundle") - 1 :])
    paths = [str(folder / name) for name in configs_of(arguments)]
    parser = ConfigParser()
    parser.read_config(paths)
    if verb == "run":
        known = set(inspect.signature(ConfigWorkflow.__init__).parameters)
        # values as the command line reads them: numbers, lists, words
        overrides = {name: DefaultParseValue(value) for name, value in options.items() if name not in known}
        parser.update(overrides)
        hand_over(parser)
        assert ineffective(parser.get(), overrides, ENTRY_POINTS) == [], command
        unknown = unknown_settings(parser.get(), set(ENTRY_POINTS))
        # an overlay leaves settings of the file below it without a reader
        assert not set(unknown) & set(overrides), f"{command}: {unknown}"
    else:
        takes = inspect.signature({"ckpt_export": ckpt_export, "onnx_export": onnx_export}[verb]).parameters
        assert set(options) <= set(takes)
        assert (folder / options["meta_file"]).is_file()
    parser.update(fitting(SIZES, parser.get()))
    # published weights are downloaded, and are for networks of the published sizes
    parser.update({name: None for name, value in options.items() if value == "imagenet"})
    assert sum(weight.numel() for weight in parser.get_parsed_content("network_def").parameters()) > 1000


def user_files(bundle: str, folder: Path) -> dict[str, str]:
    """What stands in the documents for a user's files, and small ones in ``folder`` for it."""
    write_figshare_phantoms(folder / "figshare", n_patients=6, size=48, progress=False)
    write_brats_phantoms(folder / "brats", 10, (24, 24, 16), tumour_types=("GLI", "MET"), progress=False)
    files = {"path/to/figshare": str(folder / "figshare"), "path/to/scans": str(folder / "figshare")}
    files["path/to/brats"] = str(folder / "brats")
    if bundle.startswith("brats_"):
        files["path/to/scans"] = files["path/to/brats"]
    if "teacher_def" in config(bundle, "train.json"):
        teacher = write_checkpoint(folder / "teacher.pt", bundle, "train.json", "teacher_def")
        files["path/to/teacher.pt"] = str(teacher)
    return files


def run_commands(commands: list[str], cwd: Path, replaced: dict[str, str], installed: Path | None = None) -> None:
    """Run them one after the other, each to a good end.

    Args:
        commands: as they stand in the document.
        cwd: where they are started.
        replaced: what stands in them for a user's files -> files.
        installed: Python of an environment where the package is installed; by default this one, with this checkout.
    """
    variables = environment()
    if installed is not None:
        variables = {name: value for name, value in variables.items() if not name.startswith("PYTHON")}
    for command in commands:
        for old, new in replaced.items():
            command = command.replace(old, new)
        arguments = tiny_arguments(command, cwd, str(installed or sys.executable))
        done = subprocess.run(arguments, cwd=cwd, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
