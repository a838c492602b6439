"""The experiment on CIFAR-100 at the paper's scale: UNSIR in proportion to a class's 500 images."""

import unsir_bench
from unsir_bench.unlearning.unsir import Unsir


def test_a_class_has_a_tenth_of_the_noise_samples_that_one_of_cifar10_has() -> None:
    """Published: 256 images x 20 copies beside the 5,000 images of a class; here a class has 500."""
    config = unsir_bench.compose([
        "experiment=cifar100", "scale=paper", "dataset=cifar100_png", "model=resnet18_pretrained", "train=pretrained_5",
        "metrics=standard", "method=unsir",
    ])  # fmt: skip
    assert isinstance(config.method, Unsir)
    noise = config.method.noise
    assert (noise.batch_size, noise.batch_size * noise.copies, config.method.retain_share) == (32, 512, 0.2)
    assert config.method.impair.batch_size == config.method.repair.batch_size == 256
    assert (config.dataset.image_size, config.train.epochs, config.model.backbone_lr_scale) == (64, 5, 0.1)
