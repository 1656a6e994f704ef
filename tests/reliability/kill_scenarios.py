"""The commands that are killed, at sizes that train in a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ckdmed.cli import main
from ckdmed.data.phantoms import write_brats_phantoms, write_figshare_phantoms
from ckdmed.export import export_bundle
from tests.bundle import cls_runs, seg_kd_runs
from tests.export import tiny
from tests.reliability.kills import Scenario
from tests.reliability.zygote import Zygote

__all__ = ["SCENARIOS", "written_inputs"]

# whatever pytest calls it
_HERE = "tests.reliability.kill_scenarios"
_CPU = "$torch.device('cpu')"
_SEG_KD = {**seg_kd_runs.TINY, "epochs": 2, "teacher_epochs": 2}
_CLS_KD = {**cls_runs.TINY, **cls_runs.STUDENT, "epochs": 2}
_BRATS = {
    **{"image_size": 32, "roi_size": [16, 16, 16], "student_base": 2, "teacher_base": 2, "vit_img_size": 32},
    **{"vit_hidden": 16, "vit_layers": 1, "vit_heads": 2, "slices_per_epoch": 16, "patches_per_volume": 1},
    **{"epochs": 2, "teacher_epochs": 2, "batch_size": 8},
}
_NO_DATA = ("phantom_patients", "sections#phantom_size", "sections#phantom_slices", "device")


def write_inputs(where: str, *names: str) -> None:
    """The inputs of scenarios, all by default: phantoms, and random weights.

    To be called in a process of its own, see `tests.reliability.zygote`: what computes here must not fork afterwards.
    """
    folder = Path(where)
    for name in names or _INPUTS:
        _INPUTS[name](folder)


def _slices(folder: Path) -> None:
    write_figshare_phantoms(folder, 6, (2, 3), 48, progress=False)
    _datalist("datalist", folder)


def _cases(folder: Path, count: int) -> None:
    write_brats_phantoms(folder, count, (24, 24, 16), progress=False)
    if count > 1:
        _datalist("brats-datalist", folder)


def _datalist(command: str, folder: Path) -> None:
    if main([command, str(folder), "--output", str(folder / "datalist.json"), "--quiet"]):
        raise RuntimeError(f"there is no datalist of {folder}.")


def _weights(folder: Path) -> None:
    # imports what trains
    from tests.export import tiny

    for name in ("seg_kd", "brats_seg_kd"):
        tiny.write_checkpoint(folder / f"{name}.pt", name)


_INPUTS: dict[str, Callable[[Path], Any]] = {
    "figshare": lambda folder: _slices(folder / "figshare"),
    "brats": lambda folder: _cases(folder / "brats", 6),
    "three": lambda folder: _cases(folder / "three", 3),
    "one": lambda folder: _cases(folder / "one", 1),
    "weights": lambda folder: _weights(folder / "weights"),
}


def _options(settings: Mapping[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def _training(bundle: str, data: str, settings: Mapping[str, Any], **more: Any) -> Callable[[Path, Path], list[str]]:
    def words(inputs: Path, place: Path) -> list[str]:
        places: dict[str, Any] = {"output_dir": place / "out", "device": _CPU}
        own = dict(settings)
        if data:
            places["dataset_dir"] = inputs / data
            own = {name: value for name, value in settings.items() if name not in _NO_DATA}
        chosen = {name: value(inputs, place) if callable(value) else value for name, value in more.items()}
        return ["monai.bundle", bundle, "run", "--config_file", "train.json", *_options({**own, **chosen, **places})]

    return words


def _ckdmed(*given: str) -> Callable[[Path, Path], list[str]]:
    """A command of `ckdmed`, with {inputs} and {place} in its words."""

    def words(inputs: Path, place: Path) -> list[str]:
        return ["ckdmed", *(word.format(inputs=inputs, place=place) for word in given)]

    return words


def _cache(inputs: Path, place: Path) -> Path:
    return place / "cache"


def _experiment(name: str, *given: str) -> Callable[[Path, Path], list[str]]:
    places = ("--output_dir", "{place}/out", "--seeds", "0", "--profile", "tiny", "--set", "epochs=1")
    return _ckdmed("experiment", name, *places, *given)


def _export(inputs: Path, place: Path) -> list[str]:
    sizes = [word for name, value in tiny.sizes_of("seg_kd", "train.json").items() for word in _override(name, value)]
    places = ["--bundle", str(tiny.ROOT / "bundles/seg_kd"), "--checkpoint", str(inputs / "weights/seg_kd.pt")]
    return ["ckdmed", "export", *places, *sizes, "--output_dir", str(place / "brain_tumour")]


def _override(name: str, value: Any) -> list[str]:
    return ["--override", f"{name}={value}"]


def _export_forced(inputs: Path, place: Path) -> list[str]:
    return [*_export(inputs, place), *_override("threshold", 0.4), "--force"]


def _export_large(inputs: Path, place: Path) -> list[str]:
    return ["call", f"{_HERE}:export_with_large_files", str(inputs), str(place)]


def export_with_large_files(inputs: str, place: str) -> None:
    """An export in which the weights count as too large, which no option of the command says."""
    sizes = tiny.sizes_of("seg_kd", "train.json")
    weights, output = Path(inputs, "weights", "seg_kd.pt"), Path(place, "brain_tumour")
    export_bundle(tiny.ROOT / "bundles/seg_kd", weights, output, overrides=sizes, size_limit=20_000)


def _inference(bundle: str, data: str, sizes: Mapping[str, Any]) -> Callable[[Path, Path], list[str]]:
    def words(inputs: Path, place: Path) -> list[str]:
        places = {"dataset_dir": inputs / data, "output_dir": place / "out", "device": _CPU}
        places["checkpoint"] = inputs / "weights" / f"{bundle}.pt"
        chosen = {**tiny.sizes_of(bundle), **sizes, **places, "num_workers": 0}
        return ["monai.bundle", bundle, "run", "--config_file", "inference.json", *_options(chosen)]

    return words


# what a command says that was killed after its last write
_MADE = "already exists|exists; name another"
_RESUME = ("--resume", "true")
# the inputs of all: a run that writes its own anew finds no cache again, whose entries know the times of their sources
_SLICES_OF_6 = ("--dataset_dir", "{inputs}/figshare")
_CASES_OF_6 = ("--dataset_dir", "{inputs}/brats")
_PREPARE = (
    "prepare",
    "{inputs}/three",
    "--output_dir",
    "{place}/prepared",
    "--quiet",
    "--keep-spacing",
    "--no-picture",
)
_SLICES = ("slice-cache", "{inputs}/three/datalist.json", "--output_dir", "{place}/slices", "--quiet")

SCENARIOS: dict[str, Scenario] = {
    "phantoms": Scenario(_ckdmed("phantoms", "figshare", "{place}/data", "--patients", "2", "--size", "48")),
    "brats-datalist": Scenario(
        _ckdmed("brats-datalist", "{inputs}/brats", "--output", "{place}/lists/datalist.json", "--quiet"),
        made=_MADE,
    ),
    "prepare": Scenario(_ckdmed(*_PREPARE)),
    "prepare, with its picture": Scenario(
        _ckdmed("prepare", "{inputs}/one", "--output_dir", "{place}/prepared", "--quiet", "--keep-spacing")
    ),
    "prepare, over another format": Scenario(
        _ckdmed(*_PREPARE, "--format", "hdf5"),
        before=_ckdmed(*_PREPARE, "--format", "png"),
    ),
    "prepare, two processes": Scenario(
        _ckdmed(*_PREPARE, "--format", "npy", "--workers", "2"),
        milliseconds=(500, 3000, 6000, 9000),
    ),
    "slice-cache": Scenario(_ckdmed(*_SLICES)),
    "slice-cache, over another plane": Scenario(_ckdmed(*_SLICES, "--plane", "coronal"), before=_ckdmed(*_SLICES)),
    "export": Scenario(_export, made=_MADE),
    "export, over another": Scenario(_export_forced, before=_export),
    "export, with large files": Scenario(_export_large, made=_MADE),
    "seg_kd": Scenario(_training("seg_kd", "figshare", _SEG_KD), _RESUME, milliseconds=(1500, 3000)),
    "seg_kd, teacher cached in memory": Scenario(
        _training("seg_kd", "figshare", _SEG_KD, cache_teacher="memory"), _RESUME
    ),
    "seg_kd, all cached on the disk": Scenario(
        _training("seg_kd", "figshare", _SEG_KD, cache_teacher="disk", cache="disk", cache_dir=_cache), _RESUME
    ),
    "seg_kd, phantoms of its own": Scenario(_training("seg_kd", "", {**_SEG_KD, "epochs": 1}), _RESUME),
    "cls_kd": Scenario(_training("cls_kd", "figshare", _CLS_KD), _RESUME),
    "brats_seg_kd": Scenario(_training("brats_seg_kd", "brats", _BRATS), _RESUME),
    "brats_seg_kd, whole volumes": Scenario(
        _training("brats_seg_kd", "brats", _BRATS, spatial_dims=3, cache="memory"), _RESUME
    ),
    "seg_kd, inference": Scenario(_inference("seg_kd", "figshare", {}), _RESUME),
    "brats_seg_kd, inference": Scenario(_inference("brats_seg_kd", "three", {}), _RESUME),
    "experiment compare": Scenario(
        _experiment("compare", *_SLICES_OF_6, "--label_fractions", "1", "--arms", "teacher", "ckd", "--final")
    ),
    "experiment table1": Scenario(_experiment("table1", *_SLICES_OF_6, "--arms", "student_msgff", "--collect")),
    "experiment ablation": Scenario(_experiment("ablation", *_CASES_OF_6, "--vary", "norm", "batch")),
    "experiment unimodal": Scenario(
        _experiment("unimodal", *_CASES_OF_6, "--students", "t1c", "--strategies", "distilled")
    ),
}


def written_inputs(zygote: Zygote, folder: Path, *names: str) -> Path:
    """The same, by a process that forks."""
    ended = zygote.run(["call", f"{_HERE}:write_inputs", str(folder), *names], folder, folder.with_name("inputs.log"))
    if ended.status:
        raise RuntimeError(f"the inputs could not be written: {ended.said}")
    return folder
