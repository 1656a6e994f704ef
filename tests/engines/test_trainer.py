from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.handlers import (
    CheckpointSaver,
    EarlyStopHandler,
    LrScheduleHandler,
    MeanDice,
    MetricsSaver,
    StatsHandler,
    TensorBoardStatsHandler,
    ValidationHandler,
    from_engine,
)
from monai.transforms import Activationsd, AsDiscreted, Compose
from monai.utils import set_determinism

from ckdmed.engines import DistillationTrainer, FrozenTeacher, weights_hash
from ckdmed.files import load_weights, save_weights
from ckdmed.handlers import ReproducibleEpochs
from ckdmed.inferers import AutocastInferer
from ckdmed.losses import DistillationLoss, LossTerm
from ckdmed.losses.tokens import TokenMSELoss
from ckdmed.methods import distillation_loss
from ckdmed.networks.vit import build_vit, transformer_taps
from ckdmed.transforms import BatchView
from tests.toy import loader, pair, samples, trainer, unet


def validator(network: torch.nn.Module, **kwargs) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader(samples(4, seed=1)),
        network=network,
        postprocessing=Compose([Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.5)]),
        key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        **kwargs,
    )


@pytest.mark.parametrize("method", ["ckd", "report_kd", "report_kdpp", "supervised"])
def test_steps_change_the_student_alone(method: str):
    loss = distillation_loss(method, "segmentation")
    student, teacher = pair(loss)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    spoken = teacher.state_hash()
    engine = trainer(student, teacher, loss, data=loader(samples(4)), epochs=2)
    assert isinstance(engine, SupervisedTrainer)
    engine.run()
    assert teacher.state_hash() == spoken
    changed = {n for n, p in student.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n, _ in student.named_parameters()}


def test_projections_learn_and_stay_out_of_the_students_weights(tmp_path: Path):
    loss = distillation_loss()
    student, teacher = pair(loss)
    before = {name: value.clone() for name, value in student.projections.state_dict().items()}
    trainer(student, teacher, loss, epochs=2, data=loader(samples(12))).run()
    assert all(not torch.equal(value, before[name]) for name, value in student.projections.state_dict().items())
    path = save_weights(tmp_path / "model.pt", student.student.state_dict())
    plain = unet(seed=9)
    plain.load_state_dict(load_weights(path), strict=True)
    assert weights_hash(plain) == weights_hash(student.student)


def test_terms_and_weights_are_reported():
    engine = trainer(data=loader(samples(8)), epochs=10)
    seen = []

    @engine.on(IterationEvents.LOSS_COMPLETED)
    def look(e: DistillationTrainer) -> None:
        assert e.loss_values is not None and e.loss_values.total.requires_grad
        total = sum(e.state.weights[n] * v for n, v in e.state.terms.items())
        torch.testing.assert_close(total, e.state.output["loss"].detach())
        assert not any(v.requires_grad for v in e.state.terms.values())
        seen.append((e.progress, sorted(e.state.weights)))

    engine.run()
    assert engine.loss_values is None
    assert [p for p, _ in seen] == pytest.approx([i / 20 for i in range(1, 21)])
    assert "features" in seen[0][1] and "features" not in seen[-1][1] and "soft_targets" in seen[-1][1]


def test_output_is_what_stock_handlers_expect():
    engine = trainer(data=loader(samples(4)))
    engine.run()
    assert set(engine.state.output) == {"image", "label", "pred", "loss"}
    assert engine.state.output["pred"].shape == (4, 1, 32, 32)


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
def test_stock_handlers(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    loss = distillation_loss()
    student, teacher = pair(loss)
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
    stop = EarlyStopHandler(patience=1, score_function=lambda e: -float(e.state.epoch), epoch_level=True)
    evaluator = validator(student.student, val_handlers=[stop, StatsHandler(output_transform=lambda _: None)])
    engine = trainer(
        student,
        teacher,
        loss,
        optimizer,
        epochs=5,
        decollate=True,
        key_train_metric={
            "train_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"])),
        },
        postprocessing=Compose([Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.5)]),
        train_handlers=[
            StatsHandler(name="stats", tag_name="train_loss", output_transform=from_engine(["loss"], first=True)),
            TensorBoardStatsHandler(
                log_dir=str(tmp_path / "board"), tag_name="loss", output_transform=from_engine(["loss"], first=True)
            ),
            CheckpointSaver(str(tmp_path), {"net": student.student}, save_final=True, final_filename="final.pt"),
            LrScheduleHandler(schedule, print_lr=False),
            ValidationHandler(1, evaluator),
            MetricsSaver(str(tmp_path / "metrics"), metrics=["train_mean_dice"]),
        ],
    )
    stop.set_trainer(engine)
    engine.run()
    # worse at each look: stopped by the second validation, not after five epochs
    assert engine.state.epoch == 2
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
    assert "train_loss" in capsys.readouterr().out
    assert 0 <= engine.state.metrics["train_mean_dice"] <= 1
    assert (tmp_path / "metrics" / "metrics.csv").is_file() and list((tmp_path / "board").iterdir())
    unet(seed=9).load_state_dict(torch.load(tmp_path / "final.pt", weights_only=True), strict=True)
    # decollated: one entry a sample
    assert isinstance(engine.state.output, list) and engine.state.output[0]["pred"].shape == (1, 32, 32)


