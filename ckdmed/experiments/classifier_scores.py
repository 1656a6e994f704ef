"""The scores of a trained classification bundle on a section, per slice and per patient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader
from torch import nn

from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.counted import counted
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.shared_cache import SharedCacheDataset
from ckdmed.engines import load_network
from ckdmed.metrics import apply_temperature, classification_scores, patient_probabilities, patients_of_several_classes

__all__ = ["SHORT", "check_one_class_a_patient", "classifier_scores", "scores_of_sections"]

#: section -> how the names of its scores begin
SHORT = {"train": "train", "validation": "val", "test": "test"}


def check_one_class_a_patient(datalist: Mapping[str, Any]) -> None:
    """Refuse slices of which a patient's have several classes, before a training whose patients could not be scored.

    Args:
        datalist: of slices, as all runs see it.

    Raises:
        ValueError: names the patients.
    """
    items = [item for name in SECTIONS for item in datalist.get(name, ()) if item.get("class") is not None]
    if mixed := patients_of_several_classes([i["patient_group"] for i in items], [i["class"] for i in items]):
        raise ValueError(
            f"slices of {counted(len(mixed), 'patient')} have several classes ({', '.join(map(str, mixed[:5]))}), but "
            "the arms are compared by patients of one class each: leave these out of the datalist, or train and "
            "evaluate with `ckdmed run`, which scores slices."
        )


def scores_of_sections(
    bundle: Path, settings: Mapping[str, Any], section: str, checkpoint: Path
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """Scores of a finished training on a section, and with the validation section those on the training section too.

    Args:
        bundle: folder of a classification bundle.
        settings: of the training.
        section: "validation" or "test".
        checkpoint: what it left.

    Returns:
        As :func:`classifier_scores`.
    """
    workflow = bundle_workflow(bundle, settings)
    workflow.parser.parse(reset=True)
    metrics: dict[str, float | None] = {}
    patients: dict[str, dict[str, float | None]] = {}
    for part in ("train", "validation") if section == "validation" else (section,):
        scores, by_patient = classifier_scores(workflow, part, str(checkpoint))
        metrics |= scores
        patients |= by_patient
    return metrics, patients


def classifier_scores(
    workflow: ConfigWorkflow, section: str, checkpoint: str
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """Scores of the weights on the slices of a section as they are (no augmentation).

    Args:
        workflow: over the ``train.json`` of a classification bundle, parsed.
        section: "train", "validation" or "test".
        checkpoint: a ``state_dict`` file of its network.

    Returns:
        Scores by name, None where undefined, beginning with "train", "val" or "test"; and for the patient accuracy 1
        for each patient whose mean probability is highest for the right class, else 0. Of the training section there
        are loss and accuracy alone, of the slices whose labels are used.
    """
    get = workflow.parser.get_parsed_content
    device = torch.device(get("device"))
    # as in the training, so that a validation's numbers are those of the history
    network = get("network_def").to(device, memory_format=torch.channels_last)
    load_network(network, checkpoint, device).eval()
    short = SHORT[section]
    items = get("sections")[section]
    if section == "train":
        # the others' label is a number in the place of one
        items = [item for item in items if item["labelled"]]
    data = SharedCacheDataset(items, get("validate#preprocessing"), num_workers=2)
    logits = _logits(network, data, int(get("batch_size")), device)
    labels = np.array([item["label"] for item in items])
    probabilities = apply_temperature(logits, 1.0)
    slices = classification_scores(probabilities, labels)
    found: dict[str, Any] = {f"{short}_loss": slices["nll"], f"{short}_accuracy": slices["accuracy"]}
    if section == "train":
        return _finite(found), {}
    means, truth, patients = patient_probabilities(probabilities, labels, [item["patient_group"] for item in items])
    found[f"{short}_balanced_accuracy"] = slices["balanced_accuracy"]
    found[f"{short}_macro_auc"] = slices["macro_auc"]
    found[f"{short}_ece"] = slices["ece"]
    found[f"{short}_patient_accuracy"] = classification_scores(means, truth)["accuracy"]
    right = np.asarray(means).argmax(axis=1) == np.asarray(truth)
    by_patient: dict[str, float | None] = {str(patient): float(hit) for patient, hit in zip(patients, right)}
    return _finite(found), {f"{short}_patient_accuracy": by_patient}


def _finite(found: dict[str, Any]) -> dict[str, float | None]:
    return {name: None if value is None or not np.isfinite(value) else float(value) for name, value in found.items()}


@torch.no_grad()
def _logits(network: nn.Module, data: SharedCacheDataset, batch_size: int, device: torch.device) -> np.ndarray:
    loader = DataLoader(data, batch_size=batch_size, shuffle=False)
    return torch.cat([network(batch["image"].to(device)).float().cpu() for batch in loader]).numpy()
