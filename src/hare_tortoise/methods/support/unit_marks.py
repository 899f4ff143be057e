"""What is known of a tensor while a network is traced, and the ledger of which weights belong to which units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from .unit_types import NORMED, Origin, Tap

Key = TypeVar("Key")


@dataclass(frozen=True)
class Followed:
    """A tensor of which one dimension holds units, `repeat` entries for each, next to each other.

    Args:
        node: the set of units, a number of the ledger.
        dim: the dimension, counted from the front.
        repeat: entries per unit, more than one after a flatten.
        layer: the layer that computed it last.
        origin: the last tensor behind a nonlinearity that its values are those of, or were computed from channel by
            channel; None: no nonlinearity stands before it yet.
        likeness: how far its values are those of `origin`.
        seen: the module whose result it is, if it is one's.
    """

    node: int
    dim: int
    layer: str
    repeat: int = 1
    origin: Origin | None = None
    likeness: int = NORMED
    seen: Tap | None = None


@dataclass(frozen=True)
class Lost:
    """A tensor that was computed from units in a way that is not followed.

    Args:
        reasons: the sets of units, and what took each apart.
        dim: where channels may be.
    """

    reasons: Mapping[int, str]
    dim: int | None = None


Mark = Followed | Lost


def reasons_of(mark: Mark | int, reason: str) -> dict[int, str]:
    """The sets of units that a tensor was computed from, each with why it is left alone."""
    if isinstance(mark, Lost):
        return dict(mark.reasons)
    return {mark.node if isinstance(mark, Followed) else mark: reason}


@dataclass
class Ledger:
    """Sets of units and what belongs to them; sets that turn out to be one are united.

    `consumed`: sets that something with weights reads that is not followed.
    `rows`: weight -> set whose units its rows are. `vectors`: parameter or buffer -> set, dimension, entries per
    unit. `columns`: weight -> what each of its calls read: a set (None: something else), entries per unit.
    """

    rows: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    columns: dict[str, list[tuple[int | None, int]]] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    outputs: set[int] = field(default_factory=set)
    consumed: set[int] = field(default_factory=set)
    origins: list[tuple[int, Origin]] = field(default_factory=list)

    def find(self, node: int) -> int:
        """The representative of a set."""
        while self.parents[node] != node:
            node = self.parents[node]
        return node

    def unite(self, first: int, second: int) -> None:
        """Two sets are one: unit by unit."""
        first, second = sorted((self.find(first), self.find(second)))
        self.parents[second] = first

    def units_of_rows(self, weight: str, size: int, layer: str) -> int:
        """The set whose units the rows of a weight are."""
        self.layers[layer] = weight
        if weight not in self.rows:
            self.rows[weight] = len(self.parents)
            self.parents.append(len(self.parents))
            self.sizes.append(size)
        return self.rows[weight]

    def rows_belong(self, weight: str, node: int, layer: str) -> None:
        """The rows of a weight belong to a set that is there already (a depthwise convolution)."""
        self.unite(self.units_of_rows(weight, self.sizes[node], layer), node)

    def vector_belongs(self, name: str, node: int, dim: int, repeat: int) -> None:
        """The entries of a parameter or buffer belong to the units of a set."""
        known, *place = self.vectors.setdefault(name, (node, dim, repeat))
        if place != [dim, repeat]:
            self.block((known, node), f"{name} is used for two layers of different shape")
        self.unite(known, node)

    def block(self, marks: Iterable[Mark | int], reason: str) -> None:
        """Leave sets alone; the first reason is told, and for what is lost that for which it is."""
        for mark in marks:
            for node, why in reasons_of(mark, reason).items():
                self.reasons.setdefault(node, why)

    def read_by_others(self, marks: Iterable[Mark]) -> None:
        """Note sets that a layer reads that is not followed: they are inner ones, whatever its result becomes."""
        for mark in marks:
            self.consumed.update(reasons_of(mark, ""))

    def settle(self) -> None:
        """Unite and block by what was gathered about columns and about weights that are used otherwise."""
        for weight, reads in self.columns.items():
            nodes = [node for node, _ in reads if node is not None]
            for node in nodes[1:]:
                self.unite(nodes[0], node)
            if nodes and (len(nodes) < len(reads) or len({repeat for _, repeat in reads}) > 1):
                self.block(nodes, f"{weight} is shared and reads something else as well")
        for name, function in self.used.items():
            belongs = [self.rows[name]] if name in self.rows else []
            belongs += [self.vectors[name][0]] if name in self.vectors else []
            belongs += [node for node, _ in self.columns.get(name, ()) if node is not None]
            self.block(belongs, f"{name} is used by {function} as well")

    def gathered(self, entries: Iterable[tuple[int, Key]]) -> dict[int, list[Key]]:
        """Sort what belongs to nodes by their sets, each once, in order."""
        found: dict[int, list[Key]] = {}
        for node, item in entries:
            items = found.setdefault(self.find(node), [])
            if item not in items:
                items.append(item)
        return found
