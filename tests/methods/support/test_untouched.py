"""Running a network for a method's own purposes leaves it as it was, whatever its forward writes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.methods.support.untouched import untouched


class Counts(nn.Module):
    """Writes to one buffer, and assigns another anew, in eval mode too."""

    written: Tensor
    assigned: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("written", torch.zeros(()))
        self.register_buffer("assigned", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.written += 1
        self.assigned = self.assigned + 1
        outputs: Tensor = self.layer(inputs)
        return outputs


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_gradients_and_modes_are_as_before(fails: bool) -> None:
    model = Counts()
    model.layer.eval()
    model(torch.ones(1, 2)).sum().backward()
    gradient = model.layer.weight.grad
    written, assigned, state = model.written, model.assigned, torch.get_rng_state()
    try:
        with untouched(model):
            assert model.layer.weight.grad is None
            model(torch.rand(1, 2)).sum().backward()
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert model.written is written
    assert model.assigned is assigned
    assert (written.item(), assigned.item()) == (1, 1)
    assert model.layer.weight.grad is gradient
    assert (model.training, model.layer.training) == (True, False)
    assert torch.equal(state, torch.get_rng_state())
