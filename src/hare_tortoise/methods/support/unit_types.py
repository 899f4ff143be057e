"""What the graph of units is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

# How alike a tensor is to the activation that it was computed from: the same; to be computed again; pooled, scaled or
# with some dropped, which keeps the proportions of units; with a scale of its own for each unit, which does not.
EXACT, COMPUTED, POOLED, NORMED = 0, 1, 2, 3


@dataclass(frozen=True)
class Outgoing:
    """A weight that reads units: by dimension 1, in which each unit has `repeat` columns next to each other."""

    weight: str
    repeat: int = 1


@dataclass(frozen=True)
class PerUnit:
    """A parameter or buffer of a norm or an activation: `repeat` entries for each unit along dimension `dim`."""

    name: str
    dim: int = 0
    repeat: int = 1


@dataclass(frozen=True)
class Tap:
    """Where the activations of units can be seen: what a module gives or is given.

    Args:
        module: its canonical name.
        call: which of its calls in a forward, 0 first.
        given: an argument is meant (by position or keyword), not the result.
        position: of the argument, or in a result that is a tuple; None: the result itself.
        dim: the dimension of the units, counted from the end: -1 is the last.
        repeat: entries of this dimension per unit.
        calls: how often the module is called in a forward.
        function: what is computed from what is seen there; None: it is the activation itself.
        nonnegative: none of its values is below zero.
    """

    module: str
    call: int
    given: bool
    position: int | str | None
    dim: int
    repeat: int = 1
    calls: int = 1
    function: Callable[[Tensor], Tensor] | None = None
    nonnegative: bool = False


class Origin:
    """A tensor behind a nonlinearity, and the best place that was found to see it, and one to see its gradient."""

    def __init__(self, *, nonnegative: bool = False) -> None:
        self.nonnegative = nonnegative
        self.tap: Tap | None = None
        self.gradient_tap: Tap | None = None
        self._likeness = self._gradient_likeness = NORMED

    def offer(self, likeness: int, tap: Tap) -> None:
        """Take a place where the tensor can be seen, if it is more alike than those before it."""
        if likeness < self._likeness:
            # Pooling and dropping leave it so, but numbers that scale may be below zero.
            self._likeness = likeness
            self.tap = replace(tap, nonnegative=self.nonnegative and likeness < POOLED)
        # The gradient by what a function is computed from is not that by its result.
        if tap.function is None and likeness < self._gradient_likeness:
            self._gradient_likeness, self.gradient_tap = likeness, tap


@dataclass(frozen=True)
class Units:
    """A set of units: channels that pass a nonlinearity, with all that belongs to them.

    Channels that are added or multiplied elementwise are one unit (residual connections, gates), so that
    several layers may produce it.

    Args:
        name: of the first layer that produces them.
        size: how many there are.
        incoming: weights whose rows (dimension 0) are the units.
        biases: vectors with an entry per unit.
        per_unit: what norms and activations hold for each unit: scale, offset, running statistics, slope.
        outgoing: weights that read them.
        taps: where their activations are seen.
        gradient_taps: where the gradient by their activations is seen.
    """

    name: str
    size: int
    incoming: tuple[str, ...]
    biases: tuple[str, ...]
    per_unit: tuple[PerUnit, ...]
    outgoing: tuple[Outgoing, ...]
    taps: tuple[Tap, ...]
    gradient_taps: tuple[Tap, ...]

    @property
    def drawn(self) -> tuple[str, ...]:
        """The names of what gets initial values when a unit is reset."""
        return (*self.incoming, *self.biases, *(entry.name for entry in self.per_unit))


@dataclass(frozen=True)
class UnitGraph:
    """The sets of units of a network, and the layers that are in none, each with the reason.

    The last layer is not among those left out: it has no units.
    """

    groups: tuple[Units, ...]
    left_out: Mapping[str, str]
