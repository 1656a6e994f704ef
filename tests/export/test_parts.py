from __future__ import annotations

import io
import json
import logging
import random
import shutil
import sys
import zipfile
from logging.config import fileConfig

import jsonschema
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.bundle.trained import Trained, settings_read, told_by_teacher
from ckdmed.export import METADATA_SCHEMA, files_over_limit
from ckdmed.export.configs import component_settings, rebase_text, rewrite_configs
from ckdmed.export.exporter import _put_both_in_place
from ckdmed.export.file_rules import machine_paths
from ckdmed.export.torchscript import strip_source_paths
from ckdmed.export.undisturbed import undisturbed
from tests.export.tiny import BUNDLES, ROOT


@pytest.fixture(params=BUNDLES)
def metadata(request):
    return json.loads((ROOT / "bundles" / request.param / "metadata.json").read_text(encoding="utf-8"))


def test_schema_takes_the_metadata_and_misses_every_required_field(metadata):
    jsonschema.Draft201909Validator.check_schema(METADATA_SCHEMA)
    jsonschema.validate(metadata, METADATA_SCHEMA)
    assert len(METADATA_SCHEMA["required"]) == 11
    for name in METADATA_SCHEMA["required"]:
        with pytest.raises(jsonschema.ValidationError, match=f"'{name}' is a required property"):
            jsonschema.validate({k: v for k, v in metadata.items() if k != name}, METADATA_SCHEMA)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("version", 1), ("references", "one"), ("references", [1]), ("eval_metrics", [0.9]), ("changelog", "first")],
)
def test_schema_minds_types(metadata, field, wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**metadata, field: wrong}, METADATA_SCHEMA)


@pytest.mark.parametrize("field", ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_schema_describes_tensors(metadata, side, field):
    name, tensor = next(iter(metadata["network_data_format"][side].items()))
    del tensor[field]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(metadata, METADATA_SCHEMA)


def test_metadata_says_what_the_zoo_and_users_ask(metadata):
    assert metadata["version"] in metadata["changelog"]
    assert metadata["schema"].endswith("meta_schema_20240725.json")
    for field in ("name", "data_source", "data_type", "intended_use", "references", "pred_classes"):
        assert metadata[field], field
    for side in ("inputs", "outputs"):
        for tensor in metadata["network_data_format"][side].values():
            assert len(tensor["channel_def"]) == tensor["num_channels"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run bundles/a_b/train.json now", "run configs/train.json now"),
        ("['bundles/a_b/train.json','bundles/a_b/evaluate.json']", "['configs/train.json','configs/evaluate.json']"),
        ("bundles/a_b/logging.conf", "configs/logging.conf"),
        ("bundles/a_b/output/models/model.pt", "output/models/model.pt"),
        ("in `bundles/a_b/`.", "in `.`."),
        ("bundles/a_bc/train.json", "bundles/a_bc/train.json"),
    ],
)
def test_rebase_text(text, expected):
    assert rebase_text(text, "bundles/a_b") == expected


def test_component_settings_follow_references():
    config = {
        "base": 8,
        "hidden": "$2 * @base",
        "kind": "vgg",
        "vit_pretrained": "weights.pt",
        "file": "folder/file.txt",
        "epochs": 5,
        "widths": [1, 2],
        "part": {"_target_": "P", "kind": "@kind"},
        "network_def": {"_target_": "N", "a": "@hidden", "b": {"c": "$@widths#0 + 1"}, "d": ["@part", "@file"]},
    }
    config["network_def"]["e"] = "@vit_pretrained"
    found = component_settings(config, ["network_def"])
    assert found == {"base": 8, "hidden": "$2 * @base", "widths": [1, 2], "kind": "vgg"}


