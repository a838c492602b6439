"""State dicts in files made elsewhere: read without running code, unwrapped, renamed, and held against a network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from unsir_bench.config_fields import nearest
from unsir_bench.errors import UnsirBenchError
from unsir_bench.runtime.files import read_regular, sha256

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".tar")
# Under which training scripts keep the state dict, and what wrappers put before its names.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
UNCOUNTED = "num_batches_tracked"  # batch norms of early torch do not have it; with a momentum nothing reads it
SHOWN = 5


class CheckpointError(UnsirBenchError):
    """A file that holds no state dict of the network; the message names file and tensors."""


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors by name, as it has them but for wrappers around the whole.

    Attributes:
        path: of the file.
        sha256: of its content.
        tensors: on the CPU.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a ``.safetensors`` file, or one of ``torch.save`` of which nothing but tensors and plain values is read.

        Raises:
            CheckpointError: it cannot be read, or holds no tensors by name.
        """
        try:
            content = read_regular(path.resolve())
            return cls(path, sha256(content), _unwrapped(path, _parsed(path, content)))
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror or error}") from error
        except RuntimeError as error:  # of a link to itself
            raise CheckpointError(f"{path}: {error}") from error

    def fitted(self, own: Mapping[str, Tensor], renames: Sequence[str], head: str) -> dict[str, Tensor]:
        """The tensors under the names of a network, in its types.

        Args:
            own: the network's state dict.
            renames: ``old=new``; each ``*`` stands for any letters, the same on both sides.
            head: the name of the layer that gives the logits, for the message about another number of classes.

        Raises:
            CheckpointError: a tensor is missing, left over, of another shape or kind or not finite, or a rename fits
                nothing.
        """
        named = self._renamed(_without_prefix(self.tensors, own), renames)
        wrong = misfits(named, own, head)
        if wrong:
            shown = "; ".join(wrong[:SHOWN]) + (f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
            raise CheckpointError(
                f"{self.path}: does not fit the model: {shown}. Choose the model=, dataset= and size it was made with, "
                "or give --rename 'THEIRS.*=OURS.*'"
            )
        return {name: named.get(name, value).to(value.dtype).contiguous() for name, value in own.items()}

    def _renamed(self, tensors: Mapping[str, Tensor], renames: Sequence[str]) -> dict[str, Tensor]:
        found = dict(tensors)
        for rename in renames:
            old, _, new = rename.partition("=")
            pattern = re.compile("(.*)".join(map(re.escape, old.split("*"))))
            matches = {name: match for name in found if (match := pattern.fullmatch(name))}
            if not matches:
                raise CheckpointError(f"--rename {rename}: {self.path} has no such tensor; {_alike(old, found)}")
            changed = {name: _filled(new, match) for name, match in matches.items()}
            names = [changed.get(name, name) for name in found]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise CheckpointError(f"--rename {rename}: two tensors of {self.path} would be {twice[0]}")
            found = dict(zip(names, found.values(), strict=True))
        return found


def rename_problem(rename: str) -> str | None:
    """What is wrong with a rename by itself, or None."""
    old, equals, new = rename.partition("=")
    if not (old and equals and new):
        return f"--rename {rename}: write THEIRS=OURS, such as 'linear.*=fc.*'"
    if new.count("*") > old.count("*"):
        return f"--rename {rename}: has more * on the right than on the left"
    return None


def _filled(new: str, match: re.Match[str]) -> str:
    parts = new.split("*")
    return "".join(part + word for part, word in zip(parts, [*match.groups()[: len(parts) - 1], ""], strict=True))


def _parsed(path: Path, content: bytes) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load(content)
        except SafetensorError as error:
            raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from error
    if path.suffix not in PICKLES:
        raise CheckpointError(f"{path}: give a .safetensors file, or one of torch.save ({', '.join(PICKLES)})")
    try:
        return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file the reader raises many kinds
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values, or is damaged; nothing else is ever loaded. Save it by "
            f"torch.save(model.state_dict(), ...) ({reason})"
        ) from error


def _unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    names = list(content) if isinstance(content, Mapping) else []
    if not names or not all(isinstance(content[name], Tensor) for name in names):
        keys = f"the keys {', '.join(map(str, names[:SHOWN]))}" if names else f"a {type(content).__name__}"
        raise CheckpointError(f"{path}: holds {keys}, no state dict; one is looked for below {', '.join(WRAPPERS)}")
    return {str(name): content[name] for name in names}


def _without_prefix(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without prefixes that all names share and that the network's do not have."""
    found = dict(tensors)
    while not found.keys() & own.keys():
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in found)), None)
        if prefix is None:
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def misfits(named: Mapping[str, Tensor], own: Mapping[str, Tensor], head: str | None = None) -> list[str]:
    """What is wrong with each tensor of a file that is missing, of another shape or kind, not finite or left over.

    Args:
        named: the file's tensors, under the network's names.
        own: the network's state dict, or the part of it that the file must hold.
        head: the name of the layer that gives the logits, for the message about another number of classes.
    """
    wrong = []
    for name, value in own.items():
        stored = named.get(name)
        if stored is None:
            if not name.endswith(UNCOUNTED):
                wrong.append(f"{name} is missing")
        elif stored.shape != value.shape:
            wrong.append(f"{name} has shape {tuple(stored.shape)}, needs {tuple(value.shape)}")
            if head and name.startswith(f"{head}.") and stored.dim() == value.dim():
                wrong[-1] += f" (it answers {len(stored)} classes, the data have {len(value)})"
        elif complaint := _unusable(stored, value, may_be_other=name.endswith(UNCOUNTED)):
            wrong.append(f"{name} {complaint}")
    return wrong + [f"{name} has no place" for name in named if name not in own]


def _unusable(stored: Tensor, own: Tensor, *, may_be_other: bool) -> str | None:
    """Why a tensor of the right shape cannot stand in the place of the network's own.

    Args:
        stored: of a file.
        own: of the network.
        may_be_other: floats may stand for whole numbers, as where checkpoints were averaged.
    """
    if stored.is_meta:
        return "is on the meta device, which holds no values: save dense tensors"
    if stored.layout is not torch.strided:
        return "is sparse: save dense tensors"
    kinds = [(each.is_floating_point(), each.is_complex()) for each in (stored, own)]
    if kinds[0] != kinds[1] and not (may_be_other and stored.is_floating_point()):
        have, need = (str(each.dtype).removeprefix("torch.") for each in (stored, own))
        return f"is {have}, needs {need}: convert it; codes of a quantisation must be dequantised"
    # Not of the file's own type: torch knows no isfinite of float8.
    if not stored.is_floating_point() or stored.to(own.dtype).isfinite().all():
        return None
    if stored.to(torch.float64).isfinite().all():
        return f"holds numbers too large for {str(own.dtype).removeprefix('torch.')}"
    return "holds NaN or infinity"


def _alike(name: str, known: Mapping[str, Tensor]) -> str:
    return f"it has {nearest(name, list(known))}"
