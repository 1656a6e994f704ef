"""Run every bundle at two commits from one seed and compare what they train, score and predict: it has to be equal.

    python tools/compare_commits.py d429d22                     # that commit and the working tree
    python tools/compare_commits.py d429d22 HEAD --only seg_kd
    python tools/compare_commits.py d429d22 --work /tmp/runs    # keeps the runs of a commit for the next comparison

Each short run is a training, its evaluation and an inference with its weights, on phantoms, at sizes that take seconds.
Compared are the student's and the teachers' weights (every tensor, by hash), all losses and metrics of every epoch, the
tables of the evaluation and the files of the inference. The exit status is 1 where anything differs.

Settings that have another name at one of the commits stand in `OLD_NAMES` and `OLD_VALUES`; a run is written with the
new names.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CPU = "$torch.device('cpu')"

# new name -> the name before, for settings that the configuration of a commit does not have
OLD_NAMES: dict[str, str] = {
    "label_fraction": "labelled_fraction",
    "labelled_per_batch": "labelled_share",
    "teacher_kind": "teacher",
}
# (new name, new value) -> the value before, where the old configuration knows another word
OLD_VALUES: dict[tuple[str, Any], Any] = {}

VIT: dict[str, Any] = {"vit_hidden": 16, "vit_layers": 1, "vit_heads": 2}
SEGMENTATION: dict[str, Any] = {**VIT, "vit_img_size": 32, "teacher_base": 4, "image_size": 32, "phantom_patients": 6}
# a last batch of one image has no statistics for a batch normalisation
CLASSIFICATION: dict[str, Any] = {**VIT, "vgg_width": 0.03, "image_size": 32, "batch_size": 5}
SLICES: dict[str, Any] = {"sections#phantom_size": 48, "sections#phantom_slices": [3, 6], "phantom_patients": 6}
VOLUMES: dict[str, Any] = {
    **VIT,
    "phantom_cases": 6,
    "sections#phantom_shape": [40, 36, 20],
    "image_size": 32,
    "vit_img_size": 32,
    "roi_size": [16, 16, 16],
    "slices_per_epoch": 16,
    "teacher_base": 2,
}
# settings of a run that its inference and its evaluation have no use for are left out there
RUNS: dict[str, dict[str, dict[str, Any]]] = {
    "seg_kd": {
        "plain": {**SEGMENTATION, "sections#phantom_size": 48, "student_base": 2, "teacher_epochs": 1},
        "cached": {
            **SEGMENTATION,
            "sections#phantom_size": 48,
            "student_base": 2,
            "teacher_epochs": 2,
            "label_fraction": 0.6,
            "cache_teacher": True,
            "teacher_flips": True,
            "val_interval": 2,
            "amp": True,
            "fold": 1,
            "seed": 3,
        },
        "view": {
            **SEGMENTATION,
            "sections#phantom_size": 48,
            "student_kind": "efficientnet_lite",
            "teacher_kind": "segresnet",
            "teacher_epochs": 1,
            "student_view": "strong",
            "augmentation": "strong",
            "accumulation_steps": 2,
            "train_on_validation": True,
        },
        "folds": {
            **SEGMENTATION,
            "sections#phantom_size": 48,
            "student_base": 2,
            "phantom_patients": 12,
            "teacher_epochs": 1,
            "teacher_folds": 2,
            "calibrate_teacher": True,
            "method": "kd",
        },
    },
    "seg_teacher": {
        "plain": {**SEGMENTATION, "sections#phantom_size": 48},
        "view": {
            **SEGMENTATION,
            "sections#phantom_size": 48,
            "teacher_kind": "segresnet",
            "teacher_view": "strong",
            "label_fraction": 0.6,
        },
    },
    "cls_kd": {
        "plain": {**CLASSIFICATION, **SLICES, "teacher_epochs": 1, "cache_teacher": True},
        "brats": {
            **CLASSIFICATION,
            "task": "brats_slice",
            "phantom_cases": 6,
            "sections#phantom_shape": [24, 24, 16],
            "epoch_slices": 32,
            "modalities": ["t1c", "t2f"],
            "teacher_epochs": 1,
            "mixup": 0.2,
            "class_weights": [1.0, 2.0, 1.0, 0.5],
            "label_fraction": 0.6,
        },
    },
    "cls_teacher": {
        "plain": {**CLASSIFICATION, **SLICES},
        "brats": {
            **CLASSIFICATION,
            "task": "brats_slice",
            "phantom_cases": 6,
            "sections#phantom_shape": [24, 24, 16],
            "epoch_slices": 32,
            "teacher_kind": "vit_vit",
        },
    },
    "brats_seg_kd": {
        "plain": {**VOLUMES, "student_base": 2, "teacher_epochs": 1},
        "volumes": {
            **VOLUMES,
            "spatial_dims": 3,
            "student_base": 2,
            "teacher_epochs": 1,
            "teacher_kind": "segresnet",
            "label_fraction": 0.6,
            "labelled_per_batch": 0.5,
        },
        "slices": {
            **VOLUMES,
            "student_base": 2,
            "teacher_epochs": 1,
            "neighbours": 1,
            "modalities": ["t1c", "t2f"],
            "label_fraction": 0.6,
            "cache": "disk",
        },
        "folds": {
            **VOLUMES,
            "phantom_cases": 8,
            "spatial_dims": 3,
            "student_base": 2,
            "teacher_epochs": 1,
            "teacher_folds": 2,
            "teacher_recipe": "nnunet",
            "teacher_kind": "dynunet",
            "method": "kd",
        },
    },
    "brats_seg_teacher": {
        "plain": VOLUMES,
        "volumes": {**VOLUMES, "spatial_dims": 3, "teacher_kind": "segresnet", "loss": "dice_focal"},
    },
    "brats_unimodal_kd": {
        "plain": {
            **VOLUMES,
            "student_base": 2,
            "teacher_epochs": 1,
            "sections#phantom_shape": [24, 24, 16],
        },
        "online": {
            **VOLUMES,
            "student_base": 2,
            "sections#phantom_shape": [24, 24, 16],
            "teacher_mode": "online",
            "teacher_kind": "segresnet",
            "label_fraction": 0.6,
            "labelled_per_batch": 0.5,
        },
        "fusion": {
            **VOLUMES,
            "spatial_dims": 3,
            "student_base": 2,
            "teacher_epochs": 1,
            "teacher_mode": "fusion",
            "teacher_kind": "segresnet",
        },
    },
}
ALL = {"epochs": 2, "batch_size": 4, "device": CPU}


def main() -> int:
    arguments = _arguments()
    work = Path(arguments.work or tempfile.mkdtemp(prefix="compare-commits-")).resolve()
    sides = []
    try:
        for commit in (arguments.before, arguments.after):
            sides.append(_side(commit, work))
        different = 0
        for bundle in arguments.only or sorted(RUNS):
            for run in RUNS[bundle]:
                if arguments.run and run not in arguments.run:
                    continue
                before, after = (_result(side, bundle, run, work, arguments.train_only) for side in sides)
                found = _differences(before, after)
                different += bool(found)
                told = f"DIFFERENT: {'; '.join(found)}" if found else f"equal ({len(before)} results compared)"
                print(f"{bundle} {run}: {told}", flush=True)
        return 1 if different else 0
    finally:
        for side in sides:
            if side["worktree"]:
                _git("worktree", "remove", "--force", str(side["tree"]))
        if not arguments.work:
            shutil.rmtree(work, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", nargs="?", help="a commit; the working tree by default")
    parser.add_argument("--only", nargs="+", choices=sorted(RUNS), help="these bundles")
    parser.add_argument("--run", nargs="+", help="these of the runs of each bundle, such as plain")
    parser.add_argument("--work", help="folder of the runs; those of a commit that it has already are not run again")
    parser.add_argument("--train_only", action="store_true", help="no evaluation and no inference")
    return parser.parse_args()


def _side(commit: str | None, work: Path) -> dict[str, Any]:
    """A tree of files to run in, with the folder name of its runs."""
    if commit is None:
        return {"tree": ROOT, "name": "working-tree", "worktree": False}
    full = _git("rev-parse", "--verify", f"{commit}^{{commit}}")
    tree = work / f"tree-{full[:12]}"
    if tree.exists():
        _git("worktree", "remove", "--force", str(tree))
    _git("worktree", "add", "--detach", str(tree), full)
    return {"tree": tree, "name": full[:12], "worktree": True}


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _result(side: Mapping[str, Any], bundle: str, run: str, work: Path, train_only: bool) -> dict[str, Any]:
    """Name -> value of all that a run gives; of a commit whose run is there already, that."""
    settings = {**ALL, **RUNS[bundle][run]}
    key = hashlib.sha256(json.dumps([settings, train_only], sort_keys=True).encode()).hexdigest()[:8]
    folder = work / side["name"] / f"{bundle}-{run}-{key}"
    found = folder / "compared.json"
    if side["worktree"] and found.is_file():
        return json.loads(found.read_text(encoding="utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    task = {"tree": str(side["tree"]), "bundle": bundle, "settings": settings, "folder": str(folder)}
    environment = {**os.environ, "PYTHONPATH": str(side["tree"]), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, __file__, "--child", json.dumps({**task, "train_only": train_only})]
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        done = subprocess.run(words, cwd=side["tree"], env=environment, stdout=log, stderr=log, check=False)
    if done.returncode:
        tail = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-1500:]
        raise SystemExit(f"{bundle} {run} at {side['name']} failed (see {folder / 'log.txt'}):\n{tail}")
    result = _read(folder)
    found.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def _child(task: dict[str, Any]) -> None:
    """In a process of its own, whose ckdmed is that of the tree: train, score and predict."""
    from monai.bundle import ConfigWorkflow
    from monai.utils import set_determinism

    import ckdmed

    tree, folder = Path(task["tree"]), Path(task["folder"])
    if not Path(ckdmed.__file__).resolve().is_relative_to(tree):
        raise SystemExit(f"the package that is imported is {ckdmed.__file__}, not that of {tree}")
    bundle = tree / "bundles" / task["bundle"]

    def go(files: list[str], kind: str, settings: dict[str, Any]) -> None:
        config: dict[str, Any] = {}
        for name in files:
            config.update(json.loads((bundle / name).read_text(encoding="utf-8")))
        known = dict(_as_known(name, value, config) for name, value in settings.items())
        made = ConfigWorkflow(
            [str(bundle / name) for name in files], None, False, workflow_type=kind, output_dir=str(folder), **known
        )
        made.initialize()
        made.run()
        try:
            made.finalize()
        except SystemExit as end:
            if end.code:
                raise
        set_determinism(None)

    go(["train.json"], "train", task["settings"])
    if not task["train_only"]:
        go(["train.json", "evaluate.json"], "train", task["settings"])
        data = sorted((folder / "phantoms").iterdir())
        folder, weights = folder / "inference", folder / "models" / "model.pt"
        go(
            ["inference.json"],
            "inference",
            {**_network(folder.parent, bundle), "dataset_dir": str(data[0]), "checkpoint": str(weights)},
        )


def _network(folder: Path, bundle: Path) -> dict[str, Any]:
    """The settings of a training that its inference has as well, and that are not the machine's or the run's."""
    recorded = json.loads((folder / "settings.json").read_text(encoding="utf-8"))["settings"]
    config = json.loads((bundle / "inference.json").read_text(encoding="utf-8"))
    of_run = {
        "bundle_root",
        "dataset_dir",
        "output_dir",
        "ckpt_dir",
        "resume",
        "device",
        "seed",
        "num_workers",
        "in_channels",
    }
    kept = {name: value for name, value in recorded.items() if name in config and name not in of_run}
    if "student_modalities" in recorded:
        kept["modalities"] = recorded["student_modalities"]
    return {**kept, "device": CPU, **({"probabilities": True} if "probabilities" in config else {})}


def _as_known(name: str, value: Any, config: Mapping[str, Any]) -> tuple[str, Any]:
    """A setting as the configuration of a commit calls it."""
    top, *rest = name.split("#")
    if top not in config and top in OLD_NAMES:
        return "#".join([OLD_NAMES[top], *rest]), OLD_VALUES.get((top, str(value)), value)
    return name, value


def _read(folder: Path) -> dict[str, Any]:
    """What is compared of a run: name -> a value that has to be equal."""
    import torch

    result: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        # the notes of an inference name the folder
        passed_over = name.startswith(("phantoms/", "cache/")) or "resume" in name or name == "inference/results.jsonl"
        if not path.is_file() or passed_over:
            continue
        if path.suffix == ".pt":
            digest = hashlib.sha256()
            for key, tensor in sorted(torch.load(path, map_location="cpu", weights_only=True).items()):
                digest.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
                digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
            result[name] = digest.hexdigest()
        elif path.suffix == ".jsonl":
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                row = json.loads(line)
                result[f"{name} line {number}"] = {k: v for k, v in row.items() if "seconds" not in k}
        elif path.suffix == ".csv" or (
            name.startswith("inference/") and path.suffix in (".npy", ".gz", ".npz", ".png")
        ):
            result[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if not any(name.endswith(".pt") for name in result) or not any(".jsonl" in name for name in result):
        raise SystemExit(f"{folder} holds no weights or no losses")
    return result


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each result that is missing or another after; what was added since is no difference."""
    found = [f"{name} is missing" for name in before if name not in after]
    for name, value in before.items():
        if name in after and isinstance(value, dict):
            parts = [part for part in value if json.dumps(value[part]) != json.dumps(after[name].get(part))]
            found += [f"{name}, {part}: {value[part]} and {after[name].get(part)}" for part in parts]
        elif name in after and value != after[name]:
            found.append(name)
    return [line[:300] for line in found[:20]]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
