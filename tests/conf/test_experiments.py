"""The presets of the paper's experiments: every job composes at every scale, and the smoke scale really runs."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import asdict, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from unsir_bench.config import Config, typed, validate
from unsir_bench.errors import ConfigError
from unsir_bench.runner import run
from unsir_bench.sweeps.compose import grid
from unsir_bench.unlearning.unsir import Unsir

CONF = Path(__file__).resolve().parents[2] / "conf"
SCALES = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))
EXPERIMENTS = sorted(
    path.stem for path in (CONF / "experiment").glob("*.yaml") if "scaled/common" in path.read_text(encoding="utf-8")
)
CASES = [(name, scale) for name in EXPERIMENTS for scale in SCALES]
DOCUMENT = CONF.parent / "docs" / "experiments.md"


@cache
def composed(*overrides: str) -> DictConfig:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        return compose("config", list(overrides))


def config_of(name: str, scale: str, *overrides: str) -> Config:
    """A preset with the first data set, network, recipe and metrics that its sweep chooses; ``overrides`` win."""
    chosen = {group: swept(name, scale)[group][0] for group in ("dataset", "model", "train", "metrics")}
    chosen |= dict(word.split("=", 1) for word in overrides)
    return typed(composed(f"experiment={name}", f"scale={scale}", *(f"{key}={value}" for key, value in chosen.items())))


@cache
def swept(name: str, scale: str) -> dict[str, tuple[str, ...]]:
    """The values that the sweep gives each key, as Hydra's own parser splits them."""
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        whole = compose("config", [f"experiment={name}", f"scale={scale}"], return_hydra_config=True)
        params = OmegaConf.to_container(whole.hydra.sweeper.params, resolve=True)
        assert isinstance(params, dict)
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        overrides = parser.parse_overrides([f"{key}={value}" for key, value in params.items()])
        return {
            override.key_or_group: (
                tuple(map(str, override.sweep_string_iterator()))
                if override.is_sweep_override()
                else (str(override.get_value_element_as_str()),)
            )
            for override in overrides
        }


def jobs(name: str, scale: str) -> list[dict[str, str]]:
    choices = swept(name, scale)
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def section(name: str, scale: str, group: str, option: str) -> Any:
    """An option's node within a preset, whose own values change only data sets and networks among what is swept."""
    if group in ("dataset", "model"):
        return composed(f"experiment={name}", f"scale={scale}", f"{group}={option}")[group]
    return composed(*([f"scale={scale}"] if "/" in option else []), f"{group}={option}")[group]


def job_config(name: str, scale: str, job: dict[str, str]) -> Config:
    """What a job composes to, put together from sections: composing each job anew takes minutes."""
    whole: Any = copy.deepcopy(composed(f"experiment={name}", f"scale={scale}"))
    groups = {key: value for key, value in job.items() if (CONF / key).is_dir()}
    for group, option in groups.items():
        OmegaConf.update(whole, group, section(name, scale, group, option), merge=False)
    values = [f"{key}={value}" for key, value in job.items() if key not in groups]
    for override in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(whole, override.key_or_group, override.value())
    return typed(whole)


def all_configs(name: str, scale: str) -> list[Config]:
    """Every job of a sweep; those of further seeds differ in the seed alone."""
    seeds = swept(name, scale)["seed"]
    first = [job_config(name, scale, job) for job in jobs(name, scale) if job["seed"] == seeds[0]]
    return [replace(config, seed=int(seed)) for config in first for seed in seeds]


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_every_job_is_valid_and_a_run_of_its_own(scale: str) -> None:
    wrong = []
    for name in EXPERIMENTS:
        configs = all_configs(name, scale)
        assert len(configs) == len(jobs(name, scale)) > 2
        labels = {(config.scale.name, config.at_scale, config.sweep) for config in configs}
        if labels != {(scale, scale, f"{name}_{scale}")}:
            wrong.append(f"{name}: {labels}")
        if len({config.run_id for config in configs}) != len(configs):
            wrong.append(f"{name}: two jobs have the same run id")
        # Mistakes are mistakes of a section, so the jobs of the first seed have them all.
        wrong += [f"{name}: {line}" for config in configs if config.seed == 0 for line in mistakes(config)]
    assert wrong == []


