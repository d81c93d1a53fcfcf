"""The training loop."""

import collections
import os
import time

import numpy as np
import paddle

from paddleinterest.core import distributed, environment
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import log_to, progress, say
from paddleinterest.core.metrics import auc, format_metrics
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.nets.sharded import ShardedEmbedding
from paddleinterest.training import bad_numbers, checkpoint, loading, record, resume, run, schedule
from paddleinterest.training.predict import predict


def train(config, data):
    """Train as `config` says on the prepared dataset `data`; returns the result as a dict.

    Of several processes (paddleinterest/core/distributed.py) all come here; rank 0 writes the run.
    """
    out, r = run.directory(config), config.runner
    record.check_free(out, r)
    model = loading.bind(config)
    readers = _readers(config, data, model)
    schema = readers["train"].schema
    net = loading.create_net(model, config, schema)
    optimizer = model.create_optimizer(net, config)
    regularization = model.create_regularization(config, readers["train"].counts)
    latest, best = (os.path.join(out, "checkpoints", f) for f in ("latest.npz", "best.npz"))
    state = _begin(config, schema, out, latest, net, optimizer)
    record.open_directory(
        out, config, latest, best, state["metrics_bytes"]
    )  # only now: wrong input harms no older run
    with (
        log_to(os.devnull if distributed.process_index() else os.path.join(out, "log.txt")),
        record.Scalars(out, r.visualdl) as scalars,
    ):
        _introduce(config, readers, net)
        distributed.wait()  # reading the data takes one longer than another
        speeds = []
        while not _finished(state, r):
            speeds.append(
                _train_epoch(
                    model,
                    net,
                    optimizer,
                    regularization,
                    readers["train"],
                    config,
                    state,
                    lambda: checkpoint.save(latest, net, state, optimizer),
                )
            )
            valid = _evaluate(model, net, readers["valid"]) if "valid" in readers else None
            record.epoch(out, state, valid, speeds[-1], scalars)
            if _is_best(state, valid, config):
                checkpoint.save(
                    best,
                    net,
                    {
                        "model": config.model,
                        "epoch": state["epoch"],
                        "valid": valid,
                        "settings": state["settings"],
                    },
                )
            checkpoint.save(latest, net, state, optimizer)
        metrics = _evaluate_best(best, latest, model, net, readers, state)
        if state["best_epoch"] == state["epoch"] == r.epochs > 1 and "valid" in readers:
            say(
                "the last epoch was the best: with more runner.epochs and runner.resume=true it may"
                " learn more"
            )
    later = speeds[1:] or speeds
    result = {
        "model": config.model,
        "dataset": schema.name,
        "protocol": schema.protocol,
        "run_dir": out,
        "checkpoint": best,
        "best_epoch": state["best_epoch"],
        "epochs": state["epoch"],
        "rows": {k: n.rows for k, n in readers.items()},
        **metrics,
        "skipped_batches": state["skipped_batches"],
        "samples_per_second": round(float(np.median(later))) if later else None,
        "threads": environment.threads(),
        **({"best_possible": schema.best} if schema.best else {}),
        **({"note": schema.note} if schema.note else {}),
    }
    record.keep_result(os.path.join(out, "result.json"), result)
    return result


def _begin(config, schema, out, latest, net, optimizer):
    """The state of a new run, or that of the one to go on with, whose weights and moments go into
    net and optimizer."""
    state = {
        "model": config.model,
        "settings": resume.settings_that_count(config, schema),
        "epoch": 0,
        "batch": 0,
        "step": 0,
        "best": None,
        "best_epoch": 0,
        "waited": 0,
        "loss": {},
        "learning_rate": 0.0,
        "metrics_bytes": 0,
        "plateau": {"best": None, "waited": 0, "factor": 1.0},
        "skipped_batches": 0,
    }
    if config.runner.resume and os.path.exists(latest):
        state = resume.saved_state(latest, state)
        checkpoint.load(latest, net, config.model, optimizer)
        say(
            f"going on with {out} after epoch {state['epoch']}"
            + (f", step {state['step']}" if state["batch"] else "")
            + (": it is finished" if _finished(state, config.runner) else "")
        )
    elif config.runner.resume:
        say(f"{out} holds no run to go on with: it starts from the beginning")
    return state


