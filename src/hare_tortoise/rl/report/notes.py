"""What a reader must know beside the figures of a comparison of agents."""

from __future__ import annotations

from hare_tortoise.lab.sentence import Note
from hare_tortoise.lab.statistics import FEWEST
from hare_tortoise.lab.wording import labels, listing
from hare_tortoise.rl.report.averaging import Averaging
from hare_tortoise.rl.report.entries import RETURN, TRAINING, AgentComparison, alike
from hare_tortoise.rl.report.figures import score_name

_PUBLISHED_STEPS = 100_000


def notes(comparison: AgentComparison) -> list[Note]:
    """Say what a reader must know: failures, missing trials, few seeds, what the figures are, what resets can do.

    Args:
        comparison: as `compare_agents` gives it.
    """
    found = [
        *_of_averages(comparison),
        *_of_seeds(comparison),
        *_of_scales(comparison),
        *_of_figures(comparison),
    ]
    return [*(Note(text, True) for text in _of_trials(comparison)), *(Note(text) for text in found)]


def told(average: Averaging, label: str) -> str:
    """Say how the horizon of an average relates to the interval between its resets.

    Example:
        >>> told(Averaging("", 0.99, 4_000), "Hare & Tortoise")
        'Hare & Tortoise: ratio of horizon to interval 0.025 (100 updates over 4,000): close to doing nothing.'
    """
    text = (
        f"{label}: ratio of horizon to interval {average.ratio:.3g} ({average.horizon:,.0f} updates over "
        f"{average.reset_every:,})"
    )
    return f"{text}: close to doing nothing." if average.does_little else f"{text}."


def _of_trials(comparison: AgentComparison) -> list[str]:
    names, found = labels(comparison.methods), []
    for entry in comparison.entries:
        where = f"{names[entry.method]} on {entry.game}"
        if entry.failures:
            ran = len(entry.failures) + len(entry.seeds)
            reasons = listing(
                [f"seed {each.seed} ({each.reason}; run {each.run})" for each in entry.failures]
            )
            found.append(
                f"{where}: {len(entry.failures)} of {ran} seeds failed: {reasons}. The figures are over the other "
                f"{len(entry.seeds)}."
            )
        if entry.missing:
            found.append(f"{where}: {len(entry.missing)} of {comparison.seeds} seeds were not run.")
        figures = [figure for figure in entry.figures if figure.name in (RETURN, TRAINING)]
        for reference in dict.fromkeys(each.reference for figure in figures for each in figure.differences):
            gains = [
                against.difference for figure in figures if (against := figure.to(reference)) is not None
            ]
            if all(map(alike, gains)):
                found.append(
                    f"{where} came to the same as {names[reference]} on every seed, to the last digit: it did not act "
                    "before the end of these runs, or its act changed nothing."
                )
    return found


def _of_averages(comparison: AgentComparison) -> list[str]:
    names = labels(comparison.methods)
    return [told(average, names[average.method]) for average in comparison.averaging]


def _of_seeds(comparison: AgentComparison) -> list[str]:
    if comparison.seeds < FEWEST:
        return [f"Below {FEWEST} seeds there are no intervals: all figures are anecdotal."]
    names, found = labels(comparison.methods), []
    for entry in comparison.entries:
        if 0 < len(entry.seeds) < FEWEST:
            seeds = f"{len(entry.seeds)} seed{'s' * (len(entry.seeds) > 1)}"
            found.append(
                f"{names[entry.method]} on {entry.game}: {seeds}, anecdotal: no interval below {FEWEST}."
            )
    return found


def _of_scales(comparison: AgentComparison) -> list[str]:
    found, across = [], comparison.across
    if across is not None and not across.normalised:
        found.append(
            "These games have no common scale (only the 26 of Atari-100k have one, human play), so their returns are "
            "not put together; the probability of improvement needs none."
        )
    if any(len(games) > 1 for games in comparison.games):
        found.append(
            "Figures of a sequence are means of raw returns over its games: a game with large returns weighs more. "
            "Backward transfer and forgetting count a game that comes back as any other; what is learned on the way "
            "back is in them. Look at the matrix."
        )
    single = [games[0] for games in comparison.games if len(games) == 1]
    if comparison.published and any(score_name(game) for game in single):
        text = "What is marked as published was made by others, with their agents and their runs, and is not ours."
        if comparison.steps != _PUBLISHED_STEPS:
            text += f" It is of {_PUBLISHED_STEPS:,} steps, ours of {comparison.steps:,}: not to be compared."
        found.append(text)
    return found


def _of_figures(comparison: AgentComparison) -> list[str]:
    found = [
        f"Return: mean of {comparison.episodes} whole game{'s' * (comparison.episodes > 1)} of the network that plays, "
        "after the last step; rewards not clipped, lost lives end nothing. Training return: mean of the episodes that "
        "ended in the second half of the (last) phase, exploration included.",
    ]
    if comparison.seeds >= FEWEST:
        found += [
            "Intervals are 95 %, each by itself: of 20, one is expected to miss. Those of games and sequences are "
            "Student's t over the seeds, differences paired; those over games are of the stratified bootstrap, "
            "which is too narrow for few seeds: those of differences, which decide, are widened by as much.",
            "P better: on one game the share of the seeds above the reference's same seed; over games the probability "
            "that a run beats one of the reference, whatever their seeds.",
            "Smallest difference: half the width of the interval of the difference, which is what as many seeds that "
            "scatter alike could tell from none.",
        ]
    found.append("Times are mean seconds of training of one trial; what else the machine did is in them.")
    return found
