"""GKT, gated knowledge transfer (V. S. Chundawat, A. K. Tarun, M. Mandal, M. Kankanhalli, "Zero-Shot Machine
Unlearning", IEEE TIFS 2023, arXiv:2201.05629): no sample is read, by UNSIR's authors.

A fresh network, the student, learns from the original, the teacher, on images that a generator makes of Gaussian noise.
Each of ``train.epochs`` rounds draws new noise, takes one step of the generator along -KL(teacher ‖ student), then
``student_steps`` steps of the student on KL(teacher ‖ student) + β Σ ‖A_t/‖A_t‖ - A_s/‖A_s‖‖², averaged over positions,
A being the mean square over channels of what each activation function puts out (attention transfer, Zagoruyko and
Komodakis 2017). The gate: an image is used only if the teacher gives each forget class at most ``gate``. KL is the mean
over samples and classes. Published: 4,000 rounds of 1 and 10 steps on batches of 256, Adam at 1e-3 for both, gradients
clipped to norm 5, β = 250, gate 0.01. In the authors' notebook the student stays in eval mode, so that its batch
normalisations keep their initial statistics (``batchnorm=eval``). There the student's rate falls with the loss on test
images, which a zero-shot method has not; the generator's is halved every 150 rounds, since its schedule is fed a
constant. Here both are constant. The generator is theirs for three channels, sized for the images. For grey images
theirs grows from 8 to 32 pixels and ends in a convolution of 7x7, which leaves 28; here it is that for three channels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import choice, number
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import Batch
from unsir_bench.errors import NotApplicable
from unsir_bench.models.model import ImageShape
from unsir_bench.training.recipe import no_label_smoothing
from unsir_bench.unlearning.distillation import divergence_from, frozen_copy

NOISE = 128  # dimensions
ATTEMPTS = 100  # draws in a row that the gate may refuse whole
KEPT_EVERY = 50  # rounds between the generators that it can go back to
LARGEST_NORM = 5.0
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU)


@dataclass
class GatedKnowledgeTransfer(UnlearningMethod):
    """Distil the original into a fresh network on generated images that it does not take for a forget class.

    ``train`` is the student's recipe; an epoch of it is a round.
    """

    name: str = "gkt"
    train: Recipe = field(default_factory=lambda: Recipe(name="gkt", lr=1e-3, epochs=4000, clip_norm=LARGEST_NORM))
    student_steps: int = number(10, at_least=1)
    generator_lr: float = number(1e-3, above=0, search=(1e-4, 1e-2))
    attention_weight: float = number(250.0, at_least=0, search=(1.0, 1000.0))
    gate: float = number(0.01, above=0, below=1)
    batchnorm: str = choice("eval", ("eval", "train"))
    requires = frozenset[Access]()
    needs_classes = True
    changes_all_layers = True

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        yield from no_label_smoothing(self.train, f"{key}.train", "a teacher's distribution stands for labels")
        if self.train.augment != Augmentation():
            yield f"{key}.train.augment={self.train.augment}: generated images are not augmented; leave it out"

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        teacher, student = frozen_copy(model), context.random_network("gkt student")

        def set_mode(network: nn.Module, epoch: int) -> None:
            network.train(self.batchnorm == "train")

        with context.clock.phase("transfer"), attention_maps(teacher) as wanted, attention_maps(student) as given:

            def objective(network: Any, images: Tensor, labels: Tensor) -> Tensor:
                wanted.clear()
                given.clear()
                with torch.no_grad():
                    answers = context.forward(teacher, images)
                loss = mean_divergence(answers, network(images))
                apart = [(one - other).square().mean() for one, other in zip(wanted, given, strict=True)]
                return loss + self.attention_weight * torch.stack(apart).sum()

            rounds = GeneratedImages(self, teacher, student, context)
            steps, size = self.student_steps, self.train.batch_size
            batches = EpochBatches(rounds.batches, steps * size, size, lambda epochs: epochs * steps)
            variation = Variation(objective=objective, before_epoch=set_mode)
            fit(student, batches, self.train, context, "transfer", variation=variation)
        return student


class GeneratedImages:
    """The student's batches: each round trains the generator by a step, then gives its images several times."""

    def __init__(
        self, method: GatedKnowledgeTransfer, teacher: nn.Module, student: nn.Module, context: RunContext
    ) -> None:
        self._method, self._teacher, self._student, self._context = method, teacher, student, context
        context.seed_everything("gkt", "generator weights")
        dtype = next(teacher.parameters()).dtype
        self._generator = generator(context.image_shape).to(context.device, dtype)
        self._optimizer = torch.optim.Adam(self._generator.parameters(), lr=method.generator_lr)
        self._draws = context.generator("gkt", "noise")
        self._kept = copy.deepcopy(self._generator.state_dict())
        self._least = 2 if method.batchnorm == "train" else 1  # one image has no batch statistics where a map is 1x1

    def batches(self, number_of_round: int) -> Iterator[Batch]:
        """The batches of one round; their labels mean nothing."""
        context = self._context
        context.seed_everything("gkt", "dropout", number_of_round)
        if number_of_round % KEPT_EVERY == 0:
            self._kept = copy.deepcopy(self._generator.state_dict())
        noise = self._improve()
        with torch.no_grad():
            images = self._gated(self._generator(noise))
        if len(images) < self._least:  # the step has moved them: the next noise may do better
            return
        images = images.contiguous(memory_format=context.layout)
        labels = torch.zeros(len(images), dtype=torch.long, device=context.device)
        for _ in range(self._method.student_steps):
            yield images, labels

    def _improve(self) -> Tensor:
        """Take a step of the generator away from agreement; returns the noise (batch, dimensions) it was taken on."""
        noise, images = self._accepted()
        answers = [self._context.forward(network, images, mixed=False) for network in (self._teacher, self._student)]
        loss = -mean_divergence(*answers)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._student.zero_grad(set_to_none=True)
        nn.utils.clip_grad_norm_(self._generator.parameters(), LARGEST_NORM)
        self._optimizer.step()
        return noise

    def _accepted(self) -> tuple[Tensor, Tensor]:
        """Noise, and those of its images that pass the gate.

        Raises:
            NotApplicable: no image passes, not even with the generator of some rounds before.
        """
        for attempt in range(2 * ATTEMPTS):
            if attempt == ATTEMPTS:
                self._generator.load_state_dict(self._kept)
            noise = torch.randn(self._method.train.batch_size, NOISE, generator=self._draws)
            noise = noise.to(next(self._generator.parameters()))
            images = self._gated(self._generator(noise))
            if len(images) >= self._least:
                return noise, images
        raise NotApplicable(
            f"in {2 * ATTEMPTS} batches the generator made no image to which the original gives the forget classes at "
            f"most method.gate={self._method.gate}; raise it"
        )

    def _gated(self, images: Tensor) -> Tensor:
        context = self._context
        with torch.no_grad():
            chances = context.forward(self._teacher, images).softmax(dim=1)
        gone = [*context.forget_classes, *context.forgotten_before]
        return images[chances[:, gone].amax(dim=1) <= self._method.gate]


