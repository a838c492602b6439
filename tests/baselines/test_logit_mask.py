from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F
from unsir_bench.baselines.logit_mask import LogitMask

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import predict
from unsir_bench.unlearning.method import UnlearningData

FORGET = (1, 2)


def masked(model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext) -> nn.Module:
    method = LogitMask()
    return method.unlearn(copy.deepcopy(model), UnlearningData(digits, split, method, 0), context)


def test_the_biases_of_the_forget_classes_alone_change(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    after = masked(model, digits, split, context).state_dict()
    before = model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"head.bias"}
    assert (after["head.bias"] != before["head.bias"]).nonzero()[:, 0].tolist() == list(FORGET)


def test_no_sample_is_taken_for_a_forgotten_class_and_the_other_logits_are_the_originals(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    with torch.no_grad():
        # A network that would take every sample for a forget class, by far.
        model.get_submodule("head").bias[list(FORGET)] += 500
    network, kept = masked(model, digits, split, context), [index for index in range(10) if index not in FORGET]
    for name in ("train", "test"):
        before, after = (predict(each, digits.view(name), context, "") for each in (model, network))
        assert torch.isin(before.argmax(dim=1), torch.tensor(FORGET)).all()
        assert not torch.isin(after.argmax(dim=1), torch.tensor(FORGET)).any()
        assert torch.equal(after[:, kept], before[:, kept])


def test_masked_logits_and_their_losses_are_finite_in_half_precision(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    network = masked(model, digits, split, context)
    assert network.get_submodule("head").bias.half().isfinite().all()
    view = digits.view("train", split.forget_train)
    losses = F.cross_entropy(predict(network, view, context, "").half(), view.labels, reduction="none")
    assert losses.isfinite().all()
    assert (losses > 1e3).all()
