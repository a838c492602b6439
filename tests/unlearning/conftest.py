"""What tests of UNSIR share: a network whose answers depend on the image, and its noise before any step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.unsir import NoiseConfig, learn_noise

SHAPE = (1, 8, 8)


@pytest.fixture
def model() -> nn.Module:
    """A network in eval mode whose logits depend on the image: its running statistics have settled."""
    network = AllCNNConfig(width=4).initial(SHAPE, 10, seed=0).train()
    draws = torch.Generator().manual_seed(1)
    for _ in range(30):
        network(torch.randn((32, *SHAPE), generator=draws))
    with torch.no_grad():
        network.get_submodule("head").weight.mul_(10)
    return network.eval()


def initial(model: nn.Module, config: NoiseConfig, context: RunContext) -> Tensor:
    return learn_noise(model, NoiseConfig(batch_size=config.batch_size, init=config.init, steps=0), context)
