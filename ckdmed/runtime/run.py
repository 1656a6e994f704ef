"""Running a deployed file over inputs, and writing what it predicts beside the inputs' own geometry."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ckdmed.atomic_files import write_atomic, write_json
from ckdmed.data.image_files import InputItem, find_inputs
from ckdmed.data.input_walk import SkippedFile, refuse_foreign_files
from ckdmed.data.nifti_bytes import nifti_bytes
from ckdmed.data.written_files import edited_note, foreign_note, remove_outdated
from ckdmed.folders import refuse_place_among
from ckdmed.paths import PathLike, output_path
from ckdmed.runtime.earlier_runs import TABLE_OF_ALL, EarlierRuns
from ckdmed.runtime.predict import Prediction, Predictor

__all__ = ["RuntimeReport", "predict_folder"]

_REPORT = "report.json"
_WRITTEN = "written.jsonl"
_TABLE = "probabilities.csv"


@dataclass(frozen=True)
class RuntimeReport:
    """What a run came to.

    Args:
        results: name, files and, of a classifier, class of each input.
        skipped: inputs that could not be read, with the cause.
        unused: lines on files that are no inputs.
    """

    results: list[dict[str, Any]]
    skipped: list[SkippedFile]
    unused: list[str]


def predict_folder(
    predictor: Predictor, inputs: PathLike, output_dir: PathLike, section: str = "test", replace: bool = False
) -> Iterator[str | RuntimeReport]:
    """Predict a file, a folder or a datalist; gives the name of each input as it is done, and the report last.

    Masks and probabilities are written as the inference of the bundle does, see
    `ckdmed.handlers.prediction_writer.PredictionWriter`; of a classifier one table, ``probabilities.csv``. What cannot
    be read is skipped with its cause, and so is an input of whose earlier results one was changed since, or where a
    file of others lies in the place of its mask; all of it stands in ``report.json``. ``written.jsonl`` holds the
    checksums of the results, and what they are of.

    Args:
        predictor: of an opened file.
        inputs: see `ckdmed.data.image_files.find_inputs`.
        output_dir: for all that is written; not the inputs' own folder.
        section: of a datalist.
        replace: make results anew that another deployed file or other settings made there, or that are of inputs that
            have changed since. What somebody edited stays all the same.

    Raises:
        ValueError: see `find_inputs`; the output folder is one of inputs, or lies among them and holds files that no
            run wrote; it holds results of others and ``replace`` is off; of a classifier, its table of other inputs
            would be replaced, where alone their classes stand, or one that somebody edited.
    """
    source, folder = Path(inputs).expanduser(), Path(output_dir)
    around = source if source.is_dir() else source.parent
    refuse_foreign_files(folder, around, {_REPORT: ("form", "results", "skipped"), _WRITTEN: ()})
    found = find_inputs(source, section, exclude=folder)
    refuse_place_among(folder, {item.name: item.files for item in found.items}, [around], "--output_dir")
    written = EarlierRuns(folder / _WRITTEN, predictor, found.items)
    classes = predictor.form.description.task == "classification"
    if classes:
        _refuse_other_table(folder / _TABLE, {item.name for item in found.items}, written)
    if not replace:
        written.refuse_to_replace([TABLE_OF_ALL] if classes else [item.name for item in found.items])
    skipped, results = list(found.skipped), []
    for item in found.items:
        try:
            if not (note := _not_ours(folder, item, written, predictor)):
                prediction = predictor(item.files)
                # in the meantime somebody may have corrected a mask
                note = _not_ours(folder, item, written, predictor)
        except ValueError as error:
            skipped.append(SkippedFile(item.files[0], str(error)))
            continue
        if note:
            skipped.append(SkippedFile(item.files[0], f"{item.files[0]}: {note}"))
            continue
        if prediction.masks is None:
            results.append(_written(folder, item, prediction))
        else:
            # killed from here on, it is unknown whose the files are
            written.note(item.name, [item.name], ())
            results.append(_written(folder, item, prediction))
            remove_outdated(written.checksums(item.name), results[-1]["outputs"], folder)
            written.note(item.name, [item.name], results[-1]["outputs"])
        yield item.name
    if any("class" in result for result in results):
        names = [result["name"] for result in results]
        written.note(TABLE_OF_ALL, names, ())
        _write_table(folder, results)
        written.note(TABLE_OF_ALL, names, [_TABLE])
    report = {
        "form": str(predictor.form.path),
        "description": predictor.form.description.to_text(),
        "threshold": predictor.threshold,
        "tta": predictor.tta,
        "results": results,
        "skipped": [{"file": str(entry.path), "cause": entry.reason} for entry in skipped],
        "unused": found.unused.lines(),
    }
    write_json(output_path(folder, _REPORT), report)
    yield RuntimeReport(results, skipped, found.unused.lines())


def _not_ours(folder: Path, item: InputItem, written: EarlierRuns, predictor: Predictor) -> str:
    """Why an input is not done: a file in the place of its results is somebody's; "" where none is."""
    description = predictor.form.description
    if description.task != "segmentation":
        return ""
    if note := edited_note(written.checksums(item.name), folder):
        return f"not done again. {note}"
    # of one that is known a killed run may have written files
    if item.name in written:
        return ""
    stems = _stems(item.name, description.outputs)
    note = foreign_note((f"{stem}_mask{suffix}" for stem in stems for suffix in (".nii.gz", ".png")), folder)
    return f"not done. {note}" if note else ""


