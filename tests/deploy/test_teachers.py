"""With which networks a deployed one is compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ckdmed.deploy.costs import flops_of
from ckdmed.deploy.source import find_source
from ckdmed.deploy.teachers import WithChannels, built, teachers_of
from tests.export.tiny import write_checkpoint

FULL, OWN = "teacher, full size", "own teacher"


@pytest.mark.parametrize(
    ("bundle", "size", "full"),
    [("seg_kd", "teacher_base", 64), ("cls_kd", "vgg_width", 1.0), ("brats_seg_kd", "teacher_base", 64)],
)
def test_a_student_has_a_full_size_teacher_and_its_own(bundle: str, size: str, full: float, tmp_path: Path):
    source = find_source(bundle, distilled(bundle, tmp_path))
    teachers = teachers_of(source)
    name = size.removeprefix("teacher_")
    assert list(teachers) == [FULL, OWN]
    assert teachers[FULL][name] == full and teachers[OWN][name] == source.description.settings[size]


@pytest.mark.parametrize("bundle", ["seg_teacher", "cls_teacher", "brats_seg_teacher"])
def test_a_teachers_bundle_is_compared_with_itself_at_full_size(bundle: str, tmp_path: Path):
    teachers = teachers_of(find_source(bundle, write_checkpoint(tmp_path / "model.pt", bundle)))
    assert list(teachers) == [FULL] and teachers[FULL]["vit_layers"] == 12


def test_several_teachers_see_their_channels_beside_a_student_of_one(tmp_path: Path):
    source = find_source("brats_unimodal_kd", distilled("brats_unimodal_kd", tmp_path))
    assert source.description.input_shape[0] == 1
    full = teachers_of(source)[FULL]
    assert full["channels"] == 4 and full["network"]["vit_layers"] == 12
    assert [len(view) for view in full["network"]["views"].values()] == [4, 2]


def test_channels_are_repeated():
    image = torch.arange(2.0)[None, :, None, None]
    assert WithChannels(nn.Identity(), 5)(image).flatten().tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("bundle", ["seg_kd", "cls_kd"])
def test_a_teacher_that_saw_larger_images_is_timed_on_them(bundle: str, tmp_path: Path):
    source = find_source(bundle, distilled(bundle, tmp_path, teacher_image_size=96))
    assert source.description.input_shape[-1] < 96
    teachers = teachers_of(source)
    assert teachers[OWN]["edge"] == 96 and "edge" not in teachers[FULL]
    small = built(teachers[OWN]["network"])
    shape = source.description.input_shape
    assert flops_of(built(teachers[OWN]), shape) == flops_of(small, (shape[0], 96, 96)) > flops_of(small, shape)


def distilled(bundle: str, folder: Path, **settings: int) -> Path:
    """Weights whose record says that a teacher taught them."""
    path = write_checkpoint(folder / "model.pt", bundle)
    record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    record["settings"] |= {"method": "ckd", "teacher_base": 4, "vgg_width": 0.03, "vit_layers": 1, **settings}
    (folder / "model.json").write_text(json.dumps(record), encoding="utf-8")
    return path
