from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

__all__ = ["apply_temperature", "fit_temperature"]

# beyond these a softmax over a few classes is one-hot or uniform to float precision: the fit has no minimum inside
_LOG_LIMIT = math.log(1e3)


def fit_temperature(logits: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor, max_iter: int = 200) -> float:
    """The temperature that calibrates a classifier: it minimises the negative log-likelihood of ``logits / T``.

    One number, so the ranking of the classes and the accuracy stay as they are. Fit it on validation items, never on
    the items that are reported. L-BFGS on log T from T = 1, in float64; T is kept within 0.001 and 1000, which is
    reached only where no minimum exists (all items right, or worse than chance).

    Args:
        logits: (N, C) raw outputs.
        labels: (N,) true classes.
        max_iter: of L-BFGS; one parameter converges in about ten.

    Raises:
        ValueError: when the shapes do not fit, logits are not finite, or a label is out of range.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2.
    """
    z = torch.as_tensor(logits).detach().double().cpu()
    y = torch.as_tensor(labels).detach().long().cpu()
    if z.ndim != 2 or z.shape[1] < 2 or not len(z) or y.shape != (len(z),):
        raise ValueError(
            f"logits must be (N, C) with C >= 2 and labels (N,), got shapes {tuple(z.shape)} and {tuple(y.shape)}"
        )
    if not bool(torch.isfinite(z).all()):
        raise ValueError("logits must be finite")
    if int(y.min()) < 0 or int(y.max()) >= z.shape[1]:
        raise ValueError(f"labels must lie from 0 to {z.shape[1] - 1}, got {int(y.min())} to {int(y.max())}")
    with torch.enable_grad():
        log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([log_t], lr=0.5, max_iter=max_iter, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = functional.cross_entropy(z * torch.exp(-log_t.clamp(-_LOG_LIMIT, _LOG_LIMIT)), y)
            loss.backward()
            return loss

        optimizer.step(closure)
    return float(torch.exp(log_t.detach().clamp(-_LOG_LIMIT, _LOG_LIMIT)))


def apply_temperature(logits: np.ndarray | torch.Tensor, temperature: float) -> np.ndarray:
    """Class probabilities softmax(logits / temperature), (N, C) float64.

    Raises:
        ValueError: when the temperature is not positive and finite.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    return torch.softmax(torch.as_tensor(logits).detach().double().cpu() / temperature, dim=1).numpy()
