"""The updates of GKT, task arithmetic and methods of 2024 and 2025 as their authors' code makes them, on whole batches.

Written anew and plainly. Every rule trains a copy of the start for ``EPOCHS`` epochs, retain samples in one batch and
forget samples in one, in float64. Where a method draws labels or noise, the rule takes the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from unsir_bench.baselines.gkt import generator

from tests.oracles.official_scene import EPOCHS, Scene, descend, sgd, squared_gradients

JIT_BATCH = 32  # samples: the last batch of 40 is short


def munba(scene: Scene) -> nn.Module:
    network = scene.network()
    optimizer = sgd(network, 0.05, weight_decay=5e-4)
    for epoch in range(EPOCHS):
        labels = (scene.retain.labels, scene.wrong_labels(epoch))
        answers = [network(batch.images) for batch in (scene.retain, scene.forget)]
        losses = [F.cross_entropy(given, of) for given, of in zip(answers, labels, strict=True)]
        grads = [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)])
            for loss in losses
        ]
        g1, g2, g3 = grads[0] @ grads[0], grads[0] @ grads[1], grads[1] @ grads[1]
        first = torch.sqrt((g1 * g3 - g2 * torch.sqrt(g1 * g3)) / (g1 * g1 * g3 - g1 * g2 * g2 + 1e-8))
        second = (1 - g1 * first * first) / (g2 * first + 1e-8)
        if not (first > 0 and second > 0):
            first, second = torch.tensor(1.0), torch.tensor(0.1)
        optimizer.zero_grad()
        (losses[0] * first + losses[1] * second).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network


def sfron(scene: Scene) -> nn.Module:
    network = scene.network()
    of_forget, of_retain = (squared_gradients(network, batch) for batch in (scene.forget, scene.retain))
    masks = [(part + 1e-15) / (rest + 1e-15) >= 1 for part, rest in zip(of_forget, of_retain, strict=True)]
    network.train()
    optimizer = sgd(network, 0.02, weight_decay=5e-4)
    for step in range(EPOCHS):
        losses = F.cross_entropy(network(scene.forget.images), scene.forget.labels, reduction="none")
        weights = 1 / (losses.detach().sqrt() + 1e-15)
        adaptive = (weights / weights.sum() * losses * len(losses)).mean()
        optimizer.zero_grad()
        factor = 25 * (1 + math.cos(math.pi * step / EPOCHS)) / 2
        (factor * -adaptive).backward()  # type: ignore[no-untyped-call]
        for parameter, mask in zip(network.parameters(), masks, strict=True):
            assert parameter.grad is not None
            parameter.grad *= mask
        nn.utils.clip_grad_norm_(network.parameters(), 7.0)
        optimizer.step()
        descend(optimizer, F.cross_entropy(network(scene.retain.images), scene.retain.labels))
    return network


def jit(scene: Scene) -> nn.Module:
    network, count = scene.network(), len(scene.forget.labels)
    draws = scene.context.generator("jit", "noise")
    optimizer = sgd(network, 0.01 / JIT_BATCH, momentum=0)  # the sum over the batch
    taken = [piece for epoch in range(EPOCHS) for piece in scene.order("jit", epoch, count).split(JIT_BATCH)]
    for positions in taken:
        images = scene.forget.images[positions]
        loss = torch.zeros((), dtype=torch.float64)
        copies = []
        for _ in range(4):
            moved = images + torch.randn(images.shape, generator=draws, dtype=torch.float32).double() * 0.5
            copies.append(torch.clamp(moved, min=images.min(), max=images.max()))
        answers = network(images)
        for moved in copies:
            with torch.no_grad():
                other = network(moved)
            apart = torch.linalg.vector_norm(images.flatten(1) - moved.flatten(1), dim=1)
            loss = loss + (torch.linalg.vector_norm(answers - other, dim=1) / apart).sum()
        descend(optimizer, loss / 4)
    return network


def gumbel(logits: Tensor) -> Tensor:
    """A draw of Gumbel noise, from the global generator, in float32 as the run's logits."""
    return -torch.empty_like(logits, dtype=torch.float32).exponential_().log().double()


def lotus(scene: Scene) -> nn.Module:
    network, teacher = scene.network(), scene.teacher()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=5e-4)
    images, count = scene.everything.images, len(scene.retain.labels)
    for epoch in range(EPOCHS):
        right = network.eval()(scene.forget.images).argmax(dim=1) == scene.forget.labels
        temperature = math.exp(2 * right.double().mean().item())
        places = scene.joined[scene.order("lotus", epoch, len(images))]
        scene.context.seed_everything("lotus", "dropout", epoch)
        answers = teacher(images[places])
        hard = F.one_hot((answers + gumbel(answers)).argmax(dim=1), answers.shape[1]).double()
        soft = F.softmax((answers + gumbel(answers)) / temperature, dim=1)
        wanted = torch.where((places >= count)[:, None], soft, hard)
        descend(optimizer, -(wanted * F.log_softmax(network.train()(images[places]), dim=1)).sum(dim=1).mean())
    return network


def features_and_head(network: nn.Module) -> tuple[Callable[[Tensor], Tensor], nn.Linear]:
    """What AllCNN's head receives, as a function, and the head."""
    head = network.get_submodule("head")
    assert isinstance(head, nn.Linear)
    return lambda images: network.get_submodule("features")(images).mean(dim=(2, 3)), head


def esc(scene: Scene) -> nn.Module:
    network = scene.network().eval()
    features, head = features_and_head(network)
    with torch.no_grad():
        vectors = torch.svd(features(scene.forget.images).T)[0]
        kept = vectors[:, int(len(vectors) * 30 / 100) :]
        head.weight.copy_(head.weight @ kept @ kept.T)
    return network


