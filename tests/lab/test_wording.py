"""How methods and figures are written."""

from __future__ import annotations

import pytest

from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.wording import duration, labels, points, scale_note, share


def test_settings_stand_only_where_they_tell_apart() -> None:
    found = labels(["ema(decay=0.9)", "ema(decay=0.99)", "l2-init(strength=0.1)", "ema+l2-init", "a.b:Mine"])
    assert list(found.values()) == ["EMA (decay=0.9)", "EMA (decay=0.99)", "L2 Init", "EMA + L2 Init", "Mine"]


def test_names_stay_distinct() -> None:
    methods = ["a:Mine", "b:Mine", "mine"]
    assert len(set(labels(methods).values())) == 3


def test_a_repeated_method_is_one_label() -> None:
    assert labels(["ema(decay=0.9)"] * 2) == {"ema(decay=0.9)": "EMA"}


def test_an_optimizer_that_changes_the_weight_decay_alone_is_named_by_it() -> None:
    methods = ["warm-start", "adamw(weight_decay=0.1)", "adamw(weight_decay=0.1)+l2-init"]
    assert list(labels(methods).values()) == ["warm start", "weight decay 0.1", "weight decay 0.1 + L2 Init"]
    others = ["adamw", "adamw(weight_decay=0.1, amsgrad=True)", "adam(weight_decay=0.1)"]
    assert [labels([method])[method] for method in others] == ["AdamW", "AdamW", "Adam"]


def test_a_scale_is_named_where_it_is_smaller() -> None:
    notes = [scale_note(scale) for scale in ("paper", "own", "1,000 of 60,000 images")]
    assert notes == ["", "", "scaled down (1,000 of 60,000 images)"]


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.0131, 0.008, 0.0182, 5), "+1.3 ± 0.5"),
        (Estimate(0.0004, -0.01, 0.0108, 5), "0.0 ± 1.0"),
        (Estimate(-0.0004, -0.0104, 0.0096, 5), "0.0 ± 1.0"),
        (Estimate(-0.0024, -0.0045, -0.0003, 5), "−0.24 ± 0.21"),
        (Estimate(0.02, None, None, 2), "+2.0"),
    ],
)
def test_points_never_hide_the_sign_of_an_interval(estimate: Estimate, text: str) -> None:
    assert points(estimate) == text


def test_shares_and_durations_at_their_edges() -> None:
    assert [share(v) for v in (0.0, 0.0094, 0.0096, 1.0, 1.004)] == ["0 %", "0.9 %", "1 %", "100 %", "100 %"]
    assert [duration(v) for v in (9.94, 9.96, 59.94, 59.96, 3599.6)] == [
        "9.9 s",
        "10 s",
        "60 s",
        "1 min 0 s",
        "1 h 0 min",
    ]
