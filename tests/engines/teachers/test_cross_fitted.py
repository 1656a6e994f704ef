"""Cross-fitted teachers: each answers for the patients that it was trained without, by the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset, DistributedSampler
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from torch.utils.data import WeightedRandomSampler

from ckdmed.data.brats import BalancedSliceSampler
from ckdmed.engines import (
    CrossFittedTeacher,
    FrozenTeacher,
    MixupPrepareBatch,
    TeacherCache,
    TeacherFolds,
    attach_student,
    cross_fit,
    fold_networks,
    frozen_teacher,
    load_teacher,
    prepare_fold_teachers,
    weights_hash,
)
from ckdmed.engines.teachers.fold_training import loader_of
from ckdmed.handlers import TeacherCheck
from ckdmed.losses import supervised_segmentation_loss
from ckdmed.methods import distillation_loss
from ckdmed.metrics import fit_temperature
from tests.engines.teachers.test_cache import chain
from tests.toy import STAGES, samples, trainer, unet

GROUPS = ["a", "b", "c", "x"]


def folds(**kwargs: Any) -> TeacherFolds:
    return TeacherFolds(3, {"a": 0, "b": 1, "c": 2}, **kwargs)


def teacher(given: TeacherFolds | None = None, **kwargs: Any) -> CrossFittedTeacher:
    networks = fold_networks(unet(), 3)
    for number, network in enumerate(networks.networks):  # type: ignore[union-attr, arg-type]
        network.load_state_dict(unet(seed=number).state_dict())
    made = frozen_teacher(networks, folds=given or folds(), **kwargs)
    assert isinstance(made, CrossFittedTeacher)
    return made


def images() -> torch.Tensor:
    return torch.stack([item["image"] for item in samples(4)])


def test_each_patient_gets_the_teacher_that_has_not_seen_its_label_and_others_the_mean():
    made = teacher(taps={"d4": STAGES["d4"]})
    image = images()
    alone = [FrozenTeacher(unet(seed=k), taps={"d4": STAGES["d4"]}) for k in range(3)]
    output = made.for_samples({"patient_group": ["c", "x", "a", "b"]})(image)
    for row, fold in ((0, 2), (2, 0), (3, 1)):
        wanted = alone[fold](image[row : row + 1])
        torch.testing.assert_close(output.logits[row], wanted.logits[0])
        torch.testing.assert_close(output.features["d4"][row], wanted.features["d4"][0])
    of_all = [one(image[1:2]) for one in alone]
    torch.testing.assert_close(output.logits[1], sum(one.logits for one in of_all)[0] / 3)
    torch.testing.assert_close(output.features["d4"][1], sum(one.features["d4"] for one in of_all)[0] / 3)
    assert made.answered == {"c": {2}, "x": {-1}, "a": {0}, "b": {1}}
    # as a network of the evaluation and as a teacher without patients: the mean
    torch.testing.assert_close(made.network(image), made(image).logits)
    assert not output.logits.requires_grad and not made.train().members[0].network.training


def test_the_temperature_divides_the_answers_only_where_it_is_asked_for():
    batch = {"patient_group": GROUPS}
    plain = teacher(folds(fitted=2.5)).for_samples(batch)(images()).logits
    made = teacher(folds(fitted=2.5, calibrate=True))
    torch.testing.assert_close(made.for_samples(batch)(images()).logits, plain / 2.5)
    # what a cache or a resumed run goes by
    assert len({made.state_hash(), teacher().state_hash(), teacher(TeacherFolds(3, {"a": 1})).state_hash()}) == 3


def test_one_fold_is_the_frozen_teacher_itself():
    network = unet()
    assert fold_networks(network, 1) is network
    assert type(frozen_teacher(network, folds=cross_fit(1, []))) is FrozenTeacher


def test_the_training_and_the_cache_ask_by_patient():
    loss = distillation_loss("kd", "segmentation")
    found = []
    for cached in (False, True):
        items = [{**item, "id": str(n), "patient_group": g} for n, (item, g) in enumerate(zip(samples(4), GROUPS))]
        made = teacher()
        student = attach_student(unet(seed=7), made, loss=loss, input_shape=(2, 1, 32, 32))
        cache = TeacherCache(items, chain("none")) if cached else None
        data = DataLoader(Dataset(items), batch_size=4, num_workers=0)
        engine = trainer(student, made, loss, data=data, epochs=2, teacher_cache=cache)
        engine.run()
        assert made.answered == {"a": {0}, "b": {1}, "c": {2}, "x": {-1}}
        found.append(student.student)
    for one, other in zip(found[0].parameters(), found[1].parameters()):
        torch.testing.assert_close(one, other)


def test_what_a_cross_fitted_teacher_cannot_do_is_refused():
    loss = distillation_loss("kd", "segmentation")
    made = teacher()
    student = attach_student(unet(), made, loss=loss, input_shape=(2, 1, 32, 32))
    with pytest.raises(ValueError, match="the batch has no 'patient_group'"):
        trainer(student, made, loss).run()
    with pytest.raises(ValueError, match="mixup mixes two patients"):
        trainer(student, made, loss, prepare_batch=MixupPrepareBatch(3, 0.2))
    with pytest.raises(ValueError, match="3 networks for 2 folds"):
        CrossFittedTeacher(fold_networks(unet(), 3), TeacherFolds(2, {"a": 0, "b": 1}))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["ckd", "reviewkd", "kd", "at"])
def test_terms_that_compare_channels_are_warned_of(method: str, caplog: pytest.LogCaptureFixture):
    loss = distillation_loss(method, layers=["d1"])
    attach_student(unet(), teacher(taps={"d1": "decoder.d1"}), {"d1": "decoder.d1"}, loss, (2, 1, 32, 32))
    terms = {"ckd": "features", "reviewkd": "review"}.get(method)
    assert ("compare channels" in caplog.text) == (terms is not None)
    assert terms is None or f"nothing in common, but the terms {terms} compare channels" in caplog.text
    caplog.clear()
    attach_student(unet(), FrozenTeacher(unet(), {"d1": "decoder.d1"}), {"d1": "decoder.d1"}, loss, (2, 1, 32, 32))
    assert "compare channels" not in caplog.text


def people() -> list[dict[str, Any]]:
    """Three slices of each of six patients; the last one's labels are not used."""
    return [{**item, "patient_group": f"p{n // 3}", "labelled": n < 15} for n, item in enumerate(samples(18))]


