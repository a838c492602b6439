"""Mean and std of pretrained weights, from their own configuration."""

import hashlib
import json
from pathlib import Path

import pytest
from timm import create_model

from tests.conf.test_configs import composed
from unsir_bench.config import validate
from unsir_bench.config_fields import identity
from unsir_bench.errors import ConfigError
from unsir_bench.models.timm_models import TimmModel
from unsir_bench.models.torchvision_models import MobileNetV2, ResNet18
from unsir_bench.runs.record_of_run import blank_record

# As published: https://pytorch.org/vision/stable/models.html, and timm's model cards.
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
INCEPTION = ([0.5] * 3, [0.5] * 3)


@pytest.mark.parametrize(
    ("model", "statistics"),
    [
        (ResNet18(pretrained=True), IMAGENET),
        (MobileNetV2(pretrained=True), IMAGENET),
        (TimmModel(arch="resnet10t", pretrained=True), IMAGENET),
        (TimmModel(arch="vit_tiny_patch16_224", pretrained=True), INCEPTION),
        (TimmModel(arch="vit_tiny_patch16_224"), None),
        (ResNet18(), None),
    ],
    ids=str,
)
def test_the_weights_own_configuration_is_told(model: ResNet18 | TimmModel, statistics: object) -> None:
    assert model.statistics_of_weights() == statistics


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A model's folder as the hub serves it, with statistics of its own."""
    name = "test_resnet"
    settings = {
        "architecture": name,
        "num_classes": 5,
        "pretrained_cfg": {**create_model(name).pretrained_cfg, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    settings["pretrained_cfg"]["num_classes"] = 5
    (tmp_path / "config.json").write_text(json.dumps(settings))
    from safetensors.torch import save_file

    save_file(create_model(name, num_classes=5).state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def test_a_model_that_lies_in_a_folder_is_built_with_its_weights_and_statistics(local: Path) -> None:
    model = TimmModel(arch=f"local-dir:{local}", pretrained=True)
    assert model.statistics_of_weights() == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert model.head(model.build((3, 32, 32), 7)).out_features == 7


def test_a_run_takes_them_where_its_data_set_says_so() -> None:
    words = ("model=resnet18_pretrained", "dataset=cifar10")
    own, weights = composed(*words), composed(*words, "dataset.normalisation=weights")
    assert own.dataset.mean == [0.4914, 0.4822, 0.4465]
    assert (weights.dataset.mean, weights.dataset.std) == IMAGENET
    assert own.run_id != weights.run_id
    untrained = composed("model=resnet18", "dataset=cifar10", "dataset.normalisation=weights")
    assert untrained.dataset.mean == own.dataset.mean


def test_weights_whose_configuration_cannot_be_reached_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    words = ("model=timm", "model.arch=hf-hub:nobody/nothing", "model.pretrained=true")
    with pytest.raises(ConfigError, match=r"dataset.normalisation=weights: the configuration of the weights of hf-hub"):
        composed(*words, "dataset.normalisation=weights")


def test_a_file_of_weights_that_does_not_tell_them_is_refused_before_any_work(tmp_path: Path) -> None:
    words = ("model=resnet18", f"model.weights={tmp_path / 'none.safetensors'}", "dataset=cifar10", "train.epochs=-1")
    with pytest.raises(ConfigError, match=r"(?s)model.weights=.*set dataset.normalisation=dataset") as caught:
        validate(composed(*words, "dataset.normalisation=weights"))
    assert len(caught.value.problems) >= 3, "beside the file that is not there and the epochs"
    assert composed("experiment=faces", "dataset.root=x").dataset.mean == IMAGENET[0]


def test_a_record_names_the_content_of_the_file_that_its_network_started_from(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"of a backbone")
    started, untrained = (composed("model=resnet18", *words) for words in ([f"model.weights={file}"], []))
    assert blank_record(started).fingerprints == {"initial_weights": hashlib.sha256(b"of a backbone").hexdigest()[:16]}
    assert blank_record(untrained).fingerprints == {}


def test_the_file_of_a_frozen_backbone_is_refused_likewise(tmp_path: Path) -> None:
    words = ("model=frozen_head", "model.trained_on=weights", f"model.backbone.weights={tmp_path / 'none.safetensors'}")
    with pytest.raises(ConfigError, match=r"(?s)model.backbone.weights=.*set dataset.normalisation=dataset"):
        validate(composed(*words, "dataset.normalisation=weights"))


def test_other_content_of_a_models_folder_is_another_model(local: Path) -> None:
    model = TimmModel(arch=f"local-dir:{local}", pretrained=True)
    before = identity(model)
    assert identity(model) == before
    (local / "model.safetensors").write_bytes(b"other weights")
    assert identity(model) != before


def test_weights_beside_a_models_folder_are_part_of_what_it_is(
    local: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    without = TimmModel(arch=f"local-dir:{local}").content_identity()
    weights = tmp_path_factory.mktemp("elsewhere") / "weights.safetensors"
    found = [without]
    for content in (b"one", b"another"):
        weights.write_bytes(content)
        found.append(TimmModel(arch=f"local-dir:{local}", weights=str(weights)).content_identity())
    assert len(set(found)) == 3


def test_a_snapshot_whose_files_are_links_is_the_model_that_they_lead_to(
    local: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As the cache of Hugging Face lays models out."""
    snapshot = tmp_path_factory.mktemp("snapshot")
    for path in local.iterdir():
        (snapshot / path.name).symlink_to(path)
    plain, linked = (TimmModel(arch=f"local-dir:{folder}") for folder in (local, snapshot))
    assert linked.content_identity() == plain.content_identity() is not None
