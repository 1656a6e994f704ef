from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.bundle.workflow import bundle_parser
from ckdmed.bundle_files import bundle_folder
from ckdmed.engines import load_network
from ckdmed.experiments.compare import EXPERIMENT, Comparison
from ckdmed.experiments.compare_arms import ARMS, compare_runs, compare_settings, variant
from ckdmed.experiments.given_settings import check_bundle_settings, training_config
from ckdmed.experiments.plan import Run
from ckdmed.experiments.records import listed_runs
from ckdmed.files import save_weights
from ckdmed.networks import UNet
from ckdmed.reports import RunRecord, read_values
from ckdmed.sections.record import SectionOverlapError, SectionRecord
from tests.experiments.trainers import made, planned

pytestmark = pytest.mark.bundle

TINY = EXPERIMENT.tiny
CONFIG = training_config("seg_kd")


def run_of(arm: Any, fraction: float, seed: int) -> Run:
    return compare_runs([replace(arm, needs=())], [fraction], [seed])[0]


def test_the_untrained_teacher_is_random_and_the_same_for_all(data: Path, tmp_path: Path):
    compared, (run,) = made(
        "compare", tmp_path, data, "--arms", "untrained_teacher", "--label_fractions", "1", "--seeds", "4"
    )
    path = tmp_path / "untrained" / "seed=4.pt"
    compared._write_untrained(run, path)
    first = path.read_bytes()
    path.unlink()
    torch.rand(5)
    compared._write_untrained(run, path)
    assert path.read_bytes() == first
    with pytest.raises(ValueError, match="does not fit"):
        load_network(UNet(features=[4, 8, 16, 32, 64]), str(path))


def test_order_of_the_runs():
    names = [run.name for run in compare_runs(list(reversed(ARMS.values())), [1.0, 0.25], [0, 1])]
    assert len(names) == 2 * (len(ARMS) + len(ARMS) - 1) and len(set(names)) == len(names)
    assert "labelled=1-hard_pseudo-seed=0" not in names and "labelled=0.25-hard_pseudo-seed=0" in names
    for regime in ("1", "0.25"):
        at = {arm: names.index(f"labelled={regime}-{arm}-seed=0") for arm in ARMS if arm != "hard_pseudo"}
        assert at["teacher"] < min(at["ckd"], at["report_kd"], at["report_kdpp"])
        assert at["alone_longer"] > max(at["ckd"], at["alone"])


def test_one_teacher_for_the_students_of_all_seeds():
    arms = [ARMS["teacher"], ARMS["alone"], ARMS["ckd"]]
    runs = compare_runs(arms, [1.0, 0.25], [3, 4], one_teacher=True)
    assert [run.seed for run in runs if run.arm.name == "teacher"] == [3, 3]
    taught = {run.name: run.teacher for run in runs if run.arm.name == "ckd"}
    assert taught == {
        f"labelled={f}-ckd-seed={s}": f"labelled={f}-teacher-seed=3" for f in ("1", "0.25") for s in (3, 4)
    }
    of_each = {run.teacher for run in compare_runs(arms, [1.0], [3, 4]) if run.arm.name == "ckd"}
    assert of_each == {"labelled=1-teacher-seed=3", "labelled=1-teacher-seed=4"}


def test_a_folder_does_not_mix_shared_teachers_with_those_of_each_seed(data: Path, tmp_path: Path):
    words = ["--arms", "teacher", "alone", "ckd", "--label_fractions", "1", "--seeds", "0", "1"]
    told = {}
    for option in ((), ("--one_teacher",)):
        compared, runs = made("compare", tmp_path, data, *words, *option)
        told[option] = {run.name: compared._recorded_settings(run)["shared_teacher"] for run in runs}
    assert set(told[()].values()) == {None}
    shared = {name: teacher for name, teacher in told[("--one_teacher",)].items() if teacher}
    assert shared == {"labelled=1-ckd-seed=1": "labelled=1-teacher-seed=0"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("0", "1", "--one_teacher"), ("3", "4", "--one_teacher")),
        (("0", "1", "--one_teacher"), ("3",)),
        (("0", "1"), ("3", "4", "--one_teacher")),
    ],
)
def test_seeds_that_are_added_keep_to_the_teacher(data: Path, tmp_path: Path, first, second):
    words = ["--arms", "teacher", "alone", "ckd", "--label_fractions", "1", "--seeds"]
    compared, runs = made("compare", tmp_path, data, *words, *first)
    records = [compared._planned(run) for run in runs]
    for one in records:
        one.write(tmp_path / "records/validation" / f"{one.name}.json")
    assert compared.possible(runs) == runs
    compared.check_records(records)
    added, more = made("compare", tmp_path, data, *words, *second)
    with pytest.raises(ValueError, match="learned from labelled=1-teacher-seed=[03].*another output folder"):
        added.possible(more)
    both = [added._planned(run) for run in more]
    with pytest.raises(ValueError, match="learned from .*another output folder"):
        compared.check_records([*records, *both])


