"""What a run is of, in words and as keys: its setting, the conditions around its method, its access."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unsir_bench.records import RunRecord

NOTHING = "–"
PAPER = "paper"
MOST_DIGITS = 8  # letters of a number in a setting that need no cutting
NO_SETTINGS = ("noise.kept",)  # files kept beside the record change no result
# What of a data set changes no pixel of a test image: training recipes say what they use of it themselves.
NOT_DATA = {"name", "root", "content", "batch_size", "unsir_batch_size", "retain_share", "flip", "crop_padding"}
NOT_MODEL = {"name", "cpu_threads", "channels_last"}
NUMERICS = (
    "devices",
    "precision",
    "channels_last",
    "compile",
    "tf32",
    "deterministic",
    "flush_denormal",
)  # of the hardware
FOUND_BY_RUNNING = ("images", "device")  # of what runs share: one that was killed does not know them
SURROUNDINGS = ("dataset", "model", "train", "hardware")
ELSEWHERE = "made elsewhere"  # marks models that no run of ours made
UNVERIFIED = f"{ELSEWHERE}, unverified"
UNKNOWN_ACCESS = "unknown"


@dataclass(frozen=True)
class Conditions:
    """What runs must share to be averaged or compared: data, network, training of the original, and device.

    Attributes:
        key: equal for runs that share all of it, whatever their method, forget set and seed.
        across_networks: the same without the network.
        scale: the scale that the runs were composed at; ``not named`` for those of no scaled preset.
        words: what sets the data, the training and the device apart, for captions.
    """

    key: str
    across_networks: str
    scale: str
    words: str

    @property
    def at_paper_scale(self) -> bool:
        """Whether the runs were composed at the paper's scale."""
        return self.scale == PAPER


def conditions(records: Sequence[RunRecord]) -> list[Conditions]:
    """The conditions of each record.

    A run that was composed without a scale has the scale of those that share all else: a sweep that is repeated under a
    scale's name keeps the runs that it finds.
    """
    shared = _with_unknown_filled(records)
    keys = [as_key(each) for each in shared]
    scales = [record.config.get("at_scale") for record in records]
    named: dict[str, set[str]] = defaultdict(set)
    for key, scale in zip(keys, scales, strict=True):
        named[key] |= {str(scale)} if scale else set()
    found = []
    for record, each, key, scale in zip(records, shared, keys, scales, strict=True):
        own = str(scale or (next(iter(named[key])) if len(named[key]) == 1 else "not named"))
        across = as_key({name: value for name, value in each.items() if name != "model"})
        found.append(Conditions(f"{own} {key}", f"{own} {across}", own, _words(record, each["device"])))
    return found


