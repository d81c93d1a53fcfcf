"""Item popularity as a model: every sample gets the count of its item in train."""

from paddleinterest.core.log import say
from paddleinterest.core.metrics import click_metrics, format_metrics
from paddleinterest.data.reader import Reader
from paddleinterest.data.schema import Schema


def popularity(data: str) -> dict:
    """AUC and gAUC of item popularity on valid and test.

    Args:
        data: a prepared dataset.

    Returns:
        What tools/popularity.py prints.
    """
    schema = Schema.load(data)
    metrics = {}
    for split in ("valid", "test"):
        if split in schema.rows:
            metrics[split] = _on_split(data, split)
            say(f"{split:5s} {format_metrics(metrics[split])}")
    return {
        "model": "item popularity",
        "dataset": schema.name,
        "protocol": schema.protocol,
        "rows": schema.rows,
        **metrics,
    }


def _on_split(data: str, split: str) -> dict[str, float | None]:
    """Counts are not probabilities, so there are AUC and gAUC, but no log loss."""
    reader = Reader(data, split, batch_size=1)
    found = click_metrics(reader.user, reader.label, reader.items.count[reader.item])
    return {metric: found[metric] for metric in ("auc", "gauc")}
