from __future__ import annotations

import json
import logging
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, ScaleIntensityd
from torch import nn

from ckdmed.deployed_network import run_deployed
from ckdmed.engines import DistillationTrainer, FrozenTeacher, TeacherCache, weights_hash
from ckdmed.handlers import ReproducibleEpochs, ResumeCheckpoint
from ckdmed.inferers import AutocastInferer, precision
from ckdmed.losses import DistillationLoss
from ckdmed.methods import distillation_loss
from ckdmed.networks.taps import TappedOutput
from ckdmed.networks.vit import build_vit
from ckdmed.transforms import segmentation_augmentation
from ckdmed.zoo_teacher import ZooTeacher
from tests.runtime.tiny_forms import SEGMENTATION
from tests.toy import pair, samples, trainer, unet


def items(count: int = 6, labelled: bool = False) -> list[dict[str, Any]]:
    return [dict(item, id=str(n)) for n, item in enumerate(samples(count, labelled=labelled))]


def chain(level: str = "flips") -> Compose:
    return Compose(segmentation_augmentation(level, img_size=32, track_meta=False).transforms)


def run(
    cache: TeacherCache | None,
    data: list[dict[str, Any]],
    epochs: int = 3,
    method: str = "ckd",
    loss: DistillationLoss | None = None,
    teacher_norm: str = "batch",
    batch_size: int = 3,
    handlers: Any = (),
    level: str = "flips",
    **kwargs: Any,
) -> tuple[DistillationTrainer, list[int]]:
    """A training, and how many images its teacher was shown in each call."""
    loss = loss or distillation_loss(method, "segmentation")
    student, teacher = pair(loss, norm=teacher_norm)
    shown: list[int] = []
    loader = DataLoader(
        CacheDataset(data, chain(level), progress=False), batch_size=batch_size, shuffle=False, num_workers=0
    )
    engine = trainer(
        student,
        teacher,
        loss,
        data=loader,
        epochs=epochs,
        teacher_cache=cache,
        train_handlers=[ReproducibleEpochs(5, loader), *handlers],
        **kwargs,
    )
    teacher.network.register_forward_hook(lambda _m, inputs, _o: shown.append(len(inputs[0])))
    engine.run()
    return engine, shown


def one_by_one(teacher: FrozenTeacher, images: torch.Tensor, ask: Any = None) -> TappedOutput:
    """What a teacher says of each image alone, as a cache asks it."""
    said = [(ask or teacher)(image[None]) for image in images]
    features = {name: torch.cat([one.features[name] for one in said]) for name in said[0].features}
    return TappedOutput(torch.cat([one.logits for one in said]), features, {})


def weights(engine: DistillationTrainer) -> dict[str, torch.Tensor]:
    return engine.network.state_dict()


@pytest.mark.parametrize("storage, method", [("memory", "report_kd"), ("disk", "ckd")])
def test_a_cached_training_is_the_uncached_one(storage: str, method: str, tmp_path: Path):
    data = items()
    live, asked = run(None, data, epochs=4, method=method)
    cache = TeacherCache(data, chain(), storage, tmp_path)
    kept, shown = run(cache, data, epochs=4, method=method)
    # without a cache every image is shown in every epoch; with one, each of its four views at most once
    assert sum(asked) == 24 and sum(shown) == cache.misses < 20 and cache.hits == 24 - cache.misses
    for name, value in weights(live).items():
        torch.testing.assert_close(weights(kept)[name], value, rtol=1e-4, atol=1e-5)


