"""Configurations made of sections composed before are those that Hydra composes of all files anew."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from unsir_bench import compose
from unsir_bench.config import Config, typed
from unsir_bench.sweeps import compose as composing
from unsir_bench.sweeps import composers
from unsir_bench.sweeps.compose import JobComposer

# What an option may do beyond its own section: each must be left to Hydra.
OPEN_OPTIONS = {
    "method/as_the_forget_set": "defaults:\n  - of_${forget}\n  - _self_\n",
    # Where Hydra looks for the former.
    "method/method/of_pair": "# @package _global_\ndefaults:\n  - /method/salun@method\n  - _self_\n",
    "forget/of_the_whole": "# @package _global_\nseed: 5\nforget:\n  classes: [2]\n",
    "forget/with_recipe": "defaults:\n  - single\n  - /train/fast@_global_.train\n  - _self_\n",
    "metrics/more": "defaults:\n  - standard\n  - _self_\n\nfloor: false\n",
}


@pytest.fixture
def loader() -> Iterator[object]:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The options of each configuration that Hydra composed from all files."""
    made: list[tuple[str, ...]] = []
    by_hydra = JobComposer._compose_whole

    def noted(self: JobComposer, chosen: list[str]) -> object:
        made.append(tuple(chosen))
        return by_hydra(self, chosen)

    monkeypatch.setattr(JobComposer, "_compose_whole", noted)
    return made


def assert_as_hydra_composes(composer: JobComposer, words: list[str]) -> Config:
    expected = hydra_compose("config", [*composer.hydra_overrides, *words])
    found = composer.compose(words)
    assert found == expected and OmegaConf.is_struct(found)
    assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)  # the order of keys, and interpolations as written
    config, by_hydra = typed(found), typed(expected)
    assert config == by_hydra and config.run_id == by_hydra.run_id
    return config


def test_a_mixed_sweep_is_composed_by_hydra_once_for_each_network_of_several_groups(
    loader: object, whole: list[tuple[str, ...]]
) -> None:
    composer = JobComposer(loader, "config")
    models = ("model=allcnn_tiny", "model=frozen_head", "model=resnet18")
    methods = ("method=unsir", "method=original", "method=dp_sgd")
    values = (("seed=1", "method.name=x"), ("unlearn_seed=7", "++train.lr=0.5"))
    jobs = [[*choice, *more] for choice in itertools.product(models, ("forget=pair",), methods) for more in values]
    ids = {assert_as_hydra_composes(composer, job).run_id for job in jobs}
    assert len(ids) == len(jobs)
    # A frozen head has a backbone, an option of another group.
    assert whole == [
        ("model=allcnn_tiny", "forget=pair", "method=unsir"),
        ("model=frozen_head", "forget=pair", "method=unsir"),
    ]


def test_a_preset_that_follows_the_scale_stays_over_what_an_option_sets(
    loader: object, whole: list[tuple[str, ...]]
) -> None:
    composer = JobComposer(loader, "config")
    for scale, method in itertools.product(("smoke", "cpu"), ("unsir", "finetune", "fisher")):
        words = ["experiment=cifar10_single", f"scale={scale}", f"method={method}", "dataset=digits"]
        assert_as_hydra_composes(composer, [*words, "model=allcnn_tiny", "train=smoke", "metrics=fast", "seed=2"])
    assert len(whole) == 1


@pytest.mark.parametrize(
    "option", ["method=as_the_forget_set", "forget=of_the_whole", "forget=with_recipe", "metrics=more"]
)
def test_options_that_reach_beyond_their_section_are_left_to_hydra(
    option: str, loader: object, whole: list[tuple[str, ...]], tmp_path: Path
) -> None:
    for name, text in OPEN_OPTIONS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    composer = JobComposer(loader, "config", [f"hydra.searchpath=[file://{tmp_path}]"])
    group = option.partition("=")[0]
    usual = {"method": "method=ssd", "forget": "forget=pair", "metrics": "metrics=fast"}
    for chosen in (usual, usual | {group: option}, usual | {"train": "train=small"}, usual | {group: option}):
        words = list(chosen.values())
        expected = hydra_compose("config", [*composer.hydra_overrides, *words])
        assert composer.compose(words) == expected
    closed = option == "metrics=more"
    assert (tuple((usual | {group: option}).values()) in whole) is not closed


def test_another_version_of_hydra_composes_everything_itself(
    loader: object, whole: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composing, "SUPPORTED", False)
    composer = JobComposer(loader, "config")
    for method in ("unsir", "retrain"):
        assert_as_hydra_composes(composer, [f"method={method}", "seed=3"])
    assert len(whole) == 2


@pytest.mark.parametrize(
    "words", [["method=nothing"], ["nothing=1"], ["seed=1,2"], ["method=unsir,ssd"], ["seed=one"], ["method.impair=3"]]
)
def test_what_cannot_be_composed_is_told_in_hydras_words(words: list[str]) -> None:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"), pytest.raises(HydraException) as expected:
        hydra_compose("config", words)
    compose(["method=ssd"])  # something is kept by now
    with pytest.raises(HydraException) as found:
        compose(words)
    assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))


def test_a_file_that_changed_since_the_last_composition_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "changing_options" / "conf"
    (conf / "forget").mkdir(parents=True)
    for folder in (conf.parent, conf):
        (folder / "__init__.py").touch()
    option = conf / "forget" / "changing.yaml"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("UNSIR_BENCH_PLUGINS", "changing_options")

    def forgotten(classes: str) -> list[int]:
        option.write_text(f"defaults:\n  - single\n  - _self_\n\nclasses: {classes}\n")
        return compose(["forget=changing", "seed=1"]).forget.classes

    assert [forgotten("[3]"), forgotten("[4]"), forgotten("[4]"), forgotten("[8, 9]")] == [[3], [4], [4], [8, 9]]
    option.unlink()
    with pytest.raises(HydraException, match="changing"):
        compose(["forget=changing", "seed=1"])


def test_what_is_composed_is_kept_until_a_schema_changes(
    whole: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composers, "_KEPT", [])
    for method in ("ssd", "unsir", "ssd"):
        compose([f"method={method}"]).train.epochs = 99  # an object of its own
    assert len(whole) == 1 and compose(["method=ssd"]).train.epochs != 99
    ConfigStore.instance().store(name="schema_config", node=Config)
    compose(["method=unsir"])
    assert whole == [("method=ssd",), ("method=unsir",)]
