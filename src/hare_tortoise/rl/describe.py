"""The protocol of an agent in full: in words first, then every value with where it comes from."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator

from hare_tortoise.lab.spec import parse
from hare_tortoise.rl import atari, minatar
from hare_tortoise.rl.environments import full_name, library_of
from hare_tortoise.rl.gymnasium_games import MAX_STEPS, step_limit
from hare_tortoise.rl.recipe import AgentRecipe

_PLATFORM_OF = {"minatar": "MinAtar", "mlp": "gymnasium"}  # of others it is ale-py
_SELF = ("name", "description", "sources")


def describe(recipe: AgentRecipe, game: str | None = None, *, width: int = 100) -> str:
    r"""Say what an agent is made of and how it is trained and judged.

    Args:
        recipe: of the agent.
        game: that it plays; None: the protocol of the platform that its encoder is for.
        width: of a line.

    Raises:
        ValueError: There is no such game; the nearest names are in the message.

    Example:
        >>> from hare_tortoise.rl.recipes import find_agent
        >>> text = describe(find_agent("drq-eps"), "atari:Pong")
        >>> print("\n".join(text.splitlines()[:6]))
        drq-eps on atari:Pong
        DrQ(eps) as published (Agarwal et al., 2021): the target is a copy at each step, so no target
        <BLANKLINE>
        game           Atari-100k by ale-py: no sticky actions; an action is held for 4 frames and the
                       maximum of the last 2 is shown, grey, 84 × 84; the minimal actions of the game; up to
                       30 no-ops before an episode (ale-py: 0 to 29 frames), fire is not pressed.
        >>> "SAME padding" in text
        True
    """
    name = None if game is None else full_name(game)
    platform = _PLATFORM_OF.get(parse(recipe.encoder).name, "ale-py") if name is None else library_of(name)
    title = recipe.name if name is None else f"{recipe.name} on {name}"
    lines = [title, *filter(None, [recipe.description]), ""]
    for topic, sentence in _sentences(recipe, platform, name):
        lines += textwrap.wrap(sentence, width, initial_indent=f"{topic:<15}", subsequent_indent=" " * 15)
    return "\n".join([*lines, "", "every value, and where it comes from", *_table(recipe)]) + "\n"


def _sentences(recipe: AgentRecipe, platform: str, name: str | None) -> Iterator[tuple[str, str]]:
    yield "game", _GAME[platform]
    yield "episodes", _episodes(platform, name)
    yield "lives", _lives(recipe, platform)
    yield "rewards", _rewards(recipe)
    yield "observations", _observations(recipe)
    yield "encoder", _encoder(recipe)
    yield "head", _head(recipe)
    yield "target", _target(recipe)
    yield "who acts", _acts(recipe)
    yield "warm-up", f"{recipe.warm_up:,} steps of random play come before the first gradient step."
    yield "exploration", _exploration(recipe)
    yield "evaluation", _evaluation(recipe)
    yield "replay", _replay(recipe)
    yield "updates", _updates(recipe)
    if recipe.prediction:
        steps, weight = recipe.jumps, recipe.prediction
        yield "prediction", f"Self-prediction of SPR, {steps} steps ahead, with a weight of {weight:g}."
    yield "methods", _methods(recipe)
    yield (
        "length",
        f"{recipe.steps:,} steps of the agent{_frames(recipe, platform)}, on each game of a sequence.",
    )


_GAME = {
    "ale-py": (
        f"Atari-100k by ale-py: no sticky actions; an action is held for {atari.FRAMES_PER_STEP} frames and the "
        "maximum of the last 2 is shown, grey, 84 × 84; the minimal actions of the game; up to 30 no-ops before an "
        "episode (ale-py: 0 to 29 frames), fire is not pressed."
    ),
    "MinAtar": (
        f"MinAtar by its own protocol: sticky actions, the last one is repeated with probability {minatar.STICKY:g}; "
        "the difficulty rises as a game goes on; 10 × 10 planes of bits; no frames are skipped and no no-ops made; the "
        "minimal actions of the game."
    ),
    "gymnasium": (
        "As gymnasium makes it, or the user's own function: nothing is skipped, repeated or padded; actions are "
        "numbered, observations are vectors or images."
    ),
}


def _episodes(platform: str, name: str | None) -> str:
    if platform == "gymnasium":
        limit = None if name is None else step_limit(name)
        cut = (
            f"Cut by the environment, after {MAX_STEPS:,} steps at the latest"
            if limit is None
            else f"Cut after {limit:,} steps"
        )
        return f"{cut}; values are bootstrapped where an episode is cut and not over."
    steps = atari.MAX_STEPS if platform == "ale-py" else minatar.MAX_STEPS
    frames = f" ({steps * atari.FRAMES_PER_STEP:,} frames)" if platform == "ale-py" else ""
    return f"Cut after {steps:,} steps{frames}; values are bootstrapped there, as the game is not over."


def _lives(recipe: AgentRecipe, platform: str) -> str:
    if platform != "ale-py":
        return "No lives are told; the end of a game is the end of its return."
    if not recipe.lives_end:
        return "A lost life ends nothing, in training as in evaluation."
    return (
        "A lost life ends the return in training only: it is terminal for the values and empties the stack, the game "
        "goes on and is not restarted. Evaluation is of whole games."
    )


def _rewards(recipe: AgentRecipe) -> str:
    clipped = "Clipped to [-1, 1]" if recipe.clip_rewards else "As the game gives them, not clipped,"
    return f"{clipped} in training; returns of {recipe.n_step} steps, discount {recipe.discount}."


def _observations(recipe: AgentRecipe) -> str:
    seen = (
        "One at a time"
        if recipe.stack == 1
        else f"The last {recipe.stack} at once, zeros before an episode begins"
    )
    changes = []
    if recipe.shift:
        changes.append(f"shifted by up to {recipe.shift} pixels")
    if recipe.intensity:
        changes.append(f"made brighter or darker (scale {recipe.intensity:g})")
    augmented = (
        f"both of a transition are {' and '.join(changes)} at random" if changes else "no augmentation"
    )
    return f"{seen}; {augmented}."


def _encoder(recipe: AgentRecipe) -> str:
    call = parse(recipe.encoder)
    normalised = ", a LayerNorm before each activation" if recipe.layer_norm else ""
    if call.external:
        return f"The user's own {call.name}{normalised}."
    if call.name == "nature":
        if dict(call.settings).get("padding", "valid") == "same":
            return (
                "Nature encoder with SAME padding, as in Dopamine and BBF, of which most published scores are: 7,744 "
                f"features of 84 × 84 pixels{normalised}."
            )
        return (
            "Nature encoder with VALID padding, that is none, as first published and as in PLASTIC: 3,136 features of "
            f"84 × 84 pixels{normalised}."
        )
    if call.name == "impala":
        width = dict(call.settings).get("width", 1)
        return f"IMPALA's residual encoder with SAME padding, {width} times as wide as published{normalised}."
    if call.name == "minatar":
        return f"MinAtar's one convolution, 16 of 3 × 3 with VALID padding, that is none{normalised}."
    return f"One linear layer with a ReLU ({call}){normalised}; no padding, as nothing is convolved."


def _head(recipe: AgentRecipe) -> str:
    shape = f"one hidden layer of {recipe.hidden}"
    if recipe.dueling:
        streams = "which share" if recipe.shared_hidden else "each with"
        shape = f"dueling, two streams {streams} a hidden layer of {recipe.hidden}"
    values = (
        f"a distribution of {recipe.atoms} atoms from -10 to 10 (C51)" if recipe.atoms else "a value (Huber)"
    )
    noise = "; noisy layers" if recipe.noisy else ""
    return f"{shape[0].upper()}{shape[1:]}; {values} for each action{noise}."


def _target(recipe: AgentRecipe) -> str:
    chosen = "the online network chooses the action that the target values (double)"
    double = chosen if recipe.double else "it values its own best action (not double)"
    if recipe.target == "average":
        return (
            f"The target network is the tortoise: an average of the online network with decay {recipe.decay:g}, a "
            f"horizon of {1 / (1 - recipe.decay):,.0f} updates (a method that averages brings its own); {double}."
        )
    if recipe.copy_every == 1:
        return (
            f"The target network is a copy of the online one after each update, so it does not lag; {double}."
        )
    return f"The target network is a copy of the online one every {recipe.copy_every:,} updates; {double}."


def _acts(recipe: AgentRecipe) -> str:
    which = "target network (the tortoise)" if recipe.acts == "target" else "online network"
    return f"The {which} plays in training, is the one that is evaluated, and is what is deployed."


def _exploration(recipe: AgentRecipe) -> str:
    noise = ", and noise in the layers" if recipe.noisy else ""
    return f"Epsilon after the warm-up, by the steps since: {recipe.epsilon}{noise}."


def _evaluation(recipe: AgentRecipe) -> str:
    noise = ", noisy layers without noise" if recipe.noisy else ""
    return (
        "One whole game in each of many environments (100 by default), none dropped, with seeds of its own, epsilon "
        f"{recipe.evaluation_epsilon:g}{noise}; returns as the game gives them."
    )


def _replay(recipe: AgentRecipe) -> str:
    how = "drawn alike"
    if recipe.replay == "prioritised":
        how = (
            f"drawn by priority (exponent {recipe.priority_exponent:g}, importance weights with exponent "
            f"{recipe.importance})"
        )
    return f"The last {recipe.capacity:,} steps; batches of {recipe.batch} {how}."


def _updates(recipe: AgentRecipe) -> str:
    name = "AdamW, decay on matrices and kernels only," if recipe.weight_decay else "Adam"
    clip = (
        "gradients are not clipped"
        if recipe.clip is None
        else f"gradients clipped to a norm of {recipe.clip:g}"
    )
    return (
        f"Gradient steps for each step of the agent: {recipe.replay_ratio:g}; {name} with lr {recipe.lr:g}, epsilon "
        f"{recipe.adam_epsilon:g}; {clip}; precision {recipe.precision}."
    )


def _methods(recipe: AgentRecipe) -> str:
    updates = int((recipe.steps - recipe.warm_up) * recipe.replay_ratio)
    acts = max(0, updates // recipe.act_every - 1)
    target = {"same": "the same new weights", "own": "new weights of its own draw", "keep": "none of them"}
    return (
        "Those that act at new data (head reset, Shrink & Perturb, plasticity injection, …) act every "
        f"{recipe.act_every:,} updates, unless less than one such interval is left; of {updates:,} updates {acts} have "
        f"one. The target network gets {target[recipe.after_act]}; the optimizer's state of what changed and the "
        "schedules begin anew. Those that average (Hare & Tortoise, EMA) act at each update, on the target network. "
        "ReDo looks as often as its own `every` says; with after_act=same the target network gets the units that it "
        "renews, else it keeps its own."
    )


def _frames(recipe: AgentRecipe, platform: str) -> str:
    return f" ({recipe.steps * atari.FRAMES_PER_STEP:,} frames)" if platform == "ale-py" else ""


def _table(recipe: AgentRecipe) -> list[str]:
    """A line for each value: name, value, source."""
    values = {
        field.name: str(getattr(recipe, field.name))
        for field in dataclasses.fields(recipe)
        if field.name not in _SELF
    }
    widest = max(map(len, values.values()))
    return [f"  {name:<18} {value:<{widest}}  {recipe.source(name)}" for name, value in values.items()]
