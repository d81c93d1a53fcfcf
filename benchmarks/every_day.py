r"""Day by day against training anew every day: AUC of the next day, and what it costs.

    python benchmarks/every_day.py --days 30 --out /tmp/days

A made log: every day new items appear, and users' tastes move. At the end of day d each way gives a
net, which is scored on day d + 1:

    anew        trained on all days up to d, from nothing
    unknown     starts from yesterday's net (runner.init_from), trained on day d alone; new items
                start as the row of unknown values
    attributes  likewise, new items start as the mean of the items that share their attributes
    today       trained on day d alone, from nothing

Histories hold all earlier clicks in every way. The cost is the rows that a way trained on.
"""

import argparse
import os
import sys
import time

import numpy as np
import pandas as pd

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import arguments
from paddleinterest.core import cli, environment, settings
from paddleinterest.core.log import say
from paddleinterest.data.builder import build
from paddleinterest.data.log import Log

DAY = 24 * 3600
START = 1_700_000_000 // DAY * DAY
CATEGORIES = 20
BRANDS = 60
TASTES = 3  # categories that a user likes
MOVES = 0.05  # share of the users' tastes that change in a day


def days_of(args: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Impressions (day, user, item, time, label) and items (item, category, brand)."""
    rng = np.random.default_rng(args.seed)
    items = args.items
    category = rng.integers(0, CATEGORIES, items)
    brand = (category * 3 + rng.integers(0, 3, items)) % BRANDS
    quality = rng.normal(0, 1, items)
    born = np.sort(rng.integers(-args.days, args.days + 1, items))  # half are there on day 0
    taste = rng.integers(0, CATEGORIES, (args.users, TASTES))
    pieces = []
    for day in range(args.days + 1):
        moved = rng.random(taste.shape) < MOVES
        taste[moved] = rng.integers(0, CATEGORIES, int(moved.sum()))
        existing = int(np.searchsorted(born, day, side="right"))
        n = args.impressions
        user = rng.integers(0, args.users, n)
        item = rng.integers(0, existing, n)
        likes = (taste[user] == category[item][:, None]).any(1)
        logit = -2.0 + 2.5 * likes + 0.7 * quality[item]
        label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
        when = np.sort(START + day * DAY + rng.integers(0, DAY, n))
        pieces.append(
            pd.DataFrame({"day": day, "user": user, "item": item, "time": when, "label": label})
        )
    listed = pd.DataFrame(
        {
            "item": np.arange(items),
            "category": [f"c{k}" for k in category],
            "brand": [f"b{k}" for k in brand],
        }
    )
    return pd.concat(pieces, ignore_index=True), listed


def log_of(rows: pd.DataFrame, items: pd.DataFrame, first: int, last: int) -> Log:
    """Train is of the days [first, last], test of the day after."""
    events = rows[(rows["day"] <= last + 1) & (rows["label"] == 1)]
    used = rows[(rows["day"] >= first) & (rows["day"] <= last + 1)]
    split = np.where(used["day"] <= last, "train", "test")
    samples = used[["user", "item", "label", "time"]].assign(split=split)
    known = items[items["item"].isin(rows.loc[rows["day"] <= last + 1, "item"])]
    return Log(
        events[["user", "item", "time"]].reset_index(drop=True),
        known.reset_index(drop=True),
        samples=samples.reset_index(drop=True),
    )


class Way:
    """One way of having a net every day; its datasets and runs are below one folder."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.name = name
        self.args = args
        self.folder = os.path.join(args.out, name)
        self.rows = 0
        self.seconds = 0.0

    def day(self, rows: pd.DataFrame, items: pd.DataFrame, day: int) -> float:
        """AUC on the next day of the net at the end of `day`."""
        carries = self.name in ("unknown", "attributes") and day > 0
        first = 0 if self.name == "anew" else day
        data = os.path.join(self.folder, f"data-{day}")
        before = os.path.join(self.folder, f"data-{day - 1}") if carries else ""
        log = log_of(rows, items, first, day)
        schema = build(log, data, protocol="given", name="days", extend=before)
        flags = [f"runner.data_dir={data}", f"runner.name={day}"]
        if carries:
            past = os.path.join(self.folder, "din", str(day - 1))
            flags += [f"runner.init_from={past}", f"runner.init_new_rows={self.name}"]
        begin = time.perf_counter()
        auc = self._trained(data, flags)
        self.seconds += time.perf_counter() - begin
        self.rows += schema.rows["train"] * self.args.epochs
        return auc

    def _trained(self, data: str, flags: list[str]) -> float:
        from paddleinterest.training.trainer import train

        common = [
            f"runner.epochs={self.args.epochs}",
            f"runner.model_save_path={self.folder}",
            "runner.visualdl=false",
            "runner.train_batch_size=256",
            "hyper_parameters.embedding_size=8",
            "hyper_parameters.tower=[32,16]",
        ]
        path = os.path.join(settings.ROOT, "models", "din", "config.yaml")
        return train(settings.load(path, [*common, *flags]), data)["test"]["auc"]


def work(args: argparse.Namespace) -> dict:
    environment.set_up(1)
    rows, items = days_of(args)
    ways = [Way(name, args) for name in ("anew", "unknown", "attributes", "today")]
    found: dict[str, list[float]] = {way.name: [] for way in ways}
    for day in range(args.days):
        for way in ways:
            found[way.name].append(way.day(rows, items, day))
        shown = "  ".join(f"{name} {aucs[-1]:.4f}" for name, aucs in found.items())
        say(f"day {day}: {shown}")
    later = args.days // 3  # the first days have little behind them
    return {
        "days": args.days,
        "auc": {name: float(np.mean(aucs[later:])) for name, aucs in found.items()},
        "auc_last": {name: aucs[-1] for name, aucs in found.items()},
        "rows": {way.name: way.rows for way in ways},
        "seconds": {way.name: round(way.seconds, 1) for way in ways},
    }


if __name__ == "__main__":
    p = arguments.parser(__doc__)
    p.add_argument("--days", type=int, default=30, help="default 30")
    p.add_argument("--users", type=int, default=2_000, help="default 2,000")
    p.add_argument("--items", type=int, default=1_000, help="default 1,000")
    p.add_argument("--impressions", type=int, default=20_000, help="of a day; default 20,000")
    p.add_argument("--epochs", type=int, default=1, help="of each training; default 1")
    p.add_argument("--seed", type=int, default=2026)
    p.add_argument("--out", required=True, help="folder for datasets and runs")
    cli.run(p, work)
