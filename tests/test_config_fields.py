"""Constraints beside fields: every violation in one pass, and what takes part in an identity."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from unsir_bench.config_fields import choice, hashed_if_not_default, identity, nearest, not_hashed, number, problems


@dataclass
class Inner:
    share: float = number(0.5, above=0, below=1)
    threads: int | None = not_hashed(number(None, at_least=1))


@dataclass
class Outer:
    rate: float = number(0.1, above=0)
    steps: int = number(3, at_least=1, at_most=10)
    order: str = choice("first", ("first", "random"))
    free: str = "anything"
    inner: Inner = field(default_factory=Inner)
    path: str = not_hashed("here")
    words: list[str] = not_hashed(field(default_factory=list))  # noqa: RUF009 - it returns a field

    def check(self, key: str) -> Iterator[str]:
        if self.steps > 5 and self.rate > 1:
            yield f"{key}.steps and {key}.rate are too large together"


def test_defaults_have_no_problem():
    assert list(problems(Outer(), "outer")) == []


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        ({"above": 0}, [1e-9, 5], [0, -1, math.inf]),
        ({"at_least": 0}, [0, 0.0, 5], [-1e-9]),
        ({"below": 1}, [0.999, -5], [1, 1.0, 2]),
        ({"at_most": 1}, [1, 1.0, -5], [1.0001]),
        ({"above": 0, "at_most": 1}, [0.5, 1], [0, 1.5]),
        ({"at_least": 2, "below": 4}, [2, 3, 3.9], [1, 4]),
        ({}, [0, -1e9], []),
    ],
)
def test_each_limit_is_open_or_closed_as_named(limits: dict[str, float], inside: list[float], outside: list[float]):
    @dataclass
    class Limited:
        value: float = number(None, **limits)  # type: ignore[arg-type]

    assert [value for value in inside + outside if not list(problems(Limited(value), "k"))] == inside


@pytest.mark.parametrize("value", [math.nan, True, False, "3", [1]])
def test_what_is_no_number_is_refused_even_without_limits(value: Any):
    @dataclass
    class Limited:
        value: Any = number(0)  # noqa: RUF009 - it returns a field

    (line,) = problems(Limited(value), "k")
    assert line.startswith(f"k.value={value}: must be")


def test_none_is_let_through():
    assert list(problems(Inner(threads=None), "inner")) == []


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (Outer(rate=0), "outer.rate=0: must be above 0"),
        (Outer(steps=11), "outer.steps=11: must be at least 1 and at most 10"),
        (Outer(order="last"), "outer.order=last: must be one of first, random"),
        (Outer(inner=Inner(share=1)), "outer.inner.share=1: must be above 0 and below 1"),
        (Outer(inner=Inner(threads=0)), "outer.inner.threads=0: must be at least 1"),
        (Outer(steps=6, rate=2), "outer.steps and outer.rate are too large together"),
    ],
)
def test_a_problem_is_one_line_of_key_value_and_remedy(node: Outer, line: str):
    assert list(problems(node, "outer")) == [line]


def test_all_problems_are_found_at_once():
    node = Outer(rate=-1, steps=0, order="", inner=Inner(share=2, threads=0))
    keys = [line.split("=")[0] for line in problems(node, "o")]
    assert keys == ["o.rate", "o.steps", "o.order", "o.inner.share", "o.inner.threads"]


# Identity


@pytest.mark.parametrize(
    "change", [{"rate": 0.2}, {"order": "random"}, {"free": "else"}, {"inner": Inner(share=0.25)}], ids=str
)
def test_a_field_that_can_change_a_result_changes_the_identity(change: dict[str, Any]):
    assert identity(Outer(**change)) != identity(Outer())


@pytest.mark.parametrize("change", [{"path": "there"}, {"words": ["a"]}, {"inner": Inner(threads=4)}], ids=str)
def test_a_neutral_field_does_not(change: dict[str, Any]):
    assert identity(Outer(**change)) == identity(Outer())


def test_a_field_added_later_changes_the_identity_only_where_it_changes_the_result():
    @dataclass
    class Before:
        share: float = 0.5

    before = identity(Before())

    @dataclass
    class Before:  # the same class after a release
        share: float = 0.5
        mirrored: int = hashed_if_not_default(number(0, at_least=0))

    assert identity(Before()) == before
    assert identity(Before(mirrored=1)) == {**before, "mirrored": 1}
    assert list(problems(Before(mirrored=-1), "a")) == ["a.mirrored=-1: must be at least 0"]


def test_classes_with_equal_fields_differ():
    @dataclass
    class Twin:
        share: float = 0.5

    assert identity(Twin()) != identity(Inner())


def test_outside_content_takes_part_in_the_identity():
    @dataclass
    class Folder:
        root: str = not_hashed("somewhere")
        content: str = not_hashed("first")

        def content_identity(self) -> str:
            return self.content

    assert identity(Folder(root="a")) == identity(Folder(root="b"))
    assert identity(Folder(content="second")) != identity(Folder())


def test_neutral_keeps_the_default_and_the_constraint():
    assert Outer().path == "here"
    first, second = Outer(), Outer()
    first.words.append("a")
    assert second.words == []
    assert list(problems(Inner(threads=-2), "i")) == ["i.threads=-2: must be at least 1"]


# Suggestions


@pytest.mark.parametrize(("word", "best"), [("resnet", "resnet18"), ("alcnn", "allcnn"), ("vitt", "vit")])
def test_the_nearest_word_comes_first(word: str, best: str):
    assert nearest(word, ["allcnn", "resnet18", "vit", "mobilenetv2"]).split(", ")[0] == best


def test_a_word_like_none_gets_the_first_few():
    assert nearest("qqq", ["allcnn", "resnet18", "vit", "timm"], count=2) == "allcnn, resnet18"


def test_no_more_words_than_asked_for():
    assert len(nearest("aaa", ["aaa", "aab", "aac", "aad"], count=2).split(", ")) == 2
