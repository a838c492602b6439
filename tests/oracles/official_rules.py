"""Every method with public code, and the rule it is held against; ``CASES`` by name, with whose rule it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unsir_bench.baselines.amnesiac import Amnesiac
from unsir_bench.baselines.bad_teacher import BadTeacher
from unsir_bench.baselines.boundary_shrink import BoundaryShrink
from unsir_bench.baselines.delete import Delete
from unsir_bench.baselines.esc import ErasingSpaceConcept
from unsir_bench.baselines.gkt import GatedKnowledgeTransfer
from unsir_bench.baselines.jit import JustInTime
from unsir_bench.baselines.l1_sparse import L1Sparse
from unsir_bench.baselines.lotus import LoTUS
from unsir_bench.baselines.munba import MUNBa
from unsir_bench.baselines.neggrad_plus import NegGradPlus
from unsir_bench.baselines.salun import SalUn
from unsir_bench.baselines.scar import Scar
from unsir_bench.baselines.scrub import Scrub
from unsir_bench.baselines.sfron import SFRon
from unsir_bench.baselines.ssd import SelectiveSynapticDampening
from unsir_bench.baselines.svd_projection import SvdProjection
from unsir_bench.baselines.task_arithmetic import TaskArithmetic

from tests.oracles.official_rules_newer import esc, gkt, jit, lotus, munba, scar, sfron, svd_projection, task_arithmetic
from tests.oracles.official_rules_older import (
    amnesiac,
    bad_teacher,
    boundary_shrink,
    delete,
    l1_sparse,
    neggrad_plus,
    salun,
    scrub,
    ssd,
)
from tests.oracles.official_scene import EPOCHS, WHOLE, Rule, recipe
from unsir_bench.unlearning.method import UnlearningMethod

__all__ = ["CASES", "EPOCHS", "Case"]


@dataclass(frozen=True)
class Case:
    """A method of ours, the rule it is held against, whose public code has it, and why they may differ above 1e-6."""

    method: UnlearningMethod
    rule: Rule
    source: str
    note: str = ""
    tolerance: float = 1e-6


FLOAT32 = "ours rounds logits of fixed networks to float32; Adam's first steps divide small gradients by their size"


def cases() -> Iterator[tuple[str, Case]]:
    """Every method with its rule, by name."""
    adam = {"optimizer": "adam"}
    yield "amnesiac", Case(Amnesiac(train=recipe(1e-3, **adam)), amnesiac, "lmgraves/AmnesiacML")
    yield (
        "bad_teacher",
        Case(BadTeacher(train=recipe(0.05), retain_share=1.0), bad_teacher, "vikram2000b/bad-teaching-unlearning"),
    )
    yield (
        "boundary_shrink",
        Case(
            BoundaryShrink(train=recipe(0.05), mask="own_class"), boundary_shrink, "TY-LEE-KR/Boundary-Unlearning-Code"
        ),
    )
    yield "delete", Case(Delete(train=recipe(0.05), mask="own_class"), delete, "shaaaaron/DELETE")
    yield "esc", Case(ErasingSpaceConcept(percent=30), esc, "KU-VGI/ESC")
    yield "gkt", Case(
        GatedKnowledgeTransfer(
            train=recipe(1e-3, batch_size=64, clip_norm=5.0, **adam), student_steps=2, gate=0.5
        ),
        gkt, "ayu987/zero-shot-unlearning", FLOAT32, 1e-4,
    )  # fmt: skip
    yield (
        "jit",
        Case(JustInTime(train=recipe(0.01, momentum=0.0), copies=4), jit, "jwf40/Information-Theoretic-Unlearning"),
    )
    yield "l1_sparse", Case(L1Sparse(train=recipe(0.05), penalty=1e-3), l1_sparse, "OPTML-Group/Unlearn-Sparse")
    yield "lotus", Case(
        LoTUS(train=recipe(1e-3, optimizer="adamw", weight_decay=5e-4), retain_share=1.0, alpha=2.0),
        lotus, "cspartalis/LoTUS", FLOAT32, 1e-4,
    )  # fmt: skip
    yield "munba", Case(MUNBa(train=recipe(0.05, weight_decay=5e-4), labels_from="all"), munba, "JingWu321/MUNBa")
    yield "neggrad_plus", Case(NegGradPlus(train=recipe(0.05)), neggrad_plus, "meghdadk/SCRUB")
    yield "salun", Case(SalUn(train=recipe(0.05), labels_from="all"), salun, "OPTML-Group/Unlearn-Saliency")
    yield "scar", Case(Scar(train=recipe(1e-3, **adam)), scar, "jbonato1/SCAR", FLOAT32, 1e-4)
    yield (
        "scrub",
        Case(Scrub(train=recipe(5e-4, weight_decay=0.1, **adam), max_epochs=2), scrub, "meghdadk/SCRUB", FLOAT32, 1e-4),
    )
    yield "sfron", Case(
        SFRon(train=recipe(0.02, weight_decay=5e-4), forget_every=1), sfron,
        "K1nght/Unified-Unlearning-w-Remain-Geometry",
    )  # fmt: skip
    yield (
        "ssd",
        Case(SelectiveSynapticDampening(selection=2.0, batch_size=WHOLE), ssd, "if-loops/selective-synaptic-dampening"),
    )
    yield "svd_projection", Case(
        SvdProjection(samples=WHOLE, max_patches=10**9, batch_size=WHOLE), svd_projection,
        "sangamesh-kodge/class_forgetting",
    )  # fmt: skip
    yield (
        "task_arithmetic",
        Case(TaskArithmetic(train=recipe(0.05), strength=0.5), task_arithmetic, "mlfoundations/task_vectors"),
    )


CASES = dict(cases())
