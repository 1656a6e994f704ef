"""The Model Zoo's rules, and this project's, as checks of an exported bundle."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out
from tqdm import tqdm

from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.export.configs import read_object
from ckdmed.export.file_rules import REQUIRED_FILES, formatting_problems, machine_paths
from ckdmed.export.large_files import LIMIT, files_over_limit
from ckdmed.export.schema import METADATA_SCHEMA
from ckdmed.export.torchscript import scripting_problem
from ckdmed.export.undisturbed import undisturbed
from ckdmed.files import load_weights

__all__ = ["Check", "check_bundle", "check_sizes"]

# what a workflow is given while only its properties are read, as far as its configuration has such a setting
_SMALL_RUN: dict[str, Any] = {"phantom_patients": 6, "phantom_cases": 6, "cache_rate": 0.0, "num_workers": 0}
# a setting named teacher says of which kind a network is; a section of that name would be one
_TRAINING_ONLY = re.compile(
    r'ckdmed\.(losses|engines)\b|"(frozen_)?teacher": *\{|"teacher_(def|network|checkpoint|taps)"'
)
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Check:
    """One rule, whether the bundle keeps it, and what was found."""

    name: str
    passed: bool
    detail: str


def check_bundle(
    folder: Path, schema: Path | None = None, names: Collection[str] | None = None, progress: bool = False
) -> list[Check]:
    """Check an exported bundle by every rule but the size of its files (see `check_sizes`).

    Args:
        folder: the bundle, with its large files in place.
        schema: a copy of the schema that the metadata names; by default the package's, which states the same
            requirements.
        names: of the checks to make; all by default.
        progress: show a bar.
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("files of the zoo's layout", lambda: _layout(folder)),
        ("metadata schema", lambda: _metadata(folder, schema)),
        ("version in the changelog", lambda: _changelog(folder)),
        ("verify_net_in_out", lambda: _net_in_out(folder)),
        ("model.pt loads strictly", lambda: _strict_load(folder)),
        ("TorchScript (jit.script)", lambda: _torchscript(folder)),
        ("properties of train", lambda: _properties(folder, "train")),
        ("properties of inference", lambda: _properties(folder, "inference")),
        ("inference without a teacher", lambda: _inference_alone(folder)),
        ("no paths of a machine", lambda: _nothing(machine_paths(folder), "none found")),
        ("formatting", lambda: _nothing(formatting_problems(folder), "format of JSON and any Python as in the zoo")),
    ]
    chosen = [(name, check) for name, check in checks if names is None or name in names]
    return [_run(name, check) for name, check in tqdm(chosen, desc="checking", unit="check", disable=not progress)]


def check_sizes(folder: Path, limit: int = LIMIT) -> Check:
    """Check that no file is larger than the zoo allows."""
    large = [f"{path} ({(folder / path).stat().st_size / 1e6:.1f} MB)" for path in files_over_limit(folder, limit)]
    return _run("files of 25 MB at most", lambda: _nothing(large, f"all below {limit / 1e6:.0f} MB"))


def _run(name: str, check: Callable[[], str]) -> Check:
    with undisturbed():
        try:
            return Check(name, True, check())
        # whatever a bundle's own configuration raises is a finding, and the other checks go on
        except Exception as error:
            cause = root_cause(error)
            return Check(name, False, " ".join(f"{type(cause).__name__}: {cause}".split()))


def _nothing(problems: list[str], fine: str) -> str:
    if problems:
        raise ValueError("; ".join(problems[:5]) + (f" and {len(problems) - 5} more" if len(problems) > 5 else ""))
    return fine


def _layout(folder: Path) -> str:
    return _nothing(
        [f"{name} is missing" for name in REQUIRED_FILES if not (folder / name).is_file()],
        f"{len(REQUIRED_FILES)} files",
    )


def _metadata(folder: Path, schema: Path | None) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "schema.json"
        text = json.dumps(METADATA_SCHEMA) if schema is None else schema.read_text(encoding="utf-8")
        # MONAI downloads the schema only where this file does not exist
        copy.write_text(text, encoding="utf-8")
        verify_metadata(meta_file=str(folder / "configs/metadata.json"), filepath=str(copy))
    return "valid by " + ("our statement of schema 20240725" if schema is None else schema.name)


