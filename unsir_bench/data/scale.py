"""The sizes at which presets of the paper's experiments are composed; `conf/scale` gives the values."""

from __future__ import annotations

from dataclasses import dataclass, field

from unsir_bench.config_fields import choice, not_hashed


@dataclass
class ScaledData:
    """What the paper's experiments on one data set take at one scale: options of groups by name, and sizes.

    ``subset`` counts images per class and split. ``retain_share``, ``unsir_batch_size``, ``noise_batch_size`` (images
    learned per forget class) and ``noise_copies`` are UNSIR's; their defaults are those of runs that do not follow the
    scale.
    """

    dataset: str | None = not_hashed(None)
    subset: int | None = not_hashed(None)
    image_size: int | None = not_hashed(None)
    batch_size: int | None = not_hashed(None)
    unsir_batch_size: int = not_hashed("${dataset.batch_size}")
    noise_batch_size: int = not_hashed("${.unsir_batch_size}")
    noise_copies: int = not_hashed(20)
    retain_share: float | None = not_hashed(None)
    train: str | None = not_hashed(None)
    resnet18: str | None = not_hashed(None)
    allcnn: str | None = not_hashed(None)
    mobilenetv2: str | None = not_hashed(None)
    vit: str | None = not_hashed(None)


@dataclass
class ScaledUnsir:
    """The name and the values of ``method=scaled/unsir`` at one scale."""

    name: str = not_hashed("unsir")
    noise_steps: int = not_hashed(40)
    noise_copies: int = not_hashed(20)
    impair_lr: float = not_hashed(0.02)
    repair_lr: float = not_hashed(0.01)


@dataclass
class ScaleConfig:
    """The scale at which the paper's experiments are composed.

    Run ids ignore it: presets refer to its values, and only what they thereby set is hashed. ``compared`` (presets of
    UNSIR) and ``seeds`` are lists separated by commas, as sweeps take them. ``data`` names the field whose values
    apply; it is ``plain`` except in presets that follow the scale.
    """

    name: str = not_hashed("cpu")
    seeds: str = not_hashed("0,1,2")
    compared: str = not_hashed("unsir")
    metrics: str = not_hashed("standard")
    fast: str = not_hashed("fast")
    cpu_threads: int | None = not_hashed(None)
    unsir: ScaledUnsir = not_hashed(field(default_factory=ScaledUnsir))  # noqa: RUF009 - a field
    data: str = not_hashed(choice("plain", ("plain", "cifar10", "cifar100", "vggface100")))
    plain: ScaledData = not_hashed(field(default_factory=ScaledData))  # noqa: RUF009 - a field
    cifar10: ScaledData = not_hashed(field(default_factory=ScaledData))  # noqa: RUF009 - a field
    cifar100: ScaledData = not_hashed(field(default_factory=ScaledData))  # noqa: RUF009 - a field
    vggface100: ScaledData = not_hashed(field(default_factory=ScaledData))  # noqa: RUF009 - a field
