"""Results of earlier runs in an output folder: which of them hold, and which somebody changed, so that they stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.data.image_files import InputItem
from ckdmed.data.input_walk import SkippedFile
from ckdmed.data.written_files import as_written, edited_note, foreign_note
from ckdmed.inference.ledger import add_line, line_of_undone, outputs_are_whole, read_ledger
from ckdmed.inference.network_state import NetworkState
from ckdmed.paths import output_path

__all__ = ["CorrectedMeanwhile", "EarlierResults"]


class CorrectedMeanwhile(RuntimeError):
    """The earlier result of an input was changed while the run was under way; it stays."""


class EarlierResults:
    """What the ledger of earlier runs says of each input, and whether its files still are what it says.

    Args:
        folder: of the results.
        ledger: its name there; there may be none.
        regions: of the masks that the network makes, where it names them.

    Attributes:
        records: of the ledger, by name.
    """

    def __init__(self, folder: Path, ledger: str, regions: Iterable[str] = ()) -> None:
        self.folder = folder
        self.ledger = ledger
        self.regions = list(regions)
        self.records = read_ledger(folder / ledger)
        self._begun: set[str] = set()

    def checksums(self, name: str) -> Any:
        """Of the files as they were written."""
        return self.records.get(name, {}).get("checksums")

    def holds(self, name: str, fingerprint: Callable[[], str]) -> bool:
        """Whether a result is whole and of the same input and state; an input that cannot be read has another."""
        record = self.records.get(name)
        try:
            return (
                record is not None
                and outputs_are_whole(record, self.folder)
                and record.get("fingerprint") == fingerprint()
            )
        except OSError:
            return False

    def refuse_to_replace(self, items: Iterable[InputItem], network: NetworkState) -> None:
        """See to it that an inference over these inputs replaces no whole result that it would not make again.

        Args:
            items: that are to be done.
            network: of now.

        Raises:
            ValueError: names the folder, and what to do.
        """
        if others := [item.name for item, record in self._whole(items) if not _is_of(record, item, network)]:
            raise ValueError(
                f"'{self.folder}' holds {counted(len(others), 'result')} of these inputs by other weights or "
                f"settings, or of files that have changed since (such as {others[0]}); nothing in it is overwritten. "
                "To redo them there: --resume true | To leave them as they are: another --output_dir"
            )

    def refuse_other_networks(self, items: Iterable[InputItem], network: NetworkState) -> None:
        """The same, but an input that changed since gets a new result; raises as `refuse_to_replace`."""
        others = []
        for item, record in self._whole(items):
            # an earlier version's records do not tell what changed
            made_by = record.get("network")
            if made_by != network.digest if made_by else not _is_of(record, item, network):
                others.append(item.name)
        if others:
            raise ValueError(
                f"'{self.folder}' holds {counted(len(others), 'result')} of these inputs by other weights or settings "
                f"(such as {others[0]}); nothing in it is overwritten. To redo them there: --replace | To leave them "
                "as they are: another --output_dir"
            )

    def _whole(self, items: Iterable[InputItem]) -> Iterator[tuple[InputItem, dict[str, Any]]]:
        for item in items:
            record = self.records.get(item.name)
            if record is not None and outputs_are_whole(record, self.folder):
                yield item, record

    def changed(self, item: InputItem) -> SkippedFile | None:
        """That an input is not done, for its result was changed since it was written, or lies there and no run that is
        in the ledger wrote it; None otherwise.

        Nor where the result is being replaced: its files may be new ones.
        """
        if item.name in self._begun:
            return None
        if note := edited_note(self.checksums(item.name), self.folder):
            return SkippedFile(item.files[0], f"{item.files[0]}: not done again. {note}")
        # of one that is in the ledger a killed run may have written files
        if item.name in self.records or not (note := foreign_note(self._masks(item.name), self.folder)):
            return None
        return SkippedFile(item.files[0], f"{item.files[0]}: not done. {note}")

    def _masks(self, name: str) -> list[str]:
        """The files of masks that the writers of predictions may make for an input."""
        stems = [name, *(f"{name}_{region}" for region in self.regions)]
        return [*(f"{stem}_mask{suffix}" for stem in stems for suffix in (".nii.gz", ".png")), f"{name}_seg.nii.gz"]

    def begin(self, item: InputItem) -> None:
        """Note that files may be replaced: should the run be killed from here on, it is unknown whose they are."""
        self._begun.add(item.name)
        if self.checksums(item.name):
            add_line(output_path(self.folder, self.ledger), line_of_undone(item))

    def give_up(self, name: str) -> None:
        """Of a result that was being replaced, keep the checksums of those files that still are the earlier ones."""
        if name in self._begun:
            whole = as_written(self.checksums(name), self.folder)
            self.records[name] = {**self.records.get(name, {}), "checksums": whole}


def _is_of(record: Mapping[str, Any], item: InputItem, network: NetworkState) -> bool:
    try:
        return record.get("fingerprint") == network.fingerprint(item)
    except OSError:
        # what cannot be read is skipped, and its result stays
        return True