def prepared(
    folder: Path, network: Any = None, checkpoint: str | None = None, average_flips: bool = False, **settings: Any
) -> Any:
    known = [item for item in people() if item["labelled"]]
    network = network or fold_networks(unet(), 2)
    found = cross_fit(2, known, checkpoint=checkpoint, average_flips=average_flips)

    def evaluator_of(member: torch.nn.Module, val_data_loader: Any = None) -> SupervisedEvaluator:
        return SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=val_data_loader or DataLoader(Dataset(samples(4, seed=1)), batch_size=4),
            network=member,
            key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
            decollate=False,
        )

    prepare_fold_teachers(
        network,
        checkpoint,
        DataLoader(Dataset(known), batch_size=4, shuffle=True),
        evaluator_of(network),
        loss_function=supervised_segmentation_loss(),
        output_dir=str(folder),
        key_metric="dice",
        epochs=1,
        folds=found,
        evaluator_of=evaluator_of,
        **settings,
    )
    return network, found


def test_the_record_tells_whom_each_teacher_was_trained_without(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        network, found = prepared(tmp_path)
    record = json.loads((tmp_path / "folds.json").read_text())
    everyone = {f"p{n}" for n in range(5)}
    for part, member in zip(record["teachers"], network.networks):
        assert set(part["trained_on"]) | set(part["held_out"]) == everyone
        assert not set(part["trained_on"]) & set(part["held_out"])
        assert part["weights_sha256"] == weights_hash(member)
    assert set(record["teachers"][0]["held_out"]) ^ set(record["teachers"][1]["held_out"]) == everyone
    assert record["scores"]["metric"] == "dice" and set(record["scores"]) == {
        "metric",
        "in_fold",
        "out_of_fold",
        "folds",
    }
    assert record["temperature"] == found.fitted > 0 and found.temperature == 1
    assert "on the others;" in caplog.text and not any(p.requires_grad for p in network.parameters())
    # and they are used again, by another run, as they are
    again, given = prepared(tmp_path / "other", checkpoint=str(tmp_path / "folds.json"))
    assert weights_hash(again) == weights_hash(network)
    assert given.held_out == found.held_out and not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="holds teachers of an earlier run"):
        prepared(tmp_path)
    resumed, _ = prepared(tmp_path, fold_networks(unet(seed=5), 2), resume=True)
    assert weights_hash(resumed) == weights_hash(network)


