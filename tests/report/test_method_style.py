"""The look of each method in figures and plots."""

import numpy as np

from unsir_bench.report.method_style import FAMILIES, method_style


def test_each_known_method_has_a_look_of_its_own() -> None:
    names = [name for family in FAMILIES.values() for name in family]
    assert len({method_style(name) for name in names}) == len(names)
    assert len({method_style(name)._replace(symbol="") for name in names}) == len(names)


def test_an_unknown_method_keeps_its_look_and_is_never_drawn_like_a_known_one() -> None:
    known = {method_style(name) for family in FAMILIES.values() for name in family}
    styles = [method_style(f"mine{number}") for number in range(200)]
    assert not known & set(styles)
    assert len(set(styles)) > 20
    # Pinned: another release or machine must not repaint it.
    assert method_style("my_method") == ("#CC79A7", "star", "*")


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_every_colour_stands_out_from_white_paper() -> None:
    assert all(1.05 / (luminance(color) + 0.05) > 2 for color in FAMILIES)
