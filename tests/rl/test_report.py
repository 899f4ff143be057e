"""The report of agents as files: what it says, that it needs nothing else, and that nothing in it acts as markup."""

from __future__ import annotations

import base64
import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hare_tortoise.lab.report_looks import Look
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.trial import Result
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.recipes import find_agent
from hare_tortoise.rl.report.charts_sequence import sequence_picture, shares_of
from hare_tortoise.rl.report.comparison import AgentComparison, compare_agents
from hare_tortoise.rl.report.figures import finished_of
from hare_tortoise.rl.report.notes import notes
from hare_tortoise.rl.report.page import write_report
from hare_tortoise.rl.report.picture import (
    differences_picture,
    draw_curves,
    learning_picture,
    profile_picture,
)
from hare_tortoise.rl.report.sentence import sentences
from hare_tortoise.rl.report.table import lay_out_across, lay_out_games, lay_out_published, markdown
from hare_tortoise.rl.report.wording import change, span
from hare_tortoise.rl.scores import GAMES
from tests.lab.test_report import PLOTLY, Page, without_plotly
from tests.rl.agent_results import ARMS, ASTERIX, BREAKOUT, PAIR, SEQUENCE, SLOW, experiment, results_of

EVIL = "<img src=x onerror=alert(1)>"
COMMAND = "hare-tortoise rl --env minatar:breakout --seeds 5"
Made = tuple[AgentComparison, list[Result]]


def made(planned: AgentExperiment, *, scale: float = 1.0) -> Made:
    results = results_of(planned, scale=scale)
    return compare_agents(planned, results), results


def atari(games: Sequence[str], steps: int = 10_000, seeds: int = 3) -> AgentExperiment:
    recipe = find_agent("drq").replace(steps=steps)
    return AgentExperiment(
        recipe, tuple((f"atari:{game}",) for game in games), ("nothing", SLOW, PAIR), seeds
    )


