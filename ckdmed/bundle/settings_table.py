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
    "profile": Setting(choice("demo", "full", "compact"), "default sizes, epochs and rates; full needs a GPU"),
    # data and folders
    "dataset_dir": Setting(either(_NONE, path("a folder or a file, such as a datalist")), "data; phantoms for null"),
    "output_dir": Setting(_FOLDER, "all results of the run"),
    "ckpt_dir": Setting(_FOLDER, "the run's weights"),
    "evaluation_dir": Setting(_FOLDER, "results of the evaluation"),
    "section": Setting(text("the name of a section"), "section that is scored or read: test, validation or another"),
    "fold": Setting(either(whole(0), _NONE), "fold that is the test set; the next one validates; null for one split"),
    "n_folds": Setting(whole(3), "number of folds"),
    "fold_source": Setting(choice("group", "official"), "how the folds are made"),
    "label_fraction": Setting(
        number(0, 1, above=True), "fraction of the training patients whose labels are used; validation keeps all labels"
    ),
    "labelled_per_batch": Setting(
        either(number(0, 1, above=True, below=True), _NONE),
        "share of labelled samples in a batch, on average; null for that of the data",
    ),
    "train_on_validation": Setting(
        boolean(), "train on the validation patients too, the teacher as well, and keep the last weights"
    ),
    "split_seed": Setting(
        whole(0), "seed of the split and of the choice of labelled patients; a datalist keeps its sections"
    ),
    "seed": Setting(whole(0), "seed of everything random but the split"),
    "phantom_patients": Setting(_COUNT, "number of phantom patients where no data are given"),
    "phantom_cases": Setting(_COUNT, "number of phantom cases where no data are given"),
    "task": Setting(choice(*TASKS), "what is classified"),
    "class_names": Setting(list_of(text(), "classes", different=True), "the classes of the task"),
    "min_voxels": Setting(_COUNT, "voxels of a label from which on it counts as present", "voxels"),
    "modalities": Setting(_MODALITIES, "sequences that the network, or the whole of student and teachers, sees"),
    "student_modalities": Setting(_MODALITIES, "those of them that the student sees"),
    "input_images": Setting(_COUNT, "images of an item of a datalist, each a channel of the network's input"),
    "grey_as_rgb": Setting(boolean(), "give the network three copies of a grey image, as networks of ImageNet have it"),
    "regions": Setting(
        either(_NONE, mapping_of(_LABELS, "names with values of the label, such as {'whole': [1, 2, 4]}")),
        "what the outputs of the network are; null for one region, the tumour, of all values but 0",
    ),
    "exclusive": Setting(
        boolean(), "the regions exclude each other: a softmax over them and the background, not a sigmoid for each"
    ),
    "neighbours": Setting(whole(0), "slices on both sides that a network sees as well", "slices"),
    "spatial_dims": Setting(choice(2, 3), "2 for slices, 3 for volumes"),
    "slice_axis": Setting(choice(*SLICE_AXES), "axis of a volume along which it is cut"),
    # preprocessing
    "image_size": Setting(whole(8), "edge length of a slice", "pixels"),
    "teacher_image_size": Setting(
        whole(8),
        "edge at which the teacher sees a slice: that of its training by default, else the student's; its answers are "
        "brought to the student's grid",
        "pixels",
    ),
    "roi_size": Setting(list_of(whole(1), "edges", length=3), "edges of a patch of a volume", "voxels"),
    "patches_per_volume": Setting(_COUNT, "patches of each volume in a step"),
    "sw_overlap": Setting(number(0, 1, below=True), "overlap of the sliding window's patches"),
    "slices_per_epoch": Setting(_COUNT, "slices that an epoch draws; volumes are each seen once"),
    "epoch_slices": Setting(
        either(_COUNT, _NONE), "slices that an epoch draws where balanced; null for the whole section"
    ),
    "tumour_share": Setting(
        _SHARE, "share of the drawn slices that shows tumour; with the recipe nnunet of every batch, or of the patches"
    ),
    "teacher_tumour_share": Setting(_SHARE, "that of the teacher's training"),
    "balanced": Setting(boolean(), "draw all classes equally often"),
    "scaling": Setting(choice(*SLICE_SCALINGS), "how the intensities of a slice, or of a case's brain, are scaled"),
    "clahe": Setting(
        either(boolean(), choice("global")), "equalise the histogram before it: CLAHE, or of the whole image"
    ),
    "augmentation": Setting(choice(*AUGMENTATIONS), "augmentation of the training images"),
    "mixup": Setting(number(0), "alpha of mixup; 0 for none"),
    "reference": Setting(either(choice(*MODALITIES), _NONE), "sequence whose grid the others are brought to"),
    "brain": Setting(choice(*BRAIN_METHODS), "how the brain is found in scans that bear no BraTS name"),
    "field_of_view": Setting(either(number(0, above=True), _NONE), "edge of a slice of such scans", "mm"),
    "spacing": Setting(either(list_of(number(0, above=True), "edges", 3), _NONE), "voxel of such scans", "mm"),
    # the course of a training
    "epochs": Setting(_COUNT, "length of the training, of the student where there is one", "epochs"),
    "teacher_epochs": Setting(_COUNT, "length of a teacher's training", "epochs"),
    "val_interval": Setting(_COUNT, "time from one validation to the next", "epochs"),
    "batch_size": Setting(_COUNT, "samples per batch"),
    "accumulation_steps": Setting(_COUNT, "steps whose gradients are averaged into one"),
    "recipe": Setting(
        choice(*RECIPES),
        "how the network, or the student, is trained: AdamW with a one-cycle rate; as nnU-Net by Nesterov momentum "
        "and a polynomial rate, tumour in every batch and, of a dynunet, deep supervision; or Adam with AMSGrad and a "
        "rate that falls in steps",
    ),
    "teacher_recipe": Setting(choice(*RECIPES), "the same of a teacher"),
    "learning_rate": Setting(_RATE, "peak learning rate of the schedule"),
    "teacher_learning_rate": Setting(_RATE, "peak learning rate of a teacher"),
    "weight_decay": Setting(number(0), "weight decay of the optimizer"),
    "teacher_weight_decay": Setting(number(0), "weight decay of a teacher"),
    "resume": Setting(boolean(), "go on with the run that the output folder holds"),
    # losses
    "method": Setting(method_kind(), "method of the distillation"),
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
        "of OFA, how much more the label's class counts; null for the method's",
        taken_by=_LOSS,
    ),
    "w_adv": Setting(_WEIGHT, "weight of the discriminator; null for the method's", taken_by=_LOSS),
    "w_edge": Setting(_WEIGHT, "weight of the edge term; null for the method's", taken_by=_LOSS),
    "w_response": Setting(_WEIGHT, "weight of the teachers' response; null for the method's", taken_by=_LOSS),
    "w_deep": Setting(_WEIGHT, "weight of the intermediate head; null for the method's", taken_by=_LOSS),
    "deep_label": Setting(
        either(_SHARE, _NONE), "the label's part in the intermediate head; null for the method's", taken_by=_LOSS
    ),
    "correction": Setting(
        either(_SHARE, _NONE), "weight of the label's correction of the teacher; null for the method's", taken_by=_LOSS
    ),
    "w_cooperative": Setting(number(0), "weight of the cooperative logits in the teachers' own loss"),
    "align": Setting(
        either(choice(*ALIGNMENTS), _NONE),
        "of mutual, how the one peer's sequences are made to look like the student's; null for not at all",
        taken_by=_LOSS,
    ),
    "align_base": Setting(_COUNT, "channels of the first level of what translates them", "channels"),
    "w_mutual": Setting(number(0), "weight of what learning teachers take from the student and from each other"),
    "alpha": Setting(either(_SHARE, _NONE), "weight of the label; null for the method's", taken_by=_LOSS),
    "beta": Setting(_WEIGHT, "weight of the method's own term; null for the method's", taken_by=_LOSS),
    "loss": Setting(choice(*REGION_LOSSES), "the loss of the segmentation"),
    "class_weights": Setting(
        either(choice("balanced"), _NONE, list_of(number(0, above=True), "weights")), "weights of the classes"
    ),
    "label_smoothing": Setting(number(0, 1, below=True), "smoothing of the labels"),
    "feature_layers": Setting(
        either(_NONE, list_of(text(), "stages", different=True, empty=True)),
        "stages whose features are compared, d4 to d1 of a decoder and msgff, s16, s8 and s4 of a classifier; of some "
        "methods none; null for the method's",
        taken_by=_LOSS,
    ),
    "scales": Setting(
        either(_NONE, list_of(either(_NONE, whole(1)), "numbers of cells an axis", different=True)),
        "what features are pooled to before they are compared, null among them for no pooling; null for the method's",
        taken_by=_LOSS,
    ),
    "scale_weights": Setting(
        either(choice("uniform", "learned"), _NONE),
        "weights of the scales; learned ones train with the student",
        taken_by=_LOSS,
    ),
    "edge_weights": Setting(
        either(choice("uniform", "feature_lines"), _NONE),
        "weights of the edge term: feature_lines for more where the tumour's surface bends",
        taken_by=_LOSS,
    ),
    "student_view": Setting(either(choice(*VIEWS), _NONE), "what the student sees while the teacher sees the image"),
    "teacher_view": Setting(either(choice(*VIEWS), _NONE), "what a teacher is trained on"),
    "teacher_flips": Setting(boolean(), "average the teacher's logits over the mirror images"),
    # networks
    "student_kind": Setting(choice(*SEGMENTATION_STUDENTS), "the student's network"),
    "student_base": Setting(_COUNT, "channels of the student's first level", "channels"),
    "student_backbone": Setting(choice(*BACKBONES), "encoder of a student over a backbone"),
    "student_options": Setting(either(_NONE, mapping("names with values")), "further arguments of its network"),
    "student_encoder_pretrained": Setting(_PRETRAINED, "ImageNet weights of the student's encoder"),
    "student_pretrained": Setting(either(_NONE, _FILE), "weights that the student starts from"),
    "student_block": Setting(whole(0), "stage of the student that MSGFF reads"),
    "student_layer": Setting(text("the path of a layer"), "layer of the student that gradcam.png looks at"),
    "teacher_kind": Setting(choice(*SEGMENTATION_TEACHERS), "the teacher's network"),
    "teacher_options": Setting(either(_NONE, mapping("names with values")), "further arguments of its network"),
    "teacher_base": Setting(_COUNT, "channels of the teacher's first level", "channels"),
    "teacher_checkpoint": Setting(either(_NONE, _FILE), "weights of an existing teacher; null trains one"),
    "teacher_bundle": Setting(
        either(_NONE, _FOLDER), "bundle of the Model Zoo, or of this package, whose network is the teacher"
    ),
    "trust_bundle": Setting(boolean(), "run that bundle's configuration, which is code of whoever wrote it"),
    "teacher_bundle_taps": Setting(
        either(_NONE, mapping("stages d4 to d1 with paths of modules")),
        "stages of that network that the student is compared with; null finds them",
    ),
    "teacher_bundle_images": Setting(
        either(_NONE, _MODALITIES),
        "sequences of the student's images, in their order, which that bundle's are matched with",
    ),
    "teacher_folds": Setting(
        _COUNT, "teachers, each trained without the patients of one fold, for whom it answers; 1 for one teacher of all"
    ),
    "calibrate_teacher": Setting(boolean(), "divide the logits of teacher_folds by a temperature fitted out of fold"),
    "teacher_file": Setting(_FILE, "weights of the teacher beside the student in gradcam.png"),
    "teacher_layer": Setting(text("the path of a layer"), "layer of the teacher that gradcam.png looks at"),
    "teachers": Setting(list_of(_MODALITIES, "lists", different=True), "sequences of each teacher"),
    "teacher_mode": Setting(choice(*TEACHER_MODES), "whether the teachers are frozen, fused or learn with the student"),
    "share_source": Setting(choice(*SHARE_SOURCES), "where the teachers' shares come from"),
    "shares_by_region": Setting(boolean(), "whether each region has shares of its own"),
    "teacher_checkpoints": Setting(either(_NONE, mapping("sequences with files")), "weights of existing teachers"),
    "teachers_dir": Setting(_FOLDER, "teachers that are trained"),
    "teacher_seed": Setting(whole(0), "seed of the teachers"),
    "vit_img_size": Setting(whole(1), "edge length of the Vision Transformer's images", "pixels"),
    "vit_patch": Setting(_COUNT, "edge length of its patches", "pixels"),
    "vit_hidden": Setting(_COUNT, "its hidden size", "channels"),
    "vit_layers": Setting(_COUNT, "number of its blocks"),
    "vit_heads": Setting(_COUNT, "number of its attention heads"),
    "vit_pretrained": Setting(_PRETRAINED, "its pretrained weights"),
    "lite_pretrained": Setting(_PRETRAINED, "ImageNet weights of its EfficientNet-Lite0"),
    "vgg": Setting(choice(*VGGS), "the VGG of a teacher"),
    "vgg_width": Setting(number(0, above=True), "a factor on its widths"),
    "vgg_pretrained": Setting(_PRETRAINED, "its ImageNet weights"),
    "fuse": Setting(choice(*BRIDGE_FUSIONS), "how the teacher's Vision Transformer is joined to its U-Net"),
    "resolutions": Setting(
        either(_NONE, list_of(whole(1), "edges", different=True)),
        "edges at which a hybrid teacher sees each image; null for its usual one",
        "pixels",
    ),
    "map_weights": Setting(
        choice(*WEIGHTINGS), "learned weights of a teacher's maps: one set for all images, or one for each"
    ),
    "freeze": Setting(
        either(choice("early", "none"), list_of(text(), "paths")), "layers of the teacher that do not learn"
    ),
    # inference and evaluation
    "checkpoint": Setting(_FILE, "weights that are used or scored"),
    "peer_checkpoint": Setting(
        either(_NONE, _FILE), "weights of a peer of mutual distillation, whose probabilities are averaged with these"
    ),
    "corruption": Setting(
        either(_NONE, choice(*(f"{kind}-{severity}" for kind in CORRUPTIONS for severity in (1, 2, 3)))),
        "how the images that are scored are made worse, with a severity of 1 to 3",
    ),
    "tta": Setting(boolean(), "average over mirror images"),
    "threshold": Setting(_SHARE, "probability from which on a pixel is in the mask"),
    "probabilities": Setting(boolean(), "write probabilities as well"),
    "overlay_on": Setting(either(choice(*MODALITIES), _NONE), "sequence behind the outlines of the picture"),
    "release": Setting(
        either(_NONE, choice("decathlon"), whole(2017, 9999)), "whose labels the mask gets; null for the case's own"
    ),
    "labels": Setting(
        either(list_of(whole(1, 255), "numbers", length=3, different=True), _NONE),
        "numbers of core, oedema and enhancing tumour in the mask, before any release's",
    ),
    # the machine
    "distributed": Setting(boolean(), "torchrun started several processes, see multi_gpu_train.json"),
    "device": Setting(device(), "where to compute"),
    "amp": Setting(
        either(choice("bf16", "fp16"), boolean()),
        "mixed precision: bfloat16, float16 with scaled gradients, or true for what the device has",
    ),
    "compile": Setting(boolean(), "torch.compile"),
    "num_workers": Setting(whole(0), "worker processes of the data loaders"),
    "cache": Setting(choice(*STORAGES), "where preprocessed images are cached"),
    "cache_rate": Setting(_SHARE, "share of them that is cached in memory"),
    "cache_dir": Setting(_FOLDER, "preprocessed images on the disk"),
    "cache_teacher": Setting(
        either(choice(*STORAGES), boolean()), "where the teacher's outputs are cached; false runs it in every step"
    ),
    "cache_teacher_dtype": Setting(choice(*CACHE_DTYPES), "type of the cached outputs"),
}

_CLASSIFICATION: Mapping[str, Setting] = {
    "fold_source": Setting(choice("group", "official", "slices"), "how the folds are made"),
    "fuse": Setting(choice(*CLASSIFIER_FUSIONS), "what of the two branches is joined, and how"),
    "scaling": Setting(choice(*SCALINGS), "how the intensities of a slice are scaled"),
    "student_kind": Setting(choice(*CLASSIFICATION_STUDENTS), "the student's network"),
    "student_backbone": Setting(choice(*EFFICIENTNET_LITE), "encoder of an EfficientNet-Lite student"),
    "teacher_kind": Setting(choice(*TEACHER_KINDS), "the teacher's network, or its two branches"),
}

# what a label's values mean is known of BraTS
_BRATS_REGIONS = Setting(
    list_of(choice(*REGIONS), "regions", different=True),
    "what the outputs of the network are: tumour core, whole tumour, enhancing tumour",
)
_UNIMODAL: Mapping[str, Setting] = {
    "teacher_kind": Setting(
        either(choice(*SEGMENTATION_TEACHERS), list_of(choice(*SEGMENTATION_TEACHERS), "kinds")),
        "the teachers' network, one for all or one for each",
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
