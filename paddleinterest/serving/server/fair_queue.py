"""A bounded queue that serves clients in turn."""

import collections
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue in which each waiting client gets its turn, however many entries it has.

    If the queue is full, an entry of a client with few entries takes the place of the newest entry
    of the client with the most.

    Args:
        longest: most entries.

    Example:
        >>> queue = FairQueue(10)
        >>> for client, entry in [("a", 1), ("a", 2), ("a", 3), ("b", 4)]:
        ...     queue.push(client, entry)
        >>> [queue.pop() for _ in range(4)]
        [1, 4, 2, 3]
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._of_client: collections.OrderedDict[str, collections.deque[T]]
        self._of_client = collections.OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, client: str, entry: T) -> T | None:
        """Add an entry. Returns the entry that does not fit: none, another client's, or this."""
        evicted = None
        if self._length >= self.longest:
            evicted = self._evict_for(client)
            if evicted is None:
                return entry
        self._of_client.setdefault(client, collections.deque()).append(entry)
        self._length += 1
        return evicted

    def _evict_for(self, client: str) -> T | None:
        """Take the newest entry of the client with the most; None if `client` has as many."""
        if not self._of_client:
            return None
        most = max(self._of_client, key=lambda name: len(self._of_client[name]))
        own = len(self._of_client.get(client, ()))
        if len(self._of_client[most]) <= own + 1:
            return None
        self._length -= 1
        return self._of_client[most].pop()

    def pop(self) -> T | None:
        """The next entry, of the client whose turn it is; None if the queue is empty."""
        if not self._of_client:
            return None
        client, entries = next(iter(self._of_client.items()))
        entry = entries.popleft()
        self._length -= 1
        if entries:
            self._of_client.move_to_end(client)
        else:
            del self._of_client[client]
        return entry

    def remove(self, client: str, entry: T) -> bool:
        """Take an entry out, wherever it is. Returns whether it was there."""
        entries = self._of_client.get(client)
        if entries is None or entry not in entries:
            return False
        entries.remove(entry)
        self._length -= 1
        if not entries:
            del self._of_client[client]
        return True