def test_teachers_with_another_label_fraction():
    arms = [ARMS["teacher"], ARMS["alone"], ARMS["ckd"]]
    runs = compare_runs(arms, [0.25, 0.1], [3, 4], teacher_fraction=1.0)
    assert [run.name for run in runs if run.arm.name == "teacher"] == [f"labelled=1-teacher-seed={s}" for s in (3, 4)]
    assert {run.split["label_fraction"] for run in runs if run.arm.name == "teacher"} == {1.0}
    taught = {run.name: run.teacher for run in runs if run.arm.name == "ckd"}
    assert taught == {
        f"labelled={f}-ckd-seed={s}": f"labelled=1-teacher-seed={s}" for f in ("0.25", "0.1") for s in (3, 4)
    }
    assert {run.teacher for run in runs if run.arm.name == "alone"} == {None}
    one = compare_runs(arms, [0.25], [3, 4], one_teacher=True, teacher_fraction=1.0)
    assert {run.teacher for run in one if run.arm.name == "ckd"} == {"labelled=1-teacher-seed=3"}
    assert len([run for run in one if run.arm.name == "teacher"]) == 1
    with pytest.raises(ValueError, match="label"):
        compare_runs(arms, [0.25], [3], teacher_fraction=1.5)
    with pytest.raises(
        ValueError, match="--teacher_label_fraction 1 is for teachers, but none of the arms alone, untr"
    ):
        compare_runs([ARMS["alone"], ARMS["untrained_teacher"]], [0.25], [3], teacher_fraction=1)


def test_the_split_seed_chooses_whom_a_teacher_of_few_labels_knows(data: Path, tmp_path: Path):
    words = ["--arms", "teacher", "ckd", "--label_fractions", "1", "--seeds", "0", "--split_seed", "2"]
    with pytest.raises(ValueError, match="--split_seed 2 chooses the labelled patients, but here all are labelled"):
        made("compare", tmp_path, data, *words)
    compared, (teacher, student) = made("compare", tmp_path, data, *words, "--teacher_label_fraction", "0.5")
    seeds = [compared.settings_of(run)["split_seed"] for run in (teacher, student)]
    assert (teacher.arm.name, student.arm.name, seeds) == ("teacher", "ckd", [2, 0])
    compared, runs = made("compare", tmp_path, data, *words[:-2], "--set", "split_seed=2")
    with pytest.raises(ValueError, match="split_seed=2 chooses the labelled patients, but here all are labelled"):
        compared.possible(runs)


