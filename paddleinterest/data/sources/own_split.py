"""The user's own train, valid and test files (protocol `given`), perhaps with events that only make
histories.

A sample's history is what its user clicked strictly before it: in the events, or if there are none
in the rows of all three splits with label 1.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import SPLITS
from paddleinterest.data.sources import events as event_files
from paddleinterest.data.sources.columns import concatenate
from paddleinterest.data.sources.events import TIE, Columns, Part
from paddleinterest.data.sources.table_file import Form
from paddleinterest.data.sources.times import Clock

SHARES = (0.8, 0.9)  # of impressions in train, and in train and valid, as protocol impressions has
SPLIT = "split of the row"  # a number of SPLITS, or PAST for events that only make histories
PAST = len(SPLITS)
DAY = 24 * 3600


def read(
    options: Any,
    form: Form,
    of: Columns,
    clock: Clock,
    event: Sequence[tuple[str, str]],
) -> tuple[list[Part], dict[str, pa.ChunkedArray]]:
    """Read all files into common columns, with the split of each row.

    Args:
        options: the source's.
        form: of text files.
        of: the columns of the samples, without the fields of events.
        clock: how times are read.
        event: (column, name) of the fields of events; they stand in the files of events, or if
            there are none in those of the samples.

    Returns:
        The parts, those of the samples first, and the columns of events (if any) and samples.

    Raises:
        InputError: as `events.read_parts`, or the samples have no labels, or events and samples
            have times of two kinds.
    """
    if not options.events:
        of = replace(of, others=(*of.others, *event))
    read_: list[Part] = []
    tables = []
    own = (options.train or options.impressions, options.valid, options.test)
    for split, paths in enumerate(own):
        if paths:
            parts = event_files.read_parts(paths, form, options.format, of, clock)
            read_ += parts
            tables.append(_numbered(event_files.joined(parts), split))
    for part in read_:
        if "label" not in part.columns:
            raise InputError(
                f"{part.name} has no labels, by default in a column `label` (--label-column names"
                " another): the samples of your own split need them"
            )
        _same_kind(read_[0], part)
    if options.impressions and read_[0].kind != "clock":
        raise InputError(
            "--impressions are split by time, which needs a column of clock times; files that are"
            " split already are --train, --valid and --test"
        )
    if options.events:
        known = replace(of, others=tuple(event), positive=(), positive_from=None)
        past = event_files.read_parts(options.events, form, options.format, known, clock)
        _same_kind(read_[0], past[0])
        read_ += past
        tables.insert(0, _history(event_files.joined(past)))
    return read_, _one_after_the_other(tables)


def _one_after_the_other(
    tables: Sequence[dict[str, pa.ChunkedArray]],
) -> dict[str, pa.ChunkedArray]:
    """The columns of several tables; what a table lacks is missing in its rows."""
    kinds = {name: column.type for table in tables for name, column in table.items()}
    out = {}
    for name, kind in kinds.items():
        pieces = []
        for table in tables:
            rows = len(table["user"])
            pieces.append(table.get(name, pa.chunked_array([pa.nulls(rows, kind)])))
        out[name] = concatenate(pieces)
    return out


def _numbered(columns: dict[str, pa.ChunkedArray], split: int) -> dict[str, pa.ChunkedArray]:
    rows = len(columns["user"])
    return {**columns, SPLIT: pa.chunked_array([np.full(rows, split, np.int8)])}


def _history(columns: dict[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """Events that only make histories; without labels all count as clicked."""
    rows = len(columns["user"])
    clicked = {"label": pa.chunked_array([np.ones(rows, np.int8)])}
    return _numbered({**clicked, **columns}, PAST)


def _same_kind(one: Part, other: Part) -> None:
    if one.kind != other.kind:
        raise InputError(
            f"{one.name} and {other.name} differ: their times are of two kinds; write them alike"
        )


def by_last_day(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Samples of published train and test files, with their split: the last day (UTC) of train is
    valid. `time` is in seconds."""
    day = train["time"] // DAY
    train = train.assign(split=np.where(day == day.max(), "valid", "train"))
    return pd.concat([train, test.assign(split="test")], ignore_index=True)


def apart(
    rows: pd.DataFrame, by_time: bool, event: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that make histories, all clicked, and the samples with the name of their split.

    Args:
        rows: of all files, with their `SPLIT`.
        by_time: split the samples as protocol impressions does, the earliest 80 / 10 / 10 %.
        event: names of the fields of events, which samples have not.
    """
    split = rows[SPLIT].to_numpy().copy()
    is_sample = split != PAST
    if by_time:
        times = rows["time"].to_numpy()[is_sample]
        ordered = np.sort(times)
        cuts = [ordered[int(share * (len(ordered) - 1))] for share in SHARES]
        split[is_sample] = (times > cuts[0]).astype(np.int8) + (times > cuts[1])
    clicked = rows["label"].to_numpy() == 1
    makes_history = clicked & (is_sample if is_sample.all() else ~is_sample)
    kept = [name for name in ("user", "item", "time", TIE, *event) if name in rows]
    events = rows.loc[makes_history, kept].reset_index(drop=True)
    samples = rows[is_sample].drop(columns=[SPLIT, *event]).reset_index(drop=True)
    samples["split"] = np.array(SPLITS, object)[split[is_sample]]
    return events, samples
