"""An agent in float64 and by name: its networks as formulas on a dictionary of weights, its loss in loops, its Adam."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hare_tortoise.rl.recipe import AgentRecipe

Weights = dict[str, Tensor]
Noise = dict[str, tuple[Tensor, Tensor]]
LOW, HIGH, ATOMS = -10.0, 10.0, 51


def linear(weights: Weights, name: str, inputs: Tensor, noise: Noise) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if name in noise:
        rows, columns = noise[name][1], noise[name][0]
        weight = weight + weights[f"{name}.weight_sigma"] * torch.outer(rows, columns)
        bias = bias + weights[f"{name}.bias_sigma"] * rows
    return inputs @ weight.T + bias


def around(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind, as TensorFlow pads."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def nature(weights: Weights, images: Tensor, padding: str) -> Tensor:
    layers = sorted({name.rsplit(".", 1)[0] for name in weights if name.startswith("encoder.")}, key=_place)
    for layer, stride in zip(layers, (4, 2, 1), strict=True):
        kernel = weights[f"{layer}.weight"]
        if padding == "same":
            rows, columns = (around(images.shape[axis], kernel.shape[axis], stride) for axis in (2, 3))
            images = F.pad(images, (*columns, *rows))
        images = F.conv2d(images, kernel, weights[f"{layer}.bias"], stride).clamp(min=0)
    return images


def _place(name: str) -> int:
    return int(name.rsplit(".", 1)[1])


def impala(weights: Weights, images: Tensor) -> Tensor:
    def convolved(name: str, inputs: Tensor) -> Tensor:
        return F.conv2d(inputs, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    for stage in (f"encoder.body.{number}" for number in range(3)):
        images = convolved(f"{stage}.0", images)
        # a border of -inf is never the maximum; "same" puts the odd one behind
        rows, columns = (around(images.shape[axis], 3, 2) for axis in (2, 3))
        images = F.max_pool2d(F.pad(images, (*columns, *rows), value=-math.inf), 3, 2)
        for block in (f"{stage}.2.residual", f"{stage}.3.residual"):
            inner = convolved(f"{block}.1", images.clamp(min=0))
            images = images + convolved(f"{block}.3", inner.clamp(min=0))
    return images.clamp(min=0)


def latent(weights: Weights, images: Tensor, encoder: str) -> Tensor:
    """What the encoder makes of observations, not yet flat."""
    if encoder.startswith("nature"):
        return nature(weights, images, "same" if "same" in encoder else "valid")
    if encoder.startswith("impala"):
        return impala(weights, images)
    if encoder == "minatar":
        return F.conv2d(images, weights["encoder.body.0.weight"], weights["encoder.body.0.bias"]).clamp(min=0)
    return linear(weights, "encoder.body.1", images.flatten(1), {}).clamp(min=0)


def values(weights: Weights, images: Tensor, recipe: AgentRecipe, legal: list[int], noise: Noise) -> Tensor:
    """(rows, actions, atoms), with one atom where the values are numbers."""
    features = latent(weights, images, recipe.encoder).flatten(1)
    if recipe.shared_hidden:
        features = linear(weights, "head.shared.0", features, noise).clamp(min=0)

    def stream(name: str) -> Tensor:
        if recipe.shared_hidden:
            return linear(weights, f"{name}.0", features, noise)
        return linear(
            weights, f"{name}.1", linear(weights, f"{name}.0.0", features, noise).clamp(min=0), noise
        )

    advantage = stream("head.advantage").view(len(images), -1, recipe.atoms or 1)
    if not recipe.dueling:
        return advantage
    mean = torch.stack([advantage[:, action] for action in legal]).sum(0) / len(legal)
    return stream("head.value").view(len(images), 1, -1) + advantage - mean[:, None]


def projected(probabilities: list[float], ret: float, discount: float) -> list[float]:
    """Algorithm 1 of Bellemare et al. (2017)."""
    found, spacing = [0.0] * ATOMS, (HIGH - LOW) / (ATOMS - 1)
    for atom, probability in enumerate(probabilities):
        place = min(max(ret + discount * (LOW + atom * spacing), LOW), HIGH)
        b = min((place - LOW) / spacing, ATOMS - 1)
        low = math.floor(b)
        found[low] += probability * (1 - (b - low))
        if b > low:
            found[low + 1] += probability * (b - low)
    return found


def mean_of(logits: list[float]) -> float:
    if len(logits) == 1:
        return logits[0]
    weights = [math.exp(logit - max(logits)) for logit in logits]
    places = np.linspace(LOW, HIGH, ATOMS)
    return float(sum(w * z for w, z in zip(weights, places, strict=True)) / sum(weights))


def best(row: Tensor, legal: list[int]) -> int:
    return max(legal, key=lambda action: mean_of(row[action].tolist()))


@dataclass
class Given:
    """A batch as the agent gets it, without the axis of agents."""

    before: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    after: Tensor
    weights: Tensor
    ahead: Tensor
    ahead_actions: Tensor
    inside: Tensor


class Oracle:
    """The agent again: weights by name, target weights by name, moments of Adam by name."""

    def __init__(self, recipe: AgentRecipe, online: Weights, target: Weights, legal: list[int]) -> None:
        self.recipe, self.legal = recipe, legal
        self.online = {name: tensor.detach().clone().double() for name, tensor in online.items()}
        self.target = {name: tensor.detach().clone().double() for name, tensor in target.items()}
        self.moments = {name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in self.online.items()}
        self.updates = 0
        self.clipped = False

    def update(
        self, given: Given, augment: torch.Generator, noise: torch.Generator
    ) -> tuple[list[float], float]:
        """Give the losses of the rows and the loss."""
        recipe = self.recipe
        online = {name: tensor.clone().requires_grad_() for name, tensor in self.online.items()}
        before = self.augmented(given.before, augment)
        after = self.augmented(given.after, augment)
        ours, theirs = self.noise(noise), self.noise(noise)
        with torch.no_grad():
            behind = values(self.target, after, recipe, self.legal, theirs)
            chooser = values(online, after, recipe, self.legal, ours) if recipe.double else behind
        predicted = values(online, before, recipe, self.legal, ours)
        rows = [self.row(predicted[b], given, b, behind[b], chooser[b]) for b in range(len(before))]
        loss = sum(w * row for w, row in zip(given.weights.tolist(), rows, strict=True)) / len(rows)
        assert isinstance(loss, Tensor)
        if recipe.prediction:
            loss = loss + recipe.prediction * self.foretold(online, before, given, augment)
        names = list(online)
        gradients = torch.autograd.grad(loss, [online[name] for name in names], allow_unused=True)
        self.step({name: grad for name, grad in zip(names, gradients, strict=True) if grad is not None})
        return [row.item() for row in rows], loss.item()

    def row(self, predicted: Tensor, given: Given, b: int, behind: Tensor, chooser: Tensor) -> Tensor:
        chosen = best(chooser, self.legal)
        ret, discount = given.returns[b].item(), given.discounts[b].item()
        taken = predicted[int(given.actions[b])]
        if self.recipe.atoms is None:
            error = (ret + discount * behind[chosen].item() - taken).abs()[0]
            return 0.5 * error**2 if error <= 1 else error - 0.5
        target = projected(behind[chosen].softmax(0).tolist(), ret, discount)
        logarithms = taken - taken.logsumexp(0)
        return -sum((p * each for p, each in zip(target, logarithms, strict=True)), torch.zeros(()).double())

    def foretold(self, online: Weights, before: Tensor, given: Given, augment: torch.Generator) -> Tensor:
        """2 − 2 cos between what is foretold and what is seen, without noise; what is not inside counts as 0."""
        rows, steps = given.ahead_actions.shape
        seen = self.augmented(given.ahead.flatten(0, 1), augment)
        with torch.no_grad():
            there = linear(self.target, "head.shared.0", self.scaled(self.target, seen).flatten(1), {})
        state, total = self.scaled(online, before), torch.zeros(()).double()
        actions = online["prediction.transition.0.weight"].shape[1] - state.shape[1]
        for step in range(steps):
            planes = torch.zeros(rows, actions, *state.shape[2:]).double()
            for b in range(rows):
                planes[b, int(given.ahead_actions[b, step])] = 1
            for layer in ("prediction.transition.0", "prediction.transition.2"):
                state = torch.cat((state, planes), 1) if layer.endswith("0") else state
                state = F.conv2d(state, online[f"{layer}.weight"], online[f"{layer}.bias"], padding=1).clamp(
                    min=0
                )
            state = normal(state)
            told = linear(online, "head.shared.0", state.flatten(1), {})
            told = linear(online, "prediction.predictor", told, {})
            for b in range(rows):
                if given.inside[b, step]:
                    one, other = told[b], there[b * steps + step]
                    apart = 2 - 2 * (one @ other) / (one.norm() * other.norm())
                    total = total + given.weights[b] * apart / steps / rows
        return total

    def scaled(self, weights: Weights, images: Tensor) -> Tensor:
        return normal(latent(weights, images, self.recipe.encoder))

    def augmented(self, stacks: Tensor, generator: torch.Generator) -> Tensor:
        """Edges repeated, a window cut out, brightness changed; bytes divided by 255, frames as channels."""
        images, shift, count = stacks.numpy(), self.recipe.shift, len(stacks)
        if shift:
            drawn = torch.randint(2 * shift + 1, (count, 2), generator=generator).tolist()
            beside = [(0, 0)] * (images.ndim - 3) + [(shift, shift)] * 2
            height, width = images.shape[-2:]
            moved = [
                np.pad(image, beside, mode="edge")[..., down : down + height, across : across + width]
                for image, (down, across) in zip(images, drawn, strict=True)
            ]
            images = np.stack(moved)
        found = torch.tensor(images).double() / (255 if images.dtype == np.uint8 else 1)
        if self.recipe.intensity:
            bright = 1 + self.recipe.intensity * torch.randn(count, generator=generator).clamp(-2, 2)
            found = found * bright.double().view(-1, *[1] * (found.ndim - 1))
        return found.flatten(1, -3) if found.ndim > 3 else found.flatten(1)

    def noise(self, generator: torch.Generator) -> Noise:
        """Draw for each noisy layer of a network, in their order, for its inputs and then for its outputs."""
        found = {}
        for name in self.noisy():
            sizes = reversed(self.online[f"{name}.weight"].shape)
            drawn = [torch.randn(size, generator=generator) for size in sizes]
            rooted = [(each.sign() * each.abs().sqrt()).double() for each in drawn]
            found[name] = rooted[0], rooted[1]
        return found

    def noisy(self) -> Iterator[str]:
        return (name.removesuffix(".weight_sigma") for name in self.online if name.endswith(".weight_sigma"))

    def step(self, gradients: Weights) -> None:
        """Clip, decay, Adam; then the target follows."""
        recipe = self.recipe
        self.updates += 1
        norm = math.sqrt(sum(float(grad.square().sum()) for grad in gradients.values()))
        scale = 1.0 if recipe.clip is None else min(1.0, recipe.clip / (norm + 1e-6))
        self.clipped |= scale < 1
        for name, grad in gradients.items():
            first, second = self.moments[name]
            first, second = 0.9 * first + 0.1 * scale * grad, 0.999 * second + 0.001 * (scale * grad) ** 2
            self.moments[name] = first, second
            size = (second / (1 - 0.999**self.updates)).sqrt() + recipe.adam_epsilon
            weight = self.online[name]
            shrunk = weight * (1 - recipe.lr * recipe.weight_decay) if weight.ndim > 1 else weight
            self.online[name] = shrunk - recipe.lr * first / (1 - 0.9**self.updates) / size
        for name, weight in self.online.items():
            if recipe.target == "average":
                self.target[name] = recipe.decay * self.target[name] + (1 - recipe.decay) * weight
            elif self.updates % recipe.copy_every == 0:
                self.target[name] = weight.clone()


def normal(states: Tensor) -> Tensor:
    found = [(state - state.min()) / (state.max() - state.min() + 1e-5) for state in states]
    return torch.stack(found)
