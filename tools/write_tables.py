#!/usr/bin/env python3
"""Write the tables and pictures of results in README.md and docs/ from the run records in docs/records.

    python tools/write_tables.py            # fill every marked place, draw every picture
    python tools/write_tables.py --check    # status 1 where a table or picture is not that of its records

A place is marked by ``<!-- table: NAME -->`` and ``<!-- end of table -->``. Nothing between the two is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from ckdmed.experiments import experiment
from ckdmed.experiments.compare_arms import BASELINE
from ckdmed.experiments.records import read_experiment
from ckdmed.experiments.step_cost import cost_table
from ckdmed.experiments.tables import Group, section_title
from ckdmed.experiments.tasks import task_of
from ckdmed.files import write_atomic
from ckdmed.methods import methods
from ckdmed.reports import (
    RunRecord,
    arm_table,
    corrected_differences,
    markdown_table,
    mean_sd,
    patient_table,
    read_values,
    write_bytes,
)
from ckdmed.reports.tables import difference_cell
from ckdmed.robustness import plot_robustness, robustness_tables

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "docs" / "records"
PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
PAGES = ("README.md", "docs/*.md")
COMPARE = experiment("compare")
PATIENTS = COMPARE.patient_score


def records_of(name: str) -> list[RunRecord]:
    """The records of an experiment: one JSON Lines file, or a folder of files where it has not been collected yet."""
    return list(_records_of(name))


# a page, its tables and its pictures read the same records
@cache
def _records_of(name: str) -> tuple[RunRecord, ...]:
    collected = RECORDS / f"{name}.jsonl"
    return tuple(read_experiment(collected if collected.is_file() else RECORDS / name))


def table1() -> str:
    """All of Table I."""
    return experiment("table1").tables(records_of("table1"))


def table1_plain() -> str:
    """The plain CNN and its teacher with ImageNet weights, at 96 pixels."""
    return experiment("table1").tables(records_of("table1-plain"))


def table1_folds(name: str) -> str:
    """The network of the classifier that ships, trained for each of five folds."""
    return experiment("table1").tables(records_of(name))


class _Shown(NamedTuple):
    """A row of the README: the records below docs/records, their score, and the arms, "" for none."""

    records: str
    score: str
    alone: str
    distilled: str = ""
    teacher: str = ""
    #: of the students, where the records are of several
    label_fraction: float | None = None


_HEADLINE = {
    "masks, 12 epochs": _Shown("compare-tuned", "Dice per slice", BASELINE, "ckd", "teacher"),
    "masks, 40 epochs, teacher on larger images": _Shown(
        "compare-converged", "Dice per slice", BASELINE, "ckd", "teacher"
    ),
    "masks, 256 pixels, a quarter of the teacher's channels removed": _Shown(
        "pruned-quarter", "Dice per slice", "supervised", "ckd", "given"
    ),
    "masks, a quarter of the labels, teacher trained on the same labels": _Shown(
        "compare-converged-25", "Dice per slice", BASELINE, "outputs", "teacher"
    ),
    "masks, a quarter of the labels, teacher trained on all labels": _Shown(
        "compare-few-labels", "Dice per slice", BASELINE, "ckd", "teacher"
    ),
    "the same at 64 pixels, teacher at 256": _Shown(
        "methods-segmentation-few-known", "Dice per slice", "supervised", "ckd", "given"
    ),
    "masks, a quarter of the labels, teacher trained on other patients": _Shown(
        "methods-segmentation-elsewhere", "Dice per slice", "supervised", "ckd", "given"
    ),
    "glioma masks from contrast-enhanced T1 alone, teacher also sees FLAIR": _Shown(
        "unimodal-lgg", "Dice", "t1c-alone", "t1c-distilled", label_fraction=1
    ),
    "BraTS regions, eight patients in four folds": _Shown("brats-experts", "Dice", "supervised", "ckd", "teacher"),
    "tumour type, VGG19 + ViT without pretrained weights": _Shown(
        "table1", "test_accuracy", "student_alone", "student_vgg_vit", "teacher_vgg_vit"
    ),
    "tumour type, a quarter of the labels, teacher trained on all labels": _Shown(
        "methods-classification-few", "test_accuracy", "supervised", "ckd", "given"
    ),
    "tumour type, a quarter of the labels, teacher trained on other patients": _Shown(
        "methods-classification-elsewhere", "test_accuracy", "supervised", "ckd", "given"
    ),
    "tumour type, EfficientNet-Lite0 at 160 pixels, five folds": _Shown(
        "table1-folds", "test_accuracy", "student_alone"
    ),
    "the same at 224 pixels": _Shown("table1-folds-224", "test_accuracy", "student_alone"),
}


def headline() -> str:
    """The main results on test sets, for the README.

    Raises:
        ValueError: an arm that is named has no run.
    """
    rows = []
    for what, shown in _HEADLINE.items():
        own = [
            record
            for record in records_of(shown.records)
            # Table I has both sections in one record, and was also made with a split by slices, which says little
            if record.split.get("section", "test") == "test"
            and record.split["name"] != "slices"
            and shown.label_fraction in (None, record.split.get("label_fraction"))
        ]
        arms = (shown.alone, shown.distilled, shown.teacher)
        if absent := [arm for arm in arms if arm and arm not in {record.arm for record in own}]:
            raise ValueError(
                f"docs/records/{shown.records} has no run of {', '.join(absent)} on the test set for '{what}'."
            )
        cells = [_mean_of_runs([r.metrics[shown.score] for r in own if r.arm == arm]) for arm in arms]
        rows.append([what, "accuracy" if "accuracy" in shown.score else shown.score, *cells])
    return markdown_table(["task and setting", "score", "student alone", "distilled student", "teacher"], rows)


def _mean_of_runs(scores: list[float | None]) -> str:
    """Mean, spread and the number of runs; nothing where there is none."""
    return f"{mean_sd(scores, 3)} ({len(scores)})" if scores else ""


# comparisons below docs/records with a table in full, a short one and a picture
COMPARISONS = (
    *("compare-tuned", "compare-converged", "compare-converged-25", "compare-few-labels"),
    *("compare", "compare-pretrained", "compare-pretrained-25"),
)


def compared(folder: str) -> str:
    """A comparison in full."""
    return COMPARE.tables(records_of(folder))


def compared_short(folder: str) -> str:
    """Its Dice per slice alone."""
    return COMPARE.summary(records_of(folder))


def teachers_compared() -> tuple[list[RunRecord], dict[str, str]]:
    """The same students distilled from a teacher with ImageNet weights and from one without; and what to call the arms.

    Raises:
        ValueError: the student alone, which has no teacher, is not the same in both comparisons.
    """
    pretrained = [r for r in records_of("compare-pretrained") if r.arm != "alone_longer"]
    plain = records_of("compare-plain-teacher")
    alone = {r.name + r.split["section"]: r.metrics for r in pretrained if r.arm == BASELINE}
    for record in plain:
        if record.arm == BASELINE and record.metrics != alone[record.name + record.split["section"]]:
            raise ValueError(f"{record.name} differs between the comparisons; their seeds and data must be the same.")
    seeds = {record.seed for record in plain}
    others = [replace(r, arm=f"{r.arm}-plain", name=f"{r.name}-plain") for r in plain if r.arm != BASELINE]
    labels = {
        "teacher-plain": "teacher without pretrained weights",
        "teacher": "teacher with ImageNet weights",
        BASELINE: "student alone",
        "ckd-plain": "distilled, teacher without pretrained weights",
        "ckd": "distilled, teacher with ImageNet weights",
    }
    return [r for r in pretrained if r.seed in seeds] + others, labels


def compare_teachers() -> str:
    """The two teachers and their students beside each other."""
    records, labels = teachers_compared()
    test = [record for record in records if record.split["section"] == "test"]
    two = {name: labels[name] for name in ("ckd-plain", "ckd")}
    return "\n".join(
        [
            COMPARE.tables(records, labels),
            "Test set, the two distilled students against each other:\n",
            arm_table(test, ("Dice per slice", PATIENTS), "ckd-plain", two),
            patient_table(test, PATIENTS, "ckd-plain", two),
        ]
    )


def compare_teachers_short() -> str:
    """Their Dice per slice alone."""
    return COMPARE.summary(*teachers_compared())


# of a comparison in the search, what sets it apart from the others
_SEARCHED = ("image_size", "student_base", "teacher_kind", "teacher_base", "epochs", "student_view", "teacher_view")


def search() -> str:
    """The comparisons of the search for a student that gains from its teacher, each with its settings."""
    parts = []
    for folder in sorted(path for path in (RECORDS / "search").iterdir() if path.is_dir()):
        records = read_experiment(folder)
        settings = [r.settings for r in records if r.arm not in ("teacher", "alone", "alone_view")] or [
            r.settings for r in records
        ]
        known = {name: settings[0][name] for name in _SEARCHED if settings[0].get(name) is not None}
        parts.append(f"**{folder.name}**: " + ", ".join(f"`{name}` {value}" for name, value in known.items()) + "\n")
        parts.append(COMPARE.tables(records))
    return "\n".join(parts)


# comparisons of students of one sequence below docs/records, each with a table in full and a short one
UNIMODAL = ("unimodal", "unimodal-short", "unimodal-lgg")


def unimodal(folder: str) -> str:
    """Students of one sequence with and without teachers, in full."""
    return experiment("unimodal").tables(records_of(folder))


def unimodal_summary(folder: str) -> str:
    """Their mean Dice alone."""
    return experiment("unimodal").summary(records_of(folder))


def ablation() -> str:
    """The ablation of COHRA-UNet."""
    return experiment("ablation").tables(records_of("ablation"))


def _inferred(name: str, bundle: str, weights: str = "model") -> dict[str, Any]:
    """The record of an inference with a checkpoint that ships with a bundle.

    Raises:
        ValueError: another one ships today.
    """
    record: dict[str, Any] = json.loads((RECORDS / "inference" / f"{name}.json").read_text(encoding="utf-8"))
    shipped = json.loads((ROOT / "bundles" / bundle / f"models/{weights}.json").read_text(encoding="utf-8"))
    if record["checkpoint_sha256"] != shipped["sha256"]:
        raise ValueError(
            f"docs/records/inference/{name}.json is of another checkpoint than ships with {bundle}: run "
            "tools/score_inference.py."
        )
    return record


def inference_classes() -> str:
    """What the shipped classifier makes of original slices, by what it knew of their patients."""
    parts = _inferred("figshare_mat_classes", "cls_kd")["parts"]
    rows = [
        [name, str(p["n_patients"]), str(p["n_slices"]), f"{p['accuracy']:.3f}", f"{p['patient_accuracy']:.3f}"]
        for name, p in parts.items()
    ]
    return markdown_table(["patients", "how many", "slices", "accuracy per slice", "per patient"], rows)


_GIVEN_AWAY = {"all": "all", "others": "whose code does not begin with MR", "given away": "whose code begins with MR"}


def short_cuts() -> str:
    """What a classifier scores on patients whose code does not give their tumour away, and under a gamma."""
    points = json.loads((RECORDS / "short-cuts.json").read_text(encoding="utf-8"))["points"]
    rows = []
    for point, groups in points.items():
        for group, scores in groups.items():
            known = {name: "" if value is None else f"{value:.4f}" for name, value in scores.items()}
            means = [known[name] for name in ("balanced_accuracy", "macro_auc", "glioma_recall")]
            lost = "" if point == "clean" else f"{points['clean'][group]['accuracy'] - scores['accuracy']:.4f}"
            counts = [str(scores[name]) for name in ("patients", "slices")]
            rows.append([point, _GIVEN_AWAY[group], *counts, known["accuracy"], lost, *means])
    head = [
        "images",
        "patients",
        "how many",
        "slices",
        "accuracy",
        "lost of it",
        "balanced accuracy",
        "AUC",
        "gliomas found",
    ]
    return markdown_table(head, rows)


def inference() -> str:
    """What the shipped students make of original slices, by what they knew of their patients."""
    rows = []
    for weights, name in (("model", "figshare_mat"), ("small", "figshare_mat_small")):
        record = _inferred(name, "seg_kd", weights)
        for patients, part in record["parts"].items():
            dice, distance = part["scores"]["dice"], part["scores"]["hd95"]
            interval = " to ".join(f"{bound:.4f}" for bound in dice["patient_interval"])
            means = [f"{dice[mean]:.4f}" for mean in ("slice_mean", "patient_mean")]
            counts = [str(part["n_patients"]), str(part["n_slices"])]
            rows.append([f"`{weights}.pt`", patients, *counts, *means, interval, f"{distance['slice_mean']:.2f}"])
    scores = ["Dice per slice", "per patient", "95% interval", f"HD95 per slice [{record['unit']}]"]
    return markdown_table(["checkpoint", "patients", "how many", "slices", *scores], rows)


# bundles whose shipped checkpoints were scored on worse images
ROBUST = ("seg_kd", "cls_kd")


def robustness_records(bundle: str) -> list[RunRecord]:
    """The records of the checkpoint that ships with a bundle.

    Raises:
        ValueError: another one ships today.
    """
    records = records_of(f"robustness-{bundle}")
    shipped = json.loads((ROOT / "bundles" / bundle / "models/model.json").read_text(encoding="utf-8"))
    if any(r.settings["checkpoint_sha256"] != shipped["sha256"] for r in records if r.settings["bundle"] == bundle):
        raise ValueError(
            f"docs/records/robustness-{bundle}.jsonl is of another checkpoint than ships with {bundle}: run `ckdmed "
            "robustness` again."
        )
    return records


def robustness(bundle: str) -> str:
    """The shipped student on worse images."""
    return robustness_tables(robustness_records(bundle))


def reliability() -> str:
    """What became of damaged files, by kind of file."""
    record = json.loads((RECORDS / "reliability" / "fuzz.json").read_text(encoding="utf-8"))
    names = [
        "refused",
        "made again or unchanged",
        "another value, no checksum",
        "faults",
        "peak memory [MiB]",
        "longest [s]",
    ]
    rows = []
    for kind, of in record["kinds"].items():
        counts = of["outcomes"]
        kept = counts.get("right", 0) + counts.get("unchanged", 0)
        cells = [
            of["files"],
            counts.get("refused", 0),
            kept,
            counts.get("other value", 0),
            of["faults"],
            of["peak_mib"],
        ]
        rows.append([kind, *map(str, cells), f"{of['seconds']:.2f}"])
    return markdown_table(["kind of file", "damaged files", *names], rows)


def _option(name: str, value: object) -> str:
    """An option of a method with its default, if it has one."""
    if value is None:
        return f"`{name}`"
    return f"`{name}` {value:g}" if isinstance(value, (int, float)) else f"`{name}` {value}"


def method_tables() -> str:
    """The registry of methods, a table for the methods of each group of tasks."""
    parts = []
    for title, tasks in (
        ("Masks and regions (`seg_kd`, `brats_seg_kd`)", ("segmentation", "regions")),
        ("Classes (`cls_kd`)", ("classification",)),
        ("Several teachers (`brats_unimodal_kd`)", ("unimodal",)),
    ):
        rows = []
        for one in sorted({m.name: m for task in tasks for m in methods(task).values()}.values(), key=lambda m: m.name):
            options = ", ".join(_option(name, value) for name, value in one.options.items())
            alone = "" if set(tasks) == set(one.tasks) else f" ({', '.join(one.tasks)} only)"
            rows.append([f"`{one.name}`", one.summary + alone, options or "none", one.source or "control"])
        parts.append(f"{title}:\n\n" + markdown_table(["method", "what it is", "options", "source"], rows))
    return "\n\n".join(parts)


def kills() -> str:
    """What became of commands that were killed, by command."""
    record = json.loads((RECORDS / "reliability" / "kills.json").read_text(encoding="utf-8"))
    kinds = {"before": "before a write", "after": "after a write", "change": "before another change"}
    kinds["milliseconds"] = "at a time"
    rows = [
        [name, *map(str, [of["writes"], *(of["kills"].get(kind, 0) for kind in kinds), of["faults"]])]
        for name, of in record["commands"].items()
    ]
    rows.append(["all", *(str(sum(int(row[column]) for row in rows)) for column in range(1, len(rows[0])))])
    return markdown_table(["command", "writes", *(f"killed {kind}" for kind in kinds.values()), "faults"], rows)


# name of an experiment -> how the files of its records in docs/records begin
_CHOOSING = {"methods": "methods-", "sweep": "sweep-", "sizes": "sizes-"}
# records of a short run for costs alone, without a cache of teacher outputs
_COSTS = "methods-costs-"


def chosen_from() -> dict[str, str]:
    """Comparisons of methods and of sizes, and sweeps, below docs/records: name -> experiment."""
    names = {path.name.removesuffix(".jsonl") for path in RECORDS.iterdir() if path.is_dir() or path.suffix == ".jsonl"}
    return {
        name: kind
        for kind, start in _CHOOSING.items()
        for name in sorted(names)
        if name.startswith(start) and not name.startswith(_COSTS)
    }


def choosing(kind: str) -> str:
    """All that is recorded of one of these experiments: tables, each with its picture."""
    parts = []
    for name, own in chosen_from().items():
        if own == kind:
            tables = experiment(kind).tables(records_of(name)).replace("### ", "#### ")
            parts.append(f"![{name}](images/{name}.png)\n\n{tables}")
    return "\n".join(parts) or "No run is recorded yet.\n"


def chosen_short(name: str) -> str:
    """A comparison of methods, or a sweep: what each arm reaches in a section, and its corrected difference."""
    groups = experiment(chosen_from()[name]).groups(records_of(name))
    return f"![{name}](images/{name}.png)\n\n" + "\n".join(map(_short, groups))


def _short(group: Group) -> str:
    task, baseline = task_of(group.records), str(group.baseline)
    scores = (task.scores[0], task.patient_score)
    others = [arm for arm in group.names if arm != baseline]
    found = corrected_differences(group.records, task.patient_score, baseline, others)
    teachers = sorted({record.arm for record in group.records} - set(group.names))
    rows = []
    for arm, label in {**group.names, **{arm: _teacher_label(arm, len(teachers)) for arm in teachers}}.items():
        runs = [record for record in group.records if record.arm == arm]
        got = ["baseline" if arm == baseline else "", ""]
        if arm in found:
            p_value = found[arm].p_value
            # that of a bootstrap is never 0
            got = [difference_cell(found[arm].difference, 4), f"{p_value:.3f}" if p_value >= 0.0005 else "<0.001"]
        means = [mean_sd([record.metrics.get(score) for record in runs]) for score in scores]
        rows.append([label, str(len(runs)), *means, *got])
    head = [*map(_in_words, scores), "difference per patient [95% interval, Holm]", "p (Holm)"]
    table = markdown_table(["arm", "runs", *head], rows)
    return f"{section_title(group.records[0])}:\n\n{table}"


def _teacher_label(arm: str, count: int) -> str:
    """Of several teachers the one that all methods share needs no name."""
    fusion = arm.partition("_fuse_")[2] if count > 1 else ""
    if fusion == "resolutions":
        return "teacher of several resolutions"
    return f"teacher fused by {fusion}" if fusion else "teacher"


def _in_words(score: str) -> str:
    """A score as a table's head."""
    words = {"accuracy": "accuracy per slice", "patient_accuracy": "accuracy per patient"}
    return words.get(score.removeprefix("val_").removeprefix("test_"), score)


