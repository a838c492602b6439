"""One colour and one marker per method, the same in every figure and page.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart, without yellow, which white paper
swallows. Methods of one family share a colour and differ by marker, so that no figure rests on colour alone.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

BLACK, GREY = "#000000", "#767676"
VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY = "#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"

# What all others are compared with; and those that do not compete, since a mask hides classes and forgets none.
REFERENCES = ("original", "retrain")
CONTROLS = {
    "logit_mask": "hides the classes' outputs and forgets nothing",
    "head_distillation": "teaches the head alone to avoid the classes; its features forget nothing",
}

# A method's place in its family is its marker: new names go to the end, so that the others keep theirs.
FAMILIES = {
    BLACK: ("retrain", "retrain (second)"),
    GREY: ("original", "logit_mask", "head_distillation"),
    VERMILION: ("unsir", "unsir_notebook", "unsir_gentle", "unsir_slim", "unsir_later"),
    BLUE: ("finetune", "l1_sparse", "cf_k", "eu_k", "task_arithmetic"),
    GREEN: ("amnesiac", "random_label", "salun", "bad_teacher", "lotus"),
    ORANGE: ("neggrad", "neggrad_plus", "scrub", "sfron", "munba"),
    PURPLE: ("fisher", "ssd", "amnesiac_subtract", "svd_projection", "esc"),
    SKY: ("boundary_shrink", "boundary_expand", "delete", "scar", "jit"),
}
# Plotly's name and matplotlib's.
MARKERS = (("circle", "o"), ("square", "s"), ("diamond", "D"), ("triangle-up", "^"), ("cross", "P"))
OTHER_MARKERS = (("triangle-down", "v"), ("x", "X"), ("star", "*"), ("hexagon", "h"), ("pentagon", "p"))
OTHER_COLORS = (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY)


class MethodStyle(NamedTuple):
    """How a method is drawn: ``color`` as ``#rrggbb``, ``symbol`` for Plotly and ``marker`` for matplotlib."""

    color: str
    symbol: str
    marker: str


def method_style(name: str) -> MethodStyle:
    """The style of a method: from the table of families, or, for a name not there, from a hash of the name alone.

    Either way no style depends on which other methods are shown. Names outside the table have markers of their own
    and so are never drawn like one within; two of them may share a style.
    """
    for color, names in FAMILIES.items():
        if name in names:
            return MethodStyle(color, *MARKERS[names.index(name)])
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    row, column = divmod(number % (len(OTHER_MARKERS) * len(OTHER_COLORS)), len(OTHER_COLORS))
    return MethodStyle(OTHER_COLORS[column], *OTHER_MARKERS[row])
