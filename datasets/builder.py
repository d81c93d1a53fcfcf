"""From a raw log to a prepared dataset on disk, whole or not at all. README.md, "The prepared dataset", lists the files.

The work is done on integer codes with NumPy; nothing loops over events in Python.

Example:
    >>> from datasets.builder import build                                     # doctest: +SKIP
    >>> build(log, "data/mine", protocol="every_prefix", name="mine")          # doctest: +SKIP
"""
import hashlib
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from datasets.atomic import whole_directory
from datasets.protocols import PROTOCOLS, Events, Samples
from datasets.schema import FIRST_ID, PADDING, SPLITS, UNKNOWN, Field, InputError, Schema
from tools.utils.metrics import auc, group_auc

RESERVED = ("user", "item", "time", "label", "count", "sequence", "end", "history", "target", "dense", "index",
            "value", "probability")
PART_ROWS = 1 << 23  # samples in one part-*.parquet


def build(log, out, *, protocol, name, source="", seed=2026, paper_split=False, min_count=1, recipe=None,
          overwrite=False):
    """Split, index and write `log` (a `datasets.schema.Log`) to directory `out`.

    Args:
        protocol: every_prefix, last_event, impressions, or given (the source yields samples).
        seed: of the negatives and of any random split; the same seed writes the same bytes.
        paper_split: no valid split, as the papers print (see datasets/protocols.py).
        min_count: items, and attribute values, with fewer events in train share index 1 (out of vocabulary).
        recipe: what to record in schema.yaml as the options in force.
        overwrite: replace `out` where it exists.

    Returns:
        The `Schema` written.

    Raises:
        InputError: a log that breaks the contract, an empty split, `out` exists.
    """
    if os.path.exists(out) and not overwrite:
        raise InputError(f"{out} exists already; remove it, choose another --out, or add --overwrite")
    bar = tqdm(total=8, desc="preparing", unit="step", leave=False)

    def step(what):
        bar.set_postfix_str(what)
        bar.update()

    step("checking")
    _check(log)
    step("sorting")
    item_codes, item_ids = _codes([log.events.item, log.items.item, *([log.samples.item] if _given(log) else [])])
    user_codes, user_ids = _codes([log.events.user, *([log.users.user] if log.users is not None else []),
                                   *([log.samples.user] if _given(log) else [])])
    events = _sorted_events(log, user_codes[0], item_codes[0], len(user_ids))
    step("splitting, drawing negatives")
    rng = {split: np.random.default_rng([seed, k]) for k, split in enumerate(SPLITS)}
    if protocol == "given":
        history, samples, train = _given_samples(log, events, user_codes[-1], item_codes[-1])
    else:
        history, samples, train = PROTOCOLS[protocol](events, rng, paper_split)
    for split, s in samples.items():
        if not len(s.user):
            raise InputError(f"the {split} split is empty: protocol {protocol} found no samples for it among "
                             f"{len(events.user):,} events of {len(user_ids):,} users")
    step("vocabularies")
    seen = samples["train"] if protocol in ("impressions", "given") else None
    item_count = np.bincount(seen.item if seen else history.item[train], minlength=len(item_ids))
    user_count = np.bincount(seen.user if seen else history.user[train], minlength=len(user_ids))
    items, item_row, fields = _table(item_ids, item_count, log.items, "item", log, min_count)
    users, user_row, user_fields = _table(user_ids, user_count, log.users, "user", log, min_count)
    context, context_fields = _context(log, samples, min_count)
    fields = fields + user_fields + context_fields

    with whole_directory(out, overwrite) as made:
        step("writing tables")
        vocabularies = {f.name: f.vocabulary for f in fields if f.vocabulary is not None}
        _write_tables(made, items, users, vocabularies)
        step("writing sequences")
        _write_sequences(os.path.join(made, "sequences.arrow"), history, item_row)
        step("writing samples")
        schema = Schema(name, source, protocol, seed, log.time, [f.field for f in fields],
                        rows={k: len(s.user) for k, s in samples.items()}, recipe=recipe or {}, note=log.note)
        for split, s in samples.items():
            truth = log.events[log.truth].to_numpy()[s.row].astype(np.float32) if log.truth else None
            _write_samples(os.path.join(made, split), s, item_row, user_row, context[split], truth)
            if truth is not None:
                schema.best[split] = {"auc": auc(s.label, truth), "gauc": group_auc(s.user, s.label, truth)}
        step("hashing")
        schema.counts = _counts(history, item_count, item_ids, user_ids, log)
        schema.files = dict(hashes(made))
        schema.save(made)
    bar.close()
    return schema


def _given(log):
    return log.samples is not None