def sizes_short() -> str:
    """What each width reaches, of all that is recorded of sizes."""
    whole = choosing("sizes")
    return whole.partition("#### Width")[0].rstrip() + "\n"


def brats_experts() -> str:
    """Patients with experts' masks, each scored by networks that were trained without them."""
    if not (RECORDS / "brats-experts.jsonl").is_file():
        return "No run is recorded yet.\n"
    left_out = [record for record in records_of("brats-experts") if record.split["section"] == "test"]
    return experiment("methods").tables(left_out)


# below docs/records: a network with fewer channels, trained on alone and distilled from the whole one
PRUNED = ("pruned-quarter", "pruned-two-fifths")


def pruned(name: str) -> str:
    """Such a comparison in full."""
    return experiment("methods").tables(records_of(name))


def pruned_short(name: str) -> str:
    """The whole network, and both students, on the validation and on the test set."""
    labels = {"given": "whole network, the teacher", "supervised": "student alone", "ckd": "distilled student"}
    sections, records = ("validation", "test"), records_of(name)
    rows = []
    for arm, label in labels.items():
        row = [label]
        for section in sections:
            own = [each.metrics for each in records if (each.arm, each.split["section"]) == (arm, section)]
            row += [mean_sd([metrics[score] for metrics in own]) for score in ("Dice per slice", "Dice per patient")]
        rows.append([*row, str(len(own))])
    heads = [f"{section}: Dice per {unit}" for section in sections for unit in ("slice", "patient")]
    return markdown_table(["network", *heads, "runs"], rows)


