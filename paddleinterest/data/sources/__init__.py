"""The sources of events: one module each, with ``Options`` and ``load(options, seed) -> Log``."""

from types import ModuleType

from paddleinterest.data.sources import (
    amazon,
    complete_journey,
    ebnerd,
    event_log,
    kuairand,
    mind,
    movielens,
    paddlerec_text,
    s3rec,
    synthetic,
    taobao_ad,
    taobao_user_behavior,
)

SOURCES: dict[str, ModuleType] = {
    "synthetic": synthetic,
    "complete_journey": complete_journey,
    "s3rec": s3rec,
    "amazon": amazon,
    "movielens": movielens,
    "taobao_ad": taobao_ad,
    "taobao_user_behavior": taobao_user_behavior,
    "kuairand": kuairand,
    "mind": mind,
    "ebnerd": ebnerd,
    "event_log": event_log,
    "paddlerec_text": paddlerec_text,
}
