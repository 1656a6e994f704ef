"""A run of inference over cases of several images each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.data.brats import MODALITIES, SkippedCase, VolumeFileError, load_brats_datalist, parse_file_name
from ckdmed.data.case_reader import CaseReader, says_where
from ckdmed.data.image_files import FoundInputs, InputItem
from ckdmed.data.input_walk import SkippedFile, UnusedFiles
from ckdmed.data.output_names import input_stem, output_names
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.data.volume_reader import is_nifti
from ckdmed.inference.job import InferenceJob
from ckdmed.intended_inputs import InputCheck, SeriesFacts, check_input, series_facts
from ckdmed.intended_inputs.case_slices import case_slices
from ckdmed.preparation import CaseInput, find_inputs

__all__ = ["CaseInferenceJob", "CaseItem"]

_PHANTOM_CASES, _PHANTOM_SHAPE = 2, (64, 64, 32)


@dataclass(frozen=True)
class CaseItem(InputItem):
    """The files of a case: one for each modality, or one 4-D file.

    Args:
        case: what it is called; `name` is that of its outputs.
        modalities: what the files, or the channels of the one file, are.
        release, tumour_type: as BraTS names tell, else "".
    """

    case: str = ""
    modalities: tuple[str, ...] = ()
    release: str = ""
    tumour_type: str = ""


class CaseInferenceJob(InferenceJob):
    """An `InferenceJob` whose inputs are cases of several images.

    Args:
        dataset_dir: a folder as `ckdmed.preparation.find_inputs` understands it: BraTS cases, NIfTI files whose names
            end in a modality, and folders of DICOM series named by modality, at any depth; or a datalist of
            ``python -m ckdmed brats-datalist``; for a network of one modality also a NIfTI file. None for a few
            phantoms, which are written into the output folder.
        output_dir: for all that is written.
        reader: reads a case for the check.
        checkpoint: see `InferenceJob`.
        modalities: the images that the network takes; a case that lacks one is skipped.
        section, resume, settings: see `InferenceJob`.

    Raises:
        ValueError: modalities that are no list of different ones, or unknown. From `found` and `data`: as
            `InferenceJob`; none of the cases has the modalities.
    """

    def __init__(
        self,
        dataset_dir: str | None,
        output_dir: str,
        reader: CaseReader,
        checkpoint: str,
        modalities: Sequence[str] = MODALITIES,
        section: str = "test",
        resume: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(dataset_dir, output_dir, reader, checkpoint, section, resume, settings)
        self.case_reader = reader
        if isinstance(modalities, str):
            raise ValueError(
                f"modalities must be a list, got the text {modalities!r}; on a command line it is written "
                f"\"['{modalities}']\"."
            )
        self.modalities = tuple(modalities)
        wanted = set(self.modalities)
        if not wanted or not wanted <= set(MODALITIES) or len(wanted) != len(self.modalities):
            raise ValueError(
                f"modalities must be one or more of {', '.join(MODALITIES)}, each once, got {list(modalities)}."
            )

    def _phantoms(self, folder: Path) -> None:
        write_brats_phantoms(folder, _PHANTOM_CASES, _PHANTOM_SHAPE, progress=False)

    def _find(self, source: Path) -> FoundInputs:
        skipped: list[SkippedCase] = []
        unused = UnusedFiles()
        if source.suffix.lower() == ".json":
            cases = [_of_item(item) for item in load_brats_datalist(source, self.section)]
        elif source.is_file():
            if len(self.modalities) > 1 or not is_nifti(source):
                raise ValueError(
                    f"{source}: a network of {', '.join(self.modalities)} needs a folder with a file or a DICOM series "
                    "for each of them, or a datalist; a single NIfTI file is enough for a network of one modality."
                )
            stem = input_stem(source.name)
            named = parse_file_name(source.name)
            known = (named[0].case, named[0].release, named[0].tumour_type) if named else (stem, "", "")
            cases = [CaseInput(known[0], {self.modalities[0]: source}, release=known[1], tumour_type=known[2])]
        else:
            # phantoms lie inside of the output folder
            inside = source.resolve().is_relative_to(self.output_dir.resolve())
            out = None if inside else self.output_dir
            cases, skipped = find_inputs([source], self.modalities, exclude=out, unused=unused)
            for mask in (mask for case in cases for mask in (case.label, case.brain) if mask is not None):
                unused.add("masks", mask)
        skipped += [_lacking(case, self.modalities) for case in cases if not set(self.modalities) <= set(case.images)]
        cases = [case for case in cases if set(self.modalities) <= set(case.images)]
        if not cases and skipped and all(entry.incomplete for entry in skipped):
            raise ValueError(
                f"{source}: no case has {' and '.join(self.modalities)}, which the network needs (the first: "
                f"{skipped[0].reason.rstrip('.')}). Set modalities to what it was trained on, or give such images."
            )
        called = [case.case for case in cases]
        names = output_names(called, called)
        items = [self._item(name, case) for name, case in zip(names, cases, strict=True)]
        refused = [
            SkippedFile(
                source / entry.case, entry.reason if entry.case in entry.reason else f"{entry.case}: {entry.reason}"
            )
            for entry in skipped
        ]
        return FoundInputs(list(items), refused, unused)

    def _item(self, name: str, case: CaseInput) -> CaseItem:
        files: tuple[Path, ...] = tuple(case.images[m] for m in self.modalities)
        modalities = case.channels or self.modalities
        if case.channels:
            files = files[:1]
        return CaseItem(name, files, case.case, modalities, case.release, case.tumour_type)

    def _check(self, item: InputItem) -> InputCheck:
        try:
            self.case_reader.check(item.files)
            return self._compared(item)
        except ValueError as error:
            case = getattr(item, "case", item.name)
            raise VolumeFileError(f"{case}: {error}") from error

    def _compared(self, item: InputItem) -> InputCheck:
        """Whether the network was made for such a case; its images are read once more, if that is recorded."""
        if self.intended is None:
            return check_input(None, np.empty((0, 0, 0)))
        held = item.modalities if isinstance(item, CaseItem) else self.modalities
        slices, side = case_slices(self.case_reader, item.files, held, self.modalities)
        # of one file its channels are named together
        files = item.files if len(item.files) == len(self.modalities) else item.files * len(self.modalities)
        facts = [_facts(Path(file), modality) for file, modality in zip(files, self.modalities, strict=True)]
        # all images are brought to the grid of one
        reference = self.case_reader.reference if len(item.files) > 1 else 0
        seen = side if self._shown_as_it_is(item) else None
        facts[0] = replace(facts[0], placed=says_where(Path(item.files[reference])), field_of_view_mm=seen)
        return check_input(self.intended, np.concatenate(slices), facts)

    def _shown_as_it_is(self, item: InputItem) -> bool:
        """Whether a network of slices sees the case's own field of view, so that one of another size is at another
        scale than the training's; the preprocessing cuts others to the field of view that is set."""
        if self.settings.get("spatial_dims") != 2:
            return False
        return bool(getattr(item, "release", "")) or self.settings.get("field_of_view") is None

    def record(self, name: str, files: Sequence[str], measured: Mapping[str, Any] | None = None) -> None:
        """As `InferenceJob`; of a case that is one file it keeps what its channels are, which no name tells."""
        item = self._pending.get(name)
        held = item.modalities if isinstance(item, CaseItem) and len(item.modalities) > len(item.files) else ()
        super().record(name, files, {**(measured or {}), **({"modalities": list(held)} if held else {})})

    def _entry(self, item: InputItem) -> dict[str, Any]:
        entry: dict[str, Any] = {"image": [str(file) for file in item.files], "name": item.name}
        if isinstance(item, CaseItem):
            entry |= {
                "modalities": list(item.modalities),
                "release": item.release,
                "tumour_type": item.tumour_type,
            }
        return entry


