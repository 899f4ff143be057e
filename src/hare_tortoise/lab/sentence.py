"""What a comparison shows, in one sentence and in notes: no more than its intervals do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hare_tortoise.lab.comparison import FULL, Baseline, Comparison, Difference, Entry, Headline
from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START
from hare_tortoise.lab.statistics import FEWEST, Estimate
from hare_tortoise.lab.wording import capital, is_control, labels, listing, points, share, starts_anew


def sentence(comparison: Comparison) -> str:
    """Say in one sentence what a comparison shows.

    With several budgets it says where warm start ends against from scratch at budget 1, and at what cost
    each method reaches it; with one budget, which methods lie above and below from scratch. A method counts
    as above or below only where the 95 % interval of the paired difference excludes zero. What a method that
    continues gains is credited to continuing only where it exceeds every control (from scratch with
    something added), and nothing at all to a method that lies below a predictor that learns nothing.

    Args:
        comparison: as `compare` gives it.
    """
    reference = comparison.entry(FROM_SCRATCH, _budget(comparison))
    if comparison.seeds < FEWEST or (reference is not None and 0 < len(reference.seeds) < FEWEST):
        return f"{_opening(comparison)}: anecdotal (intervals need {FEWEST} seeds); nothing is concluded."
    if reference is None or not reference.seeds:
        return f"{_opening(comparison)}: without from scratch at this budget nothing can be concluded."
    clauses = [*_order(comparison)] if comparison.headlines is None else [*_reached(comparison)]
    clauses += [*_against_baseline(comparison), *_controls(comparison)]
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
    found += [*_of_score(comparison), *_of_access(comparison)]
    if comparison.seeds >= FEWEST:
        found.append(
            "Intervals are 95 % (Student's t over the seeds, differences paired), each by itself: "
            "of 20, one is expected to miss."
        )
    found.append("Times are mean seconds of training of one trial; what else the machine did is in them.")
    return [*(Note(text, True) for text in warnings), *(Note(text) for text in found)]


def _of_score(comparison: Comparison) -> list[str]:
    found = []
    if comparison.score.startswith("online"):
        found.append(f"{capital(comparison.score)}: each batch is predicted before the step on it.")
    if comparison.score.endswith("R²"):
        found.append(
            "R² is the share of the variance explained; below 0 the mean of the data would do better."
        )
    if comparison.baselines:
        listed = listing([baseline.name for baseline in comparison.baselines])
        found.append(f"Beside the methods stands what predictors reach that learn nothing: {listed}.")
    return found


def _of_access(comparison: Comparison) -> list[str]:
    """Say where from scratch is trained on more than the others; at one budget nothing else changes the samples."""
    for budget in comparison.budgets:
        scratch = comparison.entry(FROM_SCRATCH, budget)
        at_budget = (e for e in comparison.entries if e.budget == budget and not starts_anew(e.method))
        others = [e.samples for e in at_budget if e.samples is not None]
        if scratch is not None and scratch.samples is not None and others and scratch.samples > max(others):
            return [
                "From scratch, with or without something added, is given all data that came; the others what the "
                "scenario lets them keep. Their costs differ by that."
            ]
    return []


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
    return difference.average if _over_stream(comparison) else difference.final


def _over_stream(comparison: Comparison) -> bool:
    return comparison.headlines is None and len(comparison.chunks) > 1


def _gain(comparison: Comparison, entry: Entry, reference: str = FROM_SCRATCH) -> Estimate | None:
    difference = entry.to(reference)
    estimate = None if difference is None else _measured(comparison, difference)
    return None if estimate is None or estimate.anecdotal else estimate


def _baseline(comparison: Comparison) -> Baseline | None:
    """Give the best predictor that learns nothing, by what the sentence measures."""
    return comparison.best_baseline(average=_over_stream(comparison))


def _worthless(comparison: Comparison, entry: Entry) -> bool:
    """Whether a method lies below a predictor that learns nothing: then no gain of it counts."""
    baseline = _baseline(comparison)
    gain = None if baseline is None else _gain(comparison, entry, baseline.name)
    return gain is not None and gain.sign < 0


def _against_baseline(comparison: Comparison) -> list[str]:
    baseline = _baseline(comparison)
    if baseline is None:
        return []
    names = labels(comparison.methods)
    entries = [e for e in comparison.entries if e.budget == _budget(comparison)]
    gains = [(names[e.method], gain) for e in entries if (gain := _gain(comparison, e, baseline.name))]
    gains.sort(key=lambda pair: -pair[1].mean)
    above, level, below = (
        [f"{name} ({points(gain)})" for name, gain in gains if gain.sign == sign] for sign in (1, 0, -1)
    )
    parts = []
    if above:
        parts.append(f"{listing(above)} lie{_s(above)} above")
    if level:
        parts.append(f"no difference to it is shown for {listing(level)}")
    if below:
        parts.append(f"{listing(below)} lie{_s(below)} below it and count{_s(below)} as no gain")
    told = ", ".join(parts) or "too few seeds finished"
    return [f"against {baseline.label}, which learns nothing, {told}"]


def _order(comparison: Comparison) -> list[str]:
    names = labels(comparison.methods)
    entries = _entries(comparison)
    gains = [(entry.method, _gain(comparison, entry)) for entry in entries]
    gains.sort(key=lambda pair: -pair[1].mean if pair[1] else 0.0)
    worthless = {entry.method for entry in entries if _worthless(comparison, entry)}

    def group(sign: int) -> list[str]:
        found = [
            (m, g) for m, g in gains if g is not None and g.sign == sign and not (sign > 0 and m in worthless)
        ]
        return [f"{names[m]} ({points(gain)})" for m, gain in found]

    score = comparison.score
    what = f"in final {score}"
    if len(comparison.chunks) > 1:
        what = (
            "on average over the stream" if score == "accuracy" else f"in {score} on average over the stream"
        )
    clauses = []
    if above := group(1):
        clauses.append(f"{listing(above)} lie{_s(above)} above from scratch")
    if below := group(-1)[::-1]:
        clauses.append(f"{listing(below)} lie{_s(below)} below {'it' if above else 'from scratch'}")
    it = "it" if clauses else "from scratch"
    if level := group(0):
        clauses.append(f"no difference to {it} is shown for {listing(level)}")
    if few := [names[method] for method, gain in gains if gain is None]:
        clauses.append(f"of {listing(few)} too few seeds finished")
    nobody = "no method is credited with a gain" if gains else "only from scratch was run"
    clauses = clauses or [nobody]
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
            else f"at full budget no difference to from scratch is shown for warm start ({points(gain)} points)"
        )
    by_cost: dict[str, list[str]] = {}
    never: list[str] = []
    unknown: list[str] = []
    for line in comparison.headlines or ():
        if line.budget is None:
            (never if line.known else unknown).append(names[line.method])
        elif (line.method, line.budget) != (FROM_SCRATCH, FULL) and not _hollow(comparison, line):
            by_cost.setdefault(share(line.cost), []).append(names[line.method])
    costs = sorted(by_cost, key=lambda text: float(text.removesuffix(" %")))
    reached = [f"at {cost} of its cost by {listing(by_cost[cost])}" for cost in costs]
    margin = f"{100 * comparison.margin:g} point{'' if comparison.margin == 0.01 else 's'}"
    if reached:
        clauses.append(f"from scratch at full budget is reached (within {margin}) {', '.join(reached)}")
    if never:
        of = "it" if reached else "from scratch at full budget"
        clauses.append(f"{listing(never)} never come{_s(never)} within {margin} of {of}")
    if unknown:
        clauses.append(f"of {listing(unknown)} too few seeds finished")
    gains = [(e, _gain(comparison, e)) for e in _entries(comparison) if e.method != WARM_START]
    gains = [(e, gain) for e, gain in gains if not _worthless(comparison, e)]
    above = [f"{names[e.method]} ({points(gain)})" for e, gain in gains if gain is not None and gain.sign > 0]
    if above:
        clauses.append(f"at full budget {listing(above)} end{_s(above)} above from scratch")
    return clauses or ["only from scratch was run"]


def _hollow(comparison: Comparison, line: Headline) -> bool:
    """Whether a method reaches from scratch at a budget where it lies below a predictor that learns nothing."""
    entry = None if line.budget is None else comparison.entry(line.method, line.budget)
    return entry is not None and _worthless(comparison, entry)


def _controls(comparison: Comparison) -> list[str]:
    """Compare what continuing methods gain with what the controls, which do not continue, have too."""
    names, entries = labels(comparison.methods), _entries(comparison)
    continuing = [e for e in entries if not starts_anew(e.method) and not _worthless(comparison, e)]
    gaining = [e for e in continuing if (g := _gain(comparison, e)) and g.sign > 0]
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