def _changelog(folder: Path) -> str:
    metadata = read_object(folder / "configs/metadata.json")
    if metadata.get("version") not in metadata.get("changelog", {}):
        raise ValueError(f"version {metadata.get('version')} has no entry in 'changelog'.")
    return str(metadata["version"])


def _net_in_out(folder: Path) -> str:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(folder / "configs/metadata.json"),
        config_file=str(folder / "configs/inference.json"),
    )
    data = read_object(folder / "configs/metadata.json")["network_data_format"]
    sides = [data["inputs"]["image"], data["outputs"]["pred"]]
    return " -> ".join(f"{side['num_channels']} x {side['spatial_shape']}" for side in sides)


def _component(folder: Path, config: str, name: str) -> Any:
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / config))
    return parser.get_parsed_content(name)


def _strict_load(folder: Path) -> str:
    weights = load_weights(folder / "models/model.pt")
    for config in ("inference.json", "train.json"):
        _load(_component(folder, config, "network_def"), weights, config)
    if (folder / "models/teacher.pt").is_file():
        teacher = load_weights(folder / "models/teacher.pt")
        _load(_component(folder, "train.json", "teacher_def"), teacher, "train.json (teacher)")
    return f"{sum(v.numel() for v in weights.values()):,} numbers into network_def of inference and train"


def _load(network: torch.nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise ValueError(
            f"the checkpoint does not fit the network of {where}: {lines[min(1, len(lines) - 1)].strip()} Give the "
            "settings that it was trained with, using --override (its run's settings.json holds them)."
        ) from error


def _torchscript(folder: Path) -> str:
    path = folder / "models/model.ts"
    if not path.is_file():
        # the zoo takes a bundle without it; one that could have it has to
        reason = scripting_problem(_component(folder, "inference.json", "network_def"))
        if reason is None:
            raise ValueError("models/model.ts is missing, though the network can be scripted.")
        return f"left out: the network cannot be scripted ({reason})"
    scripted = torch.jit.load(str(path), map_location="cpu").eval()
    network = _component(folder, "inference.json", "network_def").cpu().eval()
    network.load_state_dict(load_weights(folder / "models/model.pt"))
    image = read_object(folder / "configs/metadata.json")["network_data_format"]["inputs"]["image"]
    shape = [size if isinstance(size, int) else 64 for size in image["spatial_shape"]]
    with torch.no_grad():
        sample = torch.rand(1, image["num_channels"], *shape)
        difference = float((scripted(sample) - network(sample)).abs().max())
    if not difference <= _TOLERANCE:
        raise ValueError(f"its output differs from the network's by {difference:.2g}.")
    return f"differs from the network by {difference:.1g} at most"


def _properties(folder: Path, name: str) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        config = read_object(folder / "configs" / f"{name}.json")
        overrides: dict[str, Any] = {key: value for key, value in _SMALL_RUN.items() if key in config}
        if "output_dir" in config:
            overrides["output_dir"] = temporary
        workflow = ConfigWorkflow(
            config_file=str(folder / "configs" / f"{name}.json"),
            workflow_type=name,
            logging_file=False,
            bundle_root=str(folder),
            **overrides,
        )
        try:
            workflow.initialize()
        except Exception as error:
            cause = root_cause(error)
            if name != "train" or not isinstance(cause, RefusedStart):
                raise
            # it speaks to whoever trains; the weights here are trained, and what would teach further can be chosen
            raise RefusedStart(
                f"{cause} An export keeps what its weights were trained with: give settings of the further training "
                "alone, such as teacher_kind=dynunet, with --override."
            ) from error
        _nothing([f"missing or misnamed: {entry}" for entry in workflow.check_properties() or []], "")
        return f"{len(workflow.properties or {})} properties"


def _inference_alone(folder: Path) -> str:
    text = (folder / "configs/inference.json").read_text(encoding="utf-8")
    found = sorted({match.group(0) for match in _TRAINING_ONLY.finditer(text)})
    return _nothing([f"inference.json names {name}" for name in found], "names no teacher, loss or training engine")