def test_the_kept_answer_is_the_live_one_bit_for_bit():
    """Full precision: a view found again is what the teacher said of it, and not a mirrored other one."""
    data = items(4)
    loss = distillation_loss()
    _, teacher = pair(loss)
    cache = TeacherCache(data, chain())
    cache.open(teacher)
    image = torch.stack([item["image"] for item in data])
    asked = []

    def ask(images: torch.Tensor, network: torch.nn.Module) -> Any:
        asked.append(len(images))
        return network(images)

    for state in range(4):
        axes = [dim for bit, dim in ((1, 2), (2, 3)) if state & bit]
        batch = {"image": image.flip(axes), "id": [i["id"] for i in data], "flips": torch.full((4,), state)}
        live = one_by_one(teacher, batch["image"])
        torch.testing.assert_close(live.logits, teacher(batch["image"]).logits)
        for _ in range(2):
            kept = cache(batch["image"], batch, teacher, ask)
            assert torch.equal(kept.logits, live.logits)
            assert set(kept.features) == {"d4", "d3"} and not kept.projected
            assert all(torch.equal(kept.features[name], live.features[name]) for name in live.features)
        if state:
            assert not torch.allclose(live.logits, teacher(image).logits.flip(axes), atol=1e-4)
    assert asked == [1] * 16 and (cache.hits, cache.misses) == (16, 16)


def test_an_averaged_answer_is_kept_once_and_mirrored_when_it_is_handed_out():
    data = items(4)
    _, teacher = pair(distillation_loss("supervised", "segmentation"))
    averaged = FrozenTeacher(teacher.network, average_flips=True)
    cache = TeacherCache(data, chain())
    cache.open(averaged)
    image = torch.stack([item["image"] for item in data])
    asked = []

    def ask(images: torch.Tensor, network: torch.nn.Module) -> Any:
        asked.append(len(images))
        return network(images)

    for state in range(4):
        axes = [dim for bit, dim in ((1, 2), (2, 3)) if state & bit]
        batch = {"image": image.flip(axes), "id": [i["id"] for i in data], "flips": torch.full((4,), state)}
        kept = cache(batch["image"], batch, averaged, ask).logits
        torch.testing.assert_close(kept, averaged(batch["image"]).logits)
        torch.testing.assert_close(kept, averaged(image).logits.flip(axes))
    assert asked == [1] * 4 and (cache.hits, cache.misses) == (12, 4)


def test_a_batch_of_known_and_unknown_views_comes_back_in_order():
    data = items(4)
    loss = distillation_loss("supervised", "segmentation")
    _, teacher = pair(loss)
    cache = TeacherCache(data, chain())
    cache.open(teacher)
    image = torch.stack([item["image"] for item in data])

    def batch(rows: list[int]) -> dict[str, Any]:
        return {"image": image[rows], "id": [data[r]["id"] for r in rows], "flips": torch.zeros(len(rows), dtype=int)}

    cache(image[[2, 0]], batch([2, 0]), teacher)
    rows = [0, 1, 2, 3]
    torch.testing.assert_close(cache(image, batch(rows), teacher).logits, teacher(image).logits)
    assert (cache.hits, cache.misses) == (2, 4)


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_half_precision_rounds_once_and_always(dtype: str, tolerance: float, tmp_path: Path):
    data = items(2)
    _, teacher = pair(distillation_loss())
    image = torch.stack([item["image"] for item in data])
    batch = {"image": image, "id": ["0", "1"], "flips": torch.tensor([0, 0])}
    live = teacher(image)
    for storage in ("memory", "disk"):
        cache = TeacherCache(data, chain(), storage, tmp_path, dtype)
        cache.open(teacher)
        first, second = (cache(image, batch, teacher) for _ in range(2))
        assert first.logits.dtype == torch.float32
        for name in live.features:
            assert torch.equal(first.features[name], second.features[name])
            torch.testing.assert_close(first.features[name], live.features[name], rtol=tolerance, atol=1e-6)
        assert not torch.equal(first.logits, live.logits)


def test_bfloat16_loses_nothing_of_a_teacher_that_runs_in_it():
    data = items()
    cache = TeacherCache(data, chain(), dtype="bfloat16")
    live, _ = run(None, data, epochs=2, inferer=AutocastInferer())
    kept, _ = run(cache, data, epochs=2, inferer=AutocastInferer())
    terms = {name: float(value) for name, value in live.state.terms.items()}
    assert {name: float(value) for name, value in kept.state.terms.items()} == pytest.approx(terms, rel=2**-8)
    _, teacher = pair(distillation_loss())
    image = torch.stack([item["image"] for item in data])
    batch = {"image": image, "id": [i["id"] for i in data], "flips": torch.zeros(6, dtype=int)}
    fresh = TeacherCache(data, chain(), dtype="bfloat16")
    fresh.open(teacher)
    inferer = AutocastInferer(amp="bf16")
    said = fresh(image, batch, teacher, inferer)
    assert torch.equal(said.logits, one_by_one(teacher, image, lambda images: inferer(images, teacher)).logits)


