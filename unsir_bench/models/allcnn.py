"""The all-convolutional network (Springenberg et al., "Striving for Simplicity", ICLR 2015 workshop, All-CNN-C)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from unsir_bench.config_fields import not_hashed, number
from unsir_bench.models.model import ImageShape, ModelConfig


class AllCNN(nn.Module):
    """All-CNN-C with batch normalisation: nine convolutions, two of them with stride 2, and global average pooling."""

    def __init__(self, channels: int, num_classes: int, width: int = 96):
        """Build the network.

        Args:
            channels: of the images.
            num_classes: of the logits.
            width: filters of the first three convolutions (96 in the paper); the later ones have twice as many.
        """
        super().__init__()
        wide = 2 * width
        self.features = nn.Sequential(
            _convolution(channels, width),
            _convolution(width, width),
            _convolution(width, width, stride=2),
            _convolution(width, wide),
            _convolution(wide, wide),
            _convolution(wide, wide, stride=2),
            _convolution(wide, wide),
            _convolution(wide, wide, kernel=1),
        )
        self.head = nn.Linear(wide, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, channels, height, width).

        The paper's last 1x1 convolution followed by averaging is the same map as averaging followed by a linear layer.
        """
        return self.head(self.features(images).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


@dataclass
class AllCNNConfig(ModelConfig):
    """All-CNN-C; no pretrained weights are published for it."""

    name: str = not_hashed("allcnn")
    width: int = number(96, at_least=1)

    def build(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        return AllCNN(image_shape[0], num_classes, self.width)

    def head(self, model: nn.Module) -> nn.Module:
        return model.get_submodule("head")
