"""torchvision's ResNet18 with fewer filters; a module of its own, since its base class takes seconds to import."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models import resnet

from unsir_bench.models.torchvision_models import stem_convolution


class SlimResNet18(resnet.ResNet):  # type: ignore[misc]
    """torchvision's ResNet18 with every stage's filters scaled by ``width / 64``."""

    slim_width: int

    def __init__(self, width: int, num_classes: int):
        # torchvision fixes the stages at 64 to 512 filters and builds them while it is constructed.
        object.__setattr__(self, "slim_width", width)
        super().__init__(resnet.BasicBlock, [2, 2, 2, 2], num_classes=num_classes)
        self.conv1 = stem_convolution(3, width, kernel=7, stride=2)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(8 * width, num_classes)

    def _make_layer(self, block: Any, planes: int, blocks: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        if planes == 64:
            self.inplanes = self.slim_width
        stage: nn.Sequential = super()._make_layer(block, planes * self.slim_width // 64, blocks, *args, **kwargs)
        return stage
