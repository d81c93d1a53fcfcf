"""Binds the DSIN net to the tools."""

from paddleinterest.core.errors import InputError
from paddleinterest.nets.click_model import ClickModel

from .net import DSIN

OWN = (
    "session_gap",
    "sessions",
    "session_places",
    "heads",
    "feed_forward",
    "block_dropout",
    "score",
    "attention_units",
)


class DygraphModel(ClickModel):
    title = "DSIN"
    colour = "#1b7837"
    marker = ">"
    reads_events = True

    def create_model(self, config, schema):
        if schema.time != "seconds":
            raise InputError(
                f"dsin cuts a history where it pauses, but {schema.name} has no clock, only an"
                " order; use a dataset with times, or another model"
            )
        return DSIN(**self.net_arguments(config, schema, *OWN))

    def needs_times(self, config, schema):
        return True
