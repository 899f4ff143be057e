"""The notation: what is read is what was written, and what cannot be read says why."""

from __future__ import annotations

import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hare_tortoise.lab.spec import Call, kebab, parse, parse_sum, read_value, split_list

words = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z][a-z0-9]{0,6}){0,2}", fullmatch=True).filter(
    lambda word: not keyword.iskeyword(word)
)
names = st.from_regex(r"[a-z][a-z_]{2,8}x", fullmatch=True)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="ascii", exclude_characters="\0\n\r\\"), max_size=8),
    names,
)
nested = st.builds(Call, words, positional=st.lists(scalars, max_size=2).map(tuple))
values = st.one_of(scalars, st.lists(scalars, max_size=3).map(tuple), nested)
calls = st.builds(Call, words, st.dictionaries(names, values, max_size=3).map(lambda d: tuple(d.items())))


@given(st.lists(calls, min_size=1, max_size=3))
def test_what_is_written_is_read_back(written: list[Call]) -> None:
    assert list(parse_sum("+".join(map(str, written)))) == written


@pytest.mark.parametrize("value", [":", '"a:b"', "'a:b'", "if", "lambda", "a:if", "__name_0_:x"])
def test_text_that_would_be_read_as_something_else_is_quoted(value: str) -> None:
    call = Call("image-folder", (("path", value),))
    assert parse(str(call)) == call


@given(st.lists(calls, min_size=1, max_size=4))
def test_a_list_is_split_at_its_own_commas_only(written: list[Call]) -> None:
    texts = [str(call) for call in written]
    assert list(split_list(", ".join(texts))) == texts


def test_underscores_and_kebab_case_are_the_same_name() -> None:
    assert parse("hare_tortoise(reset_every=3)") == parse("hare-tortoise(reset_every = 3)")


def test_a_value_keeps_its_hyphens_and_a_setting_is_written_either_way() -> None:
    call = parse("image-folder(path=my-photos, to-grey=my_photos)")
    assert call.settings == (("path", "my-photos"), ("to_grey", "my_photos"))
    assert parse(str(call)) == call
    assert parse("ema(decay=power-law(max-decay=0.9))").settings[0][1] == Call(
        "power-law", (("max_decay", 0.9),)
    )


def test_minus_in_numbers_stays_a_minus() -> None:
    assert read_value("1e-3") == 1e-3
    assert read_value("-2") == -2
    assert read_value("10,20") == (10, 20)
    assert parse("l2-init(strength=1e-3)").settings == (("strength", 1e-3),)


def test_code_of_the_user_keeps_its_spelling() -> None:
    call = parse("my_pkg.my_mod:MyMethod(decay=warmup(0.9))")
    assert call.external
    assert call.name == "my_pkg.my_mod:MyMethod"
    assert call.settings == (("decay", Call("warmup", (), (0.9,))),)
    assert parse(str(call)) == call


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("HareTortoise", "hare-tortoise"),
        ("L2Init", "l2-init"),
        ("EMA", "ema"),
        ("SwitchEMA", "switch-ema"),
        ("ShrinkPerturb", "shrink-perturb"),
        ("warm_start", "warm-start"),
        ("resnet18", "resnet18"),
    ],
)
def test_names_in_kebab_case(name: str, written: str) -> None:
    assert kebab(name) == written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ema(decay=", r"cannot read 'ema\(decay='"),
        ("ema(decay=0.9, decay=0.8)", "repeated|twice"),
        ("ema(**x)", "not part of the notation"),
        ("3", "'3' is not a name"),
        ("ema(decay=lambda: 0)", "'lambda: 0' is not a number, word, tuple or schedule"),
        ("a.b(x=1)", r"'a\.b\(x=1\)' is not a name"),
        ("ema-l2(__import__('os').x)", "is not a number, word, tuple or schedule"),
        ("", "cannot read ''"),
        ("npz(path=mine.npz)", r"'mine\.npz' is not .* if it is text, quote it: path='mine\.npz'; write"),
        ("npz(path=my-data/mine_1.npz)", r"quote it: path='my-data/mine_1\.npz'; write"),
        ("npz(path=/home/mine.npz)", r"invalid syntax; .*, paths in quotes"),
        ("growing(label_noise=(0.1, -abc))", r"'-abc' is not a number.*quote it: '-abc'; write"),
    ],
)
def test_what_cannot_be_read_says_so(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"write it as name\(setting=value\)") as error:
        parse_sum(text)
    assert re.search(says, str(error.value))
    assert "ast." not in str(error.value)


def test_a_sum_is_not_one_call() -> None:
    with pytest.raises(ValueError, match="names 2 things"):
        parse("ema+l2-init")