def method_costs() -> str:
    """What a training step of each method costs, by a short run of the task, or else by its comparison."""
    parts = []
    for task in ("segmentation", "classification"):
        comparisons = [name for name in chosen_from() if name.startswith(f"methods-{task}")]
        names = [_COSTS + task] if (RECORDS / f"{_COSTS}{task}.jsonl").is_file() else comparisons
        if not names:
            continue
        (group,) = experiment("methods").groups(records_of(names[0]))
        sizes = group.records[0].settings
        what = f"{sizes['image_size']} pixels, batches of {sizes['batch_size']}, {group.records[0].machine}"
        parts.append(f"{task.capitalize()} ({what}):\n\n{cost_table(group)}")
    return "\n".join(parts) or "No run is recorded yet.\n"


# of the bundles whose networks here were trained on phantoms for an epoch, to be deployed
_SMALL = ("brats_seg_kd", "brats_unimodal_kd", "seg_teacher", "cls_teacher", "brats_seg_teacher")


def deployed() -> str:
    """What the small networks of the bundles cost in every form, from the ``deploy.json`` of each."""
    head = ["bundle", "input", "form", "MB", "ms, 1 thread", "2 threads", "full-size teacher takes, times"]
    head += ["own teacher takes, times", "cold start, s", "peak, MB", "changed", "verdict"]
    rows = []
    for bundle in _SMALL:
        record = json.loads((RECORDS / "deploy" / f"{bundle}.json").read_text(encoding="utf-8"))
        costs = record["costs"]["of"]
        titles = {form["name"]: form for form in record["forms"]}
        for name, cost in costs.items():
            form = titles.get(name, {})
            first, changes = name == next(iter(costs)), form.get("changes")
            verdict = ("fails" if form["reasons"] else "passes") if changes else ""
            rows.append(
                [
                    f"`{bundle}`" if first else "",
                    " x ".join(map(str, record["description"]["input_shape"])) if first else "",
                    form.get("title", name),
                    f"{cost['megabytes']:.1f}",
                    *(f"{cost['milliseconds'][threads]:.1f}" for threads in "12"),
                    *(_times(costs, teacher, cost) for teacher in ("teacher, full size", "own teacher")),
                    *("" if cost[key] is None else f"{cost[key]:.{n}f}" for key, n in _MEASURED.items()),
                    f"{changes['changed']:.1%}" if changes else "",
                    verdict,
                ]
            )
    return markdown_table(head, rows)