def _introduce(config, readers, net):
    """The first lines of the log."""
    schema, size = readers["train"].schema, config.runner.train_batch_size
    say(
        f"{config.model} on {schema.name} ({schema.protocol}): "
        + ", ".join(f"{k} {n.rows:,}" for k, n in readers.items())
        + f" samples; {_parameters(net):,} parameters"
    )
    if schema.note:
        say(schema.note)
    if readers["train"].batches < 10:
        say(
            f"only {readers['train'].batches} steps an epoch: so small a log learns more with a"
            f" smaller runner.train_batch_size (now {size})"
        )
    if distributed.process_count() > 1:
        say(f"{distributed.process_count()} processes share every batch{_tables(net)}")


def _is_best(state, valid, config):
    """Whether the epoch that has ended is the best so far; early stop and plateau count it."""
    schedule.plateau(state["plateau"], valid, config.hyper_parameters.plateau)
    value = _monitored(valid, config.runner.monitor, state["epoch"])
    better = state["best"] is None or value > state["best"]
    state["waited"] = 0 if better else state["waited"] + 1
    if better:
        state["best"], state["best_epoch"] = value, state["epoch"]
    return better


def _monitored(valid, monitor, epoch):
    """The number to maximise. Without a valid split the last epoch is the best."""
    if valid is None:
        return float(epoch)
    if valid[monitor] is None:
        say(
            f"{monitor} is undefined on valid (it needs both classes); the log loss decides instead"
        )
        monitor = "logloss"
    return -valid[monitor] if monitor == "logloss" else valid[monitor]


def _evaluate_best(best, latest, model, net, readers, state):
    """Metrics of the best checkpoint on valid and test, {split: metrics}."""
    epoch = checkpoint.load(best, net, state["model"])["epoch"]
    if (
        epoch != state["best_epoch"]
    ):  # killed between the two files, and started again to stop earlier
        raise InputError(
            f"{best} is of epoch {epoch}, which {latest} has not reached; go on with more"
            " runner.epochs or a longer runner.early_stop"
        )
    result = {k: _evaluate(model, net, readers[k]) for k in ("valid", "test") if k in readers}
    known = readers["train"].schema.best
    for split, m in result.items():
        truth = (
            f"  (the true probabilities reach {known[split]['auc']:.4f})" if split in known else ""
        )
        say(f"{split:5s} at epoch {state['best_epoch']}: {format_metrics(m)}{truth}")
    return result


def _finished(state, r):
    return state["epoch"] >= r.epochs or bool(r.early_stop and state["waited"] >= r.early_stop)


def _train_epoch(model, net, optimizer, regularization, reader, config, state, save):
    """One pass over train, from state["batch"] on. Returns samples a second."""
    r = config.runner
    net.train()
    started, rows, sizes = time.perf_counter(), 0, reader.sizes(state["epoch"]).tolist()
    recent = collections.deque(
        maxlen=200
    )  # the AUC on the bar is of so many batches: neither its cost nor memory grows
    with progress(sum(sizes[state["batch"] :]), f"epoch {state['epoch'] + 1}") as bar:
        for batch in reader.epoch(state["epoch"], state["batch"]):
            state["learning_rate"] = schedule.learning_rate(config, state, reader.batches)
            made = _step_or_skip(
                model, net, optimizer, regularization, reader, batch, config, state
            )
            of_batch = sizes[state["batch"]]  # of which this process may have a part
            if made:
                _add(state["loss"], made[1], of_batch)
                recent.append((batch["label"], made[0]))
            state["step"] += 1
            state["batch"] += 1
            rows += of_batch
            bar.update(of_batch)
            if state["batch"] % r.print_interval == 0 and recent:
                _refresh(bar, state, recent)
            if r.save_interval and state["step"] % r.save_interval == 0:
                save()
    state["epoch"], state["batch"] = state["epoch"] + 1, 0
    return rows / (time.perf_counter() - started)


def _step_or_skip(model, net, optimizer, regularization, reader, batch, config, state):
    """`train_step`; None where runner.skip_bad_batches leaves out a batch with bad numbers: weights and all stay as they were.

    Otherwise bad numbers end the run, with the rows that they come from; its last checkpoint stays.
    """
    r, step = config.runner, state["step"]
    may_skip = state["skipped_batches"] < r.skip_bad_batches
    buffers = bad_numbers.copy_of_buffers(net) if may_skip else []
    try:
        return train_step(
            model, net, optimizer, regularization, batch, state["learning_rate"], r.seed, step
        )
    except bad_numbers.BadNumbers as e:
        optimizer.clear_grad()
        what = f"{e} at step {step + 1} (epoch {state['epoch'] + 1}, batch {state['batch'] + 1}), "
        if distributed.process_count() == 1:
            bad = bad_numbers.culprits(
                model, net, regularization, batch, lambda: paddle.seed(_mix(r.seed, step))
            )
            what += bad_numbers.origin(reader, state["epoch"], state["batch"], bad)
        else:  # the search would have each process compute what the others do not
            what += (
                "from rows that only a single process looks for: go on without"
                " paddle.distributed.launch to find them"
            )
        if not may_skip:
            raise InputError(
                f"{what}; try a smaller learning rate or clip_norm, or, where the data are to"
                f" blame, runner.skip_bad_batches (now {r.skip_bad_batches})"
            ) from None
        bad_numbers.restore_buffers(buffers)
        state["skipped_batches"] += 1
        say(f"skipped a batch: {what} ({state['skipped_batches']} of at most {r.skip_bad_batches})")
        return None


