"""Which methods are timed, and on which networks."""

from __future__ import annotations

from dataclasses import dataclass

from hare_tortoise.lab.spec import Call, parse


@dataclass(frozen=True)
class Case:
    """A method to be timed.

    Args:
        text: as it is written on the command line.
        interval: name of the setting that says how often its periodic work is due, and how often that is.
        new_data: whether it works when data arrives.
        at_most: what it may cost on the ResNet-18, as a share of a step.
        cycle: calls of which one does more than the others; a round takes a whole number of cycles.
    """

    text: str
    interval: tuple[str, int] | None = None
    new_data: bool = False
    at_most: float | None = None
    cycle: int = 1

    def every(self, steps: int | None = None) -> str:
        """Write the method with its periodic work due so often, by default as often as the case says."""
        if self.interval is None:
            return self.text
        call, (name, period) = parse(self.text), self.interval
        return str(Call(call.name, (*call.settings, (name, period if steps is None else steps))))


OWN_CALLS = (
    Case("hare-tortoise", ("reset_every", 1000), at_most=0.05),
    Case("ema", at_most=0.05),
    Case("switch-ema", ("reset_every", 200)),
    Case("l2"),
    Case("l2-init", at_most=0.05),
    Case("wasserstein-init"),
    Case("spectral-regularization"),
    Case("parseval"),
    Case("spectral-decoupling"),
    Case("self-distillation"),
    Case("c-chain"),
    Case("spectral-normalization"),
    Case("weight-clipping", at_most=0.05),
    Case("normalize-and-project"),
    Case("soft-weight-rescaling"),
    Case("soft-shrink-perturb", at_most=0.05),
    Case("shrink-perturb", new_data=True, at_most=0.05),
    Case("from-scratch", new_data=True),
    Case("head-reset", new_data=True),
    Case("last-layers-reset(layers=2)", new_data=True),
    Case("full-reset", ("every", 40_000)),
    Case("optimizer-reset", new_data=True),
    Case("dash", new_data=True),
    Case("fire", new_data=True),
    Case("plasticity-injection", new_data=True),
    Case("redo", ("every", 1000), at_most=0.10),
    Case("regrama", ("every", 1000)),
    Case("continual-backprop(maturity=1)", at_most=0.10),
    Case("self-normalized-reset", ("renew_every", 1000), at_most=0.10, cycle=16),
)
WHOLE_STEPS = ("crelu", "fourier", "layer-norm", "aid", "upgd", "ada-upgd", "sam", "trac")
# Also by whole steps, to check the sum of their calls against.
CHECKED = ("c-chain", "continual-backprop(maturity=1)", "self-normalized-reset")


@dataclass(frozen=True)
class Place:
    """Where the cost is measured.

    Args:
        name: in the table.
        network: as it is written on the command line.
        shape: of a batch of inputs.
        arrival: steps from one arrival of data to the next, by which `new_data` is divided.
        chunk: batches that `new_data` is given; one of them is timed for all.
        rounds: how often everything is timed.
        calls: in a round; a step that takes milliseconds needs many.
        limited: whether the targets hold here.
    """

    name: str
    network: str
    shape: tuple[int, ...]
    arrival: int
    chunk: int
    rounds: int
    calls: int
    limited: bool = False


PLACES = (
    Place("ResNet-18, batch 256", "resnet18", (256, 3, 32, 32), 2000, 20, rounds=5, calls=1, limited=True),
    Place("MLP, batch 64", "mlp(hidden=(256, 256))", (64, 64), 600, 12, rounds=11, calls=320),
)
QUICK = Place("MLP, batch 8", "mlp(hidden=(16, 16))", (8, 12), 100, 2, rounds=2, calls=16, limited=True)
