"""The settings that all models share. A model's own are in models/<name>/settings.py."""

from typing import Literal

from pydantic import PrivateAttr

from paddleinterest.core.settings.declare import Section, section, setting


class Runner(Section):
    """Where a run is, how long it trains, and on what machine."""

    dataset: str = setting(
        "datasets/complete_journey.yaml",
        "Recipe of the dataset, prepared if it is not there; data_dir wins over it",
        place=True,
    )
    data_dir: str = setting("", 'A prepared dataset; "" = data/<name of the recipe>', place=True)
    name: str = setting(
        "",
        'Name of the run; "" = the name of the dataset. The run is written to'
        " model_save_path/<model>/<name>",
        place=True,
    )
    model_save_path: str = setting("output", "Folder for all runs", place=True)
    infer_load_path: str = setting(
        "", 'Checkpoint (.npz) that infer and to_static read; "" = the best of the run', place=True
    )
    warm_start: str = setting(
        "",
        "Checkpoint (.npz) of a run on the same dataset; a new run starts from its weights of the"
        ' same names, the others are drawn. "" = all are drawn',
    )
    init_from: str = setting(
        "",
        "Folder of yesterday's run, or a checkpoint in it: a new run on another dataset starts from"
        ' its weights, moments and counts, matched by raw value. "" = all are drawn',
    )
    init_new_rows: Literal["unknown", "attributes"] = setting(
        "unknown",
        "How values that yesterday's run did not know start under init_from: unknown = as the row"
        " of unknown values; attributes = items as the mean of the items with the same attributes",
    )
    resume: bool = setting(
        False,
        "Resume the run from its latest checkpoint; false = refuse a run that exists",
        place=True,
    )
    overwrite: bool = setting(False, "Replace a run of the same name", place=True)
    seed: int = setting(2026, "Seed of the start weights, the shuffling and the dropout", least=0)
    epochs: int = setting(25, "Largest number of passes over train", least=1, free_on_resume=True)
    early_stop: int = setting(
        3,
        "Stop after this many epochs without a better `monitor` on valid",
        least=0,
        zero="never",
        free_on_resume=True,
    )
    monitor: Literal["auc", "gauc", "logloss"] = setting(
        "auc", "Metric on valid that decides which epoch is the best"
    )
    test: bool = setting(
        True,
        "Evaluate the best epoch on test at the end; a search (tools/tune.py) does not",
        place=True,
    )
    train_batch_size: int = setting(
        1024,
        "Rows per step, of all processes together; the number of processes changes no figure",
        least=1,
    )
    infer_batch_size: int = setting(
        4096,
        "Rows per forward pass in evaluation, of each process; changes no figure",
        least=1,
        machine=True,
    )
    history_cap: int = setting(
        50, "Number of the most recent events of a history that the models see", least=1
    )
    bucket_batches: int = setting(
        64,
        "Sort windows of this many batches by history length: less padding, the same rows",
        least=0,
        zero="off",
    )
    negatives: Literal["auto", "fresh", "once"] = setting(
        "auto",
        "Negatives of train under every_prefix and last_event: fresh = drawn anew every epoch; once"
        " = as prepared. auto = fresh under these protocols; the others use the log's labels. Valid"
        " and test stay as prepared",
    )
    negatives_per_positive: int = setting(
        0,
        "Negatives for each positive of train, each of weight 1 / this number",
        least=0,
        most=100,
        zero="4 if they are fresh, otherwise 1",
    )
    print_interval: int = setting(
        50, "Steps between two updates of the figures on the progress bar", least=1, machine=True
    )
    save_interval: int = setting(
        0,
        "Also save the latest checkpoint after this many steps",
        least=0,
        zero="after each epoch only",
        machine=True,
    )
    skip_bad_batches: int = setting(
        0,
        "Skip at most this many batches whose loss or gradient is not finite",
        least=0,
        zero="stop at the first",
        machine=True,
    )
    visualdl: bool = setting(
        True,
        "Write scalars for `visualdl --logdir output` if visualdl is installed",
        machine=True,
    )
    use_gpu: bool = setting(
        False,
        "Train on the first GPU, or each process on its own; needs paddlepaddle-gpu",
        machine=True,
    )
    threads: int = setting(
        0,
        "CPU threads of each process; processes on one machine share its cores",
        least=0,
        most=1024,
        zero="all cores",
        machine=True,
    )
    shard_tables: int = setting(
        0,
        "Split every embedding table of this many rows or more over the processes",
        least=0,
        zero="never",
        machine=True,
    )
    wait_minutes: int = setting(
        360,
        "Longest time that one process waits for another, such as for the first one to prepare the"
        " dataset",
        least=1,
        most=100_000,
        machine=True,
    )
    native: bool = setting(
        True,
        "On a CPU, use C++ operators that are faster than Paddle's if there is a compiler",
        machine=True,
    )
    cpu_tuning: bool = setting(
        True,
        "Set OMP_NUM_THREADS, FLAGS_use_stride_kernel and, on AMD, MKL_DEBUG_CPU_TYPE for this"
        " process if they are unset, and let malloc keep freed memory",
        machine=True,
    )


