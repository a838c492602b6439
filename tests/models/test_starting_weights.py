"""Weights to start from: files of one's own, and downloaded ones; what does not fit is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm.models._builder
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from unsir_bench.config_fields import identity, problems
from unsir_bench.errors import PretrainedWeightsError
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ImageShape, ModelConfig, state_to_cpu
from unsir_bench.models.timm_models import TimmModel
from unsir_bench.models.torchvision_models import MobileNetV2, ResNet18

GREY: ImageShape = (1, 8, 8)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The weights of a network for 10 classes."""
    path = tmp_path / "backbone.safetensors"
    save_file(state_to_cpu(AllCNNConfig(width=3).initial(GREY, 10, seed=1)), path)
    return path


def test_a_backbone_is_loaded_and_a_head_for_other_classes_stays_as_initialised(saved: Path) -> None:
    fresh = AllCNNConfig(width=3).initial(GREY, 4, seed=2).state_dict()
    stored = AllCNNConfig(width=3).initial(GREY, 10, seed=1).state_dict()
    loaded = AllCNNConfig(width=3, weights=str(saved)).initial(GREY, 4, seed=2).state_dict()
    for name, value in loaded.items():
        assert torch.equal(value, fresh[name] if name.startswith("head.") else stored[name]), name


def test_a_fitting_head_is_loaded_too(saved: Path) -> None:
    loaded = AllCNNConfig(width=3, weights=str(saved)).initial(GREY, 10, seed=2).state_dict()
    stored = AllCNNConfig(width=3).initial(GREY, 10, seed=1).state_dict()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)


def test_a_backbone_of_another_width_names_the_tensors_and_both_shapes(saved: Path) -> None:
    with pytest.raises(PretrainedWeightsError) as caught:
        AllCNNConfig(width=5, weights=str(saved)).initial(GREY, 10, seed=0)
    message = str(caught.value)
    assert str(saved) in message
    assert "features.0.0.weight has shape (3, 1, 3, 3), needs (5, 1, 3, 3)" in message
    assert "more" in message


def test_weights_of_another_architecture_name_an_absent_tensor(saved: Path) -> None:
    with pytest.raises(PretrainedWeightsError, match=r"does not fit the model: conv1\.weight is missing"):
        ResNet18(width=4, weights=str(saved)).initial(GREY, 10, seed=0)


def test_weights_of_a_deeper_network_of_the_family_name_what_is_left_over(tmp_path: Path) -> None:
    path = tmp_path / "deeper.safetensors"
    deeper = torchvision.models.resnet._resnet(torchvision.models.resnet.BasicBlock, [2, 2, 2, 3], None, False)
    save_file(state_to_cpu(deeper), path)
    with pytest.raises(PretrainedWeightsError, match=r"layer4\.2\.\S+ has no place"):
        ResNet18(weights=str(path)).initial((3, 32, 32), 10, seed=0)


def test_a_head_of_another_name_in_the_file_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "renamed.safetensors"
    state = state_to_cpu(AllCNNConfig(width=3).initial(GREY, 10, seed=1))
    state["classifier.weight"] = state.pop("head.weight")
    save_file(state, path)
    loaded = AllCNNConfig(width=3, weights=str(path)).initial(GREY, 10, seed=2)
    assert torch.equal(loaded.get_submodule("features.0.0").weight, state["features.0.0.weight"])


def test_counters_of_batches_that_early_torch_did_not_write_may_be_missing(saved: Path) -> None:
    state = state_to_cpu(AllCNNConfig(width=3).initial(GREY, 10, seed=1))
    without = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(state)
    save_file(without, saved)
    loaded = AllCNNConfig(width=3, weights=str(saved)).initial(GREY, 10, seed=2).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["features.0.0.weight", "head.bias"])
def test_weights_that_are_not_finite_are_named_unless_they_are_of_a_head_that_is_not_loaded(
    saved: Path, name: str, value: float
) -> None:
    state = state_to_cpu(AllCNNConfig(width=3).initial(GREY, 10, seed=1))
    state[name].view(-1)[0] = value
    save_file(state, saved)
    with pytest.raises(PretrainedWeightsError, match=f"{name} holds NaN or infinity"):
        AllCNNConfig(width=3, weights=str(saved)).initial(GREY, 10, seed=2)
    if name.startswith("head."):
        other = AllCNNConfig(width=3, weights=str(saved)).initial(GREY, 4, seed=2).state_dict()
        assert torch.equal(other["features.0.0.weight"], state["features.0.0.weight"])


