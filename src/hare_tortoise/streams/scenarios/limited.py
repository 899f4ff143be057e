"""Data that arrive in parts and are mostly given up: the paper's continual learning with limited access."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hare_tortoise.streams.scenarios.accumulating import Accumulating, Order
from hare_tortoise.streams.scenarios.growing import equal_parts, for_each_chunk
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Stream

Sample = Literal["reservoir", "balanced"]


class Remembering(Accumulating):
    """An accumulating stream of which each chunk holds what is new, and a sample of what came before.

    Every example gets a random rank when it arrives. A reservoir keeps the `memory` lowest ranks of all that
    came; a balanced sample keeps the lowest ranks of each class, as many of each as there is room for. Either
    way what was once given up never comes back, and no class is favoured for its number.

    Args:
        memory: how many examples of earlier chunks are kept, 0 or more.
        sample: "reservoir" or "balanced"; by the labels that the examples arrived with.
        settings: of `Accumulating`.

    Raises:
        ValueError: `memory` or `sample` lies outside its range.
    """

    def __init__(self, source: Source, *, memory: int, sample: Sample, **settings: Any) -> None:
        super().__init__(source, **settings)
        if isinstance(memory, bool) or not isinstance(memory, int) or memory < 0:
            raise ValueError(f"memory is {memory!r}: give the number of earlier examples to keep, 0 or more")
        if sample not in ("reservoir", "balanced"):
            raise ValueError(f"sample is {sample!r}: give 'reservoir' or 'balanced'")
        if sample == "balanced" and source.task == "regression":
            raise ValueError(f"sample is 'balanced', but {source.name} has no classes: give 'reservoir'")
        self.memory = memory
        self.sample = sample

    def _kept(self, index: int) -> Tensor:
        kept = torch.ones(self._ends[index], dtype=torch.bool)
        old = self._ends[index - 1] if index else 0
        # what is set aside takes no room in the memory
        candidates = (~self._set_aside(index)[:old]).nonzero().flatten()
        kept[:old] = False
        total = self._ends[-1]
        ranks = torch.randperm(total, generator=derived_generator(self.seed, "memory"))[candidates]
        if self.sample == "reservoir":
            chosen = ranks.argsort()[: self.memory]
        else:
            chosen = _balanced(ranks, self._labels_on_arrival(index)[candidates], self.memory)
        kept[candidates[chosen]] = True
        return kept

    def _labels_on_arrival(self, index: int) -> Tensor:
        """Labels of the examples before chunk `index`, each with the noise of the chunk that it arrived in."""
        ends = [0, *self._ends[:index]]
        parts = [
            self._labels(chunk)[start:end].cpu()
            for chunk, (start, end) in enumerate(itertools.pairwise(ends))
        ]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def _balanced(ranks: Tensor, labels: Tensor, memory: int) -> Tensor:
    """Places of the lowest ranks of each class, `memory` in all: first one of each, then a second of each."""
    turns = torch.empty_like(ranks)
    for label in range(int(labels.max()) + 1 if len(labels) else 0):
        of_class = (labels == label).nonzero().flatten()
        turns[of_class[ranks[of_class].argsort()]] = torch.arange(len(of_class))
    ties_by_rank = ranks.argsort()
    return ties_by_rank[turns[ties_by_rank].argsort(stable=True)][:memory]


def limited(
    source: Source,
    *,
    chunks: int = 10,
    memory: int = 5000,
    sample: Sample = "reservoir",
    label_noise: Sequence[float] | float = 0.0,
    validation: float = 0.0,
    order: Order = "random",
    seed: int = 0,
) -> Stream:
    """Data arrive in equal parts; of what came before only a sample is kept.

    The paper's continual learning with limited access keeps 5,000 (in an unmerged pull request of the official
    code, whose memory is no sample: at the tenth chunk of CIFAR-10 it holds two classes). `memory=0` leaves the new
    chunk alone, as FIRE and AID have it. `chunk.everything` is all that came, for retraining from scratch.

    Args:
        source: the data.
        chunks: number of parts, 1 or more.
        memory: how many earlier examples are kept, 0 or more.
        sample: "reservoir": each earlier example with the same chance; "balanced": as many of each class.
        label_noise: share of wrong labels in each chunk, in [0, 1], drawn anew for what is remembered; or one
            number for all.
        validation: share that is set aside for choosing, in [0, 1); labelled like what is trained on.
        order: "random", or "time": as the examples came, where the source knows.
        seed: what order, sample and noise are drawn from.

    Returns:
        A stream of `chunks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or a chunk would be empty.

    Reference:
        Lee et al., "Slow and Steady Wins the Race", ICML 2024, arXiv 2406.02596.

    Example:
        >>> from hare_tortoise.streams import limited, load_source
        >>> stream = limited(load_source("digits"), chunks=4, memory=100)
        >>> [(len(chunk.train), len(chunk.everything)) for chunk in stream]
        [(350, 350), (450, 700), (450, 1050), (450, 1400)]
    """
    return Remembering(
        source,
        memory=memory,
        sample=sample,
        name="limited",
        **equal_parts(len(source.train_targets), chunks),
        noise=for_each_chunk(label_noise, chunks),
        validation=validation,
        order=order,
        seed=seed,
    )
