"""What the tests of the Probe train."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import AdamW

INPUTS = torch.randn(12, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.arange(12) % 3


class Learner(nn.Module):
    """Dropout, BatchNorm and an activation that can saturate, with noise of its own in training."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 5), nn.Tanh()
        )
        self.head = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.body(inputs)))


def learner() -> tuple[Learner, AdamW]:
    torch.manual_seed(0)
    model = Learner()
    return model, AdamW(model.parameters(), lr=0.05)
