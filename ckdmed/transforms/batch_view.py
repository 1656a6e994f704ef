"""Another view of a whole batch: one random affine map and one change of intensity for each of its images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

__all__ = ["BatchView", "DrawnView", "batch_view"]


class _Strength(NamedTuple):
    affine: float  # share of the images that are moved
    rotate: float  # radians
    zoom: float  # logarithm of the largest factor
    shift: float  # share of the image size
    intensity: float  # probability of each intensity change
    noise: float  # largest standard deviation
    brightness: float
    gamma: float  # logarithm of the largest exponent
    offset: float = 0.0  # largest shift of all intensities
    hidden: float = 0.0  # probability that patches are hidden


VIEWS = {
    "report": _Strength(0.7, 0.26, 0.1, 0.06, 0.3, 0.05, 0.2, 0.4),
    "strong": _Strength(0.9, 0.52, 0.22, 0.1, 0.5, 0.1, 0.4, 0.7),
    "affine": _Strength(1.0, 0.3, 0.2, 0.05, 1.0, 0.0, 0.2, 0.0, 0.2),
    "masked": _Strength(0.0, 0.0, 0.0, 0.0, 0.5, 0.1, 0.4, 0.7, 0.0, 0.5),
}
# of an image whose patches are hidden: patches along an axis, and the share of them that is
_PATCHES, _HIDDEN_SHARE = 8, 0.25


class DrawnView:
    """One drawing of a :class:`BatchView`: the same map for everything that lies on the images' grid.

    Args:
        theta: (B, D, D + 1), normalised output coordinates -> input coordinates, as ``affine_grid`` takes them.
        gain, exponent, noise, offset: (B,), of the images alone.
        hidden: (B, 1, *patches) of the images alone, 1 where a patch is hidden.
    """

    def __init__(
        self,
        theta: torch.Tensor,
        gain: torch.Tensor,
        exponent: torch.Tensor,
        noise: torch.Tensor,
        offset: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
    ) -> None:
        self.theta, self.gain, self.exponent, self.noise, self.offset = (theta, gain, exponent, noise, offset)
        self.hidden = hidden

    def image(self, images: torch.Tensor) -> torch.Tensor:
        """The images moved and changed in brightness, contrast and noise; (B, C, *spatial) as they came."""
        moved = self.warp(images)
        shape = (-1,) + (1,) * (moved.ndim - 1)
        low = moved.flatten(1).amin(1).view(shape)
        span = (moved.flatten(1).amax(1).view(shape) - low).clamp_min(1e-7)
        bent = ((moved - low) / span) ** self.exponent.view(shape) * span + low
        noise = torch.randn(moved.shape, dtype=moved.dtype).to(moved.device)
        changed = bent * self.gain.view(shape) + self.noise.view(shape) * noise
        changed = changed if self.offset is None else changed + self.offset.view(shape)
        if self.hidden is None:
            return changed
        hidden = F.interpolate(self.hidden, size=changed.shape[2:], mode="nearest")
        # what is hidden is the image's darkest value
        return torch.where(hidden > 0, low.to(changed.dtype), changed)

    def warp(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, *spatial) of any resolution, moved with linear interpolation; outside their border repeats."""
        return self._sample(maps, "bilinear", "border")

    def mask(self, masks: torch.Tensor) -> torch.Tensor:
        """Masks or labels, moved by the nearest neighbour; 0 comes in from outside."""
        return self._sample(masks, "nearest", "zeros")

    def label(self, target: torch.Tensor) -> torch.Tensor:
        """Masks (B, C, *spatial), or class indices (B, *spatial), as ``mask``; classes (B,) or (B, C) as they are."""
        spatial = len(self.theta[0])
        if target.ndim == spatial + 2:
            return self.mask(target)
        return self.mask(target[:, None])[:, 0] if target.ndim == spatial + 1 else target

    def _sample(self, maps: torch.Tensor, mode: str, padding: str) -> torch.Tensor:
        theta = self.theta.to(maps.device, torch.float32)
        grid = F.affine_grid(theta, list(maps.shape), align_corners=False)
        moved = F.grid_sample(maps.float(), grid, mode=mode, padding_mode=padding, align_corners=False)
        return moved.to(maps.dtype)