def test_mixed_precision_by_the_inferer():
    loss = distillation_loss()
    student, teacher = pair(loss)
    spoken = teacher.state_hash()
    engine = trainer(student, teacher, loss, inferer=AutocastInferer(amp="bf16"), epochs=2)
    dtypes: set[torch.dtype] = set()
    student.student.bridge.register_forward_hook(lambda _m, _i, out: dtypes.add(out.dtype))
    losses = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"]))
    engine.run()
    assert dtypes == {torch.bfloat16}
    assert all(v.dtype == torch.float32 and torch.isfinite(v) for v in losses)
    assert teacher.state_hash() == spoken
    assert all(p.dtype == torch.float32 for p in student.parameters())


def _one_optimizer_step(batch_size: int, steps: int, method: str) -> dict[str, torch.Tensor]:
    loss = distillation_loss(method, "segmentation")
    student, teacher = pair(loss, student=unet(norm="instance"), norm="instance")
    engine = trainer(
        student,
        teacher,
        loss,
        torch.optim.SGD(student.parameters(), lr=0.5),
        data=loader(samples(8), batch_size=batch_size),
        accumulation_steps=steps,
    )
    engine.run()
    return student.state_dict()


@pytest.mark.parametrize("method", ["report_kdpp", "report_kd"])
def test_accumulation_equals_the_larger_batch(method: str):
    whole, parts, start = (
        _one_optimizer_step(8, 1, method),
        _one_optimizer_step(4, 2, method),
        pair(distillation_loss(method, "segmentation"), student=unet(norm="instance"))[0].state_dict(),
    )
    moved = max((whole[name] - start[name]).abs().max().item() for name in whole)
    assert moved > 1e-3
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-4 * moved)


def test_compiled():
    loss = distillation_loss("report_kdpp", "segmentation")
    weights = []
    for kwargs in ({}, {"compile": True, "compile_kwargs": {"backend": "eager"}}):
        student, teacher = pair(loss)
        engine = trainer(student, teacher, loss, **kwargs)
        if kwargs:
            assert not isinstance(engine.network, type(student)) or hasattr(engine.network, "_orig_mod")
        engine.run()
        assert set(engine.state.terms) == {"supervised", "soft_targets", "features", "attention", "edges"}
        weights.append(student.state_dict())
    assert list(weights[0]) == list(weights[1])
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value)


def _seeded_weights(seed: int) -> str:
    set_determinism(seed)
    loss = distillation_loss()
    student, teacher = pair(loss, student=unet(seed=seed, dropout=0.3), seed=seed)
    data = DataLoader(Dataset(samples()), batch_size=4, shuffle=True, num_workers=0)
    trainer(student, teacher, loss, data=data, epochs=2, train_handlers=[ReproducibleEpochs(seed, data)]).run()
    set_determinism(None)
    return weights_hash(student)


def test_one_seed_gives_one_training_bit_for_bit():
    assert _seeded_weights(3) == _seeded_weights(3) != _seeded_weights(4)


def test_a_loss_that_listens_to_no_teacher_needs_none():
    loss = distillation_loss("supervised", "segmentation")
    student, teacher = pair(loss)
    listened = []
    teacher.network.register_forward_hook(lambda *_: listened.append(1))
    twin = copy.deepcopy(student.student)
    trainer(student, None, loss).run()
    engine = trainer(student, teacher, loss)
    engine.run()
    assert set(engine.state.terms) == {"supervised"} and listened == []
    assert weights_hash(student.student) != weights_hash(twin)


def test_unlabelled_samples_have_no_say_through_their_labels():
    def weights(spoil: bool) -> str:
        items = samples(8, labelled=True)
        for item in items:
            if spoil and not item["labelled"]:
                item["label"] = 1 - item["label"]
        loss = distillation_loss()
        student, teacher = pair(loss)
        trainer(student, teacher, loss, data=loader(items)).run()
        return weights_hash(student)

    assert weights(False) == weights(True)


