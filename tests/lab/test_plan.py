"""The official schedules, laid out without training, and what a budget scales."""

from __future__ import annotations

import pytest
import torch
from torch.nn import BatchNorm1d, Linear

from hare_tortoise.lab.building import build, build_stream
from hare_tortoise.lab.composition import optimizer_of, settings_of, take_apart
from hare_tortoise.lab.plan import ChunkPlan, advice, method_at, plan, plan_of, steps_per_epoch, values_at
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.recipes import RECIPES, find_recipe
from hare_tortoise.lab.registry import build_network
from hare_tortoise.lab.run import check
from hare_tortoise.lab.spec import parse
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Trial
from hare_tortoise.methods import SelfDistillation
from hare_tortoise.streams import Source, TensorExamples


def laid_out(recipe: Recipe, rows: int) -> tuple[ChunkPlan, ...]:
    """The plan of a recipe over the real scenario, on a made-up source with the official number of rows."""
    inputs, targets = torch.zeros(rows, 1), torch.arange(rows) % 10
    source = Source("made", inputs, targets, inputs[:10], targets[:10], outputs=10, input_shape=(1,))
    stream = build_stream(recipe, source, 0)
    return plan(recipe, 1.0, [len(chunk.train) for chunk in stream])


ROWS = {"cifar10": 50_000, "cifar100": 50_000, "tiny-imagenet": 100_000, "mnist": 60_000}
# of MNIST, 24 batches of the 6,000 and 235 of the 60,000: 24 · 1,000 and 235 · 111
STEPS = {
    "cifar10": [20_000, 21_756],
    "cifar100": [20_000, 21_756],
    "tiny-imagenet": [40_000, 43_401],
    "mnist": [24_000, 26_085],
}
LR = {"cifar10": 1e-3, "cifar100": 3e-3, "tiny-imagenet": 1e-3, "mnist": 1e-3}
WEIGHT_DECAY = {"cifar10": 1e-3, "cifar100": 0.05, "tiny-imagenet": 1e-3, "mnist": 1e-4}
WARM_STARTS = [name for name in RECIPES if name.startswith("lee2024-warm-start")]


@pytest.mark.parametrize("name", WARM_STARTS)
def test_official_warm_start(name: str) -> None:
    source = find_recipe(name).source
    first, second = laid_out(find_recipe(name), ROWS[source])
    assert [first.steps, second.steps] == STEPS[source]
    assert [first.epochs, second.epochs] == [1000, 111]
    # after the local epochs 0, 10, 20, …: in phase one of CIFAR-10 after the steps 20, 220, 420, …
    assert first.reset_steps == [first.steps_per_epoch * (1 + 10 * k) for k in range(100)]
    assert second.reset_steps == [second.steps_per_epoch * (1 + 10 * k) for k in range(12)]
    if ROWS[source] == 50_000:
        assert first.reset_steps[:3] == [20, 220, 420]
    # the last reset comes after the very last epoch of phase two
    assert second.reset_steps[-1] == second.steps


@pytest.mark.parametrize("source", ROWS)
def test_official_warm_up(source: str) -> None:
    for chunk in laid_out(find_recipe(f"lee2024-warm-start-{source}"), ROWS[source]):
        lr = LR[source]
        warmup = chunk.steps // 10
        assert chunk.warmup_steps == warmup
        assert chunk.learning_rate(0) == 0
        assert chunk.learning_rate(1) == pytest.approx(lr / warmup, rel=1e-12)
        assert chunk.learning_rate(warmup - 1) < lr
        assert chunk.learning_rate(warmup) == lr
        assert chunk.learning_rate(chunk.steps - 1) == lr


