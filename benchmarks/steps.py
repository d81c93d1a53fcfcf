"""Training steps of paddleinterest/training/trainer.py on real or random batches; what the other
benchmarks time."""

import time
from typing import Any

import numpy as np

from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import FIRST_ID, Field, Schema

WARM_UP = 3  # steps before the clock starts


class Trainee:
    """A net with its optimizer. Import Paddle first, with `paddleinterest.core.environment.set_up`.

    Args:
        config: resolved settings (paddleinterest/core/settings.py).
        schema: of the batches to come.
    """

    def __init__(self, config: Any, schema: Schema) -> None:
        from paddleinterest.training import loading
        from paddleinterest.training.trainer import Learner

        self.config = config
        self.model = loading.bind(config)
        self.number = 0  # of the next step
        self.net = loading.create_net(self.model, config, schema)
        self.optimizer = self.model.create_optimizer(self.net, config)
        self.learner = Learner(self.model, self.net, self.optimizer, None, config.runner.seed)
        self.times = self.model.needs_times(config, schema)
        self.negatives = self.model.needs_negatives(config)
        self.net.train()

    def step(self, batch: dict[str, np.ndarray]) -> float:
        """One step of training, without schedule or regularisation. Returns the clicks' loss."""
        rate = self.config.hyper_parameters.optimizer.learning_rate
        stepped = self.learner.step(batch, self.number, rate)
        self.number += 1
        return stepped.loss["loss"]

    def scores(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Click probabilities of a batch, in evaluation mode, [B]."""
        import paddle

        self.net.eval()
        with paddle.no_grad():
            found = self.model.infer_forward(self.net, self.model.create_feeds(batch)).numpy()
        self.net.train()
        return found

    def reader(self, data: str, batch_size: int) -> Reader:
        """The train split of a prepared dataset, as training reads it."""
        r = self.config.runner
        return Reader(
            data,
            "train",
            batch_size,
            r.history_cap,
            shuffle=True,
            seed=r.seed,
            bucket_batches=r.bucket_batches,
            times=self.times,
            negatives=self.negatives,
        )

    def time(self, batches: list[dict[str, np.ndarray]], warm_up: int = WARM_UP) -> list[float]:
        """Milliseconds of each step after the first `warm_up`, which begin with the first batches
        again."""
        for k in range(warm_up):
            self.step(batches[k % len(batches)])
        times = []
        for batch in batches:
            started = time.perf_counter()
            self.step(batch)
            times.append(1e3 * (time.perf_counter() - started))
        return times


def random_schema(table_rows: int, attributes: int, attribute_rows: int = 1000) -> Schema:
    """An item table of `table_rows` rows and so many attributes of `attribute_rows` each; no data
    behind it."""
    fields = [Field("item", "item", size=table_rows)]
    fields += [Field(f"attribute_{k + 1}", "item", size=attribute_rows) for k in range(attributes)]
    return Schema("random", "none", "every_prefix", 0, "order", fields, {})


def random_batch(
    schema: Schema, rows: int, length: int, seed: int = 0, negatives: bool = False
) -> dict[str, np.ndarray]:
    """A batch as the reader gives it, indices uniform over the tables, all histories `length`
    events long."""
    rng = np.random.default_rng(seed)
    batch: dict[str, np.ndarray] = {}
    for f in schema.item_fields:
        low = min(FIRST_ID, f.size - 1)
        batch[f"history_{f.name}"] = rng.integers(low, f.size, (rows, length))
        batch[f"target_{f.name}"] = rng.integers(low, f.size, rows)
        if negatives:
            batch[f"negative_{f.name}"] = rng.integers(low, f.size, (rows, length))
    batch["label"] = rng.integers(0, 2, rows).astype(np.float32)
    return batch