BAD_TENSORS = {
    "int8 codes": (lambda value: value.to(torch.int8), "is int8, needs float32: convert it"),
    "complex": (lambda value: value.to(torch.complex64), "is complex64, needs float32"),
    "bool": (lambda value: value > 0, "is bool, needs float32"),
    "too large": (lambda value: value.double() * 0 + 1e300, "holds numbers too large for float32"),
    "float8 NaN": (lambda value: (value * torch.nan).to(torch.float8_e4m3fn), "holds NaN or infinity"),
}


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_weights_of_another_kind_or_too_large_are_named(saved: Path, kind: str) -> None:
    change, words = BAD_TENSORS[kind]
    state = state_to_cpu(AllCNNConfig(width=3).initial(GREY, 10, seed=1))
    name = "features.0.1.running_var"
    save_file({**state, name: change(state[name])}, saved)
    with pytest.raises(PretrainedWeightsError, match=f"{name} {words}"):
        AllCNNConfig(width=3, weights=str(saved)).initial(GREY, 10, seed=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_floats_of_other_sizes_and_counters_of_any_kind_are_loaded(saved: Path, dtype: torch.dtype) -> None:
    state = state_to_cpu(AllCNNConfig(width=3).initial(GREY, 10, seed=1))
    others = {
        name: value.to(dtype if value.is_floating_point() else torch.float32 if "0.1" in name else torch.int32)
        for name, value in state.items()
    }
    save_file(others, saved)
    loaded = AllCNNConfig(width=3, weights=str(saved)).initial(GREY, 10, seed=2).state_dict()
    assert all(torch.equal(loaded[name], value.to(state[name].dtype)) for name, value in others.items())


def test_a_damaged_weights_file_is_named(tmp_path: Path, saved: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(saved.read_bytes()[:200])
    with pytest.raises(PretrainedWeightsError, match=r"model\.weights=.*damaged\.safetensors: cannot be read"):
        AllCNNConfig(width=3, weights=str(damaged)).initial(GREY, 10, seed=0)


def test_a_pickled_weights_file_is_refused_before_any_work(tmp_path: Path) -> None:
    pickled = tmp_path / "model.pt"
    torch.save({}, pickled)
    assert list(problems(AllCNNConfig(weights=str(pickled)), "model")) == [
        f"model.weights={pickled}: only .safetensors files are read (a pickle could run code)"
    ]


def test_a_missing_weights_file_is_named_before_any_work(tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    [problem] = problems(AllCNNConfig(weights=str(missing)), "model")
    assert problem.startswith(f"model.weights={missing}: there is no such file; give")


def test_a_weights_file_that_cannot_be_reached_is_named_with_the_reason(tmp_path: Path) -> None:
    config = AllCNNConfig(weights=f"{tmp_path}/{'w' * 300}.safetensors")
    [problem] = problems(config, "model")
    assert problem == f"model.weights={config.weights}: the file cannot be reached (File name too long); " + (
        "give a local .safetensors file"
    )
    assert config.content_identity() is None


def test_local_and_downloaded_weights_exclude_each_other(saved: Path) -> None:
    [problem] = problems(MobileNetV2(pretrained=True, weights=str(saved)), "model")
    assert "model.pretrained=true" in problem
    assert str(saved) in problem


def test_a_store_key_follows_the_content_of_a_weights_file_and_not_its_path(saved: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(saved.read_bytes())
    at_first, elsewhere = (identity(AllCNNConfig(weights=str(path))) for path in (saved, moved))
    save_file({"other": torch.zeros(1)}, moved)
    assert at_first == elsewhere
    assert identity(AllCNNConfig(weights=str(moved))) != elsewhere


def no_network(*_arguments: Any, **_options: Any) -> None:
    raise URLError("no route to host")


@pytest.mark.parametrize("config", [ResNet18(pretrained=True), MobileNetV2(pretrained=True)], ids=["resnet", "mobile"])
def test_torchvision_weights_out_of_reach_advise_a_local_file(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(PretrainedWeightsError, match=r"model\.weights=FILE\.safetensors.*model\.pretrained=false") as e:
        config.initial((3, 32, 32), 10, seed=0)
    assert "model.pretrained=true" in str(e.value)
    assert "no route to host" in str(e.value)


def test_timm_weights_out_of_reach_advise_a_local_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", no_network)
    with pytest.raises(PretrainedWeightsError, match=r"test_resnet.*no route to host") as caught:
        TimmModel(arch="test_resnet", pretrained=True).initial((3, 32, 32), 10, seed=0)
    assert "model.weights=FILE.safetensors" in str(caught.value)


@pytest.fixture
def downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Tensor]:
    """A stand-in for torchvision's ResNet18 weights, which a download then finds."""
    torch.manual_seed(5)
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda _url, file, *_a, **_k: torch.save(state, file))
    return state


def test_a_pretrained_resnet18_keeps_its_backbone_and_gets_a_head_for_the_classes(
    downloaded: dict[str, Tensor],
) -> None:
    model = ResNet18(pretrained=True).initial((3, 32, 32), 6, seed=0)
    for name, value in model.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, downloaded[name]), name
    assert model.fc.weight.shape == (6, 512)
