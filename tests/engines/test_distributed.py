"""Two processes on the CPU train as one."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset, DistributedSampler
from monai.engines import IterationEvents, SupervisedEvaluator
from monai.handlers import LrScheduleHandler, MeanDice, ValidationHandler, from_engine
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from ckdmed.engines import weights_hash
from ckdmed.handlers import (
    BestModel,
    ReproducibleEpochs,
    ResumeCheckpoint,
    SyncBuffers,
    TrainingHistory,
    ValidationLoss,
)
from ckdmed.losses import supervised_segmentation_loss
from ckdmed.methods import distillation_loss
from tests.toy import loader, pair, samples, trainer, unet

WORLD = 2


def _train(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    try:
        _run(rank, Path(folder))
    finally:
        distributed.destroy_process_group()


def _run(rank: int, folder: Path) -> None:
    # the ranks start apart, as processes do that nobody seeded; DDP takes the first one's weights
    torch.manual_seed(rank)
    # with parameters of the loss itself, which no term reads at the end of the training
    loss = distillation_loss("ckd", scales=[None, 1], scale_weights="learned")
    student, teacher = pair(loss, student=unet(seed=rank, dropout=0.2))
    spoken = teacher.state_hash()
    network = DistributedDataParallel(student)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    items = samples(16)
    # some of one rank's batches have no label at all
    for number, item in enumerate(items):
        item["labelled"] = number < 6
    sampler = DistributedSampler(Dataset(items), even_divisible=True, shuffle=True, seed=0)
    data = DataLoader(Dataset(items), batch_size=4, sampler=sampler, num_workers=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=5 * len(data))
    validated = samples(4, seed=1)
    # so that the ranks' losses differ
    validated[0]["label"] = torch.zeros_like(validated[0]["label"])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        # each rank validates its share
        val_data_loader=loader(validated[rank::WORLD]),
        network=student.student,
        key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    leader = rank == 0
    best = BestModel(str(folder / f"model_{rank}.pt"), student.student, "val_mean_dice", save=leader)
    best.attach(evaluator)
    ValidationLoss().attach(evaluator)
    gradients: list[str] = []
    at_validation: list[str] = []
    # five epochs, so that ours goes through its ramp, its plateau and its end without features
    engine = trainer(
        student=network,  # type: ignore[arg-type]
        teacher=teacher,
        loss=loss,
        optimizer=optimizer,
        data=data,
        epochs=5,
        train_handlers=[
            ReproducibleEpochs(5, data, rank),
            LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
            SyncBuffers(student),
            ValidationHandler(1, evaluator),
            TrainingHistory(str(folder / f"metrics_{rank}.jsonl"), evaluator, optimizer, save=leader),
            ResumeCheckpoint(str(folder / f"resume_{rank}"), {"student": student}, save=leader),
        ],
    )
    engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda _: gradients.append(_gradients(student)))
    evaluator.add_event_handler(Events.STARTED, lambda _: at_validation.append(weights_hash(student)))
    before = student.projections["d3"].conv.weight.detach().clone()
    engine.run()
    with torch.no_grad():
        logits = student.student.eval()(torch.stack([item["image"] for item in validated]))
        whole = supervised_segmentation_loss()(logits, torch.stack([item["label"] for item in validated]))
    record: dict[str, Any] = {
        "val_loss": [evaluator.state.metrics["val_loss"], float(whole)],
        "gradients": gradients,
        "weights": [weights_hash(student.student), weights_hash(student.projections)],
        "at_validation": at_validation,
        "teacher_kept": teacher.state_hash() == spoken,
        "projection_moved": not torch.equal(student.projections["d3"].conv.weight, before),
        "last_terms": sorted(engine.state.terms),
        "samples": sorted(int(i) for i in sampler),
    }
    torch.save(record, folder / f"record_{rank}.pt")


def _gradients(student: torch.nn.Module) -> str:
    holder = torch.nn.Module()
    for number, parameter in enumerate(student.parameters()):
        assert parameter.grad is not None
        holder.register_buffer(f"g{number}", parameter.grad.clone())
    return weights_hash(holder)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # forks of a process that has imported everything and computed nothing, where there are forks
    method = "forkserver" if hasattr(os, "fork") else "spawn"
    if method == "forkserver":
        multiprocessing.set_forkserver_preload([__name__])
    multiprocessing.start_processes(_train, args=(port, str(folder)), nprocs=WORLD, start_method=method)
    return folder, [torch.load(folder / f"record_{rank}.pt", weights_only=True) for rank in range(WORLD)]


def test_gradients_and_weights_are_equal_on_both_ranks(records):
    _, (first, second) = records
    assert len(first["gradients"]) == 10 and len(set(first["gradients"])) == 10
    assert first["gradients"] == second["gradients"]
    assert first["weights"] == second["weights"]


def test_projections_are_trained_together(records):
    _, (first, second) = records
    assert first["projection_moved"] and first["weights"][1] == second["weights"][1]
    # the last steps read no features, and the projections without a part in the loss do not stall the ranks
    assert "features" not in first["last_terms"]


def test_buffers_are_the_same_at_validation(records):
    _, (first, second) = records
    assert len(first["at_validation"]) == 5 and first["at_validation"] == second["at_validation"]


def test_the_validation_loss_is_that_of_the_samples_of_all_ranks(records):
    for record in records[1]:
        found, whole = record["val_loss"]
        assert found == pytest.approx(whole, rel=1e-5)


def test_teacher_stays_as_it_was(records):
    assert all(record["teacher_kept"] for record in records[1])


def test_no_sample_is_seen_by_both(records):
    _, (first, second) = records
    assert sorted(first["samples"] + second["samples"]) == list(range(16))


def test_the_first_rank_alone_writes(records):
    folder, _ = records
    names = {p.name for p in folder.iterdir()}
    assert {"model_0.pt", "metrics_0.jsonl", "resume_0"} <= names
    assert not {"model_1.pt", "metrics_1.jsonl", "resume_1"} & names


def test_a_compiled_student_of_several_processes_ends_without_features(tmp_path: Path) -> None:
    """The last steps read no projection; a group of one process waits for their gradients, too."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        loss = distillation_loss("ckd")
        student, teacher = pair(loss)
        engine = trainer(
            student=DistributedDataParallel(student),  # type: ignore[arg-type]
            teacher=teacher,
            loss=loss,
            optimizer=torch.optim.SGD(student.parameters(), lr=0.01),
            data=loader(samples(16)),
            epochs=5,
            compile=True,
            compile_kwargs={"backend": "eager"},
        )
        engine.run()
    finally:
        distributed.destroy_process_group()
    assert engine.state.iteration == 20 and "features" not in engine.state.terms
