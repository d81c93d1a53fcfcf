"""Opens settings, dataset, and the paths of a run and its checkpoint for trainer, infer and
to_static, before Paddle is imported. training/loading.py opens the model.
"""

import argparse
import os

from paddleinterest.core import distributed, settings
from paddleinterest.core.atomic import remove_stale
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.core.log import say
from paddleinterest.core.names import check_folder_name
from paddleinterest.core.settings import Settings
from paddleinterest.training import device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add -m and -o to a tool's flags."""
    parser.add_argument(
        "-m",
        "--config_yaml",
        required=True,
        metavar="CONFIG",
        help="settings of a model, such as models/din/config.yaml",
    )
    parser.add_argument(
        "-o",
        "--override",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        action="extend",
        help=(
            "settings that win over the file, such as runner.epochs=3; docs/settings.md lists them"
            " all"
        ),
    )


def directory(config: Settings) -> str:
    """Path of the run."""
    runner = config.runner
    name = check_folder_name(runner.name, "runner.name") if runner.name else dataset_name(config)
    return os.path.join(runner.model_save_path, config.model, name)


def dataset_name(config: Settings) -> str:
    """Name of the dataset: that of its folder, or the recipe's."""
    runner = config.runner
    if runner.data_dir:
        last = os.path.basename(os.path.abspath(runner.data_dir))
        return check_folder_name(last, f"the name of runner.data_dir {runner.data_dir}")
    recipe = settings.from_root(runner.dataset)
    name = settings.read_yaml(recipe, "numbers").get("name", "dataset")
    return check_folder_name(str(name), f"{recipe}: name")


def open_run(args: argparse.Namespace) -> Settings:
    """Settings of a run that was trained: those it was trained with, and `-o` above them."""
    config = settings.load(args.config_yaml, args.override)
    trained = os.path.join(directory(config), "config.yaml")
    if os.path.isfile(trained):
        return settings.load(trained, args.override, config.folder)
    return config


def checkpoint_path(config: Settings) -> str:
    """Path of the checkpoint to evaluate or export; InputError if it is missing."""
    best = os.path.join(directory(config), "checkpoints", "best.npz")
    path = config.runner.infer_load_path or best
    check_checkpoint(path)
    return path


def check_checkpoint(path: str) -> None:
    """Raise InputError if no file is at `path`."""
    if os.path.isfile(path):
        return
    inside = os.path.join(path, "checkpoints", "best.npz")
    if os.path.isfile(inside):
        raise InputError(f"{path} is the folder of a run, must be a checkpoint, such as {inside}")
    raise InputError(f"no checkpoint at {path}{nearest_path(path)}; tools/trainer.py makes one")


def check_predictions(path: str) -> None:
    """Raise InputError unless `path` can be that of predictions, which replace what is there."""
    if not path.endswith(".parquet") or os.path.isdir(path):
        raise InputError(
            f"--out {path}: predictions are a Parquet file; give it a name that ends in .parquet"
        )


def data_directory(config: Settings) -> str:
    """Path of the prepared dataset, which may not be there yet."""
    return config.runner.data_dir or os.path.join("data", dataset_name(config))


def dataset(config: Settings) -> str:
    """Path of the prepared dataset. A recipe's is prepared first if it is not there, by the first
    process alone."""
    runner = config.runner
    out = data_directory(config)
    if runner.data_dir:
        return out
    from paddleinterest.data.prepare import check_same, prepare_file

    recipe = settings.from_root(runner.dataset)
    if distributed.process_count() > 1:
        device.connect(runner)  # so that nobody waits for a process that has ended
    if distributed.process_index():
        distributed.wait_for(out)
    else:
        remove_stale(os.path.realpath(out))  # of a preparation that was killed
    if os.path.isdir(out):
        check_same(out, recipe)
    else:
        say(f"preparing {out} from {runner.dataset}")
        prepare_file(recipe, out)
    return out
