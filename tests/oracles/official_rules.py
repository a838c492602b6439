"""The updates of methods as their authors' public code makes them, written anew and plainly: each on whole batches.

Every rule trains a copy of the start for ``EPOCHS`` epochs, the retain samples in one batch and the forget samples in
one batch, in float64. ``CASES`` names the method with the same settings, and where the rule was read. Where a method
draws labels or noise, the rule takes the same draws.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from unsir_bench.baselines.amnesiac import Amnesiac
from unsir_bench.baselines.bad_teacher import BadTeacher
from unsir_bench.baselines.boundary_shrink import BoundaryShrink
from unsir_bench.baselines.delete import Delete
from unsir_bench.baselines.esc import ErasingSpaceConcept
from unsir_bench.baselines.gkt import GatedKnowledgeTransfer, generator
from unsir_bench.baselines.jit import JustInTime
from unsir_bench.baselines.l1_sparse import L1Sparse
from unsir_bench.baselines.lotus import LoTUS
from unsir_bench.baselines.munba import MUNBa
from unsir_bench.baselines.neggrad_plus import NegGradPlus
from unsir_bench.baselines.salun import SalUn
from unsir_bench.baselines.scar import Scar
from unsir_bench.baselines.scrub import Scrub
from unsir_bench.baselines.sfron import SFRon
from unsir_bench.baselines.ssd import SelectiveSynapticDampening
from unsir_bench.baselines.svd_projection import SvdProjection
from unsir_bench.baselines.task_arithmetic import TaskArithmetic

from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningMethod
from unsir_bench.unlearning.relabelling import random_labels

EPOCHS = 3
WHOLE = 1000  # samples: more than there are


class Batch(NamedTuple):
    """float64 images (samples, channels, height, width) and their labels (samples,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Scene:
    """What a rule works on: a float64 network, both kinds of samples, and the run's draws."""

    start: nn.Module
    retain: Batch
    forget: Batch
    context: RunContext
    joined: Tensor  # where each sample of both kinds together, in the split's order, stands in ``everything``

    def order(self, role: str, epoch: int, count: int) -> Tensor:
        """In which order our methods take ``count`` samples."""
        return torch.randperm(count, generator=self.context.generator(role, "order", epoch))

    def network(self) -> nn.Module:
        return copy.deepcopy(self.start).train()

    def teacher(self) -> nn.Module:
        return copy.deepcopy(self.start).eval().requires_grad_(False)

    def wrong_labels(self, epoch: int) -> Tensor:
        """The random labels, of all classes, that our methods draw for an epoch."""
        return random_labels(self.forget.labels, "all", self.context, "random labels", epoch)

    @property
    def everything(self) -> Batch:
        return Batch(*(torch.cat(pair) for pair in zip(self.retain, self.forget, strict=True)))


Rule = Callable[[Scene], nn.Module]


def sgd(network: nn.Module, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr, momentum=momentum, weight_decay=weight_decay)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def recipe(lr: float, **changes: object) -> Recipe:
    """SGD with momentum for ``EPOCHS`` epochs of whole batches."""
    settings = {"optimizer": "sgd", "lr": lr, "epochs": EPOCHS, "batch_size": WHOLE, **changes}
    return Recipe(**settings)  # type: ignore[arg-type]


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
    network = scene.network().eval()
    loss = F.cross_entropy(network(scene.forget.images), scene.forget.labels)
    sizes = [grad.abs() for grad in torch.autograd.grad(loss, list(network.parameters()))]
    order = torch.cat([size.flatten() for size in sizes]).argsort(descending=True)
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    masks = [rank < len(order) / 2 for rank in ranks.split([size.numel() for size in sizes])]
    network.train()
    optimizer = sgd(network, 0.05)
    for epoch in range(EPOCHS):
        labels = torch.cat([scene.retain.labels, scene.wrong_labels(epoch)])
        optimizer.zero_grad()
        F.cross_entropy(network(scene.everything.images), labels).backward()  # type: ignore[no-untyped-call]
        for parameter, mask in zip(network.parameters(), masks, strict=True):
            assert parameter.grad is not None
            parameter.grad *= mask.view_as(parameter)
        optimizer.step()
    return network


def boundary_shrink(scene: Scene) -> nn.Module:
    network, fixed = scene.network(), copy.deepcopy(scene.start).eval()
    images, labels = scene.forget
    # ε is in units of the pixel range; images are normalised with a standard deviation of 0.376.
    clean = images.clone().requires_grad_()
    F.cross_entropy(fixed(clean), labels).backward()  # type: ignore[no-untyped-call]
    assert clean.grad is not None
    black, white = (0 - 0.305) / 0.376, (1 - 0.305) / 0.376
    answers = fixed((images + 0.1 / 0.376 * clean.grad.sign()).clamp(black, white))
    answers[torch.arange(len(labels)), labels] = -math.inf
    optimizer = sgd(network, 0.05)
    for _ in range(EPOCHS):
        descend(optimizer, F.cross_entropy(network(images), answers.argmax(dim=1)))
    return network


def squared_gradients(network: nn.Module, batch: Batch) -> list[Tensor]:
    """Of the mean cross-entropy of one batch, in eval mode."""
    loss = F.cross_entropy(network.eval()(batch.images), batch.labels)
    return [grad.square() for grad in torch.autograd.grad(loss, list(network.parameters()))]


def ssd(scene: Scene) -> nn.Module:
    network = scene.network()
    of_all, of_forget = squared_gradients(network, scene.everything), squared_gradients(network, scene.forget)
    with torch.no_grad():
        for parameter, whole, part in zip(network.parameters(), of_all, of_forget, strict=True):
            chosen = torch.where(part > 2 * whole)
            parameter[chosen] *= torch.minimum(whole * 1.0 / part, torch.ones(()))[chosen]
    return network


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
        first = torch.sqrt((g1 * g3 - g2 * torch.sqrt(g1 * g3)) / (g1 * g1 * g3 - g1 * g2 * g2))
        second = (1 - g1 * first * first) / (g2 * first)
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
    optimizer = sgd(network, 0.01 / count, momentum=0)  # the sum over the batch
    for epoch in range(EPOCHS):
        images = scene.forget.images[scene.order("jit", epoch, count)]
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


@dataclass(frozen=True)
class Case:
    """A method of ours, the rule it is held against, where that was read, and why they may differ above 1e-6."""

    method: UnlearningMethod
    rule: Rule
    source: str
    note: str = ""
    tolerance: float = 1e-6


FLOAT32 = "ours rounds logits of fixed networks to float32; Adam's first steps divide small gradients by their size"


def cases() -> Iterator[tuple[str, Case]]:
    """Every method with its rule, by name."""
    adam = {"optimizer": "adam"}
    yield "amnesiac", Case(Amnesiac(train=recipe(1e-3, **adam)), amnesiac, "lmgraves/AmnesiacML")
    yield (
        "bad_teacher",
        Case(BadTeacher(train=recipe(0.05), retain_share=1.0), bad_teacher, "vikram2000b/bad-teaching-unlearning"),
    )
    yield (
        "boundary_shrink",
        Case(
            BoundaryShrink(train=recipe(0.05), mask="own_class"), boundary_shrink, "TY-LEE-KR/Boundary-Unlearning-Code"
        ),
    )
    yield "delete", Case(Delete(train=recipe(0.05), mask="own_class"), delete, "shaaaaron/DELETE")
    yield "esc", Case(ErasingSpaceConcept(percent=30), esc, "KU-VGI/ESC")
    yield "gkt", Case(
        GatedKnowledgeTransfer(
            train=recipe(1e-3, batch_size=64, clip_norm=5.0, **adam), student_steps=2, gate=0.5
        ),
        gkt, "ayu987/zero-shot-unlearning", FLOAT32, 1e-4,
    )  # fmt: skip
    yield (
        "jit",
        Case(JustInTime(train=recipe(0.01, momentum=0.0), copies=4), jit, "jwf40/Information-Theoretic-Unlearning"),
    )
    yield "l1_sparse", Case(L1Sparse(train=recipe(0.05), penalty=1e-3), l1_sparse, "OPTML-Group/Unlearn-Sparse")
    yield "lotus", Case(
        LoTUS(train=recipe(1e-3, optimizer="adamw", weight_decay=5e-4), retain_share=1.0, alpha=2.0),
        lotus, "cspartalis/LoTUS", FLOAT32, 1e-4,
    )  # fmt: skip
    yield "munba", Case(MUNBa(train=recipe(0.05, weight_decay=5e-4), labels_from="all"), munba, "JingWu321/MUNBa")
    yield "neggrad_plus", Case(NegGradPlus(train=recipe(0.05)), neggrad_plus, "meghdadk/SCRUB")
    yield "salun", Case(SalUn(train=recipe(0.05), labels_from="all"), salun, "OPTML-Group/Unlearn-Saliency")
    yield "scar", Case(Scar(train=recipe(1e-3, **adam)), scar, "jbonato1/SCAR", FLOAT32, 1e-4)
    yield (
        "scrub",
        Case(Scrub(train=recipe(5e-4, weight_decay=0.1, **adam), max_epochs=2), scrub, "meghdadk/SCRUB", FLOAT32, 1e-4),
    )
    yield "sfron", Case(
        SFRon(train=recipe(0.02, weight_decay=5e-4), forget_every=1), sfron,
        "K1nght/Unified-Unlearning-w-Remain-Geometry",
    )  # fmt: skip
    yield (
        "ssd",
        Case(SelectiveSynapticDampening(selection=2.0, batch_size=WHOLE), ssd, "if-loops/selective-synaptic-dampening"),
    )
    yield "svd_projection", Case(
        SvdProjection(samples=WHOLE, max_patches=10**9, batch_size=WHOLE), svd_projection,
        "sangamesh-kodge/class_forgetting",
    )  # fmt: skip
    yield (
        "task_arithmetic",
        Case(TaskArithmetic(train=recipe(0.05), strength=0.5), task_arithmetic, "mlfoundations/task_vectors"),
    )


CASES = dict(cases())