class Optimizer(Section):
    """The optimiser."""

    acts_in_training_only = True

    class_: Literal["adam", "sgd", "adagrad"] = setting("adam", "The algorithm", key="class")
    learning_rate: float = setting(0.001, "Step size, before schedule and plateau", above=0)
    clip_norm: float = setting(0.0, "Largest global norm of the gradient", least=0, zero="off")


class Schedule(Section):
    """How the learning rate changes over time."""

    acts_in_training_only = True

    kind: Literal["constant", "cosine", "exponential"] = setting(
        "constant",
        "cosine falls to 0 over runner.epochs; exponential multiplies by gamma after each epoch",
    )
    gamma: float = setting(0.5, "Factor of exponential", least=0, most=1)
    warmup_steps: int = setting(0, "Steps over which the rate rises linearly from 0", least=0)


class Plateau(Section):
    """Lowers the learning rate if gAUC on valid stops rising."""

    acts_in_training_only = True

    factor: float = setting(
        1.0,
        "Multiply the rate by this if gAUC on valid has stopped rising; 1 = off",
        above=0,
        most=1,
    )
    patience: int = setting(
        1,
        "Epochs without a better gAUC before the rate drops; set runner.early_stop above"
        " patience + 1, or training stops first",
        least=0,
    )


class HyperParameters(Section):
    """The settings of all nets. A model with its own settings has a subclass in its settings.py."""

    embedding_size: int = setting(64, "Width of the embedding of every category field", least=1)
    embedding_std: float = setting(
        0.01, "Standard deviation of the embeddings' normal start values", least=0
    )
    sparse: bool = setting(
        True,
        "Gradients and Adam touch only the table rows that occur in the batch",
        of_training=True,
    )
    list_pooling: Literal["mean", "sum"] = setting(
        "mean", "How the embeddings of a field of several values become one"
    )
    vectors: Literal["projected", "start"] = setting(
        "projected",
        "What an item's vector does: projected to embedding_size it is one more field of the item;"
        " start = the item table starts as the vectors' principal components, and the net does not"
        " read them otherwise",
    )
    id_dropout: float = setting(
        0.0,
        "Share of the item ids, in history and target, that training replaces by the unknown id, so"
        " that new items have a trained embedding",
        least=0,
        most=0.99,
        of_training=True,
    )
    tower: list[int] = setting([200, 80], "Hidden widths of the MLP that gives the logit", least=1)
    activation: Literal["relu", "prelu", "dice", "leaky_relu", "rrelu", "sigmoid"] = setting(
        "relu",
        "Activation of the tower (and of DIN's activation unit); rrelu draws slopes in training",
    )
    dropout: float = setting(
        0.3, "Dropout on each hidden layer of the tower", least=0, most=0.99, of_training=True
    )
    item_bias: bool = setting(False, "Add a learned bias of the target item to the logit")
    regularization: float = setting(
        0.1,
        "Weight λ of the regularisation of the embedding rows that occur in the batch",
        least=0,
        of_training=True,
    )
    regularization_kind: Literal["mba", "l2"] = setting(
        "mba",
        "Gradient that it adds to a row w: λ·w/n with n occurrences in train (mba, the mini-batch"
        " aware one of DIN), or λ·w (l2)",
        of_training=True,
    )
    optimizer: Optimizer = section(Optimizer, "The optimiser")
    schedule: Schedule = section(Schedule, "How the learning rate changes over time")
    plateau: Plateau = section(Plateau, "What lowers the learning rate")


class Settings(Section):
    """All settings of one run."""

    model: str = setting("", "Name of the model's folder")
    runner: Runner = section(Runner, "The run")
    hyper_parameters: HyperParameters = section(HyperParameters, "The net and its training")

    _folder: str = PrivateAttr("")

    @property
    def folder(self) -> str:
        """The folder of the model's files."""
        return self._folder
