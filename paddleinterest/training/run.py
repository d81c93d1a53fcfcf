"""What trainer, infer and to_static open alike before Paddle is imported: settings, dataset, the
path of a run and its checkpoint. training/loading.py opens the model.
"""

import os

from paddleinterest.core import distributed, settings
from paddleinterest.core.atomic import remove_stale
from paddleinterest.core.errors import InputError, nearest_path
from paddleinterest.core.log import say


def add_arguments(parser):
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


def directory(config):
    """Where this run lives."""
    runner = config.runner
    return os.path.join(runner.model_save_path, config.model, runner.name or dataset_name(config))


def dataset_name(config):
    runner = config.runner
    if runner.data_dir:
        return os.path.basename(os.path.normpath(runner.data_dir))
    return str(settings.read_yaml(settings.from_root(runner.dataset)).get("name", "dataset"))


def open_run(args):
    """Settings of a run that was trained: those it was trained with, and `-o` above them."""
    config = settings.load(args.config_yaml, args.override)
    trained = os.path.join(directory(config), "config.yaml")
    if os.path.isfile(trained):
        return settings.load(trained, args.override, config.folder)
    return config


def checkpoint_path(config):
    """The checkpoint to evaluate or export; InputError where there is none."""
    path = config.runner.infer_load_path or os.path.join(
        directory(config), "checkpoints", "best.npz"
    )
    check_checkpoint(path)
    return path


def check_checkpoint(path):
    """InputError where no file is at `path`."""
    if not os.path.isfile(path):
        raise InputError(f"no checkpoint at {path}{nearest_path(path)}; tools/trainer.py makes one")


def check_predictions(path):
    """InputError unless `path` can be that of predictions: what stands there is replaced."""
    if not path.endswith(".parquet") or os.path.isdir(path):
        raise InputError(
            f"--out {path}: predictions are a Parquet file; give it a name that ends in .parquet"
        )


def data_directory(config):
    """Where the prepared dataset lies, or will."""
    return config.runner.data_dir or os.path.join("data", dataset_name(config))


def dataset(config):
    """The prepared dataset's directory; the recipe's is prepared first where it is not there, by
    rank 0 alone."""
    runner, out = config.runner, data_directory(config)
    if runner.data_dir:
        return out
    from paddleinterest.data.prepare import check_same, prepare_file

    recipe = settings.from_root(runner.dataset)
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
