"""The command `unsir-report html` as a user gives it."""

import subprocess
import sys
from pathlib import Path

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.command import main


def make(folder: Path, method: str = "unsir") -> None:
    fields = {"run_id": f"{method}-s0", "sweep": folder.name, "method": method, "dataset": "digits", "model": "net"}
    metrics = {"acc_forget_test": 0.0, "acc_retain_test": 0.9}
    RunRecord(**fields, seed=0, config={}, status="done", metrics=metrics).write(folder / f"{method}-s0")


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_sweep_of_the_outputs_goes_on_one_page(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(here / "multirun_outputs" / "first")
    make(here / "multirun_outputs" / "second", "retrain")
    make(here / "multirun_outputs" / "store" / "hidden", "fisher")
    assert status("html") == 0
    page = (here / "multirun_outputs" / "report" / "report.html").read_text()
    assert "<h2>first</h2>" in page and "<h2>second</h2>" in page and "fisher-s0" not in page
    assert 'href="../first/unsir-s0/record.json"' in page
    assert "2 runs in 2 sweeps" in capsys.readouterr().out
    assert status("html", "multirun_outputs/first") == 0
    assert "1 run in 1 sweep," in capsys.readouterr().out


def test_before_the_first_sweep_the_published_records_are_taken_and_that_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(here / "docs" / "results" / "published")
    (here / "multirun_outputs" / "store").mkdir(parents=True)
    assert status("html") == 0
    assert "<h2>published</h2>" in (here / "multirun_outputs" / "report" / "report.html").read_text()
    assert "published records below docs/results" in capsys.readouterr().err
    make(here / "multirun_outputs" / "own")
    assert status("html") == 0
    page = (here / "multirun_outputs" / "report" / "report.html").read_text()
    assert "<h2>own</h2>" in page and "<h2>published</h2>" not in page
    assert "published" not in capsys.readouterr().err


def test_all_writes_what_each_command_writes(here: Path) -> None:
    make(here / "s")
    make(here / "s", "retrain")
    assert status("all", "s", "--output", "together") == 0
    for command, output in (("tables", ""), ("claims", ""), ("figures", "figures"), ("html", "report.html")):
        assert status(command, "s", "--output", str(Path("apart") / output)) == 0
    written = [
        {path.relative_to(folder) for path in (here / folder).rglob("*") if path.is_file()}
        for folder in (here / "together", here / "apart")
    ]
    assert written[0] == written[1] and len(written[0]) > 5


def test_chosen_sweeps_go_to_the_chosen_file_once_each(here: Path) -> None:
    make(here / "a")
    make(here / "b", "retrain")
    assert status("html", "a", "a", str(here / "a"), "--output", "out/page.html") == 0
    page = (here / "out" / "page.html").read_text()
    assert page.count("<h2>a</h2>") == 1 and "<h2>b</h2>" not in page
    assert 'href="../a/unsir-s0/"' in page


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_without_records_it_says_where_it_looked_and_how_records_are_made(
    here: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    assert status("html", folder) == 2
    said = capsys.readouterr().err
    assert folder in said and "unsir-bench -m experiment=digits_demo" in said
    assert not (here / "multirun_outputs").exists()


def test_a_folder_without_records_is_said_and_the_others_are_reported(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(here / "s")
    assert status("html", "absent", "s", "--output", "page.html") == 2
    assert "no records below absent" in capsys.readouterr().err
    assert "<h2>s</h2>" in (here / "page.html").read_text()


def test_records_that_all_cannot_be_read_are_no_records(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "s" / "run").mkdir(parents=True)
    (here / "s" / "run" / "record.json").write_text('{"schema_version": 99}')
    assert status("html", "s") == 2
    assert "none of the 1 records below s can be read" in capsys.readouterr().err


def test_a_record_that_cannot_be_read_is_said_and_the_others_are_shown(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(here / "s")
    (here / "s" / "cut").mkdir()
    (here / "s" / "cut" / "record.json").write_text("{")
    assert status("html", "s", "--output", "page.html") == 0
    assert "1 record cannot be read" in capsys.readouterr().err
    assert "s/cut/record.json" in (here / "page.html").read_text()


def test_an_output_that_is_a_folder_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(here / "s")
    assert status("html", "s", "--output", "s") == 2
    assert "is a folder" in capsys.readouterr().err


def test_no_command_is_a_mistake_that_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert status() == 2
    assert "usage: unsir-report" in capsys.readouterr().err


def test_it_runs_as_a_module_without_loading_a_model_library(tmp_path: Path) -> None:
    make(tmp_path / "s")
    output = tmp_path / "page.html"
    code = (
        "import sys; from unsir_bench.report.command import main\n"
        f"try: main(['html', {str(tmp_path / 's')!r}, '--output', {str(output)!r}])\n"
        "finally: print({'torchvision', 'timm', 'lightning_fabric', 'wandb', 'hydra'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert output.exists()
