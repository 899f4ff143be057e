"""Features are what the output layer is given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hare_tortoise.measures import features
from hare_tortoise.networks import resnet18, vit_tiny


class Backwards(nn.Module):
    """The output layer is declared first, and there is a Linear that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.body = nn.Linear(3, 4)
        self.spare = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.head(F.relu(self.body(inputs))))


def test_the_last_linear_that_is_called() -> None:
    model, inputs = Backwards(), torch.randn(5, 3)
    torch.testing.assert_close(features(model, inputs), F.relu(model.body(inputs)).detach(), rtol=0, atol=0)


def test_a_head_by_name() -> None:
    model, inputs = Backwards(), torch.randn(5, 3)
    torch.testing.assert_close(features(model, inputs, head="body"), inputs, rtol=0, atol=0)
    network = resnet18((3, 8, 8), 10, head_hidden=(16,)).eval()
    images = torch.randn(2, 3, 8, 8)
    assert features(network, images).shape == (2, 16)
    assert features(network, images, head="head").shape == (2, 512)
    # What another module than a Linear is given is flattened.
    assert features(network, images, head="stem").shape == (2, 3 * 8 * 8)


def test_positions_are_rows() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert features(model, torch.randn(5, 7, 3)).shape == (35, 4)
    assert features(vit_tiny((3, 8, 8), 10).eval(), torch.randn(2, 3, 8, 8)).shape[0] == 2


class Overwriting(Backwards):
    def forward(self, inputs: Tensor) -> Tensor:
        h = self.body(inputs)
        outputs = self.head(h)
        h.zero_()
        return torch.as_tensor(outputs)


def test_what_is_overwritten_afterwards_was_seen_before() -> None:
    model, inputs = Overwriting(), torch.randn(5, 3)
    torch.testing.assert_close(features(model, inputs), model.body(inputs).detach(), rtol=0, atol=0)


def test_hooks_of_the_user_come_first() -> None:
    """What they make of the input is what the layer is given."""
    model, inputs = Backwards(), torch.randn(5, 3)
    expected = 2 * features(model, inputs)
    model.head.register_forward_pre_hook(lambda _module, given: (2 * given[0],))
    torch.testing.assert_close(features(model, inputs), expected, rtol=0, atol=0)


def test_compiled_and_wrapped() -> None:
    model, inputs = Backwards(), torch.randn(5, 3)
    expected = features(model, inputs)
    torch.testing.assert_close(features(nn.DataParallel(model), inputs), expected, rtol=0, atol=0)
    compiled: Any = torch.compile(model, backend="aot_eager")
    compiled(inputs)
    torch.testing.assert_close(features(compiled, inputs), expected, rtol=0, atol=0)


def test_refusals() -> None:
    inputs = torch.randn(5, 3)
    with pytest.raises(
        ValueError, match="head is 'tail', but the model has no such module; it has head, body, spare"
    ):
        features(Backwards(), inputs, head="tail")
    with pytest.raises(ValueError, match="head is 'spare', a module that a forward does not call"):
        features(Backwards(), inputs, head="spare")
    with pytest.raises(ValueError, match=r"head is None, .* but there is none"):
        features(nn.Conv1d(5, 2, 1), inputs[None])
    with pytest.raises(ValueError, match="is in train mode"):
        features(nn.Sequential(nn.Linear(3, 2), nn.Dropout()), inputs)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(inputs), inputs


def test_what_the_model_answers_with_does_not_matter() -> None:
    inputs = torch.randn(5, 3)
    assert torch.equal(features(Pair(), inputs), inputs)