def test_batches_without_any_label():
    items = [dict(item, labelled=False) for item in samples(8)]
    loss = distillation_loss()
    student, teacher = pair(loss)
    engine = trainer(student, teacher, loss, data=loader(items))
    before = weights_hash(student)
    engine.run()
    assert "supervised" not in engine.state.terms and "soft_targets" in engine.state.terms
    assert weights_hash(student) != before


def test_what_is_refused():
    loss = distillation_loss()
    student, teacher = pair(loss)
    with pytest.raises(ValueError, match="terms that need a teacher, but teacher is None"):
        trainer(student, None, loss)
    with pytest.raises(ValueError, match="iteration_update would bypass the distillation"):
        trainer(student, teacher, loss, iteration_update=lambda engine, batch: {})
    with pytest.raises(TypeError, match="must be a DistilledStudent .* its output was a Tensor"):
        trainer(unet(), teacher, loss).run()


def test_the_student_sees_another_view_and_the_teachers_word_moves_along():
    loss = distillation_loss()
    student, teacher = pair(loss)
    seen: dict[str, torch.Tensor] = {}
    student.student.register_forward_hook(lambda _m, i, _o: seen.__setitem__("student", i[0].clone()))
    teacher.network.register_forward_hook(lambda _m, i, o: seen.update(teacher=i[0].clone(), said=o.clone()))
    engine = trainer(student, teacher, loss, data=loader(samples(4)), student_view=BatchView("strong"))
    given = []

    class Listening(torch.nn.Module):
        projection_side, needs_teacher = "student", True

        def forward(self, ours, theirs, target, labelled=None, progress=1.0):
            given.append((theirs, target, engine._view))
            return loss(ours, theirs, target, labelled=labelled, progress=progress)

    engine.distillation_loss = Listening()
    engine.run()
    batch = next(iter(loader(samples(4))))
    theirs, target, view = given[0]
    # the teacher saw the batch as it was; the student, its labels and the teacher's maps a moved one
    assert torch.equal(seen["teacher"], batch["image"]) and not torch.equal(seen["student"], batch["image"])
    assert torch.equal(target, view.mask(batch["label"])) and not torch.equal(target, batch["label"])
    assert torch.equal(theirs.logits, view.warp(seen["said"]))
    assert set(theirs.features) == {"d4", "d3"}
    # where the square went in the student's image, there it is in its label
    inside = seen["student"][target > 0.5].mean() - seen["student"][target < 0.5].mean()
    assert inside > 0.2
    assert engine._view is None


def test_class_indices_without_a_channel_axis_move_with_the_image():
    view = BatchView("strong")(torch.rand(3, 1, 32, 32))
    label = (torch.rand(3, 1, 32, 32) * 4).long()
    moved = view.label(label)
    assert not torch.equal(moved, label) and torch.equal(view.label(label[:, 0]), moved[:, 0])
    # classes of whole images, and their shares
    for classes in (torch.tensor([0, 2, 1]), torch.rand(3, 4)):
        assert view.label(classes) is classes


def test_a_view_needs_no_teacher():
    loss = distillation_loss("supervised", "segmentation")
    student, teacher = pair(loss)
    engine = trainer(student, None, loss, student_view=BatchView("report"))
    engine.run()
    assert torch.isfinite(engine.state.terms["supervised"])


@pytest.mark.parametrize("layer", ["tokens", "qkv"])
def test_a_view_that_moves_pixels_is_refused_where_tokens_are_compared(layer: str):
    loss = DistillationLoss({"term": LossTerm(TokenMSELoss(), "features", 1.0, layers=(layer,))})
    student, _ = pair(distillation_loss("supervised", "segmentation"))
    network = build_vit(in_channels=1, img_size=32, patch_size=16, hidden_size=8, num_layers=1, num_heads=2)
    teacher = FrozenTeacher(network, taps=loss.select_taps(transformer_taps(network)))
    for level in ("report", "strong", "affine"):
        message = (
            f"student_view '{level}' moves pixels, but the method compares the {layer} .* set student_view to masked"
        )
        with pytest.raises(ValueError, match=message):
            trainer(student, teacher, loss, student_view=BatchView(level))
    assert trainer(student, teacher, loss, student_view=BatchView("masked")).student_view is not None
    # maps of a convolutional teacher are moved along
    maps = distillation_loss()
    assert trainer(*pair(maps), maps, student_view=BatchView("strong")).student_view is not None
