"""`unsir-bench store VERB`: what the store of trained models holds, whether it is whole, what may go; sharing it."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsir_bench.errors import DamagedEntryError, SharingError, UnreadableError
from unsir_bench.records import printable
from unsir_bench.references.record_folders import note_folder, noted_folder, notes
from unsir_bench.references.store import Entry, Store, StoreConfig
from unsir_bench.sharing.prune import Removable, removable, remove, size_of
from unsir_bench.sharing.users import KeptRecords, kept_records, users_of_entries
from unsir_bench.tracking.tracker_config import without_passwords

if TYPE_CHECKING:
    from unsir_bench.sharing.transfer import Transfer

DAMAGED, NO_STORE = 1, 2
MEGABYTE = 1e6
SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
SHOWN_USERS = 2
PLACES = "a folder, a file NAME.tar, wandb:ENTITY/PROJECT/NAME, or a URL such as hf:// or s3://"


def store_command(argv: Sequence[str]) -> int:
    """List, check, prune or share the entries of a store.

    Args:
        argv: the words after ``store``.

    Returns:
        Exit status: 0, 1 if something is damaged, refused or left, 2 if there is no such store.

    Raises:
        SharingError: a disk refuses something.
    """
    given = _parser().parse_args(argv)
    if given.verb != "pull" and not given.folder.is_dir():
        print(f"{given.folder}: there is no such store; runs make one at store.root (default: {StoreConfig().root})")
        return NO_STORE
    verbs = {"ls": _listed, "verify": _verified, "prune": _pruned, "push": _pushed, "pull": _pulled}
    try:
        return verbs[given.verb](Store(given.folder), given)
    except OSError as error:
        place = without_passwords(getattr(given, "place", str(given.folder)))
        raise SharingError(f"{place}: {error}; make room, see to permissions, or choose another place") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unsir-bench store", description="The store of trained models.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    ls = verbs.add_parser("ls", help="list what it holds, and which records use it")
    verify = verbs.add_parser("verify", help="check every hash")
    prune = verbs.add_parser("prune", help="remove what no kept record needs, and what was set aside as damaged")
    push = verbs.add_parser("push", help="copy entries and finished records to a place that others can read")
    pull = verbs.add_parser("pull", help="copy what such a place holds and is not here")
    for verb in (ls, verify, prune):
        verb.add_argument("folder", nargs="?", type=Path, default=Path(StoreConfig().root), metavar="FOLDER",
                          help="the store (default: %(default)s)")  # fmt: skip
    push.add_argument("place", metavar="TARGET", help=PLACES)
    pull.add_argument("place", metavar="SOURCE", help=PLACES)
    for verb in (push, pull):
        verb.add_argument("--store", dest="folder", type=Path, default=Path(StoreConfig().root), metavar="FOLDER",
                          help="the store (default: %(default)s)")  # fmt: skip
    for verb in (ls, prune, push, pull):
        verb.add_argument("--records", type=Path, default=Path("multirun_outputs"), metavar="FOLDER",
                          help="of sweeps, with their records (default: %(default)s)")  # fmt: skip
    prune.add_argument("--older-than", type=_seconds, metavar="AGE", help="leave what is younger: 12h, 30d or 8w; "
                       "interrupted trainings and new unlearned weights, kept without this, go too")  # fmt: skip
    prune.add_argument("--yes", action="store_true", help="do not ask")
    push.add_argument("--sweep", action="append", metavar="NAME",
                      help="only this sweep's records and the entries that they use; may be repeated")  # fmt: skip
    pull.add_argument("--no-records", action="store_true", help="take entries alone")
    return parser


def _seconds(age: str) -> float:
    if not re.fullmatch(r"[0-9]+[hdw]", age):
        raise argparse.ArgumentTypeError(f"{age}: write hours, days or weeks, as 12h, 30d or 8w")
    return float(age[:-1]) * SECONDS[age[-1]]


def _listed(store: Store, given: argparse.Namespace) -> int:
    from unsir_bench.report.tables.text import print_rows

    users = users_of_entries(store, _records(given).readable.values())
    rows, damaged, total = [], 0, 0
    for folder in store.folders():
        size = size_of(folder)
        total += size
        cells = {"entry": folder.name, "MB": f"{size / MEGABYTE:.2f}"}
        used_by = {"used by": _in_short(users.get(folder.name, []))}
        try:
            rows.append({**cells, **_described(Entry.opened(folder).manifest), **used_by})
        except DamagedEntryError as reason:
            damaged += 1
            rows.append({**cells, "what": f"damaged: {reason}", "of": "", "seconds": "", "commit": "", **used_by})
    print_rows(rows, f"{store.root}: {len(rows)} entries, {total / MEGABYTE:.1f} MB")
    waiting = store.checkpoints()
    if waiting:
        size = sum(map(size_of, waiting))
        print(f"{len(waiting)} interrupted trainings, {size / MEGABYTE:.1f} MB: runs continue them")
    aside = store.damaged()
    if aside:
        amount = sum(map(size_of, aside)) / MEGABYTE
        print(f"{len(aside)} damaged and set aside, {amount:.1f} MB: nothing reads them; `store prune` removes them")
    return DAMAGED if damaged else 0


def _records(given: argparse.Namespace) -> KeptRecords:
    """Those below ``--records``, and below every folder of sweeps whose runs used this store."""
    found = kept_records(given.records)
    for note in notes(given.folder):
        try:
            folder = noted_folder(note)
        except OSError as error:
            found.unreadable[note] = printable(str(error))
            continue
        found.add(kept_records(folder))
        if not folder.is_dir():
            print(printable(f"{folder}, named in {note}, does not exist: what its records needed is not counted"))
    for reason in found.unreadable.values():
        print(f"no record: {reason}")
    return found


def _in_short(runs: Sequence[str]) -> str:
    """The first of the runs, and how many more."""
    more = f" and {len(runs) - SHOWN_USERS} more" if len(runs) > SHOWN_USERS else ""
    return ", ".join(runs[:SHOWN_USERS]) + more if runs else "no record"


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


def _verified(store: Store, _given: argparse.Namespace) -> int:
    damaged, unreadable = 0, 0
    folders, checkpoints = store.folders(), store.checkpoints()
    for folder in folders:
        try:
            Entry.opened(folder).verify()
        except DamagedEntryError as reason:
            damaged += 1
            print(f"damaged: {printable(f'{folder}: {reason}')}")
        except UnreadableError as reason:
            unreadable += 1
            print(f"unreadable: {reason}")
    for path in checkpoints:
        try:
            store.checkpoint(path.stem).verify()
        except DamagedEntryError as reason:
            damaged += 1
            print(f"damaged: {printable(f'{path}: {reason}')}")
        except UnreadableError as reason:
            unreadable += 1
            print(f"unreadable: {reason}")
    print(f"{len(folders)} entries and {len(checkpoints)} checkpoints: {damaged} damaged")
    if damaged:
        print("The next run that needs one sets it aside and makes it again.")
    return DAMAGED if damaged or unreadable else 0


def _pruned(store: Store, given: argparse.Namespace) -> int:
    from unsir_bench.report.tables.text import print_rows

    records = _records(given)
    if why := _nothing_to_go_by(records, given):
        print(f"nothing is removed: {why}")
        return DAMAGED
    before = None if given.older_than is None else time.time() - given.older_than
    found = list(removable(store, users_of_entries(store, records.readable.values()), before))
    if not found:
        print(f"nothing to remove: {len(records.readable)} records, {len(store.folders())} entries")
        return 0
    rows = [{"what": each.what, "name": each.path.name, "MB": f"{each.size / MEGABYTE:.2f}"} for each in found]
    title = f"{len(found)} that none of {len(records.readable)} records needs, {_megabytes(found)}"
    print_rows(rows, title)
    print("A sweep that is running may still use some of these: it would train them again.")
    if not given.yes and not _agreed(f"Remove these {len(found)}, {_megabytes(found)}? [y/N] "):
        print("nothing is removed; --yes removes without asking")
        return 0
    left = {each: why for each in found if (why := _why_left(store, each))}
    for each, why in left.items():
        print(printable(f"left: {each.path.name}: {why}"))
    gone = [each for each in found if each not in left]
    print(f"removed {len(gone)}, {_megabytes(gone)}")
    return DAMAGED if left else 0


def _why_left(store: Store, each: Removable) -> str | None:
    """Remove something; returns why it stays, or None."""
    try:
        return None if remove(store, each) else "another process holds its lock"
    except OSError as error:
        return str(error)


def _nothing_to_go_by(records: KeptRecords, given: argparse.Namespace) -> str | None:
    if records.unreadable:
        return "what these records need is not known; repair them, make their folders readable, or remove these"
    if not kept_records(given.records).readable:
        return f"no record lies below --records={given.records}; name the folder of sweeps, or remove the store by hand"
    return None


def _megabytes(found: Sequence[Removable]) -> str:
    return f"{sum(each.size for each in found) / MEGABYTE:.1f} MB"


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to answer
        return False


def _pushed(store: Store, given: argparse.Namespace) -> int:
    from unsir_bench.sharing.places import place_to_push
    from unsir_bench.sharing.transfer import push

    found = kept_records(given.records)
    records, unreadable, keys = found.readable, found.unreadable, None
    if given.sweep:
        if unknown := set(given.sweep) - {record.sweep for record in records.values()}:
            print(f"--sweep {sorted(unknown)[0]}: no record of it lies below --records={given.records}")
            return NO_STORE
        records = {path: record for path, record in records.items() if record.sweep in given.sweep}
        unreadable = {path: why for path, why in unreadable.items() if path.parent.parent.name in given.sweep}
        keys = users_of_entries(store, records.values()).keys()
    with place_to_push(given.place) as place:
        done = push(store, records, place, keys)
    for path, why in unreadable.items():
        done.refused[str(path)] = why.removeprefix(f"{printable(str(path))}: ")
    if "://" in given.place:
        print("A URL has no locks: if somebody else pushed meanwhile, push again, so that nothing stays unlisted.")
    return _told(done, f"pushed to {without_passwords(given.place)}", "there")


def _pulled(store: Store, given: argparse.Namespace) -> int:
    from unsir_bench.sharing.places import place_to_pull
    from unsir_bench.sharing.transfer import pull

    with place_to_pull(given.place) as place:
        done = pull(place, store, None if given.no_records else given.records)
    if done.records:
        note_folder(store.root, given.records)
    return _told(done, f"pulled from {without_passwords(given.place)}", "here")


def _told(done: Transfer, what: str, where: str) -> int:
    for name, reason in done.refused.items():
        print(printable(f"refused: {name}: {reason}"))
    print(
        f"{what}: {len(done.entries)} entries and {len(done.records)} records, {done.size / MEGABYTE:.1f} MB; "
        f"{len(done.present)} were {where} before, {len(done.refused)} refused"
    )
    return DAMAGED if done.refused else 0