@pytest.mark.parametrize("average_flips", [False, True])
def test_the_temperature_is_that_of_the_answers_that_a_student_is_given(tmp_path: Path, average_flips: bool):
    network, found = prepared(tmp_path, average_flips=average_flips)
    path = tmp_path / "folds.json"
    teacher = frozen_teacher(network, folds=found, average_flips=average_flips)
    known = [item for item in people() if item["labelled"]]
    order = [item for fold in range(2) for item in known if found.held_out[item["patient_group"]] == fold]
    image, label = (torch.stack([item[key] for item in order]) for key in ("image", "label"))
    groups = [item["patient_group"] for item in order]
    logits = teacher.for_samples({"patient_group": groups})(image).logits.flatten()
    expected = fit_temperature(torch.stack([torch.zeros_like(logits), logits], 1), (label.flatten() > 0.5).long())
    assert found.fitted == pytest.approx(expected, rel=1e-4)
    # and no other answers are calibrated by it
    given = {"checkpoint": str(path), "calibrate": True}
    told = cross_fit(2, [], average_flips=average_flips, **given)
    assert told is not None and told.temperature == pytest.approx(expected, rel=1e-4)
    match = f"with teacher_flips {str(average_flips).lower()} and calibrates no other outputs"
    with pytest.raises(ValueError, match=match):
        cross_fit(2, [], average_flips=not average_flips, **given)
    assert cross_fit(2, [], checkpoint=str(path), average_flips=not average_flips).temperature == 1


