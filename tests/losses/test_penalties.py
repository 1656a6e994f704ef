from __future__ import annotations

import torch
from torch.nn import functional as F

from ckdmed.losses import with_penalties
from ckdmed.networks.fusion import SpatialTransformerFusion


def test_a_network_without_penalties_keeps_its_loss() -> None:
    assert with_penalties(F.mse_loss, torch.nn.Linear(2, 2)) is F.mse_loss


def test_the_penalty_of_a_training_step_is_added_once_and_reaches_the_transform() -> None:
    torch.manual_seed(0)
    network = SpatialTransformerFusion(4, penalty=0.5)
    with torch.no_grad():
        network.theta.bias[2] += 0.2
    loss = with_penalties(lambda output, target: 0 * output.sum(), network)
    x = torch.rand(3, 4, 6, 6)
    total = loss(network(x, x), x)
    torch.testing.assert_close(total, torch.tensor(0.5 * 0.04))
    total.backward()
    assert network.theta.bias.grad is not None
    torch.testing.assert_close(network.theta.bias.grad[2], torch.tensor(0.2))
    assert loss(x, x).item() == 0
    network.eval()
    network(x, x)
    network.train()
    with torch.no_grad():
        network(x, x)
    assert loss(x, x).item() == 0
