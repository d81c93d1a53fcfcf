"""The histories of a bundle, into a store."""

from typing import Any

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import progress, say
from paddleinterest.data.schema import Schema
from paddleinterest.serving.history import own
from paddleinterest.serving.history.events import KEEP, Event, check_id
from paddleinterest.serving.history.source import open_store
from paddleinterest.serving.ids import item_ids, user_ids
from paddleinterest.serving.snapshot import consistently
from paddleinterest.serving.vocabulary import read_vocabularies

TOGETHER = 10_000  # events that are appended at once


def load(bundle: str, form: str) -> dict[str, Any]:
    """Append the latest events of every user of a bundle to a store.

    Args:
        bundle: its directory.
        form: the store, as --history names it.

    Returns:
        The tool's result.

    Raises:
        InputError: the bundle has no histories, or `form` is not a store that takes events.
        StoreError: the store stops working.
    """
    store = open_store(form)
    if store is None:
        raise InputError(f"--history {form} takes no events; name sqlite:FILE or redis://…")
    histories, users = consistently(bundle, lambda: _open(bundle))
    counts = {"users": 0, "events": 0, "users_left_out": 0}
    waiting: list[tuple[str, Event]] = []
    with progress(len(users), "users") as bar:
        for user in users:
            bar.update(1)
            if store.latest(user, 1):
                counts["users_left_out"] += 1
                continue
            events = histories.latest(user, KEEP)
            waiting += [(check_id(user, "user"), event.without_hashes()) for event in events]
            counts["users"] += bool(events)
            counts["events"] += len(events)
            if len(waiting) >= TOGETHER:
                store.append(waiting)
                waiting = []
    if waiting:
        store.append(waiting)
    store.close()
    return {"bundle": bundle, "history": form.partition("@")[2] or form, **counts}


def _open(bundle: str) -> tuple[own.OwnHistories, list[str]]:
    """The histories of a bundle and the ids of its users."""
    schema = Schema.load(bundle)
    if own.FILE not in schema.files:
        raise InputError(
            f"{bundle} holds no {own.FILE}: it was exported with --no-histories, or is a prepared"
            " dataset; export it again"
        )
    schema.verify(bundle, own.FILE, "items.parquet", "users.parquet", "vocab/")
    users = user_ids(bundle)
    if hashed := [f.name for f in schema.event_fields if f.hashed]:
        say(f"not loaded: {', '.join(hashed)}; of hashed values the bundle has no raw form")
    known = read_vocabularies(bundle, schema)
    return own.OwnHistories(bundle, item_ids(bundle), users, schema.fields, known), list(users)
