"""Files are whole or not there, and a damaged one is named."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hare_tortoise.lab import files, state


def test_json_comes_back(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, True, "ü"], "b": {"c": 1e-300}}
    files.write_json(tmp_path / "x.json", content)
    assert files.read_json(tmp_path / "x.json") == content
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_damaged_json_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.json"
    files.write_json(path, {"rows": [1, 2, 3]})
    text = path.read_text()
    if damage == "cut":
        path.write_text(text[:-10])
    elif damage == "flip":
        path.write_text(text.replace("   2", "   7"))
        assert path.read_text() != text
    else:
        path.write_text(json.dumps([1, 2]))
    with pytest.raises(files.DamagedFileError, match=r"metrics\.json"):
        files.read_json(path)


def test_every_flipped_byte_of_a_tensor_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    tensors = {"a": torch.arange(5.0), "b": torch.tensor(3), "c": torch.zeros(2, dtype=torch.bfloat16)}
    files.write_tensors(path, tensors, {"step": 3})
    whole = path.read_bytes()
    back, rest = files.read_tensors(path)
    assert rest == {"step": 3}
    assert all(
        torch.equal(back[name], tensors[name]) and back[name].dtype == tensors[name].dtype for name in tensors
    )
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            back, rest = files.read_tensors(path)
        except files.DamagedFileError:
            continue
        # white space between the parts of the header carries nothing
        assert rest == {"step": 3}
        assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(files.DamagedFileError, match=r"checkpoint\.safetensors"):
            files.read_tensors(path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "metrics.json"
    files.write_json(path, {"old": 1})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"new": 2})
    monkeypatch.undo()
    assert files.read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_nan_is_refused_by_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
states = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.integers(), st.text(max_size=5)), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(states)
def test_nested_states_come_back_through_json(content: Any) -> None:
    tensors, rest = state.split(content)
    assert tensors == {}
    back = state.join(tensors, json.loads(json.dumps(rest)))
    assert back == content
    assert repr(back) == repr(content)  # tuples stay tuples, 1 stays 1 and not True


def test_states_of_real_optimizers_come_back(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    for kind in (torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad):
        optimizer = kind(model.parameters(), lr=0.1)
        optimizer.step()
        tensors, rest = state.split(optimizer.state_dict())
        files.write_tensors(tmp_path / "o.safetensors", tensors, rest)
        back = state.join(*files.read_tensors(tmp_path / "o.safetensors"))
        assert str(back) == str(optimizer.state_dict())


def test_a_tensor_in_two_places_is_stored_once() -> None:
    shared = torch.ones(3)
    tensors, rest = state.split({"a": shared, "b": [shared]})
    assert list(tensors) == ["a"]
    back = state.join(tensors, rest)
    assert back["a"] is back["b"][0]


def test_names_with_dots_do_not_collide() -> None:
    content = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}
    back = state.join(*state.split(content))
    assert torch.equal(back["a.b"], torch.zeros(1))
    assert torch.equal(back["a"]["b"], torch.ones(1))


def test_views_of_one_storage_can_be_saved(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    tensors, rest = state.split({"a": whole[:3], "b": whole[2:], "t": whole.view(2, 3).t()})
    files.write_tensors(tmp_path / "v.safetensors", tensors, rest)
    back = state.join(*files.read_tensors(tmp_path / "v.safetensors"))
    assert torch.equal(back["t"], whole.view(2, 3).t())
    assert torch.equal(back["b"], whole[2:])


def test_what_cannot_be_saved_is_named() -> None:
    with pytest.raises(TypeError, match=r"'a\.b' is a set"):
        state.split({"a": {"b": {1}}})
    with pytest.raises(TypeError, match=r"key 1\.5"):
        state.split({1.5: 1})
