"""With which settings a checkpoint was trained, by the record that its run left beside it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from monai.bundle import ConfigParser

from ckdmed.bundle.as_teacher import as_a_teacher, is_of_a_student, with_own_images
from ckdmed.bundle.effective_settings import strings
from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.own_folder import own_folder
from ckdmed.bundle.renamed_settings import as_of_now
from ckdmed.bundle.running import running_workflow
from ckdmed.bundle.setting_check import WrongSettingError, checked, in_short, is_code
from ckdmed.bundle.settings_table import settings_for
from ckdmed.bundle.unread_settings import unread_settings
from ckdmed.deployed_network import read_description
from ckdmed.file_hash import sha256_of
from ckdmed.json_files import read_json
from ckdmed.runtime import is_deployed

__all__ = [
    "OF_PREDICTIONS",
    "Trained",
    "check_trained",
    "portable_settings",
    "reads_record",
    "record_to_ship",
    "recorded_entry",
    "recorded_settings",
    "settings_read",
    "told_by_teacher",
    "trained_with",
]

logger = logging.getLogger("ckdmed")

#: How predictions are made of a network's outputs: a record may say what was chosen for its weights, and whoever uses
#: them may choose otherwise.
OF_PREDICTIONS = ("threshold", "tta")
# a run's settings lie in its output folder, its weights in a folder in there or one further below
_FOLDERS_UP = 3
# how a configuration reads a setting of a record
_READS = re.compile(r"@(trained|taught|started)(?:\[|\.get\()'(\w+)'")
# and one that is null, as in most trainings, where no record has it
_WITHOUT = ", None)"
# settings that name files or folders of the machine of the training, and that machine's own
_PLACES = ("_dir", "_root", "_checkpoint", "_checkpoints", "_pretrained", "checkpoint")
_OF_MACHINE = {"device", "rank", "world_size"}
# components that evaluation and inference do without; the patients of the sections are recorded beside the weights
_OF_TRAINING_ALONE = frozenset(
    {"train", "optimizer", "lr_scheduler", "distillation_loss", "student", "teacher", "best_model", "sections"}
)
# what the images of a training are like: several teachers see the same ones
_OF_IMAGES = ("scaling", "clahe")


class Trained:
    """Settings that a checkpoint was trained with.

    Args:
        checkpoint: its path; None for none.
        settings: name -> value; None where there is no record.
    """

    def __init__(self, checkpoint: str | None, settings: Mapping[str, Any] | None) -> None:
        self.checkpoint, self.settings = checkpoint, settings

    def __getitem__(self, name: str) -> Any:
        """A setting of the training.

        Raises:
            RefusedStart: there is no such checkpoint; it has no record, or none of this setting.
        """
        if self.settings is None or name not in self.settings:
            self.missing([name])
        return self.settings[name]  # type: ignore[index]

    def missing(self, names: Sequence[str], option: str = "--") -> NoReturn:
        """Say that nothing tells these settings.

        Args:
            names: of the settings.
            option: what stands before a name where it is given.

        Raises:
            RefusedStart: with what to give.
        """
        if not Path(str(self.checkpoint)).is_file():
            raise RefusedStart(
                f"there is no checkpoint '{self.checkpoint}'. Give one with --checkpoint, or train one: train.json of "
                "this bundle writes it to its output folder as models/model.pt."
            )
        path = Path(str(self.checkpoint)).with_suffix(".json")
        wanted = ", ".join(f"{option}{name}" for name in names)
        raise RefusedStart(
            f"'{self.checkpoint}' has no record of what it was trained with: give {wanted}, or put the record of its "
            f"training (models/model.json or settings.json of its output folder) beside it as {path.name}."
        )

    def get(self, name: str, default: Any = None) -> Any:
        """A setting of the training, or ``default`` where no record has it."""
        return default if self.settings is None else self.settings.get(name, default)


def trained_with(*checkpoints: str | None, teacher: bool = False, shipped: Mapping[str, Any] | None = None) -> Trained:
    """The settings that checkpoints were trained with; of several, those that all agree on.

    Args:
        checkpoints: paths; None for none.
        teacher: they are used as teachers. Of a student's record, what it says of its own teacher is left out; it is a
            teacher of its own kind, where there is such a teacher, and of segmentation of its base and options.
        shipped: of an exported bundle, settings of the weights that it ships. They count where the bundle's folder is
            not known, since its configuration is only parsed, as the Model Zoo's checks and MONAI Deploy do; or where
            these weights have still to be downloaded.

    Raises:
        ValueError: a record that cannot be read, or is one of other weights; several that were trained with images of
            different intensities, which is refused with the files and the values.
    """
    given = list(filter(None, checkpoints))
    if shipped is not None and given and all(_stands_for_shipped(Path(checkpoint)) for checkpoint in given):
        return Trained(given[0], shipped)
    records: dict[str, dict[str, Any]] = {}
    for checkpoint in given:
        settings = recorded_settings(Path(checkpoint))
        if settings is not None:
            student = teacher and is_of_a_student(Path(checkpoint), settings)
            records[checkpoint] = as_a_teacher(settings) if student else settings
    _check_same_images(records)
    found: dict[str, Any] | None = None
    for settings in records.values():
        agreed = settings if found is None else found
        found = {name: value for name, value in agreed.items() if settings.get(name) == value}
    return Trained(next(iter(given), None), found)


def _check_same_images(records: Mapping[str, Mapping[str, Any]]) -> None:
    for name in _OF_IMAGES:
        values = {checkpoint: settings[name] for checkpoint, settings in records.items() if name in settings}
        if any(value != next(iter(values.values())) for value in values.values()):
            listed = ", ".join(f"'{checkpoint}' with {value!r}" for checkpoint, value in values.items())
            raise WrongSettingError(
                f"these checkpoints were trained with different values of {name}: {listed}. All see the same images, "
                f"so they must agree: choose checkpoints with the same {name}, or train the others again."
            )


def _stands_for_shipped(checkpoint: Path) -> bool:
    """Whether a path says where an exported bundle has its weights rather than which weights somebody means."""
    # without a workflow the bundle's own folder is the working directory, in which anything may lie
    by_default = running_workflow() is None and checkpoint.parent == Path(own_folder()) / "models"
    return by_default or not checkpoint.is_file()


def recorded_settings(checkpoint: Path) -> dict[str, Any] | None:
    """The settings of the run that left a checkpoint, by the names of today; None where nothing tells them.

    They lie beside the weights, as ``model.json`` of ``model.pt``, or as ``settings.json`` in the run's output folder.
    A deployed file holds them itself. Of weights that ship with a bundle or were deployed, the threshold and the
    averaging that were chosen for them are among these.

    Raises:
        ValueError: a file that is no JSON; one that names the SHA-256 of other weights than those it lies beside; a
            deployed file that cannot be opened.
    """
    if is_deployed(checkpoint) and checkpoint.is_file():
        description = read_description(checkpoint)
        named = as_of_now(description.settings)
        # its maker may have chosen others than the record of the training has
        return {**named, **_chosen(description.postprocessing)} if named else None
    entry = recorded_entry(checkpoint)
    return None if entry is None else with_own_images(checkpoint, as_of_now(entry["settings"]))


def recorded_entry(checkpoint: Path) -> Mapping[str, Any] | None:
    """What the run that left a checkpoint noted of itself, ``settings`` among it; None where no record is there."""
    places = [checkpoint.with_suffix(".json")]
    places += [folder / "settings.json" for folder in list(checkpoint.expanduser().absolute().parents)[:_FOLDERS_UP]]
    for place in places:
        if place.is_file():
            content = read_json(place)
            # a shipped checkpoint names all runs that made it, the last one last
            runs = content.get("runs") if isinstance(content, Mapping) else None
            entry = runs[-1] if isinstance(runs, list) and runs else content
            settings = entry.get("settings") if isinstance(entry, Mapping) else None
            beside = place == places[0]
            # an inference or an evaluation leaves its settings in its folder as well
            if isinstance(settings, Mapping) and (beside or "epochs" in settings):
                if beside:
                    _check_hash(checkpoint, place, content)
                # the evaluation of weights that ship was made as they are meant to be used
                evaluation = content.get("evaluation") if entry is not content else None
                return {**entry, "settings": {**settings, **_chosen(evaluation)}}
    return None


def _chosen(said: Any) -> dict[str, Any]:
    return {name: said[name] for name in OF_PREDICTIONS if name in said} if isinstance(said, Mapping) else {}


def _check_hash(checkpoint: Path, record: Path, content: Any) -> None:
    stated = content.get("sha256") if isinstance(content, Mapping) else None
    if stated is not None and checkpoint.is_file() and (found := sha256_of(checkpoint)) != stated:
        raise RefusedStart(
            f"'{record}' is not the record of '{checkpoint}': it names SHA-256 {stated}, but that of the weights is "
            f"{found}. Replace it with the record of their own training, models/model.json of its output folder."
        )


def portable_settings(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training that say something on another machine: without files, folders and devices of this one.

    Args:
        settings: of the training.
        config: of its bundle.
    """
    table = settings_for(config)

    def is_place(name: str) -> bool:
        if name.endswith(_PLACES) or name in _OF_MACHINE:
            return True
        if name in table:
            return table[name].kind.is_path
        return any("/" in text or "\\" in text for text in strings(settings[name]))

    return {name: value for name, value in settings.items() if not is_place(name)}


