"""Getting a teacher: from a checkpoint, or by training one first."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader
from monai.engines import Evaluator, SupervisedTrainer
from monai.inferers import Inferer
from torch import distributed, nn

from ckdmed.counted import counted
from ckdmed.deployed_network import run_deployed
from ckdmed.engines.teachers.frozen import weights_hash
from ckdmed.engines.view_batch import view_prepare_batch
from ckdmed.files import write_json
from ckdmed.handlers import BestModel
from ckdmed.handlers.divergence import not_finite
from ckdmed.losses.penalties import with_penalties
from ckdmed.networks.checkpoint import network_state, read_checkpoint
from ckdmed.networks.freezing import frozen_paths
from ckdmed.networks.prepared import mark_prepared
from ckdmed.recipes.schedule import recipe_optimizer, recipe_schedule
from ckdmed.recipes.training import training_handlers
from ckdmed.runtime import is_deployed

__all__ = ["load_known", "load_network", "prepare_teacher"]

logger = logging.getLogger(__name__)


def load_network(
    network: nn.Module, checkpoint: str | None, device: str | torch.device = "cpu", needed: bool = True
) -> nn.Module:
    """Load a checkpoint into ``network``, strictly; nothing where there is none or it is not needed.

    It may be a plain ``state_dict`` or hold one under ``state_dict`` or the like, with prefixes of wrappers, as a file
    of PyTorch's or ``.safetensors``; half precision is cast to the network's. A deployed file of ``ckdmed deploy``
    runs in the network's place.

    Raises:
        FileNotFoundError, ValueError: see :func:`ckdmed.files.load_weights`; ValueError also when names or shapes
            differ from the network's, with the first of them, and when weights are not finite.
    """
    if not checkpoint or not needed:
        return network
    if is_deployed(checkpoint):
        mark_prepared(network)
        return run_deployed(network, checkpoint)
    state = network_state(read_checkpoint(checkpoint, device), checkpoint)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:4])
        raise ValueError(
            f"'{checkpoint}' does not fit this {type(network).__name__}: {reason[:600]} "
            "Give the widths and sizes that it was trained with."
        ) from error
    if broken := not_finite(network):
        raise ValueError(
            f"'{checkpoint}' is of a training that diverged: {broken[0]} ({counted(len(broken), 'tensor')} in all) "
            "holds values that are not finite. Give another checkpoint."
        )
    mark_prepared(network)
    return network


def load_known(network: nn.Module, checkpoint: str, device: str | torch.device = "cpu") -> nn.Module | None:
    """The network with a checkpoint's weights, or None where there is no such file."""
    return load_network(network, checkpoint, device) if Path(checkpoint).is_file() else None


