"""The tables and the picture of a deployment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.deploy.deployment import Costs, Deployment, FormResult, ModelCost
from ckdmed.deploy.measure import NETWORK, THREADS
from ckdmed.files import write_atomic, write_json
from ckdmed.reports import markdown_table
from ckdmed.reports.files import save_figure
from ckdmed.reports.style import new_figure, tidy_axes

__all__ = ["forms_table", "resource_table", "write_documents"]

_FULL, _OWN = "teacher, full size", "own teacher"
_NOT = "not measured"


def write_documents(folder: Path, deployment: Deployment) -> None:
    """``deploy.json`` with every figure, ``deploy.md`` with the tables, ``deploy.png`` with the costs as bars."""
    record = {
        "bundle": deployment.bundle,
        "description": asdict(deployment.description),
        "options": asdict(deployment.options),
        "forms": [{**asdict(form), "title": form.title} for form in deployment.forms],
        "costs": None if deployment.costs is None else asdict(deployment.costs),
    }
    write_json(folder / "deploy.json", record)
    parts = [f"# {deployment.bundle}: deployed files", forms_table(deployment)]
    if deployment.costs is not None:
        parts += ["## What they cost", resource_table(deployment.costs), _machine(deployment.costs)]
        draw_costs(deployment.costs, folder / "deploy.png")
        parts.append("![Latency, size, cold start and peak memory](deploy.png)")
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    write_atomic(folder / "deploy.md", lambda path: path.write_text(text, encoding="utf-8"))


def forms_table(deployment: Deployment) -> str:
    """What each form changes and how fast it is, with the verdict."""
    metric = next((form.changes.metric for form in deployment.forms if form.changes), "metric")
    head = ["form", "MB", *(f"ms, {n} thread{'s' * (n > 1)}" for n in THREADS), "processor ms"]
    head += [
        "times the full-size teacher",
        "times its own teacher",
        "cold start, s",
        "peak, MB",
        "largest difference of probabilities",
    ]
    head += [f"{metric} before", "after", "worst slice loses", "changed slices", "J per slice", "verdict"]
    lines = [_form_line(form, deployment.costs) for form in deployment.forms]
    for name in (NETWORK, _OWN, _FULL):
        if deployment.costs is not None and name in deployment.costs.of:
            label = "network in PyTorch" if name == NETWORK else name
            lines.append(
                [label, *_cost_cells(name, deployment.costs), *[""] * 5, _joules(deployment.costs.of[name]), ""]
            )
    judged = next((form.changes for form in deployment.forms if form.changes), None)
    limits = deployment.options.limits
    where = "phantoms" if deployment.options.dataset_dir is None else f"the section {deployment.options.section}"
    slices = counted(judged.slices if judged else 0, "slice")
    said = (
        f"Judged on {slices} of {where}, which calibration did not use. A form passes "
        f"if its mean {metric} falls by {limits.mean_drop:g} at most, no slice loses more than {limits.worst_drop:g} "
        f"and at most {limits.changed:.0%} of the slices are changed (a mask whose Dice with that of float32 is below "
        "0.95, or another class)."
    )
    return markdown_table(head, lines) + "\n\n" + said


def _form_line(form: FormResult, costs: Costs | None) -> list[str]:
    cells = _cost_cells(form.name, costs) if form.written else [""] * (6 + len(THREADS))
    changes = form.changes
    judged = [""] * 5
    if changes is not None:
        judged = [
            f"{changes.probability_difference:.2g}",
            f"{changes.before:.4f}",
            f"{changes.after:.4f}",
            f"{changes.worst_drop:.4f}" + (f" ({changes.worst_slice})" if changes.worst_drop else ""),
            f"{changes.changed:.1%}",
        ]
    verdict = "passes" if not form.reasons else ("fails, written by --force" if form.written else "not written")
    joules = _joules(costs.of[form.name]) if costs is not None and form.name in costs.of else ""
    return [
        form.title,
        *cells,
        *judged,
        joules,
        ": ".join([verdict, "; ".join(form.reasons)]) if form.reasons else verdict,
    ]


def _cost_cells(name: str, costs: Costs | None) -> list[str]:
    if costs is None or name not in costs.of:
        return [""] * (6 + len(THREADS))
    cost = costs.of[name]
    return [
        f"{cost.megabytes:.1f}",
        *(f"{cost.milliseconds[n]:.1f}" for n in THREADS),
        _number(cost.cpu_milliseconds, 1),
        _ratio(costs, _FULL, cost),
        _ratio(costs, _OWN, cost),
        _number(cost.cold_start, 2),
        _number(cost.peak_megabytes, 0),
    ]


def _ratio(costs: Costs, other: str, cost: ModelCost) -> str:
    """How many times as fast as a teacher with one thread: by the clock, and in brackets by the processor's time."""
    if other not in costs.of:
        return "-"
    teacher = costs.of[other]
    text = f"{teacher.milliseconds[1] / cost.milliseconds[1]:.1f}"
    if teacher.cpu_milliseconds and cost.cpu_milliseconds:
        text += f" ({teacher.cpu_milliseconds / cost.cpu_milliseconds:.1f})"
    return text


