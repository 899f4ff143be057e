"""What an agent is made of: every value of a value-based agent and of the protocol that it is trained under."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from hare_tortoise.lab.spec import Call, parse, read_value
from hare_tortoise.rl.ring import MOST_STACKED
from hare_tortoise.rl.schedules import read_schedule
from hare_tortoise.streams.names import unknown

OURS = "ours"

# the least that a whole number may be
_WHOLE = {
    **dict.fromkeys(("hidden", "batch", "capacity", "steps", "act_every", "copy_every", "stack", "jumps"), 1),
    **dict.fromkeys(("warm_up", "shift"), 0),
}
_NOT_NEGATIVE = ("intensity", "weight_decay", "prediction", "replay_ratio", "priority_exponent")
# the least and the most that a number, or a schedule at any count, may be
_SCHEDULED: Mapping[str, tuple[float, float]] = {
    "n_step": (1, math.inf),
    "discount": (0, 1),
    "epsilon": (0, 1),
    "importance": (0, 1),
}
# values that only count where another one is this
_HEARD = {
    "decay": ("target", "average"),
    "copy_every": ("target", "copy"),
    "priority_exponent": ("replay", "prioritised"),
    "importance": ("replay", "prioritised"),
}
_ABOUT_ITSELF = ("name", "description", "sources")
_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    type(None): "None",
}


@dataclass(frozen=True, kw_only=True)
class AgentRecipe:
    """A value-based agent, composed of parts, and how it is trained.

    Args:
        name: what it is called on the command line.
        description: one line.
        sources: where each value comes from, by the name of the value; what is not named there is ours.
        encoder: ``nature(padding=valid)``, ``nature(padding=same)``, ``impala(width=1)``, ``minatar``, ``mlp``, or the
            user's own ``package.module:function`` from an input shape to a module with an attribute ``features``.
        hidden: width of the hidden layer of the head; of each of its two streams where it is dueling.
        dueling: values are a value plus the advantages, less their mean over the legal actions (Wang et al., 2016).
        atoms: of the distribution of returns between -10 and 10 (C51, Bellemare et al., 2017); None: a scalar value.
        noisy: linear layers of the head explore by noise (Fortunato et al., 2018).
        shared_hidden: the two streams of a dueling head share one hidden layer.
        layer_norm: a LayerNorm before each activation, of the encoder and of the head.
        double: the online network chooses the action that the target network values (van Hasselt et al., 2016).
        n_step: steps of reward before a value stands in; a number, or a schedule of the updates since a reset.
        discount: of one step, between 0 and 1; likewise.
        clip_rewards: rewards are trained on in [-1, 1].
        lives_end: a lost life ends the return, in training only; the game goes on.
        stack: observations that the network sees at once.
        batch: rows of a gradient step.
        replay_ratio: gradient steps for each step of the agent.
        lr: of Adam.
        adam_epsilon: of Adam.
        weight_decay: decoupled, of matrices and kernels only.
        clip: largest norm of the gradient; None: any.
        replay: rows are drawn alike, or by their priority (Schaul et al., 2016).
        priority_exponent: of the priorities.
        importance: exponent of the weights that correct for it; a number, or a schedule of the steps since the warm-up.
        capacity: steps that are remembered, of each agent; more than those of a return and a stack.
        warm_up: steps of random play before the first gradient step; more than those of a return.
        epsilon: share of random actions in training: a number, or a schedule of the steps since the warm-up.
        evaluation_epsilon: the same in evaluation.
        shift: pixels that an observation is moved by at most, both ways; 0: it is not.
        intensity: scale of the noise that an observation is multiplied by; 0: none.
        target: the target network is an average of the online one, or a copy of it now and then.
        decay: of the average.
        copy_every: updates between copies.
        acts: which network plays, in training and in evaluation.
        prediction: weight of the prediction of the own future representations (SPR, Schwarzer et al., 2021); 0: none.
        jumps: steps that are predicted ahead.
        act_every: updates between the acts of methods that act at new data.
        after_act: what the target network gets where a method gives the online one new weights: the same, its own, or
            nothing.
        steps: of the agent, all in all.
        precision: of the forward and backward pass; "auto": half where the device is quick in it (`precision_of`).

    Raises:
        ValueError: A value is out of its range, or does not fit another.
    """

    name: str
    description: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    encoder: str = "nature(padding=valid)"
    hidden: int = 512
    dueling: bool = True
    atoms: int | None = 51
    noisy: bool = False
    shared_hidden: bool = False
    layer_norm: bool = False
    double: bool = True
    n_step: int | str = 10
    discount: float | str = 0.99
    clip_rewards: bool = True
    lives_end: bool = True
    stack: int = 4
    batch: int = 32
    replay_ratio: float = 2.0
    lr: float = 1e-4
    adam_epsilon: float = 1.5e-4
    weight_decay: float = 0.0
    clip: float | None = 10.0
    replay: Literal["uniform", "prioritised"] = "uniform"
    priority_exponent: float = 0.5
    importance: float | str = 0.5
    capacity: int = 100_000
    warm_up: int = 1_600
    epsilon: float | str = "linear(first=1.0, last=0.01, steps=5000)"
    evaluation_epsilon: float = 0.001
    shift: int = 4
    intensity: float = 0.05
    target: Literal["average", "copy"] = "average"
    decay: float = 0.99
    copy_every: int = 1
    acts: Literal["target", "online"] = "target"
    prediction: float = 0.0
    jumps: int = 5
    act_every: int = 40_000
    after_act: Literal["same", "own", "keep"] = "same"
    steps: int = 100_000
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            _require(self, name, _is_whole(value) and value >= least, f"a whole number of {least} or more")
        for name in _NOT_NEGATIVE:
            _require(self, name, _is_between(getattr(self, name), 0), "a number of 0 or more")
        for name in ("lr", "adam_epsilon"):
            value = getattr(self, name)
            _require(self, name, _is_between(value, 0) and value > 0, "a number above 0")
        _require(self, "decay", _is_between(self.decay, 0, 1) and self.decay < 1, "a number in [0, 1)")
        _require(self, "evaluation_epsilon", _is_between(self.evaluation_epsilon, 0, 1), "a share, 0 to 1")
        some = self.atoms is None or (_is_whole(self.atoms) and self.atoms >= 2)
        _require(self, "atoms", some, "a whole number of 2 or more, or None for a scalar value")
        limit = self.clip is None or (_is_between(self.clip, 0) and self.clip > 0)
        _require(self, "clip", limit, "a number above 0, or None for any gradient")
        for name, hint in _hints().items():
            if hint is bool:
                _require(self, name, isinstance(getattr(self, name), bool), "True or False")
            if choices := [str(choice) for choice in get_args(hint) if isinstance(choice, str)]:
                _require(self, name, getattr(self, name) in choices, " or ".join(choices))
        for name, (low, high) in _SCHEDULED.items():
            self._check_schedule(name, low, high)
        self._check_room()
        self._check_parts()
        if unsourced := sorted(self.sources.keys() - {each.name for each in dataclasses.fields(self)}):
            raise ValueError(f"sources: got {unsourced}, which are no values of a recipe")

    def _check_schedule(self, name: str, low: float, high: float) -> None:
        within = all(_is_between(end, low, high) for end in self._ends(name))
        _require(self, name, within, f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}")

    def _check_room(self) -> None:
        steps = self._ends("n_step")
        _require(
            self, "n_step", len(steps) > 1 or steps[0] == round(steps[0]), "a whole number, or a schedule"
        )
        longest = round(max(steps))
        _require(self, "warm_up", self.warm_up > longest, f"more than the {longest} steps of a return")
        _require(self, "stack", self.stack <= MOST_STACKED, f"{MOST_STACKED} at most")
        room = longest + self.stack
        _require(
            self, "capacity", self.capacity > room, f"more than the {room} steps of a return and a stack"
        )
        seen = self.jumps if self.prediction else 0
        _require(self, "capacity", self.capacity > seen, f"more than the {seen} steps that are predicted")

    def _check_parts(self) -> None:
        if parse(self.encoder).name == "mlp":
            for name in ("prediction", "shift"):
                if getattr(self, name):
                    raise ValueError(
                        f"{name}: got an encoder of vectors, expected one of images; set {name}=0"
                    )
        if self.shared_hidden and not self.dueling:
            raise ValueError(
                "shared_hidden: a head that is not dueling has nothing to share; set shared_hidden=False"
            )

    def _ends(self, name: str) -> list[float]:
        """What a value lies between at any count: that of a number, or the first and the last of a schedule."""
        try:
            state = read_schedule(getattr(self, name)).state_dict()
        except ValueError as error:
            raise ValueError(f"{name} of recipe {self.name}: {error}") from None
        return [state[key] for key in ("value", "first", "last") if key in state]

    def replace(self, **changes: Any) -> AgentRecipe:
        """Give the recipe with some values changed; those are then ours.

        Raises:
            ValueError: There is no such value, it is out of its range, or it would be ignored.

        Example:
            >>> recipe = AgentRecipe(name="mine", sources={"lr": "a paper", "batch": "a paper"})
            >>> changed = recipe.replace(lr=1e-3)
            >>> changed.source("lr"), changed.source("batch")
            ('ours', 'a paper')
        """
        names = [each.name for each in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise unknown(f"value of recipe {self.name}", name, names)
        changed = {name for name, value in changes.items() if value != getattr(self, name)}
        sources = {name: source for name, source in self.sources.items() if name not in changed}
        found = dataclasses.replace(self, **{"sources": sources, **changes})
        for name in sorted(changed & _HEARD.keys()):
            other, needed = _HEARD[name]
            if getattr(found, other) != needed:
                raise ValueError(
                    f"{name} of recipe {self.name} would be ignored: got {other}={getattr(found, other)}, expected "
                    f"{other}={needed} with it; set that, or leave {name} out"
                )
        return found

    def override(self, settings: Mapping[str, str]) -> AgentRecipe:
        """Change values that were written on the command line.

        Args:
            settings: name and text of each, such as ``{"lr": "3e-4", "atoms": "None", "epsilon": "constant(0.1)"}``.

        Raises:
            ValueError: There is no such value, it has another form, or it is out of its range.

        Example:
            >>> AgentRecipe(name="mine").override({"n_step": "3", "target": "copy"}).n_step
            3
        """
        hints = _hints()
        changes = {}
        for name, text in settings.items():
            if name not in hints:
                raise unknown(f"value of recipe {self.name}", name, hints)
            changes[name] = _coerce(name, text, hints[name])
        return self.replace(**changes)

    def updates(self, steps: int) -> int:
        """Count the gradient steps that are made by the end of so many steps of a game.

            ⌊replay_ratio · (steps − warm_up)⌋

        Example:
            >>> recipe = AgentRecipe(name="mine", warm_up=100, replay_ratio=0.1)
            >>> [recipe.updates(steps) for steps in (100, 109, 110, 1_100)]
            [0, 0, 1, 100]
        """
        # a ratio such as 0.29 is a little less than what is written
        return math.floor(self.replay_ratio * max(0, steps - self.warm_up) + 1e-9)

    def source(self, name: str) -> str:
        """Say where a value comes from."""
        return self.sources.get(name, OURS)

    def to_json(self) -> dict[str, Any]:
        """Give all that an agent depends on, as a JSON value."""
        content = dataclasses.asdict(self)
        for name in _ABOUT_ITSELF:
            del content[name]
        return content


def _require(recipe: AgentRecipe, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(
            f"{name} of recipe {recipe.name}: got {getattr(recipe, name)!r}, expected {expected}"
        )


def _is_between(value: object, low: float, high: float = math.inf) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and low <= value <= high


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _hints() -> dict[str, Any]:
    """The type of each value, by its name."""
    return {name: hint for name, hint in get_type_hints(AgentRecipe).items() if name not in _ABOUT_ITSELF}


def _coerce(name: str, text: str, hint: Any) -> Any:
    """Read a value of a type."""
    kinds = get_args(hint) or (hint,)
    if hint is str or all(isinstance(kind, str) for kind in kinds):
        return text  # choices are checked with all the rest
    value = read_value(text)
    if isinstance(value, Call) and str in kinds:
        return text
    numbers = (*kinds, int) if float in kinds else kinds
    if type(value) not in numbers or isinstance(value, str):
        expected = " or ".join(_KINDS[kind] for kind in kinds if kind is not str)
        schedule = ", or a schedule such as linear(first=1.0, last=0.1, steps=5000)" if str in kinds else ""
        raise ValueError(f"{name}: got {text!r}, expected {expected}{schedule}")
    return value
