"""The training loop: batch, forward, backward, step, evaluate, save.

What else a training does is hooked in: `schedule` (the learning rate), `bad_numbers` (a loss or a
gradient that is not finite), `progress` (the bar), `resume` (where a run resumes), `record` (the
files of the run), core/distributed/ (several processes).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from paddleinterest.core import distributed, environment
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import kept, log_to, say
from paddleinterest.core.metrics import Metrics, format_metrics
from paddleinterest.core.settings import Settings
from paddleinterest.data import targets
from paddleinterest.data.matching import Dataset
from paddleinterest.data.reader import Batch, Reader
from paddleinterest.data.schema import Schema
from paddleinterest.nets.click_model import ClickModel
from paddleinterest.nets.regularization import MiniBatchAwareRegularization
from paddleinterest.training import (
    bad_numbers,
    checkpoint,
    loading,
    probe,
    record,
    resume,
    run,
    schedule,
)
from paddleinterest.training.id_dropout import counts_with_unknown, drop_ids
from paddleinterest.training.init_from import init_from
from paddleinterest.training.item_start import start_items
from paddleinterest.training.new_items import auc_withheld
from paddleinterest.training.predict import predict
from paddleinterest.training.progress import EpochProgress
from paddleinterest.training.run_directory import RunDirectory
from paddleinterest.training.state import State, Stepped
from paddleinterest.training.warm_start import warm_start


@dataclass
class Learner:
    """A net and what changes its weights.

    Attributes:
        model: the binding of the net to the tools.
        net: the net.
        optimizer: Paddle's optimiser of its parameters.
        regularization: of the embedding rows that occur in a batch, or None.
        seed: with a step's number, the seed of its dropout.
        id_dropout: share of the item ids that a step replaces by the unknown id.
    """

    model: ClickModel
    net: paddle.nn.Layer
    optimizer: paddle.optimizer.Optimizer
    regularization: MiniBatchAwareRegularization | None
    seed: int
    id_dropout: float = 0.0

    def step(self, batch: Batch, number: int, learning_rate: float) -> Stepped:
        """One update of the weights.

        Args:
            batch: the reader's.
            number: of the step, from 0 on.
            learning_rate: of this step.

        Raises:
            BadNumbers: a part of the loss, or a gradient, is not finite; nothing was updated.
        """
        self.seed_step(number)
        if self.id_dropout:
            batch = drop_ids(batch, self.id_dropout, step_seed(self.seed, number))
        loss, logit, parts = self.model.train_forward(
            self.net, self.model.create_feeds(batch), self.regularization
        )
        values = self._values(parts)
        bad_numbers.check_loss(values)
        loss.backward()
        distributed.sync_gradients(self.net)
        bad_numbers.check_gradients(self.net, self.optimizer._parameter_list)
        self.optimizer.set_lr(learning_rate)
        self.optimizer.step()
        self.optimizer.clear_grad()
        return Stepped(logit.numpy(), values)

    def seed_step(self, number: int) -> None:
        """Draw the random numbers of a step: they depend on its number and the process alone, so
        that a resumed run draws the same."""
        paddle.seed(step_seed(self.seed, number))

    def _values(self, parts: dict[str, paddle.Tensor]) -> dict[str, float]:
        """The parts of the loss as numbers, of all processes together."""
        needed = ["loss"] + ["regularization"] * (self.regularization is not None)
        for name in needed:
            if name not in parts:  # of a binding of one's own
                raise InputError(
                    f"train_forward returns the parts {', '.join(parts) or 'none'}, and must name"
                    f" {name} among them (paddleinterest/nets/click_model.py)"
                )
        return distributed.sums({name: float(value) for name, value in parts.items()})


@dataclass
class Trainer:
    """A training and how far it has come.

    Attributes:
        config: the settings.
        learner: the net and what changes its weights.
        readers: {"train": …} and, if the dataset has them, "valid" and "test".
        directory: where the run is written.
        state: how far it has come.
    """

    config: Settings
    learner: Learner
    readers: dict[str, Reader]
    directory: RunDirectory
    state: State

    def fit(self, scalars: "record.Scalars") -> list[float]:
        """Train until the last epoch, or until valid has not improved for runner.early_stop.

        Returns:
            Samples per second of each epoch.
        """
        speeds = []
        while not self.state.is_finished(self.config.runner):
            speeds.append(self.train_epoch())
            valid = self.evaluate("valid")
            record.epoch(self.directory.metrics, self.state, valid, speeds[-1], scalars)
            schedule.plateau(self.state.plateau, valid, self.config.hyper_parameters.plateau)
            self.state.probe = self._probe()
            if self.state.has_improved(valid, self.config.runner.monitor):
                self.save_best(valid)
            self.save_latest()
        return speeds

    def train_epoch(self) -> float:
        """One pass over train, starting at the batch that the run has reached.

        Returns:
            Samples per second.
        """
        state = self.state
        runner = self.config.runner
        reader = self.readers["train"]
        rows = reader.sizes(state.epoch).tolist()  # per batch, of all processes together
        skipper = bad_numbers.Skipper(self.learner, reader, runner.skip_bad_batches)
        self.learner.net.train()
        with EpochProgress(state, sum(rows[state.batch :]), runner.print_interval) as progress:
            for batch in reader.epoch(state.epoch, state.batch):
                state.learning_rate = schedule.learning_rate(self.config, state, reader.batches)
                stepped = skipper.step(batch, state)
                in_batch = rows[state.batch]
                if stepped:
                    state.add_loss(stepped.loss, in_batch)
                state.step += 1
                state.batch += 1
                progress.add(in_batch, batch["label"], stepped.logit if stepped else None)
                if runner.save_interval and state.step % runner.save_interval == 0:
                    state.probe = self._probe()
                    self.save_latest()
            speed = progress.speed
        state.epoch += 1
        state.batch = 0
        return speed

    def evaluate(self, split: str) -> Metrics | None:
        """Metrics of the net on a split; None if the dataset has no such split."""
        if split not in self.readers:
            return None
        reader = self.readers[split]
        score = predict(self.learner.model, self.learner.net, reader)
        bad = np.flatnonzero(~np.isfinite(score))
        if len(bad):
            raise InputError(
                f"the model's scores are not finite for {bad_numbers.rows_in_words(reader, bad)};"
                " try a smaller learning rate or clip_norm"
            )
        metrics = self.learner.model.create_metrics()(reader.user, reader.label, score)
        return {**metrics, **auc_withheld(reader, score)}

    def save_latest(self) -> None:
        """Save all that is needed to resume."""
        learner = self.learner
        state = self.state.model_dump()
        checkpoint.save(self.directory.latest, learner.net, state, learner.optimizer)

    def save_best(self, valid: Metrics | None) -> None:
        """Save the net of the epoch that has ended, for evaluation and export."""
        state = {
            "model": self.state.model,
            "epoch": self.state.epoch,
            "valid": valid,
            "settings": self.state.settings,
            "probe": self.state.probe,
        }
        checkpoint.save(self.directory.best, self.learner.net, state)

    def _probe(self) -> list[float]:
        """The logits that show later whether the net was edited."""
        schema = self.readers["train"].schema
        return probe.logits(self.learner.model, self.learner.net, self.config, schema)

    def evaluate_best(self) -> dict[str, Metrics]:
        """Metrics of the best epoch's net on valid and test, {split: metrics}."""
        path = self.directory.best
        epoch = checkpoint.load(path, self.learner.net, self.state.model)["epoch"]
        if (
            epoch != self.state.best_epoch
        ):  # killed between the two files, then asked to stop earlier
            raise InputError(
                f"{path} is of epoch {epoch}, which {self.directory.latest} has not reached;"
                " resume with more runner.epochs or a longer runner.early_stop"
            )
        found = {}
        best_possible = self.readers["train"].schema.best
        for split in ("valid", "test"):
            metrics = self.evaluate(split)
            if metrics is None:
                continue
            found[split] = metrics
            truth = ""
            if split in best_possible:
                auc = best_possible[split]["auc"]
                truth = f"  (the true probabilities reach {auc:.4f})"
            say(f"{split:5s} at epoch {epoch}: {format_metrics(metrics)}{truth}")
        return found


