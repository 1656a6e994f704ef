"""Bundles opened and run as their command line would, in this process."""

from __future__ import annotations

import atexit
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from ckdmed.bundle.trained import reads_record
from ckdmed.files import write_json

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


def opened(bundle: str, *files: str, **settings: Any) -> ConfigWorkflow:
    """The workflow over a bundle's files (``train.json``), later ones over earlier ones, initialised."""
    names = files or ("train.json",)
    made = ConfigWorkflow(
        [str(BUNDLES / bundle / name) for name in names],
        meta_file=None,
        logging_file=False,
        workflow_type="inference" if names == ("inference.json",) else "train",
        **settings,
    )
    made.initialize()
    return made


@cache
def shared_phantoms(*sizes: Any) -> str:
    """A folder of this process for phantoms of these sizes, which the first run draws and the others find."""
    folder = TemporaryDirectory(prefix="ckdmed-test-phantoms-")
    atexit.register(folder.cleanup)
    return folder.name


def record(checkpoint: str | Path, bundle: str, **settings: Any) -> None:
    """Note beside a checkpoint what a training of the bundle would have noted: what an inference takes from there."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "inference.json"))
    parser["checkpoint"] = str(checkpoint)
    for name, value in settings.items():
        parser[name] = value
    names = [name for name, value in parser.get().items() if reads_record(value) or name in settings]
    noted = {name: parser.get_parsed_content(name) for name in names}
    write_json(Path(checkpoint).with_suffix(".json"), {"settings": {"epochs": 1, **noted}})


def completed(made: ConfigWorkflow) -> ConfigWorkflow:
    """The same, run to its end."""
    made.run()
    made.finalize()
    return made


def history(output_dir: Path) -> list[dict[str, Any]]:
    """What a training noted of its epochs."""
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