class BatchView:
    """Draws a random view of a loaded batch for the student, while the teacher sees the batch as it is.

    Cached teacher outputs do not exist for images that change in every step. The outputs for the unchanged images can
    be transformed with them instead: the student sees a strongly augmented view with the teacher's outputs for the
    plain one (noisy student). The random numbers are torch's global ones, so that a seeded epoch repeats.

    ========  =====================================================================================
    level     what happens to an image
    ========  =====================================================================================
    report    in 70 % a rotation up to 15 degrees, zoom up to 10 %, shift up to 6 %; each in 30 %: Gaussian noise
              (standard deviation up to 0.05), brightness (times 0.8 to 1.2), contrast (gamma 0.67 to 1.5)
    strong    in 90 % up to 30 degrees, zoom 25 %, shift 10 %; each in 50 %: noise up to 0.1, brightness 0.6 to 1.4,
              gamma 0.5 to 2
    affine    in all a rotation up to 17 degrees, zoom up to 22 %, shift up to 5 %, brightness (times 0.8 to 1.2, plus
              -0.2 to 0.2); no noise and no gamma. Mild enough for trainings of a dozen epochs
    masked    nothing moves; the intensities of strong, and in 50 % a quarter of 8 x 8 patches is hidden, as multi-view
              training of cross-architecture distillation takes it
    ========  =====================================================================================

    Args:
        level: "report", "strong", "affine" or "masked".

    Raises:
        ValueError: unknown level.

    Examples:
        >>> view = BatchView("strong")(images)
        >>> student(view.image(images)), view.warp(teacher(images)), view.label(labels)

    Source: Xie et al. 2020 (arXiv 1911.04252) for the idea; the levels are those of ``segmentation_augmentation``
    without shear and warp.
    """

    def __init__(self, level: str = "report") -> None:
        if level not in VIEWS:
            raise ValueError(f"level must be one of {', '.join(VIEWS)}, got {level!r}.")
        self.level = level

    @property
    def moves(self) -> bool:
        """Whether pixels change their place, rather than their intensities alone."""
        return VIEWS[self.level].affine > 0

    def __call__(self, images: torch.Tensor) -> DrawnView:
        """Draw a view for images (B, C, *spatial) of two or three axes.

        Raises:
            ValueError: images of another number of axes.
        """
        s, count, axes = VIEWS[self.level], len(images), images.ndim - 2
        if axes not in (2, 3):
            raise ValueError(f"images must be (B, C, *spatial) of two or three axes, got shape {tuple(images.shape)}.")
        moved = (torch.rand(count) < s.affine).float()
        # drawn for every image, whether used or not, so that one choice does not shift all later numbers
        angles = _between(count, 1 if axes == 2 else 3, s.rotate) * moved[:, None]
        zoom = torch.exp(-_between(count, 1, s.zoom) * moved[:, None])
        # grid coordinates run over two units
        shift = 2 * _between(count, axes, s.shift) * moved[:, None]
        linear = _rotations(angles) * zoom[:, :, None]
        # affine_grid counts axes from the last; a rotation is one in voxels, not in coordinates scaled to each edge
        size = torch.tensor([float(n) for n in reversed(images.shape[2:])])
        linear = linear * (size[None, None, :] / size[None, :, None])
        theta = torch.cat([linear, shift[:, :, None]], dim=2)
        gain = 1 + _between(count, 1, s.brightness)[:, 0] * (torch.rand(count) < s.intensity)
        exponent = torch.exp(_between(count, 1, s.gamma)[:, 0] * (torch.rand(count) < s.intensity))
        noise = s.noise * torch.rand(count) * (torch.rand(count) < s.intensity)
        # last, so that the numbers of levels without it stay what they are
        offset = _between(count, 1, s.offset)[:, 0] if s.offset else None
        hidden = None
        if s.hidden:
            patches = torch.rand(count, 1, *(_PATCHES,) * axes) < _HIDDEN_SHARE
            chosen = (torch.rand(count) < s.hidden).view(-1, *(1,) * (axes + 1))
            hidden = (patches & chosen).float()
        parts = (theta, gain, exponent, noise, offset, hidden)
        drawn = [None if part is None else part.to(images.device) for part in parts]
        return DrawnView(*drawn)  # type: ignore[arg-type]


def batch_view(level: str | None) -> BatchView | None:
    """:class:`BatchView`, or without a level none."""
    return None if level is None else BatchView(level)


def _between(count: int, columns: int, largest: float) -> torch.Tensor:
    return (2 * torch.rand(count, columns) - 1) * largest


def _rotations(angles: torch.Tensor) -> torch.Tensor:
    """(B, 1) angles -> (B, 2, 2); (B, 3) -> (B, 3, 3), about one axis after the other."""
    if angles.shape[1] == 1:
        return _plane(angles[:, 0], 2, 0, 1)
    turns = [_plane(angles[:, k], 3, (k + 1) % 3, (k + 2) % 3) for k in range(3)]
    return turns[0] @ turns[1] @ turns[2]


def _plane(angle: torch.Tensor, axes: int, first: int, second: int) -> torch.Tensor:
    matrix = torch.eye(axes).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = torch.cos(angle)
    matrix[:, first, second] = -torch.sin(angle)
    matrix[:, second, first] = torch.sin(angle)
    return matrix
