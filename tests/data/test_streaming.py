"""A train split of several files is read part by part: the same rows, in a repeatable order, one
part in memory at a time."""

import glob
import itertools
import math
import os
import shutil
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import lines, ran, same, settings_for
from test_reader import change, resize

from paddleinterest.core.checksum import hashes
from paddleinterest.core.errors import InputError
from paddleinterest.data import split as reading
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema
from paddleinterest.training import bad_numbers, loading, run
from paddleinterest.training.predict import score_checkpoint, write_predictions
from paddleinterest.training.trainer import train

PART = 130  # rows: 480 rows of train are four parts, the last of 90
SHUFFLED = dict(shuffle=True, bucket_batches=4, seed=5)


@pytest.fixture(scope="module")
def parts(tmp_path_factory, tiny):
    """`tiny` with its train split cut into four files anywhere, to read only."""
    directory = tmp_path_factory.mktemp("parts") / "d"
    shutil.copytree(tiny, directory)
    whole = pq.read_table(directory / "train" / "part-00000.parquet", partitioning=None)
    for k in range(4):
        path = directory / "train" / f"part-{k:05d}.parquet"
        pq.write_table(whole.slice(k * PART, PART), path)
    schema = Schema.load(tiny)
    schema.files = {k: v for k, v in hashes(str(directory)) if k != "schema.yaml"}
    schema.save(str(directory))
    return str(directory)


@pytest.fixture(scope="module")
def one(tiny):
    """The same in one file."""
    return tiny


@pytest.fixture
def copy(parts, tmp_path):
    shutil.copytree(parts, tmp_path / "d")
    return tmp_path / "d"


def files(directory):
    return sorted(glob.glob(os.path.join(directory, "train", "*.parquet")))


def order(directory, epoch, batch_size=16, **settings):
    return [
        rows.tolist()
        for rows in Reader(directory, "train", batch_size, **{**SHUFFLED, **settings}).order(epoch)
    ]


def equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert set(x) == set(y) and all(np.array_equal(x[name], y[name]) for name in x)


def test_the_fixtures_are_what_they_say(parts, one):
    assert [pq.read_metadata(path).num_rows for path in files(parts)] == [130, 130, 130, 90]
    assert len(files(one)) == 1
    assert pa.concat_tables([pq.read_table(p, partitioning=None) for p in files(parts)]).equals(
        pa.concat_tables([pq.read_table(p, partitioning=None) for p in files(one)])
    )


# order --------------------------------------------------------------------------------------------


