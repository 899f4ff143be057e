"""One HTML file that opens anywhere, offline: the page around the sections of a report, its figures and tables."""

from __future__ import annotations

import base64
import functools
import gzip
import html
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from hare_tortoise.lab.report_charts import Chart
from hare_tortoise.lab.report_looks import Look
from hare_tortoise.lab.report_marks import swatch
from hare_tortoise.lab.wording import starts_anew


@dataclass
class Figures:
    """The figures of a page, each drawn by the script at its end.

    Args:
        charts: what plotly.js takes, by the name of the element.
    """

    charts: dict[str, Any] = field(default_factory=dict)

    def draw(self, found: Sequence[Chart]) -> str:
        """Write the places of figures, and keep what is drawn there."""
        return "".join(self._figure(chart) for chart in found)

    def _figure(self, chart: Chart) -> str:
        name = f"chart-{len(self.charts)}"
        self.charts[name] = {
            "traces": chart.traces,
            "layout": chart.layout,
            "height": chart.height,
            "crowded": chart.crowded,
        }
        choices = dict.fromkeys(choice for trace in chart.traces if (choice := trace["meta"].get("choice")))
        options = "".join(f"<option>{safe(choice)}</option>" for choice in choices)
        select = (
            f'<label class="choice">{safe(chart.choice)} <select>{options}</select></label>'
            if choices
            else ""
        )
        caption = f"<figcaption>{safe(chart.caption)}</figcaption>" if chart.caption else ""
        wide = ' class="wide"' if chart.wide else ""
        space = f'style="min-height:{chart.height}px"'
        title = safe(chart.title)
        return (
            f"<figure{wide}><h3>{title}</h3>{select}"
            f'<div class="chart" id="{name}" role="img" aria-label="{title}" {space}></div>{caption}</figure>'
        )


def lay_page(
    *,
    title: str,
    heading: str,
    question: str,
    links: Mapping[str, str],
    sections: Sequence[str],
    figures: Figures,
    command: str,
    versions: Mapping[str, str],
) -> str:
    """Lay out the page, plotly.js included once, compressed.

    Args:
        title: of the browser's window.
        heading: above all.
        question: below it, in one sentence.
        links: names of sections by the id that they have; with fewer than two none are shown.
        sections: as HTML.
        figures: those of the sections.
        command: the exact command that made it.
        versions: of what the figures depend on.
    """
    listed = "".join(f'<a href="#{name}">{safe(text)}</a>' for name, text in links.items())
    return Template(asset("report.html")).substitute(
        title=safe(title),
        heading=safe(heading),
        question=safe(question),
        style=asset("report.css"),
        contents=f"<nav>{listed}</nav>" if len(links) > 1 else "",
        sections="\n".join(sections),
        command=safe(command),
        versions="".join(f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>" for k, v in versions.items()),
        # "<" could end the script element from inside a string
        charts=json.dumps(_rounded(figures.charts), allow_nan=False, separators=(",", ":")).replace(
            "<", "\\u003c"
        ),
        licence=get_plotlyjs().partition("/**")[2].partition("*/")[0].replace("*", "").strip(),
        plotly=_packed_plotly(),
        script=asset("report.js"),
    )


def keys(methods: Sequence[str], first: Collection[str], looked: Mapping[str, Look]) -> str:
    """Write the legend: a button for each method.

    Args:
        methods: in their order; those that start anew come first.
        first: those whose curves are there from the start.
        looked: of the methods.
    """
    ordered = sorted(methods, key=lambda method: not starts_anew(method))
    buttons = "".join(
        f'<button type="button" aria-pressed="{"true" if method in first else "mixed"}" '
        f'data-method="{safe(method)}" title="{safe(method)}">'
        f"{swatch(looked[method])}{safe(looked[method].label)}</button>"
        for method in ordered
    )
    hint = "Click a method to hide it in all figures, double-click to see it alone."
    if len(first) < len(ordered):
        hint += f" At first the curves are those of {len(first)} of {len(ordered)} methods; click a pale one to add it."
    return f'<div class="keys" role="group" aria-label="methods">{buttons}</div><p class="hint">{hint}</p>'


def results_table(header: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Write lines as a table; a name that is that of the line before is left out.

    Args:
        header: names of the columns, in which a line break is one.
        lines: name and cells, of which the first gives way to the name.
    """
    head = "".join(f'<th scope="col">{safe(name).replace(chr(10), "<br>")}</th>' for name in header)
    body, previous = [], ""
    for label, line in lines:
        first = label != previous
        previous = label
        name = safe(label) if first else ""
        cells = "".join(
            f'<td class="clear">{safe(cell)}</td>' if cell.endswith("*") else f"<td>{safe(cell)}</td>"
            for cell in line[1:]
        )
        body.append(f'<tr{" class=first" if first else ""}><th scope="row">{name}</th>{cells}</tr>')
    table = f"<table class=results><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="scroller" tabindex="0">{table}</div>'


def plain_table(values: Mapping[str, object]) -> str:
    """Write names and values, one a line."""
    rows = "".join(f"<tr><th scope=row>{safe(k)}</th><td>{safe(v)}</td></tr>" for k, v in values.items())
    return f'<div class="scroller" tabindex="0"><table class=plain>{rows}</table></div>'


def note_list(texts: Sequence[str], *, warnings: bool) -> str:
    """Write notes as a list; nothing where there are none."""
    lines = "".join(f"<li>{safe(text)}</li>" for text in texts)
    return f'<ul class="{"warnings" if warnings else "notes"}">{lines}</ul>' if lines else ""


def safe(text: object) -> str:
    """Write a text so that nothing in it can act as markup."""
    return html.escape(str(text))


def asset(name: str) -> str:
    """Read a file that lies beside this one."""
    return (files("hare_tortoise.lab") / name).read_text(encoding="utf-8")


@functools.cache
def _packed_plotly() -> str:
    """Give plotly.js as the base64 text of a gzip file, the same each time."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _rounded(value: Any) -> Any:
    """Keep the digits that a figure can show; what a trace is known by stays as it is."""
    if isinstance(value, dict):
        return {name: item if name == "meta" else _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
