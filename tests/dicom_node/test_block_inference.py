"""A series in blocks gives the masks of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from ckdmed.bundle_files import bundle_folder
from ckdmed.data.figshare import read_figshare_slice
from ckdmed.dicom_node.block_inference import predict_in_blocks
from tests.dicom_results.mr_series import write_mr_series


@pytest.mark.slow
def test_blocks_give_what_the_whole_gives(shared_data, tmp_path):
    image = np.asarray(read_figshare_slice(sorted((shared_data / "figshare_mat").glob("*.mat"))[0]).image)
    slices = [image, image[::-1], np.roll(image, 20, axis=0), image[:, ::-1], image // 2]
    volume = np.stack([part[::4, ::4].T for part in slices], axis=2)
    files = write_mr_series(tmp_path / "mr", volume)
    bundle = bundle_folder("seg_kd")
    whole = predict_in_blocks(files, bundle, tmp_path / "whole", with_probabilities=True)
    # of 3 and 2 slices
    parts = predict_in_blocks(files, bundle, tmp_path / "parts", with_probabilities=True, block=3)
    assert whole.masks["tumour"].any() and whole.masks["tumour"].shape == volume.shape
    assert np.array_equal(whole.masks["tumour"], parts.masks["tumour"])
    assert np.allclose(whole.probabilities["tumour"], parts.probabilities["tumour"], atol=1e-5)
    # a killed worker's blocks are used by the next
    again = predict_in_blocks(files, bundle, tmp_path / "parts", block=3)
    assert np.array_equal(again.masks["tumour"], parts.masks["tumour"]) and not again.probabilities
    assert parts.settings["threshold"] == 0.3


@pytest.mark.slow
def test_a_block_that_cannot_be_read_is_named(tmp_path):
    files = write_mr_series(tmp_path / "mr", np.zeros((16, 16, 4), int))
    with pytest.raises(ValueError, match="2 of 2 blocks of slices cannot be read: .*constant|same value"):
        predict_in_blocks(files, bundle_folder("seg_kd"), tmp_path / "work", block=2)
