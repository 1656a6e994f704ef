#!/usr/bin/env python3
"""Put a trained checkpoint into a bundle's folder, with what made it and what it scores.

Copies ``models/model.pt`` of a run to ``<bundle>/models/model.pt``, writes ``<bundle>/models/model.json`` (settings of
the runs that led to it, versions, split, hashes, scores) and puts the figures of its evaluation into
``docs/README.md`` and ``metadata.json``. Nothing of it is typed by hand.

    python tools/ship_checkpoint.py --bundle bundles/seg_kd --run FIRST_RUN --run LAST_RUN \
        --evaluation LAST_RUN/evaluation/summary.json --dataset_dir FOLDER_OF_MAT
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from ckdmed.data.datalist import DATALIST_NAME, sha256_of
from ckdmed.data.sections import resolve_datalist, select_sections
from ckdmed.export.configs import read_json
from ckdmed.export.documents import figures_table, read_evaluation
from ckdmed.files import write_atomic, write_json
from ckdmed.reports import machine_in_words

LARGEST = 25 * 2**20
#: Settings of an evaluation that must be those of the bundle's inference for its figures to describe it.
USED_AT_INFERENCE = ("image_size", "tta", "threshold")
FIGURES = re.compile(r"(<!-- figures: written by the exporter -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def main() -> int:
    """Copy, record and document; 0 when all of it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument(
        "--run", type=Path, action="append", required=True, help="output folder; the last one is shipped"
    )
    parser.add_argument("--evaluation", type=Path, required=True, help="summary.json of the shipped checkpoint")
    parser.add_argument("--dataset_dir", type=Path, required=True, help="what the runs were trained on")
    args = parser.parse_args()
    source = args.run[-1] / "models/model.pt"
    if source.stat().st_size > LARGEST:
        print(f"{source} has {source.stat().st_size} bytes; at most {LARGEST} may be shipped.", file=sys.stderr)
        return 1
    summary = read_evaluation(args.evaluation, source)
    evaluated = summary["settings"]["settings"]
    inference = read_json(args.bundle / "inference.json")
    other = [name for name in USED_AT_INFERENCE if inference[name] != evaluated.get(name)]
    if other:
        for name in other:
            print(
                f"{args.evaluation} was made with {name} {evaluated.get(name)}, {args.bundle}/inference.json has "
                f"{inference[name]}: evaluate with the latter, or change it there.",
                file=sys.stderr,
            )
        return 1
    runs = [json.loads((run / "settings.json").read_text(encoding="utf-8")) for run in args.run]
    target = args.bundle / "models/model.pt"
    write_atomic(target, lambda path: shutil.copyfile(source, path))
    record = {
        "sha256": sha256_of(target),
        "bytes": target.stat().st_size,
        "machine": machine_in_words(),
        "runs": [_without_paths(run) for run in runs],
        "split": _split(args.dataset_dir, runs[-1]["settings"]),
        "evaluation": {
            **{name: evaluated[name] for name in USED_AT_INFERENCE},
            **{key: summary[key] for key in ("n_slices", "n_patients", "unit", "overall", "per_class")},
        },
    }
    write_json(args.bundle / "models/model.json", record)
    _document(args.bundle, summary, record["runs"])
    print(f"{target}: {record['bytes']} bytes, SHA-256 {record['sha256']}")
    return 0


def _without_paths(value: Any) -> Any:
    """The same with every path of this machine cut to its last part."""
    if isinstance(value, dict):
        return {key: _without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_paths(entry) for entry in value]
    return os.path.basename(value) if isinstance(value, str) and value.startswith(("/", "~")) else value


def _split(dataset_dir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    datalist = resolve_datalist(dataset_dir, seed=settings["split_seed"], progress=False)
    sections = select_sections(
        datalist, dataset_dir, fold=settings["fold"], n_folds=settings["n_folds"], seed=settings["split_seed"]
    )
    manifest = dataset_dir / DATALIST_NAME
    ids = {name: sorted((item["id"] for item in items), key=str) for name, items in sections.items()}
    return {
        "by": "patient group",
        "seed": settings["split_seed"],
        "fold": settings["fold"],
        "trained_on": ["train", "validation"] if settings.get("train_on_validation") else ["train"],
        # of the datalist, which holds the hash of every file
        "data_sha256": sha256_of(manifest) if manifest.is_file() else None,
        "ids_sha256": hashlib.sha256(json.dumps(ids, sort_keys=True).encode()).hexdigest(),
        "slices": {name: len(items) for name, items in sections.items()},
        "patient_groups": {name: sorted({item["patient_group"] for item in items}) for name, items in sections.items()},
    }


def _document(bundle: Path, summary: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    readme = bundle / "docs/README.md"
    table = figures_table(summary).rstrip()
    settings = runs[-1]["settings"]
    how = f"preset `{settings['preset']}`, " if "preset" in settings else ""
    how += (
        f"{settings['epochs']} epochs at {settings['image_size']} x {settings['image_size']}, seed {settings['seed']}"
    )
    final = (
        " The last training learned from the patients of the validation section too, on which all before it was chosen."
        if settings.get("train_on_validation")
        else ""
    )
    order = "in this order, each starting from the checkpoint of the one before, by" if len(runs) > 1 else "by"
    commands = "\n".join(" ".join(run["command"]) for run in runs)
    text = (
        f"The checkpoint in `models/model.pt` ({how}; split by patient group, split seed {settings['split_seed']}) was "
        f"made {order}\n\n```text\n{commands}\n```\n\n"
        "and `models/model.json` tells the rest: every setting, the versions, the patients of each section, the hash "
        f"of the datalist.{final} {table}"
    )
    new = FIGURES.sub(lambda match: f"{match[1]}{text}\n\n{match[2]}", readme.read_text(encoding="utf-8"))
    write_atomic(readme, lambda path: path.write_text(new, encoding="utf-8") and None)
    metadata = json.loads((bundle / "metadata.json").read_text(encoding="utf-8"))
    section = summary.get("settings", {}).get("section", "test")
    metadata["eval_metrics"] = {
        f"{section}_mean_{score}": round(values["patient_mean"], 4)
        for score, values in summary["overall"].items()
        if values["patient_mean"] is not None
    }
    content = json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"
    write_atomic(bundle / "metadata.json", lambda path: path.write_text(content, encoding="utf-8") and None)


if __name__ == "__main__":
    sys.exit(main())
