"""How much each past item counts for each candidate: the request, its weights, their picture."""

import datetime
import itertools
import os
from collections import Counter
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from paddleinterest.core.atomic import whole_file  # noqa: E402
from paddleinterest.core.errors import InputError  # noqa: E402
from paddleinterest.data.columns import read_parquet  # noqa: E402
from paddleinterest.data.reader import Reader  # noqa: E402
from paddleinterest.data.schema import FIRST_ID, UNKNOWN  # noqa: E402
from paddleinterest.serving.bundle import Bundle  # noqa: E402
from paddleinterest.serving.example import history_of  # noqa: E402
from paddleinterest.study import fonts  # noqa: E402

Request = dict[str, Any]
OTHERS = 5  # candidates of the catalogue besides the one that came next
FEW = 15  # up to this many events there is room for larger letters


def request_of_user(
    bundle: Bundle,
    data: str,
    user: str,
    candidates: list[str] | None = None,
    events: int | None = None,
) -> Request:
    """The request that a user would have sent before the last event of the log.

    Args:
        bundle: an opened bundle.
        data: the prepared dataset that it was trained on.
        user: raw id.
        candidates: raw ids; default the event that came next, if there is one, and items of the
            catalogue.
        events: number of the newest events in the history; None = all.

    Raises:
        InputError: the dataset does not know the user, or has no event of the user in test.
    """
    bundle.check_data(data)
    ids = read_parquet(os.path.join(data, "items.parquet"))["item"]
    reader = Reader(data, "test" if "test" in bundle.schema.rows else "train", 1)
    row = _last_row(bundle, reader, data, user)
    if not candidates:
        following = reader.next_item(row)
        own = [] if following is None else [ids[following].as_py()]
        others = ids.slice(FIRST_ID, OTHERS).to_pylist()
        candidates = own + [item for item in others if item not in own]
    history = history_of(reader, row, events, bundle.encoder.item_row, bundle.encoder.values)
    return {
        "user": user,
        "time": int(reader.time[row]),
        "candidates": candidates,
        "history": history,
    }


def _last_row(bundle: Bundle, reader: Reader, data: str, user: str) -> int:
    """The user's last sample in the reader's split."""
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
    return int(rows[-1])


def attribute(bundle: Bundle, column: str | None, request: Request) -> dict[str, str]:
    """The value of an item attribute for each item.

    Args:
        bundle: an opened bundle.
        column: the attribute; None for none.
        request: attributes that it gives to candidates win.

    Returns:
        {raw id: text}.

    Raises:
        InputError: items have no attribute of this name with categories.
    """
    if not column:
        return {}
    names = [f.name for f in bundle.schema.item_fields if f.name != "item"]
    several = [f.name for f in bundle.schema.multiple("item")]
    if column not in names + several:
        raise InputError(
            f"--show {column}: {bundle.schema.name} has no item attribute of this name with"
            f" categories; it has {', '.join(names + several) or 'none'}"
        )
    if column not in bundle.encoder.values:
        raise InputError(f"--show {column}: this field is hashed, so its values are unknown")
    words = {index: value for value, index in bundle.encoder.values[column].items()}
    said = {}
    for item, found in zip(bundle.encoder.item_row, _indices(bundle, column), strict=True):
        if text := ", ".join(words[index] for index in found if index > UNKNOWN):
            said[item] = text
    for candidate in request["candidates"]:
        if isinstance(candidate, dict) and candidate.get(column) is not None:
            own = candidate[column]
            said[str(candidate["item"])] = ", ".join(map(str, own if column in several else [own]))
    return said


def _indices(bundle: Bundle, column: str) -> list[list[int]]:
    """The indices of a category of one or several values, a list for each item."""
    table = bundle.encoder.items
    if column in table.fields:
        return [[index] for index in table.fields[column][FIRST_ID:].tolist()]
    lists = table.lists[column]
    ends = lists.offsets[FIRST_ID:].tolist()
    return [lists.values[a:b].tolist() for a, b in itertools.pairwise(ends)]


def weights(bundle: Bundle, request: Request) -> pd.DataFrame:
    """The attention of a request: candidate, score, position (1 = oldest shown), item, time,
    weight."""
    score, weight = bundle.attention(request)
    events = [e if isinstance(e, dict) else {"item": e} for e in request.get("history", [])]
    events = events[-bundle.signature["history_cap"] :]
    names = [c["item"] if isinstance(c, dict) else c for c in request["candidates"]]
    rows = []
    for n, name in enumerate(names):
        for t, event in enumerate(events):
            row = {"candidate": str(name), "score": float(score[n]), "position": t + 1}
            row |= {"item": str(event["item"]), "time": event.get("time")}
            rows.append({**row, "weight": float(weight[n, t])})
    return pd.DataFrame(rows)