def order_before_there_were_parts(rows, length, seed, epoch, batch_size, bucket_batches):
    """The permutation that every run so far has trained in."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(rows)
    if not bucket_batches:
        return order
    window = bucket_batches * batch_size
    for lo in range(0, rows, window):
        some = order[lo : lo + window]
        order[lo : lo + window] = some[np.argsort(length[some], kind="stable")]
    whole = rows // batch_size
    head = order[: whole * batch_size].reshape(whole, batch_size)
    return np.concatenate([head[rng.permutation(whole)].ravel(), order[whole * batch_size :]])


@pytest.mark.parametrize("batch_size", [1, 7, 60, 64, 1000])
@pytest.mark.parametrize("bucket_batches", [0, 1, 4, 10**4])
def test_one_part_keeps_the_order_it_had(one, batch_size, bucket_batches):
    table = pq.read_table(files(one)[0], columns=["end", "user"], partitioning=None)
    length = np.minimum(table["end"].to_numpy(), 6)
    reader = Reader(
        one, "train", batch_size, 6, shuffle=True, bucket_batches=bucket_batches, seed=9
    )
    for epoch in (0, 3):
        want = order_before_there_were_parts(480, length, 9, epoch, batch_size, bucket_batches)
        cut = [want[k : k + batch_size].tolist() for k in range(0, 480, batch_size)]
        assert [rows.tolist() for rows in reader.order(epoch)] == cut
        for rows, batch in zip(cut, reader.epoch(epoch), strict=True):
            assert batch["user"].tolist() == table["user"].to_numpy()[rows].tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 16, 65, 130, 1000])
@pytest.mark.parametrize("bucket_batches", [0, 1, 4, 10**4])
def test_an_epoch_of_parts_is_every_row_once_part_after_part(
    parts, one, batch_size, bucket_batches
):
    reader = Reader(parts, "train", batch_size, bucket_batches=bucket_batches, shuffle=True, seed=1)
    assert reader.rows == 480 and reader.batches == 3 * math.ceil(130 / batch_size) + math.ceil(
        90 / batch_size
    )
    truth, seen = Reader(one, "train", 1, times=True), []
    for epoch in range(3):
        batches = list(reader.order(epoch))
        assert sorted(np.concatenate(batches).tolist()) == list(range(480))
        assert [len(b) for b in batches] == reader.sizes(epoch).tolist() and len(
            batches
        ) == reader.batches
        of_batch = [set((b // PART).tolist()) for b in batches]
        assert all(len(part) == 1 for part in of_batch)  # no batch crosses parts
        in_turn = [part.pop() for part in of_batch]
        assert sum(a != b for a, b in itertools.pairwise(in_turn)) == 3  # each part is come to once
        for rows, batch in zip(batches, reader.epoch(epoch), strict=True):
            want = truth.batch(rows)
            assert all(np.array_equal(batch[name], want[name]) for name in batch)
        seen.append((in_turn, [b.tolist() for b in batches]))
    assert len({str(s) for s in seen}) == 3


@pytest.mark.slow
def test_seed_and_epoch_alone_decide_the_order_of_parts_and_of_their_rows(parts):
    assert order(parts, 2) == order(parts, 2)
    numbers = [order(parts, epoch, seed=seed) for epoch in range(6) for seed in (1, 2)]
    assert len({str(n) for n in numbers}) == 12
    assert len({n[0][0] // PART for n in numbers}) > 1  # not always the same part first
    reader = Reader(parts, "train", 16, **SHUFFLED)
    list(reader.epoch(0)), list(reader.epoch(5))
    assert [rows.tolist() for rows in reader.order(2)] == order(parts, 2)
    plain = np.concatenate(order(parts, 0, bucket_batches=0))
    within = [(plain[plain // PART == k] % PART).tolist() for k in range(3)]
    assert (
        within[0] != within[1] != within[2] != within[0]
    )  # parts of one size are not shuffled alike


def test_without_shuffling_the_parts_are_read_as_one_file(parts, one):
    equal(
        list(Reader(parts, "train", 64, times=True).epoch()),
        list(Reader(one, "train", 64, times=True).epoch()),
    )
    joined, single = Reader(parts, "train", 64, 12), Reader(one, "train", 64, 12)
    for name in ("sequence", "end", "user", "item", "label", "time", "length"):
        assert np.array_equal(getattr(joined, name), getattr(single, name)), name


def test_epochs_of_one_reader_may_be_read_side_by_side(parts):
    reader = Reader(parts, "train", 16, **SHUFFLED)
    a, b = zip(*zip(reader.epoch(0), reader.epoch(1), strict=True), strict=True)
    equal(a, list(reader.epoch(0))), equal(b, list(reader.epoch(1)))


@pytest.mark.slow
@pytest.mark.parametrize("negatives", ["", "popularity"])
def test_start_batch_goes_on_where_it_stopped_without_reading_what_it_skips(
    parts, monkeypatch, negatives
):
    settings = dict(times=True, negatives=negatives, **SHUFFLED)
    whole, first = list(Reader(parts, "train", 16, **settings).epoch(3)), order(parts, 3)
    read, original = [], reading.read_parquet
    monkeypatch.setattr(
        reading, "read_parquet", lambda path, *more: read.append(path) or original(path, *more)
    )
    for start in range(len(whole) + 1):
        reader = Reader(parts, "train", 16, **settings)
        read.clear()
        equal(list(reader.epoch(3, start)), whole[start:])
        needed = list(dict.fromkeys(rows[0] // PART for rows in first[start:]))
        assert list(dict.fromkeys(read)) == [files(parts)[k] for k in needed]


@pytest.mark.parametrize("ranks", [2, 5, 9])
def test_ranks_share_out_every_batch_of_every_part(parts, ranks):
    """16 divides neither 130 nor 90: two rows are left over of three parts, ten of the last."""

    def read(**which):
        return list(
            Reader(parts, "train", 16, times=True, negatives="uniform", **SHUFFLED, **which).epoch(
                1
            )
        )

    shares = [read(process_index=rank, process_count=ranks) for rank in range(ranks)]
    short = 0
    for k, batch in enumerate(read()):
        mine = [s[k] for s in shares]
        if len(batch["label"]) < ranks:
            short += 1
            equal(mine, [batch] * ranks)
            continue
        for name, whole in batch.items():
            assert all(
                np.array_equal(part[name], whole[rank::ranks]) for rank, part in enumerate(mine)
            ), name
    assert short == (0 if ranks == 2 else 3) and {len(s) for s in shares} == {
        Reader(parts, "train", 16, **SHUFFLED).batches
    }


def test_negatives_hang_on_seed_epoch_and_number_of_the_batch(parts):
    """Part after part, no two batches draw alike, and nobody gets an item of his own."""
    reader = Reader(parts, "train", 16, negatives="uniform", **SHUFFLED)
    drawn = []
    for rows, batch in zip(
        Reader(parts, "train", 16, **SHUFFLED).order(0), reader.epoch(0), strict=True
    ):
        for row, items in zip(rows, batch["negative_item"], strict=True):
            sequence = reader.sequence[row - reader.start]
            own = reader.sequences.one(sequence)["item"]
            assert not set(items[items > 0].tolist()) & set(own.tolist())
        drawn.append(tuple(batch["negative_item"][batch["negative_item"] > 0][:8].tolist()))
    long = [d for d in drawn if len(d) == 8]  # some batches are of empty histories
    assert len(long) > 20 and len(set(long)) == len(long)


def test_counts_are_those_of_all_parts(parts, one):
    expected = Reader(one, "train", 16).counts()
    for settings in ({}, SHUFFLED):
        counts = Reader(parts, "train", 16, **settings).counts()
        assert counts.keys() == expected.keys() and all(
            np.array_equal(counts[k], expected[k]) for k in counts
        )
    assert counts["hour"].sum() == 480


# memory -------------------------------------------------------------------------------------------

COLUMNS = ("sequence", "end", "user", "item", "label", "time")


def test_one_part_is_in_memory_at_a_time(parts, monkeypatch):
    reader, held, at_reading = Reader(parts, "train", 16, **SHUFFLED), [], []
    original = reading.read_parquet

    def read_parquet(path, columns=None):
        at_reading.append(sum(column() is not None for part in held for column in part.values()))
        return original(path, columns)

    monkeypatch.setattr(reading, "read_parquet", read_parquet)
    assert reader.user.size == 0  # nothing before the first epoch
    for _ in reader.epoch(0):
        columns = {name: getattr(reader, name) for name in COLUMNS}
        columns |= reader.context
        assert {c.size for c in columns.values()} == {PART if reader.start < 3 * PART else 90}
        if not held or held[-1]["user"]() is not reader.user:
            held.append({name: weakref.ref(column) for name, column in columns.items()})
        del columns
        assert not [
            name for part in held[:-1] for name, column in part.items() if column() is not None
        ]
    assert len(held) == 4 and set(at_reading) == {0}  # a part is gone before the next is read


def test_splits_share_what_they_have_in_common(parts):
    first = Reader(parts, "train", 16, times=True, **SHUFFLED)
    other = Reader(parts, "test", 16, times=True, tables_of=first)
    equal(list(other.epoch()), list(Reader(parts, "test", 16, times=True).epoch()))
    assert (
        other.items is first.items
        and other.users is first.users
        and other.sequences is first.sequences
    )


# broken files -------------------------------------------------------------------------------------


def second(directory):
    return "train/" + os.path.basename(files(directory)[1])


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("item", 10**6, f"train, column item, row {PART + 3}: index 1000000 is outside 0…"),
        ("label", 2, f"train, column label, row {PART + 3}: index 2 is outside 0…1"),
        ("hour", -1, f"train, column hour, row {PART + 3}: index -1 is outside 0…"),
        ("end", 10**6, "train: a history ends beyond its sequence"),
        ("user", None, "train, column user has 1 missing values"),
    ],
)
def test_a_bad_row_of_a_later_part_ends_in_one_line(copy, column, value, words):
    change(copy, second(copy), column, value)
    for read in (
        lambda: list(Reader(str(copy), "train", 16, **SHUFFLED).epoch(0)),
        lambda: Reader(str(copy), "train", 16),
    ):
        with pytest.raises(InputError) as e:
            read()
        assert words in str(e.value) and "\n" not in str(e.value)


def test_parts_that_differ_in_their_columns_and_rows_that_are_missing_are_seen_at_once(copy):
    whole = pq.read_table(files(copy)[1], partitioning=None)
    for other in (
        whole.drop_columns(["hour"]),
        whole.set_column(0, "sequence", whole["sequence"].cast(pa.int64())),
    ):
        pq.write_table(other, files(copy)[1])
        resize(copy, second(copy))
        for settings in ({}, SHUFFLED):
            with pytest.raises(
                InputError,
                match=(
                    "train differ in their columns: .*part-00000.parquet and .*part-00001.parquet$"
                ),
            ):
                Reader(str(copy), "train", 16, **settings)
    pq.write_table(whole.slice(1), files(copy)[1])
    resize(copy, second(copy))
    with pytest.raises(InputError, match="train has 479 rows, but schema.yaml says 480"):
        Reader(str(copy), "train", 16, **SHUFFLED)


def test_a_part_that_is_exchanged_while_it_trains_is_seen(copy):
    reader = Reader(str(copy), "train", 16, **SHUFFLED)
    batches = reader.epoch(0)
    rows = len(next(batches)["label"])
    current = reader.start // PART
    for k in {0, 1, 2, 3} - {current}:
        table = pq.read_table(files(copy)[k], partitioning=None)
        pq.write_table(table.slice(0, 1), files(copy)[k])
    with pytest.raises(InputError, match=r"part-\d+\.parquet differs from .* schema.yaml"):
        for batch in batches:
            rows += len(batch["label"])
    assert rows == (90 if current == 3 else PART)


def test_rows_of_a_later_part_are_named_by_their_number_in_the_split(parts):
    reader = Reader(parts, "train", 16, **SHUFFLED)
    table = pa.concat_tables([pq.read_table(path, partitioning=None) for path in files(parts)])
    ids = {of: pq.read_table(os.path.join(parts, f"{of}s.parquet"))[of] for of in ("user", "item")}
    for number in (0, 12, 25):
        rows = next(Reader(parts, "train", 16, **SHUFFLED).order(1, number))
        said = bad_numbers.origin(reader, 1, number, np.array([1]))
        user, item = (ids[of][table[of][int(rows[1])].as_py()].as_py() for of in ("user", "item"))
        assert said == f"from row {rows[1]} (user {user}, item {item}) of train"


# training -----------------------------------------------------------------------------------------

SMALL_BATCHES = [
    "runner.train_batch_size=30",
    "runner.epochs=2",
]  # five batches of three parts, three of the last


def test_training_on_parts_counts_every_row(tmp_path, parts):
    """With a learning rate of next to nothing the epoch's loss is the log loss of the start weights
    on all rows."""
    still = [
        "hyper_parameters.activation=relu",
        "hyper_parameters.embedding_std=0.5",
        "hyper_parameters.optimizer.learning_rate=1e-12",
    ]
    result, out, state = ran(parts, tmp_path, *SMALL_BATCHES, *still)
    assert [line["step"] for line in lines(out)] == [18, 36] and result["rows"]["train"] == 480
    config = settings_for(parts, tmp_path, *still)
    model, reader = loading.bind(config), Reader(parts, "train", 500, 12)
    net = loading.create_net(model, config, reader.schema)
    batch = reader.batch(np.arange(480))
    z, y = net(model.create_feeds(batch)).numpy().astype(np.float64), batch["label"]
    assert abs(lines(out)[0]["train"]["loss"] - (np.logaddexp(0, z) - y * z).mean()) < 1e-6


@pytest.mark.slow
def test_a_run_broken_off_in_a_later_part_ends_in_the_same_bits(tmp_path, parts, monkeypatch):
    """Broken off in the second part, resumed, and again just where the last part begins."""
    settings = [
        *SMALL_BATCHES,
        "runner.save_interval=1",
        "hyper_parameters.dropout=0.3",
        "hyper_parameters.regularization=0.001",
    ]
    _, whole, expected = ran(parts, tmp_path / "whole", *settings, model="dien")
    parts_of = [
        int(rows[0]) // PART
        for rows in Reader(parts, "train", 30, shuffle=True, bucket_batches=4, seed=2026).order(0)
    ]
    third = next(k for k, part in enumerate(parts_of) if len(set(parts_of[: k + 1])) == 3)
    original, begun = Reader.epoch, []
    for k, stop in enumerate((7, third)):

        def epoch(self, number=0, start_batch=0):
            begun.append((number, start_batch))
            for b, batch in enumerate(original(self, number, start_batch), start_batch):
                if (number, b) == (0, stop):
                    raise KeyboardInterrupt
                yield batch

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Reader, "epoch", epoch)
            ran(parts, tmp_path / "cut", *settings, f"runner.resume={k > 0}", model="dien")
    _, cut, got = ran(parts, tmp_path / "cut", *settings, "runner.resume=true", model="dien")
    assert begun == [(0, 0), (0, 7)]
    same(got, expected)
    assert lines(cut) == lines(whole)


@pytest.mark.slow
def test_an_epoch_keeps_no_more_batches_than_the_bar_shows(tmp_path, parts, monkeypatch):
    original, alive, most = Reader.epoch, [], []

    def epoch(self, *which):
        for batch in original(self, *which):
            alive.append(weakref.ref(batch["label"]))
            yield batch
            most.append(sum(label() is not None for label in alive))

    monkeypatch.setattr(Reader, "epoch", epoch)
    ran(
        parts,
        tmp_path,
        "runner.train_batch_size=2",
        "runner.epochs=1",
        "runner.test=false",
        model="base",
    )
    assert len(most) == 240 and max(most) <= 202  # 200, and those of the step at hand


def test_a_bad_row_ends_a_training_in_one_line(copy, tmp_path):
    change(copy, second(copy), "item", 10**6)
    with pytest.raises(
        InputError, match=rf"^train, column item, row {PART + 3}: index 1000000 is outside"
    ):
        train(settings_for(str(copy), tmp_path / "run", *SMALL_BATCHES), str(copy))


@pytest.mark.slow
def test_train_can_be_scored(tmp_path, parts, one):
    """What tools/infer.py --split train does, on the split in four files and in one."""
    ran(parts, tmp_path, *SMALL_BATCHES)
    config, tables = settings_for(parts, tmp_path), []
    for data in (parts, one):
        _, reader, score, _ = score_checkpoint(config, data, run.checkpoint_path(config), "train")
        write_predictions(str(tmp_path / "p.parquet"), reader, data, score)
        tables.append(pq.read_table(tmp_path / "p.parquet"))
    assert tables[0].num_rows == 480 and tables[0].equals(tables[1])
