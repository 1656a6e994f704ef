"""A bundle as one of several teachers, each of which sees its own sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckdmed.engines.teachers.group import TeacherEnsemble, teacher_ensemble
from ckdmed.labels import REGIONS
from ckdmed.networks.no_teacher import NoTeacher
from ckdmed.zoo_teacher.bundle_layout import open_bundle
from ckdmed.zoo_teacher.channel_names import sequences
from ckdmed.zoo_teacher.errors import TeacherBundleError
from ckdmed.zoo_teacher.teacher import zoo_teacher

__all__ = ["teacher_ensemble_of"]


def teacher_ensemble_of(
    bundle: str | None = None,
    trusted: bool = False,
    teachers: Sequence[Sequence[str]] = (),
    size: Sequence[int] = (),
    taps: Mapping[str, str] | None = None,
    scaling: str = "zscore",
    clahe: bool | str = False,
    augmentation: str = "flips",
    mode: str = "frozen",
    checkpoints: Mapping[str, str] | None = None,
    regions: Sequence[str] = REGIONS,
    needed: bool = True,
    *,
    views: Mapping[str, Sequence[int]],
    **settings: Any,
) -> TeacherEnsemble:
    """Teachers of several views; a bundle's network is that of the view of its sequences, the others stay.

    Args:
        bundle, trusted, size, taps, scaling, clahe, augmentation, regions: see
            :func:`~ckdmed.zoo_teacher.zoo_teacher`; no bundle is None.
        teachers: sequences of each teacher, in the order of ``views``.
        mode: of the teachers; a bundle's network never learns.
        checkpoints: of teachers that exist.
        needed: whether anything learns from it; :class:`~ckdmed.networks.no_teacher.NoTeacher` takes its place else.
        views, settings: see :func:`~ckdmed.engines.teacher_ensemble`.

    Raises:
        TeacherBundleError: a bundle whose sequences are those of no teacher, or of one with a checkpoint; teachers that
            learn; several slices as channels; as ``zoo_teacher`` and ``teacher_ensemble``.
    """
    if not needed:
        return TeacherEnsemble({name: NoTeacher(settings["out_channels"]) for name in views}, views)
    ensemble = teacher_ensemble(views, **settings)
    if not bundle:
        return ensemble
    if mode == "online":
        raise TeacherBundleError(
            "a bundle's network is trained and never changes: give --teacher_mode frozen or fusion."
        )
    found = sequences(open_bundle(bundle, trusted).channel_names("inputs", "image"))
    name, seen = next(
        ((name, own) for name, own in zip(views, teachers, strict=True) if sorted(own) == sorted(map(str, found))),
        (None, ()),
    )
    if name is None:
        listed = ", ".join(map(str, found))
        raise TeacherBundleError(
            f"the network of '{bundle}' sees {listed}, and none of the teachers {[list(own) for own in teachers]} sees "
            "exactly these: add them to --teachers as a list of its own."
        )
    if name in (checkpoints or {}):
        raise TeacherBundleError(
            f"--teacher_bundle is the teacher {name}, but --teacher_checkpoints names another: drop one."
        )
    if len(views[name]) != len(seen):
        raise TeacherBundleError(
            "a teacher from a bundle sees one slice or volume of each sequence: give --neighbours 0."
        )
    ensemble.networks[name] = zoo_teacher(bundle, seen, size, trusted, taps, regions, scaling, clahe, augmentation)
    return ensemble
