"""`hare-tortoise rl`: train agents in games with methods beside each other."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from hare_tortoise.cli import options

if TYPE_CHECKING:
    from hare_tortoise.rl.experiment import AgentExperiment

OF_THE_RECIPE = ("steps", "replay_ratio", "encoder")


@dataclass(frozen=True)
class Rl:
    """Train agents in games with methods beside each other; print and draw what each reaches."""

    examples: ClassVar[str] = """\
  hare-tortoise rl --env CartPole-v1 --seeds 3
  hare-tortoise rl --env minatar:breakout --steps 50000 --replay-ratio 4
  hare-tortoise rl --env atari:Assault --methods "nothing,hare-tortoise(decay=0.999, reset_every=1000)"
  hare-tortoise rl --env atari-100k --seeds 5 --out atari
  hare-tortoise rl --sequence minatar:space_invaders,minatar:asterix,minatar:seaquest,minatar:space_invaders
  hare-tortoise rl --env my_game:make --encoder my_game:Encoder --set lr=3e-4 n_step=3
  hare-tortoise rl --env atari:Assault --recipe spr --describe

What is finished is kept in the output folder: the same command again runs only what is missing."""

    env: Annotated[str | None, *options.text("A,B")] = None
    """What is played: atari:Game, minatar:game, an id of gymnasium, package.module:function; atari-100k: 26 games."""
    sequence: Annotated[str | None, *options.text("A,B,C")] = None
    """Games that one network plays one after the other; what it forgets of them is measured."""
    recipe: Annotated[str | None, *options.text("RECIPE")] = None
    """The agent: drq, drq-eps, dqn, der, spr, sr-spr, bbf, bbf-no-spr, minatar, vector; by default one that fits."""
    methods: Annotated[str | None, *options.text("A,B,C+D")] = None
    """What is compared (hare-tortoise methods); by default the plain agent, an average, and Hare & Tortoise."""
    seeds: Annotated[int | None, *options.whole("N")] = None
    """How many seeds, by default 5; below 3 there are no intervals."""
    steps: Annotated[int | None, *options.whole("N")] = None
    """Steps of an agent on each game; by default as the recipe says."""
    replay_ratio: Annotated[float | None, *options.number("R", least=0)] = None
    """Gradient steps for each step of the agent."""
    encoder: Annotated[str | None, *options.text("ENCODER")] = None
    """The encoder: "nature(padding=same)", "impala(width=2)", or package.module:Class of your own."""
    set: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME=VALUE ...", help_behavior_hint=""),
    ] = ()
    """Any other value of the recipe: lr=3e-4 target=copy; --describe names them all."""
    episodes: Annotated[int | None, *options.whole("N")] = None
    """Whole games that an agent is judged by at its end, by default 100."""
    curve_every: Annotated[int | None, *options.whole("N")] = None
    """Steps between ten games on the way, a multiple of 1,000; by default there are none."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("agents")
    """Where runs, checkpoints and the report are kept."""
    workers: Annotated[int | None, *options.whole("N")] = None
    """Agents that are trained at the same time; by default as many as the machine has cores or devices for."""
    threads: Annotated[int | None, *options.whole("N")] = None
    """Threads of each, by default 1."""
    device: Annotated[str | None, *options.text("DEVICE")] = None
    """cpu or cuda; by default a GPU where there is one."""
    together: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Train the seeds of a method in one process, quicker for small networks; a GPU does so anyway."""
    checkpoint_every: Annotated[float | None, *options.number("SECONDS", least=0)] = None
    """Seconds between checkpoints, by default 20."""
    videos: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Film a game of each method for the report, on the first game and with the first seed."""
    describe: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Print the protocol of the recipe in full, and run nothing."""
    quiet: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Show no progress."""

    def run(self, written: Sequence[str]) -> int:
        """Run, print, and say where the report is."""
        if self.describe:
            return self._describe()
        from hare_tortoise.cli.show import show_agents
        from hare_tortoise.rl.describe import describe
        from hare_tortoise.rl.played import film
        from hare_tortoise.rl.run import check, report_agents, run_agents
        from hare_tortoise.rl.video import check_film

        experiments = self.experiments()
        for experiment in experiments if self.videos else []:
            check_film(experiment.games[0][-1])
        for experiment in experiments[1:]:
            check(experiment, self.out)  # before the first one runs, which checks itself
        codes = []
        for experiment in experiments:
            out = self.out if len(experiments) == 1 else self.out / experiment.recipe.name
            outcome = run_agents(
                experiment,
                out=out,
                workers=self.workers,
                threads=self.threads or 1,
                device=self.device,
                quiet=self.quiet,
                command=shlex.join(["hare-tortoise", *written]),
                checkpoint_every=20.0 if self.checkpoint_every is None else self.checkpoint_every,
                protocol=describe(experiment.recipe, experiment.games[0][0]),
                together=True if self.together else None,
            )
            codes.append(show_agents(outcome))
            if (
                self.videos and outcome.report is not None
            ):  # the figures are shown, whatever comes of the films
                report_agents(out, videos=film(out))
        return max(codes)

    def experiments(self) -> list[AgentExperiment]:
        """Give what is asked for: an experiment for each recipe that the games need.

        Raises:
            ValueError: A name is not known, or a value is out of its range or is given twice.
        """
        from hare_tortoise.lab.spec import split_list
        from hare_tortoise.rl.asked import experiments, games_of
        from hare_tortoise.rl.trial import Judging

        if self.methods is not None and not split_list(self.methods):
            raise ValueError(
                f"--methods: got {self.methods!r}, expected one or more names, as in --methods a,b (hare-tortoise "
                "methods lists them)"
            )
        return experiments(
            games_of(self.env, self.sequence),
            recipe=self.recipe,
            settings=self.settings(),
            methods=None if self.methods is None else split_list(self.methods),
            seeds=self.seeds or 5,
            judging=Judging(episodes=self.episodes or 100, curve_every=self.curve_every),
        )

    def settings(self) -> dict[str, str]:
        """Collect the values of the recipe that were given."""
        own = {name: getattr(self, name) for name in OF_THE_RECIPE}
        given = {name: str(value) for name, value in own.items() if value is not None}
        return {**given, **options.settings(self.set, tuple(given), "lr=3e-4")}

    def _describe(self) -> int:
        from hare_tortoise.rl.asked import games_of, recipe_for
        from hare_tortoise.rl.describe import describe
        from hare_tortoise.rl.recipes import find_agent

        if self.env is None and self.sequence is None:
            print(describe(find_agent(self.recipe or "drq").override(self.settings())), end="")
            return 0
        for game in dict.fromkeys(game for games in games_of(self.env, self.sequence) for game in games):
            recipe = recipe_for(game) if self.recipe is None else find_agent(self.recipe)
            print(describe(recipe.override(self.settings()), game))
        return 0