def step_seed(seed: int, number: int) -> int:
    """The seed of step `number` in this process."""
    words = [seed, number]
    if distributed.process_index():
        words.append(distributed.process_index())
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def train(config: Settings, data: str) -> dict[str, Any]:
    """Train as `config` says, and evaluate the best epoch.

    Of several processes (core/distributed/) all come here; the first one writes the run.

    Args:
        config: the settings.
        data: the prepared dataset.

    Returns:
        The result, as the tool prints it.
    """
    directory = RunDirectory(run.directory(config))
    if config.runner.infer_load_path:
        raise InputError(
            "runner.infer_load_path is what infer and to_static read; to start a training from the"
            " weights of a checkpoint, use runner.warm_start"
        )
    directory.check_free(config)
    with directory.owned():
        with kept() as earlier:
            trainer = start(config, data, directory)
        directory.begin(config, trainer.state.metrics_bytes)  # wrong input harms no older run
        log = record.log_file(directory)
        with (
            log_to(log, earlier.getvalue()),
            record.Scalars(directory, config.runner.visualdl) as scalars,
        ):
            record.introduce(config, trainer.readers, trainer.learner.net)
            distributed.wait()  # reading the data takes one process longer than another
            speeds = trainer.fit(scalars)
            metrics = trainer.evaluate_best()
            record.advise(config, trainer.state, "valid" in trainer.readers)
        result = _result(trainer, metrics, speeds)
        record.keep_result(directory.result, result)
    return result


