"""Every method keeps the contract of `UnlearningMethod`; a new one is picked up without a line here."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from unsir_bench import compose
from unsir_bench.cli.plugins import plugin_names
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import AccessDenied, NotApplicable
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.models.model import ModelConfig, has_finite_weights
from unsir_bench.references.frozen_heads import StoredFeatures, reference_models
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import Access, UnlearningData, UnlearningMethod, all_methods
from unsir_bench.unlearning.solved_heads import SolvedHeadMethod

CONF = Path(__file__).resolve().parents[1] / "conf"
# Other tests make methods of their own, which the process then knows too; those of plug-ins keep the contract as well.
OWN, PLUGINS = ("unsir_bench", "baselines"), plugin_names()
SHIPPED = [cls for cls in all_methods() if cls.__module__.split(".")[0] in (*OWN, *PLUGINS)]
METHODS = sorted(
    {path.stem for path in (CONF / "method").glob("*.yaml")}
    | {cls.name for cls in SHIPPED if cls.__module__.split(".")[0] in PLUGINS}
)

NEEDED = {"dp_sgd": ["train=dp_sgd"]}  # a method that is about how the original was trained


def method_named(name: str) -> UnlearningMethod:
    """The method of a YAML, shortened to run in a moment."""
    method = copy.deepcopy(composed_method(name))
    shorten(method)
    return method


@functools.cache
def composed_method(name: str) -> UnlearningMethod:
    """Composing takes longer than most methods do here."""
    return compose([f"method={name}", *NEEDED.get(name, ())]).method


def shorten(node: object) -> None:
    for name, value in vars(node).items():
        if isinstance(value, Recipe):
            value.epochs, value.batch_size = min(value.epochs, 1), 32
        if name == "noise":
            value.steps, value.batch_size, value.copies = 3, 8, 2
        if name == "retain_per_class":
            setattr(node, name, 5)
        if name == "gate":  # the network here is untrained: it gives every class about a tenth
            setattr(node, name, 0.5)


@pytest.fixture
def split(digits: DeviceData) -> ForgetSplit:
    return ForgetSplit.of(digits.labels("train"), digits.labels("test"), (1, 2), digits.num_classes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """All methods share the models that they start from."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def context_for(
    make_context: Callable[..., RunContext], digits: DeviceData, split: ForgetSplit, store: Store
) -> Callable[[str], RunContext]:
    """Build a context for a method, with a model that it can work on."""

    def build(name: str) -> RunContext:
        architecture = architecture_for(composed_method(name))
        recipe = Recipe(epochs=1, batch_size=32, lr=0.01)
        trainer = reference_models(store, recipe, digits, {}, architecture, split.retain_train)
        features = StoredFeatures(store, digits.fingerprint, {})
        return make_context(architecture, forget_classes=(1, 2), scratch_trainer=trainer, backbone_features=features)

    return build


@dataclass(frozen=True)
class Outcome:
    """What a method did, the first time and once more."""

    before: nn.Module
    models: list[nn.Module]
    method_before: UnlearningMethod
    method: UnlearningMethod
    counts: dict[str, dict[str, int]]
    context: RunContext


@pytest.fixture(scope="module")
def known() -> dict[str, Outcome]:
    """By the method's name: each unlearns for all checks together."""
    return {}


@pytest.fixture
def outcome(
    name: str,
    known: dict[str, Outcome],
    context_for: Callable[[str], RunContext],
    digits: DeviceData,
    split: ForgetSplit,
) -> Outcome:
    if name not in known:
        context, method = context_for(name), method_named(name)
        data = allowed_data(method, digits, split, context)
        first = method.unlearn(fresh_model(context), data, context)
        torch.manual_seed(12345)  # what ran before in the process must not matter
        again, other = context_for(name), method_named(name)
        second = other.unlearn(fresh_model(again), allowed_data(other, digits, split, again), again)
        known[name] = Outcome(
            fresh_model(context_for(name)), [first, second], method_named(name), method, data.access_counts(), context
        )
    return known[name]


def architecture_for(method: UnlearningMethod) -> ModelConfig:
    """A small network, with a solved head where the method is for these."""
    plain = AllCNNConfig(width=4)
    if not isinstance(method, SolvedHeadMethod):
        return plain
    kind = method.classifiers[0]
    return FrozenHeadConfig(backbone=plain, classifier=kind, perturbation=float(kind == "logistic"), clusters=12)


def fresh_model(context: RunContext) -> nn.Module:
    """A network with initial weights, or, where heads are solved, the original."""
    if isinstance(context.architecture, FrozenHeadConfig):
        references = context.scratch_trainer
        assert isinstance(references, ReferenceModels)
        return references.network(references.original(context), context)
    return context.architecture.initial(context.image_shape, context.num_classes, seed=0)