def svd_projection(scene: Scene) -> nn.Module:
    network = scene.network().eval()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    inputs: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}
    for layer in layers:
        layer.register_forward_pre_hook(lambda module, given: inputs[module].append(given[0]))
    with torch.no_grad():
        network(scene.retain.images)
        network(scene.forget.images)
        for layer in layers:
            projections = []
            for given, scale in zip(inputs[layer], (100, 3), strict=True):
                rows = given
                if isinstance(layer, nn.Conv2d):
                    patches = F.unfold(given, layer.kernel_size, padding=layer.padding, stride=layer.stride)
                    rows = patches.permute(0, 2, 1).reshape(-1, patches.shape[1])
                vectors, values, _ = torch.linalg.svd(rows.T, full_matrices=False)
                share = values**2 / (values**2).sum()
                projections.append(vectors @ torch.diag(scale * share / ((scale - 1) * share + 1)) @ vectors.T)
            kept, lost = projections
            matrix = torch.eye(len(lost)) - (lost - lost @ kept)
            layer.weight.copy_((layer.weight.flatten(1) @ matrix.T).view_as(layer.weight))
            layer._forward_pre_hooks.clear()
    return network


def task_arithmetic(scene: Scene) -> nn.Module:
    tuned, network = scene.network(), scene.network()
    optimizer = sgd(tuned, 0.05)
    for _ in range(EPOCHS):
        descend(optimizer, F.cross_entropy(tuned(scene.forget.images), scene.forget.labels))
    vector = {name: value - dict(network.named_parameters())[name] for name, value in tuned.named_parameters()}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(parameter - 0.5 * vector[name])
    return network


def shrunk(matrix: Tensor) -> Tensor:
    """SCAR's shrinkage with γ₁ = γ₂ = 3, entry by entry."""
    count = len(matrix)
    beside = [float(matrix[i, j]) for i in range(count) for j in range(count) if i != j and matrix[i, j] != 0]
    out = matrix + 3 * (sum(beside) / len(beside))
    for i in range(count):
        out[i, i] = matrix[i, i] + 3 * matrix.diagonal().mean()
    return out


def scar(scene: Scene) -> nn.Module:
    network, teacher = scene.network(), scene.teacher()
    features, _ = features_and_head(network)
    means, inverses = [], []
    with torch.no_grad():
        network.eval()
        for label in scene.retain.labels.unique():
            samples = features(scene.retain.images[scene.retain.labels == label]).clamp(min=1e-8).sqrt()
            covariance = shrunk(shrunk(torch.cov(samples.T)))
            deviations = covariance.diagonal().sqrt()
            means.append(samples.mean(dim=0) / samples.mean(dim=0).norm())
            inverses.append(torch.linalg.pinv(covariance / torch.outer(deviations, deviations)))

    def distances(given: Tensor) -> Tensor:
        moved = F.normalize(given.clamp(min=1e-8).sqrt(), dim=-1)
        return torch.stack(
            [torch.einsum("ni,ij,nj->n", moved - m, s, moved - m) for m, s in zip(means, inverses, strict=True)], dim=1
        )

    with torch.no_grad():
        nearest = distances(features(scene.forget.images)).argmin(dim=1)
        original = teacher(scene.retain.images)
    gone = torch.tensor([1, 2])
    still = ~torch.isin(original.argmax(dim=1), gone)
    original = original[still]
    original[:, gone] = original.min()
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(EPOCHS):
        away = distances(features(scene.forget.images))[torch.arange(len(nearest)), nearest].mean()
        answers = network(scene.retain.images)[still]
        wanted = F.log_softmax(original / 2, dim=1)
        kept = F.kl_div(F.log_softmax(answers, dim=1), wanted, reduction="batchmean", log_target=True)
        descend(optimizer, away + 0.1 * kept)
    return network


def gkt(scene: Scene) -> nn.Module:
    teacher, context = scene.teacher(), scene.context
    student = context.random_network("gkt student").double().eval()
    context.seed_everything("gkt", "generator weights")
    made = generator(context.image_shape).double()
    draws = context.generator("gkt", "noise")
    optimizers = [torch.optim.Adam(one.parameters(), 1e-3) for one in (made, student)]

    def pass_through(network: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = []
        for block in network.get_submodule("features"):  # type: ignore[attr-defined]
            images = block(images)
            maps.append(F.normalize(images.pow(2).mean(1).view(len(images), -1)))
        return network.get_submodule("head")(images.mean(dim=(2, 3))), maps

    def allowed(images: Tensor) -> Tensor:
        return images[(teacher(images).softmax(dim=1)[:, [1, 2]] <= 0.5).all(dim=1)]

    def kl(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(student_logits, dim=1), F.softmax(teacher_logits, dim=1), reduction="mean")

    for _ in range(EPOCHS):
        noise = torch.randn(64, 128, generator=draws).double()
        images = allowed(made(noise))
        optimizers[0].zero_grad()
        (-kl(student(images), teacher(images))).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(made.parameters(), 5)
        optimizers[0].step()
        for _ in range(2):
            images = allowed(made(noise)).detach()
            answers, maps = pass_through(student, images)
            wanted, wanted_maps = pass_through(teacher, images)
            apart = sum(250 * (one - other).pow(2).mean() for one, other in zip(maps, wanted_maps, strict=True))
            optimizers[1].zero_grad()
            (kl(answers, wanted) + apart).backward()
            nn.utils.clip_grad_norm_(student.parameters(), 5)
            optimizers[1].step()
    return student