@pytest.mark.parametrize("source", [source for source in ROWS if source != "mnist"])
def test_official_continual(source: str) -> None:
    chunks = laid_out(find_recipe(f"lee2024-continual-{source}"), ROWS[source])
    tenth = ROWS[source] // 10
    assert [chunk.samples for chunk in chunks] == [tenth * (i + 1) for i in range(10)]
    assert [chunk.epochs for chunk in chunks] == [100] * 10
    assert [len(chunk.reset_steps) for chunk in chunks] == [10] * 10
    noise = "(0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.0)"
    assert noise in find_recipe(f"lee2024-continual-{source}").scenario


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("lee2024")])
def test_official_values(name: str) -> None:
    recipe = find_recipe(name)
    assert (recipe.batch_size, recipe.clip_norm, recipe.warmup, recipe.seeds) == (256, 0.5, 0.1, 5)
    assert recipe.lr == LR[recipe.source]
    assert recipe.weight_decay == WEIGHT_DECAY[recipe.source]
    assert (recipe.augment is None) == name.endswith(("-plain", "-mnist"))
    assert recipe.precision == "float32"
    assert "hare-tortoise(decay=0.999, reset_every=None)" in recipe.methods
    published = not (name.endswith("-plain") and "continual" in name)
    assert recipe.scale == ("paper" if published else "without augmentation")
    assert recipe.rows == ROWS[recipe.source]
    assert recipe.differences


@pytest.mark.parametrize("name", WARM_STARTS)
def test_official_baselines_of_the_warm_start(name: str) -> None:
    recipe = find_recipe(name)
    parts = {each: take_apart(each) for each in recipe.methods}
    (l2,) = (each.optimizer for each in parts.values() if each.optimizer)
    weights = [torch.nn.Parameter(torch.ones(2))]
    decayed = optimizer_of(l2, weights, lr=recipe.lr, weight_decay=recipe.weight_decay)
    assert isinstance(decayed, torch.optim.AdamW)
    assert (decayed.defaults["weight_decay"], decayed.defaults["lr"]) == (0.1, recipe.lr)
    (distilled,) = (
        call for each in parts.values() for call in each.methods if call.name == "self-distillation"
    )
    method = SelfDistillation(torch.nn.Linear(2, 3), **settings_of(distilled))
    assert (method.strength, method.temperature) == (1.0, 1.0)
    assert settings_of(distilled)["decay"] == 0.999


def test_the_warm_start_on_mnist_has_the_one_published_network() -> None:
    network = build_network(parse(find_recipe("lee2024-warm-start-mnist").network), (1, 28, 28), 10)
    widths = [
        (layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, Linear)
    ]
    assert widths == [(784, 512), (512, 256), (256, 10)]
    assert [layer.num_features for layer in network.modules() if isinstance(layer, BatchNorm1d)] == [512, 256]


def test_steps_are_those_that_the_batches_have() -> None:
    for samples in (2, 3, 63, 64, 65, 66, 127, 128, 129, 130, 1400):
        for size in (1, 2, 7, 64):
            examples = TensorExamples(torch.zeros(samples, 1), torch.zeros(samples, dtype=torch.int64))
            generator = torch.Generator().manual_seed(0)
            count = len(list(examples.batches(size, generator=generator)))
            assert steps_per_epoch(samples, size) == count, (samples, size)


def test_a_budget_scales_what_counts_in_steps() -> None:
    recipe = find_recipe("demo-warm-start").replace(reset_epochs=10)
    whole, tenth = (plan(recipe, budget, [700, 1400]) for budget in (1.0, 0.1))
    assert [chunk.epochs for chunk in whole] == [50, 50]
    assert [chunk.epochs for chunk in tenth] == [5, 5]
    assert [chunk.warmup_steps for chunk in whole] == [55, 110]
    assert [chunk.warmup_steps for chunk in tenth] == [5, 11]
    assert [chunk.reset_epochs for chunk in tenth] == [1, 1]


