"""Files that are written whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from unsir_bench.runtime.files import write_atomic


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new and longer")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_never_holds_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At the moment before the rename the name still has the old text, and the new text is already whole."""
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    seen: list[tuple[str, str]] = []
    really_replace = Path.replace

    def spy(self: Path, target: Path) -> Path:
        seen.append((Path(target).read_text(), self.read_text()))
        return really_replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    write_atomic(path, "new")
    assert seen == [("old", "new")]
    assert path.read_text() == "new"


def test_a_written_file_can_be_read_by_others(tmp_path: Path):
    write_atomic(tmp_path / "file.txt", "text")
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o644


def test_text_is_utf8_whatever_the_locale(tmp_path: Path):
    """A table's ± and – must not fail where the locale knows ASCII only."""
    program = (
        "import sys, pathlib; from unsir_bench.runtime.files import write_atomic;"
        "write_atomic(pathlib.Path(sys.argv[1]), '\\xb1 \\u2013')"
    )
    subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", program, str(tmp_path / "table.md")],
        env={**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert (tmp_path / "table.md").read_bytes() == "± –".encode()