def test_unlabelled_samples_are_kept_too():
    data = items(8, labelled=True)
    live, _ = run(None, data, epochs=2, batch_size=4)
    cache = TeacherCache(data, chain())
    kept, shown = run(cache, data, epochs=2, batch_size=4)
    assert sum(shown) < 16
    for name, value in weights(live).items():
        torch.testing.assert_close(weights(kept)[name], value, rtol=1e-4, atol=1e-5)


def test_an_answer_is_the_same_whatever_is_known_of_the_label():
    known = [{"id": "a", "image": "a.mat", "label": "a.mat", "labelled": True, "patient_group": "p"}]
    hidden, other = [{**known[0], "labelled": False, "label": None}], [{**known[0], "patient_group": "q"}]
    names = [TeacherCache(data, chain()).names["a"] for data in (known, hidden, other)]
    assert names[0] == names[1] != names[2]


def test_where_entries_are_kept_and_found_and_where_a_run_was_broken_off_changes_no_bit(tmp_path: Path):
    # a batch of three and one of one; later epochs draw other flips, so some views of a batch are known and some not
    data = items(4)

    def training(
        folder: str, storage: str, stop: int | None = None, resume: bool = False, cached: str | None = None
    ) -> DistillationTrainer:
        loss = distillation_loss()
        student, teacher = pair(loss)
        loader = DataLoader(CacheDataset(data, chain(), progress=False), batch_size=3, num_workers=0, shuffle=True)
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
        saver = ResumeCheckpoint(str(tmp_path / folder), {"student": student, "optimizer": optimizer}, resume=resume)
        cache = TeacherCache(data, chain(), storage, tmp_path / (cached or folder) / "cache")
        handlers = [ReproducibleEpochs(5, loader), saver]
        engine = trainer(student, teacher, loss, optimizer, loader, 3, teacher_cache=cache, train_handlers=handlers)
        if stop:
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.terminate() if e.state.epoch == stop else None)
        engine.run()
        return engine

    whole = training("whole", "memory")
    others = {"disk": training("disk", "disk"), "found": training("found", "disk", cached="disk")}
    for storage in ("memory", "disk"):
        training(f"broken-{storage}", storage, stop=1)
        others[f"resumed {storage}"] = training(f"broken-{storage}", storage, resume=True)
    assert whole.teacher_cache is not None and others["found"].teacher_cache is not None
    assert whole.teacher_cache.hits and whole.teacher_cache.misses and not others["found"].teacher_cache.misses
    for name, engine in others.items():
        assert engine.state.epoch == 3
        for key, value in weights(whole).items():
            assert torch.equal(weights(engine)[key], value), (name, key)


def test_another_teacher_has_other_entries(tmp_path: Path):
    data = items(2)
    image = torch.stack([item["image"] for item in data])
    batch = {"image": image, "id": ["0", "1"], "flips": torch.tensor([0, 0])}
    cache = TeacherCache(data, chain(), "disk", tmp_path)
    folders = set()
    for seed in (1, 2):
        _, teacher = pair(distillation_loss(), student=unet())
        with torch.no_grad():
            next(teacher.network.parameters()).add_(seed)
        cache.open(teacher)
        assert torch.equal(cache(image, batch, teacher).logits, one_by_one(teacher, image).logits)
        assert cache.misses == 2
        folders.add(cache.folder)
    cache.open(teacher, AutocastInferer())
    prepared = Compose([ScaleIntensityd("image"), *chain().transforms])
    other = TeacherCache(data, prepared, "disk", tmp_path)
    other.open(teacher)
    assert len(folders | {cache.folder, other.folder}) == 4


