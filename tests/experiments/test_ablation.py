from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.bundle.workflow import bundle_folder, bundle_settings, bundle_workflow
from ckdmed.experiments.ablation import EXPERIMENT, Ablation
from ckdmed.experiments.ablation_factors import FACTORS, ablation_arms, configuration
from ckdmed.losses import RegionCombinationLoss, region_loss
from ckdmed.networks import CohraUNet, GridTransformer, segmentation_teacher
from ckdmed.reports import RunRecord
from tests.experiments.trainers import made, planned

pytestmark = pytest.mark.bundle


def test_one_change_at_a_time() -> None:
    arms = ablation_arms()
    assert [arm.name for arm in arms[:6]] == ["base", "act=relu", "act=prelu", "act=elu", "act=swish", "norm=batch"]
    assert len(arms) == 1 + sum(len(factor.values) - 1 for factor in FACTORS.values())
    base = configuration(arms[0].settings)
    assert base == {
        "act": "leakyrelu",
        "norm": "group",
        "upsample": "transposed",
        "loss": "combination",
        "attention": "all",
    }
    for arm in arms[1:]:
        factor, value = arm.name.split("=")
        assert configuration(arm.settings) == {**base, factor: value}
        assert arm.settings["teacher_kind"] == "cohra" and arm.bundle == "brats_seg_teacher"


def test_the_base_is_the_networks_default() -> None:
    options = ablation_arms()[0].settings["teacher_options"]
    torch.manual_seed(0)
    default = CohraUNet(features=[2, 4, 8, 16, 32])
    torch.manual_seed(0)
    base = segmentation_teacher("cohra", base=2, options=options)
    assert all(torch.equal(a, b) for a, b in zip(default.state_dict().values(), base.state_dict().values()))
    x = torch.rand(1, 4, 20, 20)
    torch.testing.assert_close(default(x), base(x))


@pytest.mark.parametrize("arm", ablation_arms(), ids=lambda arm: arm.name)
def test_every_arm_is_a_network_and_a_loss_of_its_own(arm: Any) -> None:
    network = segmentation_teacher("cohra", base=2, options=arm.settings["teacher_options"])
    loss = region_loss(arm.settings["loss"])(network(torch.rand(1, 4, 20, 20)), torch.zeros(1, 3, 20, 20))
    assert torch.isfinite(loss)


def test_values_of_ones_own_base_and_grids() -> None:
    arms = ablation_arms({"norm": ["batch", "group"], "act": []}, {"norm": "instance"})
    assert [arm.name for arm in arms] == [
        "base",
        "act=relu",
        "act=prelu",
        "act=elu",
        "act=swish",
        "norm=batch",
        "norm=group",
    ]
    assert arms[0].settings["teacher_options"]["norm"] == "instance" == arms[1].settings["teacher_options"]["norm"]
    grid = ablation_arms({"loss": ["dice"], "upsample": ["nearest"]}, grid=True)
    assert [arm.name for arm in grid] == ["base", "loss=dice", "upsample=nearest", "upsample=nearest+loss=dice"]
    assert grid[3].label == "upsampling: nearest, loss: dice"
    assert configuration(grid[3].settings)["upsample"] == "nearest" and grid[3].settings["loss"] == "dice"
    whole = ablation_arms({name: () for name in FACTORS}, grid=True)
    assert len(whole) == 5 * 3 * 4 * 5 * 10 and len({arm.name for arm in whole}) == len(whole)


def test_settings_of_a_run(data: Path, tmp_path: Path) -> None:
    ablation, runs = made("ablation", tmp_path, data, "--vary", "act", "relu", "--seeds", "3", "4")
    assert [run.name for run in runs] == ["base-seed=3", "act=relu-seed=3", "base-seed=4", "act=relu-seed=4"]
    settings = ablation.run_settings(runs[1], {"epochs": 2, "teacher_options": {"heads": 4, "act": "mish"}})
    assert (settings["seed"], settings["epochs"], settings["loss"]) == (3, 2, "combination")
    assert settings["teacher_options"]["heads"] == 4 and settings["teacher_options"]["act"] == "relu"


