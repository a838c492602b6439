"""The updates of methods to 2023, and of DELETE, as their authors' public code makes them, on whole batches.

Those that train last layers or the head alone, Fisher and UNSIR are in ``official_rules_of_layers``.

Written anew and plainly. Every rule trains a copy of the start for ``EPOCHS`` epochs, retain samples in one batch and
forget samples in one, in float64. Where a method draws labels or noise, the rule takes the same draws.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.oracles.official_scene import EPOCHS, Batch, Scene, descend, sgd, squared_gradients
from unsir_bench.unlearning.relabelling import random_labels


def scrub(scene: Scene) -> nn.Module:
    network, teacher = scene.network(), scene.teacher()
    optimizer = torch.optim.Adam(network.parameters(), 5e-4, weight_decay=0.1)

    def kl(answers: Tensor, batch: Batch) -> Tensor:
        wanted = F.softmax(teacher(batch.images) / 2, dim=1)
        return F.kl_div(F.log_softmax(answers / 2, dim=1), wanted, reduction="sum") * 4 / len(batch.labels)

    for epoch in range(EPOCHS):
        if epoch < 2:
            descend(optimizer, -kl(network(scene.forget.images), scene.forget))
        answers = network(scene.retain.images)
        descend(optimizer, F.cross_entropy(answers, scene.retain.labels) + 0.5 * kl(answers, scene.retain))
    return network


def delete(scene: Scene) -> nn.Module:
    network, teacher = scene.network(), scene.teacher()
    optimizer = sgd(network, 0.05)
    for _ in range(EPOCHS):
        wanted = teacher(scene.forget.images)
        wanted[torch.arange(len(wanted)), scene.forget.labels] = -1e10
        given = F.log_softmax(network(scene.forget.images), dim=1)
        descend(optimizer, F.kl_div(given, F.softmax(wanted, dim=1), reduction="batchmean"))
    return network


def single_gradient(scene: Scene) -> nn.Module:
    """(ep + 1) η times the gradient of one batch's mean loss at θ_0; of their momentum of 0.9 nothing enters."""
    network, initial = scene.network(), scene.context.initial_network().double().train()
    loss = F.cross_entropy(initial(scene.forget.images), scene.forget.labels)
    gradients = torch.autograd.grad(loss, list(initial.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.add_(gradient, alpha=EPOCHS * 0.05)
    return network


def l1_sparse(scene: Scene) -> nn.Module:
    network = scene.network()
    optimizer = sgd(network, 0.05)
    for epoch in range(EPOCHS):
        norm = torch.linalg.norm(torch.cat([one.view(-1) for one in network.parameters()]), ord=1)
        loss = F.cross_entropy(network(scene.retain.images), scene.retain.labels)
        descend(optimizer, loss + 1e-3 * (1 - epoch / EPOCHS) * norm)
    return network


def neggrad_plus(scene: Scene) -> nn.Module:
    network = scene.network()
    optimizer = sgd(network, 0.05)
    for _ in range(EPOCHS):
        losses = [F.cross_entropy(network(batch.images), batch.labels) for batch in (scene.retain, scene.forget)]
        descend(optimizer, 0.95 * losses[0] - 0.05 * losses[1])
    return network


def neggrad(scene: Scene) -> nn.Module:
    network = scene.network()
    optimizer = sgd(network, 0.01)
    for _ in range(EPOCHS):
        descend(optimizer, -F.cross_entropy(network(scene.forget.images), scene.forget.labels))
    return network


def finetune(scene: Scene) -> nn.Module:
    network = scene.network()
    optimizer = sgd(network, 0.05)
    for _ in range(EPOCHS):
        descend(optimizer, F.cross_entropy(network(scene.retain.images), scene.retain.labels))
    return network


def random_label(scene: Scene) -> nn.Module:
    """The authors' path for CIFAR-100, where both kinds share batches."""
    network = scene.network()
    optimizer = sgd(network, 0.05)
    for epoch in range(EPOCHS):
        labels = torch.cat([scene.retain.labels, scene.wrong_labels(epoch)])
        descend(optimizer, F.cross_entropy(network(scene.everything.images), labels))
    return network


def bad_teacher(scene: Scene) -> nn.Module:
    network, good = scene.network(), scene.teacher()
    bad = scene.context.random_network("bad teacher").double().eval()
    optimizer = sgd(network, 0.5)  # ten times ours: the mean is over classes too
    images = scene.everything.images
    kinds = torch.tensor([0.0] * len(scene.retain.labels) + [1.0] * len(scene.forget.labels))[:, None]
    for _ in range(EPOCHS):
        with torch.no_grad():
            wanted = kinds * F.softmax(bad(images), dim=1) + (1 - kinds) * F.softmax(good(images), dim=1)
        descend(optimizer, F.kl_div(F.log_softmax(network(images), dim=1), wanted, reduction="mean"))
    return network


def amnesiac(scene: Scene) -> nn.Module:
    network = scene.network()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    wrong = random_labels(scene.forget.labels, "retained", scene.context, "amnesiac labels")
    for _ in range(EPOCHS):
        answers = network(scene.everything.images)
        descend(optimizer, F.cross_entropy(answers, torch.cat([scene.retain.labels, wrong])))
    return network


def salun(scene: Scene) -> nn.Module:
    """The authors' path for CIFAR-100, where both kinds share batches."""
    network, masks = scene.network(), salient(scene)
    optimizer = sgd(network, 0.05)
    for epoch in range(EPOCHS):
        labels = torch.cat([scene.retain.labels, scene.wrong_labels(epoch)])
        masked_step(network, masks, optimizer, Batch(scene.everything.images, labels))
    return network


def salun_in_passes(scene: Scene) -> nn.Module:
    """The authors' path for CIFAR-10: a pass over the forget samples, then one over the retain samples."""
    network, masks = scene.network(), salient(scene)
    optimizer = sgd(network, 0.05)
    for epoch in range(EPOCHS):
        masked_step(network, masks, optimizer, Batch(scene.forget.images, scene.wrong_labels(epoch)))
        masked_step(network, masks, optimizer, scene.retain)
    return network


def salient(scene: Scene) -> list[Tensor]:
    network = scene.network().eval()
    loss = F.cross_entropy(network(scene.forget.images), scene.forget.labels)
    sizes = [grad.abs() for grad in torch.autograd.grad(loss, list(network.parameters()))]
    order = torch.cat([size.flatten() for size in sizes]).argsort(descending=True)
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    return [rank < len(order) / 2 for rank in ranks.split([size.numel() for size in sizes])]


def masked_step(network: nn.Module, masks: list[Tensor], optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    optimizer.zero_grad()
    F.cross_entropy(network(batch.images), batch.labels).backward()  # type: ignore[no-untyped-call]
    for parameter, mask in zip(network.parameters(), masks, strict=True):
        assert parameter.grad is not None
        parameter.grad *= mask.view_as(parameter)
    optimizer.step()


def boundary_shrink(scene: Scene) -> nn.Module:
    """The paper's rule: a step of 0.1, and any class but the sample's own."""
    answers = perturbed_answers(scene, 0.1)
    answers[torch.arange(len(answers)), scene.forget.labels] = -math.inf
    return trained_on(scene, answers.argmax(dim=1))


def boundary_shrink_of_all_classes(scene: Scene) -> nn.Module:
    """The rule of the authors' code: a step of about 0.25, and any class, the sample's own too."""
    nearest = perturbed_answers(scene, 0.25).argmax(dim=1)
    assert (nearest == scene.forget.labels).any()
    return trained_on(scene, nearest)


def perturbed_answers(scene: Scene, epsilon: float) -> Tensor:
    fixed = copy.deepcopy(scene.start).eval()
    images, labels = scene.forget
    # ε is in units of the pixel range; images are normalised with a standard deviation of 0.376.
    clean = images.clone().requires_grad_()
    F.cross_entropy(fixed(clean), labels).backward()  # type: ignore[no-untyped-call]
    assert clean.grad is not None
    black, white = (0 - 0.305) / 0.376, (1 - 0.305) / 0.376
    answers: Tensor = fixed((images + epsilon / 0.376 * clean.grad.sign()).clamp(black, white))
    return answers.detach()


def trained_on(scene: Scene, labels: Tensor) -> nn.Module:
    network = scene.network()
    optimizer = sgd(network, 0.05)
    for _ in range(EPOCHS):
        descend(optimizer, F.cross_entropy(network(scene.forget.images), labels))
    return network


def ssd(scene: Scene) -> nn.Module:
    network = scene.network()
    return dampened(network, squared_gradients(network, scene.everything), squared_gradients(network, scene.forget))


def ssd_by_class(scene: Scene) -> nn.Module:
    """The authors' loaders: class after class, unshuffled; classes are as large as a batch."""
    network = scene.network()
    sums = []
    for images, labels in (scene.everything, scene.forget):
        kinds = labels.unique()
        parts = [squared_gradients(network, Batch(images[labels == kind], labels[labels == kind])) for kind in kinds]
        sums.append([torch.stack(squares).mean(dim=0) for squares in zip(*parts, strict=True)])
    return dampened(network, *sums)


def dampened(network: nn.Module, of_all: list[Tensor], of_forget: list[Tensor]) -> nn.Module:
    with torch.no_grad():
        for parameter, whole, part in zip(network.parameters(), of_all, of_forget, strict=True):
            chosen = torch.where(part > 2 * whole)
            parameter[chosen] *= torch.minimum(whole * 1.0 / part, torch.ones(()))[chosen]
    return network
