"""The training curve: train.tsv and, where it is installed, TensorBoard."""

import logging
from pathlib import Path
from typing import Any

from asdkit.utils.files import write_table


class Curve:
    """Means of the losses over intervals of `every` steps; its state goes into last.pt, so a resumed curve is exact."""

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

    def close(self, step: int, lr: float) -> None:
        """Write the steps since the last row as a row, train.tsv if it is missing, and what TensorBoard holds back."""
        if self.sums:
            self._finish_row(step, lr)
        self._write()
        if self.board:
            self.board.close()

    def _finish_row(self, step: int, lr: float) -> None:
        row = {"step": step, "lr": lr, **{key: total / count for key, (total, count) in self.sums.items()}}
        self.sums = {}
        self.rows.append(row)
        logging.info("step %d: %s", step, " ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "step"))
        self._write()
        self._to_board(row)

    def _write(self) -> None:
        if self.rows:
            columns = tuple(self.rows[0])
            write_table(self.folder / "train.tsv", columns, [{c: repr(row[c]) for c in columns} for row in self.rows])

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