def mistakes(config: Config) -> list[str]:
    """What is wrong with a configuration, other than that no folder of VGGFace is given."""
    try:
        validate(config)
    except ConfigError as error:
        return [line for line in error.problems if "found 0 identities" not in line]
    return [] if config.dataset.name != "vggface100" else ["a missing folder was not noticed"]


def test_a_job_put_together_from_sections_is_what_the_command_composes() -> None:
    of = (("cifar10_several", "cpu"), ("ablation_learning_rates", "paper"), ("ablation_fidelity", "smoke"))
    for name, scale in of:
        job = jobs(name, scale)[-1]
        assert job_config(name, scale, job) == config_of(name, scale, *(f"{key}={value}" for key, value in job.items()))


@pytest.mark.parametrize("given", [[], ["dataset=digits"], ["dataset=digits", "model=allcnn_tiny"]])
def test_a_run_without_the_choices_of_the_sweep_is_refused_with_what_to_do(given: list[str]) -> None:
    missing = ("dataset", "model", "train")[len(given)]
    with pytest.raises(ConfigError, match=f"{missing}: no option is chosen; give {missing}=NAME; .*`unsir-bench -m`"):
        typed(composed("experiment=cifar10_single", "scale=smoke", *given))


def test_the_sweep_takes_the_command_lines_choice_over_the_scales() -> None:
    params = {key: ",".join(values) for key, values in swept("cifar10_single", "cpu").items()}
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        overrides = grid(loader, params, ["dataset=cifar10_jpeg", "model=allcnn_slim", "method=unsir", "seed=3"])
    assert len(overrides) == 1
    assert set(overrides[0]) >= {"dataset=cifar10_jpeg", "model=allcnn_slim", "method=unsir", "seed=3"}
    assert not {"dataset=cifar10", "seed=0"} & set(overrides[0])


def test_of_the_scale_the_record_keeps_the_name_alone() -> None:
    assert config_of("cifar10_single", "paper").as_plain()["scale"] == {"name": "paper"}


def test_other_runs_are_labelled_with_no_scale_and_no_id_depends_on_it() -> None:
    bare, smoke = (typed(composed(f"scale={scale}")) for scale in ("cpu", "smoke"))
    assert bare.at_scale is smoke.at_scale is None
    assert bare.run_id == smoke.run_id


def test_the_headline_has_the_papers_scale_and_its_runs_are_those_that_name_none() -> None:
    headline, unnamed = (typed(composed("experiment=headline", *more)) for more in ([], ["at_scale=null"]))
    assert headline.at_scale == "paper"
    assert headline.run_id == unnamed.run_id


def test_an_unknown_scale_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Exception, match="huge") as caught:
        composed("experiment=cifar10_single", "scale=huge")
    assert all(scale in str(caught.value) for scale in SCALES)


@pytest.mark.parametrize("name", ["cifar10_single", "ablation_lambda"])
@pytest.mark.parametrize("scale", SCALES)
def test_another_data_set_keeps_the_values_of_the_scale(name: str, scale: str) -> None:
    own, other = config_of(name, scale), config_of(name, scale, "dataset=cifar10_jpeg", "method=unsir")
    assert other.dataset.name == "cifar10_jpeg"
    assert isinstance(other.method, Unsir)
    subset, batch_size, unsir_batch_size, share = {
        "smoke": (20, 16, 16, 0.5), "cpu": (1000, 256, 32, 0.2), "paper": (None, 256, 256, None),
    }[scale]  # fmt: skip
    for config in (own, other):
        assert (config.dataset.subset, config.dataset.batch_size) == (subset, batch_size)
    assert other.method.noise.batch_size == other.method.impair.batch_size == unsir_batch_size
    assert other.method.repair.batch_size == unsir_batch_size
    assert other.method.retain_share == share


