from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ckdmed.data.brats import (
    BalancedSliceSampler,
    BratsSliceDataset,
    SliceIndex,
    build_brats_datalist,
    build_slice_cache,
    load_brats_datalist,
    write_brats_datalist,
)
from ckdmed.data.brats.slice_arrays import describe_array, read_slices

from .conftest import AFFINE, brain, mask, save

# the cases here are those of different persons
pytestmark = pytest.mark.filterwarnings("error:.*patients have several names")


@pytest.fixture
def items(make_case, tmp_path):
    make_case("BraTS-GLI-00001-000", "data")
    make_case("BraTS-MET-00002-000", "data", seed=10)
    make_case("Brats18_TCIA05_396_1", "data", et=4, seed=20)
    datalist, _ = build_brats_datalist(tmp_path / "data", fractions=(1, 0, 0), progress=False)
    return load_brats_datalist(write_brats_datalist(datalist, tmp_path / "data" / "datalist.json"))


@pytest.fixture
def cache(items, tmp_path):
    made, skipped = build_slice_cache(items, tmp_path / "cache", normalise="none", progress=False)
    assert not skipped and len(made) == 3
    return tmp_path / "cache"


def test_slices_are_those_of_the_volume_upright(cache):
    dataset = BratsSliceDataset(cache, cases=["BraTS-GLI-00001-000"], min_brain=0)
    assert len(dataset) == 6
    item = dataset[2]
    # The affine runs to the left and to the back: radiological view is the transposed array, not flipped.
    expected = np.stack([brain(seed=i)[:, :, 2].T for i in range(4)])
    assert np.array_equal(item["image"], expected) and item["image"].dtype == torch.float32
    assert np.array_equal(item["label"][0], mask()[:, :, 2].T)
    assert (item["case"], item["slice"], item["id"]) == ("BraTS-GLI-00001-000", 2, "BraTS-GLI-00001-000:2")


@pytest.mark.parametrize("part", ["seg", "t2f"])
def test_files_that_were_turned_since_their_datalist_are_not_cut(items, tmp_path, part):
    """Arrays of one shape were put together whatever their affines said, so that a mask lay on the other side."""
    turned = AFFINE.copy()
    turned[0, [0, 3]] = 1, -7
    name = items[0]["case"]
    array = (mask() if part == "seg" else brain(seed=3))[::-1]
    save(tmp_path / "data" / name / f"{name}-{part}.nii.gz", array, turned)
    made, skipped = build_slice_cache(items, tmp_path / "cache", progress=False)
    assert len(made) == 2 and [entry.case for entry in skipped] == [name]
    assert f"the affine of {name}-{part}.nii.gz is" in skipped[0].reason


def test_labels_of_all_releases_leave_with_those_of_2023(cache):
    dataset = BratsSliceDataset(cache, cases=["Brats18_TCIA05_396_1"], min_brain=0)
    assert np.array_equal(dataset[2]["label"][0], mask(3)[:, :, 2].T)


def test_the_index_tells_what_slices_hold_without_reading_them(cache, monkeypatch):
    for path in cache.glob("*/*.npy"):
        path.unlink()
    index = SliceIndex.read(cache)
    assert len(index) == 3 * 4  # slices 0 and 5 hold no brain
    one = index.subset(index.case == 0)
    assert one.number.tolist() == [1, 2, 3, 4]
    assert one.counts[:, :3].tolist() == [[0, 0, 0], [2, 4, 2], [2, 4, 0], [0, 2, 0]]
    assert one.categories().tolist() == [0, 3, 2, 1]
    assert one.categories(min_voxels=3).tolist() == [0, 1, 1, 0]
    assert sorted(set(index.tumour_types())) == [1, 3]


def test_neighbours_become_channels_and_repeat_at_the_ends(cache):
    flat = BratsSliceDataset(cache, cases=["BraTS-GLI-00001-000"], min_brain=0)
    deep = BratsSliceDataset(cache, cases=["BraTS-GLI-00001-000"], min_brain=0, neighbours=1, modalities=["t1c", "t1n"])
    assert deep[3]["image"].shape == (6, 9, 8)
    for place, number in enumerate((2, 3, 4)):
        assert torch.equal(deep[3]["image"][2 * place : 2 * place + 2], flat[number]["image"][[1, 0]])
    assert torch.equal(deep[0]["image"][:2], deep[0]["image"][2:4])
    assert torch.equal(deep[5]["image"][4:], deep[5]["image"][2:4])


