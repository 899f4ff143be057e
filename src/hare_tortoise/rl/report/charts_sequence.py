"""The figure of games in sequence: what is kept of each after each."""

from __future__ import annotations

from hare_tortoise.lab.matrix import COLOURS, Panel, draw_matrices
from hare_tortoise.lab.report_charts import Chart, Trace
from hare_tortoise.lab.wording import labels
from hare_tortoise.rl.report.charts import safe
from hare_tortoise.rl.report.entries import AgentComparison
from hare_tortoise.rl.report.wording import span


def matrices(comparison: AgentComparison, games: tuple[str, ...]) -> list[Chart]:
    """Draw the returns on the game of each phase after each phase; colours go from the lowest to the highest of a game.

    Args:
        comparison: as `compare_agents` gives it.
        games: the sequence, as the comparison has it.
    """
    shares = shares_of(comparison, games)
    if not shares:
        return []
    names = labels(comparison.methods)
    phases = [safe(f"{phase}: {game.rpartition(':')[2]}") for phase, game in enumerate(games, 1)]
    traces: list[Trace] = []
    for method, lines in shares.items():
        matrix = comparison.entry(games, method).matrix
        traces.append(
            {
                "type": "heatmap",
                "x": phases,
                "y": phases,
                "z": [list(line) for line in lines],
                "text": [[span(row[j]) for row in matrix] for j in range(len(games))],
                "texttemplate": "%{text}",
                "hovertemplate": "return on %{y} after %{x}: %{text}<extra></extra>",
                "colorscale": [[i / (len(COLOURS) - 1), shade] for i, shade in enumerate(COLOURS)],
                "zmin": 0,
                "zmax": 1,
                "showscale": False,
                "meta": {"method": None, "budget": None, "choice": names[method]},
            }
        )
    caption = (
        "Return on the game of each phase (downwards) after each phase (to the right), mean over the seeds with its "
        "interval. Colours go from the lowest return on a game, dark, to the highest, over all methods and phases."
    )
    down = {"autorange": "reversed", "type": "category"}
    layout = {"yaxis": down, "xaxis": {"type": "category", "title": {"text": "after phase"}}}
    return [
        Chart("What is kept of each game", caption, traces, layout, height=420, wide=True, choice="method")
    ]


def shares_of(
    comparison: AgentComparison, games: tuple[str, ...]
) -> dict[str, tuple[tuple[float, ...], ...]]:
    """Put the mean returns of a sequence between the lowest and the highest of each game, over methods and phases.

    Args:
        comparison: as `compare_agents` gives it.
        games: the sequence, as the comparison has it.

    Returns:
        ``[j][i]`` of each method that finished, on the game of phase j after phase i; 0.5 where all are the same.
    """
    found = {m: entry.matrix for m in comparison.methods if (entry := comparison.entry(games, m)).matrix}
    ends: dict[str, tuple[float, float]] = {}
    for j, game in enumerate(games):
        values = [row[j].mean for matrix in found.values() for row in matrix]
        ends[game] = (min(values, default=0.0), max(values, default=0.0))

    def share(game: str, value: float) -> float:
        low, high = ends[game]
        return (value - low) / (high - low) if high > low else 0.5

    return {
        method: tuple(tuple(share(game, row[j].mean) for row in matrix) for j, game in enumerate(games))
        for method, matrix in found.items()
    }


def sequence_picture(comparison: AgentComparison, games: tuple[str, ...]) -> str | None:
    """Draw the same matrices as an SVG; None where no seed finished.

    Args:
        comparison: as `compare_agents` gives it.
        games: the sequence, as the comparison has it.
    """
    names = labels(comparison.methods)
    panels = [Panel(names[method], lines) for method, lines in shares_of(comparison, games).items()]
    if not panels:
        return None
    title = f"{comparison.recipe}, in sequence: {', '.join(game.rpartition(':')[2] for game in games)}"
    note = "colours from the lowest return on a game, dark, to the highest, over all methods and phases"
    return draw_matrices(
        panels, title=title, down="game of phase", across="after phase", unit="return", note=note
    )
