"""Binds the BST net to the tools."""

from paddleinterest.nets.click_model import ClickModel

from .net import BST

OWN = (
    "position_merge",
    "position_size",
    "position_buckets",
    "blocks",
    "heads",
    "feed_forward",
    "block_dropout",
    "output",
    "target_in_tower",
)


class DygraphModel(ClickModel):
    title = "BST"
    colour = "#cc79a7"
    marker = "X"
    reads_events = True

    def create_model(self, config, schema):
        position = self.position(config, schema)
        if position == "time" and schema.time != "seconds":
            raise ValueError(
                f"position is time, but {schema.name} has no clock, only an order; use index or"
                " auto"
            )
        length = config.hyper_parameters.concat_length or config.runner.history_cap
        return BST(
            position=position, concat_length=length, **self.net_arguments(config, schema, *OWN)
        )

    @staticmethod
    def position(config, schema):
        """The setting, with auto resolved: time where the dataset's times are a clock, otherwise
        index."""
        kind = config.hyper_parameters.position
        return kind if kind != "auto" else "time" if schema.time == "seconds" else "index"

    def needs_times(self, config, schema):
        return self.position(config, schema) == "time"