def train_step(model, net, optimizer, regularization, batch, learning_rate, seed, step):
    """One update, number `step`. Returns the logits [B] and the parts of the loss by name, as
    numbers.

    Raises:
        BadNumbers: a part of the loss, or a gradient, is no number; nothing was updated.
    """
    paddle.seed(
        _mix(seed, step)
    )  # dropout depends on the number of step and rank alone: a resumed run draws the same
    optimizer.set_lr(learning_rate)
    loss, scores, parts = model.train_forward(net, model.create_feeds(batch), regularization)
    for name in ("loss", *(["regularization"] if regularization is not None else [])):
        if name not in parts:  # of a binding of one's own
            raise InputError(
                f"train_forward returns the parts {', '.join(parts) or 'none'}, and must name"
                f" {name} among them (paddleinterest/nets/click_model.py)"
            )
    parts = distributed.totals({name: float(value) for name, value in parts.items()})
    bad_numbers.check_loss(parts)
    loss.backward()
    distributed.sync_gradients(net)
    bad_numbers.check_gradients(net, optimizer._parameter_list)
    optimizer.step()
    optimizer.clear_grad()
    return scores.numpy(), parts


def _refresh(bar, state, recent):
    """Loss so far, and AUC of the recent batches, on the bar."""
    mean, (label, logit) = state["loss"]["loss"] / state["loss"]["rows"], zip(*recent)
    bar.set_postfix(
        loss=f"{mean:.4f}",
        auc=f"{auc(np.concatenate(label), np.concatenate(logit)):.4f}",
        refresh=False,
    )


def _add(total, parts, rows):
    """Add up the parts of the loss."""
    for name, value in parts.items():
        total[name] = total.get(name, 0.0) + value * rows
    total["rows"] = total.get("rows", 0) + rows


def _evaluate(model, net, reader):
    score = predict(model, net, reader)
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
        raise InputError(
            f"the model's scores are not finite for {bad_numbers.rows_in_words(reader, bad)}; try a"
            " smaller learning rate or clip_norm"
        )
    return model.create_metrics()(reader.user, reader.label, score)


def _readers(config, data, model):
    r = config.runner
    if r.train_batch_size < distributed.process_count():
        raise InputError(
            f"runner.train_batch_size is {r.train_batch_size}, for {distributed.process_count()} processes; "
            "it counts the rows of all of them together"
        )
    times = model.needs_times(config, Schema.load(data))
    common = dict(history_cap=r.history_cap, seed=r.seed, times=times)
    train_reader = Reader(
        data,
        "train",
        r.train_batch_size,
        shuffle=True,
        bucket_batches=r.bucket_batches,
        negatives=model.needs_negatives(config),
        targets=r.negatives,
        per_positive=r.negatives_per_positive,
        process_index=distributed.process_index(),
        process_count=distributed.process_count(),
        **common,
    )
    others = [
        k for k in ("valid", "test") if k in train_reader.schema.rows and (k != "test" or r.test)
    ]
    return {
        "train": train_reader,
        **{k: Reader(data, k, r.infer_batch_size, beside=train_reader, **common) for k in others},
    }


def _tables(net):
    """How much of the tables this process holds, where they are spread."""
    tables = [k for k in net.sublayers() if isinstance(k, paddle.nn.Embedding)]
    if not any(isinstance(k, ShardedEmbedding) for k in tables):
        return ""
    own = sum(4 * k.weight.shape[0] * k.weight.shape[1] for k in tables)
    whole = sum(4 * getattr(k, "rows", k.weight.shape[0]) * k.weight.shape[1] for k in tables)
    return f"; each holds about {own:,} of {whole:,} bytes of tables, moments aside"


def _parameters(net):
    return sum(int(np.prod(p.shape)) for p in net.parameters())


def _mix(seed, step):
    return int(
        np.random.SeedSequence(
            [seed, step] + [distributed.process_index()] * (distributed.process_index() > 0)
        ).generate_state(1)[0]
    )
