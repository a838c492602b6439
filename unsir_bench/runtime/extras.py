"""Packages that only some commands need: which extra brings them, and one clear line where they are absent."""

from __future__ import annotations

from importlib import metadata

EXTRAS = {
    "report": ("matplotlib", "plotly", "itables", "jinja2", "pytorch_grad_cam", "wandb_workspaces"),
    "data": ("datasets", "pyarrow"),
    "tune": ("optuna",),
    "trackers": ("pytorch_lightning", "mlflow", "tensorboard"),
}
# What Hydra's option of each name needs.
LAUNCHERS = {
    "joblib": ("hydra-joblib-launcher", "launchers"),
    "local": ("hydra-submitit-launcher", "launchers"),
    "submitit_local": ("hydra-submitit-launcher", "launchers"),
    "submitit_slurm": ("hydra-submitit-launcher", "launchers"),
    "slurm": ("hydra-submitit-launcher", "launchers"),
    "ray": ("hydra-ray-launcher", "ray"),
    "ray_local": ("hydra-ray-launcher", "ray"),
    "ray_cluster": ("hydra-ray-launcher", "ray"),
}


def install_words(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'unsir-bench[{extra}]'"


def absent_package(error: ModuleNotFoundError) -> str | None:
    """One line that says which extra brings the module that is absent; None if no extra does."""
    top = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if top in modules:
            return f"{top} is not installed; it is of the extra {extra}: {install_words(extra)}"
    return None


def absent_launcher(launcher: str) -> str | None:
    """One line that says which extra brings a launcher that is not installed; None where nothing is absent."""
    if launcher not in LAUNCHERS:
        return None
    distribution, extra = LAUNCHERS[launcher]
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return f"hydra/launcher={launcher}: {distribution} is not installed; {install_words(extra)}"
    return None
