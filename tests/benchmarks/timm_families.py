"""Which families of timm can be trained on small images, and whether the others are refused before any training.

Each network is built as a run builds it. One that is built must then train for a step in batches of 4 and of 2, and
give logits, features and finite weights; what fails there is a late failure: a run would have begun to train.
Prints a table and ends with status 1 if there is a late failure. By hand:

    python -m tests.benchmarks.timm_families [--sizes 32 64] [--families convit dla]
"""

from __future__ import annotations

import argparse
import gc
import sys
import time

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.benchmarks.measured import print_table
from unsir_bench.errors import ConfigError
from unsir_bench.models.model import has_finite_weights, in_mode
from unsir_bench.models.timm_models import TimmModel

CLASSES, LATE = 7, "LATE FAILURE"
# A small member of each family, by timm's module.
FAMILIES = {
    "byoanet": "halonet26t", "byobnet": "test_byobnet", "cait": "cait_xxs24_224", "coat": "coat_tiny",
    "convit": "convit_tiny", "convmixer": "convmixer_768_32", "convnext": "convnext_atto",
    "crossvit": "crossvit_tiny_240", "cspnet": "darknet17", "davit": "davit_tiny", "deit": "deit_tiny_patch16_224",
    "deit distilled": "deit_tiny_distilled_patch16_224", "densenet": "densenet121", "dla": "dla46_c", "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small", "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0", "efficientnet": "efficientnet_b0",
    "efficientvit_mit": "efficientvit_b0", "efficientvit_msra": "efficientvit_m0", "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0", "fastvit": "fastvit_t8", "focalnet": "focalnet_tiny_lrf", "gcvit": "gcvit_xxtiny",
    "ghostnet": "ghostnet_050", "hardcorenas": "hardcorenas_a", "hgnet": "hgnetv2_b0", "hiera": "hiera_tiny_224",
    "hrnet": "hrnet_w18_small", "inception_next": "inception_next_atto", "inception_v3": "inception_v3",
    "inception_v4": "inception_v4", "levit": "levit_128s", "mambaout": "mambaout_femto", "maxxvit": "test_maxvit",
    "metaformer": "poolformer_s12", "mlp_mixer": "mixer_s32_224", "mobilenetv3": "mobilenetv3_small_050",
    "mobilevit": "mobilevit_xxs", "mvitv2": "mvitv2_tiny", "nest": "nest_tiny", "nfnet": "test_nfnet",
    "pit": "pit_ti_224", "pvt_v2": "pvt_v2_b0", "regnet": "regnetx_002", "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9", "res2net": "res2net50_26w_4s", "resnest": "resnest14d", "resnet": "resnet18",
    "resnetv2": "resnetv2_18", "rexnet": "rexnet_100", "selecsls": "selecsls42", "sequencer": "sequencer2d_s",
    "sknet": "skresnet18", "starnet": "starnet_s050", "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256", "tiny_vit": "tiny_vit_5m_224", "tnt": "tnt_s_patch16_224",
    "twins": "twins_svt_small", "vgg": "vgg11", "visformer": "visformer_tiny", "vision_transformer": "test_vit",
    "vision_transformer_relpos": "test_vit_relpos", "volo": "volo_d1_224", "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception", "xcit": "xcit_nano_12_p16_224",
}  # fmt: skip


def outcome(arch: str, size: int) -> str:
    """``right``, ``refused: why``, or a late failure."""
    config = TimmModel(arch=arch)
    try:
        model = config.initial((3, size, size), CLASSES, seed=0)
    except ConfigError as error:
        return f"refused: {error.problems[0].partition(': ')[2]}"
    try:
        _train_and_predict(config, model, size)
    except Exception as error:
        return f"{LATE}: {type(error).__name__}: {error}".splitlines()[0]
    return "right"


def _train_and_predict(config: TimmModel, model: torch.nn.Module, size: int) -> None:
    optimizer = torch.optim.SGD(config.parameter_groups(model, 1e-4))
    for count in (4, 2):
        images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))
        loss = F.cross_entropy(model(images), torch.arange(count) % CLASSES)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # batch norms of few values have huge gradients
        optimizer.step()
    features: list[Tensor] = []
    config.head(model).register_forward_pre_hook(lambda _module, inputs: features.append(inputs[0].flatten(1)))
    with torch.inference_mode(), in_mode(model, training=False):
        logits = model(images)
    if logits.shape != (2, CLASSES) or len(features) != 1 or len(features[0]) != 2:
        raise ValueError(f"logits {tuple(logits.shape)}, features {[tuple(one.shape) for one in features]}")
    if not (torch.isfinite(logits).all() and has_finite_weights(model)):
        raise ValueError("logits or weights are not finite")


def main() -> int:
    """Print the table; status 1 if there is a late failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    arguments = parser.parse_args()
    rows = []
    for family in arguments.families:
        started = time.perf_counter()
        found = [outcome(FAMILIES[family], size) for size in arguments.sizes]
        rows.append((family, FAMILIES[family], *found))
        print(*rows[-1], f"{time.perf_counter() - started:.0f} s", sep=" | ", flush=True)
        gc.collect()
    print_table("families of timm", ["family", "model", *(f"{size} px" for size in arguments.sizes)], rows)
    for column, size in enumerate(arguments.sizes, start=2):
        words = [row[column].partition(":")[0] for row in rows]
        counts = ", ".join(f"{words.count(word)} {word}" for word in ("right", "refused", LATE))
        print(f"{size} px: {counts} of {len(rows)}")
    return int(any(LATE in cell for row in rows for cell in row))


if __name__ == "__main__":
    sys.exit(main())
