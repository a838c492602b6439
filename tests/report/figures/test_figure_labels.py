"""Names as figures show them: broken where a reader would break them."""

import pytest

from unsir_bench.report.figures.style import place_rows, row_height, shown


@pytest.mark.parametrize(
    ("name", "letters", "expected"),
    [
        ("boundary_expand_published", 25, "boundary_expand_published"),
        ("boundary_expand_published", 24, "boundary_expand_\npublished"),
        ("unsir, lr 0.02", 10, "unsir, lr\n0.02"),
        ("boundary_expand", 9, "boundary_\nexpand"),
        ("a_b_c_d_e_f", 3, "a_\n…"),
        ("x" * 12, 6, "xxxxxx\nxxxxxx"),
        ("a\x1bb", 9, "a b"),
        ("", 9, "–"),
    ],
)
def test_a_name_is_broken_at_spaces_and_after_underscores(name: str, letters: int, expected: str) -> None:
    assert shown(name, letters) == expected


def test_a_row_is_higher_where_its_label_has_two_lines() -> None:
    labels = [shown(name, 9) for name in ("unsir", "boundary_expand", "ssd")]
    places, height = place_rows(labels)
    assert places == pytest.approx([0.085, 0.17 + 0.145, 0.17 + 0.29 + 0.085]) and height == pytest.approx(0.63)
    assert row_height(labels) == 0.29 and row_height(["unsir"]) == 0.17
