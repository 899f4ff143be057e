"""What a comparison shows, in one sentence and in notes: no more than its intervals do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hare_tortoise.lab.comparison import FULL, Comparison, Difference, Entry
from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START
from hare_tortoise.lab.statistics import FEWEST, Estimate
from hare_tortoise.lab.wording import is_control, labels, listing, points, share, starts_anew


def sentence(comparison: Comparison) -> str:
    """Say in one sentence what a comparison shows.

    With several budgets it says where warm start ends against from scratch at budget 1, and at what cost
    each method reaches it; with one budget, which methods lie above and below from scratch. A method counts
    as above or below only where the 95 % interval of the paired difference excludes zero. What a method that
    continues gains is credited to continuing only where it exceeds every control (from scratch with
    something added).

    Args:
        comparison: as `compare` gives it.
    """
    reference = comparison.entry(FROM_SCRATCH, _budget(comparison))
    if comparison.seeds < FEWEST or (reference is not None and 0 < len(reference.seeds) < FEWEST):
        return f"{_opening(comparison)}: anecdotal (intervals need {FEWEST} seeds); nothing is concluded."
    if reference is None or not reference.seeds:
        return f"{_opening(comparison)}: without from scratch at this budget nothing can be concluded."
    clauses = [*_order(comparison)] if comparison.headlines is None else [*_reached(comparison)]
    clauses += _controls(comparison)
    failed = sum(len(entry.failures) for entry in comparison.entries)
    if failed:
        clauses.append(f"{failed} failed trial{'s are' if failed > 1 else ' is'} left out")
    return f"{_opening(comparison)}: {'; '.join(clauses)}."


@dataclass(frozen=True)
class Note:
    """What a reader must know beside the figures.

    Args:
        text: one or two sentences.
        warning: whether something went wrong: trials failed or are missing.
    """

    text: str
    warning: bool = False

    def __str__(self) -> str:
        return self.text


def notes(comparison: Comparison) -> list[Note]:
    """Say what a reader must know beside the figures: scale, failures, missing trials, few seeds, intervals.

    Args:
        comparison: as `compare` gives it.
    """
    names, warnings, found = labels(comparison.methods), [], []
    if comparison.scaled_down:
        found.append(f"Scaled down ({comparison.scale}): these are not the figures of the published setting.")
    for entry in comparison.entries:
        where = f"{names[entry.method]} at budget {share(entry.budget)}"
        if entry.failures:
            ran = len(entry.failures) + len(entry.seeds)
            reasons = listing([f"seed {f.seed} ({f.reason})" for f in entry.failures])
            warnings.append(
                f"{where}: {len(entry.failures)} of {ran} seeds failed: {reasons}. The figures are over "
                f"the other {len(entry.seeds)}, and it counts as not reaching from scratch."
            )
        if entry.missing:
            warnings.append(f"{where}: {len(entry.missing)} of {comparison.seeds} seeds were not run.")
        if 0 < len(entry.seeds) < FEWEST:
            found.append(f"{where}: {_seeds(len(entry.seeds))}, anecdotal: no interval below {FEWEST}.")
    if comparison.reference is None:
        found.append(
            "From scratch at budget 100 % was not run: costs are in samples, and there is no headline."
        )
    if comparison.seeds >= FEWEST:
        found.append(
            "Intervals are 95 % (Student's t over the seeds, differences paired), each by itself: "
            "of 20, one is expected to miss."
        )
    found.append("Times are mean seconds of training of one trial; what else the machine did is in them.")
    return [*(Note(text, True) for text in warnings), *(Note(text) for text in found)]


def _opening(comparison: Comparison) -> str:
    scale = f", scaled down ({comparison.scale})" if comparison.scaled_down else ""
    return f"{comparison.recipe}, {_seeds(comparison.seeds)}{scale}"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _budget(comparison: Comparison) -> float:
    return FULL if comparison.headlines is not None else max(comparison.budgets)


def _entries(comparison: Comparison) -> list[Entry]:
    return [e for e in comparison.entries if e.budget == _budget(comparison) and e.method != FROM_SCRATCH]


def _measured(comparison: Comparison, difference: Difference) -> Estimate:
    over_stream = comparison.headlines is None and len(comparison.chunks) > 1
    return difference.average if over_stream else difference.final


def _gain(comparison: Comparison, entry: Entry, reference: str = FROM_SCRATCH) -> Estimate | None:
    difference = entry.to(reference)
    estimate = None if difference is None else _measured(comparison, difference)
    return None if estimate is None or estimate.anecdotal else estimate


def _order(comparison: Comparison) -> list[str]:
    names = labels(comparison.methods)
    gains = [(entry.method, _gain(comparison, entry)) for entry in _entries(comparison)]
    gains.sort(key=lambda pair: -pair[1].mean if pair[1] else 0.0)

    def group(sign: int) -> list[str]:
        return [f"{names[m]} ({points(gain)})" for m, gain in gains if gain is not None and gain.sign == sign]

    what = "on average over the stream" if len(comparison.chunks) > 1 else "in final accuracy"
    clauses = []
    if above := group(1):
        clauses.append(f"{listing(above)} lie{_s(above)} above from scratch")
    if below := group(-1)[::-1]:
        clauses.append(f"{listing(below)} lie{_s(below)} below {'it' if above else 'from scratch'}")
    if level := group(0):
        clauses.append(f"{listing(level)} {'are' if len(level) > 1 else 'is'} not told apart from it")
    if few := [names[method] for method, gain in gains if gain is None]:
        clauses.append(f"of {listing(few)} too few seeds finished")
    clauses = clauses or ["only from scratch was run"]
    return [f"{what}, in points, {clauses[0]}", *clauses[1:]]


def _reached(comparison: Comparison) -> list[str]:
    names, clauses = labels(comparison.methods), []
    warm = comparison.entry(WARM_START, FULL)
    gain = _gain(comparison, warm) if warm is not None else None
    if gain is not None:
        place = {1: "above", -1: "below", 0: ""}[gain.sign]
        distance = points(gain).lstrip("+−")
        clauses.append(
            f"at full budget warm start ends {distance} points {place} from scratch"
            if place
            else f"at full budget warm start is not told apart from from scratch ({points(gain)} points)"
        )
    by_cost: dict[str, list[str]] = {}
    never: list[str] = []
    unknown: list[str] = []
    for line in comparison.headlines or ():
        if line.budget is None:
            (never if line.known else unknown).append(names[line.method])
        elif (line.method, line.budget) != (FROM_SCRATCH, FULL):
            by_cost.setdefault(share(line.cost), []).append(names[line.method])
    costs = sorted(by_cost, key=lambda text: float(text.removesuffix(" %")))
    reached = [f"at {cost} of its cost by {listing(by_cost[cost])}" for cost in costs]
    if never:
        reached.append(f"at no budget by {listing(never)}")
    if reached:
        margin = f"{100 * comparison.margin:g} point{'' if comparison.margin == 0.01 else 's'}"
        clauses.append(f"from scratch at full budget is reached (within {margin}) {', '.join(reached)}")
    if unknown:
        clauses.append(f"of {listing(unknown)} too few seeds finished")
    gains = [(e, _gain(comparison, e)) for e in _entries(comparison) if e.method != WARM_START]
    above = [f"{names[e.method]} ({points(gain)})" for e, gain in gains if gain is not None and gain.sign > 0]
    if above:
        clauses.append(f"at full budget {listing(above)} end{_s(above)} above from scratch")
    return clauses or ["only from scratch was run"]


def _controls(comparison: Comparison) -> list[str]:
    """Compare what continuing methods gain with what the controls, which do not continue, have too."""
    names, entries = labels(comparison.methods), _entries(comparison)
    gaining = [e for e in entries if not starts_anew(e.method) and (g := _gain(comparison, e)) and g.sign > 0]
    if not gaining:
        return []
    controls = [e for e in entries if is_control(e.method) and _gain(comparison, e) is not None]
    if not controls:
        return ["without from-scratch controls it stays open whether continuing has a part in that"]
    best = max(controls, key=lambda e: _mean(_gain(comparison, e)))
    over = [(names[e.method], _gain(comparison, e, best.method)) for e in gaining]
    beyond = [names[e.method] for e in gaining if _exceeds_all(comparison, e, controls)]
    listed = listing([f"{name} stands at {points(gain)}" for name, gain in over])
    if not beyond:
        end = f"so {'that gain is' if len(gaining) == 1 else 'those gains are'} not credited to continuing"
    elif len(beyond) == len(gaining):
        end = f"so {'it' if len(beyond) == 1 else 'each'} gains more than any control"
    else:
        end = f"so only {listing(beyond)} gain{_s(beyond)} more than any control"
    return [f"against the best control, {names[best.method]}, {listed}, {end}"]


def _exceeds_all(comparison: Comparison, entry: Entry, controls: Sequence[Entry]) -> bool:
    gains = [_gain(comparison, entry, control.method) for control in controls]
    return all(gain is not None and gain.sign > 0 for gain in gains)


def _mean(estimate: Estimate | None) -> float:
    return float("-inf") if estimate is None else estimate.mean


def _s(items: Sequence[str]) -> str:
    return "s" if len(items) == 1 else ""