def test_rewrite_configs_changes_only_what_it_must():
    train = {
        "bundle_root": "$here()",
        "base": "$f()",
        "teacher_checkpoint": None,
        "taught": "$ckdmed.bundle.trained_with(@teacher_checkpoint, teacher=True)",
        "teacher_base": "$@taught.get('teacher_base', 8)",
        "list": ["bundles/x_y/train.json", 1],
    }
    evaluate = {
        "checkpoint": "$@ckpt_dir + '/model.pt'",
        "trained": "$ckdmed.bundle.trained_with(@checkpoint)",
        "base": "$@trained.get('base', 2)",
        "section": "test",
    }
    configs = {"train.json": train, "evaluate.json": evaluate}
    new = rewrite_configs(configs, "bundles/x_y", {"base": 4}, {"base": 4, "epochs": 3}, {"teacher_base": 16})
    assert new["train.json"] == {
        "bundle_root": "$here()",
        "base": 4,
        "teacher_checkpoint": "$@bundle_root + '/models/teacher.pt'",
        "taught": "$ckdmed.bundle.trained_with(@teacher_checkpoint, teacher=True, shipped={'teacher_base': 16})",
        "teacher_base": "$@taught.get('teacher_base', 8)",
        "list": ["configs/train.json", 1],
    }
    assert new["evaluate.json"] == {
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "trained": "$ckdmed.bundle.trained_with(@checkpoint, shipped={'base': 4})",
        "base": "$@trained.get('base', 2)",
        "section": "test",
    }
    assert train["base"] == "$f()"


@pytest.mark.parametrize(
    ("settings", "kept"),
    [({"names": ["x"]}, True), ({"names": ["z"]}, False), ({"names": ["x"], "task": "b"}, False)],
)
def test_what_follows_from_another_setting_goes_on_following_it(settings, kept):
    train = {"task": "a", "names": "$['x'] if @task == 'a' else ['y']", "size": "$@profiles['size']"}
    train["profiles"] = {"size": 8}
    new = rewrite_configs({"train.json": train}, "bundles/x_y", {**settings, "size": 8}, {})["train.json"]
    assert new["names"] == (train["names"] if kept else settings["names"])
    # a profile's size may change with the profile, and the weights' does not
    assert new["size"] == 8


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("$@taught.get('s', None) or 'one'", "$'two' if @taught.get('s', None) is None else @taught.get('s', None)"),
        ("$@taught.get('s', f(@a, @b))", "$@taught.get('s', 'two')"),
        ("$@taught.get('s', None)", "$@taught.get('s', 'two')"),
        # it gives that value already
        ("$@taught.get('s', 'two' if @a == 1 else 'one')", "$@taught.get('s', 'two' if @a == 1 else 'one')"),
    ],
)
def test_what_the_teachers_record_tells_is_still_taken_from_it(written, expected):
    train = {"a": 1, "b": 2, "taught": None, "s": written}
    assert rewrite_configs({"train.json": train}, "bundles/x_y", {"s": "two"}, {})["train.json"]["s"] == expected
    # a name that looks like a reference
    named = rewrite_configs({"train.json": train}, "bundles/x_y", {"s": "a@b#c"}, {})["train.json"]["s"]
    assert "@b" not in named and "#" not in named and r"a\x40b\x23c" in named


@pytest.mark.parametrize(
    ("record", "expected"),
    [({"s": False}, False), ({"s": "global"}, "global"), ({"s": None}, True), ({}, True), (None, True)],
)
def test_what_a_teacher_was_trained_without_is_not_switched_on_by_the_students_value(record, expected):
    train = {"taught": None, "s": "$@taught.get('s', None) or False"}
    new = rewrite_configs({"train.json": train}, "bundles/x_y", {"s": True}, {})["train.json"]
    # it is still one that the teacher tells
    assert told_by_teacher(new) == {"s"} == settings_read(new, "taught")
    parser = ConfigParser({**new, "taught": None})
    parser["taught"] = Trained("teacher.pt", record)
    assert parser.get_parsed_content("s") == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/home/me/data", ["/home/me"]),
        ('"/Users/me/x"', ["/Users/me"]),
        (r"C:\\Users\me", [r"C:\\Users"]),
        ("~/data/x", ["~/data"]),
        ("see /tmp/x and /mnt/y", ["/tmp/x", "/mnt/y"]),
        ("https://example.org/home/me", []),
        ("@root + '/data/x'", []),
        ("/workspace/data/bundle", []),
        ("output/tmp/x", []),
    ],
)
def test_machine_paths(tmp_path, text, found):
    (tmp_path / "a.md").write_text(text)
    assert machine_paths(tmp_path) == [f"a.md: {path}" for path in found]


