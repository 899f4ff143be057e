"""How methods and figures are written where people read: ``from-scratch+ema`` is *from scratch + EMA*."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START
from hare_tortoise.lab.spec import Call, parse_sum
from hare_tortoise.lab.statistics import Estimate

_NAMES = {
    FROM_SCRATCH: "from scratch",
    WARM_START: "warm start",
    "nothing": "plain agent",
    "ema": "EMA",
    "hare-tortoise": "Hare & Tortoise",
    "switch-ema": "Switch-EMA",
    "l2-init": "L2 Init",
    "shrink-perturb": "Shrink & Perturb",
    "l2": "L2",
    "wasserstein-init": "Wasserstein to init",
    "spectral-regularization": "spectral regularisation",
    "spectral-normalization": "spectral normalisation",
    "parseval": "Parseval",
    "self-distillation": "self-distillation",
    "c-chain": "C-CHAIN",
    "normalize-and-project": "Normalize-and-Project",
    "soft-shrink-perturb": "soft Shrink & Perturb",
    "dash": "DASH",
    "fire": "FIRE",
    "redo": "ReDo",
    "regrama": "ReGraMa",
    "continual-backprop": "Continual Backprop",
    "self-normalized-reset": "self-normalized resets",
    "crelu": "CReLU",
    "fourier": "deep Fourier features",
    "layer-norm": "LayerNorm",
    "aid": "AID",
    "upgd": "UPGD",
    "ada-upgd": "AdaUPGD",
    "sam": "SAM",
    "trac": "TRAC",
    "adam": "Adam",
    "adamw": "AdamW",
    "sgd": "SGD",
}


def labels(methods: Sequence[str]) -> dict[str, str]:
    """Name each method in words, with its settings only where the name alone would not tell two apart.

    Args:
        methods: compositions in the notation of recipes.

    Raises:
        ValueError: A text is not in the notation.

    Example:
        >>> labels(["from-scratch+ema(decay=0.9)", "ema(decay=0.9)", "ema(decay=0.99)"])["ema(decay=0.9)"]
        'EMA (decay=0.9)'
        >>> labels(["from-scratch+ema(decay=0.9)"])
        {'from-scratch+ema(decay=0.9)': 'from scratch + EMA'}
    """
    distinct = list(dict.fromkeys(methods))
    short = {method: " + ".join(_word(call) for call in parse_sum(method)) for method in distinct}
    for longer in (_long, str):
        counts = Counter(short.values())
        short = {method: longer(method) if counts[name] > 1 else name for method, name in short.items()}
    return short


def starts_anew(method: str) -> bool:
    """Whether a method draws a new network for each chunk: from scratch, alone or composed.

    Example:
        >>> starts_anew("from-scratch+ema"), starts_anew("warm-start")
        (True, False)
    """
    return any(call.name == FROM_SCRATCH for call in parse_sum(method))


def is_control(method: str) -> bool:
    """Whether a method is from scratch with something added, such as from scratch + EMA.

    What such a control gains over from scratch cannot come from continuing.

    Example:
        >>> is_control("from-scratch+ema"), is_control("from-scratch"), is_control("ema")
        (True, False, False)
    """
    return starts_anew(method) and method != FROM_SCRATCH


def percent(estimate: Estimate | None, *, interval: bool = True) -> str:
    """Write an accuracy in percent, with half the width of its interval.

    Example:
        >>> percent(Estimate(0.9812, 0.9712, 0.9912, 5)), percent(Estimate(0.5, None, None, 2)), percent(None)
        ('98.1 ± 1.0', '50.0', '–')
        >>> percent(Estimate(-0.0192, -0.0362, -0.0022, 5)), percent(Estimate(-0.0004, None, None, 2))
        ('−1.9 ± 1.7', '0.0')
    """
    if estimate is None:
        return "–"
    spread = f" ± {100 * estimate.half:.1f}" if interval and estimate.half is not None else ""
    mean = f"{100 * estimate.mean:.1f}"
    return f"{'0.0' if float(mean) == 0 else mean}{spread}".replace("-", "−")


def points(estimate: Estimate | None) -> str:
    """Write a difference in points of accuracy, with half the width of its interval.

    The second digit is kept where rounding would hide on which side of zero the interval lies.

    Example:
        >>> points(Estimate(-0.0131, -0.0182, -0.008, 5)), points(Estimate(0.0018, 0.0002, 0.0034, 5))
        ('−1.3 ± 0.5', '+0.18 ± 0.16')
    """
    if estimate is None:
        return "–"
    half = estimate.half
    hidden = estimate.sign and half is not None and round(abs(100 * estimate.mean), 1) <= round(100 * half, 1)
    digits = 2 if hidden else 1
    mean = f"{100 * estimate.mean:+.{digits}f}"
    if float(mean) == 0:
        mean = mean[1:]
    spread = "" if half is None else f" ± {100 * half:.{digits}f}"
    return f"{mean}{spread}".replace("-", "−")


def score_unit(score: str) -> str:
    """Say what the figures of a comparison are, for the line under its table.

    Example:
        >>> score_unit("accuracy"), score_unit("R²")
        ('accuracy in %', 'R² (share of variance explained) in %')
    """
    return f"{score}{' (share of variance explained)' if score.endswith('R²') else ''} in %"


def capital(text: str) -> str:
    """Begin a text with a capital letter.

    Example:
        >>> capital("online R²")
        'Online R²'
    """
    return text[:1].upper() + text[1:]


def share(value: float | None) -> str:
    """Write a share in percent.

    Example:
        >>> share(0.1), share(0.333), share(0.004), share(None)
        ('10 %', '33 %', '0.4 %', '–')
    """
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if 0 < value < 0.0095 else f"{100 * value:.0f} %"


def duration(seconds: float | None) -> str:
    """Write a length of time.

    Example:
        >>> duration(1.26), duration(75), duration(7260), duration(None)
        ('1.3 s', '1 min 15 s', '2 h 1 min', '–')
    """
    if seconds is None:
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def listing(items: Sequence[str]) -> str:
    """Join what is listed in a sentence.

    Example:
        >>> listing(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def added(method: str) -> str:
    """Name what a composition adds to from scratch: the same method, continued.

    Example:
        >>> added("from-scratch+ema(decay=0.99)"), added("ema(decay=0.99)")
        ('ema', 'ema')
    """
    names = [call.name for call in parse_sum(method)]
    return "+".join(name for name in names if name != FROM_SCRATCH) or FROM_SCRATCH


def scale_note(scale: str) -> str:
    """Say what the trainings were scaled down to; nothing where they were not.

    Example:
        >>> scale_note("desk"), scale_note("own")
        ('scaled down (desk)', '')
    """
    return "" if scale in ("paper", "own") else f"scaled down ({scale})"


def _word(call: Call) -> str:
    if call.external:
        return call.name.rsplit(":", 1)[1]
    # the optimizer of recipes that name none, with more decay: the decay is the method
    if call.name == "adamw" and [name for name, _ in call.settings] == ["weight_decay"]:
        return f"weight decay {call.settings[0][1]}"
    return _NAMES.get(call.name, call.name.replace("-", " "))


def _long(method: str) -> str:
    parts = []
    for call in parse_sum(method):
        inside = str(call)[len(call.name) :]
        parts.append(f"{_word(call)} {inside}".strip())
    return " + ".join(parts)
