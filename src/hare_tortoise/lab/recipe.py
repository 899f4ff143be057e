"""A recipe says everything about an experiment; it expands to trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hare_tortoise.lab.spec import Call, kebab, parse, parse_sum, read_value
from hare_tortoise.streams.names import unknown
from hare_tortoise.streams.sources.table import SUFFIXES

# what a recipe says of itself; changed values are marked, not claimed
_FIXED = ("name", "description", "scale", "rows", "differences")
FROM_SCRATCH = "from-scratch"
WARM_START = "warm-start"
# how types of values are called where a value is refused
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "None": "None",
    "tuple[int, ...]": "one for each chunk, as in (200, 50)",
    "tuple[float, ...]": "one or more numbers, as in (0.1, 1)",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A supervised experiment: data that arrives in chunks, a network, and the methods that are compared on it.

    Args:
        name: what it is called on the command line and in the report.
        description: one line.
        source: the data: ``digits``, ``mnist``, ``npz(path=…)``, …
        scenario: how it arrives: ``warm-start(first=0.5, label_noise=0.5)``, ``growing(chunks=10)``, …
        network: ``mlp(hidden=(256, 256))``, ``resnet18``, ``package.module:function``, …
        methods: compositions, each written as ``name(setting=value)+name``.
        budgets: shares of the epochs, each in (0, 1] or above; 1 is the recipe as written.
        seeds: how many; the seeds are 0 … seeds − 1.
        epochs: on each chunk at budget 1: one number, or one for each chunk.
        batch_size: samples in a step; a last batch of one is merged into the one before.
        optimizer: ``adamw``, ``adam`` or ``sgd`` with settings (``sgd(momentum=0.9)``); built anew for each chunk.
        lr: learning rate after the warm-up.
        weight_decay: of the optimizer, on all parameters, as the paper has it.
        clip_norm: global norm that gradients are clipped to; None: not at all.
        warmup: share of the steps of each chunk over which the learning rate rises linearly from 0.
        augment: ``crop-flip(padding=4)``, … or None.
        reset_epochs: the paper's schedule: every ``hare-tortoise(reset_every=None)`` is reset after the epochs
            0, k, 2k, … of each chunk. None: only ``reset_every`` counts, in steps.
        validation: share of the training rows that is held out where something is chosen.
        evaluate_every: epochs between evaluations; None: only at the end of each chunk.
        measures: of plasticity, taken of the trained network at each evaluation (``hare-tortoise measures``).
        measure_every: chunks from one taking of the measures to the next; they are taken on the last chunk too.
        judge: ``test``: what counts is the accuracy on the test set of each chunk; ``online``: the share of the
            training examples that were predicted right, each batch before the step on it.
        precision: ``float32``, or ``bfloat16`` for autocast.
        compile: whether the network is compiled with torch.compile.
        scale: ``paper``, or what it was scaled down to; shown with every result.
        rows: training rows of the published data set; with another number of them it does not pass for ``paper``.
        differences: how it differs from the publication, one by one, with the reason.

    Raises:
        ValueError: A value is out of its range, or a notation cannot be read.

    Example:
        >>> recipe = Recipe(name="mine", methods=("from-scratch", "ema(decay=0.99)"), epochs=5, seeds=3)
        >>> recipe.replace(budgets=(0.5, 1.0)).methods
        ('from-scratch', 'ema(decay=0.99)')
    """

    name: str
    description: str = ""
    source: str = "digits"
    scenario: str = "growing(chunks=10)"
    network: str = "mlp(hidden=(256, 256))"
    methods: tuple[str, ...]
    budgets: tuple[float, ...] = (1.0,)
    seeds: int = 5
    epochs: int | tuple[int, ...]
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-3
    clip_norm: float | None = 0.5
    warmup: float = 0.1
    augment: str | None = None
    reset_epochs: int | None = None
    validation: float = 0.0
    evaluate_every: int | None = None
    measures: tuple[str, ...] = ()
    measure_every: int = 1
    judge: Literal["test", "online"] = "test"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    scale: str = "own"
    rows: int | None = None
    differences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("source", "scenario", "network", "optimizer", "augment"):
            text = getattr(self, field)
            if text is not None:
                object.__setattr__(self, field, str(read_source(text) if field == "source" else parse(text)))
        methods = tuple(canonical_method(text) for text in self.methods)
        object.__setattr__(self, "methods", methods)
        object.__setattr__(self, "measures", tuple(kebab(name) for name in self.measures))
        budgets = tuple(sorted(float(budget) for budget in self.budgets))
        object.__setattr__(self, "budgets", budgets)
        repeated = {text for text in methods if methods.count(text) > 1}
        _check("methods", self.methods, bool(methods) and not repeated, "one or more, each once")
        _check(
            "budgets",
            budgets,
            bool(budgets)
            and budgets[0] > 0
            and math.isfinite(budgets[-1])
            and len(set(budgets)) == len(budgets),
            "finite and above 0, each once",
        )
        _check("seeds", self.seeds, self.seeds >= 1, "1 or more")
        epochs = self.epochs if isinstance(self.epochs, tuple) else (self.epochs,)
        _check(
            "epochs",
            self.epochs,
            all(isinstance(e, int) and e >= 1 for e in epochs),
            "1 or more on each chunk",
        )
        _check("batch_size", self.batch_size, self.batch_size >= 1, "1 or more")
        _check("lr", self.lr, 0 < self.lr < math.inf, "a finite number above 0")
        _check(
            "weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "a finite number, 0 or more"
        )
        clip = self.clip_norm
        _check("clip_norm", clip, clip is None or 0 < clip < math.inf, "a finite number above 0, or None")
        _check("warmup", self.warmup, 0 <= self.warmup <= 1, "a share from 0 to 1")
        _check("validation", self.validation, 0 <= self.validation < 1, "a share from 0, below 1")
        _check("measures", self.measures, len(set(self.measures)) == len(self.measures), "each once")
        for field in ("reset_epochs", "evaluate_every"):
            value = getattr(self, field)
            _check(field, value, value is None or value >= 1, "1 or more epochs, or None")
        _check("measure_every", self.measure_every, self.measure_every >= 1, "1 or more chunks")
        _check("judge", self.judge, self.judge in ("test", "online"), "test or online")
        _check("precision", self.precision, self.precision in ("float32", "bfloat16"), "float32 or bfloat16")

    def replace(self, **changes: Any) -> Recipe:
        """Give the recipe with some values changed."""
        return dataclasses.replace(self, **changes)

    def override(self, settings: Mapping[str, str]) -> Recipe:
        """Change values that were written on the command line: ``{"lr": "3e-4", "epochs": "(10, 20)"}``.

        Raises:
            ValueError: There is no such value, or it has another form.
        """
        changes: dict[str, Any] = {}
        fields = {field.name: field for field in dataclasses.fields(self)}
        for written, text in settings.items():
            name = written.replace("-", "_")
            if name not in fields or name in _FIXED:
                raise unknown("recipe value", written, set(fields) - set(_FIXED))
            changes[name] = _coerce(name, text, str(fields[name].type))
        return self.replace(**changes)

    def to_json(self) -> dict[str, Any]:
        """Give the recipe as a JSON value."""
        values = dataclasses.asdict(self)
        # lists, so that what is read from a file equals what was written
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Recipe:
        """Read what `to_json` gave."""
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in content.items()}
        return Recipe(**values)


