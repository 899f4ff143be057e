"""The rules of the methods that reset units, in plain Python: numbers and lists, one unit after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from tests.methods.unit_oracle import Array, Chosen, Rule, Seen


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def mean_abs(rows: Array) -> list[float]:
    return [mean([abs(value) for value in row]) for row in rows.tolist()]


def below_share_of_the_mean(activity: list[float], threshold: float) -> list[int]:
    average = mean(activity)
    return [unit for unit, value in enumerate(activity) if value / average <= threshold]


def redo(threshold: float, every: int) -> Rule:
    return _compared(every, threshold, lambda seen: seen.activations)


def regrama(threshold: float, every: int, gradient: str = "weights") -> Rule:
    if gradient == "weights":
        return _compared(every, threshold, lambda seen: seen.weight_gradients)
    return _compared(every, threshold, lambda seen: seen.activation_gradients)


def _compared(every: int, threshold: float, what: Callable[[Seen], Mapping[str, Array]]) -> Rule:
    step = 0

    def rule(seen: Seen) -> Chosen:
        nonlocal step
        step += 1
        if step % every:
            return {}
        return {name: below_share_of_the_mean(mean_abs(rows), threshold) for name, rows in what(seen).items()}

    return rule


def continual_backprop(rate: str, maturity: int, decay: float, *, adaptable: bool) -> Rule:
    ages: dict[str, list[int]] = {}
    utilities: dict[str, list[float]] = {}
    means: dict[str, list[float]] = {}
    owed: dict[str, Fraction] = {}

    def rule(seen: Seen) -> Chosen:
        chosen = {}
        for name, rows in seen.activations.items():
            size = len(rows)
            age = ages.setdefault(name, [0] * size)
            utility = utilities.setdefault(name, [0.0] * size)
            average = means.setdefault(name, [0.0] * size)
            owed.setdefault(name, Fraction(0))
            for unit, row in enumerate(rows.tolist()):
                age[unit] += 1
                expected = average[unit] / (1 - decay ** age[unit]) if adaptable else 0.0
                use = mean([abs(value - expected) for value in row])
                use *= sum(abs(value) for value in seen.outgoing[name][unit].tolist())
                if adaptable:
                    use /= sum(abs(value) for value in seen.incoming[name][unit].tolist())
                utility[unit] = decay * utility[unit] + (1 - decay) * use
                average[unit] = decay * average[unit] + (1 - decay) * mean(row)
            mature = [unit for unit in range(size) if age[unit] > maturity]
            owed[name] += Fraction(rate) * len(mature)
            count = int(owed[name])
            owed[name] -= count
            corrected = {unit: utility[unit] / (1 - decay ** age[unit]) for unit in mature}
            chosen[name] = sorted(mature, key=lambda unit: corrected[unit])[:count]
            for unit in chosen[name]:
                age[unit], utility[unit], average[unit] = 0, 0.0, 0.0
        return chosen

    return rule


def self_normalized_reset(
    percentile: str, tau_max: int, every: int, renew_every: int, fires_above: float = 0.0
) -> Rule:
    """With a list of silences for each unit, where the method has histograms."""
    ages: dict[str, list[int]] = {}
    silences: dict[str, list[list[int]]] = {}
    limits: dict[str, list[int]] = {}
    step = 0

    def renewed(limit: int, ended: list[int]) -> int:
        if not ended:
            return 1
        within = Fraction(percentile) * len(ended)
        quantile = next(value for value in sorted(ended) if sum(gap <= value for gap in ended) >= within)
        return quantile if quantile < limit else min(2 * limit, tau_max)

    def rule(seen: Seen) -> Chosen:
        nonlocal step
        step += 1
        chosen: dict[str, list[int]] = {}
        for name, rows in seen.activations.items():
            size = len(rows)
            age = ages.setdefault(name, [0] * size)
            ended = silences.setdefault(name, [[] for _ in range(size)])
            limit = limits.setdefault(name, [tau_max] * size)
            for unit, row in enumerate(rows.tolist()):
                if any(value > fires_above for value in row):
                    ended[unit] += [age[unit]] if age[unit] else []
                    age[unit] = 0
                else:
                    age[unit] = min(age[unit] + 1, tau_max)
            chosen[name] = (
                [unit for unit in range(size) if age[unit] >= limit[unit]] if step % every == 0 else []
            )
            for unit in chosen[name]:
                ended[unit].append(age[unit])
                age[unit] = 0
            if step % renew_every == 0:
                limits[name] = [renewed(*pair) for pair in zip(limit, ended, strict=True)]
                silences[name] = [[] for _ in range(size)]
        return chosen

    return rule
