"""What the bundle configurations call: settings, data and the beginning and end of a run."""

from __future__ import annotations

from ckdmed.bundle.dataset_check import check_dataset
from ckdmed.bundle.evaluation_folder import check_evaluation_folder, evaluation_folder
from ckdmed.bundle.first_weights import first_weights
from ckdmed.bundle.network_check import check_networks
from ckdmed.bundle.own_folder import own_folder
from ckdmed.bundle.peer import with_peer
from ckdmed.bundle.processes import end_process, own_device, start_process
from ckdmed.bundle.ready_networks import ready_networks
from ckdmed.bundle.renamed_settings import RenamedSettingError
from ckdmed.bundle.run import claim_run, evaluation_settings, finish_run, start_run
from ckdmed.bundle.run_folder import inference_folder, output_folder
from ckdmed.bundle.scans import made_like_brats
from ckdmed.bundle.scored_data import check_scored_data, scored_items
from ckdmed.bundle.split_settings import check_split_settings
from ckdmed.bundle.started_from import started_from
from ckdmed.bundle.strict import UnknownSettingError, WrongSettingError, check_settings
from ckdmed.bundle.trained import trained_with
from ckdmed.bundle.training_images import check_training_images
from ckdmed.bundle.training_inputs import record_inputs
from ckdmed.bundle.training_run import end_training, start_training
from ckdmed.sections.brats import brats_sections
from ckdmed.sections.brats_classes import brats_classes
from ckdmed.sections.brats_datasets import brats_dataset, brats_sampler, labelled_part
from ckdmed.sections.classification import (
    CLASS_NAMES,
    balanced_sampler,
    class_names_of,
    classification_sections,
    figshare_classes,
)
from ckdmed.sections.labelled_per_batch import (
    labelled_items,
    labelled_sampler,
    labels_of,
    needs_teacher,
    training_items,
)
from ckdmed.sections.record import SectionOverlapError
from ckdmed.sections.slices import figshare_sections, slice_class_names, slice_modalities
from ckdmed.sections.spread import spread_items
from ckdmed.sections.training_record import learned_of_validation, record_sections

__all__ = [
    "CLASS_NAMES",
    "RenamedSettingError",
    "SectionOverlapError",
    "UnknownSettingError",
    "WrongSettingError",
    "balanced_sampler",
    "brats_classes",
    "brats_dataset",
    "brats_sampler",
    "brats_sections",
    "check_dataset",
    "check_evaluation_folder",
    "check_networks",
    "check_scored_data",
    "check_settings",
    "check_split_settings",
    "check_training_images",
    "claim_run",
    "class_names_of",
    "classification_sections",
    "end_process",
    "end_training",
    "evaluation_folder",
    "evaluation_settings",
    "figshare_classes",
    "figshare_sections",
    "finish_run",
    "first_weights",
    "inference_folder",
    "labelled_items",
    "labelled_part",
    "labelled_sampler",
    "labels_of",
    "learned_of_validation",
    "made_like_brats",
    "needs_teacher",
    "output_folder",
    "own_device",
    "own_folder",
    "ready_networks",
    "record_inputs",
    "record_sections",
    "scored_items",
    "slice_class_names",
    "slice_modalities",
    "spread_items",
    "start_process",
    "start_run",
    "start_training",
    "started_from",
    "trained_with",
    "training_items",
    "with_peer",
]
