"""Seconds per training step of the segmentation bundle, side by side: what distillation costs, and what it need not.

    python benchmarks/step_speed.py                      the bundle's own sizes (256 pixels, ViT-B/16 teacher)
    python benchmarks/step_speed.py --compact            sizes for two cores
    python benchmarks/step_speed.py --image_size 160     any of them changed

Every contender is built from ``bundles/seg_kd/train.json`` and works on batches of its own data loader (phantoms, or
``--dataset_dir``). They take turns, so that a machine that slows down slows all of them; medians are compared, and
least values beside them. Progress stands at one half, where all terms have their full weight. The plain loop is what
one would write without this package: the same networks, losses, optimiser and precision, hooks of its own, nothing
else.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from roofline import operations_of, roofline_seconds
from torch.utils.flop_counter import FlopCounterMode

from ckdmed.bundle.workflow import bundle_folder, bundle_workflow
from ckdmed.counted import counted
from ckdmed.experiments import experiment
from ckdmed.files import write_atomic, write_json
from ckdmed.inferers import amp_dtype
from ckdmed.recipes import recipe_optimizer
from ckdmed.reports import machine_in_words, markdown_table, package_versions

CONTENDERS = {
    "student alone": "student alone",
    "kd live": "distillation, live teacher",
    "kd cached": "distillation, cached teacher",
    "kd logits live": "distillation by logits alone, live teacher",
    "kd logits cached": "distillation by logits alone, cached teacher",
    "plain loop": "plain PyTorch loop, live teacher",
    "plain alone": "plain PyTorch loop, student alone",
    "teacher forward": "teacher forward alone",
    "student forward": "student forward alone, as in inference",
    "student fp32": "student alone, stock MONAI trainer, fp32",
    "loading": "data loading of one batch",
    "gemm bf16": "matrix product, bf16",
    "gemm fp32": "matrix product, fp32",
    "copy": "copy of a large tensor",
}
_SIZES = (
    "image_size student_base teacher_base vit_img_size vit_hidden vit_layers vit_heads batch_size num_workers".split()
)
_MATRIX_TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_NO_FEATURES = {"w_feat": 0.0, "w_att": 0.0}


class Bench:
    """The contenders, each a function that takes one step."""

    def __init__(self, settings: Mapping[str, Any], folder: Path, batches: int) -> None:
        self.settings = dict(settings)
        self.folder = folder
        self.device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        self.dtype = amp_dtype(bool(settings["amp"]), self.device)
        live = self.workflow("live")
        parser = live.parser
        self.loader = parser.get_parsed_content("train#dataloader")
        self.batches = list(itertools.islice(itertools.cycle(self.loader), batches))
        self.teacher = parser.get_parsed_content("teacher").to(self.device)
        self.inferer = parser.get_parsed_content("inferer")
        self.loss = parser.get_parsed_content("distillation_loss")
        self.live = live
        self.turn = itertools.cycle(range(batches))
        size = 1024 if self.device.type == "cpu" else 8192
        self.matrix = torch.randn(size, size, device=self.device)
        # far more than a processor's caches hold
        self.large = torch.zeros((64 if self.device.type == "cpu" else 512) * 2**20, device=self.device)
        self.large_copy = torch.empty_like(self.large)
        self.built: dict[str, Callable[[], None]] = {}

    def workflow(self, name: str, **overrides: Any) -> Any:
        """The bundle, initialised with the settings of this run."""
        # the one whose loader is timed holds its slices in memory, the others need not read them all again
        kept = {} if name == "live" else {"cache": "disk", "cache_dir": str(self.folder / "cache")}
        made = bundle_workflow(
            bundle_folder("seg_kd"),
            {
                **self.settings,
                "output_dir": str(self.folder / name),
                "teacher_epochs": 1,
                "epochs": 2,
                **kept,
                **overrides,
            },
        )
        if self.settings["dataset_dir"] is None:
            made.parser["sections"]["phantom_dir"] = str(self.folder / "phantoms")
        made.initialize()
        return made

    def batch(self) -> dict[str, Any]:
        return self.batches[next(self.turn)]

    def trainer_step(self, workflow: Any) -> Callable[[], None]:
        """One iteration of the bundle's trainer."""
        trainer = workflow.parser.get_parsed_content("train#trainer")
        if trainer.teacher is not None:
            # one teacher for all: the same weights, and its memory once
            trainer.teacher = self.teacher if set(trainer.teacher.taps.paths) else trainer.teacher
        if trainer.teacher_cache is not None:
            trainer.teacher_cache.open(trainer.teacher, trainer.student_inferer)
        trainer.state.max_epochs, trainer.state.epoch_length, trainer.state.iteration = 2, 10_000, 10_000

        def step() -> None:
            trainer.state.batch = self.batch()
            trainer.state.output = trainer._iteration(trainer, trainer.state.batch)

        return step

    def stock_step(self, workflow: Any) -> Callable[[], None]:
        """One iteration of MONAI's own trainer, in full precision."""
        student = workflow.parser.get_parsed_content("network_def").to(self.device)
        trainer = SupervisedTrainer(
            device=self.device,
            max_epochs=1,
            train_data_loader=self.batches,
            network=student,
            optimizer=torch.optim.AdamW(student.parameters(), lr=1e-4, weight_decay=1e-4),
            loss_function=workflow.parser.get_parsed_content("distillation_loss").terms["supervised"].loss,
            decollate=False,
        )

        def step() -> None:
            trainer.state.batch = self.batch()
            trainer.state.output = trainer._iteration(trainer, trainer.state.batch)

        return step

    def plain_step(self, workflow: Any, with_teacher: bool) -> Callable[[], None]:
        """The loop that one writes by hand."""
        parser = workflow.parser
        student = parser.get_parsed_content("network_def").to(self.device).train()
        projections = parser.get_parsed_content("student").projections if with_teacher else torch.nn.ModuleDict()
        teacher = self.teacher.network.eval()
        loss = parser.get_parsed_content("distillation_loss")
        optimizer = recipe_optimizer("adamw", [*student.parameters(), *projections.parameters()], 1e-4, 1e-4)
        held: dict[str, dict[str, torch.Tensor]] = {"student": {}, "teacher": {}}

        def hook(side: str, name: str) -> Callable[..., None]:
            return lambda _m, _i, output: held[side].__setitem__(name, output)

        for name in loss.layers if with_teacher else ():
            student.get_submodule(f"decoder.{name}").register_forward_hook(hook("student", name))
            teacher.get_submodule(f"unet.decoder.{name}").register_forward_hook(hook("teacher", name))
        student.to(memory_format=torch.channels_last)
        teacher.to(memory_format=torch.channels_last)

        def step() -> None:
            batch = self.batch()
            image, label = batch["image"].to(self.device), batch["label"].to(self.device)
            image = image.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
                if with_teacher:
                    with torch.no_grad():
                        said = teacher(image)
                logits = student(image)
                features = {name: projections[name](value) for name, value in held["student"].items()}
            logits = logits.float()
            total = logits.new_zeros(())
            for term in loss.terms.values():
                if term.source == "target":
                    total = total + term.weight * term.loss(logits, label)
                elif term.source == "logits":
                    total = total + term.weight * term.loss(logits, said.float())
                else:
                    own = features if term.projected else held["student"]
                    parts = [term.loss(own[n].float(), held["teacher"][n].float()) for n in term.layers]
                    total = total + term.weight * sum(parts) / len(parts)
            total.backward()
            optimizer.step()

        return step

    def teacher_step(self) -> None:
        """The bare network, no taps."""
        image = self.batch()["image"].to(self.device)
        with torch.no_grad():
            self.inferer(image, self.teacher.network)

    def loading(self) -> Callable[[], None]:
        """The next batch of an endless pass over the bundle's loader."""
        state: dict[str, Any] = {"iterator": iter(self.loader)}

        def step() -> None:
            try:
                next(state["iterator"])
            except StopIteration:
                state["iterator"] = iter(self.loader)
                next(state["iterator"])

        return step

    def student_forward(self) -> Callable[[], None]:
        """The student as inference runs it."""
        student = self.live.parser.get_parsed_content("network_def").to(self.device)

        def step() -> None:
            student.eval()
            with torch.no_grad():
                self.inferer(self.batch()["image"].to(self.device), student)

        return step

    def copy(self) -> None:
        self.large_copy.copy_(self.large)

    def product(self, dtype: torch.dtype) -> Callable[[], None]:
        a = self.matrix.to(dtype)

        def step() -> None:
            torch.mm(a, a)

        return step

    def contenders(self, names: list[str]) -> dict[str, Callable[[], None]]:
        """Those of ``names``, built."""
        makers: dict[str, Callable[[], Callable[[], None]]] = {
            "student alone": lambda: self.trainer_step(self.workflow("alone", method="supervised")),
            "kd live": lambda: self.trainer_step(self.live),
            "kd cached": lambda: self.trainer_step(self.workflow("cached", cache_teacher=True)),
            "kd logits live": lambda: self.trainer_step(self.workflow("logits", **_NO_FEATURES)),
            "kd logits cached": lambda: self.trainer_step(
                self.workflow("logits cached", cache_teacher=True, **_NO_FEATURES)
            ),
            "plain loop": lambda: self.plain_step(self.workflow("plain"), True),
            "plain alone": lambda: self.plain_step(self.workflow("plain alone", method="supervised"), False),
            "teacher forward": lambda: self.teacher_step,
            "student forward": self.student_forward,
            "student fp32": lambda: self.stock_step(self.workflow("stock", method="supervised", amp=False)),
            "loading": self.loading,
            "copy": lambda: self.copy,
            **{f"gemm {kind}": lambda dtype=dtype: self.product(dtype) for kind, dtype in _MATRIX_TYPES.items()},
        }
        # the roofline of a step in full precision needs none, and a processor without bfloat16 takes seconds for one
        known = [name for name in names if name != "gemm bf16" or self.dtype == torch.bfloat16]
        self.built = {name: makers[name]() for name in known}
        return self.built

    def rooflines(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """The least seconds of the student's step and of its forward pass by what this machine was measured to do.

        Args:
            seconds: of the matrix products and the copy, and of the steps that are compared with them: all medians or
                all least values.
        """
        if not {"copy", "gemm fp32"} <= set(seconds):
            return {}
        size, large = self.matrix.shape[0], self.large.numel() * self.large.element_size()
        rates = {
            dtype: 2 * size**3 / seconds[f"gemm {kind}"]
            for kind, dtype in _MATRIX_TYPES.items()
            if f"gemm {kind}" in seconds
        }
        return {
            name: roofline_seconds(operations_of(self.built[name]), rates, 2 * large / seconds["copy"])
            for name in ("student alone", "student forward")
            if name in self.built
        }

    def student_flops(self) -> int:
        """Of one step of the student alone: forward and backward, multiplications and additions."""
        student = self.live.parser.get_parsed_content("network_def").to(self.device)
        image = self.batches[0]["image"].to(self.device)
        with FlopCounterMode(display=False) as counter:
            student(image).mean().backward()
        return int(counter.get_total_flops())


def measure(
    steps: Mapping[str, Callable[[], None]],
    rounds: int,
    seconds: float,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds per step of each contender, one entry a round; all of them take a turn in each round."""

    def timed(step: Callable[[], None], repeats: int) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = clock()
        for _ in range(repeats):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (clock() - start) / repeats

    repeats = {}
    for name, step in steps.items():
        # caches fill, kernels are chosen, weights are rearranged
        timed(step, 4)
        repeats[name] = max(1, min(500, round(seconds / timed(step, 1))))
    results: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            gc.collect()
            results[name].append(timed(step, repeats[name]))
    return results


def ratios(seconds: Mapping[str, float], flops: int, size: int, rooflines: Mapping[str, float]) -> dict[str, float]:
    """The figures that the project aims at, as far as their contenders were measured, from one number for each."""
    m = seconds
    out = {}

    def ratio(name: str, above: list[str], below: list[str]) -> None:
        if {*above, *below} <= set(m):
            out[name] = sum(m[n] for n in above) / sum(m[n] for n in below)

    ratio("live KD / (teacher forward + student alone)", ["kd live"], ["teacher forward", "student alone"])
    ratio(
        "live KD by logits / (teacher forward + student alone)",
        ["kd logits live"],
        ["teacher forward", "student alone"],
    )
    ratio("live KD / plain PyTorch loop", ["kd live"], ["plain loop"])
    ratio("student alone / plain PyTorch loop of it", ["student alone"], ["plain alone"])
    ratio("cached KD / student alone", ["kd cached"], ["student alone"])
    ratio("cached KD by logits / student alone", ["kd logits cached"], ["student alone"])
    ratio("student fp32 (stock) / student as configured", ["student fp32"], ["student alone"])
    ratio("loading / student alone", ["loading"], ["student alone"])
    for kind in _MATRIX_TYPES:
        if f"gemm {kind}" in m and "student alone" in m:
            peak = 2 * size**3 / m[f"gemm {kind}"]
            out[f"student's step, share of the {kind} matrix-product peak"] = flops / m["student alone"] / peak
    for name, least in rooflines.items():
        what = {"student alone": "step", "student forward": "forward pass"}[name]
        out[f"student's {what}, share of its roofline"] = least / m[name]
    return out


def report(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    lines = [
        [CONTENDERS[name], f"{statistics.median(values):.4g}", f"{min(values):.4g}", f"{max(values):.4g}"]
        for name, values in result["seconds"].items()
    ]
    least = result["ratios_least"]
    found = [[name, f"{value:.3f}", f"{least[name]:.3f}"] for name, value in result["ratios"].items()]
    rates = ", ".join(f"{kind} {value / 1e9:.0f} GFLOP/s" for kind, value in result["peak"].items())
    copied = f"; copies {result['bytes_per_second'] / 1e9:.1f} GB/s" if result["bytes_per_second"] else ""
    return "\n".join(
        [
            f"Machine: {result['machine']}; {counted(result['threads'], 'thread')}. Packages: "
            + ", ".join(f"{k} {v}" for k, v in result["packages"].items() if k in ("torch", "monai", "python"))
            + ".",
            "",
            f"Settings: {settings}. {result['rounds']} rounds in turns, medians of {result['clock']} time.",
            "",
            markdown_table(["seconds per step", "median", "least", "most"], lines),
            markdown_table(["ratio", "of medians", "of least"], found),
            f"A student's step is {result['student_flops'] / 1e9:.1f} GFLOP; matrix products measured in the same run: "
            f"{rates}{copied}.",
            "",
        ]
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=("full", "compact", "tiny"), default="full", help="sizes (default: full)")
    parser.add_argument("--compact", dest="profile", action="store_const", const="compact", help="--profile compact")
    parser.add_argument("--dataset_dir", help="Figshare .mat files; phantoms by default")
    parser.add_argument("--output_dir", type=Path, help="where step_speed.json and step_speed.md go")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), help="contenders")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, help="about, per contender and round; at least one step")
    parser.add_argument("--batches", type=int, default=2, help="batches that are used in turn (default: %(default)s)")
    parser.add_argument(
        "--clock",
        choices=("wall", "process"),
        default="wall",
        help="process: processor time, for one thread on a machine that others use too (default: wall)",
    )
    parser.add_argument("--amp", choices=("true", "false"), default="true", help="mixed precision (default: true)")
    for name in _SIZES:
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.clock == "process" and (torch.get_num_threads() > 1 or torch.cuda.is_available()):
        raise SystemExit("--clock process is for one thread (OMP_NUM_THREADS=1) on a CPU.")
    warnings.filterwarnings("ignore")
    torch.set_flush_denormal(True)
    settings = experiment("compare").profile_settings(args.profile)
    settings |= {name: getattr(args, name) for name in _SIZES if getattr(args, name) is not None}
    settings |= {"amp": args.amp == "true", "dataset_dir": args.dataset_dir}
    if args.dataset_dir is None:
        settings["phantom_patients"] = 12
    with tempfile.TemporaryDirectory() as folder:
        logging.disable(logging.INFO)
        bench = Bench(settings, Path(folder), args.batches)
        steps = bench.contenders(args.only)
        print(f"{len(steps)} contenders take turns ...", file=sys.stderr)
        clock = time.process_time if args.clock == "process" else time.perf_counter
        seconds = measure(steps, args.rounds, args.seconds, bench.device, clock)
        flops = bench.student_flops()
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        leasts = {name: min(values) for name, values in seconds.items()}
        rooflines, least_rooflines = bench.rooflines(medians), bench.rooflines(leasts)
    size = bench.matrix.shape[0]
    result = {
        "machine": machine_in_words(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "packages": package_versions(),
        "settings": {**settings, "dataset_dir": "given" if args.dataset_dir else "phantoms"},
        "rounds": args.rounds,
        "clock": args.clock,
        "student_flops": flops,
        "seconds": seconds,
        "medians": medians,
        "peak": {k: 2 * size**3 / medians[f"gemm {k}"] for k in _MATRIX_TYPES if f"gemm {k}" in medians},
        "bytes_per_second": 2 * 4 * bench.large.numel() / medians["copy"] if "copy" in medians else None,
        "rooflines": rooflines,
        "ratios": ratios(medians, flops, size, rooflines),
        # what others do on the machine can only add to a turn: beside each other the two tell how uneven it was
        "ratios_least": ratios(leasts, flops, size, least_rooflines),
    }
    text = report(result)
    print(text)
    if args.output_dir:
        write_json(args.output_dir / "step_speed.json", result)
        write_atomic(args.output_dir / "step_speed.md", lambda path: path.write_text(text, encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