@pytest.mark.parametrize(
    ("varied", "base", "message"),
    [
        ({"activation": []}, {}, "no factor 'activation'; there are act, norm"),
        ({"act": ["gelu"]}, {}, r"values of act must be chosen from leakyrelu.*got \['gelu'\]"),
        ({"act": ["relu", "relu"]}, {}, "must be chosen from"),
        ({}, {"norm": "layer"}, r"values of norm .*got \['layer'\]"),
    ],
)
def test_impossible_plans(varied: dict[str, list[str]], base: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ablation_arms(varied, base)


def test_sizes() -> None:
    with pytest.raises(ValueError, match="full, compact or tiny, got 'big'"):
        EXPERIMENT.profile_settings("big")
    own = bundle_settings("brats_seg_teacher")
    assert (
        set(EXPERIMENT.profile_settings("full"))
        == set(EXPERIMENT.profile_settings("compact"))
        == set(EXPERIMENT.profile_settings("tiny"))
        <= set(own)
    )
    assert (
        EXPERIMENT.profile_settings("full")["epochs"] == 40 and EXPERIMENT.profile_settings("full")["image_size"] == 240
    )


def test_the_bundle_builds_what_the_arm_says(data: Path, tmp_path: Path) -> None:
    ablation, runs = made("ablation", tmp_path, data, "--vary", "attention", "everywhere", "--seeds", "0")
    for name, transformers in (("base", 1), ("attention=everywhere", 2)):
        (run,) = (run for run in runs if run.arm.name == name)
        workflow = bundle_workflow(bundle_folder("brats_seg_teacher"), ablation.settings_of(run))
        workflow.parser.parse(reset=True)
        network = workflow.parser.get_parsed_content("network_def")
        assert isinstance(network, CohraUNet)
        assert sum(isinstance(module, GridTransformer) for module in network.modules()) == transformers
        assert isinstance(workflow.parser.get_parsed_content("loss_function"), RegionCombinationLoss)


def record(arm: str, seed: int, dice: float, **more: Any) -> RunRecord:
    metrics = {"Dice": dice, "lesion-wise Dice": dice - 0.1, "HD95 [mm]": 10 / dice, "lesion-wise HD95 [mm]": 99.0}
    metrics |= {f"Dice {region}": dice + 0.01 * number for number, region in enumerate(("TC", "WT", "ET"))}
    (made,) = (made for made in ablation_arms() if made.name == arm.split("+")[0])
    return RunRecord(
        f"{arm}-seed={seed}",
        arm,
        ["c"],
        seed,
        {"section": "validation"},
        {**metrics, "parameters [million]": 0.25},
        settings=dict(made.settings),
        seconds=30.0,
        **more,
    )


def test_the_table_by_hand() -> None:
    records = [record("norm=batch", s, d) for s, d in enumerate((0.74, 0.73))]
    records += [record("base", s, d) for s, d in enumerate((0.70, 0.72))] + [record("act=relu", 0, 0.5)]
    text = Ablation.tables(records)
    lines = [line for line in text.splitlines() if line.startswith("| ") and "base" in line or "norm" in line]
    assert lines[0].startswith("| base (leakyrelu, group, transposed, combination, all) ") and "baseline" in lines[0]
    assert "0.7350 ± 0.0071" in lines[1] and "+0.0250" in lines[1] and "2 of 2" in lines[1]
    assert text.index("activation: relu") < text.index("normalisation: batch")
    assert "2 configurations are compared with one: of that many 95% intervals, about 0.1" in text
    assert "normalisation: batch 0.25" in text and "normalisation: batch 30" in text
    assert "0.7550 ± 0.0071" in text and "0.6350 ± 0.0071" in text
    # of a distance the smaller one wins
    distances = next(line for line in text[text.index("HD95 [mm]") :].splitlines() if "norm" in line)
    assert "-0.48" in distances and "2 of 2" in distances and "0 of 2" in distances
    with pytest.raises(ValueError, match="several datalists"):
        Ablation.tables([*records, record("base", 5, 0.5, data_sha256="ab")])
    # without a base nothing is compared
    assert "baseline" not in Ablation.tables([record("act=relu", 0, 0.5), record("norm=batch+act=relu", 0, 0.5)])


def test_plans_of_the_command_line() -> None:
    assert [
        run.name for run in planned("ablation", "--seeds", "0", "1", "--vary", "norm", "--vary", "loss", "dice")
    ] == [f"{arm}-seed={seed}" for seed in (0, 1) for arm in ("base", "norm=batch", "norm=instance", "loss=dice")]
    grid = planned("ablation", "--seeds", "0", "--vary", "norm", "--base", "norm=batch", "--grid")
    assert "norm=group-seed=0" in [run.name for run in grid]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vary", "norms"], "there is no factor 'norms'"),
        (["--vary", "norm", "--vary", "norm", "batch"], "--vary names norm twice"),
        (["--base", "norm"], "'norm' is not KEY=VALUE, as the factors must be"),
        (["--base", "norms=batch"], "there is no factor 'norms'"),
        (["--set", "loss=dice"], "the command sets loss itself"),
        (
            ["--set", 'teacher_options={"act": "relu", "heads": 4}'],
            "teacher_options sets act, which the ablation varies",
        ),
    ],
)
def test_refusals(words: list[str], message: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        made("ablation", tmp_path, data, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", 'teacher_options={"heads": 3}'], "^base: .*cannot have 3 heads"),
        (["--vary", "act", "relu", "--set", 'teacher_options={"nothing": 3}'], "^base: .*'nothing'"),
    ],
)
def test_networks_that_cannot_be_are_refused_before_anything_is_drawn(words: list[str], message: str, tmp_path: Path):
    """A wrong option came up when its arm's turn came."""
    ablation, runs = made("ablation", tmp_path, tmp_path / "phantoms", "--seeds", "0", *words)
    with pytest.raises(ValueError, match=message):
        ablation.possible(runs)
    assert list(tmp_path.iterdir()) == []


def test_networks_that_can_be_are_all_planned(tmp_path: Path):
    ablation, runs = made("ablation", tmp_path, tmp_path / "phantoms", "--seeds", "0", "--vary", "norm")
    assert len(runs) == 3 and ablation.possible(runs) == runs
