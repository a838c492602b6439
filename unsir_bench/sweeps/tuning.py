"""Studies: a method's numbers chosen by Optuna, on held-out training images of classes that are not reported.

Each trial makes one run for each group of classes. Its score is the mean over these of
(1 - |A_Df - A_Df of retraining|) · (1 - |A_Dr - A_Dr of retraining|), on the held-out images: 1 for a method that
accuracy cannot tell from retraining, 0 for a run that diverged. A trial with a run that failed has no score.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from unsir_bench.config import Config
from unsir_bench.config_fields import search_ranges
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.errors import ConfigError, UnsirBenchError
from unsir_bench.records import RunRecord
from unsir_bench.references.store import content_key
from unsir_bench.references.tuned_values import (
    FOLDER,
    TunedValues,
    file_name,
    set_values,
    tuned_values_path,
    value_at,
)
from unsir_bench.runner import run
from unsir_bench.runs.run_lock import LOCKS
from unsir_bench.runtime.locks import locked
from unsir_bench.sweeps.trial_journal import cut_unfinished_line, opened_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

LOGARITHMIC_FROM = 10  # ratio of a range's ends
FAILURES = 3  # trials in a row; what ends so many is seldom their values
FAILED = "failed"  # the note of a trial, with the reason


class StudyInUseError(UnsirBenchError):
    """Another process works on a study."""


class RunFailedError(UnsirBenchError):
    """A run of a trial failed, which says nothing of the trial's values."""


class TuningStoppedError(UnsirBenchError):
    """So many trials in a row failed that no more are tried; the message has the first one's reason."""


@dataclass(frozen=True)
class Study:
    """One method on one data set and network.

    Attributes:
        config: the method at its preset's values, on data with held-out images.
        forget: the groups of class indices that the runs forget.
    """

    config: Config
    forget: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Refuse what would read test data, or has nothing to choose.

        Raises:
            ConfigError: says what to change.
        """
        if not self.config.dataset.validation_share:
            raise ConfigError(["dataset.validation_share=0: tuning reads no test data; hold out images, as by 0.2"])
        if not self.ranges:
            raise ConfigError([
                f"method={self.config.method.name}: no number of it says what to try; give one a range, as in "
                "number(1.0, above=0, search=(0.1, 10))"
            ])  # fmt: skip

    @property
    def ranges(self) -> dict[str, tuple[tuple[float, float], bool]]:
        """What is varied: by key, lowest and highest value, and whether it is a whole number."""
        overruled = {f"method.{name}" for name in self.config.method.overruled()}
        found = search_ranges(self.config.method, "method")
        return {key: (ends, whole) for key, ends, whole in found if key not in overruled}

    @property
    def name(self) -> str:
        """Method, data set and network, and a hash of everything that affects the runs."""
        config = self.config
        runs = [self._run_config({}, group).run_id for group in self.forget]
        digest = content_key({"runs": runs, "ranges": repr(self.ranges)})
        return file_name(config.method.name, config.dataset.name, config.model.name, digest[:10])

    @property
    def folder(self) -> Path:
        """Of all studies, beside the store."""
        return Path(self.config.store.root).parent / FOLDER

    @property
    def journal(self) -> Path:
        """The file of its trials."""
        # Absolute: the lock that a killed process left is a link to this path, waited for for ever if it leads nowhere.
        return (self.folder / f"{self.name}.journal").absolute()

    @property
    def base_values(self) -> dict[str, float | int]:
        """The preset's own values."""
        return {key: value_at(self.config, key) for key in self.ranges}

    def score(self, values: dict[str, float | int]) -> float:
        """Of the runs with these values; finished ones are not repeated."""
        configs = [self._run_config(values, group) for group in self.forget]
        for config in configs:
            config.method.study = self.name
        records = list(map(run, configs))
        return sum(map(closeness_to_retraining, records)) / len(records)

    def _run_config(self, values: dict[str, float | int], group: Sequence[int]) -> Config:
        config = replace(copy.deepcopy(self.config), forget=ForgetConfig("tuning", list(group)))
        set_values(config, values)
        config.method.settings = "tuned"
        return config


def closeness_to_retraining(record: RunRecord) -> float:
    """In [0, 1], by test accuracies; 0 for a run that diverged or was skipped.

    Raises:
        ConfigError: there is no retrained model to compare with.
        RunFailedError: the run failed.
    """
    if record.status == "failed":
        raise RunFailedError(f"{record.run_id} failed: {record.reason}")
    if record.status != "done":
        return 0.0
    score = 1.0
    for kind in ("forget", "retain"):
        own, retrained = (record.metrics.get(f"{prefix}acc_{kind}_test") for prefix in ("", "retrain_"))
        if own is None or retrained is None:
            raise ConfigError(["retrain_reference=false: a study compares with retraining; leave it at true"])
        score *= 1 - abs(own - retrained)
    return score


def tune(study: Study, trials: int, hours: float | None = None, *, replace_other: bool = False) -> TunedValues:
    """Go on with a study until it has ``trials`` finished trials, or has spent ``hours``, earlier sessions included.

    The first trial is the preset's own values. The best ones are written where ``settings=tuned`` reads them.

    Args:
        study: to go on with.
        trials: with a score; one with a failed run is none, and another is tried.
        hours: of finished trials.
        replace_other: whether the best values of another study may be lost.

    Raises:
        ConfigError: no trial could be scored above 0, or the best values of another study would be lost.
        JournalDamagedError: the file of its trials cannot be read.
        StudyInUseError: another process works on the study.
        TuningStoppedError: trials in a row failed.
    """
    import optuna

    config = study.config
    path = tuned_values_path(config.store.root, config.method.name, config.dataset.name, config.model.name)
    if not replace_other:
        _keep_other(path, study)
    study.folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _alone_with(study):
        cut_unfinished_line(study.journal)
        winner = _tuned(study, trials, hours)
    winner.write(path)
    return winner


