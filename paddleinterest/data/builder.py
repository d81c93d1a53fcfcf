"""From a raw log to a prepared dataset on disk, whole or not at all. README.md, "The prepared
dataset", lists the files.

The work is done on integer codes with NumPy; nothing loops over events in Python.

Example:
    >>> from paddleinterest.data.builder import build                                     # doctest: +SKIP
    >>> build(log, "data/mine", protocol="every_prefix", name="mine")          # doctest: +SKIP
"""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from paddleinterest.core.atomic import remove_stale, whole_directory
from paddleinterest.core.checksum import hashes
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.core.metrics import auc, group_auc
from paddleinterest.data.protocols import LABELLED, PROTOCOLS, Events, Samples
from paddleinterest.data.schema import (
    FIRST_ID,
    LATEST,
    PADDING,
    RESERVED,
    SPLITS,
    UNKNOWN,
    Field,
    Schema,
)
from paddleinterest.data.tables import FARTHEST

PART_ROWS = 1 << 23  # samples in one part-*.parquet


def build(
    log,
    out,
    *,
    protocol,
    name,
    source="",
    seed=2026,
    paper_split=False,
    min_count=1,
    user_id=False,
    recipe=None,
    overwrite=False,
):
    """Split, index and write `log` (a `paddleinterest.data.log.Log`) to directory `out`.

    Args:
        protocol: every_prefix, last_event, impressions, by_user, by_day, or given (the source
            yields samples).
        seed: of the negatives and of any random split; the same seed writes the same bytes.
        paper_split: no valid split, as the papers print (see paddleinterest/data/protocols.py).
        min_count: items, and attribute values, with fewer events in train share index 1 (out of
            vocabulary).
        user_id: users' ids are an attribute of theirs, `user_id`, so that models learn each user.
        recipe: what to record in schema.yaml as the options in force.
        overwrite: replace `out` where it exists.

    Returns:
        The `Schema` written.

    Raises:
        InputError: a log that breaks the contract, an empty split, `out` exists.
    """
    check_free(out, overwrite)
    with tqdm(total=8, desc="preparing", unit="step", leave=False, disable=None) as bar:

        def step(what):
            bar.set_postfix_str(what)
            bar.update()

        return _build(
            log,
            out,
            protocol,
            name,
            source,
            seed,
            paper_split,
            min_count,
            user_id,
            recipe,
            overwrite,
            step,
        )


def check_free(out, overwrite):
    """Raise InputError where `out` exists and may not be replaced."""
    remove_stale(os.path.realpath(out))
    if os.path.lexists(out) and not overwrite:
        raise InputError(
            f"{out} exists already; remove it, choose another --out, or add --overwrite"
        )
    if os.path.lexists(out) and not os.path.isfile(os.path.join(out, "schema.yaml")):
        raise InputError(
            f"{out} is no prepared dataset, so --overwrite does not replace it; choose another"
            " --out"
        )


