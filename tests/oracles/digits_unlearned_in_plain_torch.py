"""Train a network on digits and forget a class in plain torch, as someone would who does not know this project.

``python digits_unlearned_in_plain_torch.py FOLDER`` writes ``original.pth`` (with the wrappers of a training script),
``unlearned.pt``, ``retrained.safetensors`` and ``scores.json``: the accuracies on the test images of the forgotten
class and of the others, as this script counts them.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit
from torch import nn
from torch.nn import functional as F

FORGOTTEN = 0


class Net(nn.Module):
    """All-CNN-C, written anew: layers in a row, the classifier at the end."""

    def __init__(self, width: int = 4):
        super().__init__()
        wide = 2 * width
        sizes = [(1, width, 3, 1), (width, width, 3, 1), (width, width, 3, 2), (width, wide, 3, 1), (wide, wide, 3, 1),
                 (wide, wide, 3, 2), (wide, wide, 3, 1), (wide, wide, 1, 1)]  # fmt: skip
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, k, s, k // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after, k, s in sizes
        ]
        self.body = nn.Sequential(*blocks)
        self.linear = nn.Linear(wide, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.body(x).mean((2, 3)))


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


@torch.no_grad()
def score(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    model.eval()
    right, forget = model(x).argmax(1) == y, y == FORGOTTEN
    return {"A_Df": right[forget].double().mean().item(), "A_Dr": right[~forget].double().mean().item()}


def main(folder: Path) -> None:
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor((images * (255 / 16)).round() / 255, dtype=torch.float32).view(-1, 1, 8, 8)
    x, y = (x - 0.305) / 0.376, torch.tensor(labels)
    splitter = StratifiedShuffleSplit(n_splits=1, test_size=397 / len(y), random_state=0)
    seen, unseen = map(torch.tensor, next(splitter.split(x, y)))
    kept = seen[y[seen] != FORGOTTEN]
    original, retrained = Net(), Net()
    train(original, x[seen], y[seen], epochs=4, lr=0.01)
    unlearned = Net()
    unlearned.load_state_dict(original.state_dict())
    train(unlearned, x[kept], y[kept], epochs=1, lr=0.003)
    train(retrained, x[kept], y[kept], epochs=4, lr=0.01)
    models = {"original": original, "unlearned": unlearned, "retrained": retrained}
    scores = {name: score(model, x[unseen], y[unseen]) for name, model in models.items()}
    wrapped = {f"module.{name}": value for name, value in original.state_dict().items()}
    torch.save({"epoch": 4, "state_dict": wrapped}, folder / "original.pth")
    torch.save(unlearned.state_dict(), folder / "unlearned.pt")
    save_file(retrained.state_dict(), folder / "retrained.safetensors")
    (folder / "scores.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