def generator(shape: ImageShape) -> nn.Sequential:
    """A network from noise (batch, 128) to images (batch, channels, height, width) of about unit variance."""
    channels, height, width = shape
    first, second = (-(-height // 4), -(-width // 4)), (-(-height // 2), -(-width // 2))
    return nn.Sequential(
        nn.Linear(NOISE, 128 * first[0] * first[1]),
        nn.Unflatten(1, (128, *first)),
        nn.BatchNorm2d(128),
        nn.Upsample(size=second),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Upsample(size=(height, width)),
        nn.Conv2d(128, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
    )


def mean_divergence(teacher_logits: Tensor, logits: Tensor) -> Tensor:
    """KL(teacher ‖ student), the mean over samples and classes."""
    return divergence_from(teacher_logits, logits).mean() / logits.shape[1]


@contextmanager
def attention_maps(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the normalised attention map (batch, positions) of each activation during forward passes.

    Raises:
        NotApplicable: the network has no activation functions as modules.
    """
    maps: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        squares = output.float().square()
        # Channels come second in images, last in sequences of tokens.
        positions = squares.mean(dim=1 if output.ndim == 4 else -1)
        if output.ndim > 2:
            maps.append(F.normalize(positions.flatten(1)))

    handles = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, ACTIVATIONS)]
    if not handles:
        raise NotApplicable("gkt compares the outputs of activation modules; the network has none")
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()
