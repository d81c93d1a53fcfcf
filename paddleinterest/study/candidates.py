"""The place of each positive among many candidates of its user: the whole catalogue, or sampled
items."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import progress
from paddleinterest.core.settings import Settings
from paddleinterest.data.reader import Batch, Reader
from paddleinterest.data.schema import FIRST_ID, of_one_user
from paddleinterest.study.ranking import Place, by_group, of_places

AT_ONCE = 2048  # candidates in one forward pass
USERS = 1000  # users whose positives are ranked, by default


@dataclass(frozen=True)
class Choice:
    """The candidates that each positive is ranked with.

    Attributes:
        sampled: number of items, uniform over the catalogue without those that the user ever
            touched; 0 = the whole catalogue without the user's history.
        users: largest number of users, drawn at random; 0 = all.
        seed: seed of both draws.
    """

    sampled: int
    users: int = USERS
    seed: int = 0

    def in_words(self, catalogue: int) -> str:
        if self.sampled:
            return f"{self.sampled:,} sampled items that the user never touched"
        return f"the catalogue of {catalogue:,} items without the user's history"


def among_candidates(model: Any, net: Any, reader: Reader, choice: Choice) -> dict[str, Any]:
    """NDCG@10, HR@10 and MRR of the positives of a split, by user.

    Args:
        model: the model's binding.
        net: its net, in evaluation mode.
        reader: of a split in file order.
        choice: the candidates.

    Raises:
        InputError: the split has no positive, or too few items to sample from.
    """
    import paddle

    rows = _positives(reader, choice)
    rng = np.random.default_rng([choice.seed, 1])
    place = Place(*(np.zeros(len(rows), np.int64) for _ in range(3)))
    net.eval()
    with paddle.no_grad(), progress(len(rows), "ranking") as bar:
        for k, row in enumerate(rows):
            others = _others(reader, int(row), choice.sampled, rng)
            items = np.append(reader.item[row], others)
            score = _scores(model, net, reader, int(row), items)
            place.above[k] = (score[1:] > score[0]).sum()
            place.ties[k] = (score[1:] == score[0]).sum()
            place.candidates[k] = len(items)
            bar.update(1)
    return {
        "candidates": choice.in_words(reader.items.rows - FIRST_ID),
        **of_places(place, reader.user[rows]),
    }


def of_checkpoint(config: Settings, data: str, path: str, split: str, choice: Choice) -> dict:
    """`among_candidates` of a checkpoint.

    Args:
        config: the run's settings.
        data: its prepared dataset.
        path: the checkpoint.
        split: whose positives are ranked.
        choice: the candidates.
    """
    from paddleinterest.training import loading
    from paddleinterest.training.predict import split_reader

    model = loading.bind(config)
    reader = split_reader(config, data, model, split)
    net, _ = loading.trained_net(model, config, data, reader.schema, path)
    return among_candidates(model, net, reader, choice)


def by_impression(reader: Reader, score: np.ndarray) -> dict[str, Any]:
    """AUC, MRR, NDCG@5 and NDCG@10 within each impression: the rows of a user at one moment.

    Raises:
        InputError: no impression has a click and another row.
    """
    _, group = np.unique(np.stack([reader.user, reader.time]), axis=1, return_inverse=True)
    found = by_group(group.reshape(-1), reader.label, score)
    if not found["groups"]:
        raise InputError(
            f"no impression of {reader.directory} has both a click and a row without a click: a"
            " user's rows of one moment are one impression"
        )
    return found


def _positives(reader: Reader, choice: Choice) -> np.ndarray:
    """Rows of the positives of the chosen users."""
    rows = np.flatnonzero(reader.label == 1)
    if not len(rows):
        raise InputError(
            f"{reader.directory} has no positive in {reader.split}, so nothing can be ranked"
        )
    users = np.unique(reader.user[rows])
    if choice.users and choice.users < len(users):
        chosen = np.random.default_rng([choice.seed, 0]).choice(users, choice.users, False)
        rows = rows[np.isin(reader.user[rows], chosen)]
    return rows


def _others(reader: Reader, row: int, sampled: int, rng: np.random.Generator) -> np.ndarray:
    """The other candidates of a positive."""
    free = np.ones(reader.items.rows, bool)
    free[:FIRST_ID] = False
    free[reader.item[row]] = False
    if not sampled:
        items, _ = reader.history(row)
        free[items] = False
        return np.flatnonzero(free)
    free[reader.sequences.one(int(reader.sequence[row]))["item"]] = False
    untouched = np.flatnonzero(free)
    if len(untouched) < sampled:
        raise InputError(
            f"{sampled:,} candidates cannot be sampled: a user leaves {len(untouched):,} items of"
            f" {reader.directory} untouched; use fewer candidates, or all"
        )
    return rng.choice(untouched, sampled, replace=False)


def _scores(model: Any, net: Any, reader: Reader, row: int, items: np.ndarray) -> np.ndarray:
    """Logits of these items for the user and the moment of a row, [N]."""
    batch = reader.batch(np.array([row]))
    one_user = {name: column for name, column in batch.items() if of_one_user(name)}
    found = []
    for first in range(0, len(items), AT_ONCE):
        some = items[first : first + AT_ONCE]
        feeds = model.create_feeds({**one_user, **_targets(reader, batch, some)})
        found.append(np.asarray(net.rank(feeds).numpy()).reshape(-1))
    return np.concatenate(found)


def _targets(reader: Reader, batch: Batch, items: np.ndarray) -> Batch:
    """The candidates' side of a batch, [N, …]; `batch` is of the row itself."""
    table = reader.items
    out = {f"target_{name}": column[items] for name, column in table.fields.items()}
    out |= {f"target_{name}": lists.padded(items) for name, lists in table.lists.items()}
    out |= {f"target_vector_{name}": rows[items] for name, rows in table.vectors.items()}
    if "dense" in batch:
        rest = batch["dense"][:, table.dense.shape[1] :]  # side of user and moment
        out["dense"] = np.concatenate(
            [table.dense[items], np.repeat(rest, len(items), 0)], 1
        ).astype(np.float32)
    return out