@pytest.mark.parametrize("shared", [(), ("--one_teacher",)])
def test_a_teacher_of_more_labels_stands_beside_its_students(data: Path, tmp_path: Path, shared):
    words = ["--arms", "teacher", "alone", "ckd", "--label_fractions", "0.5", "--seeds", "0", "1", *shared]
    compared, runs = made("compare", tmp_path, data, *words, "--teacher_label_fraction", "1")
    records = []
    for run in runs:
        of_run = compared._recorded_settings(run)
        records.append(
            replace(
                record(run.arm.name, run.seed, 0.5, settings=of_run),
                name=run.name,
                split={"section": "validation", **run.split},
                patients={"Dice per patient": {"a": 0.5, "b": 0.4}},
            )
        )
    compared.check_records(records)
    (group,) = compared.groups(records)
    assert group.title.endswith("50% of the training patients labelled")
    assert group.names["teacher-1"] == "teacher, 100% labelled" and group.names["alone"] == "student alone"
    assert len(group.records) == len(records)
    table = compared.tables(records)
    (row,) = [line for line in table.splitlines() if line.startswith("| teacher, 100% labelled")][:1]
    assert "50% of the training patients labelled" in table and "0.5000" in row and "+0.0000" in row
    assert compared.picture(records, tmp_path / "picture.png") == tmp_path / "picture.png"
    # a teacher of as many labels as its students' is one more group of students beside it
    alone = replace(records[-2], split={**records[-2].split, "label_fraction": 1.0}, name="labelled=1-alone-seed=1")
    assert [set(one.names) for one in compared.groups([*records, alone])] == [
        {"teacher", "alone"},
        {"teacher-1", "alone", "ckd"},
    ]
    # nor is a teacher of the students' own label fraction, which taught none of them, taken for it
    own = replace(records[0], split={**records[0].split, "label_fraction": 0.5}, name="labelled=0.5-teacher-seed=0")
    own = replace(own, metrics={name: 0.1 for name in own.metrics})
    rows = [line for line in compared.tables([*records, own]).splitlines() if line.startswith("| teacher")][:2]
    assert [(row.split("|")[1].strip(), "0.1000" in row) for row in rows] == [
        ("teacher, 100% labelled", False),
        ("teacher", True),
    ]


def test_a_folder_does_not_mix_label_fractions_of_teachers(data: Path, tmp_path: Path):
    words = ["--arms", "teacher", "alone", "ckd", "--label_fractions", "0.5", "--seeds", "0"]
    compared, runs = made("compare", tmp_path, data, *words, "--teacher_label_fraction", "1")
    for run in runs:
        compared._planned(run).write(tmp_path / "records/validation" / f"{run.name}.json")
    again, more = made("compare", tmp_path, data, *words[:-1], "1", "--teacher_label_fraction", "1")
    assert again.possible(more) == more
    other, own = made("compare", tmp_path, data, *words[:-1], "1")
    with pytest.raises(ValueError, match="--teacher_label_fraction as before"):
        other.possible(own)


def test_a_comparison_of_before_goes_on(data: Path, tmp_path: Path):
    words = ["--arms", "teacher", "alone", "ckd", "--label_fractions", "0.5", "--seeds", "0", "1"]
    compared, runs = made("compare", tmp_path, data, *words)
    first, second = (run for run in runs if run.arm.name == "ckd")
    own = replace(
        record("ours", 0, 0.5, settings=compared._recorded_settings(first)),
        name="labelled=0.5-ours-seed=0",
        data_sha256=compared.data_sha256,
    )
    own.write(tmp_path / "records/validation/labelled=0.5-ours-seed=0.json")
    (tmp_path / "runs/labelled=0.5-ours-seed=0").mkdir(parents=True)
    assert compared.done(first) and not compared.done(second)
    assert compared.folder(first).name == "labelled=0.5-ours-seed=0"
    assert compared.folder(second).name == "labelled=0.5-ckd-seed=1"
    assert [line[:4] for line in listed_runs(tmp_path, [first, second])] == ["done", "    "]


def test_a_variants_recipe_brings_its_learning_rate(data: Path, tmp_path: Path):
    words = ["--arms", "teacher", "alone", "--label_fractions", "1", "--seeds", "0", "--profile", "compact"]
    words += ["--variant", "nn", "recipe=nnunet"]
    plans = {}
    for given in ((), ("--set", "learning_rate=0.02")):
        compared, runs = made("compare", tmp_path, data, *words, *given)
        plans[given] = {run.arm.name: compared.settings_of(run)["learning_rate"] for run in runs}
    assert plans[()]["nn"] == 0.01 and plans[()]["alone"] == compared.profile_settings("compact")["learning_rate"]
    # what the user gives stays
    (kept,) = (plan for given, plan in plans.items() if given)
    assert kept["nn"] == kept["alone"] == 0.02


