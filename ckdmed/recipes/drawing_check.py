"""What the drawing of slices, patches or volumes cannot do together, refused before anything is trained."""

from __future__ import annotations

__all__ = ["check_drawing"]


def check_drawing(
    spatial_dims: int,
    recipe: str = "adamw",
    tumour_share: float = 0.5,
    neighbours: int = 0,
    labelled_per_batch: float | None = None,
    teacher_recipe: str | None = None,
    teacher_tumour_share: float = 0.5,
) -> None:
    """Refuse settings that a training's way to draw its samples has no use for.

    Args:
        spatial_dims: 2 for slices, 3 for volumes.
        recipe, tumour_share: of the training, or of its student, see :func:`~ckdmed.bundle.brats_sampler`.
        neighbours: slices on both sides as further channels.
        labelled_per_batch: share of drawn slices with labels, or None.
        teacher_recipe, teacher_tumour_share: of a teacher's training; None for none.

    Raises:
        ValueError: ``neighbours`` or ``labelled_per_batch`` with volumes, each of which is seen once an epoch;
            ``labelled_per_batch`` with the recipe nnunet; no tumour at all with that recipe.
    """
    if spatial_dims == 3 and neighbours:
        raise ValueError(f"neighbours is {neighbours}, but volumes (spatial_dims 3) have no slices beside them.")
    if labelled_per_batch is not None and spatial_dims == 3:
        raise ValueError(
            f"labelled_per_batch is {labelled_per_batch}, but each volume (spatial_dims 3) is seen once per epoch, "
            "with or without a label: leave it null."
        )
    if labelled_per_batch is not None and recipe == "nnunet":
        raise ValueError(
            f"labelled_per_batch is {labelled_per_batch}, but the recipe nnunet draws its other samples uniformly "
            "from all slices: leave it null, or use the recipe adamw."
        )
    shares = {"tumour_share": (recipe, tumour_share), "teacher_tumour_share": (teacher_recipe, teacher_tumour_share)}
    for name, (its_recipe, share) in shares.items():
        if its_recipe == "nnunet" and share <= 0:
            raise ValueError(
                f"{name} is {share}, but the recipe nnunet puts tumour into every batch: give a share above 0, or use "
                "the recipe adamw."
            )
