"""Records that somebody else wrote: they read nothing of this machine, and end no command that reads them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unsir_bench.cli import recorded_config
from unsir_bench.cli.main import _status
from unsir_bench.cli.recorded_config import CannotRepeatError, config_of
from unsir_bench.records import RunRecord, digest

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "digits_run" / "record.json"
SECRET, ASKED = "swordfish-4711", "${oc.env:UNSIR_BENCH_TEST_SECRET}"


def content() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text(encoding="utf-8")))


def signed(changed: dict[str, Any]) -> dict[str, Any]:
    return {**changed, "digest": digest(changed)}


def places(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a configuration holds a text, null or a list, any of which may be a text in a forged one."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*above, key))
    elif node is None or isinstance(node, str | list):
        yield above


def put(node: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value


@pytest.mark.parametrize("value", [ASKED, [{"deep": ASKED}], {ASKED: 1}], ids=["text", "list", "key"])
def test_no_text_of_a_record_reads_the_environment(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setenv("UNSIR_BENCH_TEST_SECRET", SECRET)
    forged, true = RunRecord.read(GOLDEN), content()["config"]
    for place in places(true):
        forged.config = copy.deepcopy(true)
        put(forged.config, place, value)
        with pytest.raises(CannotRepeatError, match=r"holds '\$\{'") as refused:
            config_of(forged)
        assert f"config.{'.'.join(place)}" in str(refused.value) and SECRET not in str(refused.value)


@pytest.mark.parametrize("verb", ["verify", "reproduce"])
def test_the_commands_do_not_print_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setenv("UNSIR_BENCH_TEST_SECRET", SECRET)
    forged = content()
    forged["config"]["model"]["weights"] = ASKED
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(signed(forged)), encoding="utf-8")
    _status([verb, f"{path}:1" if verb == "reproduce" else str(path)])
    said = capsys.readouterr().out
    assert "config.model.weights: holds" in said and SECRET not in said


def test_a_methods_name_names_no_file_outside_the_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a number was overruled the preset is composed; a file that came with the records must not be."""
    monkeypatch.setattr(recorded_config, "compose", lambda words: pytest.fail(f"composed {words}"))
    forged = content()
    forged["config"]["method"] |= {"name": "../../submissions/theirs", "retain_share": 0.2, "retain_per_class": None}
    with pytest.raises(CannotRepeatError):
        config_of(RunRecord.of(signed(forged)))


ODD: dict[str, tuple[tuple[str, ...], Any]] = {
    "seed": (("config", "seed"), "x"),
    "seeds": (("config", "unlearn_seed"), [1]),
    "withheld": (("config", "withheld"), 5),
    "versions": (("environment", "versions"), [1]),
    "threads": (("environment", "threads"), "x"),
    "samples": (("details", "samples"), [1]),
    "weights": (("references", "original"), {"weights": [1]}),
    "classes": (("config", "forget", "classes"), [{"a": 1}]),
}


def odd_records() -> list[dict[str, Any]]:
    records = [content() for _ in ODD]
    for record, (place, value) in zip(records, ODD.values(), strict=True):
        put(record, place, value)
    return [signed(record) for record in records]


def test_settings_of_another_type_are_refused_by_their_key() -> None:
    for record, key in zip(odd_records(), ("config.seed=x", "config.unlearn_seed=", "config.withheld=5"), strict=False):
        with pytest.raises(CannotRepeatError, match=key):
            config_of(RunRecord.of(record))


def test_odd_values_are_a_fault_of_their_record_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    true = RunRecord.read(GOLDEN)
    monkeypatch.setattr("unsir_bench.cli.reproduce.done_again", lambda record, *_: config_of(record) and true)
    path, records = tmp_path / "records.jsonl", [*odd_records(), content()]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records), encoding="utf-8")
    assert _status(["verify", str(path)]) == 1
    said = capsys.readouterr().out
    assert f"{len(records)} records, " in said and "it cannot be checked: " in said
    assert _status(["reproduce", *(f"{path}:{line + 1}" for line in range(len(records)))]) == 2
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith(f"{true.run_id}: identical bits")