_MEASURED = {"cold_start": 2, "peak_megabytes": 0}


def _times(costs: dict[str, Any], teacher: str, cost: dict[str, Any]) -> str:
    if teacher not in costs or cost in (costs[teacher], costs["teacher, full size"]):
        return ""
    return f"{costs[teacher]['milliseconds']['1'] / cost['milliseconds']['1']:.1f}"


TABLES: dict[str, Callable[[], str]] = {
    "deployed": deployed,
    "table1": table1,
    "table1-plain": table1_plain,
    **{name: partial(table1_folds, name) for name in ("table1-folds", "table1-folds-224")},
    "headline": headline,
    **{name: partial(compared, name) for name in COMPARISONS},
    **{f"{name}-short": partial(compared_short, name) for name in COMPARISONS},
    "compare-tuned-40-short": partial(compared_short, "compare-tuned-40"),
    "compare-teachers": compare_teachers,
    "compare-teachers-short": compare_teachers_short,
    "search": search,
    "ablation": ablation,
    "inference": inference,
    "inference-classes": inference_classes,
    "short-cuts": short_cuts,
    "methods": method_tables,
    "methods-compared": partial(choosing, "methods"),
    "methods-costs": method_costs,
    "brats-experts": brats_experts,
    **{name: partial(pruned, name) for name in PRUNED},
    **{f"{name}-short": partial(pruned_short, name) for name in PRUNED},
    "sweeps": partial(choosing, "sweep"),
    "sizes": partial(choosing, "sizes"),
    "sizes-short": sizes_short,
    **{f"{name}-short": partial(chosen_short, name) for name, kind in chosen_from().items() if kind != "sizes"},
    **{f"robustness-{bundle}": partial(robustness, bundle) for bundle in ROBUST},
    **{name: partial(unimodal, name) for name in UNIMODAL},
    **{f"{name}-summary": partial(unimodal_summary, name) for name in UNIMODAL},
    "reliability": reliability,
    "kills": kills,
}