def test_settings_of_the_arms():
    base = {**TINY, "epochs": 10, "teacher_epochs": 6, "dataset_dir": "d"}
    ours = compare_settings(run_of(ARMS["ckd"], 0.25, 7), base, CONFIG)
    assert (ours["epochs"], ours["val_interval"], ours["label_fraction"], ours["seed"]) == (10, 1, 0.25, 7)
    assert ours["method"] == "ckd" and "train#dataset#data" not in ours
    # as many steps on the labelled images alone, validated as often
    alone = compare_settings(run_of(ARMS["alone"], 0.25, 7), base, CONFIG)
    assert (alone["epochs"], alone["val_interval"]) == (40, 4) and "labelled" in alone["train#dataset#data"]
    assert compare_settings(run_of(ARMS["alone"], 1.0, 7), base, CONFIG)["epochs"] == 10
    assert "train#dataset#data" not in compare_settings(run_of(ARMS["alone"], 1.0, 7), base, CONFIG)
    students = {"student_kind": "efficientnet_lite", "student_encoder_pretrained": "lite0.pth"}
    teacher = compare_settings(
        run_of(ARMS["teacher"], 0.25, 7), {**base, **students, "teacher_kind": "segresnet"}, CONFIG
    )
    assert teacher["epochs"] == 24 and not {"student_base", "teacher_epochs", "method", *students} & set(teacher)
    assert teacher["teacher_kind"] == "segresnet" and teacher["image_size"] == base["image_size"]
    # what is the student's own is none of its teacher's
    own = {"recipe": "nnunet", "student_options": {}, "mixup": 0.2, "weight_decay": 0.1, "teacher_weight_decay": 0.2}
    apart = compare_settings(run_of(ARMS["teacher"], 0.25, 7), {**base, **own, "teacher_recipe": "adamw"}, CONFIG)
    assert (apart["recipe"], apart["weight_decay"]) == ("adamw", 0.2)
    check_bundle_settings("seg_teacher", apart)
    larger = {**base, "image_size": 96, "teacher_image_size": 160}
    assert compare_settings(run_of(ARMS["ckd"], 1.0, 7), larger, CONFIG)["image_size"] == 96
    taught_by = compare_settings(run_of(ARMS["teacher"], 1.0, 7), larger, CONFIG)
    assert taught_by["image_size"] == 160 and "teacher_image_size" not in taught_by
    warm = compare_settings(run_of(variant("warm", {"temperature": 4}), 1.0, 0), base, CONFIG)
    assert (warm["method"], warm["temperature"]) == ("ckd", 4)


def test_summary_shows_the_test_section_once_there_is_one():
    def record(arm: str, section: str, regime: float, dice: float) -> RunRecord:
        split = {"section": section, "label_fraction": regime}
        metrics = {name: dice for name in ("Dice per slice", "Dice per patient", "HD95 per slice")}
        return RunRecord(f"{arm}{regime}{section}", arm, ["c"], 0, split, metrics, data_sha256="0" * 64)

    validated = [record("ckd", "validation", 0.1, 0.5), record("alone", "validation", 0.1, 0.4)]
    text = Comparison.summary(validated)
    assert text.startswith("Validation set, 10%") and "+0.1000" in text and "HD95" not in text
    assert text.index("student alone") < text.index("distilled")
    tested = [record("alone", "test", regime, 0.3 + regime / 10) for regime in (0.1, 1.0)]
    text = Comparison.summary(validated + tested)
    assert "Validation" not in text and "0.5000" not in text
    assert text.index("Test set, 100%") < text.index("0.4000") < text.index("Test set, 10%")


