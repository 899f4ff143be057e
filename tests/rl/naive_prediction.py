"""Self-prediction in loops and in lists, one entry after the other, and a small network to tell it of."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from hare_tortoise.networks import Encoder
from hare_tortoise.rl.heads import QHead
from hare_tortoise.rl.prediction import Prediction

ROWS, STEPS, ACTIONS, HIDDEN = 3, 3, 4, 5
SHAPE = (2, 4, 5)
MAPS = (3, 2, 3)
Image = list[list[list[float]]]


class Network(nn.Module):
    """A small one, of float64: a convolution of 3×3, a head, a prediction."""

    def __init__(self, seed: int = 0, **head: Any) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder: nn.Module = Encoder([nn.Conv2d(2, 3, 3), nn.ReLU()], MAPS)
        self.head = QHead(math.prod(MAPS), ACTIONS, hidden=HIDDEN, **head)
        self.prediction: Prediction | None = Prediction(MAPS, ACTIONS, HIDDEN)
        self.double()

    @property
    def ahead(self) -> Prediction:
        assert self.prediction is not None
        return self.prediction


Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def batch(seed: int = 0) -> Batch:
    """Observations, following ones, actions, all of them inside."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(ROWS, STEPS + 1, *SHAPE, dtype=torch.float64, generator=generator)
    actions = torch.randint(ACTIONS, (ROWS, STEPS), generator=generator)
    return images[:, 0], images[:, 1:], actions, torch.ones(ROWS, STEPS, dtype=torch.bool)


def convolved(image: Image, layer: nn.Module, padding: int) -> Image:
    """Convolution of 3×3 and ReLU, entry by entry."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    height, width = len(image[0]), len(image[0][0])
    found: Image = []
    for output, offset in enumerate(bias):
        rows = []
        for i in range(height + 2 * padding - 2):
            row = []
            for j in range(width + 2 * padding - 2):
                total = offset
                for channel, di, dj in product(range(len(image)), range(3), range(3)):
                    y, x = i + di - padding, j + dj - padding
                    if 0 <= y < height and 0 <= x < width:
                        total += weight[output][channel][di][dj] * image[channel][y][x]
                row.append(max(total, 0.0))
            rows.append(row)
        found.append(rows)
    return found


def entries(image: Image) -> list[float]:
    return [entry for channel in image for row in channel for entry in row]


def scaled(image: Image) -> Image:
    low, high = min(entries(image)), max(entries(image))
    return [[[(entry - low) / (high - low + 1e-5) for entry in row] for row in plane] for plane in image]


def stepped(image: Image, action: int, prediction: Prediction) -> Image:
    rows, columns = len(image[0]), len(image[0][0])
    planes = [[[float(plane == action)] * columns] * rows for plane in range(ACTIONS)]
    first, _, second, _ = prediction.transition
    return scaled(convolved(convolved(image + planes, first, 1), second, 1))


def affine(vector: list[float], layer: nn.Module) -> list[float]:
    assert isinstance(layer, nn.Linear)
    return [
        offset + sum(w * entry for w, entry in zip(row, vector, strict=True))
        for row, offset in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


def latent(image: Tensor, network: Network) -> Image:
    return scaled(convolved(image.tolist(), network.get_submodule("encoder.body.0"), 0))


def distance(one: list[float], other: list[float]) -> float:
    """Squared, of the two at unit length."""
    one, other = ([entry / math.hypot(*vector) for entry in vector] for vector in (one, other))
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def oracle(online: Network, target: Network, given: Batch, layer: str) -> list[list[float]]:
    """The distance of each row and step, in the batch's order; `layer` is the name of the projection."""
    found = []
    for first, following, actions in zip(*given[:3], strict=True):
        image, row = latent(first, online), []
        for seen, action in zip(following, actions.tolist(), strict=True):
            image = stepped(image, action, online.ahead)
            told = affine(affine(entries(image), online.get_submodule(layer)), online.ahead.predictor)
            row.append(distance(told, affine(entries(latent(seen, target)), target.get_submodule(layer))))
        found.append(row)
    return found
