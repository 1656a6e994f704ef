"""Every setting of the bundles: what it means, its unit and which values it may have.

The defaults stand in the bundles' configurations. The check before a run and ``ckdmed settings`` read this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ckdmed.bundle.method_setting import method_kind
from ckdmed.bundle.setting_kinds import (
    Kind,
    boolean,
    choice,
    device,
    either,
    list_of,
    mapping,
    mapping_of,
    nothing,
    number,
    path,
    section_name,
    text,
    whole,
)
from ckdmed.data.brats.names import MODALITIES
from ckdmed.data.cached import STORAGES
from ckdmed.data.slice_geometry import SLICE_AXES
from ckdmed.labels import REGIONS
from ckdmed.networks.backbone_unet import BACKBONES
from ckdmed.networks.classification_student import CLASSIFICATION_STUDENTS
from ckdmed.networks.classifier_teacher import CLASSIFIER_FUSIONS, TEACHER_KINDS, VGGS
from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE
from ckdmed.networks.fusion.weighted_sum import WEIGHTINGS
from ckdmed.networks.published_weights import IMAGENET
from ckdmed.networks.segmentation_student import SEGMENTATION_STUDENTS
from ckdmed.networks.segmentation_teacher import BRIDGE_FUSIONS, SEGMENTATION_TEACHERS
from ckdmed.sections.classification import TASKS
from ckdmed.transforms.augmentation import AUGMENTATIONS
from ckdmed.transforms.batch_view import VIEWS
from ckdmed.transforms.brain_mask import BRAIN_METHODS
from ckdmed.transforms.classification import SCALINGS
from ckdmed.transforms.corruption import CORRUPTIONS
from ckdmed.transforms.slice_intensity import SLICE_SCALINGS

__all__ = ["FOLLOWS", "SETTINGS", "Setting", "profiles_of", "settings_for"]

# The words of `ckdmed.engines` and `ckdmed.losses`, which an exported inference must not need; a test compares them.
REGION_LOSSES = ("bce_dice", "combination", "dice", "bce", "dice_focal", "tversky", "batch_dice_bce")
TEACHER_MODES = ("frozen", "fusion", "online")
SHARE_SOURCES = ("held_out", "average", "epoch", "equal")
ALIGNMENTS = ("cyclegan",)
RECIPES = ("adamw", "nnunet", "amsgrad")
CACHE_DTYPES = ("float32", "bfloat16", "float16")

#: What follows from the settings, the machine or the processes, and is nothing to choose.
FOLLOWS = frozenset(
    {
        *("bundle_root", "rank", "sizes", "made_from", "trained", "taught", "started", "region_names", "in_channels"),
        *("out_channels", "input_shape", "usual_shares", "teacher_taps", "student_taps"),
    }
)


@dataclass(frozen=True)
class Setting:
    """A setting.

    Args:
        kind: its values.
        meaning: one sentence without a full stop.
        unit: of its numbers, or "".
        taken_by: the component that takes it as an argument of this name; configurations need not spell it out.
    """

    kind: Kind
    meaning: str
    unit: str = ""
    taken_by: str = ""


_NONE = nothing()
_LOSS = "distillation_loss"
_FOLDER = path("a folder")
_FILE = path("a file")
_PRETRAINED = either(_NONE, choice(IMAGENET), _FILE)
_SHARE = number(0, 1)
_WEIGHT = either(number(0), _NONE)
_MODALITIES = list_of(choice(*MODALITIES), "sequences", different=True)
_COUNT = whole(1)
_LABELS = either(_NONE, list_of(whole(0), "values", different=True, empty=True))
_RATE = number(0, above=True)

SETTINGS: Mapping[str, Setting] = {
    # sizes
    "profile": Setting(choice("demo", "full", "compact"), "default sizes, epochs and learning rates; full needs a GPU"),
    # data and folders
    "dataset_dir": Setting(
        either(_NONE, path("a folder or a file, such as a datalist")), "data; null generates phantoms"
    ),
    "output_dir": Setting(_FOLDER, "output folder of the run"),
    "ckpt_dir": Setting(_FOLDER, "where the run's weights are stored"),
    "evaluation_dir": Setting(_FOLDER, "where the results of the evaluation are written"),
    "section": Setting(section_name(), "section of the data to use: test, validation or another"),
    "fold": Setting(either(whole(0), _NONE), "test fold; the next one is the validation set; null for a single split"),
    "n_folds": Setting(whole(3), "number of folds"),
    "fold_source": Setting(choice("group", "official"), "how the folds are made"),
    "label_fraction": Setting(
        number(0, 1, above=True), "share of the training patients whose labels are used; validation keeps all labels"
    ),
    "labelled_per_batch": Setting(
        either(number(0, 1, above=True, below=True), _NONE),
        "average share of labelled samples in a batch; null for their share in the data",
    ),
    "train_on_validation": Setting(
        boolean(), "also train on the validation patients (the teacher too) and keep the last weights"
    ),
    "split_seed": Setting(
        whole(0), "seed of the split and of the choice of labelled patients; sections of a datalist are kept"
    ),
    "seed": Setting(whole(0), "seed of everything random except the split"),
    "phantom_patients": Setting(_COUNT, "number of phantom patients if no data are given"),
    "phantom_cases": Setting(_COUNT, "number of phantom cases if no data are given"),
    "task": Setting(choice(*TASKS), "classification task"),
    "class_names": Setting(list_of(text(), "classes", different=True), "names of the classes"),
    "min_voxels": Setting(_COUNT, "fewest voxels for a label to count as present", "voxels"),
    "modalities": Setting(_MODALITIES, "input sequences of the network, or of student and teachers together"),
    "student_modalities": Setting(_MODALITIES, "sequences that the student sees"),
    "input_images": Setting(_COUNT, "images per datalist item, each one an input channel"),
    "grey_as_rgb": Setting(boolean(), "repeat a grey image in three channels, as ImageNet networks expect"),
    "regions": Setting(
        either(_NONE, mapping_of(_LABELS, "names with values of the label, such as {'whole': [1, 2, 4]}")),
        "regions that the network segments; null for a single one, the tumour: all values except 0",
    ),
    "exclusive": Setting(
        boolean(), "regions are mutually exclusive: one softmax over them and the background, not a sigmoid per region"
    ),
    "neighbours": Setting(whole(0), "adjacent slices on each side that the network also sees", "slices"),
    "spatial_dims": Setting(choice(2, 3), "2 for slices, 3 for volumes"),
    "slice_axis": Setting(choice(*SLICE_AXES), "axis along which volumes are sliced"),
    # preprocessing
    "image_size": Setting(whole(8), "edge length of a slice", "pixels"),
    "teacher_image_size": Setting(
        whole(8),
        "edge length of the teacher's slices: that of its training by default, else the student's; its outputs are "
        "resampled to the student's grid",
        "pixels",
    ),
    "roi_size": Setting(list_of(whole(1), "edges", length=3), "patch size in volumes", "voxels"),
    "patches_per_volume": Setting(_COUNT, "patches per volume in each step"),
    "sw_overlap": Setting(number(0, 1, below=True), "overlap of the sliding window"),
    "slices_per_epoch": Setting(_COUNT, "slices sampled per epoch; each volume is seen once"),
    "epoch_slices": Setting(either(_COUNT, _NONE), "slices sampled per epoch if balanced; null for the whole section"),
    "tumour_share": Setting(
        _SHARE, "share of sampled slices with tumour; with recipe nnunet, of each batch or of the patches"
    ),
    "teacher_tumour_share": Setting(_SHARE, "tumour_share of the teacher's training"),
    "balanced": Setting(boolean(), "sample all classes equally often"),
    "scaling": Setting(choice(*SLICE_SCALINGS), "intensity scaling of a slice, or of the brain of a case"),
    "clahe": Setting(
        either(boolean(), choice("global")),
        "equalise the histogram before scaling: CLAHE, or global over the whole image",
    ),
    "augmentation": Setting(choice(*AUGMENTATIONS), "augmentation of the training images"),
    "mixup": Setting(number(0), "alpha of mixup; 0 disables it"),
    "reference": Setting(either(choice(*MODALITIES), _NONE), "sequence whose grid the others are resampled to"),
    "brain": Setting(choice(*BRAIN_METHODS), "how the brain is found in scans without a BraTS name"),
    "field_of_view": Setting(either(number(0, above=True), _NONE), "slice edge in scans without a BraTS name", "mm"),
    "spacing": Setting(
        either(list_of(number(0, above=True), "edges", 3), _NONE), "voxel size of scans without a BraTS name", "mm"
    ),
    # the course of a training
    "epochs": Setting(_COUNT, "number of training epochs, of the student if there is one", "epochs"),
    "teacher_epochs": Setting(_COUNT, "number of training epochs of a teacher", "epochs"),
    "val_interval": Setting(_COUNT, "interval between validations", "epochs"),
    "batch_size": Setting(_COUNT, "samples per batch"),
    "accumulation_steps": Setting(_COUNT, "steps over which gradients are accumulated (averaged)"),
    "recipe": Setting(
        choice(*RECIPES),
        "training recipe of the network, or of the student: adamw with a one-cycle schedule; nnunet with Nesterov "
        "momentum, a polynomial schedule, tumour in every batch and, for a dynunet, deep supervision; or amsgrad, Adam "
        "with AMSGrad and a step schedule",
    ),
    "teacher_recipe": Setting(choice(*RECIPES), "training recipe of a teacher"),
    "learning_rate": Setting(_RATE, "peak learning rate of the schedule"),
    "teacher_learning_rate": Setting(_RATE, "peak learning rate of a teacher's training"),
    "weight_decay": Setting(number(0), "weight decay of the optimizer"),
    "teacher_weight_decay": Setting(number(0), "weight decay of a teacher's training"),
    "resume": Setting(boolean(), "resume the run in the output folder"),
    # losses
    "method": Setting(method_kind(), "distillation method"),
    "temperature": Setting(
        either(number(0, above=True), _NONE), "temperature of the soft targets; null for the method's", taken_by=_LOSS
    ),
    "w_sup": Setting(_WEIGHT, "weight of the supervised term; null for the method's", taken_by=_LOSS),
    "w_logit": Setting(_WEIGHT, "weight of the logit term; null for the method's", taken_by=_LOSS),
    "w_dice": Setting(_WEIGHT, "weight of the soft Dice term; null for the method's", taken_by=_LOSS),
    "w_feat": Setting(_WEIGHT, "weight of the feature term; null for the method's", taken_by=_LOSS),
    "w_att": Setting(_WEIGHT, "weight of the attention term; null for the method's", taken_by=_LOSS),
    "epsilon": Setting(
        either(number(1), _NONE),
        "for OFA: how much more the label's class counts; null for the method's",
        taken_by=_LOSS,
    ),
    "w_adv": Setting(_WEIGHT, "weight of the discriminator; null for the method's", taken_by=_LOSS),
    "w_edge": Setting(_WEIGHT, "weight of the edge term; null for the method's", taken_by=_LOSS),
    "w_response": Setting(_WEIGHT, "weight of the teachers' response; null for the method's", taken_by=_LOSS),
    "w_deep": Setting(_WEIGHT, "weight of the intermediate head; null for the method's", taken_by=_LOSS),
    "deep_label": Setting(
        either(_SHARE, _NONE), "share of the label in the intermediate head; null for the method's", taken_by=_LOSS
    ),
    "correction": Setting(
        either(_SHARE, _NONE), "how far the label corrects the teacher; null for the method's", taken_by=_LOSS
    ),
    "w_cooperative": Setting(number(0), "weight of the cooperative logits in the teachers' own loss"),
    "align": Setting(
        either(choice(*ALIGNMENTS), _NONE),
        "for mutual: how the peer's sequences are translated to look like the student's; null for no translation",
        taken_by=_LOSS,
    ),
    "align_base": Setting(_COUNT, "channels of the first level of the translation network", "channels"),
    "w_mutual": Setting(number(0), "weight of what online teachers learn from student and each other"),
    "alpha": Setting(either(_SHARE, _NONE), "weight of the label; null for the method's", taken_by=_LOSS),
    "beta": Setting(_WEIGHT, "weight of the method's own term; null for the method's", taken_by=_LOSS),
    "loss": Setting(choice(*REGION_LOSSES), "segmentation loss"),
    "class_weights": Setting(
        either(choice("balanced"), _NONE, list_of(number(0, above=True), "weights")), "class weights"
    ),
    "label_smoothing": Setting(number(0, 1, below=True), "label smoothing"),
    "teacher_label_smoothing": Setting(number(0, 1, below=True), "label smoothing in a teacher's training"),
    "feature_layers": Setting(
        either(_NONE, list_of(text(), "stages", different=True, empty=True)),
        "stages whose features are compared: d4 to d1 of a decoder and msgff; s16, s8 and s4 of a classifier; some "
        "methods compare none; null for the method's",
        taken_by=_LOSS,
    ),
    "scales": Setting(
        either(_NONE, list_of(either(_NONE, whole(1)), "numbers of cells an axis", different=True)),
        "sizes to which features are pooled before comparison, null in the list for no pooling; null for the method's",
        taken_by=_LOSS,
    ),
    "scale_weights": Setting(
        either(choice("uniform", "learned"), _NONE),
        "weights of the scales; learned ones are trained with the student",
        taken_by=_LOSS,
    ),
    "edge_weights": Setting(
        either(choice("uniform", "feature_lines"), _NONE),
        "weighting of the edge term: feature_lines gives more weight where the tumour's surface bends",
        taken_by=_LOSS,
    ),
    "student_view": Setting(
        either(choice(*VIEWS), _NONE), "view that the student sees while the teacher sees the image"
    ),
    "teacher_view": Setting(either(choice(*VIEWS), _NONE), "view that a teacher is trained on"),
    "teacher_flips": Setting(boolean(), "average the teacher's logits over mirror images"),
    # networks
    "student_kind": Setting(choice(*SEGMENTATION_STUDENTS), "student network"),
    "student_base": Setting(_COUNT, "channels of the student's first level", "channels"),
    "student_backbone": Setting(choice(*BACKBONES), "encoder of a student that has a backbone"),
    "student_options": Setting(either(_NONE, mapping("names with values")), "further arguments of the student"),
    "student_encoder_pretrained": Setting(_PRETRAINED, "pretrained weights of the student's encoder"),
    "student_pretrained": Setting(either(_NONE, _FILE), "initial weights of the student"),
    "student_block": Setting(whole(0), "stage of the student that MSGFF reads"),
    "student_layer": Setting(text("the path of a layer"), "layer of the student shown in gradcam.png"),
    "teacher_kind": Setting(choice(*SEGMENTATION_TEACHERS), "teacher network"),
    "teacher_options": Setting(either(_NONE, mapping("names with values")), "further arguments of the teacher"),
    "teacher_base": Setting(_COUNT, "channels of the teacher's first level", "channels"),
    "teacher_checkpoint": Setting(either(_NONE, _FILE), "weights of an existing teacher; null trains one"),
    "teacher_bundle": Setting(
        either(_NONE, _FOLDER), "bundle of the Model Zoo or of this package whose network is the teacher"
    ),
    "trust_bundle": Setting(boolean(), "run the teacher bundle's configuration, which is its author's code"),
    "teacher_bundle_taps": Setting(
        either(_NONE, mapping("stages d4 to d1 with paths of modules")),
        "stages of the teacher bundle's network to compare with the student; null finds them",
    ),
    "teacher_bundle_images": Setting(
        either(_NONE, _MODALITIES),
        "the student's sequences in order, for matching with the inputs of the teacher bundle",
    ),
    "teacher_folds": Setting(
        _COUNT, "teachers, each trained without one fold and teaching only on it; 1 for a single teacher"
    ),
    "calibrate_teacher": Setting(boolean(), "divide the logits of teacher_folds by a temperature fitted out of fold"),
    "teacher_file": Setting(_FILE, "weights of the teacher shown beside the student in gradcam.png"),
    "teacher_layer": Setting(text("the path of a layer"), "layer of the teacher shown in gradcam.png"),
    "teachers": Setting(list_of(_MODALITIES, "lists", different=True), "sequences of each teacher"),
    "teacher_mode": Setting(choice(*TEACHER_MODES), "whether teachers are frozen, fused, or train with the student"),
    "share_source": Setting(choice(*SHARE_SOURCES), "how the teachers' shares are determined"),
    "shares_by_region": Setting(boolean(), "give each region its own shares"),
    "teacher_checkpoints": Setting(either(_NONE, mapping("sequences with files")), "weights of existing teachers"),
    "teachers_dir": Setting(_FOLDER, "where teachers trained by this run are stored"),
    "teacher_seed": Setting(whole(0), "seed of the teachers"),
    "vit_img_size": Setting(whole(1), "image size of the Vision Transformer", "pixels"),
    "vit_patch": Setting(_COUNT, "patch size of the Vision Transformer", "pixels"),
    "vit_hidden": Setting(_COUNT, "hidden size of the Vision Transformer", "channels"),
    "vit_layers": Setting(_COUNT, "number of blocks of the Vision Transformer"),
    "vit_heads": Setting(_COUNT, "attention heads of the Vision Transformer"),
    "vit_pretrained": Setting(_PRETRAINED, "pretrained weights of the Vision Transformer"),
    "lite_pretrained": Setting(_PRETRAINED, "pretrained weights of the teacher's EfficientNet-Lite0"),
    "vgg": Setting(choice(*VGGS), "VGG variant of the teacher"),
    "vgg_width": Setting(number(0, above=True), "width multiplier of the VGG"),
    "vgg_pretrained": Setting(_PRETRAINED, "pretrained weights of the VGG"),
    "fuse": Setting(choice(*BRIDGE_FUSIONS), "how the teacher's Vision Transformer and U-Net are fused"),
    "resolutions": Setting(
        either(_NONE, list_of(whole(1), "edges", different=True)),
        "image sizes of a hybrid teacher; null for its usual one",
        "pixels",
    ),
    "map_weights": Setting(
        choice(*WEIGHTINGS), "learned weights of a teacher's maps: one set for all images, or gated for one per image"
    ),
    "freeze": Setting(
        either(choice("early", "none"), list_of(text(), "paths")), "layers of the teacher that are frozen"
    ),
    # inference and evaluation
    "checkpoint": Setting(_FILE, "weights to use or evaluate"),
    "peer_checkpoint": Setting(
        either(_NONE, _FILE), "weights of a peer from mutual distillation, whose probabilities are averaged with these"
    ),
    "corruption": Setting(
        either(_NONE, choice(*(f"{kind}-{severity}" for kind in CORRUPTIONS for severity in (1, 2, 3)))),
        "corruption applied to the evaluated images, with a severity from 1 to 3",
    ),
    "tta": Setting(boolean(), "average over mirror images"),
    "threshold": Setting(_SHARE, "lowest probability at which a pixel is in the mask"),
    "probabilities": Setting(boolean(), "also write probabilities"),
    "overlay_on": Setting(either(choice(*MODALITIES), _NONE), "sequence shown under the outlines of the overlay"),
    "release": Setting(
        either(_NONE, choice("decathlon"), whole(2017, 9999)),
        "release whose labels the mask has; null for the case's own",
    ),
    "labels": Setting(
        either(list_of(whole(1, 255), "numbers", length=3, different=True), _NONE),
        "label values of core, oedema and enhancing tumour; overrides release",
    ),
    # the machine
    "distributed": Setting(boolean(), "several processes started by torchrun, see multi_gpu_train.json"),
    "device": Setting(device(), "device to run on"),
    "amp": Setting(
        either(choice("bf16", "fp16"), boolean()),
        "mixed precision: bfloat16, float16 with gradient scaling, or true for what the device supports",
    ),
    "compile": Setting(boolean(), "compile the network with torch.compile"),
    "num_workers": Setting(whole(0), "worker processes of the data loaders"),
    "cache": Setting(choice(*STORAGES), "where preprocessed images are cached"),
    "cache_rate": Setting(_SHARE, "share of the images that is cached in memory"),
    "cache_dir": Setting(_FOLDER, "where preprocessed images are cached on disk"),
    "cache_teacher": Setting(
        either(choice(*STORAGES), boolean()),
        "where the teacher's outputs are cached; false runs the teacher in every step",
    ),
    "cache_teacher_dtype": Setting(choice(*CACHE_DTYPES), "data type of the cached teacher outputs"),
}

_CLASSIFICATION: Mapping[str, Setting] = {
    "fold_source": Setting(choice("group", "official", "slices"), "how the folds are made"),
    "fuse": Setting(choice(*CLASSIFIER_FUSIONS), "what is fused of the two branches, and how"),
    "scaling": Setting(choice(*SCALINGS), "intensity scaling of a slice"),
    "student_kind": Setting(choice(*CLASSIFICATION_STUDENTS), "student network"),
    "student_backbone": Setting(choice(*EFFICIENTNET_LITE), "encoder of an EfficientNet-Lite student"),
    "teacher_kind": Setting(choice(*TEACHER_KINDS), "teacher network, or its two branches"),
}

# what a label's values mean is known of BraTS
_BRATS_REGIONS = Setting(
    list_of(choice(*REGIONS), "regions", different=True),
    "regions that the network segments: tumour core, whole tumour, enhancing tumour",
)
_UNIMODAL: Mapping[str, Setting] = {
    "teacher_kind": Setting(
        either(choice(*SEGMENTATION_TEACHERS), list_of(choice(*SEGMENTATION_TEACHERS), "kinds")),
        "teacher networks: one kind for all, or one per teacher",
    )
}


def settings_for(config: Mapping[str, Any]) -> dict[str, Setting]:
    """The table as it holds for a bundle, told by the settings that its configuration has."""
    own = _CLASSIFICATION if "task" in config else _UNIMODAL if "student_modalities" in config else {}
    table = {**SETTINGS, **own}
    if "region_names" not in config:
        table["regions"] = _BRATS_REGIONS
    loss = config.get("distillation_loss")
    task = loss.get("task") if isinstance(loss, Mapping) else None
    if isinstance(task, str):
        table["method"] = replace(SETTINGS["method"], kind=method_kind(task))
    if profiles := profiles_of(config.get("profiles", {})):
        table["profile"] = replace(SETTINGS["profile"], kind=choice(*profiles))
    return table


def profiles_of(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The profiles that a table of sizes has columns for, in order."""
    return list(dict.fromkeys(profile for column in table.values() for profile in column))