def test_one_read_takes_the_bytes_of_its_slices_only(cache, monkeypatch):
    dataset = BratsSliceDataset(cache, min_brain=0)
    dataset[0]
    read = []
    monkeypatch.setattr(np, "frombuffer", lambda data, dtype, f=np.frombuffer: read.append(len(data)) or f(data, dtype))
    dataset[1]
    assert read == [4 * 9 * 8 * 2, 9 * 8]


def test_z_scores_are_over_the_brain_of_the_volume(items, tmp_path):
    build_slice_cache(items[:1], tmp_path / "z", dtype="float32", progress=False)
    dataset = BratsSliceDataset(tmp_path / "z", min_brain=0)
    volume = torch.stack([dataset[i]["image"] for i in range(6)])
    for channel, seed in enumerate(range(4)):
        raw = brain(seed=seed).transpose(2, 1, 0).astype(np.float64)
        inside = raw[raw != 0]
        expected = np.where(raw != 0, (raw - inside.mean()) / inside.std(), 0)
        assert np.allclose(volume[:, channel], expected, atol=1e-5)


def test_planes(items, tmp_path):
    build_slice_cache(items[:1], tmp_path / "c", plane="coronal", normalise="none", progress=False)
    dataset = BratsSliceDataset(tmp_path / "c", min_brain=0)
    # Head on top: the last axis runs upwards, so rows are its reverse.
    assert np.array_equal(dataset[4]["image"][0], brain(seed=0)[:, 4, ::-1].T)


def test_a_second_call_keeps_and_a_changed_file_is_cut_again(items, cache):
    stamps = {path: path.stat().st_mtime_ns for path in cache.glob("*/image.npy")}
    build_slice_cache(items, cache, normalise="none", progress=False)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    os.utime(items[0]["label"], ns=(1, 1))
    build_slice_cache(items, cache, normalise="none", progress=False)
    assert [p.parent.name for p in stamps if p.stat().st_mtime_ns != stamps[p]] == [items[0]["case"]]


def test_a_damaged_case_is_named_and_leaves_nothing(items, tmp_path):
    with open(items[1]["image"][2], "r+b") as stream:
        stream.truncate(200)
    made, skipped = build_slice_cache(items, tmp_path / "d", progress=False)
    assert len(made) == 2 and skipped[0].case == items[1]["case"]
    assert os.path.basename(items[1]["image"][2]) in skipped[0].reason
    assert sorted(os.listdir(tmp_path / "d")) == sorted(path.name for path in made)


def test_values_beyond_float16_are_refused_not_made_infinite(items, tmp_path, make_case):
    make_case("BraTS-GLI-00009-000", "big", t1n=brain().astype(np.int32) * 5000)
    datalist, _ = build_brats_datalist(tmp_path / "big", fractions=(1, 0, 0), progress=False)
    big = load_brats_datalist(write_brats_datalist(datalist, tmp_path / "big" / "datalist.json"))
    _, skipped = build_slice_cache(big, tmp_path / "e", normalise="none", progress=False)
    assert "too large for float16" in skipped[0].reason
    assert not build_slice_cache(big, tmp_path / "e", progress=False)[1]


def test_targets_for_classification(cache):
    by_category = BratsSliceDataset(cache, target="category")
    assert [by_category[i]["target"] for i in range(4)] == [0, 3, 2, 1]
    by_type = BratsSliceDataset(cache, target="type")
    assert {by_type[i]["target"] for i in range(len(by_type))} == {0, 2}


def test_loader_with_processes_gives_the_same_batches(cache):
    dataset = BratsSliceDataset(cache)
    sampler = BalancedSliceSampler(dataset.categories, num_samples=8, seed=1)
    batches = [
        torch.cat([batch["image"] for batch in DataLoader(dataset, 4, sampler=sampler, num_workers=n)]) for n in (0, 1)
    ]
    assert torch.equal(*batches)


def test_cases_without_a_mask_have_no_category(make_case, tmp_path):
    make_case("BraTS-GLI-00001-000", "n", leave_out=("seg",))
    datalist, _ = build_brats_datalist(tmp_path / "n", fractions=(1, 0, 0), require_label=False, progress=False)
    items = load_brats_datalist(write_brats_datalist(datalist, tmp_path / "n" / "datalist.json"))
    assert items[0]["labelled"] is False and "label" not in items[0]
    build_slice_cache(items, tmp_path / "nc", progress=False)
    item = BratsSliceDataset(tmp_path / "nc")[0]
    assert item["slice_label"] == -1 and not item["labelled"] and not item["label"].any()


