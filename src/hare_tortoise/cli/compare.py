"""`hare-tortoise compare`: run recipes, print what came out, write the report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from hare_tortoise.cli import options

if TYPE_CHECKING:
    from hare_tortoise.lab.recipe import Recipe

BASE = "demo-growing"
OWN_OPTIONS = ("source", "scenario", "network", "methods", "measures", "budgets", "seeds")


@dataclass(frozen=True)
class Compare:
    """Run methods on the same data, seeds and initial weights; print and draw what each keeps and costs."""

    examples: ClassVar[str] = """\
  hare-tortoise compare demo-warm-start demo-growing
  hare-tortoise compare --source mine.npz --budgets 0.1,0.3,1 --set epochs=30
  hare-tortoise compare --source photos/ --network my_models:build --scenario "growing(chunks=5)"
  hare-tortoise compare --methods "from-scratch,warm-start,hare-tortoise(decay=0.99)+l2-init(strength=1e-3)"
  hare-tortoise compare demo-growing --set epochs=20 lr=3e-4 --seeds 3 --out runs/quick
  hare-tortoise compare lee2024-continual-cifar10 --scale smoke --source generated

What is finished is kept in the output folder: the same command again runs only what is missing."""

    recipe: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[RECIPE ...]", help_behavior_hint="")
    ] = ()
    """Names of recipes (hare-tortoise recipes); without one, digits that come in ten parts, or what options say."""
    scale: Annotated[Literal["paper", "desk", "smoke"], tyro.conf.arg(help_behavior_hint="")] = "paper"
    """How large: as published; ten minutes a trial on one core; or ten seconds, to see that it works."""
    source: Annotated[str | None, *options.text("SOURCE")] = None
    """The data: a name (hare-tortoise streams), an .npz file, or a folder of images."""
    scenario: Annotated[str | None, *options.text("SCENARIO")] = None
    """How the data arrives: "warm-start(first=0.5)", "growing(chunks=5)"."""
    network: Annotated[str | None, *options.text("NETWORK")] = None
    """The network: "mlp(hidden=(64, 64))", resnet18, or package.module:function of your own."""
    methods: Annotated[str | None, *options.text("A,B,C+D")] = None
    """What is compared (hare-tortoise methods): commas between, + composes, settings in parentheses."""
    measures: Annotated[str | None, *options.text("A,B")] = None
    """What else is measured over the stream (hare-tortoise measures): dormant-ratio,effective-rank."""
    budgets: Annotated[str | None, *options.text("0.1,0.3,1")] = None
    """Shares of the epochs that the recipe gives from scratch on each chunk."""
    seeds: Annotated[int | None, *options.whole("N")] = None
    """How many seeds; below 3 there are no intervals."""
    set: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME=VALUE ...", help_behavior_hint=""),
    ] = ()
    """Any other value of the recipe: epochs=20 lr=3e-4 precision=bfloat16."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Where runs, checkpoints and the report are kept."""
    data_root: Annotated[Path | None, *options.folder("DIR")] = None
    """Where known data sets lie; by default the environment variable HARE_TORTOISE_DATA."""
    workers: Annotated[int | None, *options.whole("N")] = None
    """Trials that run at the same time; by default as many as the machine has cores or devices for."""
    margin: Annotated[float | None, *options.share("SHARE")] = None
    """What may be lost where a method "reaches" from scratch; by default 0.01, one point of accuracy."""
    quiet: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Show no progress."""

    def run(self, written: Sequence[str]) -> int:
        """Run, print, and say where the report is."""
        from hare_tortoise.cli.show import show
        from hare_tortoise.lab.run import run_recipes

        outcome = run_recipes(
            self.recipes(),
            out=self.out,
            data_root=self.data_root,
            workers=self.workers,
            margin=0.01 if self.margin is None else self.margin,
            quiet=self.quiet,
            command=shlex.join(["hare-tortoise", *written]),
        )
        return show(outcome)

    def recipes(self) -> list[Recipe]:
        """Give the recipes that were named, with the values that were given.

        Raises:
            ValueError: A name is not known, a value is out of its range or stands apart from `--set`, or a measure
                can be taken with none of the methods.
        """
        from hare_tortoise.lab.building import check_measures
        from hare_tortoise.lab.recipes import find_recipe

        for word in self.recipe:
            name, equals, _ = word.partition("=")
            if equals and name.strip().replace("-", "_").isidentifier():
                raise ValueError(f"{word!r} is not a recipe but a value of one: write --set {word}")
        changes, settings = self.changes(), self.settings()
        if not self.recipe and self.scale != "paper" and (changes or settings):
            raise ValueError(
                f"--scale {self.scale}: got no recipe, and only those that have a name have scales (hare-tortoise "
                "recipes); for a small run of your own give --set epochs=5, --seeds 3, or fewer rows, as in --source "
                "\"npz(path='mine.npz', rows=500)\""
            )
        chosen = [find_recipe(name, self.scale) for name in self.recipe or (BASE,)]
        if not self.recipe and (changes or settings):
            own = {"name": "own", "description": "", "scale": "own", "differences": ()}
            chosen = [chosen[0].replace(scenario="growing(chunks=10)", **own)]
        changed = [self._on_its_source(recipe).override(settings).replace(**changes) for recipe in chosen]
        recipes = [_described(old, _marked(old, new)) for old, new in zip(chosen, changed, strict=True)]
        for recipe in recipes:
            check_measures(recipe)
        return recipes

    def _on_its_source(self, recipe: Recipe) -> Recipe:
        """Put a scaled recipe on generated data of its own shape, where that is what --source says."""
        from hare_tortoise.lab.stand_in import on_generated

        return on_generated(recipe) if self._generated else recipe

    @property
    def _generated(self) -> bool:
        return self.scale != "paper" and self.source == "generated"

    def changes(self) -> dict[str, Any]:
        """Collect the values that have an option of their own."""
        from hare_tortoise.lab.spec import split_list

        given = {name: getattr(self, name) for name in OWN_OPTIONS}
        changes = {name: value for name, value in given.items() if value is not None}
        if self._generated:
            del changes["source"]
        for name in ("methods", "measures"):
            if name in changes:
                changes[name] = split_list(changes[name])
                if not changes[name]:
                    raise ValueError(
                        f"--{name}: got {getattr(self, name)!r}, expected one or more names, as in --{name} a,b "
                        f"(hare-tortoise {name} lists them)"
                    )
        if "budgets" in changes:
            changes["budgets"] = tuple(_number(text) for text in split_list(changes["budgets"]))
        return changes

    def settings(self) -> dict[str, str]:
        """Collect what was given by `--set`.

        Raises:
            ValueError: One of them is no `name=value`, or is given twice, be it by an option of its own.
        """
        taken = [name for name in OWN_OPTIONS if getattr(self, name) is not None]
        return options.settings(self.set, taken, "epochs=20")


def _described(recipe: Recipe, changed: Recipe) -> Recipe:
    """Do not let the description of other data stand."""
    same = (changed.source, changed.scenario) == (recipe.source, recipe.scenario)
    if same or not recipe.description:
        return changed
    return changed.replace(description=f"{recipe.name} on {changed.source}, {changed.scenario}")


def _marked(recipe: Recipe, changed: Recipe) -> Recipe:
    """Do not let what was changed pass for the published setting.

    Fewer of its methods are still its methods; budgets beside the full one, and measures, leave that as it is.
    """
    if recipe.scale == "own":
        return changed
    differing = [
        f"{field.name}={getattr(changed, field.name)}"
        for field in fields(recipe)
        if field.name not in ("methods", "budgets", "measures")
        and getattr(changed, field.name) != getattr(recipe, field.name)
    ]
    if 1.0 not in changed.budgets:
        differing.append(f"budgets={','.join(f'{budget:g}' for budget in changed.budgets)}")
    other = [method for method in changed.methods if method not in recipe.methods]
    if other:
        differing.append(f"other methods: {', '.join(other)}")
    known = [] if recipe.scale == "paper" else [recipe.scale]
    return changed.replace(scale="; ".join([*known, *differing])) if differing else changed


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--budgets: got {text!r}, expected numbers such as 0.1,0.3,1") from None
