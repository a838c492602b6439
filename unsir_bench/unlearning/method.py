"""The contract of an unlearning method, what data it may read, and the object that enforces it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from unsir_bench.config_fields import choice, not_hashed
from unsir_bench.data.batches import DataView, Usage, first_or_random_per_class
from unsir_bench.errors import AccessDenied, NotApplicable
from unsir_bench.runtime.seeding import generator, role_in_step

if TYPE_CHECKING:
    from unsir_bench.data.device_data import DeviceData
    from unsir_bench.data.forget_split import ForgetSplit
    from unsir_bench.models.model import ModelConfig
    from unsir_bench.references.training_log import TrainingLog
    from unsir_bench.training.context import RunContext


class Access(Enum):
    """What a method may ask for: samples of the training split, or state that was stored when the original trained."""

    RETAIN_DATA = "retain_data"
    RETAIN_SUBSET = "retain_subset"
    FORGET_DATA = "forget_data"
    TRAIN_HISTORY = "train_history"
    INITIAL_WEIGHTS = "initial_weights"


# Where a method's values come from: its authors, a study (see `unsir-bench tune`), a person; none: nothing to choose.
SETTINGS = ("published", "tuned", "user", "none")


@dataclass
class UnlearningMethod(ABC):
    """A method is its config node: its fields are the keys of its YAML.

    A method's work is timed as a whole by the runner; it may name parts with ``context.clock.phase(...)``. It never
    scores itself.

    Attributes:
        precomputes: the kinds of tensors it requests from ``context.precomputed``, so that a plan can name them.
        settings: where its values come from: ``published``, ``tuned``, ``user`` or ``none``.
        study: that chose them, if they are tuned.
    """

    precomputes: ClassVar[tuple[str, ...]] = ()
    name: str = "???"
    settings: str = not_hashed(choice("user", SETTINGS))
    study: str = not_hashed("")

    def overruled(self) -> Sequence[str]:
        """Names of fields without effect, since another field overrules them; records hold null for these."""
        return ()

    @property
    def precomputes_by_draw(self) -> bool:
        """Whether what it requests from ``context.precomputed`` depends on its draws, and so on ``unlearn_seed``."""
        return False

    @property
    def needs_classes(self) -> bool:
        """Whether the method forgets whole classes alone; a run that forgets other samples is then ``skipped``."""
        return False

    @property
    def changes_all_layers(self) -> bool:
        """Whether it changes layers below the head; with a frozen backbone its runs are then ``skipped``."""
        return False

    @property
    def tells_samples_apart(self) -> bool:
        """Whether its objective treats the forget and the retain samples of a batch or an epoch differently."""
        return False

    @property
    def needs_whole_batches(self) -> bool:
        """Whether a step is no mean over samples that devices could share; runs on several are then ``skipped``."""
        return False

    def unsuitable(self, architecture: ModelConfig) -> str | None:
        """Why the method cannot work on this model, whose runs are then ``skipped`` before any training; else None."""
        if self.changes_all_layers and architecture.frozen_backbone:
            return f"method '{self.name}' changes layers below the head, which model={architecture.name} freezes"
        return None

    @property
    def takes_subclasses(self) -> bool:
        """Whether a method that needs classes can forget a sub-class, of which it knows the class it belongs to."""
        return False

    @property
    @abstractmethod
    def requires(self) -> frozenset[Access]:
        """What the method touches; anything else raises ``AccessDenied``."""

    @abstractmethod
    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        """Forget ``context.forget_classes``, or, where that is empty, the samples of ``data.forget``.

        ``context.forget_superclasses`` names the classes of sub-classes to forget.

        Args:
            model: a copy of the original on the context's device; may be changed in place.
            data: the declared views of the training split.
            context: device, seeds, clock, log.

        Returns:
            The unlearned network: the same architecture, finite weights.

        Raises:
            AccessDenied: data was touched that ``requires`` does not name.
            NotApplicable: the run cannot give what the method needs (a model without a linear head, for example).
            Diverged: a loss became NaN or infinite.
        """


class UnlearningData:
    """The training data as one method may see it; every sample read is counted.

    A view that the method did not declare raises ``AccessDenied``.

    Attributes:
        usage: how often ``retain`` and ``forget`` samples were read.
        forgotten_samples: how many training samples this and earlier requests forget; knowing it reads none.
        requested_samples: how many this request forgets.
    """

    def __init__(
        self,
        data: DeviceData,
        split: ForgetSplit,
        method: UnlearningMethod,
        seed: int,
        withheld: Sequence[str] = (),
        usage: Mapping[str, Usage] | None = None,
        step: int = 0,
    ):
        """Give ``method`` the views it declares, and nothing else.

        Args:
            data: the data set.
            split: whose training samples are retained and forgotten.
            method: declares what it needs.
            seed: of the retain subset's draw.
            withheld: kinds of access that this run denies to every method.
            usage: counters for reads of ``retain`` and ``forget`` samples; None: new ones.
            step: of a forgetting sequence, from 0; each draws its retain subset for itself.

        Raises:
            NotApplicable: the method declares a kind that is withheld, or of which the split has no sample; or it needs
                classes, and the split forgets other samples.
        """
        self._method, self._seed, self._step = method, seed, step
        self._training_log: TrainingLog | None = None
        denied = sorted(access.value for access in method.requires if access.value in withheld)
        if denied:
            raise NotApplicable(f"method '{method.name}' needs {', '.join(denied)}, which this run withholds")
        if method.needs_classes and not split.classes and not (method.takes_subclasses and split.superclasses):
            raise NotApplicable(f"method '{method.name}' forgets whole classes; this run forgets samples")
        self.usage = usage or {kind: Usage(len(data.labels("train"))) for kind in ("retain", "forget")}
        self.forgotten_samples = len(data.labels("train")) - len(split.retain_train)
        self.requested_samples = len(split.forget_train)
        requires = method.requires
        self._views: dict[str, DataView] = {}
        if requires & {Access.RETAIN_DATA, Access.RETAIN_SUBSET}:
            self._views["retain"] = data.view("train", split.retain_train, self.usage["retain"])
        if Access.FORGET_DATA in requires:
            self._views["forget"] = data.view("train", split.forget_train, self.usage["forget"])
        for kind, view in self._views.items():
            if len(view) == 0:
                raise NotApplicable(f"method '{method.name}' needs {kind} samples; the training split has none")

    def _require(self, access: Access) -> None:
        if access not in self._method.requires:
            declared = ", ".join(sorted(entry.value for entry in self._method.requires)) or "nothing"
            raise AccessDenied(
                f"method '{self._method.name}' asked for {access.value} but declares {declared}; "
                "a method that needs it must name it in `requires`"
            )

    def _draws(self, role: str) -> torch.Generator:
        return generator(self._seed, *role_in_step((role,), self._step))

    @property
    def retain(self) -> DataView:
        """All retain samples."""
        self._require(Access.RETAIN_DATA)
        return self._views["retain"]

    @property
    def forget(self) -> DataView:
        """All forget samples."""
        self._require(Access.FORGET_DATA)
        return self._views["forget"]

    @property
    def training_log(self) -> TrainingLog:
        """What was recorded while the original trained."""
        self._require(Access.TRAIN_HISTORY)
        if self._training_log is None:
            raise NotApplicable(f"method '{self._method.name}' needs the log of the original's training; there is none")
        return self._training_log

    @training_log.setter
    def training_log(self, log: TrainingLog) -> None:
        self._training_log = log

    def initial_network(self, context: RunContext) -> nn.Module:
        """The network with the weights that the original's training started from."""
        self._require(Access.INITIAL_WEIGHTS)
        return context.initial_network()

    def retain_subset(self, per_class: int, selection: str = "random", share: float | None = None) -> DataView:
        """Some retain samples of each class, ``first`` in the data's order or drawn at ``random``.

        The draw depends on the seed and the step alone, so methods that ask for the same number share the same samples.

        Args:
            per_class: how many of each class; a class with fewer gives all it has.
            selection: ``first`` or ``random``.
            share: instead, this share of what each class has, rounded, at least one sample.
        """
        self._require(Access.RETAIN_SUBSET)
        everything = self._views["retain"]
        labels = everything.labels
        sizes = labels.bincount()[labels]
        counts = torch.full_like(sizes, per_class) if share is None else (sizes.double() * share).round().clamp(min=1)
        chosen = []
        # One draw per number of samples, the same for every method that asks for that number.
        for count in counts.unique().tolist():
            draws = self._draws("retain subset")
            drawn = first_or_random_per_class(labels, int(count), selection, draws)
            chosen.append(drawn[counts[drawn] == count])
        return everything.narrowed(torch.cat(chosen).sort().values)

    def retain_share(self, share: float) -> DataView:
        """A random ``share`` of the retain samples, at least one; the draw depends on the run's seed and step alone."""
        self._require(Access.RETAIN_SUBSET)
        everything = self._views["retain"]
        draws = self._draws("retain share")
        count = max(1, round(share * len(everything)))
        return everything.narrowed(torch.randperm(len(everything), generator=draws)[:count].sort().values)

    def train_from_scratch(self, context: RunContext) -> nn.Module:
        """The network that the run's recipe makes of all retain samples, from the original's initial weights."""
        self._require(Access.INITIAL_WEIGHTS)
        return context.train_from_scratch(self.retain)

    def access_counts(self) -> dict[str, dict[str, int]]:
        """For retain and forget: distinct training samples touched, and reads in all."""
        return {kind: usage.counts() for kind, usage in self.usage.items()}


def access_names(method: UnlearningMethod) -> list[str]:
    """The declared access as sorted words."""
    return sorted(access.value for access in method.requires)


def all_methods(base: type[Any] = UnlearningMethod) -> list[type[UnlearningMethod]]:
    """Every concrete method class that has been imported, in order of name."""
    found = {sub for direct in base.__subclasses__() for sub in (direct, *all_methods(direct))}
    return sorted((cls for cls in found if not getattr(cls, "__abstractmethods__", None)), key=lambda cls: cls.name)
