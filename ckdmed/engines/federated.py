"""A student's weights as MONAI's federated learning exchanges them: under the names of the plain network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.fl.utils.exchange_object import ExchangeObject
from monai.fl.utils.filters import Filter

__all__ = ["WeightsToStudent", "WeightsOfStudent"]

# a DistilledStudent holds the plain network under this name, beside projections that stay with the client
_PREFIX = "student."


class WeightsToStudent(Filter):
    """For ``pre_filters``: let weights under the plain network's names reach the trainer's network, too.

    A bundle's trainer has a :class:`~ckdmed.engines.DistilledStudent` and its evaluator the plain network; MONAI's
    ``MonaiAlgo`` takes of the weights those whose names a network has.
    """

    def __call__(self, data: ExchangeObject, extra: dict | None = None) -> ExchangeObject:
        """A copy with every weight under both names."""
        weights = data.weights
        return data if weights is None else _with(data, {**weights, **{_PREFIX + k: v for k, v in weights.items()}})


class WeightsOfStudent(Filter):
    """For ``post_weight_filters``: send the plain network's weights alone, under its own names.

    What a server then holds is the ``state_dict`` of ``models/model.pt``. Weights that are under its names already,
    such as those of a file, pass as they are.
    """

    def __call__(self, data: ExchangeObject, extra: dict | None = None) -> ExchangeObject:
        """A copy with the student's weights."""
        weights = data.weights
        if weights is None or not any(name.startswith(_PREFIX) for name in weights):
            return data
        return _with(data, {k.removeprefix(_PREFIX): v for k, v in weights.items() if k.startswith(_PREFIX)})


def _with(data: ExchangeObject, weights: Mapping[str, Any]) -> ExchangeObject:
    """The object with other weights; a server may send one object to many clients."""
    copied = ExchangeObject(
        weights=dict(weights),
        optim=data.optim,
        metrics=data.metrics,
        weight_type=data.weight_type,
        statistics=data.statistics,
    )
    copied.update(data)
    return copied
