"""Which classes to forget, and the index sets that follow."""

import re

import pytest
import torch
from torch import Tensor

from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.data.forget_split import ForgetSplit, index_hash

NAMES = ("airplane", "automobile", "bird", "cat", "deer")
TRAIN = torch.tensor([3, 0, 1, 1, 4, 2, 0, 3])
TEST = torch.tensor([4, 3, 2, 1, 0])


def split_of(classes: tuple[int, ...], train: Tensor = TRAIN, test: Tensor = TEST) -> ForgetSplit:
    return ForgetSplit.of(train, test, classes, len(NAMES))


def test_index_sets_are_those_counted_by_hand():
    split = split_of((3, 1))
    assert split.classes == (1, 3)
    assert {name: indices.tolist() for name, indices in split.indices.items()} == {
        "retain_train": [1, 4, 5, 6],
        "forget_train": [0, 2, 3, 7],
        "retain_test": [0, 2, 4],
        "forget_test": [1, 3],
    }


@pytest.mark.parametrize("classes", [(0,), (4,), (0, 2, 3), (1, 2, 3, 4)])
def test_index_sets_cover_their_split_without_overlap(classes: tuple[int, ...]):
    labels = torch.randint(0, 5, (500,), generator=torch.Generator().manual_seed(0))
    split = split_of(classes, train=labels)
    for retain, forget, of in (
        (split.retain_train, split.forget_train, labels),
        (split.retain_test, split.forget_test, TEST),
    ):
        assert sorted(retain.tolist() + forget.tolist()) == list(range(len(of)))
        assert set(of[forget].tolist()) == set(classes)
        assert set(of[retain].tolist()) == set(range(5)) - set(classes)


def test_order_in_which_classes_are_given_does_not_matter():
    assert split_of((3, 1)).fingerprint == split_of((1, 3)).fingerprint


def test_fingerprint_tells_classes_labels_and_class_counts_apart():
    changed = TRAIN.clone()
    changed[0] = 2
    splits = [
        split_of((1,)),
        split_of((3,)),
        split_of((3,), train=changed),
        ForgetSplit.of(TRAIN, TEST, (1,), 6),
    ]
    assert len({split.fingerprint for split in splits}) == len(splits)


def test_index_hash_is_of_values_whatever_their_type_and_layout():
    values = torch.arange(20)[::2]
    assert index_hash(values) == index_hash(values.to(torch.int32)) == index_hash(values.clone())
    assert index_hash(values) != index_hash(values.flip(0))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"forget_train": torch.tensor([0, 1, 3])}, id="overlap in training"),
        pytest.param({"forget_test": torch.tensor([1, 2])}, id="overlap in test"),
        pytest.param({"retain_train": torch.tensor([1])}, id="a gap in training"),
        pytest.param({"forget_test": torch.tensor([3])}, id="a gap in test"),
        pytest.param({"forget_train": torch.tensor([0, 3, 3])}, id="an index twice"),
    ],
)
def test_overlapping_or_incomplete_index_sets_cannot_be_constructed(wrong: dict[str, Tensor]):
    right = {
        "retain_train": torch.tensor([1, 2]),
        "forget_train": torch.tensor([0, 3]),
        "retain_test": torch.tensor([0, 1]),
        "forget_test": torch.tensor([2]),
    }
    ForgetSplit((0,), 2, **right)
    with pytest.raises(ValueError, match="overlap or leave samples out"):
        ForgetSplit((0,), 2, **{**right, **wrong})


