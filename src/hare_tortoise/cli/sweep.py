"""`hare-tortoise sweep`: find settings of a method on a recipe, chosen on validation data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from hare_tortoise.cli import options
from hare_tortoise.cli.compare import Compare

if TYPE_CHECKING:
    from hare_tortoise.lab.recipe import Recipe


@dataclass(frozen=True)
class Sweep:
    """Run settings of a method on a recipe, beside its parents and controls, and choose on validation data."""

    examples: ClassVar[str] = """\
  hare-tortoise sweep demo-growing --over decay=0.9,0.97,0.99 reset_every=10,100,none lr=3e-4,1e-3
  hare-tortoise sweep demo-growing --over decay=0.9..0.999 reset_every=10..1000 --search random --trials 20
  hare-tortoise sweep demo-growing --over decay=0.9,0.99 reset_every=10,100 --search halving --seeds 3
  hare-tortoise sweep --source mine.npz --over decay=0.9,0.99 reset_every=10,100 --set epochs=20
  hare-tortoise sweep demo-growing --method shrink-perturb --over shrink=0.2,0.5,0.8 recipe.lr=1e-3,3e-3

What is finished is kept in the output folder: the same command again runs only what is missing."""

    recipe: Annotated[tyro.conf.Positional[str | None], *options.text("RECIPE")] = None
    """Name of a recipe (hare-tortoise recipes); without one, digits that come in ten parts, or what options say."""
    over: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME=A,B,C ...", help_behavior_hint=""),
    ] = ()
    """What is swept: settings of the method, or values of the recipe; lists, or ranges such as lr=3e-4..3e-3."""
    scale: Annotated[Literal["paper", "desk", "smoke"], tyro.conf.arg(help_behavior_hint="")] = "paper"
    """How large: as published; ten minutes a trial on one core; or ten seconds, to see that it works."""
    source: Annotated[str | None, *options.text("SOURCE")] = None
    """The data: a name (hare-tortoise streams), an .npz file, or a folder of images."""
    scenario: Annotated[str | None, *options.text("SCENARIO")] = None
    """How the data arrives: "warm-start(first=0.5)", "growing(chunks=5)"."""
    network: Annotated[str | None, *options.text("NETWORK")] = None
    """The network: "mlp(hidden=(64, 64))", resnet18, or package.module:function of your own."""
    method: Annotated[str | None, *options.text("METHOD")] = None
    """The method whose settings are swept; by default Hare & Tortoise as the recipe has it."""
    search: Annotated[Literal["grid", "random", "halving"], tyro.conf.arg(help_behavior_hint="")] = "grid"
    """All settings, some, or fewer and fewer along the stream (the last two need the extra "sweep")."""
    trials: Annotated[int | None, *options.whole("N")] = None
    """Settings that a search draws; by default all of a grid, 16 where there are ranges."""
    choose: Annotated[Literal["average", "final"], tyro.conf.arg(help_behavior_hint="")] = "average"
    """On which validation accuracy: the average over the stream, or the final one."""
    seeds: Annotated[int | None, *options.whole("N")] = None
    """How many seeds each setting has; below 3 there are no intervals."""
    budgets: Annotated[str | None, *options.text("0.1,0.3,1")] = None
    """Shares of the epochs; settings are compared within each."""
    set: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME=VALUE ...", help_behavior_hint=""),
    ] = ()
    """Any other value of the recipe: epochs=20 validation=0.2."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("sweep")
    """Where runs, checkpoints, tables and heat maps are kept."""
    data_root: Annotated[Path | None, *options.folder("DIR")] = None
    """Where known data sets lie; by default the environment variable HARE_TORTOISE_DATA."""
    workers: Annotated[int | None, *options.whole("N")] = None
    """Trials that run at the same time; by default as many as the machine has cores or devices for."""
    quiet: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Show no progress."""

    def run(self, written: Sequence[str]) -> int:
        """Run, print, and say where the page is."""
        from hare_tortoise.cli.show import show_sweep
        from hare_tortoise.lab.sweep import run_sweep

        sweep = run_sweep(
            self.chosen(),
            [text for group in self.over for text in group],
            out=self.out,
            method=self.method,
            search=self.search,
            trials=self.trials,
            choose=self.choose,
            data_root=self.data_root,
            workers=self.workers,
            quiet=self.quiet,
            command=shlex.join(["hare-tortoise", *written]),
        )
        return show_sweep(sweep, self.out / "sweep.md")

    def chosen(self) -> Recipe:
        """Give the recipe with the values that were given, as a comparison takes them.

        Raises:
            ValueError: There is no such recipe, or a value is out of its range.
        """
        (recipe,) = Compare(
            () if self.recipe is None else (self.recipe,),
            scale=self.scale,
            source=self.source,
            scenario=self.scenario,
            network=self.network,
            seeds=self.seeds,
            budgets=self.budgets,
            set=self.set,
        ).recipes()
        return recipe
