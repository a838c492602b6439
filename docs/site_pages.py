"""Pages that the documentation site makes from the code: the start, one for each method and metric, and the API."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import mkdocs_gen_files
from hydra import compose, initialize_config_module

import unsir_bench
from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.cli.list import first_comment
from unsir_bench.cli.plugins import option_files
from unsir_bench.config import typed
from unsir_bench.evaluation.registry import Metric, registered
from unsir_bench.unlearning.method import UnlearningMethod, access_names

ROOT = Path(__file__).resolve().parents[1]


def write(name: str, text: str) -> None:
    """Add a page to the site; nothing is written to docs/."""
    with mkdocs_gen_files.open(name, "w") as page:
        page.write(text)


def plain(words: str) -> str:
    """Text of a docstring as Markdown shows it: no line of it is taken for HTML or a table's bar."""
    return words.replace("<", "&lt;").replace("|", "\\|").replace("``", "`")


def methods() -> Iterator[tuple[str, UnlearningMethod, Path]]:
    """Each preset: its option, its method as composed, and its YAML file."""
    bootstrap()
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        for option, file in option_files("method").items():
            yield option, typed(compose("config", [f"method={option}"])).method, file


def method_pages() -> None:
    """A page for each preset of `method=`, and their list."""
    head = "| method | may read | values | |\n| --- | --- | --- | --- |\n"
    rows = [f"# Methods\n\nA page for each preset of `method=`.\n\n{head}"]
    for option, method, file in methods():
        reads = ", ".join(access_names(method)) or "nothing"
        rows.append(f"| [{option}]({option}.md) | {reads} | {method.settings} | {plain(first_comment(file))} |\n")
        text = f"# {option}\n\n{plain(first_comment(file))}\n\n"
        text += f"**May read:** {reads}. **Values:** {method.settings}.\n\n"
        module = inspect.getdoc(inspect.getmodule(type(method))) or ""
        text += f"{plain(module)}\n\n{plain(inspect.getdoc(type(method)) or '')}\n\n## Settings\n\n"
        text += f"`unsir-bench method={option}`\n\n```yaml\n{file.read_text(encoding='utf-8')}```\n"
        write(f"methods/{option}.md", text)
    write("methods/index.md", "".join(rows))


def metric_pages() -> None:
    """A page for each field of a record that has a card, and their list."""
    rows = ["# Each metric\n\n| field | title | ideal | source |\n| --- | --- | --- | --- |\n"]
    for metric in registered():
        for card in metric.cards:
            rows.append(f"| [{card.field}]({card.field}.md) | {card.title} | {card.ideal} | {plain(card.source)} |\n")
            write(f"metric_pages/{card.field}.md", metric_page(metric, card.field))
    write("metric_pages/index.md", "".join(rows))


def metric_page(metric: Metric, field: str) -> str:
    """The card and the docstrings of a field's metric."""
    card = next(card for card in metric.cards if card.field == field)
    facts = {
        "ideal": card.ideal, "range": f"{card.range[0]:g} to {card.range[1]:g}", "source": card.source,
        "computed": "in every preset" if metric.when == "always" else f"where `metrics.{metric.when}` is on",
        "compared with retraining": f"as `gap_{field}`" if card.compared else "no",
        "beyond the ideal": card.overshoot or "–",
    }  # fmt: skip
    table = "".join(f"| {name} | {plain(value)} |\n" for name, value in facts.items())
    words = plain(inspect.getdoc(metric.compute) or "")
    module = plain(inspect.getdoc(inspect.getmodule(metric.compute)) or "")
    facts_table = f"| | |\n| --- | --- |\n{table}"
    return f"# {field}\n\n{card.title}\n\n{words}\n\n{facts_table}\n{module}\n\n[All metrics](../metrics.md)\n"


def api_page() -> None:
    """Everything that the package offers, from its docstrings."""
    names = "\n\n".join(f"::: {getattr(unsir_bench, name).__module__}.{name}" for name in unsir_bench.__all__)
    write("api.md", f"# API\n\n`from unsir_bench import ...`\n\n{names}\n")


def start_page() -> None:
    """The README, its links seen from docs/; a link to a file that is no page becomes its words."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace("](docs/", "](").replace('src="docs/', 'src="')
    write("index.md", text.replace("[contributing](CONTRIBUTING.md)", "contributing (`CONTRIBUTING.md`)"))


start_page()
method_pages()
metric_pages()
api_page()