def test_the_command_line_has_the_last_word_over_the_scale() -> None:
    config = config_of("cifar10_single", "cpu", "dataset.subset=50", "train.epochs=2", "model=allcnn_tiny")
    assert (config.dataset.subset, config.train.epochs, config.model.name) == (50, 2, "allcnn_tiny")


def test_fast_metrics_stay_fast_at_every_scale() -> None:
    for scale in SCALES:
        metrics = config_of("cifar10_single", scale, "metrics=fast").metrics
        assert (metrics.relearn.cap, metrics.floor, metrics.membership) == (0, False, False)


def test_paper_scale_has_the_settings_of_the_authors_notebook() -> None:
    config = config_of("cifar10_single", "paper")
    train, method = config.train, config.method
    assert (config.dataset.name, config.dataset.subset, config.model.name) == ("cifar10", None, "resnet18")
    assert (train.epochs, train.batch_size, train.optimizer, train.lr) == (40, 256, "adam", 0.01)
    assert (train.weight_decay, train.clip_value, train.schedule) == (1e-4, 0.1, "plateau")
    assert (train.augment.flip, train.augment.crop_padding) == (False, 0)
    assert isinstance(method, Unsir)
    assert (method.retain_per_class, method.retain_share, method.noise.batch_size) == (1000, None, 256)
    assert (method.impair.lr, method.impair.batch_size, method.repair.lr) == (0.02, 256, 0.01)


def test_networks_are_pretrained_at_paper_scale_alone() -> None:
    for name, scale in product(("cifar100", "vggface100"), SCALES):
        networks = [config_of(name, scale, f"model={option}").model for option in swept(name, scale)["model"]]
        pretrained = scale == "paper"
        rates = 0.1 if pretrained else 1.0
        assert [(own.pretrained, own.backbone_lr_scale) for own in networks] == [(pretrained, rates)] * 2, (name, scale)


def test_forget_sets_are_those_of_the_paper() -> None:
    several = [
        config_of("cifar10_several", "paper", f"forget={option}").forget.classes
        for option in swept("cifar10_several", "paper")["forget"]
    ]
    assert several == [[1, 2], [3, 4, 5, 6], [3, 4, 5, 6, 7, 8, 9]]
    assert swept("cifar100", "paper")["forget.random_k"] == ("1", "20", "40")
    assert config_of("cifar10_sequential", "paper", "forget=sequence").forget.sequence == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("name", "key", "low", "high", "published"),
    [
        ("ablation_impair_rate", "method.impair.lr", 0.001, 1, 0.02),
        ("ablation_lambda", "method.noise.weight_penalty", 0, 10, 0.1),
        ("ablation_retain_share", "method.retain_share", 0.01, 0.6, 0.2),
        ("ablation_repair_epochs", "method.repair.epochs", 1, 3, 1),
        ("ablation_learning_rates", "method.impair.lr", 0.0001, 0.02, 0.02),
        ("ablation_learning_rates", "method.repair.lr", 0.0001, 0.01, 0.01),
    ],
)
def test_an_ablation_spans_the_papers_range_and_holds_the_published_value(
    name: str, key: str, low: float, high: float, published: float
) -> None:
    for scale in SCALES:
        values = [float(value) for value in swept(name, scale)[key]]
        assert values == sorted(set(values))
        assert (values[0], values[-1]) == (low, high)
        assert published in values


