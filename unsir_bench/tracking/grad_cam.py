"""Grad-CAM maps as images of Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from unsir_bench.records import RunRecord

GRAD_CAM_MODELS = ("original", "retrain", "unlearned")
SMALLEST_SHOWN = 96  # pixels; smaller images are enlarged by a whole factor, since W&B shows them as they are


def log_maps(run: Any, file: Path, record: RunRecord) -> None:
    """Log the maps of a run's file, if it made one."""
    import wandb

    if file.exists() and "unlearned" in (maps := load_file(file)):
        images = [wandb.Image(panel, caption=caption) for caption, panel in grad_cam_panels(maps, record)]
        run.log({"grad_cam": images})


def grad_cam_panels(maps: Mapping[str, NDArray[Any]], record: RunRecord) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """For each sample the image, and beside it the image under the map of each model.

    Args:
        maps: as in ``grad_cam.safetensors``: ``images`` (samples, channels, height, width), normalised; ``samples`` and
            ``labels`` (samples,); by model maps (samples, height, width) in [0, 1].
        record: whose configuration says how the images were normalised.

    Yields:
        A caption, and pixels (height, width, 3), uint8.
    """
    # Brings matplotlib and OpenCV, which whoever made the maps has imported already.
    from pytorch_grad_cam.utils.image import show_cam_on_image

    models = [name for name in GRAD_CAM_MODELS if name in maps]
    pixels = _pixels(maps["images"], record.config.get("dataset", {}))
    for place, image in enumerate(pixels):
        shown = [np.uint8(255 * image)] + [show_cam_on_image(image, maps[name][place], use_rgb=True) for name in models]
        panel = np.concatenate(shown, axis=1)
        factor = -(-SMALLEST_SHOWN // min(image.shape[:2]))
        caption = f"test sample {maps['samples'][place]}, class {maps['labels'][place]}"
        yield f"{caption}: {', '.join(['image', *models])}", panel.repeat(factor, axis=0).repeat(factor, axis=1)


def _pixels(images: NDArray[Any], dataset: Mapping[str, Any]) -> NDArray[np.float32]:
    """Normalised images as (samples, height, width, 3) in [0, 1]."""
    shape = (1, -1, 1, 1)
    mean, std = (np.asarray(dataset.get(name, default)).reshape(shape) for name, default in (("mean", 0), ("std", 1)))
    coloured = np.broadcast_to(images * std + mean, (len(images), 3, *images.shape[2:]))
    return coloured.clip(0, 1).transpose(0, 2, 3, 1).astype(np.float32)