def _build(
    log, out, protocol, name, source, seed, paper_split, min_count, user_id, recipe, overwrite, step
):
    step("checking")
    _check(log, ["user_id"] if user_id else [])
    step("sorting")
    item_codes, item_ids = _codes(
        [log.events.item, log.items.item, *([log.samples.item] if _given(log) else [])]
    )
    user_codes, user_ids = _codes(
        [
            log.events.user,
            *([log.users.user] if log.users is not None else []),
            *([log.samples.user] if _given(log) else []),
        ]
    )
    _check_unique("items", "item", item_codes[1], item_ids)
    if log.users is not None:
        _check_unique("users", "user", user_codes[1], user_ids)
    events = _sorted_events(log, user_codes[0], item_codes[0], len(user_ids))
    step("splitting, drawing negatives")
    rng = {split: np.random.default_rng([seed, k]) for k, split in enumerate(SPLITS)}
    if protocol == "given":
        history, samples, train = _given_samples(
            log, events, user_codes[-1], item_codes[-1], paper_split
        )
    else:
        history, samples, train = PROTOCOLS[protocol](events, rng, paper_split)
    drawn = protocol not in (
        *LABELLED,
        "given",
    )  # the negatives are: a sample with label 0 is none of the log
    if drawn:
        _tell_repeats(history, protocol)
    for split, s in samples.items():
        if not len(s.user):
            fewest = (
                f"; it takes users with at least {3 if paper_split else 4} events"
                if protocol == "every_prefix"
                else ""
            )
            clicks = (
                ""
                if events.label is None
                else f" ({int(events.label.sum()):,} of them with label 1)"
            )
            raise InputError(
                f"the {split} split is empty: protocol {protocol} found no samples for it among "
                f"{len(events.user):,} events{clicks} of {len(user_ids):,} users{fewest}"
            )
    step("vocabularies")
    seen = [] if protocol in LABELLED else [(history.item[train], history.user[train])]
    if not drawn:
        seen.append((samples["train"].item, samples["train"].user))
    item_count = sum(np.bincount(item, minlength=len(item_ids)) for item, _ in seen)
    user_count = sum(np.bincount(user, minlength=len(user_ids)) for _, user in seen)
    items, item_row, fields = _table(item_ids, item_count, log.items, "item", log, min_count, False)
    users, user_row, user_fields = _table(
        user_ids, user_count, log.users, "user", log, min_count, user_id
    )
    context, context_fields = _context(log, samples, min_count, drawn)
    fields = fields + user_fields + context_fields

    with whole_directory(out, overwrite) as made:
        step("writing tables")
        vocabularies = {f.name: f.vocabulary for f in fields if f.vocabulary is not None}
        _write_tables(made, items, users, vocabularies)
        step("writing sequences")
        _write_sequences(os.path.join(made, "sequences.arrow"), history, item_row)
        step("writing samples")
        schema = Schema(
            name,
            source,
            protocol,
            seed,
            log.time,
            [f.field for f in fields],
            rows={k: len(s.user) for k, s in samples.items()},
            recipe=recipe or {},
            note=log.note,
        )
        for split, s in samples.items():
            truth = None
            if (
                log.truth and protocol in LABELLED
            ):  # of a drawn negative nobody knows the probability
                truth = log.events[log.truth].to_numpy()[s.row].astype(np.float32)
            _write_samples(os.path.join(made, split), s, item_row, user_row, context[split], truth)
            if truth is not None:
                schema.best[split] = {
                    "auc": auc(s.label, truth),
                    "gauc": group_auc(s.user, s.label, truth),
                }
        step("hashing")
        schema.counts = _counts(history, item_count, item_ids, user_ids, log)
        schema.files = dict(hashes(made))
        schema.save(made)
    return schema


def _given(log):
    return log.samples is not None


