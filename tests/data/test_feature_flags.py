"""Lists, vectors, event fields and hashed ids by the flags of prepare, from files of every form."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_sources import load, refuses, write

from paddleinterest.commands.prepare import Parser
from paddleinterest.core.errors import InputError
from paddleinterest.data.prepare import hashed, prepare
from paddleinterest.data.sources import json_table, lists

GENRES = {
    "i0": ["War", "Sci-Fi"],
    "i1": [],
    "i2": ["Film Noir", "War", "Comedy"],
    "i3": None,
    "i4": ["Comedy"],
}
TEXT = {"i0": [0.25, -1.5], "i1": [1e-3, 2.0], "i2": None, "i3": [3.0, 4.0], "i4": [0.0, 7.5]}
HOBBIES = {"u0": [7, 8], "u1": [], "u2": [8], "u3": [9, 7, 8]}
FLAGS = ["--multiple", "genres", "hobby", "--vectors", "text", "--event", "action", "paid=price"]
FLAGS += ["--dense", "price"]


def events():
    rng = np.random.default_rng(1)
    rows = []
    for u in range(4):
        for k in range(6):
            action = [None, "view", "buy"][rng.integers(0, 3)]
            paid = None if k % 4 == 3 else float(rng.integers(1, 40)) / 4
            rows.append((f"u{u}", f"i{rng.integers(0, 5)}", 1_700_000_000 + 60 * k, action, paid))
    return pd.DataFrame(rows, columns=["user", "item", "time", "action", "paid"])


def as_text(table, name, joint, brackets=""):
    """{id: list} as the cells of a text file; without lists of length 0, which text cannot say."""
    cells = [(key, "" if not v else joint.join(map(str, v))) for key, v in table.items()]
    if brackets:
        cells = [(key, "" if v is None else json.dumps(v)) for key, v in table.items()]
    if brackets == "python":
        cells = [(key, "" if v is None else repr(v)) for key, v in table.items()]
    return pd.Series(dict(cells), name=name)


def csv_files(folder, joint="|", brackets=""):
    items = pd.concat(
        [as_text(GENRES, "genres", joint, brackets), as_text(TEXT, "text", " ", brackets)], axis=1
    )
    events().to_csv(folder / "e.csv", index=False)
    items.rename_axis("item").to_csv(folder / "i.csv")
    users = as_text(HOBBIES, "hobby", joint, brackets)
    users.rename_axis("user").to_csv(folder / "u.csv")
    return [folder / "e.csv", folder / "i.csv", folder / "u.csv"]


def parquet_files(folder, fixed=False):
    pq.write_table(pa.Table.from_pandas(events()), folder / "e.parquet")
    text = pa.array(list(TEXT.values()), pa.list_(pa.float32(), 2) if fixed else None)
    genres = pa.array(list(GENRES.values()), pa.list_(pa.string()))
    items = pa.table({"item": list(GENRES), "genres": genres, "text": text})
    pq.write_table(items, folder / "i.parquet")
    users = pa.table({"user": list(HOBBIES), "hobby": list(HOBBIES.values())})
    pq.write_table(users, folder / "u.parquet")
    return [folder / "e.parquet", folder / "i.parquet", folder / "u.parquet"]


def json_files(folder):
    def lines(rows):
        return "".join(json.dumps(row) + "\n" for row in rows)

    rows = [{k: v for k, v in r.items() if v == v} for r in events().to_dict("records")]
    write(folder / "e.jsonl", lines(rows))
    rows = [{"item": i, "genres": GENRES[i], "text": TEXT[i]} for i in GENRES]
    write(folder / "i.jsonl", lines(rows))
    write(folder / "u.jsonl", lines([{"user": u, "hobby": h} for u, h in HOBBIES.items()]))
    return [folder / "e.jsonl", folder / "i.jsonl", folder / "u.jsonl"]


FORMS = {
    "csv with bars": csv_files,
    "csv with semicolons": lambda folder: csv_files(folder, ";"),
    "csv with JSON": lambda folder: csv_files(folder, brackets="json"),
    "csv with Python's lists": lambda folder: csv_files(folder, brackets="python"),
    "parquet": parquet_files,
    "parquet of fixed size": lambda folder: parquet_files(folder, True),
    "json": json_files,
}


def flags_of(files):
    return ["--events", files[0], "--items", files[1], "--users", files[2], *FLAGS]


def prepared(folder, *flags, protocol="every_prefix"):
    argv = ["--source", "event_log", "--protocol", protocol, "--out", str(folder / "out")]
    return prepare(Parser().parse_args([*argv, "--name", "t", *map(str, flags)]))[0]


@pytest.mark.parametrize("form", FORMS)
def test_one_log_in_many_forms_is_one_dataset(tmp_path, form):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = prepared(tmp_path / "a", *flags_of(parquet_files(tmp_path / "a")))
    other = prepared(tmp_path / "b", *flags_of(FORMS[form](tmp_path / "b")))
    kinds = {f.name: (f.of, f.kind, f.multiple, f.width) for f in other.fields}
    assert kinds == {
        "item": ("item", "category", False, 0),
        "genres": ("item", "category", True, 0),
        "text": ("item", "vector", False, 2),
        "hobby": ("user", "category", True, 0),
        "action": ("event", "category", False, 0),
        "price": ("event", "dense", False, 0),
    }
    assert one.files == other.files and one.files


def test_lists_are_as_in_the_file(tmp_path):
    log = load("event_log", *flags_of(csv_files(tmp_path)))
    there = log.items.dropna(subset="genres")
    found = {i: list(g) for i, g in zip(there.item, there.genres, strict=True)}
    assert found == {i: g for i, g in GENRES.items() if g}
    assert log.event == ["action", "price"] and log.dense == ["price"]
    assert log.multiple == ["genres", "hobby"] and log.vectors == ["text"]
    assert log.events.price.isna().sum() == events().paid.isna().sum()


@pytest.mark.parametrize("form", ["text", "lists"])
def test_lists_in_the_events(tmp_path, form):
    """An item's list is that of its earliest event that has one."""
    frame = events()[["user", "item", "time"]]
    frame["tags"] = [None if k % 5 == 0 else [f"t{k % 3}", f"s{k}"] for k in range(len(frame))]
    first = frame.dropna().sort_values("time", kind="stable").groupby("item").tags.first()
    path = tmp_path / "e.parquet"
    if form == "text":
        frame["tags"] = frame.tags.map("|".join, na_action="ignore")
        path = tmp_path / "e.csv"
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    log = load("event_log", "--events", path, "--item-columns", "tags", "--multiple", "tags")
    there = log.items.dropna(subset="tags")
    found = {i: list(t) for i, t in zip(there.item, there.tags, strict=True)}
    assert found == dict(first) and found
    assert "tags" not in log.events