def written(path: Path, compared: Made, **more: Any) -> str:
    settings: dict[str, Any] = {"command": COMMAND, "versions": {"torch": "2.13"}, **more}
    write_report(*compared, path / "report.html", **settings)
    return (path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mini() -> Made:
    return made(experiment([BREAKOUT, ASTERIX]))


@pytest.fixture(scope="module")
def sequence() -> Made:
    return made(experiment([SEQUENCE], seeds=3, steps=5_000))


@pytest.fixture(scope="module")
def page(mini: Made, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(written(tmp_path_factory.mktemp("report"), mini, protocol="padding valid"))


def test_it_needs_nothing_else(mini: Made, tmp_path: Path) -> None:
    video = tmp_path / "play.gif"
    video.write_bytes(b"GIF89a")
    text = written(tmp_path, mini, videos={"seed 0": video})
    found = Page(text.replace("<img", "<br"))
    links = {a.get(name) for _, a in found.tags for name in ("src", "href") if name in a}
    assert links == {"data:,", f"data:image/gif;base64,{base64.b64encode(b'GIF89a').decode()}"}
    assert "http" not in without_plotly(text).replace("http-equiv", "")
    (policy,) = (
        m["content"] for m in found.named("meta") if m.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "media-src data:" in policy
    assert PLOTLY in text
    assert len(text) < 2_500_000


def test_the_differences_come_first_and_the_rest_in_order(page: Page) -> None:
    titles = [
        "Probability of improvement over 2 games",
        "Return on minatar:breakout",
        "Return on minatar:asterix",
    ]
    titles += ["Over the games", "While they learn", "Training return on minatar:breakout"]
    titles += [
        "Training return on minatar:asterix",
        "Measures of plasticity",
        "Dormant ratio, minatar:breakout",
    ]
    titles += [
        "Effective rank, minatar:breakout",
        "Dormant ratio, minatar:asterix",
        "Effective rank, minatar:asterix",
    ]
    assert page.text["h3"] == [*titles, "All figures", "What must be known beside them"]


def test_sentences_notes_tables_command_and_protocol_are_there(mini: Made, page: Page) -> None:
    texts = "".join("".join(found) for tag, found in page.text.items() if tag != "script")
    for text in (
        *sentences(mini[0]),
        *(note.text for note in notes(mini[0])),
        COMMAND,
        "padding valid",
        "2.13",
    ):
        assert text in texts
    cells = [cell for tag in ("td", "th") for cell in page.text[tag]]
    for columns in (lay_out_games(mini[0]), lay_out_across(mini[0])):
        for line in columns.lines:
            assert {*line[1:]} <= {*cells}
    assert "5 seeds: the bootstrap interval is too narrow" in texts


def test_a_trace_has_the_mean_and_both_ends_of_its_interval(mini: Made, page: Page) -> None:
    (chart,) = (
        c for c in page.charts.values() if len(c["traces"]) == 4 and c["layout"]["shapes"][0]["x0"] == 0.5
    )
    across = mini[0].across
    assert across is not None
    for trace in chart["traces"]:
        entry = next(e for e in across.entries if e.method == trace["meta"]["method"])
        ends = [d.improvement for d in entry.differences]
        bars = trace["error_x"]
        drawn = (trace["x"][0], bars["arrayminus"][0], bars["array"][0])
        assert drawn in [pytest.approx((e.mean, e.mean - low(e), high(e) - e.mean), abs=1e-4) for e in ends]


def low(estimate: Estimate) -> float:
    assert estimate.low is not None
    return estimate.low


def high(estimate: Estimate) -> float:
    assert estimate.high is not None
    return estimate.high


def test_learning_curves_are_means_over_the_seeds(mini: Made, page: Page) -> None:
    names = [a["aria-label"] for a in page.named("div") if a.get("class") == "chart"]
    place = names.index("Training return on minatar:breakout")
    traces = page.charts[f"chart-{place}"]["traces"]
    lines = {t["meta"]["method"]: t for t in traces if "hovertemplate" in t}
    assert set(lines) == set(ARMS)
    width = min(b - a for line in lines.values() for a, b in zip(line["x"], line["x"][1:], strict=False))
    mine = [r for r in mini[1] if r.method == PAIR and r.recipe.endswith("breakout")]
    for x, y in zip(lines[PAIR]["x"], lines[PAIR]["y"], strict=True):
        means = []
        for result in mine:
            rows = [r for r in result.rows if x - width < r["step"] <= x and r["episodes"]]
            means.append(sum(r["return"] * r["episodes"] for r in rows) / sum(r["episodes"] for r in rows))
        assert y == pytest.approx(sum(means) / 5, rel=1e-4)


def test_measures_are_drawn_along_the_steps(mini: Made, page: Page) -> None:
    names = [a["aria-label"] for a in page.named("div") if a.get("class") == "chart"]
    traces = page.charts[f"chart-{names.index('Dormant ratio, minatar:asterix')}"]["traces"]
    line = next(t for t in traces if t["meta"]["method"] == PAIR and "hovertemplate" in t)
    assert (line["x"], line["y"]) == ([5_000, 10_000], [0.05, 0.1])


def test_nothing_in_it_acts_as_markup(tmp_path: Path) -> None:
    planned = experiment(seeds=3)
    recipe = dataclasses.replace(planned.recipe, name=EVIL, description=EVIL, sources={})
    evil, results = made(dataclasses.replace(planned, recipe=recipe))
    results[0] = dataclasses.replace(results[0], failure=EVIL)
    compared = compare_agents(dataclasses.replace(planned, recipe=recipe), results)
    text = written(tmp_path, (compared, results), command=EVIL, versions={EVIL: EVIL}, protocol=EVIL)
    assert not Page(text).named("img")
    assert EVIL not in without_plotly(text)
    assert evil.recipe == EVIL


def test_a_sequence_has_its_matrices_and_its_way_back(sequence: Made, tmp_path: Path) -> None:
    page = Page(written(tmp_path, sequence))
    assert "In sequence: " + ", ".join(SEQUENCE) in page.text["h3"]
    (chart,) = (c for c in page.charts.values() if c["traces"][0]["type"] == "heatmap")
    assert len(chart["traces"]) == 4
    matrix = sequence[0].entry(SEQUENCE, ARMS[0]).matrix
    assert [row[2] for row in chart["traces"][0]["text"]] == [span(matrix[2][j]) for j in range(4)]
    (option,) = {tuple(page.text["option"])}
    assert option == ("plain agent", "EMA", "head reset", "Hare & Tortoise")
    texts = "".join(page.text["th"]) + "".join(page.text["td"])
    assert "minatar:space_invaders, phase 4 − phase 1" in texts
    visit = sequence[0].entry(SEQUENCE, PAIR).revisits[0]
    assert change(visit.figures[0].value) in texts
    assert any("minus that of its first (phase 1)" in text for text in sentences(sequence[0]))
    assert "method <select>" in (tmp_path / "report.html").read_text()


def test_colours_of_a_matrix_go_from_the_lowest_to_the_highest_of_a_game(sequence: Made) -> None:
    shares = shares_of(sequence[0], SEQUENCE)
    for j, game in enumerate(SEQUENCE):
        values = {m: [row[j].mean for row in sequence[0].entry(SEQUENCE, m).matrix] for m in ARMS}
        least, most = min(map(min, values.values())), max(map(max, values.values()))
        for method in ARMS:
            assert shares[method][j] == pytest.approx(
                [(v - least) / (most - least) for v in values[method]]
            ), game


@pytest.mark.parametrize("name", ["play.mp4", "play.GIF", "play.webm"])
def test_videos_lie_in_the_page(name: str, mini: Made, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"film")
    text = written(tmp_path, mini, videos={f"a {EVIL}": tmp_path / name})
    data = base64.b64encode(b"film").decode()
    assert text.count(f"base64,{data}") == 1
    assert EVIL not in text
    assert ("<video" in text) == (not name.endswith("GIF"))


def test_a_video_of_another_kind_is_refused(mini: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a file that ends in"):
        written(tmp_path, mini, videos={"seed 0": tmp_path / "play.avi"})


def elements(svg: str | None, name: str) -> list[ET.Element]:
    assert svg is not None
    return ET.fromstring(svg).findall(f".//{{http://www.w3.org/2000/svg}}{name}")


def test_pictures_are_whole_and_have_a_mark_for_each_line(mini: Made, sequence: Made) -> None:
    picture = differences_picture(mini[0])
    words = [element.text for element in elements(picture, "text")]
    lines = ("EMA", "head reset", "Hare & Tortoise", "Hare & Tortoise − EMA")
    assert [words.count(name) for name in lines] == [3] * 4
    figure = mini[0].entry(BREAKOUT, PAIR).figure("return")
    assert figure is not None
    assert change(figure.differences[0].difference).rstrip("*").replace(" (", ", ").rstrip(")") in words
    methods = mini[0].methods
    finished = finished_of(mini[0].recipe, mini[0].steps, mini[0].games, methods, mini[1])
    learned = learning_picture(mini[0], BREAKOUT, finished)
    paths = elements(learned, "path")
    assert sum(path.get("opacity") == "0.13" for path in paths) == 4  # a band for each method
    assert {"plain agent", "EMA", "head reset", "Hare & Tortoise"} <= {
        e.text for e in elements(learned, "text")
    }
    assert (
        len([r for r in elements(sequence_picture(sequence[0], SEQUENCE), "rect") if r.get("class")])
        == 4 * 16
    )
    assert profile_picture(mini[0]) is None


def numbers(path: ET.Element) -> list[float]:
    return [float(found) for found in re.findall(r"[\d.]+", path.get("d", ""))]


def test_a_band_reaches_to_both_ends_of_its_intervals() -> None:
    look = Look("arm", "#123456", "circle", False)
    points = ((0.0, Estimate(5.0, 4.0, 7.0, 3)), (10.0, Estimate(7.0, 2.0, 8.0, 3)))
    drawn = elements(draw_curves("title", "steps", "return", {look: points}), "path")
    band, line = (
        numbers(next(path for path in drawn if path.get(name) == value))[1::2]
        for name, value in (("opacity", "0.13"), ("stroke-width", "2"))
    )
    scale = (line[0] - line[1]) / 2.0  # pixels from a mean of 5 to one of 7
    assert scale > 0
    expected = [line[0] - 2 * scale, line[1] - scale, line[1] + 5 * scale, line[0] + scale]
    assert band == pytest.approx(expected, abs=0.3)


def test_a_bar_reaches_to_both_ends_of_its_interval(mini: Made) -> None:
    figures = [mini[0].entry(BREAKOUT, method).figure("return") for method in ARMS[1:]]
    found = [figure.differences[0].difference for figure in figures if figure is not None]
    paths = [p for p in elements(differences_picture(mini[0]), "path") if p.get("stroke-width") == "1.5"]
    bars = [numbers(path) for path in paths]
    gains = [(gain.low or 0.0, gain.high or 0.0) for gain in found]
    fits = [
        place
        for place in range(len(bars) - 2)
        for scale in [(bars[place + 1][0] - bars[place][0]) / (gains[1][0] - gains[0][0])]
        if all(
            bars[place + n][0] == pytest.approx(bars[place][0] + scale * (low - gains[0][0]), abs=0.3)
            and bars[place + n][2] == pytest.approx(bars[place][0] + scale * (high - gains[0][0]), abs=0.3)
            for n, (low, high) in enumerate(gains)
        )
    ]
    assert len(fits) == 1  # the panel of this game


def test_one_game_without_finished_trials_has_no_picture() -> None:
    planned = experiment(methods=("nothing",), seeds=1)
    results = [dataclasses.replace(result, failure="it broke") for result in results_of(planned)]
    compared = compare_agents(planned, results)
    finished = finished_of(compared.recipe, compared.steps, compared.games, compared.methods, results)
    assert learning_picture(compared, BREAKOUT, finished) is None
    assert differences_picture(compared) is None


def test_games_of_atari_have_scores_profiles_and_published_lines(tmp_path: Path) -> None:
    compared = made(atari(["Pong", "Assault"]), scale=20.0)
    page = Page(written(tmp_path, compared))
    assert {"Performance profile", "IQM along the steps", "Published scores of the same games"} <= {
        *page.text["h3"]
    }
    across = lay_out_across(compared[0])
    assert across.header[:6] == ("method", "seeds", "IQM", "median", "mean", "optimality gap")
    entry = compared[0].across
    assert entry is not None
    iqm = entry.entries[2].aggregate("iqm")
    assert iqm is not None
    assert across.lines[2][2] == f"{iqm.mean:.3f} ({low(iqm):.3f} to {high(iqm):.3f})"
    assert all("published" in line[0] for line in across.baselines)
    scores = lay_out_published(compared[0])
    pong = dict(zip(scores.header, scores.lines[0], strict=True))
    assert (pong["game"], pong["random play"], pong["human play"]) == ("Pong", "−20.7", "14.6")
    assert pong["SPR\n(published, 100 runs)"] == "−5.41"
    assert [name for name in scores.header if name.endswith("(ours)")] == [
        "plain agent\n(ours)",
        "EMA\n(ours)",
        "Hare & Tortoise\n(ours)",
    ]
    told = " ".join(note.text for note in notes(compared[0]))
    assert "It is of 100,000 steps, ours of 10,000: not to be compared." in told
    whole = made(atari(["Pong"], steps=100_000, seeds=1))[0]
    assert "not to be compared" not in " ".join(note.text for note in notes(whole))
    assert elements(profile_picture(compared[0]), "path")


def test_no_aggregate_is_written_with_plus_and_minus(tmp_path: Path) -> None:
    compared = made(atari(["Pong", "Assault"]), scale=20.0)
    assert "±" not in markdown(compared[0])
    assert "±" not in without_plotly(written(tmp_path, compared))


def test_many_games_stand_in_one_panel_and_are_counted() -> None:
    compared = made(atari(GAMES[:5]), scale=100.0)[0]
    words = [element.text for element in elements(differences_picture(compared), "text")]
    assert sum(str(text).startswith("Human-normalised score on each game") for text in words) == 1
    assert "Alien: Hare & Tortoise − EMA" in words
    signs = []
    for game in GAMES[:5]:
        figure = compared.entry((f"atari:{game}",), PAIR).figure("return")
        assert figure is not None
        signs.append(figure.differences[0].difference.sign)
    text = f"Hare & Tortoise, against the plain agent, lies above on {signs.count(1)} of 5 games by itself, below on"
    assert sum(found.startswith(text) for found in sentences(compared)) == 1