def _check(log, own):
    """What every source owes (see `Log`); checked here so that a new source cannot get it wrong in
    silence. own: names of attributes that are added to the users'."""
    frames = {"events": log.events, "items": log.items, "users": log.users, "samples": log.samples}
    need = {
        "events": ("user", "item", "time"),
        "items": ("item",),
        "users": ("user",),
        "samples": ("user", "item", "label", "split"),
    }
    for name, frame in frames.items():
        if frame is None:
            continue
        moment = [*log.context, *([log.truth] if log.truth else [])]
        for column in [
            *need[name],
            *(moment if name == ("samples" if _given(log) else "events") else []),
        ]:
            if column not in frame:
                raise InputError(
                    f"{name} have no column {column}; they have"
                    f" {', '.join(map(str, frame.columns))}"
                )
            if column in need[name] and frame[column].isna().any():
                row = int(np.flatnonzero(frame[column].isna())[0])
                raise InputError(f"{name}, row {row + 1}: {column} is missing")
    if not len(log.events):
        raise InputError("the log holds no events")
    if log.events.time.dtype.kind not in "iu":
        raise InputError(f"events.time holds {log.events.time.dtype} values, must be integers")
    if not (-LATEST < log.events.time.min() and log.events.time.max() < LATEST):
        raise InputError("events.time has values beyond ±2**62")
    for name, column, allowed in (
        ("events", "label", [0, 1]),
        ("samples", "label", [0, 1]),
        ("samples", "split", list(SPLITS)),
    ):
        if frames[name] is not None and column in frames[name]:
            wrong = ~frames[name][column].isin(allowed).to_numpy()
            if wrong.any():
                row = int(wrong.argmax())
                raise InputError(
                    f"{name}, row {row + 1}: {column} is {_shown(frames[name][column].iloc[row])},"
                    f" must be {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}"
                )
    names = [
        c
        for c in [
            *log.items.columns[1:],
            *(log.users.columns[1:] if log.users is not None else []),
            *log.context,
            *own,
        ]
    ]
    for n in names:
        if n in RESERVED:
            raise InputError(f"a column may not be called {n!r}: the name is taken; rename it")
        if names.count(n) > 1:
            raise InputError(f"column {n!r} occurs in two of items, users and context; rename one")
        if (
            not isinstance(n, str)
            or not n
            or n.startswith(".")
            or "/" in n
            or "\\" in n
            or not n.isprintable()
        ):
            raise InputError(
                f"a column may not be called {n!r}: its vocabulary is a file of that name;"
                " rename it"
            )
    unknown = [n for n in log.dense if n not in names]
    if unknown:
        raise InputError(f"dense column {unknown[0]!r} is in none of items, users and context")


def _tell_repeats(events, protocol):
    """Say how many events repeat another: a history that ends just before such an event holds
    it."""
    if events.clock:
        again = pd.DataFrame(
            {"user": events.user, "item": events.item, "time": events.time}
        ).duplicated()
        if again.any():
            say(
                f"{int(again.sum()):,} of {len(again):,} events repeat another (same user, item and"
                f" time): under {protocol} the one is in the history of the other, which tells the"
                " answer; drop them from the log if they are there by accident"
            )


def _check_unique(name, key, codes, ids):
    twice = codes[pd.Series(codes).duplicated().to_numpy()]
    if len(twice):
        raise InputError(
            f"{name} list {key} {_shown(ids[twice[0]])} more than once ({len(twice):,} repeated"
            " rows); keep one row for each"
        )