def test_events_of_an_own_split(tmp_path):
    """Event fields stand in --events if there are such files, or else in the samples."""
    frame = events()
    frame["label"] = np.arange(len(frame)) % 3 > 0
    past, samples = frame[frame.time < 1_700_000_180], frame[frame.time >= 1_700_000_180]
    frame.to_csv(tmp_path / "all.csv", index=False)
    past.drop(columns="label").to_csv(tmp_path / "past.csv", index=False)
    samples.drop(columns=["action", "paid"]).to_csv(tmp_path / "s.csv", index=False)
    flags = ["--event", "action", "paid", "--dense", "paid"]
    both = ["--train", tmp_path / "s.csv", "--test", tmp_path / "s.csv"]
    log = load("event_log", "--events", tmp_path / "past.csv", *both, *flags)
    assert log.events.action.fillna("").tolist() == past.action.fillna("").tolist()
    assert log.events.paid.tolist() == pytest.approx(past.paid.tolist(), nan_ok=True)
    assert log.event == ["action", "paid"] and "action" not in log.samples
    assert log.dense == ["paid"]
    both = ["--train", tmp_path / "all.csv", "--test", tmp_path / "all.csv"]
    log = load("event_log", *both, *flags)
    clicked = frame[frame.label]
    twice = [*clicked.action.fillna(""), *clicked.action.fillna("")]
    assert log.events.action.fillna("").tolist() == twice
    assert not {"action", "paid"} & set(log.samples)
    by_time = ["--events", tmp_path / "past.csv", "--impressions", tmp_path / "s.csv"]
    assert load("event_log", *by_time, *flags).event == ["action", "paid"]


def test_recbole_says_itself_which_columns_are_lists(tmp_path):
    write(tmp_path / "r.inter", "user_id:token\titem_id:token\ttimestamp:float\nu\t1\t5\nu\t2\t6\n")
    write(
        tmp_path / "r.item",
        "item_id:token\tclass:token_seq\tv:float_seq\tprice:float\n"
        "1\tWar Comedy\t0.5 1\t2.5\n2\tWar\t3 4\t\n",
    )
    log = load("event_log", "--events", tmp_path / "r.inter", "--items", tmp_path / "r.item")
    assert (log.multiple, log.vectors, log.dense) == (["class"], ["v"], ["price"])
    assert [list(x) for x in log.items["class"]] == [["War", "Comedy"], ["War"]]
    assert [list(x) for x in log.items.v] == [[0.5, 1], [3, 4]]


