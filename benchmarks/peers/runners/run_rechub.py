"""torch-rechub: DIN, DIEN and BST through its DataGenerator and CTRTrainer.

Its models need a list of other features that is not empty; as in the library's own Amazon example
it is the target's once more. DIEN reads negative histories: here one item a position, drawn
uniformly.
"""

import os
import sys
import tempfile
import time

import common
import numpy as np

SETTINGS = {
    "din": "attention 80-40 Dice, one unit a field, no softmax; tower Dice with batch norm",
    "dien": "AUGRU, bilinear attention, one pair of GRUs a field, auxiliary loss 0.2",
    "bst": "1 block, 4 heads, 64 wide, feed-forward 2048, dropout 0.2; tower ReLU with batch norm",
}


def main():
    args = common.arguments(["din", "dien", "bst"])
    from torch_rechub.trainers import CTRTrainer
    from torch_rechub.utils.data import DataGenerator

    samples = common.Samples(args.samples, args.item_vocab)
    inputs = {split: samples.inputs(split) for split in common.SPLITS}
    if args.model == "dien":
        add_negatives(samples, inputs, np.random.default_rng(args.seed))
    label = {split: samples.splits[split]["label"] for split in common.SPLITS}
    train, valid, test = DataGenerator(inputs["train"], label["train"]).generate_dataloader(
        x_val=inputs["valid"],
        y_val=label["valid"],
        x_test=inputs["test"],
        y_test=label["test"],
        batch_size=args.batch_size,
        num_workers=0,
    )
    model = build(args, samples)
    trainer = CTRTrainer(
        model,
        optimizer_params={"lr": 1e-3},
        n_epoch=args.epochs,
        device="cpu",
        loss_mode=args.model != "dien",
        model_path=tempfile.gettempdir(),
    )
    record = common.Record(args, samples, model, SETTINGS[args.model], "torch-rechub")
    if args.steps:
        return record.steps(trainer.optimizer, lambda: quietly(trainer.train_one_epoch, train))
    loaders = {"valid": valid, "test": test}
    for _ in range(args.epochs):
        started = time.perf_counter()
        quietly(trainer.train_one_epoch, train)
        seconds = time.perf_counter() - started
        if record.epoch(seconds, lambda split: quietly(trainer.predict, model, loaders[split])):
            break


def quietly(call, *args):
    """Without the trainer's progress bars."""
    stderr = sys.stderr
    with open(os.devnull, "w") as sys.stderr:
        try:
            return call(*args)
        finally:
            sys.stderr = stderr


def add_negatives(samples, inputs, rng):
    rows = len(samples.items["item"])
    for x in inputs.values():
        negative = np.where(x["hist_item"] > 0, rng.integers(2, rows, x["hist_item"].shape), 0)
        x.update({f"neg_{name}": column[negative] for name, column in samples.items.items()})


def build(args, samples):
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.models.ranking.bst import BST
    from torch_rechub.models.ranking.dien import DIEN
    from torch_rechub.models.ranking.din import DIN

    def sequences(prefix):
        return [
            SequenceFeature(
                f"{prefix}_{name}",
                size,
                embed_dim=args.emb,
                pooling="concat",
                shared_with=name,
                padding_idx=0,
            )
            for name, size in samples.fields.items()
        ]

    target = [
        SparseFeature(name, size, embed_dim=args.emb, padding_idx=0)
        for name, size in samples.fields.items()
    ]
    parts = dict(
        features=target,
        history_features=sequences("hist"),
        target_features=target,
        mlp_params={"dims": [200, 80]},
    )
    if args.model == "din":
        return DIN(attention_mlp_params={"dims": [80, 40]}, **parts)
    if args.model == "dien":
        return DIEN(neg_history_features=sequences("neg"), **parts)
    return BST(nhead=4, num_layers=1, max_seq_len=samples.cap + 1, **parts)


if __name__ == "__main__":
    main()
