"""The updates of UNSIR, Fisher and methods that train the last layers or the head, as in their authors' code.

Written anew and plainly, in float64, on whole batches; what is drawn at random is drawn as the method draws it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.oracles.official_scene import EPOCHS, Batch, Rule, Scene, descend, sgd

COPIES, NOISE_IMAGES = 20, 16


def unsir(*, notebook: bool) -> Rule:
    """The authors' notebook (``notebook``), or the same without its oddities."""

    def rule(scene: Scene) -> nn.Module:
        network, classes = scene.network(), (1, 2)
        shape = (len(classes), NOISE_IMAGES, *scene.retain.images.shape[1:])
        starts = torch.randn(shape, generator=scene.context.generator("noise"))
        samples = [scene.retain]
        for label, start in zip(classes, starts, strict=True):
            images = learned_noise(network.train(notebook), start, label)
            # The notebook's inner loop runs over the channels: of grey images it takes one.
            used = images[: images.shape[1]] if notebook else images
            labels = torch.full((len(used) * COPIES,), 0 if notebook else label)
            samples.append(Batch(used.repeat(COPIES, 1, 1, 1), labels))
        mixture = Batch(*(torch.cat(parts) for parts in zip(*samples, strict=True)))
        network.train()
        for batch, lr in ((mixture, 0.02), (scene.retain, 0.01)):
            optimizer = torch.optim.Adam(network.parameters(), lr)
            for _ in range(EPOCHS):
                descend(optimizer, F.cross_entropy(network(batch.images), batch.labels))
        return network

    return rule


def learned_noise(network: nn.Module, start: Tensor, label: int) -> Tensor:
    """In float32, as the notebook: with the statistics of so small a batch, rounding grows from step to step."""
    noise = nn.Parameter(start)
    optimizer = torch.optim.Adam([noise], 0.1)
    labels = torch.full((len(noise),), label)
    for _ in range(40):
        energy = torch.mean(torch.sum(torch.square(noise), [1, 2, 3]))
        descend(optimizer, -F.cross_entropy(network(noise.double()).float(), labels) + 0.1 * energy)
    return noise.detach().double()


def fisher(scene: Scene) -> nn.Module:
    """Sample by sample and class by class; the head is known by its number of rows."""
    network, classes = scene.network().eval(), scene.context.num_classes
    totals = [torch.zeros_like(parameter) for parameter in network.parameters()]
    for image in scene.retain.images.split(1):
        log_p = F.log_softmax(network(image), dim=1)[0]
        for y in range(classes):
            grads = torch.autograd.grad(-log_p[y], list(network.parameters()), retain_graph=True)
            for total, grad in zip(totals, grads, strict=True):
                total.add_(log_p[y].exp().detach() * grad**2)
    draws = scene.context.generator("fisher noise")
    with torch.no_grad():
        for parameter, total in zip(network.parameters(), totals, strict=True):
            variance = (1 / (total / len(scene.retain.labels) + 1e-8)).clamp(max=1e3)
            if len(parameter) == classes:
                variance = variance.clamp(max=1e2)
            variance = variance * 1e-6
            if parameter.ndim > 1:
                variance = variance.mean(dim=1, keepdim=True).expand_as(parameter).clone()
            if len(parameter) == classes:
                parameter[[1, 2]], variance[[1, 2]] = 0, 1e-4
            if len(parameter) == classes or parameter.ndim == 1:
                variance = variance * 10
            parameter.add_(variance.sqrt() * torch.randn(parameter.shape, generator=draws).double())
    return network


def boundary_expand(scene: Scene) -> nn.Module:
    network = scene.network()
    head = network.get_submodule("head")
    assert isinstance(head, nn.Linear)
    classes, width = head.weight.shape
    wide = nn.Linear(width, classes + 1)
    scene.context.seed_everything("boundary_expand", "shadow class")
    with torch.no_grad():
        nn.init.xavier_normal_(wide.weight)
        nn.init.zeros_(wide.bias)
        wide.double()
        wide.weight[:classes], wide.bias[:classes] = head.weight, head.bias
    network.head = wide
    optimizer = sgd(network, 0.05)
    for _ in range(EPOCHS):
        descend(optimizer, F.cross_entropy(network(scene.forget.images), torch.full_like(scene.forget.labels, classes)))
    with torch.no_grad():
        head.weight.copy_(wide.weight[:classes])
        head.bias.copy_(wide.bias[:classes])
    network.head = head
    return network


def last_layers(*, anew: bool) -> Rule:
    """Train the last two convolutions or linear layers, and the normalisations among them; ``anew``: from the start."""

    def rule(scene: Scene) -> nn.Module:
        network, initial = scene.network(), dict(scene.context.initial_network().named_modules())
        network.requires_grad_(False)
        done = 0
        for name, layer in reversed(list(network.named_modules())):
            if not isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                continue
            if not isinstance(layer, nn.BatchNorm2d):
                done += 1
                if anew:
                    layer.load_state_dict(initial[name].state_dict())
            layer.requires_grad_()
            if done == 2:
                break
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, 0.05, momentum=0.9)
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            F.cross_entropy(network(scene.retain.images), scene.retain.labels).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 10)
            optimizer.step()
        return network.requires_grad_()

    return rule
