from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import Dataset
from monai.inferers import SimpleInferer
from monai.transforms import Compose, Identityd
from torch.utils.data import Subset

from ckdmed.engines import ScaledMapsInferer, TeacherImages
from ckdmed.networks.taps import TappedOutput

NOTHING = Compose([Identityd("image")])


def images(student: int = 32, teacher: int = 64, **settings: Any) -> TeacherImages:
    return TeacherImages(NOTHING, student, teacher, **{"checkpoint": "teacher.pt", **settings})


def test_a_map_shrinks_by_averaging_and_grows_linearly():
    value = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    half = ScaledMapsInferer(scale=0.5)(value, torch.nn.Identity())
    assert half.tolist() == [[[[4.0]]]]
    # every pixel counts where the sizes are no multiples: 5 pixels to 3 are the means of 2, 3 and 2 of them
    row = torch.tensor([0.0, 1.0, 2.0, 30.0, 40.0]).expand(1, 1, 5, 5)
    assert ScaledMapsInferer(scale=0.6)(row, torch.nn.Identity())[0, 0, 0].tolist() == [0.5, 11.0, 35.0]
    double = ScaledMapsInferer(scale=2)(value, torch.nn.Identity())
    assert double.shape == (1, 1, 4, 4) and double[0, 0, 0].tolist() == [1.0, 1.5, 2.5, 3.0]


def test_what_has_no_axes_in_space_stays_and_all_maps_move():
    maps, tokens, volume = torch.rand(2, 3, 10, 10), torch.rand(2, 9, 4), torch.rand(2, 1, 4, 6, 8)
    output = TappedOutput(torch.rand(2, 3), {"map": maps, "tokens": tokens, "volume": volume}, {"map": maps + 1})
    scaled = ScaledMapsInferer(SimpleInferer(), 0.5)(torch.rand(2, 1), lambda batch: output)
    assert scaled.logits is output.logits and scaled.features["tokens"] is tokens
    assert scaled.features["map"].shape == (2, 3, 5, 5) and scaled.features["volume"].shape == (2, 1, 2, 3, 4)
    torch.testing.assert_close(scaled.projected["map"], scaled.features["map"] + 1)
    torch.testing.assert_close(scaled.features["map"], torch.nn.functional.avg_pool2d(maps, 2))
    with pytest.raises(ValueError, match="above 0, got 0"):
        ScaledMapsInferer(scale=0)


@pytest.mark.parametrize("settings", [{"teacher": 32}, {"needed": False}])
def test_nothing_acts_where_both_see_the_same_or_there_is_no_teacher(settings: dict[str, Any]):
    same = images(**{**settings, "checkpoint": None, "augmentation": "strong", "mixup": 0.4})
    same.check()
    inferer, chain = SimpleInferer(), Compose([Identityd("image")])
    assert same.keys == () and same.added_to(chain) is chain and same.inferer(inferer) is inferer
    assert same.shape((2, 1, 32, 32)) == [2, 1, 32, 32]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augmentation": "report"}, "augmentation 'report'"),
        ({"mixup": 0.2}, "set mixup to 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="teacher_image_size is 64 and image_size 32.*" + message):
        images(**settings).check()


def test_a_teacher_of_the_run_learns_from_images_of_its_size():
    items = [{"image": torch.full((1, edge, edge), float(edge))} for edge in (4, 8, 16)]
    labelled = Subset(Dataset(items, None), [0, 2])
    made: dict[str, Any] = {}
    cached, steps = (lambda **given: made.update(given) or "own"), [Identityd("image")]
    assert images(checkpoint=None).training_data(labelled, cached, steps) == "own"
    assert made["data"] == [items[0], items[2]] and made["transform"].transforms[-1] is steps[0]
    # not where a teacher is trained already, sees what the student sees or is not asked
    for settings in (
        {"checkpoint": "teacher.pt"},
        {"teacher": 32, "checkpoint": None},
        {"needed": False, "checkpoint": None},
    ):
        assert images(**settings).training_data(labelled, cached) is labelled


def test_an_evaluator_gets_the_teachers_images():
    own = images()
    own.check()
    assert own.keys == ("teacher_image",) and own.shape((2, 3, 32, 32)) == [2, 3, 64, 64]
    batch = {"image": torch.zeros(1, 1, 32, 32), "teacher_image": torch.ones(1, 1, 64, 64), "label": torch.tensor([2])}
    image, label = own.prepare_batch()(batch, "cpu", False)
    assert image.shape[-1] == 64 and image.min() == 1 and label.tolist() == [2]
    assert batch["image"].shape[-1] == 32
