from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ckdmed.experiments.usual_settings import options_in_effect, usual_settings, with_usual_settings
from ckdmed.reports import RunRecord

BUNDLES = {"segmentation": "seg_kd"}


def record(task: str = "segmentation", **settings: object) -> RunRecord:
    return RunRecord("a", "a", ["x"], 0, {"task": task}, {}, settings=settings)


def completed(*records: RunRecord) -> list[dict]:
    return [one.settings for one in with_usual_settings(records, BUNDLES)]


def test_usual_values_are_the_methods_and_the_bundles():
    names = ("temperature", "weight_decay", "learning_rate", "no_setting")
    found = usual_settings(names, {"method": "kd"}, "segmentation", "seg_kd")
    assert found == {"temperature": 2.0, "weight_decay": 0.0001, "learning_rate": 0.002}
    # some depend on others
    other = usual_settings(["learning_rate"], {"method": "kd", "profile": "compact"}, "segmentation", "seg_kd")
    assert other == {"learning_rate": 0.004}


def test_records_of_one_method_name_the_same_settings():
    first, second, other = completed(
        record(method="kd", temperature=1, profile="tiny"),
        record(method="kd", weight_decay=0.1),
        record(method="ckd", w_logit=3),
    )
    assert first == {"method": "kd", "temperature": 1, "profile": "tiny", "weight_decay": 0.0001}
    assert second == {"method": "kd", "weight_decay": 0.1, "temperature": 2.0}
    assert other == {"method": "ckd", "w_logit": 3}


def test_a_record_that_knows_the_defaults_of_its_day_has_those():
    before = replace(record(method="kd"), options={"temperature": 5.0, "w_logit": 1.0})
    today = record(method="kd", temperature=1)
    assert completed(today, before)[1] == {"method": "kd", "temperature": 5.0}


def test_options_in_effect_are_those_that_are_set_and_the_defaults():
    found = options_in_effect({"method": "kd", "temperature": 3.0, "w_logit": None, "epochs": 2}, "seg_kd")
    assert found == {"w_sup": 1.0, "w_logit": 0.5, "w_dice": 0.5, "temperature": 3.0, "correction": 0.0}
    # the bundle's own method
    assert options_in_effect({}, "cls_kd") == options_in_effect({"method": "ckd"}, "cls_kd") != {}
    assert options_in_effect({"epochs": 2}, "seg_teacher") == {}
    assert options_in_effect({"method": {"_target_": "mine.method"}}, "seg_kd") == {}


def test_what_nobody_can_tell_stays_open(tmp_path: Path):
    wide = record(method="kd", vit_hidden=16, temperature=1)
    assert completed(wide, record(method="kd"))[1]["vit_hidden"] == 768
    # a given teacher's record tells sizes of its network
    told = record(method="kd", teacher_sha256="1")
    assert completed(wide, told)[1] == {"method": "kd", "teacher_sha256": "1", "temperature": 2.0}
    started = record(method="kd", student_pretrained=str(tmp_path / "none.pt"))
    assert completed(record(method="kd", student_kind="unet"), started)[1] == started.settings
    gone = record(method="kd", recipe=[1])
    assert completed(record(method="kd", learning_rate=1), gone)[1] == gone.settings
    for unknown in (record(method="gone"), record(method={"_target_": "mine.method"}), record("regions", method="kd")):
        beside = replace(unknown, settings={**unknown.settings, "temperature": 1})
        assert completed(beside, unknown)[1] == unknown.settings


def test_nothing_in_a_record_is_run(tmp_path: Path):
    ran = tmp_path / "ran"
    wide = record(method="kd", weight_decay=0.1)
    for text in (f"$open({str(ran)!r}, 'w').close() or 8", {"_target_": "os.mkdir", "path": str(ran)}):
        own = record(method="kd", batch_size=text)
        assert completed(wide, own)[1]["weight_decay"] == 0.0001
        assert not ran.exists()
