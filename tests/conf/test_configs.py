"""Every shipped YAML composes into objects, and every experiment preset runs when shrunk."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from unsir_bench.baselines.dp_sgd import DPSGD

import unsir_bench
from unsir_bench.cli.tune import _with_a_choice
from unsir_bench.config import Config, typed, validate
from unsir_bench.errors import ConfigError
from unsir_bench.records import RunRecord
from unsir_bench.runner import run
from unsir_bench.sweeps.composers import composer_of
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.solved_heads import SolvedHeadMethod

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = ("dataset", "model", "method", "train", "forget", "metrics", "hardware", "tracker", "scale")
OPTIONS = [
    (group, path.relative_to(CONF / group).with_suffix("").as_posix())
    for group in GROUPS
    for path in sorted((CONF / group).glob("*.yaml" if group == "scale" else "**/*.yaml"))
]
# Presets that follow `scale` are run in tests/conf/test_experiments.py, that of solved heads in test_solved_heads.py;
# this one has the methods of digits_methods.
ALIKE = "digits_any_forget_class"
EXPERIMENTS = sorted(
    path.stem
    for path in (CONF / "experiment").glob("*.yaml")
    if path.stem != ALIKE
    and not re.search("scaled/common|model: frozen_head|- digits_related_heads", path.read_text(encoding="utf-8"))
)
# What a test machine need not have, an extra included: these refuse to validate, but compose like the rest.
ABSENT = {
    "gpu", "multi_gpu", "mps", "hf", "image_folder", "vggface100", "cifar10_jpeg", "cifar10_png", "cifar20_png",
    "cifar100_png", "two_level_folder", "indices", "subclass", "attribute", "cifar20_subclass", "faces", "mlflow",
    "tensorboard",
}  # fmt: skip
OF_VIT = {"model=allcnn_slim": "model=vit_tiny", "model.width=4": "model.options.depth=1"}  # the preset sets an option
NEEDED = {("train", "dp_sgd"): ("model.norm=group",)}  # an option that is for some networks alone
TINY = [
    "dataset=digits", "dataset.subset=12", "model=allcnn_slim", "model.width=4", "train.epochs=1",
    "train.batch_size=32", "tracker=none", "metrics=fast",
]  # fmt: skip


def composed(*overrides: str) -> Config:
    return unsir_bench.compose(overrides)


@cache
def with_option(group: str, option: str) -> DictConfig:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        composer = composer_of(GlobalHydra.instance().config_loader(), "config")  # type: ignore[arg-type]
        return composer.compose([f"{group}={option}", *NEEDED.get((group, option), ())])


def is_name(value: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9_.-]+", value))


def test_the_bare_command_is_unsir_on_digits() -> None:
    config = composed()
    assert (config.method.name, config.dataset.name, config.forget.classes) == ("unsir", "digits", [0])
    assert config.store.root == "multirun_outputs/store"
    assert validate(config) == tuple("0123456789")


def test_an_unknown_experiment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(MissingConfigException, match="digits_demo"):
        composed("experiment=digits_dmo")


def test_every_option_of_every_group_composes_into_objects() -> None:
    wrong = [f"{group}={option}: {line}" for group, option in OPTIONS for line in mistakes(group, option)]
    assert wrong == []


def mistakes(group: str, option: str) -> list[str]:
    """What is wrong with an option; of those that need what this machine need not have, what shows before checking."""
    try:
        node = with_option(group, option)
        config = typed(node)
        found = [f"{key} is not set" for key in sorted(OmegaConf.missing_keys(node[group]))]
        names = (getattr(config, group).name, config.run_id)
        found += [f"{name!r} is no name" for name in names if not is_name(name)]
        if Path(option).name not in ABSENT:
            validate(config)
    except (ConfigError, HydraException) as error:
        return [str(error)]
    return found


@pytest.mark.slow
def test_every_option_is_composed_as_hydra_composes_it() -> None:
    for group, option in OPTIONS:
        with initialize_config_module("unsir_bench.conf", version_base="1.3"):
            expected = compose("config", [f"{group}={option}", *NEEDED.get((group, option), ())])
        found = with_option(group, option)
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected), (group, option)
        assert (config := typed(found)) == typed(expected) and config.run_id == typed(expected).run_id


def test_a_wrong_option_is_found() -> None:
    assert mistakes("dataset", "image_folder") == []
    assert "could not find" in mistakes("dataset", "nothing")[0].lower()


def test_every_file_begins_with_what_it_is() -> None:
    bare = []
    for path in CONF.rglob("*.yaml"):
        first = path.read_text(encoding="utf-8").removeprefix("# @package _global_\n")
        bare += [] if first.startswith("# ") else [str(path)]
    assert bare == []


def test_a_glob_over_methods_selects_methods_alone() -> None:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        offered = GlobalHydra.instance().config_loader().get_group_options("method")
    assert sorted(offered) == sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


@pytest.fixture(scope="module")
def shrunk_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Config], RunRecord]:
    """Does a run, once for all presets that have it when shrunk; they share what is trained."""
    folder, done = tmp_path_factory.mktemp("shrunk"), dict[str, RunRecord]()

    def record_of(config: Config) -> RunRecord:
        config.outputs, config.store.root = str(folder), str(folder / "store")
        if (run_id := config.run_id) not in done:
            done[run_id] = run(config)
        return done[run_id]

    return record_of


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_when_shrunk(
    name: str, tmp_path: Path, shrunk_runs: Callable[[Config], RunRecord]
) -> None:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        preset = compose("config", [f"experiment={name}"], return_hydra_config=True)
        params = OmegaConf.to_container(preset.hydra.sweeper.params)
        assert isinstance(params, dict)
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        overrides = parser.parse_overrides([f"{key}={value}" for key, value in params.items()])
        jobs = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    assert len(jobs) > 1
    tiny = [OF_VIT.get(part, part) if name.endswith("_vit") else part for part in (*TINY, *_tiny_data(name, tmp_path))]
    for job in dict.fromkeys(tuple(part for part in job if not part.startswith("seed=")) for job in jobs):
        config = composed(f"experiment={name}", *job, *tiny, *_shrunk_method(job))
        for value in vars(config.method).values():
            if isinstance(value, Recipe):
                value.epochs = 1
        record = shrunk_runs(config)
        # A glob over methods offers those of other networks too, and their records say why they did not run.
        status = "skipped" if isinstance(config.method, SolvedHeadMethod | DPSGD) else "done"
        assert record.status == status, record.reason


def test_what_a_df_hides_is_asked_of_every_method_and_of_four_digits() -> None:
    def swept(name: str) -> dict[str, Any]:
        with initialize_config_module("unsir_bench.conf", version_base="1.3"):
            preset = compose("config", [f"experiment={name}"], return_hydra_config=True)
        params = OmegaConf.to_container(preset.hydra.sweeper.params)
        assert isinstance(params, dict)
        return {str(key): value for key, value in params.items()}

    params = swept(ALIKE)
    assert params["method"] == swept("digits_methods")["method"]
    config = composed(f"experiment={ALIKE}", "forget=four", f"forget.classes={params['forget.classes']}")
    assert config.forget.classes == [3, 5, 8, 9]


def test_the_sweep_of_tuned_methods_holds_what_can_be_tuned_and_nothing_else() -> None:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        preset = compose("config", ["experiment=digits_tuned"], return_hydra_config=True)
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        [override] = parser.parse_overrides([f"method={preset.hydra.sweeper.params.method}"])
        methods = set(map(str, override.sweep_string_iterator()))
    assert methods - {"original", "retrain", "logit_mask"} == set(_with_a_choice())


def _tiny_data(name: str, folder: Path) -> list[str]:
    """What a preset needs beside the tiny settings: folders of images where it takes folders; values from no study."""
    if name == "digits_tuned":
        return ["settings=preset"]
    if name.startswith("faces"):
        _write_images(folder, ("id_0", "id_1", "id_2", "id_3"))
        of_folder = [f"dataset.root={folder}", "dataset.image_size=16", "dataset.subset=null"]
        return ["dataset=image_folder", *of_folder, "forget.random_k=2"]
    if name != "cifar20_subclass":
        return []
    _write_images(folder, ("whale", "seal", "apple", "pear"))  # two fine classes each of two coarse ones
    return ["dataset=cifar20_png", f"dataset.root={folder}"]


def _write_images(folder: Path, classes: Sequence[str]) -> None:
    """Twelve images a class and split, of 8 x 8 random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, len(classes), 12, 8, 8, 3), dtype=np.uint8)
    for split, images in zip(("train", "test"), pixels, strict=True):
        for name, own in zip(classes, images, strict=True):
            (folder / split / name).mkdir(parents=True)
            for number, image in enumerate(own):
                Image.fromarray(image).save(folder / split / name / f"{number}.png")