def test_errors_name_the_remedy(cache, tmp_path):
    with pytest.raises(ValueError, match="not in the cache; build the cache"):
        SliceIndex.read(cache, ["nobody"])
    with pytest.raises(ValueError, match="lacks ct"):
        BratsSliceDataset(cache, modalities=["ct"])
    with pytest.raises(ValueError, match="neighbours must be 0 or more"):
        BratsSliceDataset(cache, neighbours=-1)
    table = cache / "BraTS-GLI-00001-000" / "slices.json"
    content = json.loads(table.read_text())
    table.write_text(json.dumps({**content, "et": [1]}))
    with pytest.raises(ValueError, match="damaged"):
        SliceIndex.read(cache)


def test_slices_that_do_not_fit_are_refused_when_they_are_read(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(12.0).reshape(4, 3))
    told = describe_array(path)
    assert read_slices(path, told, 1, 2).tolist() == [[3, 4, 5], [6, 7, 8]]
    with pytest.raises(ValueError, match="slices 3 to 4 were requested, but there are 4"):
        read_slices(path, told, 3, 2)
    whole = path.read_bytes()
    for damaged in (whole[:-8], whole[:-1] + b"\1", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="a.npy: slice 3 is damaged.*run slice-cache again"):
            read_slices(path, told, 3, 1)
    path.unlink()
    with pytest.raises(ValueError, match="a.npy: cannot be read .*run slice-cache again"):
        read_slices(path, told, 0, 1)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("thorough", [False, True])