def test_the_temperature_of_some_pixels_is_that_of_random_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One column of each image would tell of that column alone."""
    _, whole = prepared(tmp_path / "whole")
    seen: list[torch.Tensor] = []

    def fit(logits: torch.Tensor, labels: torch.Tensor) -> float:
        seen.append(logits[:, 1])
        return fit_temperature(logits, labels)

    monkeypatch.setattr("ckdmed.engines.teachers.fold_training.fit_temperature", fit)
    size = people()[0]["image"].numel()
    edge = people()[0]["image"].shape[-1]
    known = 15
    # a step of one edge over the pixels in their order
    monkeypatch.setattr("ckdmed.engines.teachers.fold_training._FITTED_VALUES", size * known // edge)
    network, some = prepared(tmp_path / "some")
    assert len(seen[-1]) == known * (size // edge)
    images = torch.stack([item["image"] for item in people()[:known]])
    # the logits of the column that a fixed step over the rows would meet in every image
    column = {value for member in network.networks for value in member(images)[..., 0].flatten().tolist()}
    assert not set(seen[-1].tolist()) <= column
    assert some.fitted == pytest.approx(whole.fitted, rel=0.5)


def test_an_interrupted_training_of_teachers_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, _ = prepared(tmp_path / "whole")
    from ckdmed.engines.teachers import fold_training

    real, calls = fold_training.prepare_teacher, []

    def broken_off(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(fold_training, "prepare_teacher", broken_off)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "broken")
    assert not (tmp_path / "broken" / "folds.json").exists()
    resumed, _ = prepared(tmp_path / "broken", resume=True)
    assert weights_hash(resumed) == weights_hash(whole)
    texts = [(tmp_path / name / "folds.json").read_text() for name in ("whole", "broken")]
    assert texts[0] == texts[1]


def test_a_record_that_contradicts_itself_or_the_weights_is_refused(tmp_path: Path):
    prepared(tmp_path)
    path = tmp_path / "folds.json"
    record = json.loads(path.read_text())
    first = record["teachers"][0]
    known = first["trained_on"][0]

    def refused(message: str, **change: Any) -> None:
        path.write_text(json.dumps({**record, **change}), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_teacher(fold_networks(unet(), 2), str(path))

    seen = {**first, "held_out": [*first["held_out"], known]}
    refused(f"would teach on patients that it was trained on.*{known}", teachers=[seen, record["teachers"][1]])
    other = {**first, "weights_sha256": "0" * 64}
    refused("was written for 000000000000", teachers=[other, record["teachers"][1]])
    refused("is not a record of cross-fitted teachers .KeyError", teachers=[{}, {}])
    refused("teacher_folds is 2, but .* is of 3 teacher", teacher_folds=3)
    with pytest.raises(ValueError, match="teacher_folds is 2, but 'teacher.pt' is of 1 teacher"):
        cross_fit(2, people(), checkpoint="teacher.pt")
    with pytest.raises(ValueError, match="calibrate_teacher fits a temperature"):
        cross_fit(1, people(), calibrate=True)
    # of six patients one is not labelled
    with pytest.raises(ValueError, match="teacher_folds is 9, but the training section has 5 labelled patients"):
        cross_fit(9, people())


@pytest.mark.parametrize("kind", ["shuffled", "in order", "balanced", "distributed"])
def test_a_part_of_a_loader_goes_through_it_in_the_same_manner(kind: str):
    data = Dataset(people())
    categories = [1, 2, -1] * 6
    options: dict[str, Any] = {"shuffle": kind == "shuffled"}
    if kind == "balanced":
        sampler = BalancedSliceSampler(categories, 1.0, 10, by_category=True, unlabelled_share=0.2)
        options = {"sampler": sampler}
    elif kind == "distributed":
        options = {"sampler": DistributedSampler(data, num_replicas=2, rank=1, seed=3)}
    part = loader_of(DataLoader(data, batch_size=3, **options), range(6))
    groups = [group for batch in part for group in batch["patient_group"]]
    assert set(groups) <= {"p0", "p1"} and part.batch_size == 3
    if kind == "balanced":
        drawn = list(part.sampler)
        assert len(drawn) == 10 and np.bincount([categories[i] + 1 for i in drawn]).tolist() == [2, 0, 4, 4]
    elif kind == "distributed":
        other = DistributedSampler(part.dataset, num_replicas=2, rank=0, seed=3)
        assert sorted([*part.sampler, *other]) == list(range(6))
    else:
        assert len(groups) == 6


def test_a_sampler_that_nobody_knows_is_refused():
    loader = DataLoader(Dataset(people()), sampler=WeightedRandomSampler([1.0] * 18, 18))
    with pytest.raises(ValueError, match="a WeightedRandomSampler cannot be restricted to some patients"):
        loader_of(loader, [0])


def test_the_scores_in_and_out_of_fold_stand_beside_that_of_the_validation(caplog: pytest.LogCaptureFixture):
    networks: Any = fold_networks(unet(), 2)
    networks.scores = {"metric": "dice", "in_fold": 0.93, "out_of_fold": 0.71}
    evaluators = [Engine(lambda *_: None) for _ in range(2)]
    for evaluator in evaluators:
        evaluator.state.metrics = {"dice": 0.7}
        evaluator.run = lambda: None  # type: ignore[method-assign, assignment, return-value]
    evaluators[0].network = networks  # type: ignore[attr-defined]
    check = TeacherCheck(*evaluators, "dice")
    with caplog.at_level("INFO"):
        check._start(evaluators[1])
    assert "0.7000" in caplog.text and "0.9300 in fold (trained on them) and 0.7100 out of fold" in caplog.text
