"""Every method with public code, and the rule it is held against: ``CASES`` by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unsir_bench.baselines.amnesiac import Amnesiac
from unsir_bench.baselines.bad_teacher import BadTeacher
from unsir_bench.baselines.boundary_expand import BoundaryExpand
from unsir_bench.baselines.boundary_shrink import BoundaryShrink
from unsir_bench.baselines.cf_k import CatastrophicForgettingK
from unsir_bench.baselines.delete import Delete
from unsir_bench.baselines.esc import ErasingSpaceConcept
from unsir_bench.baselines.eu_k import ExactUnlearningK
from unsir_bench.baselines.finetune import Finetune
from unsir_bench.baselines.fisher import Fisher
from unsir_bench.baselines.gkt import GatedKnowledgeTransfer
from unsir_bench.baselines.jit import JustInTime
from unsir_bench.baselines.l1_sparse import L1Sparse
from unsir_bench.baselines.lotus import LoTUS
from unsir_bench.baselines.munba import MUNBa
from unsir_bench.baselines.neggrad import NegGrad
from unsir_bench.baselines.neggrad_plus import NegGradPlus
from unsir_bench.baselines.random_label import RandomLabel
from unsir_bench.baselines.salun import SalUn
from unsir_bench.baselines.scar import Scar
from unsir_bench.baselines.scrub import Scrub
from unsir_bench.baselines.sfron import SFRon
from unsir_bench.baselines.single_gradient import SingleGradient
from unsir_bench.baselines.ssd import SelectiveSynapticDampening
from unsir_bench.baselines.svd_projection import SvdProjection
from unsir_bench.baselines.task_arithmetic import TaskArithmetic

from tests.oracles.official_rules_newer import (
    JIT_BATCH,
    esc,
    gkt,
    jit,
    lotus,
    munba,
    scar,
    sfron,
    svd_projection,
    task_arithmetic,
)
from tests.oracles.official_rules_of_layers import (
    COPIES,
    NOISE_IMAGES,
    boundary_expand,
    fisher,
    last_layers,
    unsir,
)
from tests.oracles.official_rules_older import (
    amnesiac,
    bad_teacher,
    boundary_shrink,
    boundary_shrink_of_all_classes,
    delete,
    finetune,
    l1_sparse,
    neggrad,
    neggrad_plus,
    random_label,
    salun,
    salun_in_passes,
    scrub,
    single_gradient,
    ssd,
    ssd_by_class,
)
from tests.oracles.official_scene import EPOCHS, WHOLE, Rule, recipe
from unsir_bench.unlearning.method import UnlearningMethod
from unsir_bench.unlearning.unsir import NoiseConfig, Unsir

__all__ = ["CASES", "EPOCHS", "READ_IN", "Case"]


@dataclass(frozen=True)
class Case:
    """A method of ours, the rule it is held against, and why they may differ above 1e-6."""

    method: UnlearningMethod
    rule: Rule
    note: str = ""
    tolerance: float = 1e-6


FLOAT32 = "ours rounds logits of fixed networks to float32; Adam's first steps divide small gradients by their size"


ADAM = {"optimizer": "adam"}
OF_ALL_CLASSES = BoundaryShrink(train=recipe(0.05), epsilon=0.25, mask="none")
SEPARATE_PASSES = SalUn(train=recipe(0.05), labels_from="all", passes="forget_then_retain")
NOISE = NoiseConfig(batch_size=NOISE_IMAGES, copies=COPIES)
IMPAIR, REPAIR = (recipe(lr, **ADAM) for lr in (0.02, 0.01))
ODD_NOISE = replace(NOISE, one_per_channel=True, labels="class_zero", batchnorm="train", classes_together=False)

CASES = {  # every method with its rule, by name
    "amnesiac": Case(Amnesiac(train=recipe(1e-3, **ADAM)), amnesiac),
    "bad_teacher": Case(BadTeacher(train=recipe(0.05), retain_share=1.0), bad_teacher),
    "boundary_shrink": Case(BoundaryShrink(train=recipe(0.05), mask="own_class"), boundary_shrink),
    "boundary_shrink_of_all_classes": Case(OF_ALL_CLASSES, boundary_shrink_of_all_classes),
    "boundary_expand": Case(BoundaryExpand(train=recipe(0.05), shadow_init="xavier"), boundary_expand),
    "cf_k": Case(
        CatastrophicForgettingK(train=recipe(0.05, clip_norm=10.0), freeze_bn_stats=False), last_layers(anew=False)
    ),
    "delete": Case(Delete(train=recipe(0.05), mask="own_class"), delete),
    "esc": Case(ErasingSpaceConcept(percent=30), esc),
    "eu_k": Case(
        ExactUnlearningK(train=recipe(0.05, clip_norm=10.0), reset_norms=False, freeze_bn_stats=False),
        last_layers(anew=True),
    ),
    "finetune": Case(Finetune(train=recipe(0.05)), finetune),
    "fisher": Case(Fisher(), fisher),
    "gkt": Case(
        GatedKnowledgeTransfer(train=recipe(1e-3, batch_size=64, clip_norm=5.0, **ADAM), student_steps=2, gate=0.5),
        gkt,
        FLOAT32,
        1e-4,
    ),
    "jit": Case(JustInTime(train=recipe(0.01, momentum=0.0, batch_size=JIT_BATCH), copies=4), jit),
    "l1_sparse": Case(L1Sparse(train=recipe(0.05), penalty=1e-3), l1_sparse),
    "lotus": Case(
        LoTUS(train=recipe(1e-3, optimizer="adamw", weight_decay=5e-4), retain_share=1.0, alpha=2.0),
        lotus,
        FLOAT32,
        1e-4,
    ),
    "munba": Case(MUNBa(train=recipe(0.05, weight_decay=5e-4), labels_from="all", epsilon=1e-8), munba),
    "neggrad": Case(NegGrad(train=recipe(0.01)), neggrad),
    "neggrad_plus": Case(NegGradPlus(train=recipe(0.05)), neggrad_plus),
    "random_label": Case(RandomLabel(train=recipe(0.05), labels_from="all"), random_label),
    "salun": Case(SalUn(train=recipe(0.05), labels_from="all"), salun),
    "salun_in_passes": Case(SEPARATE_PASSES, salun_in_passes),
    "scar": Case(Scar(train=recipe(1e-3, **ADAM)), scar, FLOAT32, 1e-4),
    "scrub": Case(Scrub(train=recipe(5e-4, weight_decay=0.1, **ADAM), max_epochs=2), scrub, FLOAT32, 1e-4),
    "sfron": Case(SFRon(train=recipe(0.02, weight_decay=5e-4), forget_every=1), sfron),
    "single_gradient": Case(SingleGradient(lr=0.05, batch_size=40, epochs=EPOCHS), single_gradient),
    "ssd": Case(SelectiveSynapticDampening(selection=2.0, batch_size=WHOLE), ssd),
    "ssd_by_class": Case(SelectiveSynapticDampening(selection=2.0, batch_size=20, order="by_class"), ssd_by_class),
    "svd_projection": Case(SvdProjection(samples=WHOLE, max_patches=10**9, batch_size=WHOLE), svd_projection),
    "task_arithmetic": Case(TaskArithmetic(train=recipe(0.05), strength=0.5), task_arithmetic),
    "unsir": Case(Unsir(noise=NOISE, impair=IMPAIR, repair=REPAIR), unsir(notebook=False), FLOAT32, 1e-4),
    "unsir_notebook": Case(
        Unsir(noise=ODD_NOISE, impair=IMPAIR, repair=REPAIR, retain_selection="first"),
        unsir(notebook=True),
        FLOAT32,
        1e-4,
    ),
}

# Repository and file in which each rule was read.
READ_IN = {
    "amnesiac": "lmgraves/AmnesiacML, Unlearning Tester - CIFAR100.ipynb",
    "bad_teacher": "vikram2000b/bad-teaching-unlearning, unlearn.py",
    "boundary_expand": "TY-LEE-KR/Boundary-Unlearning-Code, boundary_unlearning.py",
    "boundary_shrink": "TY-LEE-KR/Boundary-Unlearning-Code, boundary_unlearning.py",
    "boundary_shrink_of_all_classes": "TY-LEE-KR/Boundary-Unlearning-Code, boundary_unlearning.py",
    "cf_k": "shash42/Evaluating-Inexact-Unlearning, src/methods.py",
    "delete": "shaaaaron/DELETE, method/delete.py",
    "esc": "KU-VGI/ESC, unlearn.py",
    "eu_k": "shash42/Evaluating-Inexact-Unlearning, src/methods.py",
    "finetune": "OPTML-Group/Unlearn-Saliency, Classification/unlearn/FT.py",
    "fisher": "AdityaGolatkar/SelectiveForgetting, Forgetting.ipynb",
    "gkt": "ayu987/zero-shot-unlearning, unlearn.py",
    "jit": "jwf40/Information-Theoretic-Unlearning, src/lipschitz.py",
    "l1_sparse": "OPTML-Group/Unlearn-Sparse, unlearn/FT.py",
    "lotus": "cspartalis/LoTUS, src/unlearning_methods/lotus_class.py",
    "munba": "JingWu321/MUNBa, Classification/unlearn/MUNBa.py",
    "neggrad": "OPTML-Group/Unlearn-Saliency, Classification/unlearn/GA.py",
    "neggrad_plus": "meghdadk/SCRUB, thirdparty/repdistiller/helper/loops.py",
    "random_label": "OPTML-Group/Unlearn-Saliency, Classification/unlearn/RL.py",
    "salun": "OPTML-Group/Unlearn-Saliency, Classification/unlearn/RL.py",
    "salun_in_passes": "OPTML-Group/Unlearn-Saliency, Classification/unlearn/RL.py",
    "scar": "jbonato1/SCAR, src/Unlearning_methods.py",
    "scrub": "meghdadk/SCRUB, thirdparty/repdistiller/helper/loops.py",
    "sfron": "K1nght/Unified-Unlearning-w-Remain-Geometry, Classification/unlearn/sfron.py",
    "single_gradient": "cleverhans-lab/unrolling-sgd, Unlearning/correlation_verification.py",
    "ssd": "if-loops/selective-synaptic-dampening, src/ssd.py",
    "ssd_by_class": "if-loops/selective-synaptic-dampening, src/forget_full_class_main.py",
    "svd_projection": "sangamesh-kodge/class_forgetting, main.py",
    "task_arithmetic": "mlfoundations/task_vectors, src/task_vectors.py",
    "unsir": "vikram2000b/Fast-Machine-Unlearning, Machine Unlearning.ipynb",
    "unsir_notebook": "vikram2000b/Fast-Machine-Unlearning, Machine Unlearning.ipynb",
}
