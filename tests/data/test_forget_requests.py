"""The splits of requests of every kind, one after another, against index sets worked out by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from unsir_bench.config_fields import identity, not_hashed
from unsir_bench.data.dataset import SUBCLASS, DatasetConfig, ImageData, LabelledImages, RawData
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.data.forget_requests import splits_of
from unsir_bench.data.forget_samples import IndexFile
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import ConfigError, DataError
from unsir_bench.runtime.progress import Progress

NAMES = ("farm", "pets")
INNER = ("farm/cow", "farm/hen", "pets/cat", "pets/dog")
TRAIN = ("farm/cow", "farm/hen", "pets/cat", "pets/dog", "farm/cow", "farm/hen", "pets/cat", "pets/dog")
TEST = ("pets/dog", "farm/cow", "pets/cat", "farm/hen")
CAMERA = {"train": ("old", "old", "new", "new", "new", "new", "old", "new"), "test": ("new", "old", "old", "new")}


@dataclass
class Made(DatasetConfig):
    """Two classes of two sub-classes each, and a column."""

    name: str = not_hashed("made for a test")
    camera: dict[str, Sequence[str]] = field(default_factory=lambda: dict(CAMERA))

    def class_names(self) -> tuple[str, ...]:
        return NAMES

    def subclass_names(self) -> tuple[str, ...]:
        return INNER

    def attribute_columns(self) -> tuple[str, ...]:
        return ("camera",)

    def attribute(self, column: str) -> dict[str, Sequence[str]]:
        if column not in (SUBCLASS, "camera"):
            raise DataError(f"no {column}")
        return {"train": TRAIN, "test": TEST} if column == SUBCLASS else self.camera

    def read(self, progress: Progress) -> RawData:
        train, test = (
            LabelledImages(
                np.arange(len(inner), dtype=np.uint8).reshape(-1, 1, 1, 1),
                np.array([NAMES.index(name.split("/")[0]) for name in inner]),
            )
            for inner in (TRAIN, TEST)
        )
        return RawData(train, test, NAMES)


SET = Made()
DATA: ImageData = SET.load(Progress(interactive=False))


def parts(split: ForgetSplit) -> dict[str, list[int]]:
    return {name: indices.tolist() for name, indices in split.indices.items()}


def served(*entries: Any, seed: int = 0) -> list[tuple[ForgetSplit, ForgetSplit]]:
    forget = ForgetConfig(classes=None, sequence=list(entries))
    assert list(forget.problems(NAMES, SET)) == []
    return splits_of(forget, DATA, SET, seed)


def listed(path: Path, train: tuple[int, ...], test: tuple[int, ...] = ()) -> str:
    IndexFile(DATA.fingerprint, train, test).write(path)
    return str(path)


def test_a_sub_class_is_all_its_samples_and_names_the_class_that_keeps_the_siblings() -> None:
    for named in (["farm/hen"], [1]):
        forget = ForgetConfig(classes=None, subclasses=named)
        assert list(forget.problems(NAMES, SET)) == []
        [(split, so_far)] = splits_of(forget, DATA, SET, 0)
        assert parts(split) == {
            "retain_train": [0, 2, 3, 4, 6, 7], "forget_train": [1, 5], "retain_test": [0, 1, 2], "forget_test": [3],
        }  # fmt: skip
        assert (split.classes, split.superclasses) == ((), (0,)) and so_far.superclasses == (0,)


def test_a_value_of_a_column_is_all_samples_that_have_it() -> None:
    forget = ForgetConfig(classes=None, column="camera", value="old")
    assert list(forget.problems(NAMES, SET)) == []
    [(split, _)] = splits_of(forget, DATA, SET, 0)
    assert parts(split)["forget_train"] == [0, 1, 6] and parts(split)["forget_test"] == [1, 2]
    assert split.superclasses == () == split.classes


def test_requests_of_every_kind_are_served_in_turn(tmp_path: Path) -> None:
    course = served(
        {"subclasses": ["farm/cow"]}, listed(tmp_path / "a.json", (2,), (0,)), {"column": "camera", "value": "old"},
        {"count": 1},
    )  # fmt: skip
    own, so_far = ([parts(pair[place]) for pair in course] for place in (0, 1))
    assert [each["forget_train"] for each in own[:3]] == [[0, 4], [2], [1, 6]]
    assert [each["forget_test"] for each in own] == [[1], [0], [2], []]
    assert [each["forget_train"] for each in so_far[:3]] == [[0, 4], [0, 2, 4], [0, 1, 2, 4, 6]]
    assert len(own[3]["forget_train"]) == 1 and set(own[3]["forget_train"]) <= {3, 5, 7}
    for each, together in zip(own, so_far, strict=True):
        # What was forgotten before is in no set of a request; all of it counts as forgotten in what is measured.
        assert each["retain_train"] == together["retain_train"]
        assert sorted(together["retain_train"] + together["forget_train"]) == list(range(8))
    assert course[1][0].removed(8).tolist() == [0, 4] and course[0][0].removed(8).tolist() == []
    assert [pair[1].superclasses for pair in course] == [(0,), (), (), ()]


def test_later_draws_are_of_what_is_left_and_of_their_own() -> None:
    course = served({"count": 2}, {"count": 2}, {"count": 2})
    drawn = [tuple(parts(own)["forget_train"]) for own, _ in course]
    assert len(set(sum(drawn, ()))) == 6
    assert drawn[0] == tuple(parts(splits_of(ForgetConfig(classes=None, count=2), DATA, SET, 0)[0][0])["forget_train"])
    assert [tuple(parts(own)["forget_train"]) for own, _ in served({"count": 2}, {"count": 2}, seed=1)] != drawn[:2]


def test_a_class_after_samples_of_it_is_a_class_request() -> None:
    (_, _), (own, so_far) = served({"subclasses": ["farm/cow"]}, ["farm"])
    assert own.classes == (0,) and parts(own)["forget_train"] == [1, 5] and parts(own)["retain_train"] == [2, 3, 6, 7]
    assert so_far.classes == () and parts(so_far)["forget_train"] == [0, 1, 4, 5]


def test_a_sequence_of_classes_is_what_it_was() -> None:
    ((first, _),) = served(["farm"])
    old = ForgetSplit.of(*(__import__("torch").from_numpy(each.labels) for each in (DATA.train, DATA.test)), (0,), 2)
    assert first.fingerprint == old.fingerprint and first.classes == (0,)


# What is refused


def problems_of(**fields: Any) -> list[str]:
    return list(ForgetConfig(**{"classes": None, **fields}).problems(NAMES, SET))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"subclasses": ["farm/cwo"]}, ["forget.subclasses", "'farm/cwo' is no class", "did you mean farm/cow"]),
        ({"subclasses": []}, ["name at least one sub-class"]),
        ({"column": "camra", "value": "old"}, ["forget.column=camra", "known are camera"]),
        ({"column": "camera"}, ["forget.value=null", "which value"]),
        ({"column": "camera", "value": "odl"}, ["forget.value=odl", "did you mean old"]),
        ({"value": "old", "count": 1}, ["forget.value=old", "needs forget.column"]),
        ({"sequence": ["cat"]}, ["forget.sequence[0]", "'cat' is no file of indices; a class is written [cat]"]),
        ({"sequence": [[0], 1]}, ["forget.sequence[1]", "write [1] for a class"]),
        ({"sequence": [{"share": 1.0}]}, ["forget.sequence[0].share=1.0: must be above 0 and below 1"]),
        ({"sequence": [{"shares": 0.5}]}, ["forget.sequence[0]", "shares: no key of a request; known are"]),
        ({"sequence": [{"count": 0.5}]}, ["forget.sequence[0]", "count=0.5: must be a whole number"]),
        ({"sequence": [{"subclasses": "x"}]}, ["forget.sequence[0]", "subclasses='x': must be a list"]),
        ({"sequence": [{"random_k": 1}]}, ["forget.sequence[0]", "random_k: no key of a request"]),
        ({"sequence": []}, ["forget.sequence=[]", "list"]),
    ],
    ids=str,
)
def test_a_wrong_request_is_one_line_naming_key_value_and_fix(fields: dict[str, Any], words: list[str]) -> None:
    [line] = problems_of(**fields)
    for word in words:
        assert word in line


YEARS = Made(camera={"train": ("1.50", "1.5", "x", "true", "10", "1e3", "2021", "x"), "test": ("x",) * 4})


@pytest.mark.parametrize(
    ("value", "quoted"),
    [(1.5, ["1.5", "1.50"]), (1000.0, ["1e3"]), (True, ["true"])],
    ids=str,
)
@pytest.mark.parametrize("in_sequence", [False, True])
def test_a_value_that_is_read_as_a_number_is_never_taken_for_another(
    value: Any, quoted: list[str], in_sequence: bool
) -> None:
    fields = {"column": "camera", "value": value}
    [line] = ForgetConfig(classes=None, **({"sequence": [fields]} if in_sequence else fields)).problems(NAMES, YEARS)
    assert line.startswith(f"forget.value={value}: ")
    for word in quoted:
        assert f"\"forget.value='{word}'\"" in line


@pytest.mark.parametrize(("value", "place"), [(2021, 6), ("1.50", 0), ("1.5", 1), ("true", 3), (10, 4)])
def test_a_value_that_can_mean_one_thing_alone_needs_no_quotes(value: Any, place: int) -> None:
    chosen = ForgetConfig(classes=None, column="camera", value=value)
    assert list(chosen.problems(NAMES, YEARS)) == []
    assert splits_of(chosen, DATA, YEARS, 0)[0][0].forget_train.tolist() == [place]
    # Quoted or not, the same samples are one run.
    assert chosen.by_index(lambda: NAMES, YEARS).value == str(value)


def test_hydra_s_number_reaches_the_check_as_one() -> None:
    typed = OmegaConf.merge(OmegaConf.structured(ForgetConfig), {"value": 1.5})
    assert OmegaConf.to_object(typed).value == 1.5  # type: ignore[union-attr]


def test_a_data_set_without_sub_classes_or_columns_says_so() -> None:
    [line] = ForgetConfig(classes=None, subclasses=["x"]).problems(NAMES)
    assert "no sub-classes" in line and "dataset=cifar20" in line
    [line] = ForgetConfig(classes=None, column="x", value="y").problems(NAMES)
    assert "attributes.csv" in line


def test_a_class_that_a_split_has_no_sample_of_is_named_with_the_split() -> None:
    labels = {"train": [0, 0, 2], "test": [0, 1, 2]}
    data = ImageData(
        *(LabelledImages(np.zeros((3, 1, 1, 1), np.uint8), np.array(labels[name])) for name in ("train", "test")),
        ("a", "b", "c"), "x",
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        splits_of(ForgetConfig(classes=[1]), data, SET, 0)
    assert caught.value.problems == ["forget: class 1 (b) has no sample in the train split; choose classes that have"]


def test_all_mistakes_of_all_requests_are_named_at_once(tmp_path: Path) -> None:
    IndexFile("another", (1,)).write(tmp_path / "other.json")
    forget = ForgetConfig(classes=None, sequence=[
        listed(tmp_path / "large.json", (99,), (44,)), str(tmp_path / "other.json"),
        listed(tmp_path / "a.json", (0, 1)), listed(tmp_path / "again.json", (1, 2)),
        listed(tmp_path / "rest.json", (4, 5)), {"count": 500},
    ])  # fmt: skip
    assert list(forget.problems(NAMES, SET)) == []
    with pytest.raises(ConfigError) as caught:
        splits_of(forget, DATA, SET, 0)
    found = caught.value.problems
    for words in (
        ("large.json", "train index 99 is out of range"), ("large.json", "test index 44 is out of range"),
        ("other.json", "belongs to the data set another"),
        ("again.json", "train index 1 was forgotten by an earlier request"),
        ("rest.json", "no training sample of class 0 (farm) would be retained; to forget a class"),
        ("forget.count=500", "leaves none"),
    ):  # fmt: skip
        assert [line for line in found if all(word in line for word in words)], (words, found)
    assert not any("\n" in line for line in found)


def test_a_request_for_what_is_gone_already_is_refused() -> None:
    with pytest.raises(ConfigError, match="no training sample is left to forget"):
        served({"subclasses": ["farm/cow"]}, {"subclasses": ["farm/cow"]})


# Ids


def test_one_choice_has_one_id_and_another_content_another(tmp_path: Path) -> None:
    def of(**fields: Any) -> ForgetConfig:
        return ForgetConfig(**{"classes": None, **fields}).by_index(lambda: NAMES, SET)

    assert of(subclasses=["farm/hen", "farm/cow"]) == of(subclasses=[0, 1]) != of(subclasses=[0, 2])
    file, same = listed(tmp_path / "a.json", (1,)), listed(tmp_path / "b.csv", (1,))
    assert of(sequence=[file, {"count": 2}]) == of(sequence=[same, {"count": 2}]) != of(sequence=[file, {"count": 3}])
    assert of(sequence=[["pets"], [0]]).sequence == [[1], [0]]
    other = ForgetConfig(classes=None, column="camera", value="old").by_index(
        lambda: NAMES, Made(camera={**CAMERA, "test": ("new", "old", "old", "old")})
    )
    assert of(column="camera", value="old") != other
    said = repr(sorted(CAMERA.items()))
    assert of(column="camera", value="old").column == (
        f"camera {hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"
    )


def test_one_sequence_is_one_choice_whatever_it_replaces_and_however_a_class_is_written() -> None:
    preset = ForgetConfig(classes=None, sequence=[[0], [1]])
    written = [
        preset,
        ForgetConfig(classes=[0], sequence=[[0], [1]]),
        ForgetConfig(classes=None, random_k=2, sequence=[[0], [1]]),
        ForgetConfig(classes=None, sequence=[{"classes": ["farm"]}, ["pets"]]),
    ]
    assert all(identity(each.by_index(lambda: NAMES, SET)) == identity(preset) for each in written)
