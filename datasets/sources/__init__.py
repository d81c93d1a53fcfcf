"""Where events come from: one module a source, each with ``add_arguments(group)`` and ``load(args) -> Log``."""
from datasets.sources import complete_journey, event_log, paddlerec_text, s3rec, synthetic

SOURCES = {
    "synthetic": synthetic,
    "complete_journey": complete_journey,
    "s3rec": s3rec,
    "event_log": event_log,
    "paddlerec_text": paddlerec_text,
}