def start(config: Settings, data: str, directory: RunDirectory) -> Trainer:
    """A training about to start, or one to resume where its latest checkpoint left it.

    Raises:
        InputError: the settings, the data and the checkpoint do not fit together.
    """
    model = loading.bind(config)
    readers = make_readers(config, data, model)
    schema = readers["train"].schema
    net = loading.create_net(model, config, schema)
    h = config.hyper_parameters
    if h.vectors == "start":
        start_items(net, readers["train"].items, schema, h.embedding_std)
    learner = Learner(
        model,
        net,
        model.create_optimizer(net, config),
        model.create_regularization(config, lambda: _counts(readers["train"], h.id_dropout)),
        config.runner.seed,
        h.id_dropout,
    )
    new = State(model=config.model, settings=resume.settings_that_count(config, schema))
    batches = readers["train"].batches
    state = resume.restore(directory, new, net, learner.optimizer, batches, config.runner)
    if state is new:
        _start_from_weights(config, learner, Dataset(data, schema))
    else:
        now = probe.logits(model, net, config, schema)
        probe.check(directory.latest, state.probe, now, config.folder)
    return Trainer(config, learner, readers, directory, state)


def _start_from_weights(config: Settings, learner: Learner, data: Dataset) -> None:
    """Give a new run the weights that the settings name."""
    runner = config.runner
    if runner.warm_start and runner.init_from:
        raise InputError(
            "runner.warm_start and runner.init_from both name weights to start from; leave out one"
        )
    if runner.warm_start:
        warm_start(runner.warm_start, learner.net, data.schema)
    if runner.init_from:
        init_from(config, learner.net, learner.optimizer, data)


def _counts(reader: Reader, id_dropout: float) -> dict[str, np.ndarray]:
    """Occurrences of every embedding row in training."""
    counts = reader.counts()
    return counts_with_unknown(counts, id_dropout) if id_dropout else counts


def make_readers(config: Settings, data: str, model: ClickModel) -> dict[str, Reader]:
    """Readers of train and, if the dataset has them, of valid and test."""
    runner = config.runner
    if runner.train_batch_size < distributed.process_count():
        raise InputError(
            f"runner.train_batch_size is {runner.train_batch_size}, must be at least"
            f" {distributed.process_count()}, one row for each process: it counts the rows of all"
        )
    schema = Schema.load(data)
    times = model.needs_times(config, schema)
    kind, per_positive = targets.resolve(
        runner.negatives, runner.negatives_per_positive, schema.protocol
    )
    vectors = config.hyper_parameters.vectors != "start"  # those only start the item table
    train_reader = Reader(
        data,
        "train",
        runner.train_batch_size,
        history_cap=runner.history_cap,
        shuffle=True,
        bucket_batches=runner.bucket_batches,
        seed=runner.seed,
        process_index=distributed.process_index(),
        process_count=distributed.process_count(),
        times=times,
        negatives=model.needs_negatives(config),
        targets=kind,
        per_positive=per_positive,
        vectors=vectors,
    )
    train_reader.schema.check_same(schema, data)
    readers = {"train": train_reader}
    for split in ("valid", "test") if runner.test else ("valid",):
        if split in train_reader.schema.rows:
            readers[split] = Reader(
                data,
                split,
                runner.infer_batch_size,
                history_cap=runner.history_cap,
                seed=runner.seed,
                times=times,
                tables_of=train_reader,
                vectors=vectors,
            )
    return readers


def _result(trainer: Trainer, metrics: dict[str, Metrics], speeds: list[float]) -> dict[str, Any]:
    schema = trainer.readers["train"].schema
    state = trainer.state
    later = speeds[1:] or speeds  # the first epoch also warms up
    result: dict[str, Any] = {
        "model": state.model,
        "dataset": schema.name,
        "protocol": schema.protocol,
        "run_dir": trainer.directory.path,
        "checkpoint": trainer.directory.best,
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "rows": {split: reader.rows for split, reader in trainer.readers.items()},
        **metrics,
        "skipped_batches": state.skipped_batches,
        "samples_per_second": round(float(np.median(later))) if later else None,
        "threads": environment.threads(),
    }
    if schema.best:
        result["best_possible"] = schema.best
    if schema.note:
        result["note"] = schema.note
    return result
