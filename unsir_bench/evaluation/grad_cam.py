"""Grad-CAM: which parts of an image speak for a class, by the library pytorch-grad-cam.

R. R. Selvaraju, M. Cogswell, A. Das, R. Vedantam, D. Parikh, D. Batra, "Grad-CAM: Visual Explanations from Deep
Networks via Gradient-based Localization", ICCV 2017. Each channel of a layer's map A is weighted by the mean over
positions of the gradient of the class's logit, and the sum is cut at zero: ReLU(Σ_k mean_ij(∂y_c/∂A_k,ij) · A_k).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import require_finite

ToMap = Callable[[Tensor], Tensor]


class CamMaps(NamedTuple):
    """Maps of images for their own classes, on the CPU.

    Attributes:
        maps: float32 (images, height, width) in [0, 1], each over its peak.
        peaks: float32 (images,), the largest value of each at the layer's own size: maps times peaks have one scale,
            that of logits. 0 where nothing speaks for the class.
    """

    maps: Tensor
    peaks: Tensor


def grad_cam(model: nn.Module, images: Tensor, labels: Tensor) -> CamMaps:
    """Grad-CAM maps of images, each for its own class, in eval mode.

    The layer is the last one whose output is a map of more than one position; of a vision transformer of timm it is the
    first norm of the last block, its patch tokens laid out as a grid. The model is left as it is.

    Args:
        model: its weights are read as float32.
        images: normalised, (images, channels, height, width), on any device; all are computed in one batch.
        labels: int64 (images,), the class that each map speaks for.

    Returns:
        Maps, bilinearly enlarged, and their peaks; 0 everywhere where nothing speaks for the class.

    Raises:
        MetricUnavailable: there are no images, no layer of the model makes a map, its logits have no gradient to
            the image (k-means), or its numbers are NaN or infinite.
        ValueError: there is not one label for each image.
    """
    from pytorch_grad_cam import GradCAM  # brings matplotlib and OpenCV: seconds that other commands need not pay
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    require_finite("images", images)
    if len(labels) != len(images):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    # The library switches modes, clears gradients and leaves hooks until it is collected.
    twin = copy.deepcopy(model).float().eval().requires_grad_(False)
    # Frozen weights spare their gradients; the images' keeps the graph alive.
    watched = images.detach().to(next(twin.parameters()).device, torch.float32, copy=True).requires_grad_()
    layer, to_map = _token_layer(twin) or _last_map_layer(twin, watched[:1])
    targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
    unscaled: list[Tensor] = []

    class NotingGradCAM(GradCAM):  # type: ignore[misc]  # the library is not typed
        """Notes each map before the library moves its least value to 0 and its largest to 1, each on its own."""

        def get_cam_image(self, *given: Any) -> Any:
            found = super().get_cam_image(*given)
            unscaled.append(torch.as_tensor(found).float().clamp(min=0))
            return found

    with torch.enable_grad():
        if not twin(watched[:1]).requires_grad:
            raise MetricUnavailable(f"the logits of {type(model).__name__} have no gradient to the image")
        # Not as a context manager: that one would swallow the IndexError of a label the model does not know.
        NotingGradCAM(twin, [layer], to_map)(watched, targets)
    require_finite("values of the Grad-CAM maps", unscaled[0])
    size = (int(images.shape[2]), int(images.shape[3]))
    peaks = unscaled[0].amax((1, 2))
    enlarged = F.interpolate(unscaled[0][:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return CamMaps((enlarged / torch.where(peaks > 0, peaks, 1.0)[:, None, None]).clamp(max=1), peaks)


def _token_layer(model: nn.Module) -> tuple[nn.Module, ToMap] | None:
    """First norm of the last block of a vision transformer of timm, with the way from its tokens to a map."""
    parts: Any = model
    try:
        layer: nn.Module = parts.blocks[-1].norm1
        prefix, (height, width) = parts.num_prefix_tokens, parts.patch_embed.grid_size
    except (AttributeError, TypeError, IndexError):  # TypeError: no grid where images may have any size
        return None

    def to_map(tokens: Tensor) -> Tensor:
        patches = tokens[:, prefix:]
        if patches.shape[1] != height * width:
            raise MetricUnavailable(
                f"{type(model).__name__} has {patches.shape[1]} patch tokens in its last block, which make no grid of "
                f"{height} x {width}"
            )
        return patches.transpose(1, 2).reshape(len(patches), -1, height, width)

    return layer, to_map


@dataclass
class _Outputs:
    """What the modules of a model put out in one pass, in the order in which they finish."""

    calls: Counter[nn.Module] = field(default_factory=Counter)
    finished: list[tuple[nn.Module, torch.Size]] = field(default_factory=list)

    def note(self, module: nn.Module, inputs: object, output: object) -> None:
        """Forward hook."""
        self.calls[module] += 1
        if isinstance(output, Tensor):
            self.finished.append((module, output.shape))


@torch.no_grad()
def _last_map_layer(model: nn.Module, images: Tensor) -> tuple[nn.Module, ToMap]:
    outputs = _Outputs()
    handles = [module.register_forward_hook(outputs.note) for module in model.modules()]
    model(images)
    for handle in handles:
        handle.remove()
    # Transformers with windows (Swin) keep the channels last, and say so in timm's words.
    channels_last = getattr(model, "output_fmt", None) == "NHWC"
    for module, shape in reversed(outputs.finished):
        if len(shape) == 3 and shape[0] == len(images):
            break  # Tokens of a layout unknown here: a map before them is no longer the network's last word.
        # A module that is called twice has two outputs, and the library would pair one's map with the other's gradient.
        if outputs.calls[module] == 1 and _is_map(shape, len(images), channels_last):
            return module, _channels_first if channels_last else torch.clone
    raise MetricUnavailable(
        f"no layer of {type(model).__name__} ends in a map of the image: Grad-CAM has nothing to show"
    )


def _is_map(shape: torch.Size, samples: int, channels_last: bool) -> bool:
    positions = shape[1:3] if channels_last else shape[2:]
    return len(shape) == 4 and shape[0] == samples and positions.numel() > 1


def _channels_first(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2).clone()
