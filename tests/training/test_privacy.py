"""Private training against one backward pass a sample, closed forms of the accountant, and its refusals."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import compose, run
from unsir_bench.config import validate
from unsir_bench.errors import ConfigError
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.training import privacy
from unsir_bench.training.privacy import (
    Privacy,
    check_divisor,
    for_group,
    private_steps,
    set_sample_gradients,
    spent_epsilon,
)
from unsir_bench.training.recipe import Recipe

PRIVATE = ["train=dp_sgd", "model=allcnn_slim_groupnorm", "method=dp_sgd", "tracker=none", "hardware=cpu"]


def network() -> nn.Module:
    return AllCNNConfig(width=4, norm="group").initial((1, 8, 8), 10, seed=0)


def batch(samples: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(samples, 1, 8, 8, generator=draws), torch.randint(10, (samples,), generator=draws)


def gradients_one_by_one(model: nn.Module, images: Tensor, targets: Tensor, smoothing: float) -> list[Tensor]:
    """One flat gradient for each sample."""
    flat = []
    for image, target in zip(images, targets, strict=True):
        loss = F.cross_entropy(model(image[None]), target[None], label_smoothing=smoothing)
        flat.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))]))
    return flat


def changed_by_a_step(model: nn.Module, rule: Privacy, images: Tensor, targets: Tensor, divisor: int) -> Tensor:
    """How one step of plain SGD at rate 1 changes the weights."""
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    plain = torch.optim.SGD(model.parameters(), lr=1.0)
    with private_steps(model, plain, rule, divisor) as stepping:
        stepping.zero_grad()
        set_sample_gradients(model, images, targets, 0.0)
        stepping.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach() - before


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ([*PRIVATE, "method.noise_multiplier=50"], "method.noise_multiplier=50"),
        ([*PRIVATE, "method.epochs=1"], "method.epochs=1"),
        (["method=dp_sgd", "method.noise_multiplier=1", "method.sample_rate=0.1"], "method.sample_rate=0.1"),
        (["train=dp_sgd", "method=dp_sgd", "model=frozen_head", "model.norm=group"], "its head is solved"),
    ],
)
def test_nothing_is_promised_of_a_training_that_was_not_so(words: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        validate(compose(words))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_each_sample_has_the_gradient_of_its_own_loss(smoothing: float) -> None:
    model, (images, targets) = network(), batch(5)
    loss = set_sample_gradients(model, images, targets, smoothing)
    found = torch.cat([each.grad_sample.flatten(1) for each in model.parameters()], dim=1)  # type: ignore[attr-defined]
    expected = torch.stack(gradients_one_by_one(model, images, targets, smoothing))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    whole = F.cross_entropy(model(images), targets, label_smoothing=smoothing)
    torch.testing.assert_close(loss, whole.detach())


def test_a_step_adds_gradients_clipped_one_by_one() -> None:
    pytest.importorskip("opacus")
    model, (images, targets) = network(), batch(6)
    each = gradients_one_by_one(model, images, targets, 0.0)
    bound = float(torch.stack([gradient.norm() for gradient in each]).median())
    clipped = sum(gradient * min(1.0, bound / float(gradient.norm())) for gradient in each)
    rule = Privacy(noise_multiplier=1e-9, max_grad_norm=bound)
    torch.testing.assert_close(changed_by_a_step(model, rule, images, targets, 8), -clipped / 8, rtol=1e-3, atol=1e-6)


def test_the_noise_on_the_sum_has_the_stated_deviation() -> None:
    """N(0, (multiplier · norm)²) on the sum; a step without samples is of noise alone."""
    pytest.importorskip("opacus")
    torch.manual_seed(3)
    images, targets = batch(0)
    noise = changed_by_a_step(network(), Privacy(noise_multiplier=3.0, max_grad_norm=0.5), images, targets, 10)
    stated, count = 3.0 * 0.5 / 10, len(noise)
    assert abs(float(noise.std()) - stated) < 3 * stated / math.sqrt(2 * count)
    assert abs(float(noise.mean())) < 3 * stated / math.sqrt(count)


def epsilon_of_integers(noise: float, rate: float, steps: int, delta: float) -> float:
    """ε by Rényi orders 2 to 40 (I. Mironov, K. Talwar, L. Zhang, 2019), and the conversion of Canonne et al. 2020."""
    found = []
    for order in range(2, 41):
        terms = [math.comb(order, k) * (1 - rate) ** (order - k) * rate**k * math.exp(k * (k - 1) / (2 * noise**2))
                 for k in range(order + 1)]  # fmt: skip
        renyi = steps * math.log(math.fsum(terms)) / (order - 1)
        found.append(renyi + math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1))
    return min(found)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(4.0, 1.0, 10), (2.0, 0.1, 300), (1.5, 0.01, 1000)])
def test_epsilon_of_a_sample_is_the_closed_form_of_the_sampled_gaussian(noise: float, rate: float, steps: int) -> None:
    """The accountant knows fractional orders, too, and so is a little below whole ones."""
    pytest.importorskip("opacus")
    ours, theirs = spent_epsilon(noise, rate, steps, 1e-5), epsilon_of_integers(noise, rate, steps, 1e-5)
    assert 0.97 * theirs < ours <= theirs * (1 + 1e-9)


def test_a_groups_promise_is_that_of_its_samples_one_after_another() -> None:
    epsilon, delta = 0.3, 1e-6
    of_group = 0.0
    for _ in range(7):
        of_group = delta + math.exp(epsilon) * of_group
    assert for_group(epsilon, delta, 7) == pytest.approx((2.1, of_group))
    assert for_group(epsilon, delta, 1) == pytest.approx((epsilon, delta))
    assert for_group(2.0, 1e-5, 5000) == (10000.0, 1.0)


@pytest.mark.parametrize(("forget", "samples"), [("forget=single", 12), ("forget.sequence=[[0],[1]]", 24)])
def test_the_promise_for_all_that_is_forgotten_is_in_the_record(forget: str, samples: int, tmp_path: Path) -> None:
    """Of a sequence it is for the samples of all requests so far, which the training saw together."""
    pytest.importorskip("opacus")
    tiny = ["dataset.subset=12", "train.batch_size=12", "model.width=4", "train.epochs=1", "metrics=fast"]
    record = run(compose([*PRIVATE, *tiny, forget, f"outputs={tmp_path}", f"store.root={tmp_path}/store"]))
    assert record.status == "done", record.error
    of_one = spent_epsilon(1.0, 0.1, 10, 1e-5)
    assert record.guarantees == {
        "sample_epsilon": pytest.approx(of_one), "sample_delta": 1e-5, "epsilon": pytest.approx(samples * of_one),
        "delta": pytest.approx(for_group(of_one, 1e-5, samples)[1]), "group_size": samples,
    }  # fmt: skip


@pytest.mark.parametrize(("divisor", "samples"), [(128, 1400), (128, 641), (128, 2559), (5000, 50_000)])
def test_a_divisor_near_the_expected_batch_is_accepted(divisor: int, samples: int) -> None:
    check_divisor(Recipe(batch_size=divisor, privacy=Privacy(sample_rate=0.1)), samples)
    check_divisor(Recipe(batch_size=divisor), 1)


@pytest.mark.parametrize(("samples", "longer", "fix"), [(50_000, "39", 5000), (2600, "2", 260), (600, "0.47", 60)])
def test_a_divisor_of_another_data_set_is_refused_with_the_fix(samples: int, longer: str, fix: int) -> None:
    recipe = Recipe(batch_size=128, privacy=Privacy(sample_rate=0.1))
    words = rf"train\.batch_size=128: .*sample_rate=0\.1 x {samples} .*, {longer} times .*train\.batch_size={fix},"
    with pytest.raises(ConfigError, match=words):
        check_divisor(recipe, samples)


def test_a_run_is_refused_once_its_images_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    words = [*PRIVATE, "dataset.subset=12", "model.width=4", f"outputs={tmp_path}", f"store.root={tmp_path}/store"]
    record = run(compose(words))
    assert (record.status, record.metrics) == ("failed", {})
    assert "sample_rate=0.1 x 120 training images" in str(record.reason)


def test_without_opacus_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        validate(compose(PRIVATE))
    assert caught.value.problems == ["train.privacy: needs the package opacus: pip install 'unsir-bench[private]'"]


def test_an_original_that_was_not_private_promises_nothing(tmp_path: Path) -> None:
    words = ["method=dp_sgd", "dataset.subset=12", "model.width=4", "train.epochs=1", "metrics=fast", *PRIVATE[-2:]]
    record = run(compose([*words, f"outputs={tmp_path}", f"store.root={tmp_path}/store"]))
    assert record.status == "skipped"
    assert record.reason == "dp_sgd does nothing by itself: the original has to be private; choose train=dp_sgd"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["model.norm=batch"], "model.norm=batch: set it to group; batch statistics mix samples"),
        (["train.schedule=plateau"], "train.schedule=plateau: reads a loss, which train.privacy does not cover"),
        (["train.clip_norm=1.0"], "train.privacy clips each sample; set both to null"),
        (["hardware.precision=64-true"], "hardware.precision=64-true: must be 32-true beside train.privacy"),
    ],
)
def test_what_breaks_the_promise_is_named_before_training(changes: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(compose([*PRIVATE, *changes]))
    [problem] = caught.value.problems
    assert words in problem
