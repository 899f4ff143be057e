"""What a comparison of agents shows, in sentences: no more than its intervals do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hare_tortoise.lab.statistics import FEWEST, Estimate
from hare_tortoise.lab.wording import labels, listing
from hare_tortoise.rl.keeping import NOTHING
from hare_tortoise.rl.report.entries import RETURN, AgentComparison, AgentEntry, alike
from hare_tortoise.rl.report.wording import SCORE, change, games_in, in_words, span

FEW_GAMES = 4
"""More games than this are counted, not named one by one."""


def sentences(comparison: AgentComparison) -> list[str]:
    """Say what a comparison shows: over several games, on each, and what the resets alone do.

    A method counts as above or below another only where the 95 % interval of the paired difference excludes zero.

    Args:
        comparison: as `compare_agents` gives it.
    """
    finished = [len(entry.seeds) for entry in comparison.entries]
    if comparison.seeds < FEWEST or max(finished) < FEWEST:
        return [f"{_opening(comparison)}: anecdotal (intervals need {FEWEST} seeds); nothing is concluded."]
    found = [*_together(comparison), *_on_games(comparison), *_returned(comparison)]
    failed = sum(len(entry.failures) for entry in comparison.entries)
    if failed:
        found.append(f"{failed} failed trial{'s are' if failed > 1 else ' is'} left out.")
    return found or [f"{_opening(comparison)}: there is nothing to compare with; nothing is concluded."]


def pairs_of(comparison: AgentComparison) -> dict[str, list[str]]:
    """Give the references that methods are compared to, each with these methods; the plain agent comes first."""
    found: dict[str, list[str]] = {}
    for entry in comparison.entries:
        for figure in entry.figures[:1]:
            for against in figure.differences:
                methods = found.setdefault(against.reference, [])
                if entry.method not in methods:
                    methods.append(entry.method)
    return dict(sorted(found.items(), key=lambda item: item[0] != NOTHING))


def reference_in_words(comparison: AgentComparison, reference: str) -> str:
    """Name a reference where a method is compared to it."""
    if reference == NOTHING:
        return "the plain agent"
    return f"{labels(comparison.methods)[reference]}, which differs in the reset alone"


def _opening(comparison: AgentComparison) -> str:
    games = [game for entry in comparison.games for game in entry]
    return f"{comparison.recipe} on {games_in(list(dict.fromkeys(games)))}, {_seeds(comparison.seeds)}"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count != 1)}"


def _together(comparison: AgentComparison) -> list[str]:
    across = comparison.across
    if across is None:
        return []
    names, found = labels(comparison.methods), []
    for reference, methods in pairs_of(comparison).items():
        known = {e.method: d for e in across.entries for d in e.differences if d.reference == reference}
        present = [method for method in methods if method in known]
        if not present:
            continue
        against = reference_in_words(comparison, reference)
        if across.normalised:
            gains = {m: known[m].aggregate("iqm") for m in present}
            start = f"Over {len(across.games)} games, IQM of human-normalised scores against {against}"
            found.append(f"{start}: {_order(gains, names, decimals=SCORE)}.")
        else:
            odds = {m: known[m].improvement for m in present}
            start = f"Over {len(across.games)} games, probability that a run beats one of {against}"
            said = [
                f"{names[m]} ({in_words(span(odds[m], decimals=2))})"
                for m in present
                if not odds[m].anecdotal
            ]
            few = [names[m] for m in present if odds[m].anecdotal]
            clauses = [listing(said)] if said else []
            clauses += [f"of {listing(few)} too few seeds finished"] if few else []
            found.append(f"{start} (0.50: alike): {'; '.join(clauses)}.")
    return found


def _on_games(comparison: AgentComparison) -> list[str]:
    names, found = labels(comparison.methods), []
    for reference, methods in pairs_of(comparison).items():
        against = reference_in_words(comparison, reference)
        if len(comparison.games) > FEW_GAMES:
            found += [
                _counted(comparison, method, reference, f"{names[method]}, against {against},")
                for method in methods
            ]
            continue
        for games in comparison.games:
            gains = {m: _gain(comparison.entry(games, m), reference) for m in methods}
            where = games[0] if len(games) == 1 else f"{games[-1]}, the last of the sequence"
            found.append(f"On {where}, return against {against}: {_order(gains, names)}.")
    return found


def _counted(comparison: AgentComparison, method: str, reference: str, start: str) -> str:
    gains = [_gain(comparison.entry(games, method), reference) for games in comparison.games]
    signs = [gain.sign for gain in gains if gain is not None and not gain.anecdotal]
    return (
        f"{start} lies above on {signs.count(1)} of {len(signs)} games by itself, below on {signs.count(-1)}; "
        f"on {signs.count(0)} no difference is shown."
    )


def _gain(entry: AgentEntry, reference: str) -> Estimate | None:
    figure = entry.figure(RETURN)
    against = None if figure is None else figure.to(reference)
    return None if against is None else against.difference


def _order(
    gains: Mapping[str, Estimate | None], names: Mapping[str, str], *, decimals: int | None = None
) -> str:
    def group(fits: Callable[[Estimate], bool]) -> list[str]:
        return [
            f"{names[method]} ({in_words(change(gain, decimals=decimals))})"
            for method, gain in gains.items()
            if gain is not None and not gain.anecdotal and fits(gain)
        ]

    clauses = []
    if same := [names[method] for method, gain in gains.items() if gain is not None and alike(gain)]:
        clauses.append(f"{listing(same)} came to the same on every seed")
    if above := group(lambda gain: gain.sign > 0):
        clauses.append(f"{listing(above)} lie{_s(above)} above")
    if below := group(lambda gain: gain.sign < 0):
        clauses.append(f"{listing(below)} lie{_s(below)} below")
    if level := group(lambda gain: gain.sign == 0 and not alike(gain)):
        clauses.append(f"no difference is shown for {listing(level)}")
    if few := [names[method] for method, gain in gains.items() if gain is None or gain.anecdotal]:
        clauses.append(f"of {listing(few)} too few seeds finished")
    return "; ".join(clauses)


def _s(items: Sequence[str]) -> str:
    return "s" if len(items) == 1 else ""


def _returned(comparison: AgentComparison) -> list[str]:
    """Say of games that a sequence comes back to how much less is learned the last time."""
    names, found = labels(comparison.methods), []
    for games in comparison.games:
        entries = [
            entry for entry in (comparison.entry(games, m) for m in comparison.methods) if entry.revisits
        ]
        for place in range(len(entries[0].revisits) if entries else 0):
            told = [
                f"{names[e.method]} ({in_words(change(e.revisits[place].figures[0].value))})" for e in entries
            ]
            visit = entries[0].revisits[place]
            found.append(
                f"Return on {visit.game} at the end of its last visit (phase {visit.last + 1}) minus that of its first "
                f"(phase {visit.first + 1}): {listing(told)}."
            )
    return found