def _check(log):
    """What every source owes (see `Log`); checked here so that a new source cannot get it wrong in silence."""
    frames = {"events": log.events, "items": log.items, "users": log.users, "samples": log.samples}
    need = {"events": ("user", "item", "time"), "items": ("item",), "users": ("user",),
            "samples": ("user", "item", "label", "split")}
    for name, frame in frames.items():
        if frame is None:
            continue
        for column in need[name]:
            if column not in frame:
                raise InputError(f"{name} have no column {column}; they have {', '.join(map(str, frame.columns))}")
            if frame[column].isna().any():
                row = int(np.flatnonzero(frame[column].isna())[0])
                raise InputError(f"{name}, row {row + 1}: {column} is missing")
    if not len(log.events):
        raise InputError("the log holds no events")
    for name, key in (("items", "item"), ("users", "user")):
        if frames[name] is not None and frames[name][key].duplicated().any():
            twice = frames[name][key][frames[name][key].duplicated()]
            raise InputError(f"{name} list {key} {twice.iloc[0]!r} more than once "
                             f"({len(twice):,} repeated rows); keep one row for each")
    for frame in (log.events, log.samples):
        if frame is not None and "label" in frame and not frame.label.isin([0, 1]).all():
            row = int(np.flatnonzero(~frame.label.isin([0, 1]))[0])
            raise InputError(f"row {row + 1}: label is {frame.label.iloc[row]!r}, must be 0 or 1")
    names = [c for c in [*log.items.columns[1:], *(log.users.columns[1:] if log.users is not None else []),
                         *log.context]]
    for n in names:
        if n in RESERVED:
            raise InputError(f"a column may not be called {n!r}: the name is taken; rename it")
        if names.count(n) > 1:
            raise InputError(f"column {n!r} occurs in two of items, users and context; rename one")


def _codes(columns):
    """Integer codes shared by several id columns: list of int64 [n] each, and the ids in order of first sight."""
    kinds = {c.dtype.kind if isinstance(c.dtype, np.dtype) else "O" for c in columns if len(c)}
    if len(kinds) > 1:  # integers here, strings there: compare what they look like
        columns = [c.astype(str) for c in columns]
    codes, ids = pd.factorize(pd.concat(columns, ignore_index=True))
    cuts = np.cumsum([len(c) for c in columns])[:-1]
    return np.split(codes.astype(np.int64), cuts), pd.Index(ids)


def _sorted_events(log, user, item, users):
    time = log.events.time.to_numpy().astype(np.int64)
    order = np.lexsort((time, user))  # stable: ties keep the file's order
    label = log.events.label.to_numpy().astype(np.int8)[order] if "label" in log.events else None
    return Events(user[order], item[order], time[order], label, order, users, log.time == "seconds")


def _given_samples(log, events, user, item):
    """Samples as the source gives them; a sample's history is the whole sequence of its user."""
    n = np.bincount(events.user, minlength=events.users)
    label = log.samples.label.to_numpy().astype(np.int8)
    samples = {}
    for split in SPLITS:
        i = np.flatnonzero((log.samples.split == split).to_numpy())
        samples[split] = Samples(user[i], n[user[i]], item[i], label[i], n[user[i]].astype(np.int64), i)
    return events, samples, np.ones(len(events.user), bool)


class _Column:
    """A `Field` with what is needed to write it: index (or value) a row, and the vocabulary of a category."""

    def __init__(self, field, values, vocabulary=None):
        self.field, self.values, self.vocabulary = field, values, vocabulary
        self.name = field.name


def _text(column):
    """Category values as text; whole floats (an integer column with gaps) lose their '.0'."""
    if column.dtype.kind == "f" if isinstance(column.dtype, np.dtype) else False:
        if (column.dropna() % 1 == 0).all():
            column = column.astype("Int64")
    return column.astype(object).where(column.notna(), None).map(lambda v: None if v is None else str(v))


def _category(name, of, column, weight, min_count):
    """Index each value by falling count in train (ties by text); unseen and missing values get index 1.

    Args:
        column: raw values, [N]; weight: occurrences in train of each row, [N].
    """
    codes, values = pd.factorize(_text(column))
    count = np.bincount(codes[codes >= 0], weights=weight[codes >= 0], minlength=len(values)).astype(np.int64)
    rank = np.lexsort((np.asarray(values, dtype=str), -count)) if len(values) else np.array([], np.int64)
    rank = rank[count[rank] >= min_count]
    index = np.full(len(values) + 1, UNKNOWN, np.int32)  # the last entry serves code -1, a missing value
    index[rank] = FIRST_ID + np.arange(len(rank))
    vocabulary = pa.table({"index": pa.array(FIRST_ID + np.arange(len(rank)), pa.int32()),
                           "value": pa.array([values[k] for k in rank], pa.string()),
                           "count": pa.array(count[rank], pa.int64())})
    return _Column(Field(name, of, "category", FIRST_ID + len(rank)), index[codes], vocabulary)


