"""`unsir-bench store ls|verify [FOLDER]`: what the store of trained models holds, and whether all of it is whole."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unsir_bench.errors import DamagedEntryError
from unsir_bench.records import printable
from unsir_bench.references.store import Entry, Store, StoreConfig

DAMAGED, NO_STORE = 1, 2
MEGABYTE = 1e6


def store_command(argv: Sequence[str]) -> int:
    """List the entries of a store, or check the hash of every file; changes nothing.

    Args:
        argv: the words after ``store``.

    Returns:
        Exit status: 0, 1 if an entry or a checkpoint is damaged, 2 if there is no such store.
    """
    given = _parser().parse_args(argv)
    if not given.folder.is_dir():
        print(f"{given.folder}: there is no such store; runs make one at store.root (default: {StoreConfig().root})")
        return NO_STORE
    store = Store(given.folder)
    return {"ls": _listed, "verify": _verified}[given.verb](store)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unsir-bench store", description="The store of trained models.")
    parser.add_argument("verb", choices=("ls", "verify"), help="list what it holds, or check every hash")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(StoreConfig().root), metavar="FOLDER",
        help="the store (default: %(default)s)",
    )  # fmt: skip
    return parser


def _listed(store: Store) -> int:
    from unsir_bench.report.tables.text import print_rows

    rows, damaged, total = [], 0, 0
    for folder in store.folders():
        size = _size(folder)
        total += size
        cells = {"entry": folder.name, "MB": f"{size / MEGABYTE:.2f}"}
        try:
            rows.append({**cells, **_described(Entry.opened(folder).manifest)})
        except DamagedEntryError as reason:
            damaged += 1
            rows.append({**cells, "what": f"damaged: {reason}", "of": "", "seconds": "", "commit": ""})
    print_rows(rows, f"{store.root}: {len(rows)} entries, {total / MEGABYTE:.1f} MB")
    waiting = store.checkpoints()
    if waiting:
        print(f"{len(waiting)} interrupted trainings, {sum(map(_size, waiting)) / MEGABYTE:.1f} MB: runs continue them")
    aside = store.damaged()
    if aside:
        amount = sum(map(_size, aside)) / MEGABYTE
        print(f"{len(aside)} damaged and set aside, {amount:.1f} MB: nothing reads them, and they may be removed")
    return DAMAGED if damaged else 0


def _described(manifest: dict[str, Any]) -> dict[str, str]:
    about = manifest.get("description") or {}
    what = manifest.get("role") or about.get("kind")
    parts = []
    for name, title in (("features of", "features"), ("log of", "training log")):
        if name in about:
            what, parts = title, [str(about[name])]
    if "unlearning" in about:
        parts = [str(manifest.get("run")), f"step {about.get('step')}"]
    if "model" in about:
        model, recipe = about["model"], about.get("recipe", {})
        parts = [str(model.get("class")), f"seed {about.get('seed')}", f"{recipe.get('epochs')} epochs",
                 f"data {about.get('data')}", f"samples {about.get('samples')}"]  # fmt: skip
    seconds = manifest.get("seconds")
    trained_in = manifest.get("trained_in") or {}
    commit = str(trained_in.get("commit") or "")[:10] + (" (unclean)" if trained_in.get("dirty") else "")
    return {
        "what": str(what or "not described"),
        "of": ", ".join(parts),
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        "commit": commit,
    }


def _verified(store: Store) -> int:
    damaged = 0
    folders, checkpoints = store.folders(), store.checkpoints()
    for folder in folders:
        try:
            Entry.opened(folder).verify()
        except DamagedEntryError as reason:
            damaged += 1
            print(f"damaged: {printable(str(folder))}: {reason}")
    for path in checkpoints:
        try:
            store.checkpoint(path.stem).verify()
        except DamagedEntryError as reason:
            damaged += 1
            print(f"damaged: {printable(str(path))}: {reason}")
    print(f"{len(folders)} entries and {len(checkpoints)} checkpoints: {damaged} damaged")
    if damaged:
        print("The next run that needs one sets it aside and makes it again.")
    return DAMAGED if damaged else 0


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(_size(inside) for inside in path.iterdir())
