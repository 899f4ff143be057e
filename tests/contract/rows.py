"""The table of the contract: a row for each method. A new method adds its row to the file of its family."""

from __future__ import annotations

from tests.contract import rows_averages, rows_penalties, rows_projections, rows_resets, rows_units
from tests.contract.row import Row

ROWS: list[Row] = [
    *rows_averages.ROWS,
    *rows_projections.ROWS,
    *rows_penalties.ROWS,
    *rows_resets.ROWS,
    *rows_units.ROWS,
]
