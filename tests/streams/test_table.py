from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hare_tortoise.lab.recipe import read_source
from hare_tortoise.streams import Table, growing, load_source
from hare_tortoise.streams.table import Encoding, first_come

FRAME = pd.DataFrame(
    {
        "price": [1.5, 2.5, 0.1, 4.0],
        "open": [True, False, True, True],
        "town": ["Ulm", "Bonn", "Ulm", "Kiel"],
        "label": [11, 2, 3, 2],
    }
)
ARFF = """@relation mine
@attribute price numeric
@attribute open numeric
@attribute town {Kiel,Bonn,Ulm,Trier}
@attribute label {2,3,11}
@data
1.5,1,Ulm,11
2.5,0,Bonn,2
0.1,1,Ulm,3
4.0,1,Kiel,2
"""


def write(folder: Path, suffix: str, frame: pd.DataFrame = FRAME) -> Path:
    path = folder / f"mine{suffix}"
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_text(ARFF, encoding="utf-8")
    return path


def read(folder: Path, frame: pd.DataFrame = FRAME, **settings: Any) -> Table:
    found: Any = load_source("table", path=write(folder, ".csv", frame), **({"target": "label"} | settings))
    assert isinstance(found, Table)
    return found


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arff"])
def test_all_kinds_of_files_hold_the_same_table(tmp_path: Path, suffix: str) -> None:
    table: Any = load_source(str(write(tmp_path, suffix)), target="label")
    assert table.columns == ("price", "open", "town")
    assert table.numeric.tolist() == [[1.5, 1.0], [2.5, 0.0], [0.1, 1.0], [4.0, 1.0]]
    assert table.categorical.tolist() == [[0], [1], [0], [2]]
    assert (table.labels, table.train_targets.tolist()) == (("2", "3", "11"), [2, 0, 1, 0])
    # an .arff file declares how many categories there are
    assert table.slots == ((4,) if suffix == ".arff" else (16,))
    assert table.input_shape == (2 + table.slots[0] + 1,)
    assert (table.name, table.task, table.outputs, len(table)) == ("mine", "classification", 3, 4)


def test_missing_values_are_known_in_every_kind_of_file(tmp_path: Path) -> None:
    frame = FRAME.assign(price=[1.5, None, 0.1, 4.0], town=["Ulm", "Bonn", None, "Ulm"])
    arff = tmp_path / "holes.arff"
    arff.write_text(ARFF.replace("2.5,0", "?,0").replace("1,Ulm,3", "1,?,3").replace("Kiel,2", "Ulm,2"))
    parquet, csv = write(tmp_path, ".parquet", frame), write(tmp_path, ".csv", frame)
    for path in (arff, parquet, csv):
        table: Any = load_source("table", path=path, target="label", missing=True)
        assert table.numeric.isnan().nonzero().tolist() == [[1, 0]]
        assert table.categorical.flatten().tolist() == [0, 1, -1, 0]
        assert table.input_shape == (2 * 2 + sum(table.slots) + 1,)