def _joules(cost: ModelCost) -> str:
    return _NOT if cost.joules is None else f"{cost.joules:.2f}"


def _number(value: float | None, decimals: int) -> str:
    return _NOT if value is None else f"{value:.{decimals}f}"


def resource_table(costs: Costs) -> str:
    """The resource figure: everything that was measured, of networks and forms."""
    head = ["model", "parameters", "GFLOPs", "MB", *(f"ms, {n} thread{'s' * (n > 1)}" for n in THREADS)]
    head += ["training step, ms", "peak, MB", "peak on GPU, MB", "J per slice"]
    lines = []
    for name, cost in costs.of.items():
        lines.append(
            [
                name,
                "" if cost.parameters is None else f"{cost.parameters:,}",
                "" if cost.flops is None else f"{cost.flops / 1e9:.2f}",
                f"{cost.megabytes:.1f}",
                *(f"{cost.milliseconds[n]:.1f}" for n in THREADS),
                "" if cost.training_step is None else f"{1000 * cost.training_step:.0f}",
                _number(cost.peak_megabytes, 0),
                _NOT if cost.cuda_megabytes is None else f"{cost.cuda_megabytes:.0f}",
                _joules(cost),
            ]
        )
    return markdown_table(head, lines)


def _machine(costs: Costs) -> str:
    machine: Any = costs.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} while it was measured; {versions}. "
        "Latencies are medians of single inputs, all models in turns; processor ms is the processor's own time for one "
        "input with one thread, which other work on the machine hardly changes; cold start is from the first import to "
        "the first result in a new process; training steps are of one input with one thread."
    )


def draw_costs(costs: Costs, path: Path) -> Path:
    """Bars of latency, size, cold start and peak memory of each model; the scales are logarithmic."""
    names = list(costs.of)
    panels: Sequence[tuple[str, list[float | None]]] = (
        ("latency, ms (1 thread)", [costs.of[name].milliseconds[1] for name in names]),
        ("size, MB", [costs.of[name].megabytes for name in names]),
        ("cold start, s", [costs.of[name].cold_start for name in names]),
        ("peak memory, MB", [costs.of[name].peak_megabytes for name in names]),
    )
    figure = new_figure(11, 0.9 + 0.34 * len(names))
    for number, (axes, (title, values)) in enumerate(zip(figure.subplots(1, len(panels)), panels, strict=True)):
        numbers = [math.nan if value is None else value for value in values]
        axes.barh(range(len(names)), numbers, color="#4477aa", height=0.62)
        axes.set_xscale("log")
        axes.set_title(title, fontsize=9)
        axes.set_yticks(range(len(names)), names if number == 0 else [""] * len(names), fontsize=8)
        axes.invert_yaxis()
        low, high = min(v for v in numbers if v == v), max(v for v in numbers if v == v)
        axes.set_xlim(low / 3, high * 6)
        for row, value in enumerate(numbers):
            if not math.isnan(value):
                axes.text(value * 1.12, row, f"{value:.3g}", va="center", fontsize=7.5)
        axes.tick_params(axis="x", labelsize=7.5)
        tidy_axes(axes)
    return save_figure(figure, path)
