"""The label fractions of an experiment, and the seed that chooses the labelled patients."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ckdmed.experiments.given_settings import parse_settings
from ckdmed.experiments.plan import Run

__all__ = [
    "LABELLED_ITEMS",
    "add_label_fraction_options",
    "check_label_fraction_options",
    "check_split_seed_chooses",
    "labelled_share",
    "longer",
    "on_labelled_images",
    "without_idle_split_seed",
]

#: what a training's dataset holds where images without labels are left out
LABELLED_ITEMS = "$[item for item in @sections['train'] if item['labelled']]"

_IDLE = (
    "chooses the labelled patients, but here all are labelled. The sections are those of the datalist: for others, "
    "make one with another seed (`ckdmed datalist`, `ckdmed brats-datalist`)."
)


def add_label_fraction_options(parser: argparse.ArgumentParser, default: Sequence[float]) -> None:
    """Declare `--label_fractions` and `--split_seed`."""
    shown = " ".join(f"{fraction:g}" for fraction in default)
    parser.add_argument(
        "--label_fractions",
        "--regimes",
        nargs="+",
        type=float,
        default=list(default),
        help=f"fractions of training patients with labels (default: {shown})",
    )
    parser.add_argument(
        "--split_seed",
        type=int,
        default=0,
        help="seed for choosing labelled patients; the datalist sets the sections (default: 0)",
    )


def check_label_fraction_options(args: argparse.Namespace, of_teachers: float | None = None) -> None:
    """Refuse a seed that chooses nothing, or two for one choice.

    Args:
        args: the options, those of all experiments among them.
        of_teachers: label fraction of the teachers, where they have one of their own.

    Raises:
        ValueError: all patients are labelled in all runs, and no folds are drawn; `--set` has another seed.
    """
    own = parse_settings(args.set)
    if args.split_seed and own.get("split_seed", args.split_seed) != args.split_seed:
        raise ValueError(
            f"--split_seed {args.split_seed} and --set split_seed={own['split_seed']} set the same seed twice; give "
            "only one of them."
        )
    all_labelled = all(fraction == 1 for fraction in (*args.label_fractions, of_teachers or 1))
    if args.split_seed and all_labelled and own.get("fold") is None:
        raise ValueError(f"--split_seed {args.split_seed} {_IDLE}")


def labelled_share(datalist: Mapping[str, Any], target: str = "label") -> float:
    """The share in (0, 1] of a datalist's training images that have a label there; 1 where there is no datalist.

    Args:
        datalist: of slices or of BraTS cases.
        target: what makes an image labelled: "label" (its mask) or "class".
    """
    items = datalist.get("training", ())
    # where an item has no class of its own, it follows from its mask
    found = [item[target] if target in item else item.get("label") for item in items]
    return sum(label not in (None, "") for label in found) / len(items) if items else 1.0


def on_labelled_images(
    settings: Mapping[str, Any], config: Mapping[str, Any], in_datalist: float = 1.0
) -> dict[str, Any]:
    """The settings of a training that leaves out the images without labels, with as many steps as one that sees all.

    A student alone learns nothing from an image without a label: with such images among its batches it would be
    compared as one that learns from a part of each. Where an epoch goes through the images that there are, it has more
    epochs, and is validated as often.

    Args:
        settings: of the run, with ``epochs``; its ``label_fraction`` may leave images without labels.
        config: of the run's bundle, ``train.json``.
        in_datalist: share of the training images that have a label at all, see :func:`labelled_share`.
    """
    fraction, made = settings.get("label_fraction", 1) * in_datalist, dict(settings)
    if fraction == 1:
        return made
    dataset = config["train"]["dataset"]
    items = "items" if "items" in dataset else "data"
    made[f"train#dataset#{items}"] = LABELLED_ITEMS
    balanced = made.get("balanced", made.get("task", "figshare") != "figshare")
    # volumes are gone through each once, whatever is set of slices
    of_slices = made.get("spatial_dims", config.get("spatial_dims", 2)) == 2
    drawn = (of_slices and made.get("slices_per_epoch")) or (balanced and made.get("epoch_slices"))
    return made if drawn else longer(made, 1 / fraction)


def longer(settings: Mapping[str, Any], times: float) -> dict[str, Any]:
    """The settings with so many times the epochs, validated as often."""
    epochs, interval = settings["epochs"], settings.get("val_interval", 1)
    return {**settings, "epochs": max(round(epochs * times), 1), "val_interval": max(round(interval * times), 1)}


def without_idle_split_seed(settings: Mapping[str, Any], datalist_seed: object) -> dict[str, Any]:
    """A run's settings; where all patients are labelled, without a seed of that choice, which a bundle would refuse.

    With a ``fold`` the seed draws the sections too, and stays.
    """
    chooses = settings.get("label_fraction", 1) < 1 or settings.get("fold") is not None
    idle = not chooses and settings.get("split_seed", 0) != datalist_seed
    return {**settings, "split_seed": 0} if idle and "split_seed" in settings else dict(settings)


def check_split_seed_chooses(settings: Mapping[str, Any], runs: Sequence[Run], datalist_seed: object) -> None:
    """Refuse a seed of ``--set`` or of an arm that is left out of all its runs, see :func:`without_idle_split_seed`.

    Args:
        settings: that all runs share.
        runs: all that are asked for.
        datalist_seed: that of the datalist may be given, as what is there.

    Raises:
        ValueError: names the seed.
    """
    # the shared seed may choose in the runs of one arm alone, such as the students of a teacher that knows all labels
    used: dict[str, list[tuple[Any, bool]]] = {}
    for run in runs:
        whole = {**settings, **run.arm.settings, "label_fraction": run.split["label_fraction"]}
        whose = f"{run.arm.name}: " if "split_seed" in run.arm.settings else ""
        kept = without_idle_split_seed(whole, datalist_seed) == whole
        used.setdefault(whose, []).append((whole.get("split_seed", 0), kept))
    for whose, seeds in used.items():
        if not any(kept for _, kept in seeds):
            raise ValueError(f"{whose}split_seed={seeds[0][0]} {_IDLE}")
