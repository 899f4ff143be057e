"""Published scores: they agree with the aggregates that were published of them, and nothing is taken for ours."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest

from hare_tortoise.lab import aggregates
from hare_tortoise.rl.scores import (
    AGENTS,
    GAMES,
    human_normalised,
    human_score,
    published,
    random_score,
)

WITH_SCORES = [name for name in AGENTS if published(name).scores]

# The five runs of IRIS on each game, as its authors published them (eloialonso/iris @ 75e5ab5).
IRIS: dict[str, list[float]] = {
    "Alien": [368.7, 452.5, 437.2, 331.7, 510],
    "Amidar": [196.0, 126, 164.9, 162.9, 65.1],
    "Assault": [1481.3, 928.1, 1121.8, 1556.0, 2534.8],
    "Asterix": [762.5, 1114, 1082, 716.5, 593],
    "BankHeist": [42.2, 48.8, 68.4, 46.4, 59.6],
    "BattleZone": [16990, 14570, 11300, 10070, 12440],
    "Boxing": [86.2, 49.3, 55.8, 83.5, 75.5],
    "Breakout": [104.6, 85.6, 69.7, 70.3, 88.1],
    "ChopperCommand": [1150, 1276, 1659, 2162, 1578],
    "CrazyClimber": [64101, 66127, 62740, 77066, 26587],
    "DemonAttack": [905, 2011.9, 2888.5, 2613.4, 1753],
    "Freeway": [30.9, 31.5, 30.5, 30.8, 31.6],
    "Frostbite": [274.3, 250.0, 295, 250, 226.3],
    "Gopher": [2987.2, 2476.8, 3110.4, 1171.4, 1434.8],
    "Hero": [6916.2, 6933.9, 6740.6, 7881.6, 6714.7],
    "Jamesbond": [487.5, 394, 486, 464, 482],
    "Kangaroo": [2249, 732, 750, 90, 370],
    "Krull": [6047.4, 7364.8, 4980.6, 6006.3, 8683],
    "KungFuMaster": [7301, 15949, 34406, 14372, 36771],
    "MsPacman": [1251.6, 941.5, 590.3, 770.8, 1441.1],
    "Pong": [19.3, 18.5, 16.6, 6.2, 12.4],
    "PrivateEye": [100, 100, 100, 100, 100],
    "Qbert": [853, 575, 790.2, 1027.2, 483.2],
    "RoadRunner": [11355, 2033, 17106, 7614, 9965],
    "Seaquest": [752.2, 855.8, 691, 386, 621.6],
    "UpNDown": [3793, 5367.5, 2943.7, 3637.9, 1988.9],
}


def test_there_are_the_26_games() -> None:
    assert len(GAMES) == len(set(GAMES)) == 26
    assert list(GAMES) == sorted(IRIS)
    assert all(human_score(game) > random_score(game) for game in GAMES)


def test_random_play_is_0_and_human_play_is_1() -> None:
    for game in GAMES:
        assert human_normalised(game, random_score(game)) == 0.0
        assert human_normalised(game, human_score(game)) == 1.0
    assert human_normalised("Pong", -3.05) == pytest.approx(0.5, rel=1e-12)  # halfway from -20.7 to 14.6
    assert human_normalised("Alien", 7127.7 + 6899.9) == pytest.approx(2.0, rel=1e-12)
    assert human_normalised("Alien", 0.0) < 0


@pytest.mark.parametrize("name", WITH_SCORES)
def test_scores_give_the_mean_and_the_median_that_were_published(name: str) -> None:
    agent = published(name)
    assert tuple(agent.scores) == GAMES
    normalised = agent.normalised()
    for game, score in agent.scores.items():
        low, high = random_score(game), human_score(game)
        assert normalised[game] == pytest.approx((score - low) / (high - low), rel=1e-12)
    if agent.aggregates:
        assert statistics.fmean(normalised.values()) == pytest.approx(agent.aggregates["mean"], abs=6e-4)
        assert statistics.median(normalised.values()) == pytest.approx(agent.aggregates["median"], abs=6e-4)
    else:
        assert name == "MuZero"


def test_the_aggregates_of_published_runs_are_those_published() -> None:
    # from raw scores to the four figures, as our own runs go
    matrix = np.array([[human_normalised(game, score) for score in IRIS[game]] for game in GAMES]).T
    assert matrix.shape == (5, 26)
    agent = published("IRIS")
    assert set(agent.aggregates) == {"iqm", "median", "mean", "optimality_gap"}
    for name, value in agent.aggregates.items():
        assert float(getattr(aggregates, name)(matrix)) == pytest.approx(value, abs=6e-4)
    for game in GAMES:
        assert statistics.fmean(IRIS[game]) == pytest.approx(agent.scores[game], abs=1e-3)


def test_figures_of_single_runs_do_not_follow_from_means() -> None:
    means = np.array([list(published("SPR").normalised().values())])
    assert abs(float(aggregates.iqm(means)) - published("SPR").aggregates["iqm"]) > 0.01


def test_a_table_of_means_gives_all_four() -> None:
    agent = published("EfficientZero")
    means = np.array([list(agent.normalised().values())])
    for name, value in agent.aggregates.items():
        assert float(getattr(aggregates, name)(means)) == pytest.approx(value, abs=6e-4)


def test_labels_say_whose_they_are() -> None:
    assert published("DrQ(eps)").label == "DrQ(eps) (published, 100 runs)"
    assert published("BBF RR8").label == "BBF RR8 (published, 52 to 60 runs)"
    assert published("EfficientZero").label == "EfficientZero (published, runs not stated)"
    for name in AGENTS:
        agent = published(name)
        assert "published" in agent.label
        assert len(agent.source) > 10
        assert agent.note


def test_what_is_known_beside_the_means() -> None:
    assert published("DrQ(eps)").deviations["Assault"] == 40.5
    assert published("SPR + resets").intervals == {"iqm": (0.46, 0.51)}
    assert published("SPR + resets").scores == {}
    assert published("SPR + resets").normalised() == {}
    # plasticity, in BBF: without resets a higher replay ratio makes it worse
    slow, fast = (published(f"BBF RR{ratio} without resets").aggregates["iqm"] for ratio in (2, 8))
    assert (slow, fast) == (0.653, 0.398)


def test_what_is_handed_out_cannot_be_changed() -> None:
    scores = published("SPR").scores
    with pytest.raises(TypeError):
        scores["Pong"] = 21.0  # type: ignore[index]
    assert published("SPR").scores["Pong"] == -5.412


def test_the_data_are_in_the_package_with_their_source() -> None:
    content = json.loads((files("hare_tortoise.rl") / "atari_scores.json").read_text(encoding="utf-8"))
    assert "eloialonso/iris" in content["games"]["source"]
    assert list(content["agents"]) == list(AGENTS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: human_normalised("Asault", 1.0),
            r"unknown game of Atari-100k 'Asault'; did you mean 'Assault'",
        ),
        (lambda: human_normalised("bank_heist", 1.0), r"did you mean 'BankHeist'"),
        (
            lambda: random_score("SpaceInvaders"),
            r"unknown game of Atari-100k 'SpaceInvaders'.* are: Alien, Amidar",
        ),
        (lambda: human_score("pong"), r"did you mean 'Pong'"),
        (lambda: human_normalised("Pong", math.nan), r"score: got nan for Pong, expected a finite one"),
        (lambda: human_normalised("Pong", math.inf), r"score: got inf for Pong"),
        (lambda: published("DrQ-eps"), r"unknown published agent 'DrQ-eps'; did you mean 'DrQ\(eps\)'"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
