"""What the ablation of COHRA-UNet varies, and the arms that follow from it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckdmed.experiments.plan import Arm
from ckdmed.losses import REGION_LOSSES

__all__ = ["ABLATION_BUNDLE", "BASELINE", "FACTORS", "Factor", "ablation_arms", "configuration"]

ABLATION_BUNDLE = "brats_seg_teacher"
BASELINE = "base"


@dataclass(frozen=True)
class Factor:
    """One choice of the design.

    Attributes:
        label: in the table.
        values: name of a value -> the arguments of `CohraUNet`, or the settings of the bundle, that make it; the
            first is that of the base configuration.
        of_network: whether they are arguments of the network.
    """

    label: str
    values: Mapping[str, Mapping[str, Any]]
    of_network: bool = True

    @property
    def base(self) -> str:
        """The value in the base configuration."""
        return next(iter(self.values))


def _attention(channel: Sequence[str], spatial: Sequence[str], itself: Sequence[str]) -> dict[str, list[str]]:
    return {"channel_attention": [*channel], "spatial_attention": [*spatial], "self_attention": [*itself]}


# the base of the factor, and losses that the thesis does not study
_OTHER_LOSSES = ("combination", "bce", "batch_dice_bce")
_EVERYWHERE = ("encoder", "skips", "concat", "bottleneck", "decoder")

#: The choices that the thesis studies. The base values are the defaults of `CohraUNet`, and the loss of its backbone.
FACTORS: dict[str, Factor] = {
    "act": Factor("activation", {name: {"act": name} for name in ("leakyrelu", "relu", "prelu", "elu", "swish")}),
    "norm": Factor("normalisation", {name: {"norm": name} for name in ("group", "batch", "instance")}),
    "upsample": Factor(
        "upsampling",
        {name: {"upsample": name} for name in ("transposed", "interpolate", "nearest", "pixelshuffle")},
    ),
    "loss": Factor(
        "loss",
        {
            name: {"loss": name}
            for name in ("combination", *(name for name in REGION_LOSSES if name not in _OTHER_LOSSES))
        },
        of_network=False,
    ),
    "attention": Factor(
        "attention",
        {
            "all": _attention(["concat"], ["skips"], ["bottleneck"]),
            "none": _attention([], [], []),
            "channel": _attention(["concat"], [], []),
            "spatial": _attention([], ["skips"], []),
            "self": _attention([], [], ["bottleneck"]),
            "gates": _attention(["concat"], ["skips"], []),
            "encoder": _attention(["encoder"], ["encoder"], ["bottleneck"]),
            "decoder": _attention(["decoder"], ["decoder"], ["bottleneck"]),
            "bottleneck": _attention(["bottleneck"], ["bottleneck"], ["bottleneck"]),
            "everywhere": _attention(_EVERYWHERE, _EVERYWHERE, ["bottleneck", "deepest_skip"]),
        },
    ),
}


def ablation_arms(
    varied: Mapping[str, Sequence[str]] | None = None, base: Mapping[str, str] | None = None, grid: bool = False
) -> list[Arm]:
    """The base configuration and its neighbours: arms that differ from it in one factor each.

    Args:
        varied: factor -> values to try, all of them where the sequence is empty; every factor with all values by
            default. The base value need not be named.
        base: factor -> value, where the base configuration is another one.
        grid: every combination of the values instead of one change at a time.

    Returns:
        the base first, named "base", then the others, "act=relu" or, in a grid, "act=relu+norm=batch".

    Raises:
        ValueError: an unknown factor or value; a value named twice.
    """
    varied = dict.fromkeys(FACTORS, ()) if varied is None else varied
    middle = {name: factor.base for name, factor in FACTORS.items()} | dict(base or {})
    for name, values in [*varied.items(), *((n, [v]) for n, v in middle.items())]:
        _check(name, values)
    tried = {
        name: [middle[name], *(v for v in varied[name] or FACTORS[name].values if v != middle[name])]
        for name in FACTORS
        if name in varied
    }
    if grid:
        combinations = [dict(zip(tried, values)) for values in itertools.product(*tried.values())]
    else:
        combinations = [{}, *({name: value} for name, values in tried.items() for value in values[1:])]
    return [_arm({**middle, **changed}, middle) for changed in combinations]


def _check(name: str, values: Sequence[str]) -> None:
    if name not in FACTORS:
        raise ValueError(f"there is no factor {name!r}; there are {', '.join(FACTORS)}.")
    unknown = [value for value in values if value not in FACTORS[name].values]
    if unknown or len(set(values)) != len(values):
        raise ValueError(
            f"the values of {name} must be chosen from {', '.join(FACTORS[name].values)}, each once, got "
            f"{list(values)}."
        )


def _arm(chosen: Mapping[str, str], middle: Mapping[str, str]) -> Arm:
    changed = {name: value for name, value in chosen.items() if value != middle[name]}
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {"teacher_kind": "cohra", "teacher_options": options}
    for name, value in chosen.items():
        (options if FACTORS[name].of_network else settings).update(FACTORS[name].values[value])
    name = "+".join(f"{factor}={value}" for factor, value in changed.items()) or BASELINE
    label = ", ".join(f"{FACTORS[factor].label}: {value}" for factor, value in changed.items())
    return Arm(name, label or BASELINE, settings, bundle=ABLATION_BUNDLE)


def configuration(settings: Mapping[str, Any]) -> dict[str, str]:
    """Factor -> value of a run's settings; a factor whose value has no name is left out."""
    found = {}
    for name, factor in FACTORS.items():
        given = settings["teacher_options"] if factor.of_network else settings
        for value, made in factor.values.items():
            if all(given.get(key) == wanted for key, wanted in made.items()):
                found[name] = value
    return found
