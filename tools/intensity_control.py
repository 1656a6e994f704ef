"""What single numbers of a Figshare slice tell of its tumour: the control for the classification's short cuts.

Usage: python tools/intensity_control.py DATASET_DIR [--size 64]

Prints, for the stored image and for either preprocessing, the AUC of each kind of tumour against the rest of the
image's maximum, mean and border, and the accuracy of a classifier that sees nothing but these numbers (folds by
patient).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose, EnsureChannelFirst, LoadImage
from torch.nn import functional as F
from tqdm import tqdm

from ckdmed.data import FigshareMatReader
from ckdmed.data.sections import resolve_datalist
from ckdmed.data.splits import k_folds
from ckdmed.metrics import classification_scores
from ckdmed.reports import markdown_table
from ckdmed.transforms import classification_scaling

KINDS = ("meningioma", "glioma", "pituitary tumour")
NUMBERS = ("maximum", "mean", "standard deviation", "border mean", "border standard deviation")


def numbers(image: np.ndarray) -> list[float]:
    """Of an image (H, W); the border is a frame of a thirty-second of its edge."""
    width = max(1, len(image) // 32)
    inside = np.zeros(image.shape, bool)
    inside[width:-width, width:-width] = True
    border = image[~inside]
    return [float(v) for v in (image.max(), image.mean(), image.std(), border.mean(), border.std())]


def control(values: np.ndarray, labels: np.ndarray, folds: list[list[int]]) -> np.ndarray:
    """Probabilities of a softmax regression on the standardised numbers and their squares, each fold by the others."""
    said = np.zeros((len(labels), len(KINDS)))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(labels)), fold)
        mean, std = values[rest].mean(0), values[rest].std(0) + 1e-9
        x = torch.tensor((values - mean) / std).clamp(-5, 5)
        x = torch.cat([x, x**2], dim=1)
        y = torch.tensor(labels)
        layer = torch.nn.Linear(x.shape[1], len(KINDS), dtype=torch.float64)
        torch.nn.init.zeros_(layer.weight)
        optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

        def closure(train: np.ndarray = rest, model: torch.nn.Linear = layer) -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[train]), y[train]) + 1e-3 * model.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        said[fold] = layer(x[fold]).softmax(1).detach().numpy()
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description="what single numbers of a Figshare slice tell of its tumour")
    parser.add_argument("dataset_dir", type=Path)
    parser.add_argument("--size", type=int, default=64, help="edge of the network's input (default: 64)")
    args = parser.parse_args()
    datalist = resolve_datalist(args.dataset_dir)
    items = [item for name in ("training", "validation", "test") for item in datalist[name]]
    labels = np.array([item["tumor_label"] - 1 for item in items])
    groups = [item["patient_group"] for item in items]
    load = Compose([LoadImage(reader=FigshareMatReader("image")), EnsureChannelFirst()])
    chains = {"stored image": None, **{s: classification_scaling(s, args.size) for s in ("percentiles", "report")}}
    found: dict[str, list[list[float]]] = {name: [] for name in chains}
    for item in tqdm(items, desc="slices", unit="slice"):
        image = load(str(args.dataset_dir / item["image"]))
        for name, chain in chains.items():
            ready = image if chain is None else chain({"image": image})["image"]
            found[name].append(numbers(np.asarray(ready, dtype=np.float64)[0]))
    folds = k_folds(groups, labels.tolist(), 5)
    lines = []
    for name, rows in found.items():
        values = np.array(rows)
        for column, number in enumerate(NUMBERS):
            lines.append([name, number, *(_auc(values[:, column], labels == kind) for kind in range(3)), ""])
        scores = classification_scores(control(values, labels, folds), labels)
        accuracy = f"{scores['accuracy']:.3f} ({scores['balanced_accuracy']:.3f})"
        lines.append([name, "all of them", *(f"{value:.3f}" for value in scores["auc"]), accuracy])
    share = max(np.bincount(labels)) / len(labels)
    print(f"{len(items)} slices of {len(set(groups))} patients; the commonest kind is {share:.3f} of them\n")
    print(markdown_table(["input", "what is seen", *(f"AUC {kind}" for kind in KINDS), "accuracy (balanced)"], lines))


def _auc(values: np.ndarray, positive: np.ndarray) -> str:
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float)
    # equal values share their mean rank
    _, inverse = np.unique(values, return_inverse=True)
    order = (np.bincount(inverse, weights=order) / np.bincount(inverse))[inverse]
    count = int(positive.sum())
    return f"{(order[positive].sum() - count * (count - 1) / 2) / (count * (len(values) - count)):.3f}"


if __name__ == "__main__":
    main()