# what a cell means --------------------------------------------------------------------------------

SEPARATED = {
    "told": (["a|b", "c"], [], ["a", "b"]),
    "told among blanks": (["Film Noir|b", "c d"], [], ["Film Noir", "b"]),
    "given": (["a|b,c", "d"], ["--value-separator", ","], ["a|b", "c"]),
    "given for one": (["a|b,c", "d"], ["--value-separator", "|", "genres=,"], ["a|b", "c"]),
    "a blank, given": (["a b", "c"], ["--value-separator", "genres= "], ["a", "b"]),
    "an equals sign": (["a=b", "c"], ["--value-separator", "="], ["a", "b"]),
    "a tab": (["a\tb", "c"], ["--value-separator", "\\t"], ["a", "b"]),
    "gaps and blanks": (["a || b|", "c"], [], ["a", "b"]),
    "one value a cell": (["a", "c"], [], ["a"]),
    "brackets with a separator": (["[a]|b", "c"], [], ["[a]", "b"]),
}


def one_list(tmp_path, cells, *flags):
    pd.DataFrame({"item": ["i0", "i1"], "genres": cells}).to_csv(tmp_path / "i.csv", index=False)
    write(tmp_path / "e.csv", "user,item,time\nu,i0,5\nu,i1,6\n")
    files = ["--events", tmp_path / "e.csv", "--items", tmp_path / "i.csv"]
    return [*files, "--multiple", "genres", *flags]


@pytest.mark.parametrize("case", SEPARATED)
def test_separators(tmp_path, case):
    cells, flags, first = SEPARATED[case]
    log = load("event_log", *one_list(tmp_path, cells, *flags))
    assert list(log.items.genres[0]) == first