def record_to_ship(
    parser: ConfigParser, declared: Mapping[str, Any], recorded: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Settings of a training for whoever gets its weights: its record, and all that an inference reads of one.

    Args:
        parser: of the bundle's inference, with the checkpoint and what is given.
        declared: content of its configuration file.
        recorded: the record of the training, which may be from before some settings; None for none.
    """
    read = {name: parser.get_parsed_content(name) for name, value in declared.items() if reads_record(value)}
    return {**portable_settings(recorded or {}, declared), **read}


def settings_read(config: Mapping[str, Any], record: str = "trained") -> set[str]:
    """Settings of a checkpoint's record that a configuration reads.

    Args:
        config: its content.
        record: under which name; "trained" is that of the checkpoint in use, "taught" that of the teacher's, "started"
            that of the weights that a student starts from.
    """
    return {name for text in strings(config) for source, name in _READS.findall(text) if source == record}


def reads_record(value: Any) -> bool:
    """Whether a configuration takes a setting from the record of the checkpoint that is used."""
    return isinstance(value, str) and (found := _READS.search(value)) is not None and found[1] == "trained"


def told_by_teacher(config: Mapping[str, Any]) -> set[str]:
    """Settings that a configuration takes from the record of the teacher's checkpoint, where they are not given.

    Args:
        config: content of the bundle's ``train.json``.
    """
    reading = {name: _READS.search(value) for name, value in config.items() if isinstance(value, str)}
    return {name for name, found in reading.items() if found and found[1] == "taught"}


def check_trained(parser: ConfigParser, declared: Mapping[str, Iterable[Any]], option: str = "--") -> None:
    """Refuse given settings that contradict the record of the checkpoint that they are given for.

    How predictions are made of the network's outputs is free; where the record says otherwise, the log tells.

    Args:
        parser: of the bundle.
        declared: setting -> what the configuration files say of it, such as ``$@trained['image_size']``.
        option: what stands before a setting's name where it is given.

    Raises:
        WrongSettingError: names each with both values and the checkpoint.
        RefusedStart: the checkpoint has no record, and settings that it would tell, and that the chosen networks read,
            are not given; names them.
    """
    config = parser.get()
    table = settings_for(config)
    wrong, not_given = [], []
    for name, values in declared.items():
        # files beside it may declare what a training itself does not follow
        followed = _follows(name, values, declared, table) if "trained" in config else ""
        if followed and not is_code(config.get(name)):
            expected = parser.get_parsed_content(followed)
            if _same(name, config[name], table) != _same(name, expected, table):
                wrong.append(
                    f"{option}{name} is {config[name]!r}, but {followed} is {expected!r}, and {name} follows it."
                )
        reading = {str(text): found[1] for text in values if (found := _READS.search(str(text)))}
        source = next(
            (record for record in ("trained", "taught") if record in config and record in reading.values()), None
        )
        if source is None or name not in table or name not in config:
            continue
        given = config.get(name)
        record: Trained = parser.get_parsed_content(source)
        if name in OF_PREDICTIONS:
            chosen = record.get(name)
            if str(given) not in reading and not is_code(given) and chosen not in (None, given):
                logger.info(
                    f"{option}{name} is {given!r}, as given; the record of '{record.checkpoint}' says {chosen!r}."
                )
            continue
        if str(given) in reading:
            # what a network has none of unless it was requested need not be given
            needed = source == "trained" and record.settings is None and _WITHOUT not in str(given)
            not_given += [name] if needed else []
        elif not is_code(given):
            recorded = record.get(name, given)
            if _same(name, given, table) != _same(name, recorded, table):
                wrong.append(
                    f"{option}{name} is {in_short(given)}, but '{record.checkpoint}' was trained with "
                    f"{in_short(recorded)}."
                )
    if wrong:
        raise WrongSettingError(" ".join(wrong) + " Leave them out: they are taken from the record of the training.")
    _tell_of_components(parser, option)
    needless = unread_settings(parser)
    not_given = [name for name in not_given if name not in needless]
    trained = parser.get_parsed_content("trained") if not_given else None
    # a checkpoint that is not there is told of where it is looked for
    if trained is not None and Path(str(trained.checkpoint)).is_file():
        trained.missing(not_given, option)


def _follows(name: str, values: Iterable[Any], declared: Mapping[str, Iterable[Any]], table: Container[str]) -> str:
    """The setting told by the checkpoint's record that another one only repeats, such as the student's modalities."""
    for text in values:
        other = str(text)[1:]
        if (
            str(text) == f"@{other}"
            and name in table
            and any(_READS.search(str(one)) for one in declared.get(other, ()))
        ):
            return other
    return ""


def _tell_of_components(parser: ConfigParser, option: str) -> None:
    """Warn of entries of components that the training was given and that here are others: nothing takes them along."""
    config = parser.get()
    checkpoint = parser.get_parsed_content("trained").checkpoint if "trained" in config else None
    if not checkpoint or is_deployed(Path(checkpoint)):
        return
    if others := other_components(parser, Path(checkpoint)):
        listed = ", ".join(f"{option}{name} {json.dumps(content)}" for name, content in others.items())
        logger.warning(
            f"'{checkpoint}' was trained with entries of components that differ from those of its bundle: {listed}. "
            "They are not taken from the record; give those that matter here, such as those of the network and the "
            "preprocessing."
        )


def other_components(parser: ConfigParser, checkpoint: Path) -> dict[str, Any]:
    """Id -> content, of the entries of components that a training was given and that a configuration has otherwise.

    Those that only a training reads are left out.
    """
    recorded = (recorded_entry(checkpoint) or {}).get("components", {})
    return {
        name: content
        for name, content in (recorded.items() if isinstance(recorded, Mapping) else ())
        if name.split("#")[0] not in _OF_TRAINING_ALONE
        and json.loads(json.dumps(parser.get(name), default=str)) != content
    }


def _same(name: str, value: Any, table: Mapping[str, Any]) -> Any:
    return checked(name, value, table[name])
