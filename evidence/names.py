"""Names of methods short enough for a picture, and still none like another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hare_tortoise.lab.spec import Call, Value, parse_sum
from hare_tortoise.lab.wording import labels

# of a letter at 12 pixels in a wide font, such as a reader may have in place of the one that is named
LETTER = 7.2
_PAIR = "hare-tortoise"


def short_labels(methods: Sequence[str]) -> dict[str, str]:
    """Name each method as tables do, the settings of averages in few words.

    Args:
        methods: all those of a picture, in the notation of recipes.

    Example:
        >>> short_labels(["ema(decay=0.9)", "ema(decay=horizon(share=0.2))"])["ema(decay=horizon(share=0.2))"]
        'EMA horizon 20 %'
    """
    full = labels(methods)
    both = len(_states(methods)) > 1
    short = {
        method: " + ".join(_terse(call, both) for call in parse_sum(method)) if "(decay=" in name else name
        for method, name in full.items()
    }
    counts = Counter(short.values())
    return {method: name if counts[name] == 1 else full[method] for method, name in short.items()}


def legend(methods: Sequence[str]) -> str:
    """Say what the numbers in short names are; nothing where there are none."""
    states = _states(methods)
    if not states:
        return ""
    state = "; at each the optimizer's state is reset too" if "reset" in states else ""
    but = ", but where it says kept" if len(states) > 1 else ""
    return f"Hare & Tortoise: decay, steps between resets (%: of the chunk's steps){state}{but}"


def _states(methods: Sequence[str]) -> set[Value]:
    """What Hare & Tortoise does to the optimizer's state, over all that stand with their settings."""
    calls = (c for m, name in labels(methods).items() if "(decay=" in name for c in parse_sum(m))
    return {_state(call) for call in calls if call.name == _PAIR}


def _state(call: Call) -> Value:
    return dict(call.settings).get("optimizer_state", "keep")


def _terse(call: Call, both_states: bool) -> str:
    word = labels([call.name])[call.name]
    settings = dict(call.settings)
    if "decay" not in settings:
        return f"{word} ({_inside(call)})" if settings else word
    parts = [_number(settings.pop("decay"))]
    if (every := settings.pop("reset_every", None)) is not None:
        parts.append(f"every {_number(every)}")
    settings.pop("optimizer_state", None)
    parts += [f"{name}={value}" for name, value in settings.items()]
    if both_states and call.name == _PAIR and _state(call) == "keep":
        parts.append("state kept")
    return f"{word} {', '.join(parts)}"


def _number(value: Value) -> str:
    """A decay or an interval: a number, or what it follows."""
    if not isinstance(value, Call):
        return str(value)
    settings = dict(value.settings)
    share = settings.pop("share", None)
    warm = "warm " if settings.pop("warm", False) else ""
    if isinstance(share, float):  # the steps of the chunk are the trainer's business
        return f"{warm}{'' if value.name == 'portion' else f'{value.name} '}{100 * share:g} %"
    if value.name == "geometric":
        return f"{settings['first']}·{settings['factor']:g}^(step/{settings['period']})"
    inside = " ".join(map(str, (*value.positional, *settings.values())))
    return f"{value.name.replace('-', ' ')} {inside}"


def _inside(call: Call) -> str:
    return str(call)[len(call.name) + 1 : -1]
