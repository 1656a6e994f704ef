"""How the slices of a training look, as a distribution, and how far from it another slice is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from ckdmed.counted import counted

__all__ = ["FEWEST_PATIENTS", "FEWEST_SLICES", "Appearance", "AppearanceError"]

_GRID = 61
_LEVELS = np.linspace(0.0025, 0.9975, _GRID)
# how far out of the training's range a single feature is told apart; beyond it is far
_FARTHEST = 20.0
_SHRINKAGE = 0.05
_FOLDS = 5
#: A distribution is fitted to no fewer.
FEWEST_SLICES, FEWEST_PATIENTS = 40, 2 * _FOLDS
# Of the training's own patients, each judged by a distribution without them.
SLICE_QUANTILE = 0.985
VOLUME_QUANTILE = 0.97


class AppearanceError(ValueError):
    """Too few slices or patients for a distribution."""


@dataclass(frozen=True)
class Appearance:
    """The distribution of slices' features: each made normal by its quantiles, together a Gaussian.

    The distance of a slice is the squared Mahalanobis distance of its normal features. It is robust in that a feature
    counts by its rank among the training's, so that no outlier of the training widens it.

    Args:
        names: of the features.
        quantiles: (_GRID, F), of each feature at the same levels.
        mean: (F,), of the normal features.
        inverse: (F, F), of their shrunk covariance.
        slice_threshold: distance above which a slice is flagged.
        volume_threshold: the same of the median of a volume's slices.
        slices, patients: that it was fitted to.
    """

    names: tuple[str, ...]
    quantiles: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray
    slice_threshold: float
    volume_threshold: float
    slices: int
    patients: int

    @classmethod
    def fit(cls, features: np.ndarray, groups: Sequence[str], names: Sequence[str]) -> Appearance:
        """Fit to the slices of a training.

        The thresholds are quantiles of the distances that the patients have when they are left out: in turn a fifth of
        them is judged by what is fitted to the others. That of slices leaves 1.5 % of the slices flagged, that of
        volumes 3 % of the patients.

        Args:
            features: (N, F).
            groups: patient of each slice.
            names: of the features.

        Raises:
            AppearanceError: fewer than 40 slices, or than 10 patients.
        """
        people = np.unique(np.asarray(groups, dtype=str))
        if len(features) < FEWEST_SLICES or len(people) < FEWEST_PATIENTS:
            raise AppearanceError(
                f"{counted(len(features), 'slice')} of {counted(len(people), 'patient')}; describing how inputs look "
                f"takes at least {FEWEST_SLICES} slices of {FEWEST_PATIENTS} patients."
            )
        shuffled = np.random.default_rng(0).permutation(people)
        fold_of = {person: number % _FOLDS for number, person in enumerate(shuffled)}
        folds = np.array([fold_of[str(group)] for group in groups])
        distances = np.empty(len(features))
        for number in range(_FOLDS):
            out = folds == number
            distances[out] = _Gaussian.fit(features[~out]).distance(features[out])
        of_people = [float(np.median(distances[np.asarray(groups, dtype=str) == person])) for person in people]
        whole = _Gaussian.fit(features)
        return cls(
            tuple(names),
            whole.quantiles,
            whole.mean,
            whole.inverse,
            float(np.quantile(distances, SLICE_QUANTILE)),
            float(np.quantile(of_people, VOLUME_QUANTILE)),
            len(features),
            len(people),
        )

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Distances (N,) of features (N, F)."""
        return _Gaussian(self.quantiles, self.mean, self.inverse).distance(features)

    def strangest(self, features: np.ndarray, count: int = 3) -> list[tuple[str, float]]:
        """The features that lie farthest out: name, and by how many standard deviations, above or below."""
        normal = np.median(_normal(features, self.quantiles), axis=0) - self.mean
        order = np.argsort(-np.abs(normal))[:count]
        return [(self.names[index], float(normal[index])) for index in order]

    def to_json(self) -> dict[str, Any]:
        """As plain values, to six digits."""
        return {
            "features": list(self.names),
            "quantiles": _rounded(self.quantiles),
            "mean": _rounded(self.mean),
            "inverse_covariance": _rounded(self.inverse),
            "slice_threshold": self.slice_threshold,
            "volume_threshold": self.volume_threshold,
            "slices": self.slices,
            "patients": self.patients,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Appearance:
        """What `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        names = tuple(str(name) for name in value["features"])
        quantiles, mean, inverse = (
            np.array(value[key], dtype=np.float64) for key in ("quantiles", "mean", "inverse_covariance")
        )
        count = len(names)
        if quantiles.shape != (_GRID, count) or mean.shape != (count,) or inverse.shape != (count, count):
            raise ValueError(f"its arrays have the shapes {quantiles.shape}, {mean.shape}, {inverse.shape}")
        if not all(np.isfinite(part).all() for part in (quantiles, mean, inverse)):
            raise ValueError("its arrays hold NaN or infinite values")
        return cls(
            names,
            quantiles,
            mean,
            inverse,
            float(value["slice_threshold"]),
            float(value["volume_threshold"]),
            int(value["slices"]),
            int(value["patients"]),
        )


@dataclass(frozen=True)
class _Gaussian:
    quantiles: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray) -> _Gaussian:
        quantiles = np.quantile(features, _LEVELS, axis=0)
        normal = _normal(features, quantiles)
        count = features.shape[1]
        shrinkage = max(_SHRINKAGE, count / (count + len(features)))
        covariance = np.cov(normal.T)
        scale = np.trace(covariance) / count
        shrunk = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(count)
        return cls(quantiles, normal.mean(axis=0), np.linalg.inv(shrunk))

    def distance(self, features: np.ndarray) -> np.ndarray:
        apart = _normal(features, self.quantiles) - self.mean
        return np.asarray(np.einsum("ij,jk,ik->i", apart, self.inverse, apart))


def _normal(features: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Each feature as its standard normal score among the quantiles; beyond them in a straight line."""
    scores = ndtri(_LEVELS)
    tail = 5 * _GRID // 100
    normal = np.empty(features.shape)
    for column in range(features.shape[1]):
        grid, values = quantiles[:, column], features[:, column]
        # the slope between the 5th and the 95th percentile goes on beyond the training's range
        unit = max((grid[-1 - tail] - grid[tail]) / (scores[-1 - tail] - scores[tail]), 1e-9)
        inside = np.interp(values, grid, scores)
        beyond = np.where(values > grid[-1], (values - grid[-1]) / unit, np.minimum(values - grid[0], 0) / unit)
        normal[:, column] = np.clip(inside + beyond, -_FARTHEST, _FARTHEST)
    return normal


def _rounded(values: np.ndarray) -> Any:
    return [_rounded(row) for row in values] if values.ndim > 1 else [float(f"{value:.6g}") for value in values]
