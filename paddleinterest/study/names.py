"""The names of runs: the model, and the settings in which they differ."""

import os

from paddleinterest.core import settings
from paddleinterest.study import looks
from paddleinterest.study.results import Run


def name_runs(runs: list[Run]) -> None:
    """Give a label to each run that has none: the model's title, and the settings in which the runs
    of the model differ, unless they are the defaults."""
    for model in {one.model for one in runs}:
        own = [(one, settings_of(one.config)) for one in runs if one.model == model]
        first = own[0][1]
        default = default_settings(own[0][0].config)
        varied = [key for key in first if any(found[key] != first[key] for _, found in own)]
        for one, found in own:
            differing = [said(k, found[k]) for k in varied if found[k] != default[k]]
            one.label = one.label or ", ".join([looks.of_model(model).title, *differing])


def settings_of(config: settings.Settings) -> dict[str, object]:
    """The settings that define a run's model, {key: value}: without seed, names and settings that
    do not change figures."""
    left_out = {"model", "runner.seed"}
    left_out.update(settings.keys_that(config, "place"))
    left_out.update(settings.keys_that(config, "machine"))
    return settings.flatten(settings.as_dict(config, without=left_out))


def default_settings(config: settings.Settings) -> dict[str, object]:
    """`settings_of` the model with its defaults."""
    return settings_of(settings.load(os.path.join(config.folder, "config.yaml")))


def own_settings(runs: list[Run]) -> list[str]:
    """The settings of a model's runs that are not its defaults, in words; of all runs if they
    differ under one label."""
    default = default_settings(runs[0].config)
    found: dict[str, None] = {}
    for one in runs:
        for key, value in settings_of(one.config).items():
            if value != default[key]:
                found[said(key, value)] = None
    return list(found)


def said(key: str, value: object) -> str:
    """A setting in words, such as `epochs=3`."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{key.split('.', 1)[1]}={text}"
