"""Memory of other processes, from /proc (Linux), whose own high-water mark misses no peak between
two looks."""

from dataclasses import dataclass


@dataclass
class Held:
    """The memory of a process, MB.

    Attributes:
        anonymous: its own memory.
        mapped: mapped files, the disk's cache, which the system takes back when it needs room.
        peak: the most that it has held of both together.
    """

    anonymous: int
    mapped: int
    peak: int


def held(pid: int) -> Held | None:
    """Memory of a process by its number; None if it has ended, or if this system has no /proc."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            fields = dict(line.split(":", 1) for line in f if ":" in line)
        found = [int(fields[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile", "VmHWM")]
    except (OSError, KeyError):  # a process that has just ended has no memory
        return None
    return Held(*found)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(child) for child in f.read().split()]
    except OSError:
        return []
