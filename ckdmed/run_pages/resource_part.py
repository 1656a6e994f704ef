"""The resource figure: what teacher, student and deployed forms cost, as ``ckdmed deploy`` measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.json_files import read_json

from .blocks import Bars, Table, Text
from .words import NONE, large_number, number

__all__ = ["RECORD", "resource_blocks", "resources_beside"]

#: what ckdmed deploy leaves
RECORD = "deploy.json"
_NOT = "not measured"


def resources_beside(run: Path) -> list[Path]:
    """Folders of deployments in a run's folder, itself among them."""
    return [path.parent for path in sorted({*run.glob(RECORD), *run.glob(f"*/{RECORD}")})]


def resource_blocks(folder: Path) -> list[Any]:
    """Tables and bars of a deployment.

    Args:
        folder: with its record.

    Raises:
        ValueError: the record is damaged; names it.
    """
    path = folder / RECORD
    record = read_json(path)
    try:
        return _blocks(record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is not a record of a deployment ({error!r}); run ckdmed deploy again.") from error


def _blocks(record: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = []
    costs = record["costs"]
    if costs is not None:
        of: Mapping[str, Mapping[str, Any]] = costs["of"]
        threads = list(dict.fromkeys(n for cost in of.values() for n in cost["milliseconds"]))
        blocks.append(_costs(of, threads))
        for title, key, unit in (
            ("Size of the file or the weights [MB]", "megabytes", "MB"),
            ("Cold start [s]", "cold_start", "s"),
            ("Peak memory of a new process [MB]", "peak_megabytes", "MB"),
        ):
            values = {name: float(cost[key]) for name, cost in of.items() if cost.get(key)}
            rows = [(name, value, f"{value:.3g} {unit}") for name, value in values.items()]
            if rows:
                blocks.append(Bars(title, rows))
        if threads:
            first = threads[0]
            latency = [(name, float(cost["milliseconds"][first])) for name, cost in of.items()]
            rows = [(name, value, f"{value:.3g} ms") for name, value in latency]
            blocks.insert(1, Bars(f"Latency of one input, {first} thread{'s' * (first != '1')} [ms]", rows))
        machine = costs["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        blocks.append(
            Text(
                f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} while it was measured; "
                f"{versions}. Medians of single inputs, all models in turns.",
                "note",
            )
        )
    blocks.append(_forms(record["forms"]))
    return blocks


def _costs(of: Mapping[str, Mapping[str, Any]], threads: Sequence[str]) -> Table:
    head = ["model", "parameters", "GFLOPs", "MB", *(f"ms, {n} thread{'s' * (n != '1')}" for n in threads)]
    head += ["processor ms", "cold start [s]", "peak [MB]", "training step [ms]", "energy [J]"]
    rows = [
        [
            name,
            NONE if cost.get("parameters") is None else large_number(int(cost["parameters"])),
            NONE if cost.get("flops") is None else f"{cost['flops'] / 1e9:.2f}",
            _decimals(cost["megabytes"], 1),
            *(_decimals(cost["milliseconds"].get(n), 1) for n in threads),
            _decimals(cost.get("cpu_milliseconds"), 1),
            _decimals(cost.get("cold_start"), 2),
            _decimals(cost.get("peak_megabytes"), 0),
            NONE if cost.get("training_step") is None else _decimals(1000 * cost["training_step"], 0),
            _decimals(cost.get("joules"), 2),
        ]
        for name, cost in of.items()
    ]
    return Table(head, rows, "What teacher, student and deployed forms cost")


def _forms(forms: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for form in forms:
        changes = form["changes"] or {}
        verdict = (
            "passes" if not form["reasons"] else ("fails, written by --force" if form["written"] else "not written")
        )
        rows.append(
            [
                # one of an earlier version has a name alone
                str(form.get("title") or form["name"]),
                number(changes.get("before")),
                number(changes.get("after")),
                _worst(changes),
                NONE if not changes else f"{changes['changed']:.1%}",
                ": ".join([verdict, "; ".join(form["reasons"])]) if form["reasons"] else verdict,
            ]
        )
    metric = next((str(form["changes"]["metric"]) for form in forms if form["changes"]), "score")
    head = ["form", f"{metric} before", "after", "worst slice loses", "changed slices", "verdict"]
    return Table(head, rows, "What the deployed forms change")


def _worst(changes: Mapping[str, Any]) -> str:
    """The largest loss of a slice, with the name of that; a slice that loses nothing has none to give."""
    drop = changes.get("worst_drop")
    return f"{number(drop)} ({changes['worst_slice']})" if drop else number(drop)


def _decimals(value: Any, decimals: int) -> str:
    return _NOT if value is None else f"{value:.{decimals}f}"