REFUSED = {
    "two separators": (["a|b,c", "d"], [], ["'|' and ','", "--value-separator 'genres=CHAR'"]),
    "a blank": (["Film Noir", "War"], [], ["'Film Noir'", "one value or several", "genres= "]),
    "NumPy's texts": (["['a' 'b']", "['c']"], [], ["row 1", "not a list such as"]),
    "nested": (["[['a']]", "[]"], [], ["row 1", "not a list such as"]),
    "code": (["[print(1)]", "[]"], [], ["row 1", "not a list such as"]),
    "a long separator": (["a", "b"], ["--value-separator", "::"], ["'::'", "one character"]),
    "no such list": (["a", "b"], ["--value-separator", "x=|"], ["'x'", "--multiple or --vectors"]),
    "no such column": (["a", "b"], ["--multiple", "genre"], ["'genre'", "those are: genres"]),
    "dense as well": (["a", "b"], ["--dense", "genres"], ["both --dense and --multiple"]),
    "vector as well": (["a", "b"], ["--vectors", "genres"], ["both --multiple and --vectors"]),
    "no vector": (["a", "b"], ["--vectors", "x"], ["--vectors names 'x'", "a column of --items"]),
    "event twice": (["a", "b"], ["--event", "time"], ["'time' of --event", "already"]),
    "missing event": (["a", "b"], ["--event", "act"], ["no column 'act'", "--event"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_told_is_asked_for(tmp_path, case):
    cells, flags, words = REFUSED[case]
    refuses(words, "event_log", *one_list(tmp_path, cells, *flags))


VECTORS = {
    "blanks": ["0.5 1", "2 3"],
    "commas": ["0.5,1", "2,3"],
    "JSON": ["[0.5, 1.0]", "[2, 3]"],
    "NumPy": ["[0.5  1. ]", "[2.\n 3.]"],
    "bars": ["0.5|1", "2 | 3"],
}


@pytest.mark.parametrize("case", VECTORS)
def test_vectors_in_text(tmp_path, case):
    flags = one_list(tmp_path, VECTORS[case])
    flags[flags.index("--multiple")] = "--vectors"
    assert [list(v) for v in load("event_log", *flags).items.genres] == [[0.5, 1], [2, 3]]


BAD_VECTORS = {
    "decimal commas": (["0,5 1", "2 3"], ["',' and ' '", "--value-separator 'genres=CHAR'"]),
    "no number": (["0.5 x", "2 3"], ["'x' in row 1", "not a number"]),
    "cut short by NumPy": (["[0. ... 1.]", "[2. ... 3.]"], ["'...' in row 1"]),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_what_is_no_vector_is_refused(tmp_path, case):
    cells, words = BAD_VECTORS[case]
    flags = one_list(tmp_path, cells)
    flags[flags.index("--multiple")] = "--vectors"
    refuses(words, "event_log", *flags)


def test_vectors_of_users_or_out_of_the_events_are_refused(tmp_path):
    files = parquet_files(tmp_path)
    where = ["--events", files[0], "--users", files[2]]
    refuses(["only items have vectors"], "event_log", *where, "--vectors", "hobby")
    where = ["--events", files[0], "--item-columns", "action", "--vectors", "action"]
    refuses(["not out of the events"], "event_log", *where)


def test_vectors_of_two_widths_are_refused_and_nothing_is_written(tmp_path):
    files = parquet_files(tmp_path)
    items = pq.read_table(files[1])
    text = pa.array([[1.0], [1.0, 2.0], None, [1.0, 2.0], [3.0, 4.0]])
    pq.write_table(items.set_column(2, "text", text), files[1])
    with pytest.raises(InputError, match="row 2 has 2 numbers, the first has 1"):
        prepared(tmp_path, *flags_of(files))
    assert not (tmp_path / "out").exists()


def test_undeclared_lists_point_at_the_flags(tmp_path, capsys):
    files = parquet_files(tmp_path)
    where = ["--events", files[0], "--items", files[1]]
    refuses(["genres holds list", "--multiple genres"], "event_log", *where)
    refuses(["text holds list", "--vectors text"], "event_log", *where, "--multiple", "genres")
    capsys.readouterr()
    load("event_log", "--events", files[0])
    told = capsys.readouterr().err
    assert "not read: action, paid" in told and "--event the event" in told


def test_several_values_in_a_cell_point_at_multiple(tmp_path, capsys):
    genres = ["War|Comedy", "War|Drama", "Comedy|Drama", "War|Comedy|Drama", "Comedy|War"] * 4
    items = pd.DataFrame({"item": range(20), "genres": genres})
    items["genres"] += [""] * 10 + ["|Noir"] * 10
    items.to_csv(tmp_path / "i.csv", index=False)
    rows = [(u, (u + k) % 20, k) for u in range(9) for k in range(6)]
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    frame.to_csv(tmp_path / "e.csv", index=False)
    flags = ["--events", tmp_path / "e.csv", "--items", tmp_path / "i.csv"]
    prepared(tmp_path, *flags)
    assert "--multiple genres reads each value by itself" in capsys.readouterr().err
    prepared(tmp_path, *flags, "--overwrite", "--multiple", "genres")
    assert "genres: 2 to 4 values of each of the 20 items" in capsys.readouterr().err


def test_values_that_are_missing_within_lists(tmp_path):
    files = json_files(tmp_path)
    write(
        files[1], '{"item": "i0", "genres": ["War", null, "War"]}\n{"item": "i1", "genres": []}\n'
    )
    where = ["--events", files[0], "--items", files[1], "--multiple", "genres"]
    assert [list(x) for x in load("event_log", *where).items.genres] == [["War", "War"], []]


def test_json_lists_of_several_pieces(tmp_path, monkeypatch):
    """A piece in which all lists are empty has lists of nothing."""
    monkeypatch.setattr("paddleinterest.data.sources.files.PIECE", 64)
    rows = [
        {"item": f"i{k}", "genres": [] if k < 4 else [k] if k < 8 else [0.5]} for k in range(12)
    ]
    path = write(tmp_path / "i.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    file = json_table.RawFile(str(path), "json")
    assert json_table.read(file, ["genres"])["genres"].to_pylist() == [r["genres"] for r in rows]


# hashed -------------------------------------------------------------------------------------------


def test_hash_is_a_flag_of_every_source(tmp_path):
    argv = ["--source", "synthetic", "--protocol", "impressions", "--users", "40", "--items", "60"]
    argv += ["--impressions", "20", "--out", str(tmp_path / "d"), "--hash", "item=2**5"]
    schema, _ = prepare(Parser().parse_args(argv))
    assert [(f.size, f.hashed) for f in schema.fields if f.name == "item"] == [(34, True)]
    assert schema.recipe["hash"] == ["item=2**5"]


@pytest.mark.parametrize("text", ["item", "=5", "item=0", "item=2**40", "item=1e6", "item=-3"])
def test_what_is_no_number_of_rows_is_refused(text):
    with pytest.raises(InputError, match="must be FIELD=ROWS"):
        hashed([text])


def test_a_field_hashed_twice_is_refused():
    with pytest.raises(InputError, match="names 'item' twice"):
        hashed(["item=5", "item=6"])


def test_separators_by_column():
    assert lists.separators([";", "genres=|"]) == {"": ";", "genres": "|"}
