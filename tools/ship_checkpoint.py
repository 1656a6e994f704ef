#!/usr/bin/env python3
"""Put a trained checkpoint into a bundle's folder, with what made it and what it scores.

Copies ``models/model.pt`` of a run to ``<bundle>/models/model.pt``, writes ``<bundle>/models/model.json`` (settings of
the runs that led to it, versions, split, hashes, scores) and puts the figures of its evaluation into
``docs/README.md`` and ``metadata.json``. Nothing of it is typed by hand.

    python tools/ship_checkpoint.py --bundle bundles/seg_kd --run FIRST_RUN --run LAST_RUN \
        --evaluation LAST_RUN/evaluation/summary.json --dataset_dir FOLDER_OF_MAT

Weights in half precision (tools/halve_checkpoint.py) are given by ``--checkpoint`` and are those to evaluate; what they
change (tools/compare_inference.py --record) by ``--difference``. Without ``--run`` they are the weights of the runs
that the bundle's record names, stored in another way. With ``--bundle`` alone the page is written anew from the record.

``--name small`` ships further weights beside the bundle's own, as ``models/small.pt``. Their figures go between
``<!-- figures of models/small.pt -->`` and ``<!-- end of figures of models/small.pt -->`` on the page, and not into
``metadata.json``. A ``--run`` may also be a folder with the record of shipped weights: it stands for all runs that made
these.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from ckdmed.bundle.renamed_settings import with_new_names
from ckdmed.bundle.trained import reads_record
from ckdmed.data.datalist import DATALIST_NAME
from ckdmed.data.sections import resolve_datalist, select_sections
from ckdmed.export.documents import eval_metrics, figures_table, read_evaluation
from ckdmed.file_hash import sha256_of
from ckdmed.files import load_weights, write_atomic, write_json
from ckdmed.intended_inputs.record import INPUTS_SUFFIX
from ckdmed.reports import machine_in_words
from ckdmed.sections.record import RECORD_NAME, SectionRecord

#: In bytes; a wheel takes no larger file.
LARGEST = 10_000_000
#: Settings of an evaluation that must be those of the bundle's inference for its figures to describe it.
USED_AT_INFERENCE = tuple(
    "image_size tta threshold scaling student_kind student_backbone student_options in_channels".split()
)
#: Settings of a student that starts from weights with a record, which tells them.
TOLD_BY_START = ("student_kind", "student_base", "student_backbone", "student_options")
#: What is kept of a summary: of masks, and of classes.
OF_SUMMARY = tuple("n_slices n_patients unit level overall per_class class_names rules slices patients".split())
#: Of a path, or of one in a word such as student_pretrained=/folder/model.pt, what stands before its last part.
FOLDERS = re.compile(r"""(^|[="'])[/~][^"']*/""")
#: The bundle's own weights, which it uses where nothing else is given.
OWN = "model"


def main() -> int:
    """Copy, record and document; 0 when all of it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument(
        "--run",
        type=Path,
        action="append",
        help="output folder, of `ckdmed prune` too; the last one is shipped (default: those of model.json)",
    )
    parser.add_argument("--name", default=OWN, help="of the weights in the bundle (default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, help="the weights (default: models/model.pt of the last run)")
    parser.add_argument("--evaluation", type=Path, help="summary.json of the shipped checkpoint")
    parser.add_argument("--dataset_dir", type=Path, help="what the runs were trained on; needed with --run")
    parser.add_argument("--difference", type=Path, help="record of tools/compare_inference.py for halved weights")
    args = parser.parse_args()
    target = args.bundle / f"models/{args.name}.pt"
    place = target.with_suffix(".json")
    if args.evaluation is None:
        given = [name for name in ("run", "checkpoint", "dataset_dir", "difference") if getattr(args, name) is not None]
        if given:
            parser.error(f"--{given[0]} ships weights, and with them goes their --evaluation")
        document(args.bundle, json.loads(place.read_text(encoding="utf-8")), args.name)
        return 0
    if args.run is None and args.checkpoint is None or args.run is not None and args.dataset_dir is None:
        parser.error("give --run with --dataset_dir, or --checkpoint")
    page = (args.bundle / "docs/README.md").read_text(encoding="utf-8")
    if len(_place_of_figures(args.name).findall(page)) != 1:
        parser.error(f"--name {args.name}: docs/README.md of {args.bundle} needs one place for its figures")
    source = args.checkpoint or args.run[-1] / "models/model.pt"
    if source.stat().st_size > LARGEST:
        print(
            f"{source} has {source.stat().st_size} bytes, at most {LARGEST} may be shipped; see "
            "tools/halve_checkpoint.py.",
            file=sys.stderr,
        )
        return 1
    summary = read_evaluation(args.evaluation, source)
    evaluated = with_new_names(summary["settings"]["settings"])
    inference = _at_inference(args.bundle, evaluated)
    other = [name for name, value in inference.items() if value != evaluated[name]]
    if other:
        for name in other:
            print(
                f"{args.evaluation} was made with {name} {evaluated[name]}, {args.bundle}/inference.json has "
                f"{inference[name]}: evaluate with the latter, or change it there.",
                file=sys.stderr,
            )
        return 1
    if args.run is None:
        before = json.loads(place.read_text(encoding="utf-8"))
        made = {name: before[name] for name in ("machine", "runs", "split", "sections")}
    else:
        runs = [record for run in args.run for record in _runs_of(run)]
        split = _split(args.dataset_dir, runs[-1]["settings"])
        made = {"machine": machine_in_words(), "runs": [_without_paths(run) for run in runs], "split": split}
        # by which an evaluation of the shipped weights scores no patient that they know
        made["sections"] = SectionRecord.read(args.run[-1] / RECORD_NAME).content()
    target.parent.mkdir(exist_ok=True)
    write_atomic(target, lambda path: shutil.copyfile(source, path))
    inputs, kept = args.run and args.run[-1] / "models" / f"model{INPUTS_SUFFIX}", target.with_suffix(INPUTS_SUFFIX)
    if kept.is_file():
        # it was fitted and checked by hand, on more than a training looks at
        print(f"{kept} stays as it is: `ckdmed intended-inputs record` writes another where the data are others.")
    elif inputs and inputs.is_file():
        write_atomic(kept, lambda path: shutil.copyfile(inputs, path))
    record = {
        "sha256": sha256_of(target),
        "bytes": target.stat().st_size,
        "precision": _precision(target),
        **made,
        "evaluation": {
            "section": summary["settings"]["section"],
            **inference,
            **{key: summary[key] for key in OF_SUMMARY if key in summary},
        },
    }
    if args.difference is not None:
        record["difference"] = json.loads(args.difference.read_text(encoding="utf-8"))
    write_json(place, record)
    document(args.bundle, record, args.name)
    print(f"{target}: {record['bytes']} bytes, SHA-256 {record['sha256']}")
    return 0


def _record_of(run: Path) -> Path:
    """What a training, or `ckdmed prune`, left of its settings."""
    return next((path for path in (run / "settings.json", run / "model.json") if path.is_file()), run / "settings.json")


def _runs_of(folder: Path) -> list[dict[str, Any]]:
    """The record of a run; where it is one of shipped weights, those of the runs that made these."""
    record = json.loads(_record_of(folder).read_text(encoding="utf-8"))
    return record.get("runs", [record])


def _at_inference(bundle: Path, evaluated: dict[str, Any]) -> dict[str, Any]:
    """What the inference will have of the settings that an evaluation had, when the weights are shipped."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "inference.json"))
    declared = dict(parser.get())
    used = [name for name in USED_AT_INFERENCE if name in declared and name in evaluated]
    # the evaluation read the same record, or its figures become part of the one that is shipped
    return {name: evaluated[name] if reads_record(declared[name]) else parser.get_parsed_content(name) for name in used}


def _precision(path: Path) -> str:
    halved = any(value.dtype == torch.float16 for value in load_weights(path).values())
    return "float16" if halved else "float32"


def _without_paths(value: Any) -> Any:
    """The same with every path of this machine cut to its last part."""
    if isinstance(value, dict):
        return {key: _without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_paths(entry) for entry in value]
    return FOLDERS.sub(r"\1", value) if isinstance(value, str) else value


def _split(dataset_dir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    datalist = resolve_datalist(dataset_dir, seed=settings["split_seed"], progress=False)
    sections = select_sections(
        datalist,
        dataset_dir,
        fold=settings["fold"],
        n_folds=settings["n_folds"],
        seed=settings["split_seed"],
        # the shipped runs are from before there was a choice
        fold_source=settings.get("fold_source", "group"),
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


def document(bundle: Path, record: dict[str, Any], name: str = OWN) -> None:
    """Put what the record says into the bundle's page and, of its own weights, into its metadata."""
    readme = bundle / "docs/README.md"
    new = documented(readme.read_text(encoding="utf-8"), record, name)
    write_atomic(readme, lambda path: path.write_text(new, encoding="utf-8") and None)
    if name != OWN:
        return
    metadata = json.loads((bundle / "metadata.json").read_text(encoding="utf-8"))
    metadata["eval_metrics"] = eval_metrics(_summary(record))
    content = json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"
    write_atomic(bundle / "metadata.json", lambda path: path.write_text(content, encoding="utf-8") and None)


def _place_of_figures(name: str) -> re.Pattern[str]:
    """Where a page has the figures of weights: of the bundle's own where an export writes those of other ones."""
    begin, end = "figures: written by the exporter", "end of figures"
    if name != OWN:
        begin, end = f"figures of models/{name}.pt", f"end of figures of models/{name}.pt"
    return re.compile(rf"(<!-- {re.escape(begin)} -->\n).*?(<!-- {re.escape(end)} -->)", re.DOTALL)


def documented(page: str, record: dict[str, Any], name: str = OWN) -> str:
    """A bundle's page with what the record says, settings and commands by their names of today."""
    table = figures_table(_summary(record)).rstrip()
    runs = record["runs"]
    settings = with_new_names(runs[-1]["settings"])
    how = [f"{name} `{settings[name]}`" for name in ("method", "preset") if name in settings]
    how.append(
        f"{settings['epochs']} epochs at {settings['image_size']} x {settings['image_size']}, seed {settings['seed']}"
    )
    final = (
        " The last run also trained on the validation patients, on whom everything before it had been chosen."
        if settings.get("train_on_validation")
        else ""
    )
    order = "by these commands in order, each starting from the checkpoint of the one before" if len(runs) > 1 else "by"
    commands = "\n".join(shlex.join(_command_of_today(run["command"])) for run in runs)
    text = (
        f"The checkpoint in `models/{name}.pt` ({', '.join(how)}; split by patient group, split seed "
        f"{settings['split_seed']}) was made {order}:\n\n```text\n{commands}\n```\n\n"
        f"`models/{name}.json` records everything else: all settings, package versions, the patients of each set and "
        f"the hash of the datalist.{final}{_of_half(record)} {table}"
    )
    return _place_of_figures(name).sub(lambda match: f"{match[1]}{text}\n\n{match[2]}", page)


def _summary(record: dict[str, Any]) -> dict[str, Any]:
    """The evaluation of a record in the form of a summary."""
    evaluation = record["evaluation"]
    return {**evaluation, "settings": {"section": evaluation.get("section", "test"), "settings": evaluation}}


def _command_of_today(command: list[str]) -> list[str]:
    words, named = [], ""
    starts = any(word.startswith("student_pretrained=") for word in command)
    for word in command:
        # a pruned network's channels fill pages, and are in the record beside its weights
        if starts and word.partition("=")[0] in TOLD_BY_START:
            continue
        if word.startswith("--"):
            ((named, _),) = with_new_names({word[2:]: None}).items()
            words.append(f"--{named}")
        else:
            words.append(str(with_new_names({named: word})[named]) if named else word)
    return words


def _of_half(record: dict[str, Any]) -> str:
    if record["precision"] == "float32":
        return ""
    text = (
        " The weights are stored in half precision and loaded in single precision; all figures are for these weights."
    )
    if "difference" in record:
        found = record["difference"]
        text += (
            f" On {found['inputs']} slices, their probabilities differ from those of the weights as trained by at most "
            f"{found['largest_difference']:.4f}, and the decision changes for {found['decided_otherwise']} of "
            f"{found['of']}."
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
