"""The work of tools/compare.py: two models on the same test rows."""

import os

from paddleinterest.core import environment, settings
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.data.schema import Schema
from paddleinterest.study import bars, results, uncertainty
from paddleinterest.study.markdown import table
from paddleinterest.study.uncertainty import FEWEST_SEEDS, METRICS, Comparison, Resampled
from paddleinterest.training import run

WORDS = {"auc": "AUC", "gauc": "gAUC", "logloss": "log loss"}


def compare_runs(ones: list[str], others: list[str]) -> dict:
    """Compare two models.

    Args:
        ones: run directories of the first model, one per seed.
        others: run directories of the second model; the runs are paired in order.

    Returns:
        What the tool prints.

    Raises:
        InputError: a run is missing, or the two were not tested on the same rows.
    """
    if len(ones) != len(others):
        raise InputError(
            f"{len(ones)} runs against {len(others)}; name the same number of runs, with the same"
            " seeds in the same order"
        )
    opened = [results.open_run(directory) for directory in [*ones, *others]]
    _check_one_dataset(opened)
    runner = opened[0].config.runner
    environment.set_up(runner.threads, runner.cpu_tuning)  # before Paddle is imported
    resampled = [_resampled(one.directory, one.config) for one in opened]
    found = [
        uncertainty.compare(resampled[: len(ones)], resampled[len(ones) :], metric)
        for metric in METRICS
    ]
    auc = found[0]
    say(_page(found, resampled[0].draws))
    verdict = _verdict(auc)
    say(verdict)
    return {
        "one": ones,
        "other": others,
        "draws_of_negatives": resampled[0].draws,
        **{one.metric: _as_json(one) for one in found},
        "difference": auc.is_difference,
        "verdict": verdict,
    }


def _check_one_dataset(opened: list[results.Run]) -> None:
    """Raise InputError if two runs were tested on different datasets."""
    names = [Schema.load(run.data_directory(one.config)).name for one in opened]
    for one, name in zip(opened, names, strict=True):
        if name != names[0]:
            raise InputError(
                f"{opened[0].directory} was tested on {names[0]}, {one.directory} on {name}; name"
                " runs on the same dataset"
            )


def _resampled(directory: str, config: settings.Settings) -> Resampled:
    data = run.dataset(config)
    say(f"scoring {directory}")
    try:
        return bars.of_checkpoint(config, data, os.path.join(directory, "checkpoints", "best.npz"))
    except InputError as e:
        raise InputError(f"{directory}: {e}") from None


def _as_json(one: Comparison) -> dict:
    return {
        "difference": round(one.difference, 6),
        "interval": [round(one.low, 6), round(one.high, 6)],
        "of_draws": [round(value, 6) for value in one.draws],
        "seeds": one.seeds,
        "p_over_seeds": None if one.p is None else round(one.p, 6),
    }


def _page(found: list[Comparison], draws: int) -> str:
    """The differences as a table."""
    over = "95 % over test's users" + (f" and {draws} draws of its negatives" if draws > 1 else "")
    rows = []
    for one in found:
        spread = "" if one.spread is None else f" ± {one.spread:.4f}"
        p = "" if one.p is None else f"{one.p:.3f}"
        between = f"[{one.low:+.4f}, {one.high:+.4f}]"
        rows.append([WORDS[one.metric], f"{one.difference:+.4f}{spread}", between, p])
    return table(["test", "one − other", over, "p over seeds"], rows)


def _verdict(auc: Comparison) -> str:
    """The conclusion from their AUC, in one line."""
    who = "the one is better" if auc.better else "the other is better"
    if not auc.survives_test:
        return "no difference: with other users or negatives of test the sign may change"
    if auc.survives_seeds is None:
        return (
            f"{who} with other users and negatives too; nothing is known about other seeds: train"
            f" each with {FEWEST_SEEDS} seeds or more, and name the runs of a model separated by"
            " commas"
        )
    if not auc.survives_seeds:
        return f"no difference: with other seeds the sign may change (p = {auc.p:.2f})"
    return f"a difference: {who}, with other users, negatives and seeds too"
