"""How returns, scores and their differences are written where people read: with both ends of their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hare_tortoise.lab.statistics import Estimate

SCORE = 3
"""Decimals of human-normalised scores."""

AGGREGATE_NAMES: Mapping[str, str] = {
    "iqm": "IQM",
    "median": "median",
    "mean": "mean",
    "optimality_gap": "optimality gap",
}


def span(estimate: Estimate | None, *, decimals: int | None = None) -> str:
    """Write a figure with the ends of its interval, which need not lie alike on both sides.

    Args:
        estimate: None where there is none.
        decimals: of all three; None: as many as the largest of them calls for.

    Example:
        >>> span(Estimate(4.126, 2.98, 5.27, 5)), span(Estimate(7361.0, None, None, 2)), span(None)
        ('4.13 (2.98 to 5.27)', '7,361', '–')
        >>> span(Estimate(0.3419, 0.3104, 0.38, 5), decimals=3)
        '0.342 (0.310 to 0.380)'
    """
    if estimate is None:
        return "–"
    places = _decimals(estimate) if decimals is None else decimals
    mean = _write(estimate.mean, places)
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} ({_write(estimate.low, places)} to {_write(estimate.high, places)})"


def change(estimate: Estimate | None, *, decimals: int | None = None) -> str:
    """Write a difference with the ends of its interval; ``*`` marks one that excludes zero.

    More decimals are kept where rounding would hide on which side of zero the interval lies.

    Args:
        estimate: None where there is none.
        decimals: as in `span`.

    Example:
        >>> change(Estimate(3.1, -0.2, 6.4, 5)), change(Estimate(31.0, 0.04, 62.0, 5))
        ('+3.10 (−0.20 to +6.40)', '+31.00 (+0.04 to +62.00)*')
        >>> change(Estimate(-0.0001, None, None, 2)), change(None)
        ('0.000', '–')
    """
    if estimate is None:
        return "–"
    places = _decimals(estimate) if decimals is None else decimals
    if estimate.low is None or estimate.high is None:
        return _signed(estimate.mean, places)
    nearest = min(abs(estimate.low), abs(estimate.high))
    while estimate.sign and round(nearest, places) == 0 and places < 12:
        places += 1
    written = (_signed(value, places) for value in (estimate.mean, estimate.low, estimate.high))
    mean, low, high = written
    return f"{mean} ({low} to {high}){'*' if estimate.sign else ''}"


def in_words(text: str) -> str:
    """Write a difference in a sentence: without the mark of a table.

    Example:
        >>> in_words("+3.10 (+0.20 to +6.40)*")
        '+3.10, +0.20 to +6.40'
    """
    return text.rstrip("*").replace(" (", ", ").rstrip(")")


def amount(value: float) -> str:
    """Write a number with as many decimals as its size calls for.

    Example:
        >>> amount(0.5), amount(12.25), amount(-1234.0)
        ('0.500', '12.2', '−1,234')
    """
    return _write(value, _places([value]))


def games_in(games: Sequence[str]) -> str:
    """Name games in a sentence: with what is common to all named once.

    Example:
        >>> games_in(["minatar:breakout", "minatar:asterix"]), games_in(["CartPole-v1"])
        ('minatar: breakout, asterix', 'CartPole-v1')
    """
    parts = [game.rpartition(":") for game in games]
    if len(games) > 1 and parts[0][0] and len({kind for kind, _, _ in parts}) == 1:
        return f"{parts[0][0]}: {', '.join(name for _, _, name in parts)}"
    return ", ".join(games)


def file_name(game: str) -> str:
    """Name a file after a game or a sequence.

    Example:
        >>> file_name("minatar:breakout"), file_name("minatar:breakout > minatar:asterix")
        ('minatar-breakout', 'minatar-breakout-minatar-asterix')
    """
    words = "".join(letter if letter.isalnum() or letter in "_." else "-" for letter in game)
    return "-".join(part for part in words.split("-") if part)


def _decimals(estimate: Estimate) -> int:
    return _places([v for v in (estimate.mean, estimate.low, estimate.high) if v is not None])


def _places(values: Sequence[float]) -> int:
    size = max(abs(value) for value in values)
    return next((places for limit, places in ((1, 3), (10, 2), (100, 1)) if size < limit), 0)


def _write(value: float, places: int) -> str:
    text = f"{value:,.{places}f}"
    return (f"{0:.{places}f}" if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def _signed(value: float, places: int) -> str:
    text = _write(value, places)
    return text if text.startswith("−") or round(value, places) == 0 else f"+{text}"
