"""What a run is of, in words and as keys: its setting, the conditions around its method, its access."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
MADE_IN = ("commit", "dirty", "cpu", "cpu_capability")  # of a record's environment
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
    scale's name keeps the runs that it finds. A run that is not done knows no images: it has those of the others, too.
    """
    shared = _with_images(records)
    keys = [as_key(each) for each in shared]
    scales = [record.config.get("at_scale") for record in records]
    named: dict[str, set[str]] = defaultdict(set)
    for key, scale in zip(keys, scales, strict=True):
        named[key] |= {str(scale)} if scale else set()
    found = []
    for record, each, key, scale in zip(records, shared, keys, scales, strict=True):
        own = str(scale or (next(iter(named[key])) if len(named[key]) == 1 else "not named"))
        across = as_key({name: value for name, value in each.items() if name != "model"})
        found.append(Conditions(f"{own} {key}", f"{own} {across}", own, _words(record)))
    return found


def _with_images(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """What each record shares; that of runs that are not done with the images which all finished ones alike are of."""
    shared = [_shared(record) for record in records]
    blind = [as_key({**each, "dataset": each["dataset"][:2]}) for each in shared]
    known: dict[str, set[str]] = defaultdict(set)
    for key, each in zip(blind, shared, strict=True):
        known[key] |= {each["dataset"][2]} - {None}
    return [
        {**each, "dataset": (*each["dataset"][:2], *known[key])}
        if record.status != "done" and not each["dataset"][2] and len(known[key]) == 1
        else each
        for record, key, each in zip(records, blind, shared, strict=True)
    ]


def _shared(record: RunRecord) -> dict[str, Any]:
    return {
        "dataset": data_of(record),
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


def _words(record: RunRecord) -> str:
    data, train = record.config.get("dataset") or {}, record.config.get("train") or {}
    share = data.get("validation_share")
    words = [
        "JPEG copies of the images" if is_jpeg(record) else "",
        f"{data['subset']} images a class at most" if data.get("subset") else "",
        f"{100 * share:g} % of the training images stand for the test data" if share else "",
        f"original trained {train['epochs']} epochs" if train.get("epochs") and not record.checkpoints else "",
        f"device {record.environment['device']}" if record.environment.get("device") else "",
    ]
    return ", ".join(filter(None, words))


def is_jpeg(record: RunRecord) -> bool:
    """Whether the data set's images are JPEG copies of the paper's."""
    return "jpeg" in record.dataset.lower()


def settings(records: Sequence[RunRecord]) -> list[str]:
    """For each record, in words, in what its method differs from other runs of it on the same data and model."""
    flat = [
        {key: value for key, value in _flattened(record.config.get("method", {})) if key not in NO_SETTINGS}
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
    flat = [dict(_flattened(_around(record, sections))) for record in records]
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


def _flattened(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{key}.")
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


def mixture_words(records: Sequence[RunRecord]) -> str:
    """What a mean over these records mixes (commits, kinds of CPU, ways to measure), and unclean trees, or nothing."""
    words = [surrounding_words([record.environment for record in records]), _measured_words(records)]
    return ", ".join(filter(None, words))


def _measured_words(records: Sequence[RunRecord]) -> str:
    """Of which settings that change what a metric gives there are several values; a metric left out has none."""
    values: dict[str, set[str]] = defaultdict(set)
    for record in records:
        settings = record.measured_with
        relearn = settings.get("relearn") or {}
        known = {name: settings.get(name) for name in ("lira_shadows", "bank_size") if settings.get(name)}
        known |= dict(_flattened(relearn, "relearn.")) if relearn.get("cap") else {}
        for name, value in known.items():
            values[name].add(repr(value))
    return ", ".join(f"{len(found)} values of metrics.{name}" for name, found in values.items() if len(found) > 1)


def surrounding_words(found: Sequence[Mapping[Any, Any]]) -> str:
    """What runs were made in, in words, where it is not one clean commit and one kind of CPU.

    Args:
        found: of each run, ``environment`` of its record, of which ``MADE_IN`` counts; None or absent: not known.
    """
    commits = {each["commit"] for each in found if each.get("commit")}
    words = [
        f"{len(commits)} commits" if len(commits) > 1 else "",
        _cpu_words((each.get("cpu"), each.get("cpu_capability")) for each in found),
        "an unclean tree" if any(each.get("dirty") for each in found) else "",
    ]
    return ", ".join(filter(None, words))


def _cpu_words(machines: Iterable[tuple[str | None, str | None]]) -> str:
    """How many kinds of CPU these names and vector instructions are, where more than one: results differ by kind.

    Instructions that an older record does not say are taken to be those of another with the CPU's name.
    """
    known = {(name, capability) for name, capability in machines if name}
    told = {name for name, capability in known if capability}
    kinds = {(name, capability) for name, capability in known if capability or name not in told}
    return f"{len(kinds)} kinds of CPU" if len(kinds) > 1 else ""


def access_words(declared: Sequence[str]) -> str:
    """The declared access in three words: forget data, retain data, stored state."""
    retain = "all" if "retain_data" in declared else "subset" if "retain_subset" in declared else NOTHING
    stored = {"train_history": "training log", "initial_weights": "initial weights"}
    kept = [words for name, words in stored.items() if name in declared]
    return " / ".join(["all" if "forget_data" in declared else NOTHING, retain, ", ".join(kept) or NOTHING])