def write(bundle: Bundle, request: Request, show: str | None, out: str) -> dict:
    """Write the picture `out`.png and the numbers `out`.parquet.

    Args:
        bundle: an opened bundle.
        request: with history and candidates.
        show: an item attribute to write in place of the ids.
        out: path without ending.

    Returns:
        What tools/attention.py prints.
    """
    table = weights(bundle, request)  # which checks the request
    said = attribute(bundle, show, request)
    if not len(table):
        raise InputError("the history is empty: there is nothing to draw")
    user = f", user {request['user']}" if request.get("user") is not None else ""
    title = f"{bundle.signature['model'].upper()} on {bundle.schema.name}{user}"
    with whole_file(f"{out}.parquet") as made:
        table.to_parquet(made, index=False)
    with whole_file(f"{out}.png") as made:
        draw(table, title, made, bundle.schema.time, said)
    return {
        "picture": f"{out}.png",
        "numbers": f"{out}.parquet",
        "candidates": int(table.candidate.nunique()),
        "history": int(table.position.nunique()),
    }


def draw(table: pd.DataFrame, title: str, path: str, time: str, said: dict[str, str]) -> None:
    """A heat map, best candidate on top, time from left to right; a dot marks the candidate itself
    in the history.

    Args:
        table: of `weights`.
        title: of the picture.
        path: of the PNG file.
        time: "seconds" if the times are dates.
        said: labels to write in place of ids, {raw id: text}.
    """
    scores = table.groupby("candidate", sort=False).score.first().sort_values(ascending=False)
    grid = table.pivot_table(index="candidate", columns="position", values="weight")
    grid = grid.loc[scores.index]
    events = table.drop_duplicates("position").sort_values("position")
    items = list(events["item"])
    names = _names(list(grid.index), said)
    past = [said.get(item, "") or item for item in items]
    below = [
        f"{name}\n{_when(moment, time)}" for name, moment in zip(past, events["time"], strict=True)
    ]
    labels = [f"{names[candidate]}   p = {score:.3f}" for candidate, score in scores.items()]
    # print a $ in an id or a name as it is
    with (
        fonts.covering([title, *names.values(), *past]),
        plt.rc_context({"text.parse_math": False}),
    ):
        few = grid.shape[1] <= FEW
        size = (max(6, 3 + (0.55 if few else 0.42) * grid.shape[1]), 1.9 + 0.45 * len(grid))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        image = axes.imshow(grid.to_numpy(), aspect="auto", **_scale(grid.to_numpy()))
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xticks(range(len(below)), below, rotation=90, fontsize=9 if few else 7)
        dots = _dots(list(grid.index), items)
        for x, y in dots:
            axes.plot(x, y, "o", color="white", markeredgecolor="black", markersize=4)
        axes.set_xlabel("history, oldest to newest")
        axes.set_ylabel("candidate")
        hint = "\n(white dot: the candidate itself)" if dots else ""
        axes.set_title(title + hint, fontsize=10)
        figure.colorbar(image, ax=axes, label="attention weight")
        figure.savefig(path, format="png", dpi=120)
        plt.close(figure)


def _names(candidates: list[str], said: dict[str, str]) -> dict[str, str]:
    """The labels of the candidates, with the id if two have the same label."""
    names = {item: said.get(item, "") or item for item in candidates}
    owners = Counter(names.values())
    return {i: name if owners[name] == 1 else f"{name} ({i})" for i, name in names.items()}


def _scale(weight: np.ndarray) -> dict[str, Any]:
    """The colour scale of weights: from 0, or on both sides of a white 0 if some are negative, as
    without a softmax."""
    if weight.min() >= 0:
        return {"cmap": "viridis", "vmin": 0}
    farthest = float(np.abs(weight).max())
    return {"cmap": "RdBu_r", "vmin": -farthest, "vmax": farthest}


def _dots(candidates: list[str], items: list[str]) -> list[tuple[int, int]]:
    """Column and row of each cell in which the candidate itself is the past event."""
    dots = []
    for y, candidate in enumerate(candidates):
        dots += [(x, y) for x, item in enumerate(items) if item == candidate]
    return dots


def _when(moment: float | None, time: str) -> str:
    """A moment as a date, or "" if it is unknown or not in seconds."""
    if moment is None or np.isnan(moment) or time != "seconds":
        return ""
    date = datetime.datetime.fromtimestamp(int(moment), datetime.timezone.utc)
    return date.strftime("%Y-%m-%d")
