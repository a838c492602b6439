"""AllCNN, and the doors to torchvision and timm."""

from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.models.timm_models import TimmModel
from unsir_bench.models.torchvision_models import MobileNetV2, ResNet18

MODELS: list[type[ModelConfig]] = [AllCNNConfig, ResNet18, MobileNetV2, TimmModel]