def allowed_data(
    method: UnlearningMethod, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> UnlearningData:
    """What the runner would give the method."""
    data = UnlearningData(digits, split, method, context.seed)
    if Access.TRAIN_HISTORY in method.requires:
        references = context.scratch_trainer
        assert isinstance(references, ReferenceModels)
        data.training_log = references.training_log(references.original(context), split, context)
    return data


def test_every_method_class_has_a_yaml_of_its_name() -> None:
    assert {cls.name for cls in SHIPPED} <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_architecture_comes_back_with_finite_weights(outcome: Outcome) -> None:
    model, before = outcome.models[0], outcome.before.state_dict()
    assert {key: value.shape for key, value in model.state_dict().items()} == {k: v.shape for k, v in before.items()}
    assert has_finite_weights(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_weights(outcome: Outcome) -> None:
    first, second = outcome.models
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_only_what_is_declared_is_touched(outcome: Outcome, split: ForgetSplit) -> None:
    method, counts = outcome.method, outcome.counts
    if Access.FORGET_DATA not in method.requires:
        assert counts["forget"] == {"samples": 0, "reads": 0}
    if not method.requires & {Access.RETAIN_DATA, Access.RETAIN_SUBSET}:
        assert counts["retain"] == {"samples": 0, "reads": 0}
    whole = len(split.retain_train)
    assert counts["retain"]["samples"] <= whole
    if any(isinstance(value, Recipe) for value in vars(method).values()):
        # An epoch is a pass over all that may be read; of a subset the method chooses how much.
        least = {Access.RETAIN_DATA: whole, Access.RETAIN_SUBSET: 1}
        assert counts["retain"]["samples"] >= max((least.get(access, 0) for access in method.requires), default=0)


@pytest.mark.parametrize("name", METHODS)
def test_undeclared_data_is_refused(name: str, digits: DeviceData, split: ForgetSplit) -> None:
    method = method_named(name)
    data = UnlearningData(digits, split, method, seed=0)
    doors: dict[Access, list[Callable[[], DataView]]] = {
        Access.RETAIN_DATA: [lambda: data.retain],
        Access.RETAIN_SUBSET: [lambda: data.retain_subset(1), lambda: data.retain_share(0.5)],
        Access.FORGET_DATA: [lambda: data.forget],
    }
    for access, ways in doors.items():
        for open_door in ways:
            if access in method.requires:
                assert len(open_door()) > 0
            else:
                with pytest.raises(AccessDenied, match=f"{method.name}.*{access.value}"):
                    open_door()


@pytest.mark.parametrize("name", METHODS)
def test_undeclared_stored_state_is_refused(
    name: str, digits: DeviceData, split: ForgetSplit, context_for: Callable[[str], RunContext]
) -> None:
    method, context = method_named(name), context_for(name)
    data = allowed_data(method, digits, split, context)
    doors: dict[Access, Callable[[], object]] = {
        Access.TRAIN_HISTORY: lambda: data.training_log,
        Access.INITIAL_WEIGHTS: lambda: data.initial_network(context),
    }
    for access, open_door in doors.items():
        if access in method.requires:
            assert open_door() is not None
        else:
            with pytest.raises(AccessDenied, match=f"{method.name}.*{access.value}"):
                open_door()


@pytest.mark.parametrize("name", METHODS)
def test_withheld_access_makes_a_method_that_needs_it_not_applicable(
    name: str, digits: DeviceData, split: ForgetSplit
) -> None:
    method = method_named(name)
    for access in Access:
        if access in method.requires:
            with pytest.raises(NotApplicable, match=f"{method.name}.*{access.value}"):
                UnlearningData(digits, split, method, 0, [access.value])
        else:
            UnlearningData(digits, split, method, 0, [access.value])


@pytest.mark.parametrize("name", METHODS)
def test_the_config_node_is_not_changed_by_a_run(outcome: Outcome) -> None:
    assert outcome.method == outcome.method_before


@pytest.mark.parametrize("name", [name for name in METHODS if name != "original"])
def test_a_method_that_works_names_its_phases_and_books_its_steps(name: str, outcome: Outcome) -> None:
    context = outcome.context
    assert context.clock.phases
    trains = any(isinstance(value, Recipe) for value in vars(outcome.method).values()) or name == "retrain"
    assert (sum(context.steps.values()) > 0) is trains
    assert set(context.steps) <= set(context.clock.phases)


@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.name)
def test_a_method_says_what_it_is_and_where_it_comes_from(cls: type[UnlearningMethod]) -> None:
    assert cls.__doc__ and "UnlearningMethod(" not in cls.__doc__
    assert __import__(cls.__module__, fromlist=["_"]).__doc__
