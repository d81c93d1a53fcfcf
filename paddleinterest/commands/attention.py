"""Draw which past items weigh how much for which candidate: one row a candidate, one column a past
event.

    python tools/attention.py --bundle output/din/complete_journey/export --user 1000 --show product_category
    python tools/attention.py --bundle output/din/complete_journey/export --request request.json

With --user the history is that of the user's last sample in the prepared dataset's test split. The
first candidate is the event that came next in the log, where one did, and five items of the
catalogue are the others, unless --candidates names some. Writes attention.png and the numbers as
attention.parquet.
"""

import argparse
import datetime
import os

from paddleinterest.core import cli, environment
from paddleinterest.core.atomic import whole_file
from paddleinterest.core.errors import InputError
from paddleinterest.data.schema import FIRST_ID, UNKNOWN


def work(args):
    environment.set_up({"runner": {"threads": args.threads, "cpu_tuning": True}})
    from paddleinterest.serving.bundle import Bundle
    from paddleinterest.serving.request import read_requests

    bundle = Bundle(args.bundle, args.threads or 1)
    if args.request:
        requests = read_requests(args.request)
        request = requests[0] if isinstance(requests, list) and requests else requests
    else:
        request = request_of_user(
            bundle, args.data or bundle.signature["origin"]["data_dir"], args.user, args.candidates
        )
    table = weights(bundle, request)  # which checks the request
    said = attribute(bundle, args.show, request)
    if not len(table):
        raise InputError("the history is empty: there is nothing to draw")
    out = (
        args.out or os.path.join(os.path.dirname(os.path.normpath(args.bundle)), "attention")
    ).removesuffix(".png")
    with whole_file(out + ".parquet") as made:
        table.to_parquet(made, index=False)
    with whole_file(out + ".png") as made:
        user = f", user {request['user']}" if request.get("user") is not None else ""
        draw(
            table,
            f"{bundle.signature['model'].upper()} on {bundle.schema.name}{user}",
            made,
            bundle.schema.time,
            said,
        )
    return {
        "picture": out + ".png",
        "numbers": out + ".parquet",
        "candidates": int(table.candidate.nunique()),
        "history": int(table.position.nunique()),
    }


def request_of_user(bundle, data, user, candidates):
    """The request that the log's last event would have been, with five more candidates where none
    are named."""
    import numpy as np

    from paddleinterest.data.columns import read_parquet
    from paddleinterest.data.reader import Reader

    bundle.check_data(data)
    ids = read_parquet(os.path.join(data, "items.parquet"))["item"]
    reader = Reader(data, "test" if "test" in bundle.schema.rows else "train", 1)
    users = bundle.encoder.user_row
    if str(user) not in users:
        raise InputError(
            f"user {user} is not in {data}; it has {len(users):,} users such as {users[0]}"
        )
    rows = np.flatnonzero(reader.user == users.get_loc(str(user)) + FIRST_ID)
    if not len(rows):
        other = users[int(reader.user[0]) - FIRST_ID]
        raise InputError(
            f"user {user} has no event in the test split of {data}; user {other} has, for example"
        )
    row = rows[-1]
    if not candidates:
        next_item = reader.next_item(row)
        own = [] if next_item is None else [ids[next_item].as_py()]
        candidates = own + [i for i in ids.slice(FIRST_ID, 5).to_pylist() if i not in own]
    items, times = reader.history(row)
    return {
        "user": user,
        "time": int(reader.time[row]),
        "candidates": candidates,
        "history": [
            {"item": ids[item].as_py(), "time": time}
            for item, time in zip(items.tolist(), times.tolist())
        ],
    }


