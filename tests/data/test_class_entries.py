"""The class that is meant: names that look like numbers, truth values or nothing, and names in any script."""

import pytest

from unsir_bench.data.forget_config import ForgetConfig

TWELVE = tuple(sorted(map(str, range(12))))  # 0, 1, 10, 11, 2, ...


def lines(entry: object, names: tuple[str, ...]) -> list[str]:
    return list(ForgetConfig(classes=[entry]).problems(names))


@pytest.mark.parametrize(("entry", "index"), [(0, 0), (1, 1), ("10", 2), ("2", 4), ("8", 10)])
def test_a_number_that_can_mean_one_class_only_is_that_class(entry: object, index: int):
    assert lines(entry, TWELVE) == []
    assert ForgetConfig(classes=[entry]).resolve(TWELVE, 0) == (index,)


def test_an_index_that_is_also_another_class_s_name_is_refused_with_both_ways_to_write():
    (line,) = lines(10, TWELVE)
    assert "10 can be an index or the class named '10'" in line
    assert "\"forget.classes=['10']\" for that class" in line
    assert "\"forget.classes=['8']\" for the class of index 10" in line
    for name, index in (("10", 2), ("8", 10)):
        assert ForgetConfig(classes=[name]).resolve(TWELVE, 0) == (index,)


@pytest.mark.parametrize(
    ("names", "entry", "named"),
    [
        (("1_0", *"abcdefghijkl"), 10, "1_0"),  # the command line reads [1_0] as 10
        (("001", "002", "003"), 2, "002"),  # YAML reads 002 as 2
        (("cat", "1e3"), 1000.0, "1e3"),
        (("cat", "1.5"), 1.5, "1.5"),
        (("false", "true"), True, "true"),
        (("off", "on"), False, "off"),  # YAML
        (("cat", "null"), None, "null"),
        (("cat", "nan"), float("nan"), "nan"),
        (("a", "007"), 7, "007"),
    ],
)
def test_a_name_read_as_another_value_is_refused_with_the_way_to_write_it(
    names: tuple[str, ...], entry: object, named: str
):
    (line,) = lines(entry, names)
    assert f"\"forget.classes=['{named}']\"" in line
    assert ForgetConfig(classes=[named]).resolve(names, 0) == (names.index(named),)


def test_in_a_sequence_the_way_to_write_it_has_groups():
    (line,) = ForgetConfig(classes=None, sequence=[[10], [0]]).problems(TWELVE)
    assert "\"forget.sequence=[['10']]\"" in line


@pytest.mark.parametrize("name", ["猫", "новая кошка", "new york", "it's", 'the "best"', "a$b", "two\nlines", " lead"])
def test_any_name_is_its_class(name: str):
    names = ("airplane", name, "zebra")
    assert lines(name, names) == []
    assert ForgetConfig(classes=[name]).resolve(names, 0) == (1,)


def test_accents_may_be_composed_or_not():
    names = ("cafe\u0301", "zebra")
    assert lines("caf\u00e9", names) == []
    assert ForgetConfig(classes=["caf\u00e9"]).resolve(names, 0) == (0,)
    both = ("cafe\u0301", "caf\u00e9")
    assert [ForgetConfig(classes=[name]).resolve(both, 0) for name in both] == [(0,), (1,)]


@pytest.mark.parametrize("entry", [5, "nothing", True, "two\nline"])
def test_a_complaint_is_one_line_whatever_the_names(entry: object):
    (line,) = lines(entry, ("two\nlines", "b\tc"))
    assert line.isprintable()


def test_a_name_that_quotes_would_not_save_from_the_shell_is_given_by_index():
    names = ("1", "it's 0", "two")
    (line,) = ForgetConfig(classes=[1]).problems(names)
    assert "forget.classes=[1] for the class of index 1" in line


# One choice is one identity


@pytest.mark.parametrize("written", [[2, 1], ["bird", "ant"], ["ant", 2], [1, "bird"], [1, 2]])
def test_one_choice_is_one_however_it_is_written(written: list[object]):
    names = ("zero", "ant", "bird")
    assert ForgetConfig(classes=written).by_index(lambda: names).classes == [1, 2]


def test_a_sequence_keeps_the_order_of_its_groups_alone():
    names = ("zero", "ant", "bird", "cat")
    config = ForgetConfig(classes=None, sequence=[["cat"], ["bird", 0]]).by_index(lambda: names)
    assert config.sequence == [[3], [0, 2]]


def test_indices_need_no_names_and_a_wrong_choice_stays_as_it_is():
    def never() -> tuple[str, ...]:
        raise AssertionError("asked for the names")

    assert ForgetConfig(classes=[3, 1]).by_index(never).classes == [1, 3]
    assert ForgetConfig(classes=None, random_k=2).by_index(never).classes is None
    assert ForgetConfig(classes=["dog", 0]).by_index(lambda: ("cat", "cow")).classes == ["dog", 0]
