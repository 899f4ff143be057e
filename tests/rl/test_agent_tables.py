"""A comparison of agents in words and tables: no more than its intervals say, and nothing left out."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.rl.report.comparison import compare_agents
from hare_tortoise.rl.report.notes import notes
from hare_tortoise.rl.report.sentence import sentences
from hare_tortoise.rl.report.table import (
    lay_out_across,
    lay_out_games,
    lay_out_matrix,
    lay_out_revisits,
    markdown,
    tables,
)
from hare_tortoise.rl.report.wording import change, in_words, span
from tests.lab.test_report import Page
from tests.rl.agent_results import ARMS, ASTERIX, BREAKOUT, PAIR, SEQUENCE, SLOW, experiment, results_of
from tests.rl.test_report import Made, atari, made, mini, sequence, written

__all__ = ["mini", "sequence"]  # fixtures


def test_the_ratio_of_horizon_to_interval_is_told() -> None:
    close = "hare-tortoise(decay=0.99, reset_every=4000)"
    told = [note.text for note in notes(made(experiment(methods=("nothing", PAIR, close), seeds=1))[0])]
    long, short = (text for text in told if "ratio of horizon to interval" in text)
    assert "(decay=0.999, reset_every=1000)" in long
    assert long.endswith("interval 1 (1,000 updates over 1,000).")
    assert short.endswith("interval 0.025 (100 updates over 4,000): close to doing nothing.")


def test_failures_and_missing_seeds_are_warnings(tmp_path: Path) -> None:
    planned = experiment(methods=("nothing", PAIR), seeds=4)
    results = results_of(planned)
    results[3] = dataclasses.replace(results[3], failure="the loss was nan", run="abcdef")
    del results[4]
    compared = compare_agents(planned, results)
    told = [note.text for note in notes(compared) if note.warning]
    assert told == [
        "plain agent on minatar:breakout: 1 of 4 seeds were not run.",
        "Hare & Tortoise on minatar:breakout: 1 of 4 seeds failed: seed 1 (the loss was nan; run abcdef). The figures "
        "are over the other 3.",
    ]
    page = Page(written(tmp_path, (compared, results)))
    assert [a["class"] for a in page.named("ul")] == ["warnings", "notes"]
    assert (
        dict(zip(lay_out_games(compared).header, lay_out_games(compared).lines[1], strict=True))["failed"]
        == "1 of 4"
    )
    assert sentences(compared)[-1] == "1 failed trial is left out."


def test_few_seeds_conclude_nothing() -> None:
    compared = made(experiment(seeds=2))[0]
    assert sentences(compared) == [
        "minatar on minatar:breakout, 2 seeds: anecdotal (intervals need 3 seeds); nothing is concluded."
    ]
    assert any("all figures are anecdotal" in note.text for note in notes(compared))
    header = lay_out_games(compared).header
    assert not {name for name in header if name.startswith(("P better", "smallest"))}


def test_a_sentence_says_no_more_than_its_intervals(mini: Made) -> None:
    found = next(
        text
        for text in sentences(mini[0])
        if text.startswith("On minatar:breakout, return against the plain")
    )
    clauses = found.rstrip(".").partition(": ")[2].split("; ")
    signs = {}
    for method, label in zip(ARMS[1:], ("EMA", "head reset", "Hare & Tortoise"), strict=True):
        figure = mini[0].entry(BREAKOUT, method).figure("return")
        assert figure is not None
        signs[label] = figure.differences[0].difference.sign
    assert signs == {"EMA": 0, "head reset": -1, "Hare & Tortoise": 1}
    assert [("above" in c, "below" in c, "no difference" in c) for c in clauses] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert clauses[0].startswith("Hare & Tortoise (+")
    assert clauses[1].startswith("head reset (−")
    assert clauses[2].startswith("no difference is shown for EMA (")


def test_a_lower_mean_whose_interval_holds_zero_is_no_lower() -> None:
    planned = experiment(methods=("nothing", "head-reset"), seeds=3)
    returns = {"nothing": (5.0, 5.0, 5.0), "head-reset": (1.0, 5.5, 5.2)}
    results = [
        dataclasses.replace(
            result,
            rows=(
                *result.rows[:-1],
                {**result.rows[-1], "evaluations": {BREAKOUT[0]: [returns[result.method][result.seed]]}},
            ),
        )
        for result in results_of(planned)
    ]
    (text,) = sentences(compare_agents(planned, results))
    assert text.partition(": ")[2] == "no difference is shown for head reset (−1.10, −7.35 to +5.15)."


def test_a_column_holds_the_difference_to_its_reference(mini: Made) -> None:
    columns = lay_out_games(mini[0])
    for games, method, line in zip((BREAKOUT,) * 4 + (ASTERIX,) * 4, ARMS * 2, columns.lines, strict=True):
        cells = dict(zip(columns.header, line, strict=True))
        for name, figure in (("vs", "return"), ("training\nvs", "training return")):
            found = mini[0].entry(games, method).figure(figure)
            assert found is not None
            for column, reference in (("plain agent", "nothing"), ("no reset", SLOW)):
                broken = column.replace(" ", "\n") if name == "vs" else column
                against = found.to(reference)
                cell = cells[f"{name} {broken}"]
                assert cell == ("–" if against is None else change(against.difference))
        returns = mini[0].entry(games, method).figure("return")
        assert returns is not None
        odds = returns.to(SLOW)
        assert cells["P better\nno reset"] == ("–" if odds is None else f"{odds.improvement:.2f}")


def test_tables_for_the_terminal(mini: Made, sequence: Made) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    for table in (*tables(mini[0]), *tables(sequence[0])):
        console.print(table)
    text = console.export_text()
    figure = mini[0].entry(ASTERIX, PAIR).figure("return")
    assert figure is not None
    assert change(figure.differences[0].difference) in text
    assert "run 10 seeds or more" in text.replace("\n", " ")
    assert "backward" in text


def test_in_a_narrow_terminal_no_number_is_cut() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    compared = made(atari(["Pong", "Assault"]), scale=20.0)[0]
    for table in tables(compared):
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert "published" not in text


def test_markdown_has_every_line(mini: Made, sequence: Made) -> None:
    text = markdown(mini[0])
    for line in lay_out_games(mini[0]).lines:
        assert f"| {' | '.join(cell.replace('*', chr(92) + '*') for cell in line)} |" in text
    assert text.count("\n| minatar:breakout |") == 4
    assert "| game | method |" in markdown(sequence[0])


# --- every cell comes from the figure that its column names --------------------------------------------------------


def test_a_line_over_games_holds_what_its_columns_name() -> None:
    compared = made(atari(["Pong", "Assault"]), scale=20.0)[0]
    assert compared.across is not None
    columns = lay_out_across(compared)
    entry = compared.across.entries[2]
    cells = dict(zip(columns.header, columns.lines[2], strict=True))
    to = {found.reference: found for found in entry.differences}
    assert {*to} == {"nothing", SLOW}
    for name, found in (("plain agent", to["nothing"]), ("no reset", to[SLOW])):
        gain = found.aggregate("iqm")
        assert gain is not None
        assert gain.low is not None
        assert gain.high is not None
        assert cells[f"IQM vs\n{name}"] == change(gain, decimals=3)
        assert cells[f"smallest\nvs {name}"] == f"{(gain.high - gain.low) / 2:.3f}"
        assert cells[f"P better than\n{name}"] == span(found.improvement, decimals=2)
    text = next(
        each for each in sentences(compared) if each.startswith("Over 2 games, IQM") and "plain" in each
    )
    assert f"Hare & Tortoise ({in_words(change(to['nothing'].aggregate('iqm'), decimals=3))})" in text


def test_without_a_common_scale_two_seeds_have_no_probability() -> None:
    planned = experiment([BREAKOUT, ASTERIX], methods=("nothing", "head-reset", PAIR), seeds=3)
    results = [r for r in results_of(planned) if (r.method, r.seed) != ("head-reset", 2)]
    text = sentences(compare_agents(planned, results))[0]
    assert "Hare & Tortoise (0." in text or "Hare & Tortoise (1.00, " in text
    assert text.endswith("; of head reset too few seeds finished.")


def test_a_matrix_has_a_line_after_each_phase(sequence: Made) -> None:
    columns = lay_out_matrix(sequence[0], SEQUENCE)
    entry = sequence[0].entry(SEQUENCE, "nothing")
    assert [line[:2] for line in columns.lines[:4]] == [("plain agent", f"phase {n}") for n in (1, 2, 3, 4)]
    assert columns.lines[1][2:] == tuple(span(value) for value in entry.matrix[1])
    assert [row[1] for row in entry.matrix] != list(entry.matrix[1])


def test_a_line_of_a_way_back_holds_what_its_columns_name(sequence: Made) -> None:
    columns = lay_out_revisits(sequence[0], SEQUENCE)
    (line,) = (line for line in columns.lines if line[1] == "Hare & Tortoise")
    (visit,) = sequence[0].entry(SEQUENCE, PAIR).revisits
    expected = []
    for figure in visit.figures:
        for found in (figure.value, *(figure.to(name) for name in ("nothing", SLOW))):
            assert found is not None
            expected.append(change(found if isinstance(found, Estimate) else found.difference))
    assert list(line[2:]) == expected
    assert len({*expected}) == 6
    text = next(
        each for each in sentences(sequence[0]) if each.startswith("Return on minatar:space_invaders")
    )
    assert f"Hare & Tortoise ({in_words(expected[0])})" in text


def test_a_method_that_never_acted_is_said_to_be_the_same() -> None:
    planned = experiment(methods=("nothing", "head-reset"), seeds=3)
    plain = [result for result in results_of(planned) if result.method == "nothing"]
    compared = compare_agents(planned, [*plain, *(replace(each, method="head-reset") for each in plain)])
    (text,) = sentences(compared)
    assert text.endswith("head reset came to the same on every seed.")
    assert any("did not act before the end of these runs" in note.text for note in notes(compared))
    header = lay_out_games(compared).header
    assert not any(name.startswith("smallest") for name in header)
