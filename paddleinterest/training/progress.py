"""The progress bar of an epoch, and its speed."""

import collections
import time
from types import TracebackType

import numpy as np

from paddleinterest.core.log import progress
from paddleinterest.core.metrics import auc
from paddleinterest.training.state import State

RECENT = 200  # batches that the bar's AUC is of: neither its cost nor memory grows


class EpochProgress:
    """Counts the rows of an epoch and shows the loss so far, and the AUC of recent batches.

    Args:
        state: of the training.
        rows: rows of the epoch that are still to come.
        interval: batches between two updates of the figures.
    """

    def __init__(self, state: State, rows: int, interval: int) -> None:
        self.state = state
        self.interval = interval
        self.rows = 0
        self.recent: collections.deque[tuple[np.ndarray, np.ndarray]] = collections.deque(
            maxlen=RECENT
        )
        self.bar = progress(rows, f"epoch {state.epoch + 1}")
        self.started = time.perf_counter()

    def add(self, rows: int, label: np.ndarray | None, logit: np.ndarray | None) -> None:
        """Count a batch of `rows` rows; labels and logits [B] are None if it was skipped."""
        if label is not None and logit is not None:
            self.recent.append((label, logit))
        self.rows += rows
        self.bar.update(rows)
        if self.state.batch % self.interval == 0 and self.recent:
            self._refresh()

    @property
    def speed(self) -> float:
        """Rows per second so far."""
        return self.rows / (time.perf_counter() - self.started)

    def _refresh(self) -> None:
        labels = np.concatenate([label for label, _ in self.recent])
        logits = np.concatenate([logit for _, logit in self.recent])
        self.bar.set_postfix(
            loss=f"{self.state.mean_loss()['loss']:.4f}",
            auc=f"{auc(labels, logits):.4f}",
            refresh=False,
        )

    def __enter__(self) -> "EpochProgress":
        self.bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.__exit__(kind, error, trace)