def attribute(bundle, column, request):
    """What an item attribute says of each item, {raw id: text}; {} where no column is named. The
    request's candidates win."""
    if not column:
        return {}
    if column not in (names := [f.name for f in bundle.schema.item_fields if f.name != "item"]):
        raise InputError(
            f"--show {column}: {bundle.schema.name} has no such category of its items; "
            f"it has {', '.join(names) or 'none'}"
        )
    text = {
        index: value for value, index in bundle.encoder.values[column].items() if index > UNKNOWN
    }
    of_row = bundle.encoder.items.fields[column][FIRST_ID:].tolist()
    said = {
        item: text[index] for item, index in zip(bundle.encoder.item_row, of_row) if index in text
    }
    own = {
        str(c["item"]): str(c[column])
        for c in request["candidates"]
        if isinstance(c, dict) and c.get(column) is not None
    }
    return {**said, **own}


def weights(bundle, request):
    """The attention of a request as a data frame: candidate, score, position (1 = oldest shown),
    item, time, weight."""
    import pandas as pd

    score, weight = bundle.attention(request)
    history = [e if isinstance(e, dict) else {"item": e} for e in request.get("history", [])]
    history = history[-bundle.signature["history_cap"] :]
    names = [c["item"] if isinstance(c, dict) else c for c in request["candidates"]]
    return pd.DataFrame(
        [
            {
                "candidate": str(name),
                "score": float(score[n]),
                "position": t + 1,
                "item": str(e["item"]),
                "time": e.get("time"),
                "weight": float(weight[n, t]),
            }
            for n, name in enumerate(names)
            for t, e in enumerate(history)
        ]
    )


def draw(table, title, path, time, said):
    """A heat map, best candidate on top, time from left to right; a dot marks the candidate itself
    in the history.

    said: what to write beside an item, {raw id: text}.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["text.parse_math"] = False  # a $ in an id or a name is a $
    best_first = table.groupby("candidate", sort=False).score.first().sort_values(ascending=False)
    grid = table.pivot_table(index="candidate", columns="position", values="weight").loc[
        best_first.index
    ]
    events = table.drop_duplicates("position").sort_values("position")
    names = {i: f"{i} {said.get(i, '')}".strip() for i in [*grid.index, *events["item"]]}
    labels = [f"{names[i]}\n{_when(t, time)}" for i, t in zip(events["item"], events["time"])]
    figure, axes = plt.subplots(
        figsize=(max(6, 1.5 + 0.42 * grid.shape[1]), 1.9 + 0.45 * len(grid)), layout="constrained"
    )
    image = axes.imshow(grid.to_numpy(), aspect="auto", cmap="viridis", vmin=0)
    axes.set_yticks(range(len(grid)), [f"{names[c]}   p = {s:.3f}" for c, s in best_first.items()])
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    dots = [
        (x, y)
        for y, candidate in enumerate(grid.index)
        for x, item in enumerate(events["item"])
        if item == candidate
    ]
    for x, y in dots:
        axes.plot(x, y, "o", color="white", markersize=4)
    axes.set_xlabel("history, oldest to newest")
    axes.set_ylabel("candidate")
    axes.set_title(title + ("\n(white dot: the candidate itself)" if dots else ""), fontsize=10)
    figure.colorbar(image, ax=axes, label="attention weight")
    figure.savefig(path, format="png", dpi=120)
    plt.close(figure)


def _when(t, time):
    if t is None or t != t or time != "seconds":
        return ""
    return datetime.datetime.fromtimestamp(int(t), datetime.timezone.utc).strftime("%Y-%m-%d")


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--bundle", required=True, help="directory that tools/to_static.py wrote")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--user", help="raw id of a user in the prepared dataset")
    what.add_argument(
        "--request", help="JSON request with history and candidates; of a list, the first"
    )
    p.add_argument(
        "--candidates", nargs="+", metavar="ITEM", help="with --user: raw item ids to score"
    )
    p.add_argument(
        "--show",
        metavar="COLUMN",
        help="write this attribute of the items beside their ids, such as product_category",
    )
    p.add_argument(
        "--data",
        help="with --user: prepared dataset; default the one that the bundle was trained on",
    )
    p.add_argument(
        "--out",
        help=(
            "path of the picture; the numbers lie beside it as .parquet; default attention beside"
            " the bundle"
        ),
    )
    p.add_argument("--threads", type=int, default=1, help="CPU threads; default 1")
    cli.run(p, work)
