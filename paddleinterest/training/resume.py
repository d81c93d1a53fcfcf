"""Going on with a run that was stopped: with the settings and the data that gave its numbers so
far, or not at all."""

from paddleinterest.core import settings
from paddleinterest.core.errors import InputError
from paddleinterest.training import checkpoint


def settings_that_count(config, schema):
    """The settings that a run must go on with, {key: value}, and a mark of its dataset's
    content."""
    free = set(settings.keys_that(config, "may_change_on_resume"))
    kept = {key: value for key, value in settings.flatten(config).items() if key not in free}
    if config.hyper_parameters.schedule.kind == "cosine":  # which falls to 0 over all epochs
        kept["runner.epochs"] = config.runner.epochs
    return {**kept, "data": schema.fingerprint()}


def saved_state(path, new):
    """The state in the checkpoint of a run to go on with; `new` is that of one that starts.

    Raises:
        InputError: no such checkpoint, or the run was started with settings or data that give other
            numbers.
    """
    saved = checkpoint.read(path)["state"]
    if saved.keys() != new.keys():
        raise InputError(
            f"{path} is not a checkpoint to go on from: it holds no state of a training by this"
            " version"
        )
    if saved["model"] != new["model"]:
        raise InputError(f"{path} is a checkpoint of model {saved['model']}, not of {new['model']}")
    was, now = saved["settings"], new["settings"]
    if was.get("data") != now["data"]:
        raise InputError(
            f"{path} was trained on other data than this: prepare the same again, or start a new"
            " runner.name"
        )
    for key in sorted(was.keys() | now.keys()):
        before, asked = was.get(key, "unknown"), now.get(key, "unknown")
        if before != asked:
            raise InputError(
                f"{path} was trained with {key} {before}, not {asked}, which gives other numbers:"
                " go on with the same, or start a new runner.name"
            )
    return saved