def test_the_longer_student_gets_the_time_of_ours(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    compared, _ = made("compare", tmp_path, data)
    for arm, seconds in (("alone", 100.0), ("ckd", 250.0)):
        history = tmp_path / "runs" / f"labelled=1-{arm}-seed=0" / "metrics.jsonl"
        history.parent.mkdir(parents=True)
        # the clock on the wall may say anything on a busy machine
        row = {"seconds": 1.0, "cpu_seconds": seconds / 2}
        history.write_text(f"{json.dumps(row)}\n" * 2, encoding="utf-8")
    run = run_of(ARMS["alone_longer"], 1.0, 0)
    assert compared.settings_of(run)["epochs"] == 5
    # what was planned once stays, whatever a later history says
    (tmp_path / "runs" / "labelled=1-ckd-seed=0" / "metrics.jsonl").unlink()
    assert compared.settings_of(run)["epochs"] == 5


def record(arm: str, seed: int, dice: float, section: str = "validation", regime: float = 1.0, **kw: Any) -> RunRecord:
    metrics = {"Dice per slice": dice, "Dice per patient": dice - 0.01, "HD95 per slice": 10 / dice}
    split = {"label_fraction": regime, "section": section}
    return RunRecord(f"{arm}-{seed}-{regime}-{section}", arm, ["c"], seed, split, metrics, seconds=60.0, **kw)


def test_the_table_by_hand():
    records = [record("alone", s, d) for s, d in enumerate((0.70, 0.72))]
    records += [record("ckd", s, d) for s, d in enumerate((0.74, 0.73))] + [record("mine", 0, 0.5, regime=0.1)]
    text = Comparison.tables(records)
    all_labelled, tenth = text.split("### Validation set, 10%")
    (distilled,) = (line for line in all_labelled.splitlines() if line.startswith("| distilled") and "+0.0250" in line)
    assert "0.7350 ± 0.0071" in distilled and "2 of 2" in distilled
    assert "baseline" in all_labelled and "13.51" not in all_labelled.split("HD95")[0]
    assert "mine" in tenth and "baseline" not in tenth
    assert "student alone 60, distilled 60" in all_labelled and "for the same time:" not in all_labelled
    longer = [record("alone_longer", s, d) for s, d in enumerate((0.75, 0.71))]
    _, same_time = Comparison.tables([*records, *longer]).split("trained alone for the same time:")
    (distilled,) = (line for line in same_time.splitlines() if line.startswith("| distilled"))
    assert "+0.0050" in distilled and "1 of 2" in distilled
    # over patients only when all of the records hold their scores
    assert "over patients" not in Comparison.tables(records)
    with_patients = [
        replace(made, patients={"Dice per patient": {"a": made.metrics["Dice per patient"], "b": 0.5}})
        for made in [*records[:-1], *longer]
    ]
    of_all, of_same_time = Comparison.tables(with_patients).split("trained alone for the same time:")
    assert "| distilled " in of_all.split("over patients")[1] and "+0.0125" in of_all.split("over patients")[1]
    assert "+0.0025" in of_same_time.split("over patients")[1]
    with pytest.raises(ValueError, match="several datalists"):
        Comparison.tables([*records, record("ckd", 5, 0.5, data_sha256="ab")])


def test_the_picture_shows_the_section_of_the_summary(tmp_path: Path):
    def with_patients(*args: Any, **kwargs: Any) -> RunRecord:
        made = record(*args, **kwargs)
        return replace(made, patients={"Dice per patient": {"a": made.metrics["Dice per patient"], "b": 0.5}})

    records = [with_patients(arm, seed, dice) for arm, dice in (("alone", 0.7), ("ckd", 0.75)) for seed in (0, 1)]
    tested = [with_patients(arm, 0, dice, "test", 0.1) for arm, dice in (("alone", 0.6), ("ckd", 0.5))]
    for own, title, gain in (
        (records, "Validation set, 100%", 0.025),
        (records + tested, "Test set, 10%", -0.05),
    ):
        path = Comparison.picture(own, tmp_path / "x.png", {"ckd": "mine"})
        assert path is not None
        drawn = read_values(path)
        assert list(drawn) == [f"{title} of the training patients labelled"]
        assert drawn[f"{title} of the training patients labelled"]["mine"][0][0] == pytest.approx(gain)
    # runs of before the scores of patients were kept, and of one arm
    assert Comparison.picture([record("alone", 0, 0.5), record("ckd", 0, 0.5)], tmp_path / "y.png") is None
    assert Comparison.picture([with_patients("ckd", 0, 0.5)], tmp_path / "y.png") is None


def test_label_fractions_that_round_alike_keep_their_names_and_panels(tmp_path: Path):
    """2.5% was called 2%, and of two panels of one name the picture had the last one."""
    patients = {"Dice per patient": {"a": 0.5, "b": 0.6}}
    records = [
        record(arm, 0, 0.5, regime=fraction, patients=patients)
        for fraction in (0.125, 0.12, 0.025)
        for arm in ("alone", "ckd")
    ]
    titles = [f"Validation set, {shown} of the training patients labelled" for shown in ("12.5%", "12%", "2.5%")]
    assert [group.title for group in Comparison.groups(records)] == titles
    path = Comparison.picture(records, tmp_path / "x.png")
    assert path is not None and list(read_values(path)) == titles


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arms", "ckd"], "needs the arms \\['teacher'\\] too"),
        (["--arms", "alone", "alone"], "arms must be one or more different"),
        (["--arms", "our"], "there are no arms \\['our'\\]; there are teacher, alone"),
        (["--label_fractions", "0"], "above 0 and at most 1"),
        (["--variant", "ckd", "w_att=0"], "a name of its own"),
        # records of before hold the distilled arm by this name, and are read as its
        (["--variant", "ours", "w_att=0"], "a name of its own"),
        (
            ["--variant", "warm", "temperatur=4"],
            "'temperatur' is not a setting of this bundle; did you mean 'temperature'",
        ),
    ],
)
def test_impossible_plans(words: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        planned("compare", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variant", "odd", "student_kind=swin_unetr", "student_base=5"], "^odd: the base of a swin_unetr .* 12"),
        (["--variant", "odd", "student_kind=attention_unet", 'student_options={"nothing": 1}'], "^odd: .*'nothing'"),
        (["--set", "vit_heads=3"], "^teacher: .*3"),
    ],
)
def test_networks_that_cannot_be_are_refused_before_anything_is_drawn(tmp_path: Path, words: list[str], message: str):
    """A wrong combination came up when its arm's turn came, hours later."""
    arms = ["--arms", "teacher", "alone", "ckd", "--label_fractions", "1", "--seeds", "0"]
    compared, runs = made("compare", tmp_path, tmp_path / "phantoms", *arms, *words)
    with pytest.raises(ValueError, match=message):
        compared.possible(runs)
    assert list(tmp_path.iterdir()) == []