def _shrunk_method(job: Sequence[str]) -> list[str]:
    if "method=gkt" in job:  # a network of one epoch is sure of no image
        return ["method.gate=0.9"]
    method = next((part for part in job if part.startswith("method=unsir")), None)
    if method is None:
        return []
    notebook = method.endswith("notebook")
    return ["method.noise.steps=3", f"method.noise.batch_size={8}", f"method.noise.copies={1 if notebook else 2}"]


def test_every_mistake_is_reported_at_once() -> None:
    config = composed(
        "forget.classes=[0,0,99,zero]", "method.impair.lr=-1", "method.noise.steps=-3", "train.batch_size=0",
        "model=timm", "model.arch=resnet19", "sweep=store",
    )  # fmt: skip
    config.seed = -1
    with pytest.raises(ConfigError) as caught:
        validate(config)
    for expected in (
        "method.impair.lr=-1.0: must be above 0",
        "method.noise.steps=-3: must be at least 0",
        "train.batch_size=0: must be at least 1",
        "model.arch=resnet19: timm has no such model; did you mean resnet18",
        "99 is no class; indices go from 0 to 9",
        "'zero' is no class",
        "class 0 (0) is given twice",
        "seed=-1",
        "sweep=store",
    ):
        assert expected in str(caught.value)
    assert len(caught.value.problems) == 9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("forget.classes=[]", "name at least one class"),
        ("forget.classes=[0,1,2,3,4,5,6,7,8,9]", "forgets all 10 classes"),
        ("forget.classes=[three]", "'three' is no class"),
        ("forget.classes=[-1]", "-1 is no class"),
        ("train.lr=0", "train.lr=0.0: must be above 0"),
        ("train.optimizer=adagrad", "must be one of adam, adamw, sgd"),
        ("method.retain_per_class=0", "method.retain_per_class=0: must be at least 1"),
        ("method.noise.distinct_images=64", "only method.noise.batch_size=32 are learned"),
        ("hardware.devices=4096", "this machine has"),
        ("model.weights=nowhere.safetensors", "there is no such file"),
        ("dataset.mean=[0.1,0.2]", "one number per channel"),
        ("dataset.std=[0]", "must be above 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate(composed(override))


@pytest.mark.parametrize(
    "change",
    ["seed=1", "method.impair.lr=0.03", "train.epochs=3", "forget=pair", "dataset.subset=50", "model.width=8",
     "hardware.precision=64-true", "method=unsir_gentle"],
)  # fmt: skip
def test_the_run_id_changes_with_what_affects_the_result(change: str) -> None:
    assert composed(change).run_id != composed().run_id


@pytest.mark.parametrize(
    "change",
    ["tracker=none", "store.root=elsewhere", "outputs=elsewhere", "sweep=other", "hardware.threads=2",
     "hardware.data_on=stream", "save_model=true", "dataset.root=elsewhere"],
)  # fmt: skip
def test_the_run_id_ignores_paths_trackers_and_workers(change: str) -> None:
    assert composed(change).run_id == composed().run_id


def test_two_image_folders_never_share_a_run_id(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for split in ("train", "test"):
            for label in ("x", "y"):
                folder = tmp_path / name / split / label
                folder.mkdir(parents=True)
                Image.new("RGB", (4, 4), (ord(name), 0, 0)).save(folder / f"{name}.png")
    ids = {composed("dataset=image_folder", f"dataset.root={tmp_path / name}").run_id for name in ("a", "b")}
    assert len(ids) == 2


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that are never decoded, of fixed names and sizes, which make ids as they once were."""
    monkeypatch.setattr("unsir_bench.config.note_content", lambda _: None)
    for split in ("train", "test"):
        for label, count in (("ant", 3), ("bee", 4), ("cat", 5)):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / split / label / f"{number}.png").write_bytes(b"x" * (10 * number + count))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "run_id"),
    [
        ("", "unsir-digits-allcnn_slim-single-s0-59eb64782b"),
        ("forget=pair", "unsir-digits-allcnn_slim-pair-s0-432d04fee9"),
        ("forget=four method=retrain", "retrain-digits-allcnn_slim-four-s0-d38ced3f60"),
        ("forget=sequence", "unsir-digits-allcnn_slim-sequence-s0-d8c63541dd"),
        ("forget=random_k", "unsir-digits-allcnn_slim-random_k-s0-e14f105a05"),
        ("dataset=cifar10 model=resnet18 forget=seven", "unsir-cifar10-resnet18-seven-s0-05991ed5c5"),
        ("dataset=made_classes model=vit_tiny", "unsir-made_classes-vit_tiny-single-s0-471cff6642"),
        ("dataset=image_folder dataset.root=ZOO", "unsir-image_folder-allcnn_slim-single-s0-2a305ae5ac"),
        (
            "dataset=image_folder dataset.root=ZOO forget.classes=[1] dataset.image_size=8",
            "unsir-image_folder-allcnn_slim-single-s0-5543bd0d8c",
        ),
    ],
)
def test_run_ids_of_finished_records_stay_what_they_are(zoo: Path, words: str, run_id: str) -> None:
    assert composed("hardware=cpu", *words.replace("ZOO", str(zoo)).split()).run_id == run_id


def test_one_choice_of_classes_is_one_run_however_it_is_written(zoo: Path) -> None:
    def run_id(*words: str) -> str:
        return composed("dataset=image_folder", f"dataset.root={zoo}", *words).run_id

    written = ("[1,2]", "[2,1]", "[bee,cat]", "[cat,1]", "['cat','bee']")
    assert len({run_id(f"forget.classes={choice}") for choice in written}) == 1
    assert run_id("forget.classes=[0,2]") != run_id("forget.classes=[1,2]")
    sequences = ("[[0],[1]]", "[[ant],[bee]]")
    assert len({run_id("forget=sequence", f"forget.sequence={groups}") for groups in sequences}) == 1
    assert run_id("forget=sequence", "forget.sequence=[[1],[0]]") != run_id(
        "forget=sequence", "forget.sequence=[[0],[1]]"
    )