def _dense(name, of, column, weight):
    """Mean and standard deviation over the occurrences in train; missing values stay NaN in the file."""
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any() or np.abs(np.nan_to_num(values)).max(initial=0) > np.finfo(np.float32).max:
        raise InputError(f"dense column {name!r} holds infinity or a number beyond float32")
    known = ~np.isnan(values) & (weight > 0)
    mean, std = 0.0, 1.0
    if known.any():
        mean = float(np.average(values[known], weights=weight[known]))
        std = float(np.sqrt(np.average((values[known] - mean) ** 2, weights=weight[known]))) or 1.0
    return _Column(Field(name, of, "dense", 0, mean, std), values.astype(np.float32))


def _column(name, of, column, weight, log, min_count):
    if name in log.dense:
        return _dense(name, of, column, weight)
    return _category(name, of, column, weight, min_count)


def _table(ids, count, frame, of, log, min_count):
    """The rows of items.parquet or users.parquet: padding, unknown, then ids by falling count in train.

    Returns:
        table, the row of each code [len(ids)], the columns (for items, the id itself first).
    """
    order = np.lexsort((np.arange(len(ids)), -count))
    row = np.empty(len(ids), np.int32)
    row[order] = FIRST_ID + np.arange(len(ids))
    known = int((count >= max(min_count, 1)).sum())
    columns = [_Column(Field("item", "item", "category", FIRST_ID + known), None)] if of == "item" else []
    raw = pa.array(ids[order]) if not pd.api.types.is_object_dtype(ids) else pa.array(ids[order].astype(str))
    table = {of: pa.concat_arrays([pa.nulls(FIRST_ID, raw.type), raw]),
             "count": pa.array(np.concatenate([[0, 0], count[order]]), pa.int64())}
    if frame is not None:
        key = frame[of].astype(str) if ids.dtype.kind in "OT" or not isinstance(ids.dtype, np.dtype) else frame[of]
        frame = frame.set_axis(pd.Index(key)).reindex(ids[order])
        for name in frame.columns[1:]:
            column = _column(name, of, frame[name].reset_index(drop=True), count[order], log, min_count)
            special = [np.nan] * FIRST_ID if name in log.dense else [PADDING, UNKNOWN]
            table[name] = pa.array(np.concatenate([np.array(special, column.values.dtype), column.values]))
            columns.append(column)
    return pa.table(table), row, columns


def _context(log, samples, min_count):
    """Context columns of every split, as written: {split: {name: [S]}}, and their columns."""
    frame = log.samples if _given(log) else log.events
    out, columns = {split: {} for split in samples}, []
    for name in log.context:
        weight = np.bincount(samples["train"].row, minlength=len(frame)).astype(np.float64)
        column = _column(name, "context", frame[name].reset_index(drop=True), weight, log, min_count)
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
    """Row u holds user code u's events, oldest first. One record batch, so that the reader can map it as it lies."""
    n = np.bincount(history.user, minlength=history.users)
    offsets = pa.array(np.concatenate([[0], np.cumsum(n)]), pa.int64())
    columns = {"item": pa.LargeListArray.from_arrays(offsets, pa.array(item_row[history.item])),
               "time": pa.LargeListArray.from_arrays(offsets, pa.array(history.time))}
    table = pa.table(columns)
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _write_samples(directory, s, item_row, user_row, context, truth):
    os.makedirs(directory)
    for part, lo in enumerate(range(0, len(s.user), PART_ROWS)):
        cut = slice(lo, lo + PART_ROWS)
        columns = {"sequence": s.user[cut].astype(np.int32), "end": s.end[cut].astype(np.int32),
                   "user": user_row[s.user[cut]], "item": item_row[s.item[cut]], "label": s.label[cut],
                   "time": s.time[cut], **{k: v[cut] for k, v in context.items()}}
        if truth is not None:
            columns["probability"] = truth[cut]
        pq.write_table(pa.table(columns), os.path.join(directory, f"part-{part:05d}.parquet"), compression="zstd",
                       row_group_size=1 << 20)


def _counts(history, item_count, item_ids, user_ids, log):
    lengths = np.bincount(history.user, minlength=history.users)
    return {"events": len(log.events), "users": len(user_ids), "items": len(item_ids),
            "items_in_train": int((item_count > 0).sum()), "history_mean": round(float(lengths.mean()), 3),
            "history_median": int(np.median(lengths)), "history_max": int(lengths.max())}


def hashes(made):
    for folder, _, names in sorted(os.walk(made)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            with open(path, "rb") as f:
                digest = hashlib.sha256()
                while block := f.read(1 << 20):
                    digest.update(block)
            yield os.path.relpath(path, made), {"bytes": os.path.getsize(path), "sha256": digest.hexdigest()}