@pytest.mark.parametrize(
    ("train", "test", "complaint"),
    [
        ([1, 1], [0, 1], "the training split has no sample to forget"),
        ([0, 1], [1], "the test split has no sample to forget"),
        ([0, 1], [0], "the test split has no sample to retain"),
    ],
)
def test_an_empty_side_is_named(train: list[int], test: list[int], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        ForgetSplit.of(torch.tensor(train), torch.tensor(test), (0,), 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"classes": [5]}, ["forget.classes", "5 is no class", "0 to 4"], id="unknown index"),
        pytest.param({"classes": [-1]}, ["forget.classes", "-1 is no class", "0 to 4"], id="negative index"),
        pytest.param(
            {"classes": ["automobil"]}, ["'automobil' is no class", "did you mean automobile", "0 to 4"], id="typo"
        ),
        pytest.param({"classes": [1, 1]}, ["[1, 1]", "class 1 (automobile) is given twice"], id="index twice"),
        pytest.param({"classes": [2, "bird"]}, ["class 2 (bird) is given twice"], id="by index and by name"),
        pytest.param({"classes": [0, 1, 2, 3, 4]}, ["forgets all 5 classes", "leave at least one"], id="all"),
        pytest.param({"classes": list(NAMES)}, ["forgets all 5 classes"], id="all by name"),
        pytest.param({"classes": []}, ["forget.classes=[]", "at least one"], id="empty"),
        pytest.param({"classes": None}, ["forget.classes=None", "at least one"], id="null"),
        pytest.param(
            {"classes": [0], "random_k": 2},
            ["forget.classes=[0]", "forget.random_k=2", "set one of the two to null"],
            id="both",
        ),
        pytest.param({"classes": None, "random_k": 5}, ["forget.random_k=5", "below", "5"], id="random_k too large"),
        pytest.param({"classes": [True]}, ["True is no class"], id="a truth value"),
        pytest.param({"classes": [1.0]}, ["1.0 is no class"], id="a fraction"),
    ],
)
def test_a_wrong_choice_is_one_line_naming_key_value_and_remedy(fields: dict[str, object], words: list[str]):
    (line,) = ForgetConfig(**fields).problems(NAMES)  # type: ignore[arg-type]
    for word in words:
        assert word in line


def test_every_mistake_is_reported_at_once():
    lines = list(ForgetConfig(classes=["brid", 9, 0, "airplane"]).problems(NAMES))
    assert len(lines) == 3
    assert [bool(re.search(word, line)) for word, line in zip(("brid", "9", "airplane"), lines, strict=True)] == [
        True
    ] * 3


def test_the_nearest_name_comes_first():
    (line,) = ForgetConfig(classes=["dear"]).problems(NAMES)
    assert "did you mean deer" in line


@pytest.mark.parametrize(
    ("classes", "expected"), [([0], (0,)), (["cat"], (3,)), (["deer", 1, "bird"], (1, 2, 4)), ([4, 0], (0, 4))]
)
def test_indices_and_names_resolve_to_ascending_indices(classes: list[object], expected: tuple[int, ...]):
    config = ForgetConfig(classes=classes)
    assert list(config.problems(NAMES)) == []
    assert config.resolve(NAMES, seed=0) == config.resolve(NAMES, seed=1) == expected


def test_a_digit_given_as_a_word_is_a_name_and_as_a_number_an_index():
    names = ("7", "8", "9")
    assert ForgetConfig(classes=["8"]).resolve(names, 0) == (1,)
    assert ForgetConfig(classes=[2]).resolve(names, 0) == (2,)


def test_random_classes_depend_on_the_seed_alone():
    names = [str(i) for i in range(100)]
    config = ForgetConfig(classes=None, random_k=20)
    assert list(config.problems(names)) == []
    drawn = {seed: config.resolve(names, seed) for seed in range(5)}
    assert all(drawn[seed] == config.resolve(names, seed) for seed in drawn)
    assert len(set(drawn.values())) == 5


def test_random_classes_are_distinct_and_ascending_and_all_can_be_drawn():
    config = ForgetConfig(classes=None, random_k=2)
    draws = [config.resolve(NAMES, seed) for seed in range(60)]
    assert all(0 <= low < high < len(NAMES) for low, high in draws)
    assert {index for draw in draws for index in draw} == set(range(len(NAMES)))
