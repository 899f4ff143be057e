"""Tables and pictures of docs/results/rl.md, made again from the metrics of agents that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evidence.agents import AGENT_LINES, AgentLine, AgentRecord, key, read_all
from hare_tortoise.rl.experiment import AgentExperiment
from hare_tortoise.rl.report.comparison import compare_agents
from hare_tortoise.rl.report.figures import finished_of
from hare_tortoise.rl.report.picture import differences_picture, learning_picture
from hare_tortoise.rl.report.table import markdown


def contents() -> dict[str, str]:
    """Give the contents of all files by name: the progress, and of each line its table and pictures."""
    kept, found = read_all(), {}
    progress = ["| line | trials | core-hours of the whole |", "| --- | ---: | ---: |"]
    for line in AGENT_LINES.values():
        wanted = line.trials()
        count = sum(key(trial) in kept for trial in wanted)
        progress.append(f"| `{line.name}` | {count} of {len(wanted)} | {line.hours:g} |")
        for experiment in line.experiments():
            found.update(_of(experiment, line, kept))
    return {**found, "agents-progress.md": "\n".join(progress) + "\n"}


def _of(experiment: AgentExperiment, line: AgentLine, kept: Mapping[str, AgentRecord]) -> dict[str, str]:
    records = [kept[key(trial)] for trial in experiment.trials() if key(trial) in kept]
    name = f"agents-{line.name}"
    if not records:
        return {f"{name}.md": "No trial of this line is finished yet.\n"}
    results = [record.result for record in records]
    comparison = compare_agents(experiment, results)
    found = {f"{name}.md": f"{_heading(experiment, line, records)}\n\n{markdown(comparison)}"}
    if (picture := differences_picture(comparison)) is not None:
        found[f"{name}.svg"] = picture
    methods = comparison.methods
    finished = finished_of(comparison.recipe, comparison.steps, comparison.games, methods, results)
    for place, games in enumerate(experiment.games):
        drawn = learning_picture(comparison, games, finished)
        if drawn is not None:
            found[f"{name}-learning-{place}.svg"] = drawn
    return found


def _heading(experiment: AgentExperiment, line: AgentLine, records: Sequence[AgentRecord]) -> str:
    """Say what was run, how much of it, and with what."""
    recipe = experiment.recipe
    made_with = sorted({f"torch {r.made_with['torch']}, python {r.made_with['python']}" for r in records})
    processors = sorted({r.made_with["processor"] for r in records if r.made_with.get("processor")})
    whole = len(experiment.trials())
    some = (
        ""
        if len(records) == whole
        else f" **{whole - len(records)} of {whole} trials are not finished yet.**"
    )
    return (
        f"`{recipe.name}`, {recipe.steps:,} steps a game, {recipe.replay_ratio:g} updates a step; seeds 0 to "
        f"{experiment.seeds - 1}; {len(records)} trials, the seeds of a method side by side "
        f"in a process of one thread ({'; '.join(made_with)}; {'; '.join(processors)}; other work ran on "
        f"the machine, times are no measure of a method), `python -m evidence run {line.name}`.{some}"
    )
