"""What docs/results holds is what the metrics beside it say today, and its pages say what its tables hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evidence import pages
from evidence.agents import AGENT_LINES, key, read_all

ESTIMATE = re.compile(r"[+−]?[\d.,]+ \([+−]?[\d.,]+ to [+−]?[\d.,]+\)|[+−]?[\d.]+ ± [\d.]*\d")
DOCS = Path(__file__).parents[1] / "docs"
# these speak of all tables; the others of those that they include
OF_ALL = ("how-to/choose.md", "results/claims.md", "results/index.md")


def test_what_is_committed_is_what_is_made_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in pages.MADE.iterdir()}
    monkeypatch.setattr(pages, "MADE", tmp_path)
    assert pages.main() == 0
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert sorted(made) == sorted(committed)
    assert [name for name, text in made.items() if text != committed[name]] == []


@pytest.mark.parametrize("page", sorted({*OF_ALL, *(f"results/{p.name}" for p in DOCS.glob("results/*.md"))}))
def test_each_estimate_that_a_page_names_stands_in_a_table(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    shown = (
        pages.MADE.glob("*.md") if page in OF_ALL else map(DOCS.joinpath, re.findall(r'--8<-- "(.+)"', text))
    )
    measured = set(ESTIMATE.findall("".join(path.read_text(encoding="utf-8") for path in shown)))
    # "1.5 ± 0.6 below" has no sign; what has one must have it there too
    measured |= {each.lstrip("+−") for each in measured}
    assert [each for each in ESTIMATE.findall(text) if each not in measured] == []


def test_the_agents_of_assault_have_learned() -> None:
    """Random play has 222. Each method is asked once its trials are there: they are days of work on a CPU."""
    kept = read_all()
    returns: dict[str, list[float]] = {}
    for trial in AGENT_LINES["assault"].trials():
        if key(trial) in kept:
            (games,) = kept[key(trial)].result.rows[-1]["evaluations"].values()
            returns.setdefault(trial.method, []).append(sum(games) / len(games))
    for method, found in returns.items():
        assert len(found) < 3 or sum(found) / len(found) >= 400, (method, found)
