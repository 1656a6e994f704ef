from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from ckdmed.recipes import case_preprocessing, region_augmentation, region_preprocessing


@pytest.mark.parametrize("clahe", [False, True])
def test_a_training_sees_the_whole_brain_where_it_is_negative(tmp_path, clahe):
    rng = np.random.default_rng(0)
    brain, mask = np.zeros((40, 40, 30), np.float32), np.zeros((40, 40, 30), np.uint8)
    brain[8:32, 8:32, 5:25] = rng.normal(size=(24, 24, 20))
    # as z-scores of somebody else leave it, dark at the rim, where there is tumour
    brain[8:12, 8:32, 5:25] = -np.abs(brain[8:12, 8:32, 5:25]) - 0.1
    mask[8:14, 12:20, 10:18] = 2
    for name, values in (("image", brain), ("label", mask)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    item = {
        **{name: str(tmp_path / f"{name}.nii.gz") for name in ("image", "label")},
        "modalities": ["t1c"],
        "release": "2023",
        "tumour_type": "GLI",
    }
    trained = region_preprocessing(3, 64, (16, 16, 16), ["t1c"], clahe=clahe)(item)
    scored = case_preprocessing(3, 64, ["t1c"], clahe=clahe)(item)
    assert trained["image"].shape[1:] == (24, 24, 20)
    assert int(trained["label"][1].sum()) == np.count_nonzero(mask)
    # the same statistics as in an evaluation
    assert torch.as_tensor(scored["image"]).max() == pytest.approx(float(trained["image"].max()), rel=1e-3)


def test_no_patch_tells_the_flips_of_another():
    ramp = torch.arange(16**3).reshape(1, 16, 16, 16).float()
    chain = region_augmentation("flips", 3, 8, (8, 8, 8), 4)
    chain.set_random_state(seed=1)
    patches = chain({"image": ramp, "label": torch.ones(3, 16, 16, 16)})
    first = [patch["image"][0] for patch in patches]
    flipped = {tuple(bool(p[at] < p[0, 0, 0]) for at in ((1, 0, 0), (0, 1, 0), (0, 0, 1))) for p in first}
    assert len(flipped) > 1 and all("flips" not in patch for patch in patches)