def prepare_teacher(
    network: nn.Module,
    checkpoint: str | None,
    train_data_loader: DataLoader,
    evaluator: Evaluator,
    loss_function: Callable,
    output_dir: str,
    key_metric: str,
    epochs: int,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    recipe: str = "adamw",
    device: str | torch.device = "cpu",
    inferer: Inferer | None = None,
    seed: int = 0,
    resume: bool = False,
    val_interval: int = 1,
    needed: bool = True,
    view: str | None = None,
    summary_writer: Any = None,
    prefix: str = "teacher",
    last: bool = False,
    accumulation_steps: int = 1,
    compile: bool = False,
) -> nn.Module:
    """Load ``checkpoint`` into ``network``, or train it on the labelled data when there is none.

    The training is a stock ``SupervisedTrainer`` with the optimiser and learning rate of a recipe; the weights that
    validate best are saved as ``<output_dir>/teacher.pt`` and loaded at the end; the last epoch is validated whatever
    ``val_interval``. With ``resume`` a finished teacher is loaded and a broken-off one is trained on. Where torch
    distributed is initialised, all processes train it together.

    Args:
        network: the teacher's network, on ``device``; it ends frozen, in evaluation mode. One with an attribute
            ``trained_elsewhere``, which says where, has its weights already.
        checkpoint: plain ``state_dict`` file, or None.
        train_data_loader: labelled samples only.
        evaluator: of ``network`` on the validation data, with ``key_metric``.
        loss_function: on logits and target.
        output_dir: where checkpoints and the history go.
        epochs, learning_rate, weight_decay: of the training; the learning rate is the highest.
        recipe: one of `RECIPES`, see :func:`~ckdmed.recipes.recipe_optimizer`.
        view: level of the random view it is trained on (see :class:`~ckdmed.transforms.BatchView`), beside what the
            dataset does; None for none.
        summary_writer: a TensorBoard ``SummaryWriter`` for the training's losses, metrics and learning rate, or None.
        prefix: before their names, and the name of the training in its progress bar.
        last: keep the weights of the last epoch instead of the best, where it learns from the validation data too.
        accumulation_steps, compile: see ``SupervisedTrainer``.
        needed: False where no term of the loss uses a teacher: nothing is loaded and nothing trained.

    Returns:
        ``network`` itself.

    Raises:
        FileNotFoundError, ValueError: ``checkpoint`` is missing, damaged or of another network.
        ValueError: ``output_dir`` holds a teacher of an earlier run and ``resume`` is False.
        RuntimeError: no validation of the training gave a number; the training diverged.
    """
    if not needed:
        logger.info("no term of the loss uses a teacher: none is loaded or trained")
        return _frozen(network)
    if source := getattr(network, "trained_elsewhere", None):
        logger.info(f"teacher: {source}")
        return _frozen(network)
    if checkpoint:
        load_network(network, checkpoint, device)
        logger.info(f"teacher: {checkpoint}")
        return _frozen(network)
    folder = Path(output_dir)
    best, done = folder / "teacher.pt", folder / "teacher.json"
    if resume and done.is_file() and best.is_file():
        load_network(network, str(best), device)
        logger.info(f"teacher: {best}, trained before")
        return _frozen(network)
    leader = not distributed.is_initialized() or distributed.get_rank() == 0
    if not resume and (best.is_file() or done.is_file()):
        raise ValueError(
            f"{folder} holds a teacher of an earlier run, which is not overwritten: give {best} as the checkpoint, "
            "resume that run, or give another folder."
        )
    logger.info(f"no teacher checkpoint is given: training one for {counted(epochs, 'epoch')}, saved to {best}")
    _unfreeze(network)
    _train(
        network=network,
        train_data_loader=train_data_loader,
        evaluator=evaluator,
        loss_function=loss_function,
        folder=folder,
        best=best,
        key_metric=key_metric,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        recipe=recipe,
        device=device,
        inferer=inferer,
        seed=seed,
        resume=resume,
        val_interval=val_interval,
        leader=leader,
        view=view,
        summary_writer=summary_writer,
        prefix=prefix,
        last=last,
        accumulation_steps=accumulation_steps,
        compile=compile,
    )
    if distributed.is_initialized():
        distributed.barrier()
    if not best.is_file():
        raise RuntimeError(
            f"the teacher's {key_metric} was not a number at any validation in {counted(epochs, 'epoch')} (one every "
            f"{val_interval}), so no weights were saved: validate at least once, on data for which the metric is "
            "defined."
        )
    load_network(network, str(best), device)
    if leader:
        write_json(done, {"epochs": epochs, "seed": seed, "weights_sha256": weights_hash(network)})
    return _frozen(network)


def _unfreeze(network: nn.Module) -> None:
    """Let everything learn but the layers that ``ckdmed.networks.freeze`` froze for good."""
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    for module in network.modules():
        for path in frozen_paths(module):
            module.get_submodule(path).requires_grad_(False)


def _frozen(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    mark_prepared(network)
    return network.eval()


def _train(
    network: nn.Module,
    train_data_loader: DataLoader,
    evaluator: Evaluator,
    loss_function: Callable,
    folder: Path,
    best: Path,
    key_metric: str,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    recipe: str,
    device: str | torch.device,
    inferer: Inferer | None,
    seed: int,
    resume: bool,
    val_interval: int,
    leader: bool,
    view: str | None,
    summary_writer: Any,
    prefix: str,
    last: bool,
    accumulation_steps: int,
    compile: bool,
) -> None:
    trained: nn.Module = network
    if distributed.is_initialized():
        on_gpu = torch.device(device).type == "cuda"
        trained = nn.parallel.DistributedDataParallel(network, device_ids=[device] if on_gpu else None)
    optimizer = recipe_optimizer(recipe, network.parameters(), learning_rate, weight_decay)
    best_model = BestModel(str(best), network, key_metric, save=leader, last=last)
    best_model.attach(evaluator)
    handlers = training_handlers(
        network=network,
        data_loader=train_data_loader,
        evaluator=evaluator,
        optimizer=optimizer,
        lr_scheduler=recipe_schedule(recipe, optimizer, learning_rate, epochs, len(train_data_loader)),
        best_model=best_model,
        inferer=inferer,
        history=str(folder / "teacher_history.jsonl"),
        resume_dir=str(folder / "teacher_resume"),
        seed=seed,
        val_interval=val_interval,
        resume=resume,
        device=device,
        summary_writer=summary_writer,
        prefix=prefix,
        desc=prefix,
        persist=False,
    )
    SupervisedTrainer(
        device=torch.device(device),
        max_epochs=epochs,
        train_data_loader=train_data_loader,
        network=trained,
        optimizer=optimizer,
        loss_function=with_penalties(loss_function, network),
        inferer=inferer,
        prepare_batch=view_prepare_batch(view),
        train_handlers=[handlers],
        accumulation_steps=accumulation_steps,
        compile=compile,
        decollate=False,
    ).run()