def _refuse_other_table(table: Path, names: Collection[str], written: EarlierRuns) -> None:
    try:
        with open(table, encoding="utf-8", errors="replace", newline="") as stream:
            others = [row.get("name") for row in csv.DictReader(stream) if row.get("name") not in names]
    except FileNotFoundError:
        return
    except csv.Error:
        others = [None]
    if others:
        what = "is no table of inputs" if others[0] is None else f"holds the classes of other inputs ({others[0]})"
        raise ValueError(f"{table}: {what} and would be replaced; move it away, or give another --output_dir.")
    if note := edited_note(written.checksums(TABLE_OF_ALL), table.parent):
        raise ValueError(note)


def _stems(name: str, regions: Sequence[str]) -> list[str]:
    """Of each region's files: the input's name where there is one region alone."""
    return [name] if len(regions) == 1 else [f"{name}_{region}" for region in regions]


def _written(folder: Path, item: InputItem, prediction: Prediction) -> dict[str, Any]:
    result: dict[str, Any] = {"name": item.name, "input": [str(file) for file in item.files]}
    if prediction.masks is None:
        mean = prediction.probabilities.astype(np.float64).mean(axis=0)
        return {
            **result,
            "slices": len(prediction.probabilities),
            "class": prediction.names[int(mean.argmax())],
            "probabilities": dict(zip(prediction.names, mean.tolist(), strict=True)),
        }
    files = []
    stems = _stems(item.name, prediction.names)
    for stem, mask, probability in zip(stems, prediction.masks, prediction.probabilities, strict=True):
        clipped = np.clip(probability, 0, 1)
        if prediction.geometry.kind in ("nifti", "dicom"):
            original = item.files[0] if prediction.geometry.kind == "nifti" else None
            affine = np.array(prediction.geometry.affine)
            for kind, values in (("mask", mask.astype(np.uint8)), ("probability", clipped.astype(np.float32))):
                array = np.ascontiguousarray(prediction.geometry.to_array(values))
                files.append(_write(folder, f"{stem}_{kind}.nii.gz", nifti_bytes(array, affine, original)))
        else:
            sixteen = np.round(clipped * np.float32(65535)).astype(np.uint16)
            for kind, values in (("mask", mask.astype(np.uint8) * np.uint8(255)), ("probability", sixteen)):
                array = np.ascontiguousarray(prediction.geometry.to_array(values))
                files.append(_write(folder, f"{stem}_{kind}.png", _png(array)))
    return {**result, "outputs": files}


def _write(folder: Path, name: str, data: bytes) -> str:
    write_atomic(output_path(folder, name), lambda path: path.write_bytes(data))
    return name


def _png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="png")
    return stream.getvalue()


def _write_table(folder: Path, results: list[dict[str, Any]]) -> None:
    table = io.StringIO(newline="")
    first: Mapping[str, float] = results[0]["probabilities"]
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "slices", "predicted", "probability", *(f"probability_{name}" for name in first)])
    for result in results:
        values = result["probabilities"]
        writer.writerow([result["name"], result["slices"], result["class"], values[result["class"]], *values.values()])
    _write(folder, _TABLE, table.getvalue().encode("utf-8", "backslashreplace"))