def test_networks_that_can_be_are_all_planned(tmp_path: Path):
    compared, runs = made("compare", tmp_path, tmp_path / "phantoms", "--label_fractions", "0.5", "--seeds", "0")
    assert len(runs) == len(ARMS) and compared.possible(runs) == runs


def test_plans_of_the_command_line():
    runs = planned("compare", "--seeds", "0", "--regimes", "1", "--variant", "warm", "temperature=4")
    names = [run.name for run in runs]
    assert (
        len(names) == len(ARMS) and "labelled=1-warm-seed=0" in names and "labelled=1-hard_pseudo-seed=0" not in names
    )
    assert {run.teacher for run in runs if run.arm.name in ("ckd", "warm")} == {"labelled=1-teacher-seed=0"}
    assert {run.teacher for run in runs if run.arm.name in ("alone", "untrained_teacher")} == {None}


def test_a_variants_weights_to_start_from_are_refused_before_anything_is_trained(
    phantoms: dict[str, Path], tmp_path: Path
):
    """Weights of another network came up when the variant's turn came, after its teacher and all arms before it."""
    words = ["--arms", "teacher", "alone", "ckd", "--label_fractions", "1", "--seeds", "0", "--variant", "own"]
    start = tmp_path / "t" / "model.pt"

    def possible() -> bool:
        args = [*words, f"student_pretrained={start}"]
        compared, runs = made("compare", tmp_path / "o", phantoms["compare"], *args)
        return compared.possible(runs) == runs

    with pytest.raises(ValueError, match="own: student_pretrained: there is no file"):
        possible()
    save_weights(start, {"weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="own-seed=0: .*does not fit this"):
        possible()
    compared, runs = made("compare", tmp_path / "o", phantoms["compare"], *words[:-2])
    get = bundle_parser(bundle_folder("seg_kd"), compared.settings_of(runs[-1])).get_parsed_content
    save_weights(start, get("network_def").state_dict())
    assert possible()
    sections = get("sections")
    swapped = {**sections, "train": sections["test"], "test": sections["train"]}
    SectionRecord.of(swapped, start.parent).write(start.parent / "sections.json")
    with pytest.raises(SectionOverlapError, match="test patients"):
        possible()
    assert not (tmp_path / "o").exists()
