"""Settings that another setting leaves without effect, such as ``n_folds`` where no ``fold`` is chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.setting_check import in_short, is_plain
from ckdmed.bundle.unread_settings import unread_settings
from ckdmed.networks.classifier_teacher import TEACHER_BRANCHES
from ckdmed.networks.fusion.build import MAP_FUSIONS
from ckdmed.networks.segmentation_teacher import HYBRID_TEACHERS

__all__ = ["idle_settings"]

# of which networks the encoder is chosen by its name
_OVER_BACKBONE = ("flexible_unet", "efficientnet_lite")
_OF_TEACHERS_TRAINING = (
    *("teacher_epochs", "teacher_learning_rate", "teacher_weight_decay", "teacher_view", "teacher_tumour_share"),
    *("teacher_label_smoothing", "vit_pretrained", "vgg_pretrained", "lite_pretrained", "freeze"),
)
# of several teachers, which learn beside their student or are weighed by how they do
_OF_SEVERAL_TEACHERS = ("teachers_dir", "share_source", "shares_by_region", "w_cooperative", "w_mutual")
_OF_TEACHERS_NETWORK = (
    *("teacher_kind", "teacher_base", "teacher_options", "vit_*", "vgg*", "lite_pretrained", "fuse", "resolutions"),
    "map_weights",
)

# where a network of a kind is defined; one of one's own may read what those of the kinds do not
_DEFINED_IN = {"student_kind": ("network_def",), "teacher_kind": ("teacher_def", "teacher_ensemble", "network_def")}


class _Unknown(Exception):
    """A setting whose value needs a component to be built."""


@dataclass(frozen=True)
class _Rule:
    """When settings are without effect.

    Args:
        names: of the settings, as patterns.
        because: the settings that decide it, the one that is shown first.
        holds: whether it is so, from their values; None of those that the configuration does not have.
        but: exceptions among the names.
    """

    names: tuple[str, ...]
    because: tuple[str, ...]
    holds: Callable[..., bool]
    but: tuple[str, ...] = ()

    def concerns(self, name: str) -> bool:
        return name not in self.but and any(fnmatchcase(name, pattern) for pattern in self.names)


def _branches(kind: str | Sequence[str], task: str | None) -> list[str]:
    """Of a teacher of this kind, or of several of a list of kinds; only classification has a task."""
    kinds = [kind] if isinstance(kind, str) else kind
    if task is not None:
        return [branch for name in kinds for branch in TEACHER_BRANCHES.get(name, ())]
    return ["unet", "vit"] if set(kinds) & set(HYBRID_TEACHERS) else ["unet"]


def _of_branch(branch: str) -> _Rule:
    """Weights for a branch that the teacher does not have, which begins with random ones all the same."""
    return _Rule(
        (f"{branch}_pretrained",), ("teacher_kind", "task"), lambda kind, task: branch not in _branches(kind, task)
    )


_RULES = (
    _Rule(
        ("teacher_*", *_OF_SEVERAL_TEACHERS, *_OF_TEACHERS_NETWORK, "freeze", "cache_teacher*", "calibrate_teacher"),
        ("method",),
        # whatever their mode, no teachers learn that no student learns from
        lambda method: method == "supervised",
        # a checkpoint also tells the student's intensities
        but=("teacher_checkpoint", "teacher_checkpoints"),
    ),
    _Rule(_OF_TEACHERS_TRAINING, ("teacher_checkpoint",), bool),
    _Rule(
        (*_OF_TEACHERS_TRAINING, *_OF_TEACHERS_NETWORK, "teacher_recipe"),
        # beside several teachers a bundle is one of them
        ("teacher_bundle", "teachers"),
        lambda bundle, several: bool(bundle) and several is None,
    ),
    *map(_of_branch, ("vit", "vgg", "lite")),
    # the weights are of several maps; a graph makes one of all
    _Rule(("map_weights",), ("teacher_kind", "task"), lambda kind, task: len(_branches(kind, task)) == 1),
    _Rule(
        ("map_weights",),
        ("fuse", "teacher_kind", "task"),
        lambda fuse, kind, task: kind != "msgff"
        and (fuse == "graph" or (task is not None and fuse not in MAP_FUSIONS)),
    ),
    _Rule(
        ("map_weights",),
        ("resolutions", "teacher_kind"),
        lambda edges, kind: kind != "msgff" and len(edges or ()) < 2,
    ),
    _Rule(("trust_bundle", "teacher_bundle_*"), ("teacher_bundle",), lambda bundle: not bundle),
    _Rule(("n_folds", "fold_source"), ("fold",), lambda fold: fold is None),
    _Rule(("phantom_*",), ("dataset_dir",), lambda folder: folder is not None),
    _Rule(
        ("section",),
        ("dataset_dir", "epochs"),
        # an inference, which has no epochs, takes all that is in a folder, with a datalist in it or not
        lambda place, epochs: epochs is None and not str(place).lower().endswith(".json"),
    ),
    _Rule(("phantom_cases", "min_voxels"), ("task",), lambda task: task == "figshare"),
    _Rule(("phantom_patients",), ("task",), lambda task: task not in (None, "figshare")),
    _Rule(
        ("labelled_per_batch",),
        ("label_fraction", "dataset_dir"),
        # phantoms all have labels
        lambda fraction, folder: fraction == 1 and folder is None,
    ),
    _Rule(("epoch_slices",), ("balanced",), lambda balanced: not balanced),
    _Rule(("roi_size", "patches_per_volume", "sw_overlap"), ("spatial_dims",), lambda dims: dims == 2),
    # slices are read from the disk, whatever the cache
    _Rule(("cache", "cache_rate"), ("spatial_dims",), lambda dims: dims == 2),
    _Rule(("image_size", "slices_per_epoch"), ("spatial_dims",), lambda dims: dims == 3),
    _Rule(("tumour_share",), ("recipe", "spatial_dims"), lambda recipe, dims: dims == 3 and recipe != "nnunet"),
    _Rule(
        ("teacher_tumour_share",),
        ("teacher_recipe", "spatial_dims"),
        lambda recipe, dims: dims == 3 and recipe != "nnunet",
    ),
    _Rule(("cache_rate",), ("cache",), lambda cache: cache == "disk"),
    _Rule(
        ("cache_dir",),
        ("cache", "cache_teacher", "spatial_dims", "task"),
        # slices of BraTS cases lie there in any case
        lambda cache, answers, dims, task: "disk" not in (cache, answers) and dims != 2 and task in (None, "figshare"),
    ),
    _Rule(("cache_teacher_dtype",), ("cache_teacher",), lambda storage: not storage),
    _Rule(("student_backbone",), ("student_kind",), lambda kind: kind not in _OVER_BACKBONE),
    _Rule(("align_base",), ("align",), lambda align: align is None),
    # they learn beside the student alone, from the seed of all
    _Rule(
        ("teacher_epochs", "teacher_tumour_share", "teacher_seed", "teachers_dir"),
        ("teacher_mode",),
        lambda mode: mode == "online",
    ),
    # what teachers learn, and these learn nothing
    _Rule(("w_cooperative", "w_mutual"), ("teacher_mode",), lambda mode: mode == "frozen"),
)


def idle_settings(parser: ConfigParser, given: Collection[str]) -> dict[str, str]:
    """Of given settings those that others leave without effect, with what does so, such as ``fold is null``.

    Whether a configuration reads a setting at all is the business of `check_effect`, which follows references alone;
    what the data decide, such as folds that a datalist has, is unknown here.

    Args:
        parser: of the bundle, with all settings.
        given: names.
    """
    values: dict[str, Any] = {}

    def value_of(name: str) -> Any:
        if name not in values:
            config = parser.get()
            if name in config and not is_plain(config, name):
                raise _Unknown
            values[name] = parser.get_parsed_content(name) if name in config else None
        return values[name]

    def holds(rule: _Rule) -> bool:
        if any(_is_of_ones_own(name, parser.get()) for name in rule.because):
            return False
        try:
            return rule.holds(*map(value_of, rule.because))
        except _Unknown:
            return False

    unread = unread_settings(parser)
    idle = {name: "the chosen network does not use it" for name in given if name in unread}
    for name in given:
        decides = next((rule.because[0] for rule in _RULES if rule.concerns(name) and holds(rule)), None)
        if decides is not None:
            idle[name] = f"{decides} is {_in_json(values[decides])}"
    try:
        for name, reason in _idle_options(parser, given, value_of).items():
            idle.setdefault(name, reason)
    except _Unknown:
        pass
    return idle


def _idle_options(parser: ConfigParser, given: Collection[str], value_of: Callable[[str], Any]) -> dict[str, str]:
    """Of the options of the method that were given those without effect, each with what leaves it so."""
    loss, method = parser.get().get("distillation_loss"), value_of("method")
    if not isinstance(loss, Mapping) or "task" not in loss or not isinstance(method, str):
        return {}
    # an inference calls this package too, and does without methods
    from ckdmed.methods import idle_options, methods

    found = methods(str(loss["task"])).get(method)
    if found is None:
        return {}
    options = [name for name in found.options if name in parser.get()]
    if not set(options) & set(given):
        return {}
    values = {name: value_of(name) for name in options}
    idle = idle_options(method, str(loss["task"]), values)

    def decided(name: str) -> Any:
        return found.options[name] if values.get(name) is None else values[name]

    return {name: f"{other} is {_in_json(decided(other))}" for name, other in idle.items() if name in given}


def _is_of_ones_own(kind: str, config: Mapping[str, Any]) -> bool:
    """Whether another network stands where a bundle defines the one of this kind."""
    definitions = (config.get(name) for name in _DEFINED_IN.get(kind, ()))
    found = next((one for one in definitions if isinstance(one, Mapping)), {})
    return not str(found.get("_target_", "ckdmed.")).startswith("ckdmed.")


def _in_json(value: Any) -> str:
    """As a configuration has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else in_short(value)
