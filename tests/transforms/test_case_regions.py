from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ckdmed.transforms import CaseLabelsToRegionsd

MASK = torch.tensor([[[0, 1, 2, 3, 4]]])


def test_each_case_has_the_labels_of_its_release():
    transform = CaseLabelsToRegionsd("label", regions=("ET", "WT"))
    new = transform({"label": MASK[..., :4], "release": "2023", "tumour_type": "GLI"})["label"]
    old = transform({"label": MASK[..., [0, 1, 2, 4]], "release": "2018", "tumour_type": "GLI"})["label"]
    assert new.tolist() == old.tolist() == [[[0, 0, 0, 1]], [[0, 1, 1, 1]]]


@pytest.mark.parametrize("case", [{"labelled": False, "label": MASK}, {"labelled": False}, {}])
def test_a_mask_that_is_absent_or_not_to_be_used_is_0(case: dict):
    d = CaseLabelsToRegionsd("label")({"image": torch.ones(4, 3, 5), "release": "2023", "tumour_type": "GLI", **case})
    assert d["label"].shape == (3, 3, 5)
    assert not d["label"].any()


def test_a_label_of_another_release_is_refused():
    with pytest.raises(ValueError, match="holds 4, not among the labels of BraTS 2023"):
        CaseLabelsToRegionsd("label")({"label": MASK, "release": "2023", "tumour_type": "GLI"})


def test_an_absent_mask_lies_where_the_image_lies():
    affine = torch.tensor(np.diag([-1.0, 2, 3, 1]))
    image = MetaTensor(torch.ones(4, 3, 5, 2), affine=affine)
    label = CaseLabelsToRegionsd("label")({"image": image})["label"]
    assert label.shape == (3, 3, 5, 2) and label.dtype == torch.float32 and torch.equal(label.affine, affine)