def test_each_oddity_of_the_notebook_is_one_change_and_all_three_are_the_notebooks() -> None:
    variants = {name: config_of("ablation_fidelity", "paper", f"method=fidelity/{name}").method for name in ODDITIES}
    plain = flat(asdict(variants["corrected"]))
    for name, expected in ODDITIES.items():
        own = flat(asdict(variants[name]))
        assert {key: own[key] for key in own if own[key] != plain[key] and key != "name"} == expected
    notebook = flat(asdict(config_of("ablation_fidelity", "paper", "method=unsir_notebook").method))
    own_words = {key: notebook[key] for key in ("name", "settings", "study")}
    assert flat(asdict(variants["all_three"])) | own_words == notebook
    assert config_of("ablation_fidelity", "paper").forget.classes == [0, 2]


ODDITIES: dict[str, dict[str, object]] = {
    "corrected": {},
    "three_images": {"noise.one_per_channel": True},
    "label_zero": {"noise.labels": "class_zero"},
    "batch_statistics": {"noise.batchnorm": "train"},
    "all_three": {
        "noise.one_per_channel": True, "noise.labels": "class_zero", "noise.batchnorm": "train",
        "noise.classes_together": False, "retain_selection": "first",
    },
}  # fmt: skip


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_unsir_is_compared_at_published_and_at_slim_rates_where_networks_are_slim() -> None:
    assert {"unsir", "unsir_slim"} <= set(swept("cifar10_single", "cpu")["method"])
    assert "unsir_slim" not in swept("cifar10_single", "paper")["method"]
    slim, published = (config_of("ablation_lambda", scale).method for scale in ("cpu", "paper"))
    assert isinstance(slim, Unsir)
    assert isinstance(published, Unsir)
    assert slim.impair.lr < published.impair.lr


def test_the_experiment_with_every_method_leaves_none_out() -> None:
    assert set(swept("cifar10_baselines", "cpu")["method"]) == {path.stem for path in (CONF / "method").glob("*.yaml")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """100 classes of images of uneven size."""
    draws = np.random.default_rng(0)
    for label in range(100):
        for split, count in (("train", 2), ("test", 1)):
            place = tmp_path / "images" / split / f"class_{label:02}"
            place.mkdir(parents=True)
            for index in range(count):
                pixels = draws.integers(0, 256, (10 + label % 3, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.png")
    return tmp_path / "images"


@pytest.mark.parametrize("name", ["cifar100", "vggface100"])
def test_100_classes_may_come_from_folders(name: str, folder: Path, tmp_path: Path) -> None:
    overrides = ["dataset=image_folder", f"dataset.root={folder}", "model=allcnn_tiny", "tracker=none", "metrics=fast"]
    config = config_of(name, "cpu", *overrides, "forget=random_k", "forget.random_k=20", "method=original")
    assert (config.dataset.image_size, config.dataset.subset) == (32, 100)
    assert len(validate(config)) == 100
    config.outputs, config.store.root, config.train.epochs = str(tmp_path), str(tmp_path / "store"), 1
    config.retrain_reference = False
    record = run(config)
    assert record.status == "done", record.reason
    assert len(record.forget_classes) == 20


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One fresh store for all: experiments on the same data share their original, as in a real sweep."""
    return tmp_path_factory.mktemp("smoke")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_first_job_of_every_smoke_sweep_runs(name: str, outputs: Path) -> None:
    torch.set_num_threads(1)
    job = jobs(name, "smoke")[0]
    config = job_config(name, "smoke", job)
    config.outputs, config.store.root = str(outputs), str(outputs / "store")
    config.tracker.mode = "none"
    record = run(config)
    assert record.status == "done", record.reason
    assert record.config["at_scale"] == "smoke"
    assert 0 <= record.metrics["acc_retain_test"] <= 1


@pytest.mark.slow
def test_the_document_has_a_row_with_the_number_of_runs_for_every_experiment_and_scale() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|.*\| (\d+) \|[^|]*\|$", text, flags=re.MULTILINE)
    assert {(name, scale): int(count) for name, scale, count in rows} == {
        (name, scale): math.prod(len(values) for values in swept(name, scale).values()) for name, scale in CASES
    }