def canonical_method(text: str) -> str:
    """Write a composition in its one canonical form.

    Example:
        >>> canonical_method("hare_tortoise( decay = 0.990 ) + l2-init")
        'hare-tortoise(decay=0.99)+l2-init'
    """
    return "+".join(str(call) for call in parse_sum(text))


def read_source(text: str) -> Call:
    """Read a source: a name in the notation, or simply the path of an ``.npz`` file, a table or a folder of images.

    Example:
        >>> str(read_source("data/mine.npz"))
        "npz(path='data/mine.npz')"
    """
    if text.endswith(".npz") and "(" not in text:
        return Call("npz", (("path", text),))
    if text.lower().endswith(SUFFIXES) and "(" not in text:
        return Call("table", (("path", text),))
    if ("/" in text or text.startswith((".", "~"))) and "(" not in text:
        return Call("image-folder", (("path", text),))
    return parse(text)


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ValueError(f"recipe value {name}: got {value!r}, expected {expected}")


def _in_words(annotation: str) -> str:
    if annotation.startswith("Literal["):
        return annotation.removeprefix("Literal[").removesuffix("]").replace("'", "").replace(", ", " or ")
    return ", or ".join(_KINDS[part] for part in annotation.split(" | "))


def _coerce(name: str, text: str, annotation: str) -> Any:
    if annotation.startswith("str"):
        return None if text == "None" and "None" in annotation else text
    if name in ("methods", "measures"):
        raise ValueError(f"recipe value {name}: got {text!r} by --set; give them by --{name} a,b,c")
    value = read_value(text)
    if name == "budgets":
        value = value if isinstance(value, tuple) else (value,)
    kinds: dict[str, Any] = {
        "int": int,
        "float": (int, float),
        "bool": bool,
        "None": type(None),
        "tuple[int, ...]": tuple,
    }
    kinds |= {"tuple[float, ...]": tuple}
    allowed = [kinds[part] for part in annotation.split(" | ") if part in kinds]
    if annotation.startswith("Literal"):
        allowed = [str]
    number_as_bool = isinstance(value, bool) and bool not in allowed
    if number_as_bool or not any(isinstance(value, kind) for kind in allowed):
        raise ValueError(f"recipe value {name}: got {text!r}, expected {_in_words(annotation)}")
    return value
