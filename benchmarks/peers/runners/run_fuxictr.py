"""FuxiCTR: DIN and DIEN as its wheel ships them (model_zoo.LongCTR, with LongCTRDataLoader), BST on
its layers (fuxictr_bst.py, with its NpzDataLoader), all trained by the library's own fit().

DIEN packs the sequences, so that the loader must pad behind them; with its default, in front, DIEN
learns from padding.
"""

import importlib
import json
import os
import tempfile
import time

import common
import numpy as np

SETTINGS = {
    "din": "attention 80-40 Dice, no softmax; tower ReLU",
    "dien": "AUGRU, bilinear attention with softmax, no auxiliary loss; tower ReLU with batch norm",
    "bst": "1 block, 4 heads, 96 wide, mean of the positions; tower ReLU",
}


def main():
    args = common.arguments(["din", "dien", "bst"])
    samples = common.Samples(args.samples, args.item_vocab)
    with tempfile.TemporaryDirectory(prefix="fuxictr-") as folder:
        loaders, model = (bst if args.model == "bst" else long_ctr)(args, samples, folder)
        record = common.Record(args, samples, model, SETTINGS[args.model], "fuxictr")
        drive(args, model, loaders, record)


def drive(args, model, loaders, record):
    """One fit(); after each epoch our evaluation takes the place of the library's."""
    train_epoch, started = model.train_epoch, [0.0]

    def timed(loader):
        started[0] = time.perf_counter()
        return train_epoch(loader)

    def evaluate():
        seconds = time.perf_counter() - started[0]
        model._stop_training = record.epoch(seconds, lambda split: model.predict(loaders[split]))
        model.train()

    model.train_epoch, model.eval_step = timed, evaluate
    model.load_weights = lambda *_, **__: (
        None
    )  # no checkpoint is kept: the metrics are taken already
    if args.steps:
        model.eval_step = lambda: None
        record.steps(
            model.optimizer,
            lambda: model.fit(loaders["train"], epochs=1, validation_data=loaders["valid"]),
        )
    else:
        model.fit(loaders["train"], epochs=args.epochs, validation_data=loaders["valid"])


def loaders_of(feature_map, paths, **settings):
    from fuxictr.pytorch.dataloaders import RankDataLoader

    train, valid = RankDataLoader(
        feature_map,
        stage="train",
        train_data=paths["train"],
        valid_data=paths["valid"],
        shuffle=True,
        **settings,
    )
    test = RankDataLoader(feature_map, stage="test", test_data=paths["test"], **settings)
    return {"train": train, "valid": valid, "test": test}


def feature_map_of(folder, features, width):
    from fuxictr.features import FeatureMap

    path = os.path.join(folder, "feature_map.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(
            {
                "dataset_id": "peer",
                "num_fields": len(features),
                "total_features": 0,
                "input_length": 0,
                "labels": ["label"],
                "features": [{name: spec} for name, spec in features.items()],
            },
            f,
        )
    feature_map = FeatureMap("peer", folder)
    feature_map.load(path, {"embedding_dim": width})
    return feature_map


def model_settings(folder):
    return dict(
        optimizer="adam",
        loss="binary_crossentropy",
        metrics=["AUC", "logloss"],
        verbose=0,
        task="binary_classification",
        model_root=folder,
        early_stop_patience=10**9,
    )


def long_ctr(args, samples, folder):
    """DIN or DIEN. The loader looks histories up by user_index in one table, and items by
    item_index in another."""
    import pandas as pd

    histories = np.split(samples.values, samples.offsets[1:-1])
    tables = {
        "user_info": {"user_index": np.arange(len(histories)), "full_item_seq": histories},
        "item_info": {
            "item_index": np.arange(len(samples.items["item"])),
            **{f"{name}_id": column for name, column in samples.items.items()},
        },
    }
    for split in common.SPLITS:
        rows = samples.splits[split]
        tables[split] = {
            "label": rows["label"],
            "user_index": rows["history"],
            "seq_len": rows["length"],
            "item_index": rows["item"],
        }
    paths = {name: os.path.join(folder, f"{name}.parquet") for name in tables}
    for name, columns in tables.items():
        pd.DataFrame(columns).to_parquet(paths[name])
    features = {
        name: {"source": "", "type": "meta"} for name in ("user_index", "item_index", "seq_len")
    }
    features.update(
        {
            f"{name}_id": {
                "source": "item",
                "type": "categorical",
                "padding_idx": 0,
                "vocab_size": size,
            }
            for name, size in samples.fields.items()
        }
    )
    feature_map = feature_map_of(folder, features, args.emb)
    loader = importlib.import_module("model_zoo.LongCTR.longctr_dataloader").LongCTRDataLoader
    loaders = loaders_of(
        feature_map,
        paths,
        data_loader=loader,
        batch_size=args.batch_size,
        num_workers=1,
        max_len=samples.cap,
        padding="post" if args.model == "dien" else "pre",
        user_info=paths["user_info"],
        item_info=paths["item_info"],
    )
    name = args.model.upper()
    cls = getattr(importlib.import_module(f"model_zoo.LongCTR.{name}.{name}"), name)
    return loaders, cls(
        feature_map,
        embedding_dim=args.emb,
        learning_rate=1e-3,
        dnn_hidden_units=[200, 80],
        attention_hidden_units=[80, 40],
        embedding_regularizer=0,
        net_regularizer=0,
        net_dropout=0,
        gpu=args.gpu,
        **model_settings(folder),
    )


def bst(args, samples, folder):
    from fuxictr_bst import BST

    paths = {split: os.path.join(folder, f"{split}.npz") for split in common.SPLITS}
    for split, path in paths.items():
        np.savez(path, label=samples.splits[split]["label"], **samples.inputs(split))
    features = {}
    for name, size in samples.fields.items():
        features[name] = {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": size}
    for name, size in samples.fields.items():
        features[f"hist_{name}"] = {
            "source": "",
            "type": "sequence",
            "padding_idx": 0,
            "vocab_size": size,
            "max_len": samples.cap,
            "share_embedding": name,
        }
    feature_map = feature_map_of(folder, features, args.emb)
    loaders = loaders_of(
        feature_map, paths, batch_size=args.batch_size, num_workers=1, data_format="npz"
    )
    return loaders, BST(
        feature_map,
        list(samples.fields),
        args.emb,
        4,
        samples.cap + 1,
        1e-3,
        gpu=args.gpu,
        **model_settings(folder),
    )


if __name__ == "__main__":
    main()