def test_rows_are_sorted_by_time_and_ties_stay(tmp_path: Path) -> None:
    frame = FRAME.assign(when=[3, 1, 3, 1])
    table = read(tmp_path, frame, time="when")
    assert table.columns == ("price", "open", "town")
    assert table.numeric[:, 0].tolist() == [2.5, 4.0, 1.5, 0.1]
    assert table.categorical.flatten().tolist() == [0, 1, 2, 2], "numbered in the order of time"
    dates = FRAME.assign(when=["2024-01-10", "2023-12-31T23:00", "2024-01-10", "2023-12-31T22:00+00:00"])
    assert read(tmp_path, dates, time="when").numeric[:, 0].tolist() == [4.0, 2.5, 1.5, 0.1]
    stamps = FRAME.assign(when=pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-04", "2024-01-03"]))
    found: Any = load_source(str(write(tmp_path, ".parquet", stamps)), target="label", time="when")
    assert found.numeric[:, 0].tolist() == [2.5, 1.5, 4.0, 0.1]


def test_rows_of_one_time_stay_as_they_stand_where_there_are_many(tmp_path: Path) -> None:
    """Of four rows any way of sorting keeps the order."""
    times = torch.randint(5, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    frame = pd.DataFrame({"place": range(1000), "when": times, "label": [0, 1] * 500})
    expected = sorted(range(1000), key=times.__getitem__)
    assert read(tmp_path, frame, time="when").numeric.flatten().tolist() == expected


def test_a_column_that_never_changes_is_nothing() -> None:
    """The mean of a thousand times 0.1 is not 0.1: what rounding leaves is no scale."""
    numbers = torch.full((1001, 1), 0.1, dtype=torch.float64)
    numbers[-1] = 0.3
    none = torch.zeros(1001, 0, dtype=torch.int64)
    table = Table("mine", ("a",), numbers, none, (), torch.arange(1001) % 2, 2, ("down", "up"))
    inputs = Encoding(table, 1000).inputs(torch.arange(1001))
    assert inputs.flatten().tolist() == [0.0] * 1001


def test_columns_are_dropped_or_taken_as_categories(tmp_path: Path) -> None:
    table = read(tmp_path, drop="town", categorical=("open",), slots=3)
    assert (table.columns, table.slots, table.input_shape) == (("price", "open"), (3,), (5,))
    assert table.categorical.tolist() == [[0], [1], [0], [0]]


def test_numbers_to_predict(tmp_path: Path) -> None:
    table = read(tmp_path, target="price", task="regression", drop=["town"])
    assert (table.task, table.outputs, table.labels) == ("regression", 1, ())
    assert table.train_targets.tolist() == [[1.5], [2.5], [0.1], [4.0]]


def test_words_as_classes_are_sorted(tmp_path: Path) -> None:
    table = read(tmp_path, target="town")
    assert (table.labels, table.train_targets.tolist()) == (("Bonn", "Kiel", "Ulm"), [2, 0, 2, 1])


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"target": None}, r"say which column to predict: .*target='…'.*price, open, town, label"),
        ({}, {"target": "lable"}, "unknown column of mine.csv 'lable'; did you mean 'label'"),
        ({}, {"drop": ("prise",)}, "did you mean 'price'"),
        (
            {"price": [1.0, None, 2.0, 3.0]},
            {},
            r"'price' has a missing value, in row 2 \(line 3\): say missing=True",
        ),
        (
            {"price": [1.0, 2.0, np.inf, 3.0]},
            {},
            r"'price' has a value that is not finite, in row 3 \(line 4\): leave",
        ),
        ({"label": [1.0, 2.0, 1.0, 2.0]}, {}, "task='regression'"),
        ({"label": [1, None, 1, 2]}, {}, r"'label' is missing in row 2 \(line 3\): every"),
        ({"label": [4, 4, 4, 4]}, {}, "'label' is always '4'"),
        ({}, {"target": "town", "task": "regression"}, "'town' holds words"),
        ({}, {"task": "ranking"}, "task is 'ranking'"),
        ({}, {"time": "town"}, "'town' holds no times"),
        ({"when": [1, None, 2, 3]}, {"time": "when"}, r"'when' has no time in row 2 \(line 3\): every"),
        ({}, {"slots": 0}, "slots are"),
        ({}, {"rows": 5}, "rows is 5: give a whole number from 1 to the 4 of mine"),
        ({}, {"test_rows": 2}, "test_rows is 2, but mine is judged on the rows that come next"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, change: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, FRAME.assign(**change), **settings)


def test_a_row_is_named_with_its_line_only_where_each_row_is_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,0\n\n2,\n")
    with pytest.raises(ValueError, match="'b' is missing in row 2: every"):
        load_source(str(path), target="b", task="classification")
    found = pd.DataFrame({"a": [1.0, None], "b": [0, 1]})
    with pytest.raises(ValueError, match="'a' has a missing value, in row 2: say"):
        load_source(str(write(tmp_path, ".parquet", found)), target="b")
    late = FRAME.assign(when=[4, 3, 2, 1], price=[None, 1.0, None, 2.0])
    with pytest.raises(ValueError, match=r"'price' has a missing value, in row 1 \(line 2\): say"):
        read(tmp_path, late, time="when")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.csv", b""),
        ("mine.csv", b"a,label\n"),
        ("mine.parquet", b"PAR1?"),
        ("mine.arff", b"@relation x\n"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        load_source(str(tmp_path / name), target="label")
    with pytest.raises(ValueError, match=r"there is no file .*none.csv"):
        load_source(str(tmp_path / "none.csv"), target="label")


def test_dates_are_no_inputs(tmp_path: Path) -> None:
    stamps = FRAME.assign(when=pd.to_datetime(["2024-01-02"] * 4))
    with pytest.raises(ValueError, match="'when' holds values of the kind datetime64"):
        load_source(str(write(tmp_path, ".parquet", stamps)), target="label")


def test_without_pandas_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, find = write(tmp_path, ".csv"), builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r'pandas, which is missing: pip install "hare-tortoise\[tables\]"'):
        load_source(str(path), target="label")


