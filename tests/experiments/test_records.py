from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ckdmed.experiments.records import check_alike, check_made_so, collect_records, read_experiment
from ckdmed.reports import RunRecord


def record(name: str, section: str | None = None, **settings: object) -> RunRecord:
    split = {"section": section} if section else {"name": "group", "fold": 0}
    return RunRecord(name, "alone", ["ckdmed"], 0, split, {"dice": 0.5, "hd95": None}, settings=settings)


def test_a_file_of_lines_holds_what_the_folder_held(tmp_path: Path) -> None:
    for section in ("test", "validation"):
        for name in ("b", "a"):
            record(name, section, note="\u2028 \u00e9").write(tmp_path / section / f"{name}.json")
    found = read_experiment(tmp_path)
    assert [(one.split["section"], one.name) for one in found] == [
        ("validation", "a"),
        ("validation", "b"),
        ("test", "a"),
        ("test", "b"),
    ]
    path = collect_records(found, tmp_path / "all.jsonl")
    assert read_experiment(path) == found and len(path.read_text(encoding="utf-8").splitlines()) == 4


def test_settings_of_earlier_versions_get_the_names_of_now(tmp_path: Path) -> None:
    record("a", labelled_fraction=0.5, preset="ours").write(tmp_path / "a.json")
    record("b", preset="compact", overrides={"preset": "alone", "epochs": 3}).write(tmp_path / "b.json")
    first, second = read_experiment(tmp_path)
    assert first.settings == {"label_fraction": 0.5, "method": "ckd"}
    assert second.settings == {"profile": "compact", "method": "supervised", "epochs": 3}


def test_the_arm_of_earlier_comparisons_has_the_name_of_its_method(tmp_path: Path) -> None:
    before = replace(record("labelled=1-ours-seed=0"), arm="ours")
    before.write(tmp_path / "labelled=1-ours-seed=0.json")
    (found,) = read_experiment(tmp_path)
    assert (found.name, found.arm) == ("labelled=1-ckd-seed=0", "ckd")
    # a run counts once, whatever its name was
    found.write(tmp_path / "labelled=1-ckd-seed=0.json")
    with pytest.raises(ValueError, match="several records of .*labelled=1-ckd-seed=0.*a run counts once"):
        read_experiment(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no records"),
        ("{}\n", "record 1 is not a run record: lacks"),
        ("[1]\n", "record 1 is not a run record: it holds list"),
        ("{\n", "line 1: not JSON"),
        ("TWICE", "has several records of .'test', 'a'.; a run counts once"),
    ],
)
def test_damaged_collections(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    line = record("a", "test").to_json() + "\n"
    path.write_text(line * 2 if text == "TWICE" else text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_experiment(path)
    with pytest.raises(ValueError, match="holds no records; run the"):
        read_experiment(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        # the default was another one
        (({}, {"w_logit": 1.0}), ({}, {"w_logit": 0.25}), "w_logit 1.0 then and 0.25 now"),
        # it is given now as it was then
        (({}, {"w_logit": 1.0}), ({"w_logit": 1.0}, {"w_logit": 1.0}), None),
        (({"w_logit": None}, {"w_logit": 0.25}), ({}, {"w_logit": 0.25}), None),
        (({"w_logit": 1.0}, {"w_logit": 1.0}), ({}, {"w_logit": 0.25}), "w_logit 1.0 then and 0.25 now"),
        # an option that the method did not have, or has no more
        (({}, {"w_logit": 1.0}), ({}, {"w_logit": 1.0, "w_new": 2.0}), "w_new None then and 2.0 now"),
        (({}, {"w_logit": 1.0, "w_old": 2.0}), ({}, {"w_logit": 1.0}), "w_old 2.0 then and None now"),
        (({}, {"w_logit": 1.0}), ({}, {"w_logit": 1.0, "w_new": None}), None),
        # records of earlier versions do not know
        (({}, {}), ({}, {"w_logit": 0.25}), None),
        (({"w_logit": 1.0}, {}), ({}, {"w_logit": 0.25}), "w_logit 1.0 then and None now"),
    ],
)
def test_a_default_of_then_is_another_setting_than_that_of_now(
    then: tuple[dict, dict], now: tuple[dict, dict], told: str | None, tmp_path: Path
) -> None:
    def of_kd(name: str, given: dict, options: dict) -> RunRecord:
        return replace(record(name, method="kd", profile="tiny", **given), options=options)

    before, planned = of_kd("a", *then), of_kd("a", *now)
    path = before.write(tmp_path / "a.json")
    assert RunRecord.read(path).options == then[1]
    if told is None:
        check_made_so(path, planned, ())
        check_alike([before, of_kd("b", *now)], lambda arm: ())
        return
    with pytest.raises(ValueError, match=re.escape(f"made with other settings ({told})")):
        check_made_so(path, planned, ())
    with pytest.raises(
        ValueError, match=re.escape(f"with different settings ({told}".replace("then ", "").replace(" now", ""))
    ):
        check_alike([before, of_kd("b", *now)], lambda arm: ())


def test_a_record_without_options_is_one_of_before(tmp_path: Path) -> None:
    path = record("a").write(tmp_path / "a.json")
    content = json.loads(path.read_text())
    del content["options"]
    path.write_text(json.dumps(content))
    assert RunRecord.read(path).options == {}
