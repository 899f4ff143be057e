"""What a comparison of agents holds: figures of each game and method, of sequences, over games; and its JSON."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from hare_tortoise.lab.entries import Failure
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.rl.report.averaging import Averaging
from hare_tortoise.rl.trial import THEN


@dataclass(frozen=True)
class Against:
    """A method minus a reference in one figure, paired on the seeds that both finished.

    Args:
        reference: the method that is subtracted.
        difference: of the figure.
        improvement: share of these seeds on which the figure is above the reference's, ties half.
    """

    reference: str
    difference: Estimate
    improvement: float

    @property
    def smallest(self) -> float | None:
        """The smallest difference that as many seeds that scatter alike could tell from none; None below 3 seeds."""
        return _half_width(self.difference)


def alike(gain: Estimate) -> bool:
    """Whether nothing differs on any seed: a method that never acted, or whose act changed nothing."""
    return gain.mean == gain.low == gain.high == 0


def _half_width(found: Estimate | None) -> float | None:
    """None where there is no interval, or one without width: values that are all alike say nothing of the spread."""
    if found is None or found.low is None or found.high is None or found.low == found.high:
        return None
    return (found.high - found.low) / 2


@dataclass(frozen=True)
class Figure:
    """One figure of a method.

    Args:
        name: of the figure.
        value: over the seeds; the interval is Student's t.
        differences: to the references of the method, in their order.
    """

    name: str
    value: Estimate
    differences: tuple[Against, ...]

    def to(self, reference: str) -> Against | None:
        """Give the difference to a reference; None where there is none."""
        return next((found for found in self.differences if found.reference == reference), None)


RETURN, NORMALISED, TRAINING = "return", "human-normalised score", "training return"
"""Figures of every game: of whole games at the end; the same between random and human play; while it trains."""


@dataclass(frozen=True)
class Revisit:
    """A game that a sequence comes back to: is as much learned the last time as the first?

    Args:
        game: which.
        first: the phase that it is played in first, from 0.
        last: the phase that it is played in last.
        figures: the return at the end of the last phase minus that at the end of the first, and the same of the
            training return.
    """

    game: str
    first: int
    last: int
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class AgentEntry:
    """What a method reached on a game, or on a sequence of them.

    Args:
        games: one, or those of the sequence in order.
        method: as written in the experiment.
        seeds: those that finished; every figure is over these.
        missing: seeds that were not run (yet).
        failures: seeds that stopped before their end. They are in no figure.
        figures: of the last phase: `RETURN`, `NORMALISED` where the game is one of Atari-100k, `TRAINING` where an
            episode ended in its second half.
        seconds: of training, mean over the seeds.
        matrix: of a sequence, ``matrix[i][j]`` the return on the game of phase j after phase i, over the seeds.
        sequence: figures of that matrix: what is kept and lost over the sequence.
        revisits: games that the sequence comes back to.
    """

    games: tuple[str, ...]
    method: str
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    failures: tuple[Failure, ...]
    figures: tuple[Figure, ...]
    seconds: float | None
    matrix: tuple[tuple[Estimate, ...], ...] = ()
    sequence: tuple[Figure, ...] = ()
    revisits: tuple[Revisit, ...] = ()

    @property
    def game(self) -> str:
        """The game, or the sequence, in one word of a table."""
        return THEN.join(self.games)

    def figure(self, name: str) -> Figure | None:
        """Give a figure by name; None where it is not known."""
        return next((figure for figure in (*self.figures, *self.sequence) if figure.name == name), None)


@dataclass(frozen=True)
class Named:
    """A number with its name.

    Args:
        name: of an aggregate: "iqm", "median", "mean" or "optimality_gap"; or of a game.
        value: of ours with the interval of the stratified bootstrap from 3 seeds on; of others' with the interval that
            they stated.
    """

    name: str
    value: Estimate


@dataclass(frozen=True)
class AcrossDifference:
    """A method minus a reference over several games, on the seeds that both finished on all of them.

    Args:
        reference: the method that is subtracted.
        aggregates: differences of the aggregates, runs of a seed drawn together, their intervals `widened` by what few
            runs make them too narrow by; empty without a common scale.
        improvement: probability that a run beats one of the reference on the same game, whatever the seeds of both,
            mean over the games; its interval is widened too.
    """

    reference: str
    aggregates: tuple[Named, ...]
    improvement: Estimate

    def aggregate(self, name: str) -> Estimate | None:
        """Give the difference of an aggregate by name; None where it is not known."""
        return next((found.value for found in self.aggregates if found.name == name), None)

    @property
    def smallest(self) -> float | None:
        """The smallest difference of the IQM that as many seeds could tell from none; None below 3 seeds."""
        return _half_width(self.aggregate("iqm"))


@dataclass(frozen=True)
class Point:
    """A place of a curve.

    Args:
        step: of the agents.
        value: the IQM there.
    """

    step: int
    value: Estimate


@dataclass(frozen=True)
class AcrossEntry:
    """What a method reached over several games.

    Args:
        method: as written in the experiment.
        seeds: those that finished on all games; every figure is over these.
        aggregates: of the human-normalised scores; empty without a common scale, or where no seed finished.
        profile: share of the runs whose score is above each threshold.
        curve: IQM along the steps.
        differences: to the references of the method.
    """

    method: str
    seeds: tuple[int, ...]
    aggregates: tuple[Named, ...]
    profile: tuple[Estimate, ...]
    curve: tuple[Point, ...]
    differences: tuple[AcrossDifference, ...]

    def aggregate(self, name: str) -> Estimate | None:
        """Give an aggregate by name; None where it is not known."""
        return next((found.value for found in self.aggregates if found.name == name), None)


@dataclass(frozen=True)
class Across:
    """Methods over several games.

    Args:
        games: those that are put together.
        normalised: whether all are of Atari-100k, so that their scores have a common scale.
        thresholds: of the performance profiles.
        curve_of: what the curves are of: "evaluation" or "training".
        entries: one for each method.
    """

    games: tuple[str, ...]
    normalised: bool
    thresholds: tuple[float, ...]
    curve_of: str
    entries: tuple[AcrossEntry, ...]


@dataclass(frozen=True)
class Theirs:
    """What others published on the same games. None of it was made here.

    Args:
        label: name of the agent, that it is published, and of how many runs.
        source: where the figures were read.
        scores: raw score of each of our games that they have, mean over their runs.
        aggregates: over our games; those that they stated where these are the 26, else median and mean of `scores`.
    """

    label: str
    source: str
    scores: tuple[Named, ...]
    aggregates: tuple[Named, ...]


@dataclass(frozen=True)
class AgentComparison:
    """Methods on the same games with the same seeds.

    Args:
        recipe: name of that of the agents.
        description: of the recipe.
        games: each a game, or several in sequence.
        methods: in the experiment's order.
        seeds: how many the experiment asks for.
        steps: of an agent on each game.
        episodes: whole games that a return is the mean of.
        entries: one for each game and method, games outermost.
        averaging: decay, horizon and interval of the methods that put an average back.
        across: methods over several games; None where there are not several.
        published: what others published on the same games.
    """

    recipe: str
    description: str
    games: tuple[tuple[str, ...], ...]
    methods: tuple[str, ...]
    seeds: int
    steps: int
    episodes: int
    entries: tuple[AgentEntry, ...]
    averaging: tuple[Averaging, ...]
    across: Across | None
    published: tuple[Theirs, ...]

    def entry(self, games: tuple[str, ...], method: str) -> AgentEntry:
        """Give the entry of a method on a game, or on a sequence.

        Raises:
            KeyError: There is none.
        """
        for entry in self.entries:
            if (entry.games, entry.method) == (games, method):
                return entry
        raise KeyError((games, method))

    def to_json(self) -> dict[str, Any]:
        """Give the comparison as a JSON value."""
        content: dict[str, Any] = _plain(dataclasses.asdict(self))
        return content

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> AgentComparison:
        """Read what `to_json` gave."""
        found: AgentComparison = _read(AgentComparison, content)
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _read(kind: Any, value: Any) -> Any:
    """Read a value of a type: a dataclass, a tuple of equal things, one of these or None, or what it is."""
    if get_origin(kind) is types.UnionType:
        (kind,) = (part for part in get_args(kind) if part is not types.NoneType)
        return None if value is None else _read(kind, value)
    if get_origin(kind) is tuple:
        return tuple(_read(get_args(kind)[0], item) for item in value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(
            **{each.name: _read(hints[each.name], value[each.name]) for each in dataclasses.fields(kind)}
        )
    return value