def _facts(path: Path, modality: str) -> SeriesFacts:
    """What an image of a case says of itself: a DICOM series by its header, for somebody named its folder."""
    named = SeriesFacts("MR", modality, "its name or place says so")
    if not path.is_dir():
        return named
    stated = series_facts(path)
    if not stated.contradicts(modality):
        return replace(named, modality=stated.modality or "MR")
    return SeriesFacts(stated.modality or "MR", stated.sequence, f"{path}: {stated.because}")


def _lacking(case: CaseInput, modalities: Sequence[str]) -> SkippedCase:
    """A case of a datalist that has other modalities."""
    missing = [modality for modality in modalities if modality not in case.images]
    reason = f"{case.case}: missing: {', '.join(missing)} (found: {', '.join(case.images)})."
    return SkippedCase(case.case, reason, incomplete=True)


def _of_item(item: Mapping[str, Any]) -> CaseInput:
    """A case of a datalist."""
    paths = [Path(path) for path in item["image"]]
    named = tuple(str(name) for name in item["modalities"])
    one = len(paths) == 1 and len(named) > 1
    images = dict(zip(named, paths * len(named) if one else paths, strict=True))
    return CaseInput(
        str(item["case"]),
        images,
        release=str(item["release"]),
        tumour_type=str(item["tumour_type"]),
        channels=named if one else (),
    )