def vit(heads: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_vit(1, 32, 16, hidden_size=8, mlp_dim=8, num_layers=1, num_heads=heads)


class Scaled(nn.Module):
    def __init__(self, mean: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([mean]), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image - self.mean


def zoo(modalities: Sequence[int] = (0, 1), regions: Sequence[int] = (0, 1), mean: float = 0.0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ZooTeacher(nn.Conv2d(2, 2, 1), modalities, regions, Scaled(mean), {}, "a bundle")


def write_script(path: Path, value: float) -> Path:
    network = nn.Conv2d(1, 1, 1)
    nn.init.constant_(network.weight, value)
    torch.jit.save(torch.jit.script(network), str(path), _extra_files={"ckdmed.json": SEGMENTATION.to_text()})
    return path


def plain_conv() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Conv2d(1, 1, 1)


def test_teachers_of_equal_weights_that_compute_otherwise_have_other_entries(tmp_path: Path):
    def folder(network: nn.Module) -> Path | None:
        cache = TeacherCache(items(2), chain(), "disk", tmp_path / "cache")
        cache.open(FrozenTeacher(network))
        return cache.folder

    one, other = write_script(tmp_path / "one.ts", 1.0), write_script(tmp_path / "other.ts", 2.0)
    groups = [
        [vit(2), vit(4)],
        [zoo(), zoo((1, 0)), zoo(regions=(1, 0)), zoo(mean=1.0)],
        [plain_conv(), run_deployed(plain_conv(), one), run_deployed(plain_conv(), other)],
    ]
    for networks in groups:
        assert len({weights_hash(network) for network in networks}) == 1
        assert len({folder(network) for network in networks}) == len(networks)
    # what was made anew, or has been used and trained in between, is the same teacher
    used = vit(2)
    used.train()(torch.zeros(1, 1, 32, 32))
    used.register_full_backward_hook(lambda *_: None)
    assert folder(vit(2)) == folder(used) and folder(zoo()) == folder(zoo())
    assert folder(run_deployed(plain_conv(), one)) == folder(run_deployed(plain_conv(), one))


def test_machines_of_other_precision_have_other_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # one setting, `amp=True`, is bfloat16 on one processor and full precision on another
    _, teacher = pair(distillation_loss(), student=unet())
    folders = {}
    for has_bf16 in (True, False):
        monkeypatch.setattr(precision, "_processor_has_bf16", lambda answer=has_bf16: answer)
        cache = TeacherCache(items(2), chain(), "disk", tmp_path)
        cache.open(teacher, AutocastInferer())
        folders[has_bf16] = cache.folder
    assert folders[True] != folders[False]
    cache.open(teacher, AutocastInferer(amp=False))
    assert cache.folder not in folders.values()


def test_an_image_that_is_not_the_one_that_was_kept_is_refused():
    data = items(2)
    _, teacher = pair(distillation_loss("supervised", "segmentation"))
    cache = TeacherCache(data, chain())
    cache.open(teacher)
    image = torch.stack([item["image"] for item in data])
    batch = {"image": image, "id": ["0", "1"], "flips": torch.tensor([0, 0])}
    cache(image, batch, teacher)
    changed = {**batch, "image": image.flip(2)}
    with pytest.raises(RuntimeError, match="image of sample '0' .* is not the one whose teacher output was cached"):
        cache(changed["image"], changed, teacher)
    del batch["flips"]
    with pytest.raises(ValueError, match="no 'flips'"):
        cache(image, batch, teacher)


def test_damaged_files_are_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = items(3)
    _, teacher = pair(distillation_loss())
    image = torch.stack([item["image"] for item in data])
    batch = {"image": image, "id": ["0", "1", "2"], "flips": torch.tensor([0, 1, 3])}
    for attempt in range(2):
        cache = TeacherCache(data, chain(), "disk", tmp_path)
        cache.open(teacher)
        assert torch.equal(cache(image, batch, teacher).logits, one_by_one(teacher, image).logits)
        files = sorted(cache.folder.glob("*.entry"))  # type: ignore[union-attr]
        assert len(files) == 3 and cache.misses == (3 if attempt == 0 else 2)
        files[0].write_bytes(files[0].read_bytes()[:100])
        files[1].write_bytes(b"")
    assert "the teacher output is computed again" in caplog.text


def test_answers_that_do_not_fit_are_asked_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = items(4)
    _, teacher = pair(distillation_loss())
    image = torch.stack([item["image"] for item in data])
    batch = {"image": image, "id": ["0", "1", "2", "3"], "flips": torch.tensor([0, 1, 3, 0])}
    expected = one_by_one(teacher, image)

    def asked_again() -> int:
        cache = TeacherCache(data, chain(), "disk", tmp_path)
        cache.open(teacher)
        said = cache(image, batch, teacher)
        assert torch.equal(said.logits, expected.logits)
        assert all(torch.equal(said.features[name], value) for name, value in expected.features.items())
        return cache.misses

    assert asked_again() == 4 and asked_again() == 0
    layout, *files = sorted(tmp_path.rglob("layout.json")) + sorted(tmp_path.rglob("*.entry"))
    kept = {path: path.read_bytes() for path in (layout, *files)}
    # NaN at the end, zeros, and two samples exchanged with the check sums of their images
    files[0].write_bytes(kept[files[0]][:-4] + struct.pack("f", float("nan")))
    files[1].write_bytes(kept[files[1]][:24] + bytes(len(kept[files[1]]) - 24))
    files[2].write_bytes(kept[files[3]])
    files[3].write_bytes(kept[files[2]][:16] + kept[files[3]][16:])
    assert (
        asked_again() == 4
        and caplog.text.count("does not match its checksum; the teacher output is computed again") == 4
    )
    # every order of the layout has the same length
    table = json.loads(layout.read_text())
    table["layout"] = table["layout"][::-1]
    layout.write_text(json.dumps(table))
    assert asked_again() and "layout.json does not match its checksum" in caplog.text
    assert {path: path.read_bytes() for path in kept} == kept and asked_again() == 0


def test_what_does_not_fit_is_asked_anew(caplog: pytest.LogCaptureFixture):
    data = items(4)
    one_entry = 4 * 32 * 32 / 2**30
    cache = TeacherCache(data, chain("none"), limit_gib=2.5 * one_entry)
    loss = distillation_loss("ckd", "segmentation", w_feat=0, w_att=0)
    with caplog.at_level(logging.INFO):
        _, shown = run(cache, data, epochs=3, loss=loss, batch_size=4, level="none")
    assert shown == [1] * (4 + 2 + 2)
    assert caplog.text.count("computed in every step") == 1 and "4 views of 4 samples" in caplog.text


@pytest.mark.parametrize("level", ["report", "strong"])
def test_other_augmentation_is_refused_with_the_reason(level: str):
    with pytest.raises(ValueError, match="random transform .*augmentation to 'flips' or 'none'"):
        TeacherCache(items(2), chain(level))


def test_random_transforms_that_are_refused():
    noise = Compose([*chain().transforms, RandGaussianNoised("image")])
    with pytest.raises(ValueError, match="RandGaussianNoised: it makes a new image, which the teacher has not seen"):
        TeacherCache(items(2), noise)
    with pytest.raises(ValueError, match="RandFlipd: its flips are not recorded"):
        TeacherCache(items(2), Compose([RandFlipd("image", spatial_axis=0)]))


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"storage": "tape"}, "storage must be one of"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"storage": "disk"}, "needs a folder"),
    ],
)
def test_wrong_settings(kwargs: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        TeacherCache(items(2), chain(), **kwargs)


def test_ids_must_differ():
    with pytest.raises(ValueError, match="2 items have only 1 different ids"):
        TeacherCache([{"id": "7"}, {"id": "7"}], chain())


def test_a_changed_batch_and_a_cache_exclude_each_other():
    with pytest.raises(ValueError, match="prepare_batch may change"):
        trainer(teacher_cache=TeacherCache(items(2), chain()), prepare_batch=lambda *a, **k: None)


def test_a_loss_that_listens_to_no_teacher_needs_no_cache():
    data = items(2)
    cache = TeacherCache(data, chain())
    engine, shown = run(cache, data, epochs=1, method="supervised")
    assert engine.teacher_cache is None and not shown and weights_hash(engine.network)
