"""Export bundles: written by tools/to_static.py, opened by `Bundle`, served by tools/serve.py.

`Bundle` is imported at first use, since it imports Paddle: a process that wants other threads or
environment variables sets them before (paddleinterest/core/environment.py).

Example:
    >>> from paddleinterest.serving import Bundle                             # doctest: +SKIP
    >>> bundle = Bundle("output/din/complete_journey/export")                 # doctest: +SKIP
    >>> bundle.rank({"history": ["995242"], "candidates": ["1082185"]})       # doctest: +SKIP
"""

import typing

if typing.TYPE_CHECKING:
    from paddleinterest.serving.bundle import Bundle

__all__ = ["Bundle"]


def __getattr__(name: str) -> typing.Any:
    if name == "Bundle":
        from paddleinterest.serving.bundle import Bundle

        return Bundle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
