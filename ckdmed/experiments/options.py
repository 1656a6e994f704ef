"""What an experiment's command line asks for: its runs, and the settings that all of them share."""

from __future__ import annotations

import argparse
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ckdmed.experiments.given_settings import check_bundle_settings, parse_settings, profile_settings
from ckdmed.experiments.plan import Run
from ckdmed.experiments.report import Report

__all__ = ["ExperimentOptions"]


class ExperimentOptions(Report):
    """The options of an experiment. A subclass declares them and says what they mean."""

    #: of the command
    name: ClassVar[str]
    #: the bundle whose settings are given
    bundle: ClassVar[str]
    #: what the profile "compact" sets beside the sizes that the bundle's table has for it
    compact: ClassVar[Mapping[str, Any]]
    #: the profile "tiny", for tests; its names are those of the others as well
    tiny: ClassVar[Mapping[str, Any]]
    #: settings that the runs make themselves
    made_settings: ClassVar[tuple[str, ...]] = (
        *("bundle_root", "dataset_dir", "output_dir", "cache_dir", "resume", "seed"),
        # one folder of weights for all would let each run go on with those of the one before it
        "ckpt_dir",
    )

    @classmethod
    @abstractmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options that this experiment has beside those of all."""

    @classmethod
    @abstractmethod
    def plan(cls, args: argparse.Namespace) -> list[Run]:
        """The runs that the options ask for, in their order; no data are read, and nothing is written.

        Raises:
            ValueError: they ask for what is impossible.
        """

    @classmethod
    @abstractmethod
    def phantoms(cls, folder: Path, args: argparse.Namespace) -> Path:
        """A folder of phantoms with its datalist, made once."""

    @classmethod
    def profile_settings(cls, profile: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The sizes of a profile: "compact", "tiny", or "full" for the bundle's own with a data folder.

        Args:
            profile: its name.
            given: settings that the user sets; see :func:`~ckdmed.experiments.given_settings.profile_settings`.

        Raises:
            ValueError: an unknown profile.
        """
        return profile_settings(profile, cls.bundle, cls.tiny, cls.compact, given)

    @classmethod
    def option_settings(cls, args: argparse.Namespace) -> dict[str, Any]:
        """Settings of all runs that options of this experiment give."""
        return {}

    @classmethod
    def given_settings(cls, args: argparse.Namespace) -> dict[str, Any]:
        """The settings of all runs: profile, options, then those of ``--set``; checked before anything is trained.

        Raises:
            ValueError: a setting that the bundle lacks or the runs make themselves, or a value that it cannot have.
        """
        given = parse_settings(args.set)
        settings = {**cls.profile_settings(args.profile, given), **cls.option_settings(args), **given}
        cls.check_settings(settings)
        check_bundle_settings(cls.bundle, settings, args.bundles)
        return settings

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise ValueError where the runs make some of the settings themselves."""
        if taken := [key for key in cls.made_settings if key in settings]:
            raise ValueError(f"the command sets {', '.join(taken)} itself; use its own arguments.")

    @classmethod
    def check_variant(cls, name: str, settings: Mapping[str, Any], bundles: Path | None = None) -> None:
        """Check the settings of an arm of one's own, whose method is its own too.

        Args:
            name: of the arm.
            settings: that set it apart from the others.
            bundles: folder of the bundles, see ``bundle_folder``.

        Raises:
            ValueError: a setting that the bundle lacks or the runs make themselves, or a value that it cannot have.
        """
        if taken := [key for key in cls.made_settings if key in settings and key != "method"]:
            raise ValueError(
                f"--variant {name}: the command sets {', '.join(taken)} itself, for all arms alike; leave it out."
            )
        check_bundle_settings(cls.bundle, settings, bundles)
