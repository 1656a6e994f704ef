from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.bundle.workflow import bundle_folder, bundle_settings, bundle_workflow
from ckdmed.cli import main
from ckdmed.experiments.ablation import (
    Ablation,
    ablation_phantoms,
    ablation_sizes,
    ablation_tables,
    write_ablation_tables,
)
from ckdmed.experiments.ablation_arms import FACTORS, AblationRun, ablation_arms, ablation_runs, configuration
from ckdmed.experiments.recorded_runs import listed_runs
from ckdmed.losses import RegionCombinationLoss, region_loss
from ckdmed.networks import CohraUNet, GridTransformer, segmentation_teacher
from ckdmed.reports import RunRecord
from tests.experiments.interrupted import check_same_outcome, noted_epochs

pytestmark = pytest.mark.bundle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ablation_phantoms(tmp_path_factory.mktemp("phantoms"), 6, (24, 24, 16))


def ablation(folder: Path, data: Path, **settings: Any) -> Ablation:
    return Ablation(folder, data, {**ablation_sizes("tiny"), **settings}, command=["ckdmed", "ablation"])


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
        assert arm.settings["teacher"] == "cohra" and arm.bundle == "brats_seg_teacher"


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


def test_settings_of_a_run() -> None:
    runs = ablation_runs(ablation_arms({"act": ["relu"]}), [3, 4])
    assert [run.name for run in runs] == ["base-seed=3", "act=relu-seed=3", "base-seed=4", "act=relu-seed=4"]
    made = runs[1].settings({"epochs": 2, "teacher_options": {"heads": 4, "act": "mish"}})
    assert (made["seed"], made["epochs"], made["loss"]) == (3, 2, "combination")
    assert made["teacher_options"]["heads"] == 4 and made["teacher_options"]["act"] == "relu"
    # a record is JSON, with which the plan is compared
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize(
    ("varied", "base", "message"),
    [
        ({"activation": []}, {}, "no factor 'activation'; there are act, norm"),
        ({"act": ["gelu"]}, {}, r"values of act must be different ones of leakyrelu.*got \['gelu'\]"),
        ({"act": ["relu", "relu"]}, {}, "must be different ones"),
        ({}, {"norm": "layer"}, r"values of norm .*got \['layer'\]"),
    ],
)
def test_impossible_plans(varied: dict[str, list[str]], base: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ablation_arms(varied, base)


def test_seeds_and_sizes() -> None:
    for seeds in ([], [1, 1]):
        with pytest.raises(ValueError, match="seeds must be different ones"):
            ablation_runs(ablation_arms({}), seeds)
    with pytest.raises(ValueError, match="full, compact or tiny, got 'big'"):
        ablation_sizes("big")
    own = bundle_settings("brats_seg_teacher")
    assert set(ablation_sizes("full")) == set(ablation_sizes("compact")) == set(ablation_sizes("tiny")) <= set(own)
    assert ablation_sizes("full")["epochs"] == 40 and ablation_sizes("full")["image_size"] == 240


def test_the_bundle_builds_what_the_arm_says(data: Path, tmp_path: Path) -> None:
    made = ablation(tmp_path, data)
    for name, transformers in (("base", 1), ("attention=everywhere", 2)):
        (arm,) = (arm for arm in ablation_arms({"attention": ["everywhere"]}) if arm.name == name)
        workflow = bundle_workflow(bundle_folder("brats_seg_teacher"), made._plan(AblationRun(arm, 0)))
        workflow.parser.parse(reset=True)
        network = workflow.parser.get_parsed_content("network_def")
        assert isinstance(network, CohraUNet)
        assert sum(isinstance(module, GridTransformer) for module in network.modules()) == transformers
        assert isinstance(workflow.parser.get_parsed_content("loss_function"), RegionCombinationLoss)


@pytest.mark.slow
def test_the_whole_way_broken_off_and_resumed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = ablation_runs(ablation_arms({"norm": ["batch"]}), [3])
    whole = ablation(tmp_path / "whole", data)
    assert [whole.train(run) for run in runs] == [True, True]

    broken = ablation(tmp_path / "broken", data)
    # in the second run's second epoch
    with noted_epochs(monkeypatch, killed_after=4):
        broken.do(runs)
    assert broken.done(runs[0]) and not broken.done(runs[1])
    assert [line[:4] for line in listed_runs(broken.output_dir, runs)] == ["done", "    "]
    again = ablation(tmp_path / "broken", data)
    with noted_epochs(monkeypatch) as epochs:
        assert [again.train(run) for run in runs] == [False, True]
    assert epochs == [2]

    last, weights = check_same_outcome(whole, again, runs)
    assert last.seed == 3
    network = segmentation_teacher("cohra", base=2, options=runs[1].arm.settings["teacher_options"])
    network.load_state_dict(weights, strict=True)
    own = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert last.metrics["parameters [million]"] == pytest.approx(own)

    text = write_ablation_tables(tmp_path / "whole" / "records", tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    assert "### Validation section" in text and "normalisation: batch" in text and "### Test" not in text
    changed = ablation(tmp_path / "whole", data, epochs=5)
    with pytest.raises(ValueError, match="made with other settings .*epochs 2 then and 5 now"):
        changed.done(runs[1])


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
    text = ablation_tables(records)
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
        ablation_tables([*records, record("base", 5, 0.5, data_sha256="ab")])
    # without a base nothing is compared
    assert "baseline" not in ablation_tables([record("act=relu", 0, 0.5), record("norm=batch+act=relu", 0, 0.5)])


def test_the_command_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["ablation", "--output_dir", str(tmp_path), "--dataset_dir", str(data), "--preset", "tiny"]
    assert main([*common, "--seeds", "0", "1", "--vary", "norm", "--vary", "loss", "dice", "--dry-run"]) == 0
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        f"{arm}-seed={seed}" for seed in (0, 1) for arm in ("base", "norm=batch", "norm=instance", "loss=dice")
    ]
    assert main([*common, "--seeds", "0", "--vary", "norm", "--base", "norm=batch", "--grid", "--dry-run"]) == 0
    assert "norm=group-seed=0" in capsys.readouterr().out
    for extra, message in (
        (["--vary", "norms"], "there is no factor 'norms'"),
        (["--vary", "norm", "--vary", "norm", "batch"], "--vary names norm twice"),
        (["--base", "norm"], "'norm' is no KEY=VALUE of the factors: act, attention"),
        (["--set", "epoch=3"], "'epoch=3' is no KEY=VALUE of the bundle's settings"),
        (["--set", "loss=dice"], "the command makes loss itself"),
        (
            ["--set", 'teacher_options={"act": "relu", "heads": 4}'],
            "teacher_options sets act, which the ablation varies",
        ),
        (["--table-only"], "holds no records"),
        (["--dataset_dir", str(tmp_path)], "ckdmed brats-datalist"),
    ):
        assert main([*common, *extra]) == 2
        assert message in capsys.readouterr().err
