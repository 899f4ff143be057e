"""The report in headless Chromium: drawn, silent, usable with a click, on a phone, on paper, without a network."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hare_tortoise.lab.comparison import compare
from hare_tortoise.lab.report import write_report
from tests.lab.synthetic_results import (
    growing_recipe,
    growing_results,
    result,
    task_recipe,
    task_results,
    warm_recipe,
    warm_results,
    with_baselines,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="needs chromium and chromedriver on the PATH"),
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
EVIL = "<img src=x onerror=alert(1)>"
DRAWN = "return [...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('.main-svg'))"
VISIBLE = "return document.getElementById(arguments[0]).querySelectorAll('.scatterlayer > .trace').length"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("browser") / "report.html"
    recipes = [warm_recipe(description=EVIL), growing_recipe()]
    results = [warm_results(recipes[0]), growing_results(recipes[1], measures=True)]
    comparisons = [compare(recipe, found) for recipe, found in zip(recipes, results, strict=True)]
    write_report(
        comparisons, recipes, [*results[0], *results[1]], path, command=EVIL, versions={"torch": "2.13"}
    )
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(service=Service(str(DRIVER)), options=options)
    yield driver
    driver.quit()


def show(browser: Any, path: Path, width: int) -> None:
    """Open the report at a width, read away what was logged before, and wait until it is drawn."""
    open_at(browser, path, width)
    wait_for(browser, lambda: browser.execute_script(DRAWN))


def wait_for(browser: Any, event: Callable[[], bool]) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 30).until(lambda _: event())


def open_at(browser: Any, path: Path, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())


@pytest.fixture
def page(browser: Any, report: Path) -> Any:
    show(browser, report, 1200)
    return browser


def test_every_figure_is_drawn_and_the_console_is_silent(page: Any) -> None:
    charts = page.execute_script("return [...document.querySelectorAll('.chart')].map((c) => c.id)")
    assert len(charts) == 1 + 2 + 2 + 3 + 1
    for chart in charts:
        # a line of each method; in the gap to from scratch of those that continue, with its band
        assert page.execute_script(VISIBLE, chart) >= 9, chart
    assert page.get_log("browser") == []


def test_a_console_error_would_be_seen(browser: Any, report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = report.read_text(encoding="utf-8").replace("Plotly.newPlot(", "Plotly.newPlott(")
    broken.write_text(text, encoding="utf-8")
    open_at(browser, broken, 1200)
    wait_for(browser, lambda: any("newPlott" in line["message"] for line in browser.get_log("browser")))


def test_a_browser_that_cannot_unpack_says_so(browser: Any, report: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.html"
    text = report.read_text(encoding="utf-8")
    old.write_text(
        text.replace("<body>", "<body><script>delete window.DecompressionStream</script>"), encoding="utf-8"
    )
    open_at(browser, old, 1200)
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map((c) => c.textContent)"
    )
    assert all(text.startswith("This browser is too old to draw the figure") for text in shown)
    assert browser.get_log("browser") == []


def test_nothing_is_requested(page: Any, report: Path) -> None:
    requested = set()
    for line in page.get_log("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requested.add(message["params"]["request"]["url"].split(",")[0])
    assert report.as_uri() in requested
    assert all(url.startswith(("data:", "blob:")) for url in requested - {report.as_uri()}), requested


def test_a_legend_click_hides_a_method_in_all_figures_of_its_section(page: Any) -> None:
    section = page.find_elements("css selector", "section[data-comparison]")[0]
    charts = [chart.get_attribute("id") for chart in section.find_elements("css selector", ".chart")]
    elsewhere = page.execute_script("return document.querySelectorAll('.chart')[4].id")
    assert elsewhere not in charts
    key = section.find_element("css selector", "button[data-method='warm-start']")
    before = {chart: page.execute_script(VISIBLE, chart) for chart in [*charts, elsewhere]}
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    lost = {chart: before[chart] - page.execute_script(VISIBLE, chart) for chart in before}
    # a line in the first figure, a line and its band over the stream
    assert [lost[chart] for chart in charts] == [1, 2, 2]
    assert lost[elsewhere] == 0
    page.execute_script("arguments[0].click()", key)
    assert {chart: page.execute_script(VISIBLE, chart) for chart in before} == before


def test_a_double_click_shows_a_method_alone(page: Any) -> None:
    from selenium.webdriver import ActionChains

    key = page.find_element("css selector", "button[data-method='head-reset']")
    ActionChains(page).double_click(key).perform()
    pressed = page.find_elements(
        "css selector", "section[data-comparison='0'] .keys button[aria-pressed='true']"
    )
    assert [one.get_attribute("data-method") for one in pressed] == ["head-reset"]
    assert page.execute_script(VISIBLE, "chart-0") == 1
    ActionChains(page).pause(1).double_click(key).perform()
    assert page.execute_script(VISIBLE, "chart-0") == 9


def test_a_budget_can_be_chosen(page: Any) -> None:
    name = "return document.getElementById('chart-1').data.filter((t) => t.visible).map((t) => t.meta.budget)"
    assert set(page.execute_script(name)) == {1}
    page.find_element("css selector", "button[data-budget='0.1']").click()
    assert set(page.execute_script(name)) == {0.1}


@pytest.mark.parametrize("width", [390, 768, 1200])
def test_the_page_never_scrolls_sideways(browser: Any, report: Path, width: int) -> None:
    show(browser, report, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = """return [...document.querySelectorAll('body *')].filter((e) =>
        !e.closest('.scroller, svg, .js-plotly-plot') && e.getBoundingClientRect().right > arguments[0] + 1
    ).map((e) => e.outerHTML.slice(0, 80))"""
    assert browser.execute_script(outside, width) == []
    drawn = "return [...document.querySelectorAll('.chart .main-svg')].map((e) => e.getBoundingClientRect().right)"
    assert max(browser.execute_script(drawn)) <= width
    assert browser.get_log("browser") == []


def test_what_users_write_is_text(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('img').length") == 0
    assert EVIL in page.find_element("css selector", "pre").text


def test_it_prints_whole(page: Any) -> None:
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    settings = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True, "preferCSSPageSize": True}
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", settings)["data"])
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    # what is folded on the screen is open on paper
    assert page.execute_script("return [...document.querySelectorAll('details')].every((d) => d.open)")
    assert page.get_log("browser") == []


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "report.html"
    recipes = [task_recipe(), growing_recipe(methods=(*MANY, "head-reset"))]
    single = [
        result(recipes[1], method, 1.0, seed, [0.5 + 0.01 * place] * 3)
        for place, method in enumerate(recipes[1].methods)
        for seed in range(3)
    ]
    results = [task_results(recipes[0]), with_baselines(single, {"same as last time": 0.55})]
    comparisons = [compare(recipe, found) for recipe, found in zip(recipes, results, strict=True)]
    write_report(
        comparisons, recipes, [*results[0], *results[1]], path, command="x", versions={"torch": "2.13"}
    )
    return path


MANY = ("from-scratch", "warm-start", *(f"l2-init(strength=0.{n})" for n in range(10, 22)))
SHOWN = "return document.getElementById(arguments[0]).data.filter((t) => t.visible).map((t) => t.meta.{})"


def chart_of(browser: Any, title: str) -> str:
    [found] = [
        figure.find_element("css selector", ".chart").get_attribute("id")
        for figure in browser.find_elements("css selector", "figure")
        if figure.find_element("css selector", "h3").text == title
    ]
    return str(found)


def test_a_network_can_be_chosen_for_the_matrix(browser: Any, tasks: Path) -> None:
    from selenium.webdriver.support.ui import Select

    show(browser, tasks, 1200)
    chart = chart_of(browser, "Accuracy on every task over the stream")
    assert browser.execute_script(SHOWN.format("choice"), chart) == ["from scratch"]
    drawn = "return document.getElementById(arguments[0]).querySelectorAll('.heatmaplayer image').length"
    assert browser.execute_script(drawn, chart) == 1
    Select(browser.find_element("css selector", "select")).select_by_visible_text("EMA: hare")
    assert browser.execute_script(SHOWN.format("choice"), chart) == ["EMA: hare"]
    # hiding a method leaves what was chosen
    browser.find_element("css selector", "button[data-method='ema(decay=0.99)']").click()
    assert browser.execute_script(SHOWN.format("choice"), chart) == ["EMA: hare"]
    assert "ema(decay=0.99)" not in browser.execute_script(
        SHOWN.format("method"), chart_of(browser, "All tasks seen so far")
    )
    assert browser.get_log("browser") == []


def test_pale_methods_are_in_no_curve_until_clicked(browser: Any, tasks: Path) -> None:
    from selenium.webdriver import ActionChains

    show(browser, tasks, 1200)
    section = "section[data-comparison='1']"
    charts = browser.find_elements("css selector", f"{section} .chart")
    first, curves = charts[0].get_attribute("id"), charts[2].get_attribute("id")
    method = "l2-init(strength=0.1)"
    assert len(browser.execute_script(SHOWN.format("method"), first)) == len(MANY) + 1
    assert method not in browser.execute_script(SHOWN.format("method"), curves)
    assert None in browser.execute_script(
        SHOWN.format("method"), curves
    )  # what learns nothing is always there
    key = browser.find_element("css selector", f"{section} button[data-method='{method}']")
    pressed = []
    for _ in range(3):
        key.click()
        ActionChains(browser).pause(1).perform()
        pressed.append(key.get_attribute("aria-pressed"))
        shown = method in browser.execute_script(SHOWN.format("method"), curves)
        assert shown == (pressed[-1] == "true")
    assert pressed == ["true", "false", "true"]


@pytest.mark.parametrize("width", [390, 1200])
def test_pages_with_tasks_never_scroll_sideways(browser: Any, tasks: Path, width: int) -> None:
    show(browser, tasks, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    drawn = """return [...document.querySelectorAll('.chart .main-svg, select')]
        .map((e) => e.getBoundingClientRect().right)"""
    assert max(browser.execute_script(drawn)) <= width
    assert browser.get_log("browser") == []