@pytest.mark.parametrize(
    ("method", "budget", "used"),
    [
        ("hare-tortoise(decay=0.99, reset_every=100)", 1.0, "hare-tortoise(decay=0.99, reset_every=100)"),
        ("hare-tortoise(decay=0.99, reset_every=100)", 0.1, "hare-tortoise(decay=0.9, reset_every=10)"),
        ("hare-tortoise(decay=0.99, reset_every=100)", 0.001, "hare-tortoise(decay=0.0, reset_every=1)"),
        (
            "continual-backprop(replacement_rate=0.001, maturity=100, decay=0.99)",
            0.1,
            "continual-backprop(replacement_rate=0.01, maturity=10, decay=0.9)",
        ),
        ("redo(every=100, threshold=0.1)", 0.5, "redo(every=50, threshold=0.1)"),
        # a default counts in steps as well
        ("hare-tortoise(decay=0.99)", 0.1, "hare-tortoise(decay=0.9, reset_every=100)"),
        ("hare-tortoise(reset_every=None)", 0.5, "hare-tortoise(reset_every=None, decay=0.998)"),
        ("l2-init(strength=0.5)+ema(decay=0.98)", 0.5, "l2-init(strength=0.5)+ema(decay=0.96)"),
        ("ema(decay=warmup(0.99))", 0.1, "ema(decay=warmup(decay=0.9))"),
        ("from-scratch", 0.1, "from-scratch"),
    ],
)
def test_a_budget_scales_decay_and_interval(method: str, budget: float, used: str) -> None:
    assert method_at(method, budget) == used


def test_scaled_epochs_are_rounded_to_the_nearest() -> None:
    recipe = find_recipe("demo-warm-start").replace(epochs=(13, 1))
    assert [chunk.epochs for chunk in plan(recipe, 0.2, [100, 100])] == [3, 1]


def test_an_average_longer_than_a_chunk_is_told() -> None:
    recipe = find_recipe("demo-warm-start").replace(
        methods=("ema(decay=0.99)", "ema(decay=warmup(0.99))", "warm-start")
    )
    chunks = {1.0: plan(recipe, 1.0, [700, 1400]), 0.1: plan(recipe, 0.1, [60, 1400])}
    assert chunks[0.1][0].steps == 5
    (line,) = advice(recipe, chunks)
    assert (
        "ema(decay=0.99) at budget 0.1: decay 0.9 averages over about 10 steps, but a chunk has as few as 5"
        in line
    )


def test_epochs_for_each_chunk_must_fit() -> None:
    recipe = find_recipe("demo-growing").replace(epochs=(1, 2))
    with pytest.raises(ValueError, match=r"got \(1, 2\), expected 10 numbers"):
        plan(recipe, 1.0, [10] * 10)


def test_from_scratch_has_steps_of_its_own_where_memory_is_limited() -> None:
    recipe = Recipe(
        name="limited",
        scenario="limited(chunks=4, memory=100)",
        methods=("from-scratch", "warm-start"),
        epochs=3,
        batch_size=50,
        warmup=0.0,
    )
    chunks = check(recipe)[1.0]  # of digits, 350 rows come at a time
    assert [each.samples for each in chunks] == [350, 450, 450, 450]
    assert [each.samples for each in plan_of(recipe, "warm-start", 1.0, chunks)] == [350, 450, 450, 450]
    anew = plan_of(recipe, "from-scratch+ema(decay=0.9)", 1.0, chunks)
    assert [each.samples for each in anew] == [350, 700, 1050, 1400]
    values = values_at(recipe, 1.0, chunks)
    assert values["optimizer steps of each chunk"] == "21, 27, 27, 27"
    assert values["optimizer steps of each chunk, from scratch"] == "21, 42, 63, 84"
    assert values["training rows of each chunk, from scratch"] == "350, 700, 1,050, 1,400"
    assert "epochs of each chunk, from scratch" not in values
    alone = values_at(recipe.replace(methods=("warm-start",)), 1.0, chunks)
    assert not any("from scratch" in name for name in alone)
    for method, samples in (("from-scratch", 3 * 3500), ("warm-start", 3 * 1700)):
        short = recipe.replace(network="mlp(hidden=(4,))")
        assert Training(build(Trial(short, method, 1.0, 0))).finish()[-1]["samples"] == samples


def test_a_long_sequence_is_shortened() -> None:
    chunks = plan(Recipe(name="long", methods=("warm-start",), epochs=1), 1.0, range(64, 64 * 801, 64))
    written = values_at(Recipe(name="long", methods=("warm-start",), epochs=1), 1.0, chunks)
    assert written["optimizer steps of each chunk"] == "1, 2, 3, …, 798, 799, 800"