def _with_unknown_filled(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """What each record shares; a run that is not done has the images and device which all alike have that know them.

    One that was killed knows neither, and would else stand in a table of its own, beside no finished run.
    """
    shared = [_shared(record) for record in records]
    blind = [as_key({**each, **dict.fromkeys(FOUND_BY_RUNNING)}) for each in shared]
    alike: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for key, each in zip(blind, shared, strict=True):
        alike[key].append(each)
    return [
        each if record.status == "done" else {**each, **_told_by(alike[key], each)}
        for record, key, each in zip(records, blind, shared, strict=True)
    ]


def _told_by(others: Sequence[Mapping[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
    """What a record lacks and others, which agree with all it knows, have one value of."""
    known = [name for name in FOUND_BY_RUNNING if own[name]]
    fitting = [other for other in others if all(other[name] == own[name] for name in known)]
    values = {name: {other[name] for other in fitting} - {None} for name in FOUND_BY_RUNNING if name not in known}
    return {name: next(iter(found)) for name, found in values.items() if len(found) == 1}


def _shared(record: RunRecord) -> dict[str, Any]:
    *data, images = data_of(record)
    return {
        "dataset": data,
        "images": images,
        "model": _model(record),
        "train": _without(record.config.get("train"), {"name"}),
        "precision": _hardware(record).get("precision"),
        "device": record.environment.get("device"),
    }


def as_key(shared: Mapping[str, Any]) -> str:
    """Equal for equal settings, whatever their order."""
    return json.dumps(shared, sort_keys=True, default=str)


def task_of(record: RunRecord) -> str:
    """Equal for runs on the same data, forget set, network, precision, machine and seed, whatever their recipe."""
    return as_key({
        "data": data_of(record),
        "model": _model(record),
        "forget": record.forget_steps or [record.forget_classes],
        "split": record.fingerprints.get("split"),
        "precision": _hardware(record).get("precision"),
        "timed_on": record.timed_on,
        "seed": record.seed,
    })  # fmt: skip


def data_of(record: RunRecord) -> tuple[Any, ...]:
    """The data set, what decides its pixels, and its fingerprint."""
    return record.dataset, _without(record.config.get("dataset"), NOT_DATA), record.fingerprints.get("data")


def _model(record: RunRecord) -> tuple[Any, ...]:
    """The network and what decides its architecture and initial weights."""
    return record.model, _network(record)


def _network(record: RunRecord) -> dict[str, Any]:
    """The options of the network, a file of weights by its content, since paths differ from machine to machine."""
    options = _without(record.config.get("model"), NOT_MODEL)
    content = record.fingerprints.get("initial_weights")
    return {**options, "weights": content[:8]} if content else options


def _hardware(record: RunRecord) -> Mapping[str, Any]:
    return record.config.get("hardware") or {}


def _without(section: Any, names: set[str]) -> dict[str, Any]:
    return {key: value for key, value in (section or {}).items() if key not in names}


def _words(record: RunRecord, device: str | None) -> str:
    data, train = record.config.get("dataset") or {}, record.config.get("train") or {}
    share = data.get("validation_share")
    words = [
        "JPEG copies of the images" if is_jpeg(record) else "",
        f"{data['subset']} images a class at most" if data.get("subset") else "",
        f"{100 * share:g} % of the training images stand for the test data" if share else "",
        f"original trained {train['epochs']} epochs" if train.get("epochs") and not record.checkpoints else "",
        f"device {device}" if device else "",
    ]
    return ", ".join(filter(None, words))


def is_jpeg(record: RunRecord) -> bool:
    """Whether the data set's images are JPEG copies of the paper's."""
    return "jpeg" in record.dataset.lower()


def settings(records: Sequence[RunRecord]) -> list[str]:
    """For each record, in words, in what its method differs from other runs of it on the same data and model."""
    flat = [
        {key: value for key, value in flattened(record.config.get("method", {})) if key not in NO_SETTINGS}
        for record in records
    ]
    words = _differences([(record.dataset, record.model, record.method) for record in records], flat)
    return [", ".join(part.removeprefix("train.") for part in parts) for parts in words]


def surroundings(records: Sequence[RunRecord], sections: Sequence[str] = SURROUNDINGS) -> list[str]:
    """For each record, in words, what sets its data, network, training, hardware or device apart under the same names.

    What only one of two records knows, since the other is older, sets nothing apart.

    Args:
        records: among which they are compared.
        sections: of the configuration, that are looked at; with ``dataset`` also the images and the device.
    """
    places = [(record.dataset, record.model) for record in records]
    flat = [dict(flattened(_around(record, sections))) for record in records]
    known: dict[tuple[str, str], set[str]] = {}
    for place, values in zip(places, flat, strict=True):
        known[place] = known.get(place, set(values)) & set(values)
    shared = [
        {key: value for key, value in values.items() if key in known[place]}
        for place, values in zip(places, flat, strict=True)
    ]
    differences = _differences(places, shared)
    if "dataset" in sections:
        beside = zip(differences, _contents(records), _devices(records), strict=True)
        differences = [[*parts, *images, *device] for parts, images, device in beside]
    return [", ".join(parts) for parts in differences]


def _contents(records: Sequence[RunRecord]) -> list[list[str]]:
    """For each record, in words, which images it is of, where another one's differ though its options are the same.

    So two folders of one name are told apart, and a folder from what it held before.
    """
    sets = [as_key({"place": (r.dataset, r.model), "options": _around(r, ("dataset",))}) for r in records]
    known: dict[str, set[tuple[str | None, str]]] = defaultdict(set)
    for key, record in zip(sets, records, strict=True):
        if content := record.fingerprints.get("data"):
            known[key].add((_root(record), content))
    words = []
    for key, record in zip(sets, records, strict=True):
        root, content, others = _root(record), record.fingerprints.get("data"), known[key]
        told = [f"root={root}"] if content and len({name for name, _ in others}) > 1 else []
        if content and len({one for name, one in others if name == root}) > 1:
            told.append(f"content={content[:8]}")
        words.append(told if len({one for _, one in others}) > 1 else [])
    return words


def _devices(records: Sequence[RunRecord]) -> list[list[str]]:
    """For each record, in words, the device that it ran on, where others of its data set and model ran on another."""
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        if (device := record.environment.get("device")) and record.status == "done":
            known[record.dataset, record.model].add(str(device))
    return [
        [f"device={device}"]
        if (device := record.environment.get("device")) and len(known[record.dataset, record.model]) > 1
        else []
        for record in records
    ]


def _root(record: RunRecord) -> str | None:
    return (record.config.get("dataset") or {}).get("root")


def _around(record: RunRecord, sections: Sequence[str]) -> dict[str, Any]:
    around = {
        "dataset": _without(record.config.get("dataset"), NOT_DATA),
        "model": _network(record),
        "train": _without(record.config.get("train"), {"name"}),
        "hardware": {key: value for key in NUMERICS if (value := _hardware(record).get(key, ...)) is not ...},
    }
    return {name: around[name] for name in sections}


def _differences(places: Sequence[tuple[str, ...]], flat: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """For each of some settings ``key=value`` of the keys in which another one of the same place differs.

    Numbers that were tuned have many digits; they are cut where no other value would read the same.
    """
    pairs = list(zip(places, flat, strict=True))
    alike = Counter((place, key, repr(value)) for place, values in pairs for key, value in values.items())
    everyone = Counter(places)
    distinct = {(place, key, repr(value)): _brief(value) for place, values in pairs for key, value in values.items()}
    read = Counter((place, key, brief) for (place, key, _), brief in distinct.items())

    def words(place: tuple[str, ...], key: str, value: Any) -> str:
        return f"{key}={_brief(value) if read[place, key, _brief(value)] == 1 else value}"

    return [
        [words(place, key, value) for key, value in values.items() if alike[place, key, repr(value)] < everyone[place]]
        for place, values in pairs
    ]


def _brief(value: Any) -> str:
    """A number of many digits to four significant ones."""
    return f"{value:.4g}" if isinstance(value, float) and len(str(value)) > MOST_DIGITS else str(value)


def flattened(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their dotted path, each after ``prefix``."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def elsewhere(record: RunRecord) -> str:
    """The mark of a model that no run of ours made; empty for the others."""
    return ELSEWHERE if record.checkpoints else ""


def provenance_words(record: RunRecord) -> str:
    """Where the method's values come from, with the study of tuned ones; empty where there is nothing to say."""
    if record.settings in ("", "none"):
        return ""
    return f"{record.settings} ({record.study})" if record.study else record.settings


def access_words(declared: Sequence[str]) -> str:
    """The declared access in three words: forget data, retain data, stored state."""
    retain = "all" if "retain_data" in declared else "subset" if "retain_subset" in declared else NOTHING
    stored = {"train_history": "training log", "initial_weights": "initial weights"}
    kept = [words for name, words in stored.items() if name in declared]
    return " / ".join(["all" if "forget_data" in declared else NOTHING, retain, ", ".join(kept) or NOTHING])
