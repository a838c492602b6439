"""Who may import whom: the architecture of docs/architecture.md, enforced."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "unsir_bench").rglob("*.py"), *(ROOT / "baselines").rglob("*.py")])

# What imports torch, or a module that does: the look at the command line comes before.
HEAVY = {
    "cli",
    "config",
    "context",
    "data",
    "evaluation",
    "hardware",
    "launch",
    "metrics",
    "models",
    "report",
    "runner",
    "store",
    "sweeper",
    "tracking",
    "training",
    "unlearning",
}

# Package or module -> what it must not import. Longest matching name decides.
FORBIDDEN = {
    "unsir_bench.data": {
        "unlearning",
        "training",
        "context",
        "runner",
        "report",
        "metrics",
        "models",
        "config",
        "records",
    },
    "unsir_bench.models": {
        "unlearning",
        "training",
        "context",
        "runner",
        "report",
        "metrics",
        "data",
        "config",
        "records",
    },
    "unsir_bench.metrics": {
        "unlearning",
        "training",
        "context",
        "runner",
        "report",
        "models",
        "config",
        "records",
        "store",
    },
    "unsir_bench.store": {
        "unlearning",
        "training",
        "context",
        "runner",
        "report",
        "metrics",
        "models",
        "config",
        "records",
    },
    "unsir_bench.records": {
        "unlearning",
        "training",
        "context",
        "runner",
        "report",
        "metrics",
        "models",
        "config",
        "data",
    },
    "unsir_bench.seeding": {
        "unlearning",
        "training",
        "context",
        "runner",
        "report",
        "metrics",
        "models",
        "config",
        "data",
    },
    "unsir_bench.training": {"unlearning", "runner", "report", "metrics", "config", "records", "store", "tracking"},
    "unsir_bench.unlearning": {
        "runner",
        "report",
        "metrics",
        "config",
        "records",
        "store",
        "tracking",
        "reference_models",
    },
    "unsir_bench.evaluation": {"unlearning", "runner", "report", "config", "records", "tracking"},
    "unsir_bench.relearning": {"unlearning", "runner", "report", "config", "records", "store", "tracking"},
    "unsir_bench.grad_cam": {"unlearning", "runner", "report", "config", "records", "store", "tracking"},
    "unsir_bench.training_log": {"unlearning", "runner", "report", "metrics", "config", "records", "tracking"},
    "unsir_bench.precomputation": {"unlearning", "runner", "report", "metrics", "config", "records", "tracking"},
    "unsir_bench.reference_models": {"unlearning", "runner", "report", "metrics", "config", "records", "tracking"},
    "unsir_bench.report": {"runner", "unlearning", "training", "models", "data", "config", "store", "reference_models"},
    "unsir_bench.runner": {"cli", "report", "plan", "launch", "sweeper", "job_process"},
    "unsir_bench.plan": {"cli", "runner", "tracking", "evaluation"},
    "unsir_bench.launch": {"cli", "runner", "tracking", "evaluation", "report"},
    "unsir_bench.sweeper": {"cli", "runner", "tracking", "evaluation"},
    "unsir_bench.quick_check": HEAVY,
    "unsir_bench.sweep_jobs": HEAVY,
    "unsir_bench.schema_cache": HEAVY,
    "unsir_bench.plugins": HEAVY,
    "unsir_bench.field_checks": HEAVY,
    "unsir_bench.errors": HEAVY,
    "baselines": {"runner", "report", "metrics", "config", "records", "store", "tracking", "reference_models"},
}
ONLY_IN = {
    "wandb": {"unsir_bench.tracking", "unsir_bench.dashboard"},
    "wandb_workspaces": {"unsir_bench.dashboard"},
    "hydra": {
        "unsir_bench.config",
        "unsir_bench.cli",
        "unsir_bench.sweeper",
        "unsir_bench.sweep_jobs",
        "unsir_bench.plugins",
        "unsir_bench.quick_check",
        "unsir_bench.schema_cache",
    },
    "omegaconf": {
        "unsir_bench.config",
        "unsir_bench.cli",
        "unsir_bench.sweeper",
        "unsir_bench.sweep_jobs",
        "unsir_bench.quick_check",
        "unsir_bench.schema_cache",
    },
    "baselines": {"unsir_bench.cli"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_at_run_time(path: Path) -> set[str]:
    """Dotted names imported by a file, those for type checkers alone left out."""
    tree = ast.parse(path.read_text())
    typing_only = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    skipped = {id(inner) for node in typing_only for inner in ast.walk(node)}
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden_for(module: str) -> set[str]:
    owners = [owner for owner in FORBIDDEN if module == owner or module.startswith(f"{owner}.")]
    return FORBIDDEN[max(owners, key=len)] if owners else set()


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_module_imports_what_lies_above_it(path: Path) -> None:
    banned = {f"unsir_bench.{name}" for name in forbidden_for(module_name(path))}
    broken = {
        name for name in imports_at_run_time(path) for rule in banned if name == rule or name.startswith(f"{rule}.")
    }
    assert not broken, f"{module_name(path)} must not import {sorted(broken)}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_some_packages_are_imported_in_one_place_only(path: Path) -> None:
    module = module_name(path)
    for package, allowed in ONLY_IN.items():
        used = {name for name in imports_at_run_time(path) if name.split(".")[0] == package}
        assert not used or module in allowed or module.split(".")[0] == package, f"{module} imports {sorted(used)}"


def test_the_rules_name_modules_that_exist() -> None:
    known = {module_name(path) for path in FILES}
    named = set(FORBIDDEN) | {f"unsir_bench.{name}" for names in FORBIDDEN.values() for name in names}
    assert named <= known