def test_digest_tells_content_and_schema_apart(tmp_path: Path) -> None:
    first = read(tmp_path)
    assert read(tmp_path).digest == first.digest
    changed = FRAME.assign(price=[1.5, 2.5, 0.1, np.nextafter(4.0, 5.0)])
    assert read(tmp_path, changed).digest != first.digest
    assert read(tmp_path, missing=True).digest != first.digest
    assert read(tmp_path, slots=5).digest != first.digest
    part: Any = load_source("table", path=write(tmp_path, ".csv"), target="label", rows=3)
    assert part.numeric[:, 0].tolist() == [1.5, 2.5, 0.1], "the first in time"
    assert part.digest != first.digest


def test_scenarios_of_other_sources_refuse_a_table(tmp_path: Path) -> None:
    table: Any = read(tmp_path)
    with pytest.raises(ValueError, match=r"mine is a table.*in-time-order\(rows=1000\)"):
        growing(table, chunks=2)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ("a",)}, "1 names"),
        ({"numeric": torch.zeros(3, 1)}, "not the same number of rows"),
        ({"numeric": torch.zeros(4, 1)}, "numeric columns as float64"),
        ({"categorical": torch.tensor([[1], [0], [0], [0]])}, "as they first come"),
        ({"categorical": torch.tensor([[0], [2], [0], [0]])}, "as they first come"),
        ({"categorical": torch.tensor([[0], [-2], [0], [0]])}, "as they first come"),
        ({"numeric": torch.full((4, 1), torch.inf, dtype=torch.float64)}, "finite"),
    ],
)
def test_a_table_of_ones_own_is_checked(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "name": "own",
        "columns": ("a", "b"),
        "numeric": torch.zeros(4, 1, dtype=torch.float64),
        "categorical": first_come(["x", None, "y", "x"])[:, None],
        "slots": (2,),
        "train_targets": torch.tensor([0, 1, 0, 1]),
        "outputs": 2,
    }
    assert Table(**good).input_shape == (4,)
    with pytest.raises(ValueError, match=message):
        Table(**(good | changes))


def test_known_streams_say_where_they_belong() -> None:
    with pytest.raises(ValueError, match=r"no .*no data/streams/elec2.csv: save the normalised Electricity"):
        load_source("elec2")


def test_paths_of_tables_are_sources() -> None:
    assert str(read_source("data/mine.csv")) == "table(path='data/mine.csv')"
    assert str(read_source("MINE.ARFF")) == "table(path='MINE.ARFF')"
    assert read_source("table(path='x.csv', target='y')").name == "table"


@pytest.mark.data
def test_insects_has_its_classes_in_the_order_of_their_codes() -> None:
    table: Any = load_source("insects")
    assert (len(table), table.input_shape, table.outputs) == (24150, (33,), 6)
    assert table.labels == ("2", "3", "4", "5", "11", "12")
    # the first rows of the file, read by hand
    assert table.numeric[:2, 0].tolist() == [563.82, 550.71]
    assert int(table.train_targets[0]) == 0
    assert table.train_targets.bincount().tolist() == [4025] * 6


@pytest.mark.data
@pytest.mark.parametrize("name", ["elec2", "insects_gradual_balanced"])
def test_both_forms_of_a_known_stream_are_alike(name: str) -> None:
    csv: Any = load_source("table", path=f"streams/{name}.csv", target="target")
    arff: Any = load_source("table", path=f"streams/{name}.arff", target="target")
    assert csv.digest == arff.digest
