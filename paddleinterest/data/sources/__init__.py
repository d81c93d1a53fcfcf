"""Where events come from: one module a source, each with ``add_arguments(group)`` and ``load(args)
-> Log``."""

from paddleinterest.data.sources import (
    amazon,
    complete_journey,
    event_log,
    kuairand,
    movielens,
    paddlerec_text,
    s3rec,
    synthetic,
    taobao_ad,
    taobao_user_behavior,
)

SOURCES = {
    "synthetic": synthetic,
    "complete_journey": complete_journey,
    "s3rec": s3rec,
    "amazon": amazon,
    "movielens": movielens,
    "taobao_ad": taobao_ad,
    "taobao_user_behavior": taobao_user_behavior,
    "kuairand": kuairand,
    "event_log": event_log,
    "paddlerec_text": paddlerec_text,
}