def test_files_over_limit_is_about_more_than_the_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "b").write_bytes(b"x" * 11)
    assert [path.name for path in files_over_limit(tmp_path, 10)] == ["b"]


def test_undisturbed(capsys):
    root, hook = logging.getLogger(), sys.excepthook
    before = list(root.handlers), root.level, torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with undisturbed() as caught:
        root.handlers = []
        root.setLevel(1)
        sys.excepthook = print
        logging.getLogger("x").error("logged")
        print("printed")
        torch.rand(3), np.random.rand(3), random.random()
    assert "printed" in caught.getvalue() and capsys.readouterr().out == ""
    after = list(root.handlers), root.level, torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    assert before[:2] == after[:2] and before[4] == after[4] and sys.excepthook is hook
    assert torch.equal(before[2], after[2]) and np.array_equal(before[3], after[3])


def test_a_bundles_logging_closes_no_handler_of_the_program():
    class Closing(logging.StreamHandler):
        """As abseil's does."""

        def close(self) -> None:
            self.stream.close()
            super().close()

    handler, known = Closing(io.StringIO()), logging.getLogger("program")
    known.addHandler(handler)
    try:
        with undisturbed():
            fileConfig(str(ROOT / "bundles/seg_kd/logging.conf"), disable_existing_loggers=False)
        assert not handler.stream.closed
        known.warning("still here")
        assert handler.stream.getvalue() == "still here\n"
        # and the program's end still flushes it
        assert handler in [reference() for reference in logging._handlerList]
    finally:
        known.removeHandler(handler)


def test_the_time_of_an_export_is_not_in_its_torchscript(tmp_path):
    contents = []
    for year in (1999, 2024):
        with zipfile.ZipFile(tmp_path / "model.ts", "w") as archive:
            archive.writestr(zipfile.ZipInfo("model/data.pkl", (year, 1, 1, 0, 0, 0)), "weights")
            archive.writestr("model/code.py.debug_pkl", "paths")
        strip_source_paths(tmp_path / "model.ts")
        contents.append((tmp_path / "model.ts").read_bytes())
    assert contents[0] == contents[1] and b"paths" not in contents[0]


def test_large_files_of_a_killed_export_are_taken_up_and_others_are_not_replaced(tmp_path):
    def made(name):
        for place in (f"{name}/bundle", f"{name}/large/models"):
            (tmp_path / place).mkdir(parents=True)
        (tmp_path / name / "large" / "models" / "model.pt").write_text("weights")
        return tmp_path / name / "bundle", tmp_path / name / "large"

    bundle, large = made("new")
    # all that the killed one had put in place
    shutil.copytree(large, tmp_path / "large")
    _put_both_in_place((bundle, tmp_path / "bundle"), (large, tmp_path / "large"), force=False)
    assert (tmp_path / "bundle").is_dir()
    bundle, large = made("newer")
    (tmp_path / "large" / "models" / "model.pt").write_text("precious")
    with pytest.raises(FileExistsError, match="large' exists and holds other files; move it"):
        _put_both_in_place((bundle, tmp_path / "other"), (large, tmp_path / "large"), force=False)
    assert (tmp_path / "large" / "models" / "model.pt").read_text() == "precious" and not (tmp_path / "other").exists()
    _put_both_in_place((bundle, tmp_path / "other"), (large, tmp_path / "large"), force=True)
    assert (tmp_path / "large" / "models" / "model.pt").read_text() == "weights"
