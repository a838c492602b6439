"""DP-SGD (M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016), by opacus (extra ``private``).

Each sample's gradient is clipped, Gaussian noise is added to their sum, and each step draws its samples by Poisson
sampling, as the accountant assumes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.optim import Optimizer

from unsir_bench.config_fields import number
from unsir_bench.errors import ConfigError

if TYPE_CHECKING:
    from unsir_bench.config import Config
    from unsir_bench.training.recipe import Recipe


@dataclass
class Privacy:
    """How a training is made differentially private.

    Attributes:
        noise_multiplier: standard deviation of the noise on the sum of the clipped gradients, over ``max_grad_norm``.
        max_grad_norm: L2 norm that each sample's gradient is clipped to.
        sample_rate: probability with which a sample is in a step's batch. It does not depend on how many samples there
            are, so that an original and its retrained model differ by their data alone, as the definition asks.
    """

    noise_multiplier: float = number(1.0, above=0)
    max_grad_norm: float = number(1.0, above=0)
    sample_rate: float = number(0.05, above=0, at_most=1)

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see each sample once on average."""
        return steps_per_epoch(self.sample_rate)


def steps_per_epoch(sample_rate: float) -> int:
    """Steps of Poisson sampling that see each sample once on average."""
    return round(1 / sample_rate)


def missing_package() -> str | None:
    """A line that names the extra to install; None if opacus is here."""
    return None if find_spec("opacus") else "needs the package opacus: pip install 'unsir-bench[private]'"


def private_training_problems(config: Config) -> Iterator[str]:
    """A line for each setting of a run that a private training does not go with."""
    yield from _claims_of_privacy(config)
    if config.train.privacy is None:
        return
    if config.model.frozen_backbone:
        yield f"model={config.model.name}: its head is solved on all samples; train.privacy needs another model"
    elif config.model.norm != "group":
        yield f"model.norm={config.model.norm}: set it to group; batch statistics mix samples, against train.privacy"
    plain = {"devices": 1, "precision": "32-true", "compile": False}
    for key, value in plain.items():
        if (own := getattr(config.hardware, key)) != value:
            yield f"hardware.{key}={own}: must be {value} beside train.privacy"


def check_divisor(recipe: Recipe, samples: int) -> None:
    """Refuse a private training whose summed gradients would be divided by another number than a batch holds.

    Args:
        recipe: of the original's training.
        samples: of the training split.

    Raises:
        ConfigError: ``batch_size`` is not within a factor of two of ``sample_rate`` times ``samples``.
    """
    if recipe.privacy is None:
        return
    rate, expected = recipe.privacy.sample_rate, recipe.privacy.sample_rate * samples
    if not expected / 2 <= recipe.batch_size <= expected * 2:
        raise ConfigError([
            f"train.batch_size={recipe.batch_size}: divides the sum of train.privacy.sample_rate={rate} x {samples} "
            f"training images, {expected / recipe.batch_size:.2g} times as many; set "
            f"train.batch_size={max(1, round(expected))}, or change train.privacy.sample_rate"
        ])  # fmt: skip


def _claims_of_privacy(config: Config) -> Iterator[str]:
    """A method that states what a private training promises can only state it of the run's own training."""
    method, privacy = config.method, config.train.privacy
    trained = {name: getattr(privacy, name, None) for name in ("noise_multiplier", "sample_rate")}
    if not all(hasattr(method, name) for name in trained):
        return
    for name, value in {**trained, "epochs": config.train.epochs}.items():
        if (own := getattr(method, name)) != value:
            where = "train" if name == "epochs" else "train.privacy"
            yield f"method.{name}={own}: is that of the original's training, {value}; set {where}.{name} instead"


@contextmanager
def private_steps(
    model: nn.Module, optimizer: Optimizer, privacy: Privacy | None, batch_size: int
) -> Iterator[Optimizer]:
    """The optimiser with steps that clip the gradients of ``set_sample_gradients`` and add noise to their sum.

    The noise comes from torch's global generator, which is seeded anew for each epoch: a benchmark repeats its runs,
    whereas the promise to a person whose sample it is needs noise that nobody can draw again.

    Args:
        model: whose parameters the optimiser changes.
        optimizer: takes the steps.
        privacy: None: the optimiser stays as it is.
        batch_size: what the noisy sum is divided by.
    """
    if privacy is None:
        yield optimizer
        return
    from opacus.optimizers import DPOptimizer

    try:
        yield DPOptimizer(
            optimizer,
            noise_multiplier=privacy.noise_multiplier,
            max_grad_norm=privacy.max_grad_norm,
            expected_batch_size=batch_size,
        )
    finally:
        for parameter in model.parameters():  # what opacus keeps at each parameter
            parameter.__dict__.clear()


def set_sample_gradients(model: nn.Module, images: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Give each parameter its gradient of every sample's cross-entropy, as ``grad_sample``, for ``private_steps``.

    Args:
        model: no sample's logits may depend on another sample.
        images: (samples, channels, height, width).
        targets: class indices (samples,).
        label_smoothing: fraction of each label spread over all classes.

    Returns:
        The mean loss; 0 without a sample.
    """
    parameters = dict(model.named_parameters())
    if len(targets) == 0:  # Poisson sampling may draw none, and the step is of noise alone
        for parameter in parameters.values():
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
        return images.new_zeros(())

    def loss(weights: dict[str, Tensor], image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logits = functional_call(model, weights, (image[None],))
        value = F.cross_entropy(logits, target[None], label_smoothing=label_smoothing)
        return value, value.detach()

    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    of_each = vmap(grad(loss, has_aux=True), in_dims=(None, 0, 0), randomness="different")
    gradients, losses = of_each(weights, images, targets)
    for name, parameter in parameters.items():
        parameter.grad_sample = gradients[name]  # type: ignore[attr-defined]
    return losses.mean()  # type: ignore[no-any-return]


def spent_epsilon(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """ε of (ε, δ)-differential privacy for one sample, by opacus's Rényi accountant.

    Raises:
        ImportError: opacus is not installed.
    """
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    return float(accountant.get_epsilon(delta))


def for_group(epsilon: float, delta: float, size: int) -> tuple[float, float]:
    """ε and δ for ``size`` samples at once: size · ε, and min(1, δ Σ e^{iε}) over i below size.

    Each sample multiplies a probability by e^ε at most and adds δ (Dwork and Roth, "The Algorithmic Foundations of
    Differential Privacy", 2014, section 2.3).
    """
    # log Σ e^{iε} = (size - 1) ε + log Σ e^{-iε}, which does not overflow.
    tail = math.fsum(math.exp(-index * epsilon) for index in range(size))
    logarithm = math.log(delta) + (size - 1) * epsilon + math.log(tail)
    return size * epsilon, math.exp(min(0.0, logarithm))