def _shown(value):
    """A value for a message: 2, not np.int64(2)."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _codes(columns):
    """Integer codes shared by several id columns: list of int64 [n] each, and the ids in order of
    first sight.

    Ids are compared as integers where all columns hold such, else as what they look like.
    """
    whole = all(c.dtype.kind == "i" for c in columns if len(c))
    columns = [c.astype(np.int64 if whole else str) for c in columns]
    codes, ids = pd.factorize(pd.concat(columns, ignore_index=True))
    cuts = np.cumsum([len(c) for c in columns])[:-1]
    return np.split(codes.astype(np.int64), cuts), pd.Index(ids)


def _sorted_events(log, user, item, users):
    time = log.events.time.to_numpy().astype(np.int64)
    order = np.lexsort((time, user))  # stable: ties keep the file's order
    label = log.events.label.to_numpy().astype(np.int8)[order] if "label" in log.events else None
    return Events(user[order], item[order], time[order], label, order, users, log.time == "seconds")


def _given_samples(log, events, user, item, paper_split):
    """Samples as the source gives them; a sample's history is the whole sequence of its user.

    Valid is left out where the source has none; with `paper_split` its samples go to train. The
    histories of the users in train are part of train: most of their items are never a target.
    """
    n = np.bincount(events.user, minlength=events.users)
    label = log.samples.label.to_numpy().astype(np.int8)
    of = log.samples.split.replace("valid", "train") if paper_split else log.samples.split
    samples = {}
    for split in SPLITS:
        i = np.flatnonzero((of == split).to_numpy())
        if len(i) or split != "valid":
            samples[split] = Samples(
                user[i], n[user[i]], item[i], label[i], n[user[i]].astype(np.int64), i
            )
    return events, samples, np.isin(events.user, samples["train"].user)


class _Column:
    """A `Field` with what is needed to write it: index (or value) a row, and the vocabulary of a
    category."""

    def __init__(self, field, values, vocabulary=None):
        self.field, self.values, self.vocabulary = field, values, vocabulary
        self.name = field.name


def _text(values):
    """Distinct category values as text; where all are whole floats (integers with gaps) they lose
    their '.0'."""
    if values.dtype.kind == "f" and (np.abs(values) < 2**53).all() and (values % 1 == 0).all():
        values = values.astype(np.int64)
    return [str(v) for v in values]


def _category(name, of, column, weight, min_count):
    """Index each value by falling count in train (ties by text); unseen and missing values get
    index 1.

    Args:
        column: raw values, [N]; weight: occurrences in train of each row, [N].
    """
    codes, raw = pd.factorize(column)
    same, values = pd.factorize(np.array(_text(raw), object))  # 7 and "7" are one value
    codes = np.append(same, -1)[codes]
    count = np.bincount(
        codes[codes >= 0], weights=weight[codes >= 0], minlength=len(values)
    ).astype(np.int64)
    rank = np.array(sorted(range(len(values)), key=lambda k: (-count[k], values[k])), np.int64)
    rank = rank[count[rank] >= min_count]
    index = np.full(
        len(values) + 1, UNKNOWN, np.int32
    )  # the last entry serves code -1, a missing value
    index[rank] = FIRST_ID + np.arange(len(rank))
    vocabulary = pa.table(
        {
            "index": pa.array(FIRST_ID + np.arange(len(rank)), pa.int32()),
            "value": pa.array([values[k] for k in rank], pa.string()),
            "count": pa.array(count[rank], pa.int64()),
        }
    )
    return _Column(Field(name, of, "category", FIRST_ID + len(rank)), index[codes], vocabulary)


def _dense(name, of, column, weight):
    """Mean and standard deviation over the occurrences in train; missing values stay NaN in the
    file.

    Both are of the numbers as stored, in float32, whose rounding must not pass for variation.
    """
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if (
        np.isinf(values).any()
        or np.abs(np.nan_to_num(values)).max(initial=0) > np.finfo(np.float32).max
    ):
        raise InputError(f"dense column {name!r} holds infinity or a number beyond float32")
    values = values.astype(np.float32).astype(np.float64)
    known = ~np.isnan(values) & (weight > 0)
    mean, std = 0.0, 1.0
    if known.any():
        mean = float(np.average(values[known], weights=weight[known]))
        std = float(np.sqrt(np.average((values[known] - mean) ** 2, weights=weight[known])))
        std = std if std > 1e-9 * abs(mean) else 1.0  # all the same
    far = int((np.abs(values - mean) > FARTHEST * std).sum())
    if far:  # none of them in train, which would have widened it
        say(
            f"dense column {name}: {far:,} values that train lacks are more than {FARTHEST:,.0f}"
            " standard deviations off; they count as so many"
        )
    return _Column(Field(name, of, "dense", 0, mean, std), values.astype(np.float32))


def _column(name, of, column, weight, log, min_count):
    if name in log.dense:
        return _dense(name, of, column, weight)
    return _category(name, of, column, weight, min_count)


def _table(ids, count, frame, of, log, min_count, own_id):
    """The rows of items.parquet or users.parquet: padding, unknown, then ids by falling count in
    train.

    own_id: whether the id is a column of its own as well, <of>_id.

    Returns:
        table, the row of each code [len(ids)], the columns (for items, the id itself first).
    """
    order = np.lexsort((np.arange(len(ids)), -count))
    row = np.empty(len(ids), np.int32)
    row[order] = FIRST_ID + np.arange(len(ids))
    known = int((count >= max(min_count, 1)).sum())
    columns = (
        [_Column(Field("item", "item", "category", FIRST_ID + known), None)] if of == "item" else []
    )
    whole = ids.dtype.kind == "i"
    raw = (
        pa.array(ids[order].to_numpy(np.int64))
        if whole
        else pa.array(ids[order].to_numpy(object), pa.string())
    )
    table = {
        of: pa.concat_arrays([pa.nulls(FIRST_ID, raw.type), raw]),
        "count": pa.array(np.concatenate([[0, 0], count[order]]), pa.int64()),
    }
    attributes = {}
    if frame is not None:
        at = pd.Index(frame[of].astype(np.int64 if whole else str)).get_indexer(ids[order])
        for name in frame.columns[1:]:
            values = frame[name].reset_index(drop=True)
            if (
                values.dtype.kind in "iu"
            ):  # with gaps it would become float, and large integers another number
                values = values.astype("Int64" if values.dtype.kind == "i" else "UInt64")
            attributes[name] = values.reindex(at)
    if own_id:
        attributes[f"{of}_id"] = pd.Series(ids[order])
    for name, values in attributes.items():
        column = _column(name, of, values, count[order], log, min_count)
        special = [np.nan] * FIRST_ID if name in log.dense else [PADDING, UNKNOWN]
        table[name] = pa.array(
            np.concatenate([np.array(special, column.values.dtype), column.values])
        )
        columns.append(column)
    return pa.table(table), row, columns


def _context(log, samples, min_count, drawn):
    """Context columns of every split, as written: {split: {name: [S]}}, and their columns. drawn:
    rows with label 0 are drawn negatives, which repeat the row of their positive and do not
    count."""
    frame = log.samples if _given(log) else log.events
    counted = samples["train"].row[samples["train"].label == 1] if drawn else samples["train"].row
    weight = np.bincount(counted, minlength=len(frame)).astype(np.float64)
    out, columns = {split: {} for split in samples}, []
    for name in log.context:
        column = _column(
            name, "context", frame[name].reset_index(drop=True), weight, log, min_count
        )
        columns.append(column)
        for split, s in samples.items():
            out[split][name] = column.values[s.row]
    return out, columns


def _write_tables(made, items, users, vocabularies):
    pq.write_table(items, os.path.join(made, "items.parquet"), compression="zstd")
    pq.write_table(users, os.path.join(made, "users.parquet"), compression="zstd")
    os.makedirs(os.path.join(made, "vocab"))
    for name, table in vocabularies.items():
        pq.write_table(table, os.path.join(made, "vocab", f"{name}.parquet"), compression="zstd")


def _write_sequences(path, history, item_row):
    """Row u holds user code u's events, oldest first. One record batch, so that the reader can map
    it as it lies."""
    n = np.bincount(history.user, minlength=history.users)
    offsets = pa.array(np.concatenate([[0], np.cumsum(n)]), pa.int64())
    columns = {
        "item": pa.LargeListArray.from_arrays(offsets, pa.array(item_row[history.item])),
        "time": pa.LargeListArray.from_arrays(offsets, pa.array(history.time)),
    }
    table = pa.table(columns)
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _write_samples(directory, s, item_row, user_row, context, truth):
    os.makedirs(directory)
    for part, lo in enumerate(range(0, len(s.user), PART_ROWS)):
        cut = slice(lo, lo + PART_ROWS)
        columns = {
            "sequence": s.user[cut].astype(np.int32),
            "end": s.end[cut].astype(np.int32),
            "user": user_row[s.user[cut]],
            "item": item_row[s.item[cut]],
            "label": s.label[cut],
            "time": s.time[cut],
            **{k: v[cut] for k, v in context.items()},
        }
        if truth is not None:
            columns["probability"] = truth[cut]
        pq.write_table(
            pa.table(columns),
            os.path.join(directory, f"part-{part:05d}.parquet"),
            compression="zstd",
            row_group_size=1 << 20,
        )


def _counts(history, item_count, item_ids, user_ids, log):
    lengths = np.bincount(history.user, minlength=history.users)
    return {
        "events": len(log.events),
        "users": len(user_ids),
        "items": len(item_ids),
        "items_in_train": int((item_count > 0).sum()),
        "history_mean": round(float(lengths.mean()), 3),
        "history_median": int(np.median(lengths)),
        "history_max": int(lengths.max()),
    }
