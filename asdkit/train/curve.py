"""The training curve: train.tsv and, where it is installed, TensorBoard."""

import logging
import math
from pathlib import Path
from typing import Any

from asdkit.utils.files import write_table


class Curve:
    """Means of the losses over intervals of `every` steps, and what is measured at single ones.

    Its state goes into last.pt, so a resumed curve is exact. What a row does not hold is nan in train.tsv.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.rows: list[dict[str, Any]] = []
        self.sums: dict[str, list[float]] = {}
        self.board: Any = None

    def state(self) -> dict[str, Any]:
        """What last.pt keeps."""
        return {"rows": [dict(row) for row in self.rows], "sums": {key: list(v) for key, v in self.sums.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what last.pt kept."""
        self.rows, self.sums = state["rows"], state["sums"]

    def add(self, step: int, values: dict[str, float], lr: float) -> None:
        """Add one step; every `every` steps write a row and log it."""
        for key, value in values.items():
            total = self.sums.setdefault(key, [0.0, 0])
            total[0] += value
            total[1] += 1
        if step % self.every == 0:
            self._finish_row(step, lr)

    def measured(self, step: int, values: dict[str, float], lr: float) -> None:
        """Put numbers that belong to this step alone into a row that ends with it."""
        if self.sums or not self.rows or self.rows[-1]["step"] != step:
            self._finish_row(step, lr, values)
            return
        self.rows[-1] |= values
        self._write()
        self._to_board({"step": step, **values})

    def flush(self) -> None:
        """Write what TensorBoard holds back."""
        if self.board:
            self.board.flush()

    def close(self, step: int, lr: float) -> None:
        """Write the steps since the last row as a row, train.tsv if it is missing, and what TensorBoard holds back."""
        if self.sums:
            self._finish_row(step, lr)
        self._write()
        if self.board:
            self.board.close()

    def _finish_row(self, step: int, lr: float, values: dict[str, float] | None = None) -> None:
        means = {key: total / count for key, (total, count) in self.sums.items()}
        row = {"step": step, "lr": lr, **means, **(values or {})}
        self.sums = {}
        self.rows.append(row)
        logging.info("step %d: %s", step, " ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "step"))
        self._write()
        self._to_board(row)

    def _write(self) -> None:
        if self.rows:
            columns = tuple(dict.fromkeys(key for row in self.rows for key in row))
            rows = [{c: repr(row.get(c, math.nan)) for c in columns} for row in self.rows]
            write_table(self.folder / "train.tsv", columns, rows)

    def _to_board(self, row: dict[str, Any]) -> None:
        if self.board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                logging.info("tensorboard is not installed: the curve goes to train.tsv only")
                self.board = False
            else:
                self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=row["step"])
        if self.board:
            for key, value in row.items():
                if key != "step":
                    self.board.add_scalar(f"train/{key}", value, row["step"])