# picture below docs/images -> the records below docs/records that it shows, and their experiment, "" for none
PICTURES = {
    f"{name}.png": (name, kind)
    for name, kind in {
        **dict.fromkeys(COMPARISONS, "compare"),
        **chosen_from(),
        **{f"robustness-{bundle}": "" for bundle in ROBUST},
    }.items()
}


def drawn(name: str, path: Path) -> Path:
    """A picture of :data:`PICTURES`, drawn from today's records.

    Raises:
        ValueError: its records have nothing to compare.
    """
    records, kind = PICTURES[name]
    draw = experiment(kind).picture if kind else plot_robustness
    if draw(records_of(records), path) is None:
        raise ValueError(f"docs/records/{records} has nothing to draw in {name}.")
    return path


def filled(page: str) -> str:
    """The page with the tables of today's records.

    Raises:
        ValueError: a marked place names no table.
    """

    def fill(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise ValueError(f"there is no table '{match[2]}'; there are {', '.join(TABLES)}.")
        return match[1] + "\n" + TABLES[match[2]]().strip() + "\n\n" + match[3]

    return PLACE.sub(fill, page)


def main() -> int:
    """Fill or check all pages and pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where something would change")
    args = parser.parse_args()
    changed = []
    for path in sorted(path for pattern in PAGES for path in ROOT.glob(pattern)):
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if new == old:
            continue
        changed.append(path.relative_to(ROOT).as_posix())
        if not args.check:
            write_atomic(path, partial(Path.write_text, data=new, encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        for name in PICTURES:
            path, now = ROOT / "docs" / "images" / name, drawn(name, Path(folder) / name)
            if path.is_file() and read_values(path) == read_values(now):
                continue
            changed.append(path.relative_to(ROOT).as_posix())
            if not args.check:
                write_bytes(path, now.read_bytes())
    print("\n".join(changed) or "every table and picture is that of its records")
    return 1 if args.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
