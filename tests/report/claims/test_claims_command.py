"""`unsir-report claims`: the files that it writes, and its status."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.claims.claim_records import over_seeds, record
from unsir_bench.records import RunRecord
from unsir_bench.report.command import main


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[RunRecord], None]:
    def place(run: RunRecord) -> None:
        run.write(tmp_path / "sweep" / f"run-{len(list((tmp_path / 'sweep').glob('*')))}")

    return place


def test_the_command_writes_both_files_and_names_scale_failures_and_unreadable_records(
    tmp_path: Path, write: Callable[[RunRecord], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for run in over_seeds("acc_forget_test", [0.0, 0.0]):
        write(run)
    write(record(9, status="failed", reason="a | pipe <script>"))
    (tmp_path / "sweep" / "cut").mkdir()
    (tmp_path / "sweep" / "cut" / "record.json").write_text("{")
    assert status("claims", str(tmp_path), "--output", str(tmp_path / "out")) == 0
    content = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert content["runs"] == {"done": 2, "failed": 1} and len(content["unreadable"]) == 1
    [found] = next(claim for claim in content["claims"] if claim["id"] == "forgets")["findings"]
    assert (found["verdict"], found["scale"], found["n"]) == ("holds", "cpu", 2)
    text = (tmp_path / "out" / "claims.md").read_text()
    assert "0 of 1 groups" in text and "no result of the paper's experiments" in text and "JPEG copies" in text
    assert "one by one, without correction for their number" in text
    assert "<script>" not in text and "unsir-cifar10_jpeg-resnet18_slim-0-9: failed" in text
    assert "1 record cannot be read" in capsys.readouterr().err


def test_what_takes_no_part_is_counted_and_nothing_is_said_of_other_scales_where_there_are_none(
    tmp_path: Path, write: Callable[[RunRecord], None]
) -> None:
    papers = {"dataset": "cifar10", "model": "resnet18"}
    own = over_seeds("acc_forget_test", [0.0, 0.0], settings="published", config={"at_scale": "paper"}, **papers)
    for run in own:
        write(run)
    write(record(3, settings="user", config={"at_scale": "paper"}, **papers))
    assert status("claims", str(tmp_path / "sweep"), "--output", str(tmp_path / "out")) == 0
    text = (tmp_path / "out" / "claims.md").read_text()
    assert "1 of 1 groups" in text and "The others" not in text
    assert "- 1 with values of the user's own take no part" in text


def test_models_made_elsewhere_take_no_part_and_leave_no_run_out(
    tmp_path: Path, write: Callable[[RunRecord], None]
) -> None:
    """The model from a file has no settings of the user's: it must not make the run an ablation of itself."""
    for run in over_seeds("acc_forget_test", [0.0, 0.0], settings="user"):
        write(run)
    write(record(7, {"acc_forget_test": 0.9}, checkpoints={"unlearned": {"file": "m.pt"}}))
    assert status("claims", str(tmp_path / "sweep"), "--output", str(tmp_path / "out")) == 0
    text = (tmp_path / "out" / "claims.md").read_text()
    assert "- 1 records of models made elsewhere take no part" in text
    assert "of the user's own" not in text and "**Runs.** 2 done." in text
    content = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert (content["runs"], content["elsewhere"]) == ({"done": 2}, 1)


def test_names_from_records_stay_in_their_cells(tmp_path: Path, write: Callable[[RunRecord], None]) -> None:
    write(record(0, dataset="a|b\n## c <img src=x> `d` \\| e"))
    assert status("claims", str(tmp_path / "sweep"), "--output", str(tmp_path / "out")) == 0
    text = (tmp_path / "out" / "claims.md").read_text()
    assert "\n## c" not in text and "<img" not in text
    [row] = [line for line in text.splitlines() if line.startswith("| it forgets") and "scale cpu" in line]
    bars = sum(row[place] == "|" and _even_backslashes_before(row, place) for place in range(len(row)))
    assert bars == 9


def _even_backslashes_before(text: str, place: int) -> bool:
    before = text[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0


@pytest.mark.parametrize("command", ["claims", "tables"])
def test_without_records_or_with_a_file_for_a_folder_the_status_is_2(
    command: str, tmp_path: Path, write: Callable[[RunRecord], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(command, str(tmp_path / "absent"), "--output", str(tmp_path / "out")) == 2
    assert "unsir-bench -m experiment=digits_demo" in capsys.readouterr().err
    write(record(0))
    (tmp_path / "file").write_text("")
    assert status(command, str(tmp_path), "--output", str(tmp_path / "file")) == 2
    assert "is a file" in capsys.readouterr().err