def _tuned(study: Study, trials: int, hours: float | None) -> TunedValues:
    import optuna

    with opened(study) as opt:
        _begin_again(opt)
        done = finished(opt)
        tried = any(trial.params == study.base_values for trial in done)
        if not tried and _inside(study) and not _is_waiting(opt, study.base_values):
            opt.enqueue_trial(study.base_values)
        left = None if hours is None else 3600 * hours - seconds_of(done)
        if trials > len(done) and (left is None or left > 0):
            # Failures count, or the values that failed would be drawn again.
            opt.sampler = optuna.samplers.TPESampler(seed=study.config.seed + len(done) + len(_failed(opt)))
            enough = partial(_stop_at, trials)
            opt.optimize(_Objective(study), timeout=left, catch=(RunFailedError,), callbacks=[enough])
        done = finished(opt)
    best = max(done, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)
    if best is None or not best.value:
        raise ConfigError([f"method={study.config.method.name}: all {len(done)} trials scored 0; see their records"])
    return TunedValues(
        study.name, best.params, best.value, [list(group) for group in study.forget], study.config.seed, len(done),
        seconds_of(done),
    )  # fmt: skip


def _keep_other(path: Path, study: Study) -> None:
    """Raise ConfigError where the file of the best values is another study's, or cannot be read."""
    if path.is_file() and (other := TunedValues.read(path, "tune").study) != study.name:
        raise ConfigError([f"{path} holds the values of the study {other}: --replace puts those of {study.name} there"])


class _Objective:
    """The score of a trial; ends the study when ``FAILURES`` trials in a row have none."""

    def __init__(self, study: Study):
        self.study = study
        self.reasons: list[str] = []

    def __call__(self, trial: optuna.Trial) -> float:
        try:
            score = self.study.score(_suggested(trial, self.study))
        except RunFailedError as error:
            trial.set_user_attr(FAILED, str(error))
            self.reasons.append(str(error))
            if len(self.reasons) < FAILURES:
                raise
            raise TuningStoppedError(
                f"{len(self.reasons)} trials in a row failed, the first since {self.reasons[0]}; mend this, and give "
                "the same command again"
            ) from error
        self.reasons.clear()
        return score


def _stop_at(trials: int, opt: optuna.Study, _trial: optuna.trial.FrozenTrial) -> None:
    if len(finished(opt)) >= trials:
        opt.stop()


@contextmanager
def _alone_with(study: Study) -> Iterator[None]:
    """Keep others away, who would take the trial that goes on here for one that a killed process left."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(study.folder / LOCKS, study.name, study.name, wait=False))
        except Timeout as error:
            raise StudyInUseError(
                f"{study.name}: another process works on this study; tune it when that has ended"
            ) from error
        yield


@contextmanager
def opened(study: Study) -> Iterator[optuna.Study]:
    """The study's trials in its journal, made if there is none; raises as ``opened_journal``."""
    yield opened_journal(study.journal, study.name)


def finished(opt: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials with a score."""
    import optuna

    return opt.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _failed(opt: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    import optuna

    ended = opt.get_trials(deepcopy=False, states=(optuna.trial.TrialState.FAIL,))
    return [trial for trial in ended if FAILED in trial.user_attrs]


def seconds_of(trials: Sequence[Any]) -> float:
    """Wall-clock seconds that finished trials took, their references' trainings included."""
    return float(sum(trial.duration.total_seconds() for trial in trials))


def _begin_again(opt: optuna.Study) -> None:
    """Put trials that a killed process left unfinished first in line again."""
    import optuna

    for trial in opt.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        opt.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if trial.params:
            opt.enqueue_trial(trial.params)


def _is_waiting(opt: optuna.Study, values: Mapping[str, float | int]) -> bool:
    """Whether a trial of these values is in line; one that an error or an interruption ended is not."""
    import optuna

    waiting = opt.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
    return any(trial.system_attrs.get("fixed_params") == dict(values) for trial in waiting)


def _inside(study: Study) -> bool:
    """Whether the preset's own values lie in the ranges; Optuna tries no others."""
    return all(low <= study.base_values[key] <= high for key, ((low, high), _) in study.ranges.items())


def _suggested(trial: optuna.Trial, study: Study) -> dict[str, float | int]:
    values: dict[str, float | int] = {}
    for key, ((low, high), whole) in study.ranges.items():
        log = low > 0 and high / low >= LOGARITHMIC_FROM
        if whole:
            values[key] = trial.suggest_int(key, int(low), int(high), log=log)
        else:
            values[key] = trial.suggest_float(key, low, high, log=log)
    return values


def trial_rows(study: Study) -> list[dict[str, str]]:
    """One row of words for each trial, best first."""
    with opened(study) as opt:
        done = sorted(finished(opt), key=lambda trial: (-(trial.value or 0.0), trial.number))
    return [
        {
            "trial": str(trial.number),
            **{key.removeprefix("method."): f"{trial.params[key]:.4g}" for key in study.ranges},
            "score": f"{trial.value or 0.0:.4f}",
            "seconds": f"{seconds_of([trial]):.1f}",
            "best": "best" if place == 0 else "",
        }
        for place, trial in enumerate(done)
    ]
