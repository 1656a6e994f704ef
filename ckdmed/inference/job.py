"""A run of inference over unchecked inputs: what is read, what is skipped, what is done already."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.data.image_reader import ImageReader
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents
from tqdm import tqdm

from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.bundle.run_folder import check_places
from ckdmed.counted import counted
from ckdmed.data.image_files import FoundInputs, InputItem, find_inputs
from ckdmed.data.input_walk import SkippedFile, refuse_foreign_files
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.slice_geometry import SliceGeometry
from ckdmed.data.slice_reader import GEOMETRY_KEY
from ckdmed.data.written_files import checksum, remove_outdated
from ckdmed.files import DISK_FULL, write_atomic, write_json
from ckdmed.folders import refuse_folder_of_inputs, refuse_place_among
from ckdmed.inference.earlier_results import CorrectedMeanwhile, EarlierResults
from ckdmed.inference.final_notes import (
    count_intended,
    mark_known,
    on_one_line,
    skipped_for,
    tell_skipped,
    write_skipped,
)
from ckdmed.inference.inputs_skipped import InputsSkipped
from ckdmed.inference.ledger import OF_OTHERS, add_line, gone_inputs, line_of_undone, lines_of_others, places
from ckdmed.inference.network_state import NetworkState
from ckdmed.inferers.progress import show_progress
from ckdmed.intended_inputs import InputCheck, IntendedInputs, check_input, facts_of_slices
from ckdmed.paths import output_path
from ckdmed.research_use import RESEARCH_USE_ONLY
from ckdmed.sections.record import SectionRecord, find_own_or_shipped

__all__ = ["InferenceJob"]

logger = logging.getLogger(__name__)

LEDGER, REPORT, SKIPPED = "results.jsonl", "report.json", "skipped.csv"
_PHANTOM_PATIENTS, _PHANTOM_SIZE = 2, 128


class InferenceJob:
    """Finds inputs, reads each of them once as a check, and keeps account until the end.

    In the output folder it writes ``results.jsonl`` (a line for each finished input, as it is finished; in the end
    in the order of the inputs, so that a run that was taken up leaves what an unbroken one does), and then
    ``report.json`` and ``skipped.csv``. It does not know what is predicted: any task that calls `record` can use
    it. Inputs of another make are a subclass that says how they are found, checked and handed over (`_phantoms`,
    `_find`, `_check`, `_entry`).

    Args:
        dataset_dir: a file, a folder or a datalist (see `ckdmed.data.image_files.find_inputs`); None for a few
            phantoms, which are written into the output folder.
        output_dir: for all that is written; not the inputs' own folder.
        reader: reads an input for the check; what it refuses is skipped with its cause.
        checkpoint: the weights; their hash is a part of what must be unchanged for a result to be reused.
        section: of a datalist.
        resume: keep the finished results of an earlier run whose files are in place, if the input (size and time of
            change), the checkpoint and the settings are the same. Whether or not: a file among them that was changed
            since, such as a corrected mask, is never replaced, nor is a mask that no run wrote; its input is skipped.
        settings: what else the results depend on.

    Attributes:
        place_is_checked: set by who links inputs out of other folders, and has seen to it that the output folder is
            none of these.
        earlier_inputs_may_be_gone: likewise, where inputs of earlier runs are not missing when they are not there.
        results_of_others_stay: refuse to replace results of other weights or settings, with `resume` too.
    """

    def __init__(
        self,
        dataset_dir: str | None,
        output_dir: str,
        reader: ImageReader,
        checkpoint: str,
        section: str = "test",
        resume: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.dataset_dir = dataset_dir
        self.output_dir = Path(output_dir)
        self.reader = reader
        self.checkpoint = checkpoint
        self.section = section
        self.resume = resume
        self.settings = dict(settings or {})
        self.place_is_checked = False
        self.earlier_inputs_may_be_gone = False
        self.results_of_others_stay = False
        self.kept: list[str] = []
        self.skipped: list[SkippedFile] = []
        self._records: dict[str, dict[str, Any]] = {}
        self._pending: dict[str, InputItem] = {}
        # those that were to be done when the run began
        self._noted: set[str] = set()
        # those whose results of an earlier run stay: somebody changed them, or the input cannot be read now
        self._left: set[str] = set()
        # of inputs of earlier runs that are none of this one
        self._others: list[dict[str, Any]] = []
        # of each input, as it was when it was checked
        self._fingerprints: dict[str, str] = {}
        # of each input that is to be done
        self._checks: dict[str, InputCheck] = {}

    @cached_property
    def intended(self) -> IntendedInputs | None:
        """What the network was made for, by the record beside its weights.

        Raises:
            ValueError: there is one that cannot be read.
        """
        return IntendedInputs.beside(self.checkpoint)

    def notice(self, name: str) -> str:
        """The warning for an input's results; "" where there is nothing to warn of."""
        return self._checks[name].short if name in self._checks else str(self._told(name).get("warning", ""))

    def _told(self, name: str) -> Mapping[str, Any]:
        """What the record of a finished input says of the check."""
        found = self._records.get(name, {}).get("intended_inputs")
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def found(self) -> FoundInputs:
        """The inputs, before any is read.

        Raises:
            RefusedStart: see `find_inputs` and `check_places`; the output folder is the folder of the inputs or of one
                of them, or lies among them and holds files that no run wrote; without `resume` it would replace others'
                results there.
        """
        try:
            return self._found()
        except ValueError as error:
            raise RefusedStart(str(error)) from error

    def _found(self) -> FoundInputs:
        check_places(self.output_dir)
        if self.dataset_dir is None:
            source = self.output_dir / "phantoms"
            logger.info(f"no dataset_dir is given: making phantoms in {source}")
            self._phantoms(source)
        else:
            source = Path(self.dataset_dir).expanduser()
        folder = source if source.is_dir() else source.parent
        refuse_folder_of_inputs(self.output_dir, folder)
        refuse_foreign_files(self.output_dir, folder, {LEDGER: ()})
        found = self._find(source)
        if not self.place_is_checked:
            refuse_place_among(self.output_dir, {one.name: one.files for one in found.items}, [folder], "--output_dir")
        if not self.resume:
            self._earlier.refuse_to_replace(found.items, self._network)
        if self.results_of_others_stay:
            self._earlier.refuse_other_networks(found.items, self._network)
        return found

    def _phantoms(self, folder: Path) -> None:
        """Write the inputs of a run that is given none."""
        write_figshare_phantoms(folder, n_patients=_PHANTOM_PATIENTS, size=_PHANTOM_SIZE, progress=False)

    def _find(self, source: Path) -> FoundInputs:
        """What is there, before any input is read; what lies in the output folder is no input."""
        return find_inputs(source, self.section, exclude=self.output_dir)

    def _check(self, item: InputItem) -> InputCheck:
        """Read an input once; what is raised here is the cause by which it is skipped.

        Returns:
            whether the network was made for such an input.
        """
        slices, meta = self.reader.get_data(self.reader.read(item.files))
        if self.intended is None:
            return check_input(None, slices)
        geometry = SliceGeometry.from_text(meta[GEOMETRY_KEY])
        if len(self.intended.sequences) > 1:
            return check_input(self.intended, slices, [facts_of_slices(file, geometry) for file in item.files])
        return check_input(self.intended, slices, facts_of_slices(item.files, geometry))

    def _entry(self, item: InputItem) -> dict[str, Any]:
        """What the data set holds of an input; ``name`` is that of the item."""
        image = [str(file) for file in item.files]
        return {"image": image if len(image) > 1 else image[0], "name": item.name}

    @cached_property
    def _earlier(self) -> EarlierResults:
        return EarlierResults(self.output_dir, LEDGER, self.settings.get("regions") or ())

    @cached_property
    def data(self) -> list[dict[str, Any]]:
        """Entries (``image``: file or files, ``name``) of the inputs that can be read and are not done yet."""
        # a blank slice of a volume is nothing to warn about
        warnings.filterwarnings("ignore", message="Divide by zero", module="monai")
        self.skipped = list(self.found.skipped)
        if self._section_record is None:
            logger.info(f"{self.checkpoint} has no record of the patients that it was trained on; none can be marked")
        earlier = self._earlier.records
        self._others = lines_of_others(earlier, {item.name for item in self.found.items}, self.output_dir)
        if self.resume and not self.earlier_inputs_may_be_gone:
            self.skipped += gone_inputs(earlier, self.found)
        items = []
        for item in tqdm(self.found.items, desc="checking inputs", unit="input", leave=False):
            if self.resume and self._earlier.holds(item.name, partial(self._network.fingerprint, item)):
                self.kept.append(item.name)
                self._records[item.name] = earlier[item.name]
                continue
            if changed := self._earlier.changed(item):
                self._leave(item.name, changed)
                continue
            try:
                self._fingerprints[item.name] = self._network.fingerprint(item)
                self._checks[item.name] = self._check(item)
            # an untrusted file can make a library raise anything; the others are processed all the same
            except Exception as error:
                self._leave(item.name, skipped_for(item, error))
                continue
            self._pending[item.name] = item
            if self._checks[item.name].outside:
                logger.warning(on_one_line(f"{item.files[0]}: {self._checks[item.name].sentence}"))
            items.append(self._entry(item))
        for entry in self.skipped:
            logger.warning(f"skipped {on_one_line(entry.reason)}")
        counts = f"{counted(len(items), 'input')} to do, {len(self.kept)} done before, {len(self.skipped)} skipped"
        logger.info(counts)
        for line in self.found.unused.lines():
            logger.info(line)
        self._noted = set(self._pending)
        self._write_ledger()
        return items

    def _write_ledger(self) -> None:
        """A line for each input that is done or was to be done, in the order of the inputs, whatever came first."""
        lines = []
        for item in self.found.items:
            if item.name in self._records:
                lines.append({key: value for key, value in self._records[item.name].items() if key != OF_OTHERS})
            elif item.name in self._noted:
                lines.append(line_of_undone(item, self._earlier.checksums(item.name)))
        lines += self._others
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomic(output_path(self.output_dir, LEDGER), lambda path: path.write_text(text) and None)

    def _leave(self, name: str, entry: SkippedFile) -> None:
        self.skipped.append(entry)
        # known to the next run, but no result of this one
        if name in self._earlier.records:
            self._records[name] = self._earlier.records[name]
            self._left.add(name)

    def run(self, evaluator: Evaluator) -> None:
        """Let the evaluator go through `data`; an input at which it fails is skipped with the cause, the rest is done.

        Args:
            evaluator: over a loader of single items of a MONAI ``Dataset`` of `data`; a handler of it calls `record`.

        Raises:
            OSError: the disk is full, which no other input would escape.
        """
        loader: Any = evaluator.data_loader
        todo = list(self.data)
        if len(todo) == 1:
            # the bar over the inputs would stand still until the end
            show_progress(evaluator.inferer)  # type: ignore[attr-defined]
        together = True
        failed: list[Exception] = []
        # what this handler takes ends the round, and not the process
        evaluator.add_event_handler(Events.EXCEPTION_RAISED, lambda _engine, error: failed.append(error))
        # the last event before the writers', with the items decollated
        evaluator.add_event_handler(IterationEvents.MODEL_COMPLETED, self._begin)
        while todo:
            loader.dataset.data = todo if together else todo[:1]
            evaluator.state.epoch_length = len(loader)
            failed.clear()
            evaluator.run()
            if not failed and together:
                return
            # one that was left is among the records; the others go on together
            if failed and not isinstance(failed[0], CorrectedMeanwhile):
                if isinstance(cause := root_cause(failed[0]), OSError) and cause.errno in DISK_FULL:
                    raise failed[0]
                # of several inputs any may be the cause, where other processes read: it is found one by one
                together = len(loader.dataset.data) == 1
                if together:
                    self._give_up(todo[0]["name"], failed[0])
            todo = [entry for entry in todo if entry["name"] in self._pending and entry["name"] not in self._records]

    def _begin(self, engine: Engine) -> None:
        """The files of these items are about to be written.

        Raises:
            CorrectedMeanwhile: somebody changed an earlier result since the run began; no writer gets to replace it.
        """
        batch: Any = engine.state.batch
        decollated: list[Any] = [item.get("name") for item in batch if isinstance(item, Mapping)]
        for name in batch.get("name", ()) if isinstance(batch, Mapping) else decollated:
            if (item := self._pending.get(name)) is None:
                continue
            if changed := self._earlier.changed(item):
                self._leave(name, changed)
                logger.warning(f"skipped {on_one_line(changed.reason)}")
                raise CorrectedMeanwhile(changed.reason)
            self._earlier.begin(item)

    def _give_up(self, name: str, error: Exception) -> None:
        self._earlier.give_up(name)
        entry = skipped_for(self._pending.pop(name), error)
        self.skipped.append(entry)
        logger.warning(f"skipped {on_one_line(entry.reason)}")

    def record(self, name: str, files: Sequence[str], measured: Mapping[str, Any] | None = None) -> None:
        """Note that an input is finished: all of its files, relative to the output folder, are in place.

        ``measured`` is what the report says of its result beside them, such as volumes.

        Names that are not of this job's inputs (a program may give the evaluator items of its own) are passed over.
        """
        item = self._pending.get(name)
        if item is None:
            return
        remove_outdated(self._earlier.checksums(name), files, self.output_dir)
        line = {
            "name": name,
            "input": places(item),
            "outputs": list(files),
            "checksums": {file: checksum(self.output_dir / file) for file in files},
            "fingerprint": self._fingerprints[name],
            "network": self._network.digest,
            **(measured or {}),
        }
        if self.intended is not None:
            check = self._checks[name]
            line["intended_inputs"] = {**check.to_json(), "warning": check.short}
        self._records[name] = line
        add_line(output_path(self.output_dir, LEDGER), line)

    def finish(self) -> None:
        """Write the report and the list of skipped inputs, and say so.

        Raises:
            InputsSkipped: when any input was skipped; it ends the process with status 3.
        """
        internal = ("fingerprint", "network", "checksums", OF_OTHERS)
        self._write_ledger()
        mine = self._records.keys() - self._left
        records = [self._records[item.name] for item in self.found.items if item.name in mine]
        results = [{k: v for k, v in record.items() if k not in internal} for record in records]
        known = mark_known(self._section_record, results)
        intended = count_intended(self.intended, self.checkpoint, {r["name"]: self._told(r["name"]) for r in results})
        skipped = [{"file": str(entry.path), "cause": entry.reason} for entry in self.skipped]
        report = {
            "dataset_dir": self.dataset_dir,
            "checkpoint": str(self.checkpoint),
            "checkpoint_sha256": self._network.checkpoint_sha256,
            "section_record": None if self._section_record is None else str(self._section_record.path),
            "known_inputs": known,
            "research_use": RESEARCH_USE_ONLY,
            "intended_inputs": intended,
            "settings": self.settings,
            "counts": {
                "done": len(results) - len(self.kept),
                "kept": len(self.kept),
                "skipped": len(skipped),
                "ignored": self.found.unused.total,
            },
            "ignored_examples": [str(path) for path in self.found.unused.some],
            "results": results,
            "skipped": skipped,
        }
        write_json(output_path(self.output_dir, REPORT), report)
        write_skipped(output_path(self.output_dir, SKIPPED), skipped)
        logger.info(
            f"{counted(len(results), 'result')} ({len(self.kept)} of an earlier run): {self.output_dir.resolve()}"
        )
        if self.skipped:
            tell_skipped(self.skipped, SKIPPED)
            raise InputsSkipped(self.skipped)

    @cached_property
    def _section_record(self) -> SectionRecord | None:
        return find_own_or_shipped(self.checkpoint)

    @cached_property
    def _network(self) -> NetworkState:
        return NetworkState(self.checkpoint, self.settings, self.intended)