def test_a_cache_that_was_damaged_is_built_again(items, cache, caplog, thorough):
    """Whatever the damage is, and whatever error reading it would raise."""
    kept, rng = content(cache), np.random.default_rng(0)
    image, label, table = (cache / items[0]["case"] / name for name in ("image.npy", "label.npy", "slices.json"))
    text = table.read_bytes()
    cases = [
        (image, lambda b: b[: len(b) // 2]),
        (image, lambda b: b""),
        (image, None),
        (label, None),
        # headers: not Python, not text, another type of as many bytes, a key less
        (image, lambda b: b.replace(b"{", b"(")),
        (image, lambda b: b.replace(b"descr", b"d\xffscr")),
        (image, lambda b: b.replace(b"<f2", b">f2")),
        (image, lambda b: b.replace(b"shape", b"shope")),
        (image, lambda b: b[:-2] + b"\xff\x7f"),
        (label, lambda b: b[:-1] + b"\x09"),
        (image, lambda b: b[:128] + b[128 + 576 :] + b[128 : 128 + 576]),
        (table, lambda b: b""),
        (table, lambda b: b"\xff" + b[1:]),
        (table, lambda b: text.replace(b'"brain"', b'"brawn"')),
        (table, lambda b: text.replace(b'"slices": 6', b'"slices": 7')),
    ]
    cases += [(image, flipped(int(at))) for at in rng.integers(0, image.stat().st_size, 12)]
    for path, damage in cases:
        caplog.clear()
        status = path.stat()
        if damage is None:
            path.unlink()
        else:
            damaged = damage(path.read_bytes())
            assert damaged != path.read_bytes()
            path.write_bytes(damaged)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        made, skipped = build_slice_cache(items, cache, normalise="none", progress=False, thorough=thorough)
        assert not skipped and content(cache) == kept, (path, skipped)
        assert f"{items[0]['case']}: " in caplog.text and caplog.text.count("the case is sliced again") == 1
    caplog.clear()
    build_slice_cache(items, cache, normalise="none", progress=False, thorough=thorough)
    assert not caplog.text


def flipped(at):
    return lambda b: b[:at] + bytes([b[at] ^ 16]) + b[at + 1 :]


def test_a_source_of_equal_size_and_time_is_cut_again(items, cache):
    before, source = content(cache), items[0]["label"]
    status = os.stat(source)
    with open(source, "rb") as stream:
        data = stream.read()
    with open(source, "wb") as stream:
        stream.write(data)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    build_slice_cache(items, cache, normalise="none", progress=False)
    after = content(cache)
    assert [path.parent.name for path in before if before[path] != after[path]] == [items[0]["case"]]


CATEGORIES = np.array([0] * 50 + [1] * 6 + [2] * 2 + [3] * 2 + [-1] * 5)


def test_an_epoch_is_balanced_and_repeatable():
    sampler = BalancedSliceSampler(CATEGORIES, 0.25, num_samples=40, seed=4)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 40
    kinds = CATEGORIES[drawn]
    assert (kinds > 0).sum() == 10 and (kinds == 0).sum() == 30 and (kinds == -1).sum() == 0
    assert list(sampler) == drawn
    sampler.set_epoch(1)
    assert list(sampler) != drawn
    sampler.set_epoch(0)
    assert list(sampler) == drawn
    assert list(BalancedSliceSampler(CATEGORIES, 0.25, num_samples=40, seed=5)) != drawn


def test_no_slice_comes_twice_before_all_others_of_its_kind():
    sampler = BalancedSliceSampler(CATEGORIES, 0.5, num_samples=50)
    counts = np.bincount(list(sampler), minlength=len(CATEGORIES))
    assert set(counts[:50]) == {0, 1} and set(counts[50:60]) == {2, 3} and counts[50:60].sum() == 25


def test_tumour_can_be_shared_out_over_categories():
    sampler = BalancedSliceSampler(CATEGORIES, 0.5, num_samples=60, by_category=True)
    assert np.bincount(CATEGORIES[list(sampler)]).tolist() == [30, 10, 10, 10]


def test_replicas_share_an_epoch():
    whole = list(BalancedSliceSampler(CATEGORIES, num_samples=21))
    parts = [list(BalancedSliceSampler(CATEGORIES, num_samples=21, num_replicas=2, rank=r)) for r in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == 11
    assert sorted(parts[0] + parts[1])[:] == sorted(whole + whole[:1])


def test_default_length_is_twice_the_rarer_kind():
    assert len(BalancedSliceSampler(CATEGORIES)) == 20
    assert len(BalancedSliceSampler(CATEGORIES, tumour_share=1.0)) == 10


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"tumour_share": 1.5}, "from 0 to 1, got 1.5"),
        ({"num_samples": 0}, "at least 1, got 0"),
        ({"rank": 1}, "rank must be"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_sampler_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        BalancedSliceSampler(CATEGORIES, **kwargs)


def test_both_kinds_are_needed():
    with pytest.raises(ValueError, match="needs slices of both kinds; there are 0 with and 3 without"):
        BalancedSliceSampler([0, 0, 0])


def test_hidden_masks_are_neither_read_nor_balanced(cache):
    dataset = BratsSliceDataset(cache, unlabelled=["BraTS-GLI-00001-000"])
    hidden = dataset.index.case == 0
    assert (dataset.categories[hidden] == -1).all() and (dataset.categories[~hidden] >= 0).all()
    first = dataset[1]
    assert first["labelled"] is False and not first["label"].any() and first["slice_label"] == -1
    assert dataset[len(dataset) - 3]["labelled"] is True
    assert len(BratsSliceDataset(cache, unlabelled=["BraTS-GLI-00001-000"], target="category")) == (~hidden).sum()


def test_a_subset_reads_the_same_slices(cache):
    dataset = BratsSliceDataset(cache)
    part = dataset.subset(dataset.categories == 3)
    assert len(part) == 3 and {part[i]["slice_label"] for i in range(3)} == {3}
    assert torch.equal(part[0]["image"], dataset[int(np.flatnonzero(dataset.categories == 3)[0])]["image"])
    assert len(dataset) == 12


def test_unlabelled_slices_have_their_share():
    categories = [0] * 20 + [1] * 10 + [-1] * 30
    sampler = BalancedSliceSampler(categories, num_samples=40, unlabelled_share=0.25, tumour_share=0.5)
    drawn = np.array(categories)[list(sampler)]
    assert [(drawn < 0).sum(), (drawn == 0).sum(), (drawn > 0).sum()] == [10, 15, 15]
    assert len(BalancedSliceSampler(categories, unlabelled_share=0.5)) == 40
    # what was drawn before there was a share stays as it was
    assert list(BalancedSliceSampler(categories, num_samples=12)) == list(
        BalancedSliceSampler(categories[:30], num_samples=12)
    )
    with pytest.raises(ValueError, match="unlabelled share of 0.5 needs slices without a mask"):
        BalancedSliceSampler([0, 1], unlabelled_share=0.5)
    with pytest.raises(ValueError, match="unlabelled_share must be from 0 to below 1, got 1"):
        BalancedSliceSampler(categories, unlabelled_share=1)
