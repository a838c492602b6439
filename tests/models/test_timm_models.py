"""timm's models: what cannot be trained or measured is refused before the original is trained."""

import pytest
import torch
from torch import nn

from unsir_bench.config_fields import problems
from unsir_bench.errors import ConfigError
from unsir_bench.models.timm_models import TimmModel


def complaints(arch: str) -> list[str]:
    return [line for line in problems(TimmModel(arch=arch), "model") if "arch" in line]


def test_a_tag_that_does_not_exist_is_one_line_with_those_that_do():
    (line,) = complaints("resnet10t.nosuchtag")
    assert "model.arch=resnet10t.nosuchtag: timm has no weights with this tag; write resnet10t" in line
    assert "c3_in1k" in line


@pytest.mark.parametrize("arch", ["resnet10t", "resnet10t.c3_in1k", "hf-hub:timm/resnet10t.c3_in1k"])
def test_names_tags_and_places_that_timm_knows_are_taken(arch: str):
    assert complaints(arch) == []


def test_an_unknown_family_is_named_whatever_its_tag():
    (line,) = complaints("resnet10q.c3_in1k")
    assert "no such model" in line


@pytest.mark.parametrize(
    ("arch", "size", "words"),
    [
        ("deit_tiny_distilled_patch16_224", 32, "head is in several parts"),
        ("levit_128s", 32, "head is in several parts"),
        ("inception_v3", 32, "cannot read images of 3x32x32"),  # too deep for tiny images
        ("crossvit_9_240", 32, "cannot read images of 3x32x32"),  # of one size only
        ("crossvit_9_240", 240, "not its classifier's output alone"),  # a head for each branch
        ("hf-hub:nobody/nothing", 32, "cannot build it"),
    ],
)
def test_a_model_that_would_fail_later_is_refused_when_it_is_built(
    arch: str, size: int, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable is read once, at import
    with pytest.raises(ConfigError) as caught:
        TimmModel(arch=arch).build((3, size, size), 7)
    (line,) = caught.value.problems
    assert f"model.arch={arch}" in line
    assert words in line


def test_group_normalisation_keeps_what_timms_batch_normalisation_holds():
    """BatchNormAct2d is the activation too: a network without it would be linear for long stretches."""
    options = {"arch": "mobilenetv3_small_050"}
    batch, group = (TimmModel(norm=norm, **options).initial((3, 32, 32), 4, seed=0) for norm in ("batch", "group"))
    kinds = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
    counted = [sum(isinstance(part, kinds) for part in each.modules()) for each in (batch, group)]
    assert counted[0] == counted[1] > 10
    assert not any(isinstance(part, nn.BatchNorm2d) for part in group.modules())
    [line] = problems(TimmModel(norm="group", pretrained=True, **options), "model")
    assert "pretrained normalisation would be lost" in line


def test_trying_a_model_out_changes_neither_its_weights_nor_what_is_drawn_later():
    config = TimmModel(arch="test_resnet")
    torch.manual_seed(5)
    alone = config._create((3, 32, 32), 4)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    tried = config.build((3, 32, 32), 4)
    assert torch.equal(torch.rand(3), drawn)
    assert tried.training
    states = (alone.state_dict(), tried.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("pretrained", True, "set model.pretrained=true"),
        ("checkpoint_path", "w.safetensors", "give model.weights=FILE.safetensors"),
        ("pretrained_cfg", {"file": "w.bin"}, "give model.weights=FILE.safetensors"),
        ("pretrained_cfg_overlay", {"file": "w.bin"}, "give model.weights=FILE.safetensors"),
        ("num_classes", 3, "the data set says"),
        ("in_chans", 1, "dataset.color=rgb"),
        ("features_only", True, "no classifier"),
    ],
)
def test_an_option_that_loads_weights_outside_the_run_id_or_undoes_the_data_set_is_refused(
    name: str, value: object, fix: str
):
    [line] = problems(TimmModel(arch="resnet10t", options={name: value, "drop_rate": 0.1}), "model")
    assert line.startswith(f"model.options.{name}={value}: is no option; ") and fix in line


def test_a_model_without_a_classifier_says_so():
    with pytest.raises(ConfigError, match=r"model\.arch=resnet10t: it has no classifier; choose another"):
        TimmModel(arch="resnet10t", options={"features_only": True}).build((3, 32, 32), 4)
