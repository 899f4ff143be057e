"""The agents' report in headless Chromium: drawn, silent, without a network, as wide as a phone at most."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from hare_tortoise.rl.report.comparison import compare_agents
from hare_tortoise.rl.report.page import write_report
from tests.lab.test_report_browser import browser as browser
from tests.lab.test_report_browser import pytestmark as pytestmark
from tests.lab.test_report_browser import show
from tests.rl.agent_oracle import atari
from tests.rl.agent_results import ASTERIX, BREAKOUT, SEQUENCE, experiment, results_of

DOT = base64.b64decode("R0lGODlhAQABAAAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")


@pytest.fixture(scope="module", params=["minatar", "atari"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "play.gif").write_bytes(DOT)
    mini = experiment([BREAKOUT, ASTERIX, SEQUENCE], seeds=3, steps=5_000)
    planned, scale = (mini, 1.0) if request.param == "minatar" else (atari(), 30.0)
    results = results_of(planned, scale=scale)
    write_report(
        compare_agents(planned, results),
        results,
        folder / "report.html",
        command="hare-tortoise rl",
        versions={"torch": "2.13"},
        protocol="a long line " * 40,
        videos={"seed 0": folder / "play.gif"},
    )
    return folder / "report.html"


def test_every_figure_and_video_is_drawn_and_nothing_is_asked_for(browser: Any, report: Path) -> None:
    show(browser, report, 1200)
    charts = browser.execute_script("return [...document.querySelectorAll('.chart')].length")
    assert charts >= 8
    empty = "return [...document.querySelectorAll('.chart')].filter((c) => !c.querySelector('.trace, .hm')).length"
    assert browser.execute_script(empty) == 0
    assert browser.execute_script("return document.querySelector('.played img').naturalWidth") == 1
    assert browser.get_log("browser") == []
    asked = set()
    for line in browser.get_log("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"].split(",")[0])
    assert all(url.startswith(("data:", "blob:")) for url in asked - {report.as_uri()}), asked


@pytest.mark.parametrize("width", [375, 1200])
def test_the_page_never_scrolls_sideways(browser: Any, report: Path, width: int) -> None:
    show(browser, report, width)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) <= 0


def test_the_legend_hides_a_method_everywhere(browser: Any, report: Path) -> None:
    show(browser, report, 1200)
    count = "return document.querySelectorAll('.scatterlayer > .trace').length"
    before = browser.execute_script(count)
    browser.find_element("css selector", "button[data-method='nothing']").click()
    after = browser.execute_script(count)
    browser.find_element("css selector", "button[data-method='nothing']").click()
    assert 0 < after < before == browser.execute_script(count)
