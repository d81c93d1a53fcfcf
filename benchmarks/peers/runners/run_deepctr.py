"""DeepCTR-Torch: DIN and DIEN through the library's own fit().

fit() calls train() once, before its first epoch, and any evaluation calls eval(), so the library
continues in evaluation mode; here train() is called at the start of each epoch.
"""

import time

import common


def main():
    args = common.arguments(["din", "dien"])
    import torch
    from deepctr_torch.callbacks import Callback

    samples = common.Samples(args.samples, args.item_vocab)
    inputs = {
        split: {**samples.inputs(split), "seq_length": samples.splits[split]["length"]}
        for split in common.SPLITS
    }
    label = samples.splits["train"]["label"].astype("float32")
    model, setting = build(args, samples)
    model.compile(torch.optim.Adam(model.parameters(), lr=1e-3), "binary_crossentropy")
    record = common.Record(args, samples, model, setting, "deepctr-torch")

    class Watch(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            model.train()
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            seconds = time.perf_counter() - self.started
            if record.epoch(
                seconds, lambda split: model.predict(dict(inputs[split]), args.batch_size)
            ):
                model.stop_training = True

    def fit(epochs, callbacks=None):
        model.fit(
            dict(inputs["train"]),
            label,
            batch_size=args.batch_size,
            epochs=epochs,
            verbose=0,
            shuffle=True,
            callbacks=callbacks,
        )

    if args.steps:
        record.steps(model.optim, lambda: fit(1))
    else:
        fit(args.epochs, [Watch()])


def build(args, samples):
    from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
    from deepctr_torch.models import DIEN, DIN

    columns = [
        SparseFeat(name, size, embedding_dim=args.emb) for name, size in samples.fields.items()
    ]
    columns += [
        VarLenSparseFeat(
            SparseFeat(f"hist_{name}", size, embedding_dim=args.emb, embedding_name=name),
            maxlen=samples.cap,
            length_name="seq_length",
        )
        for name, size in samples.fields.items()
    ]
    common_settings = dict(
        dnn_hidden_units=(200, 80), l2_reg_embedding=0, seed=args.seed, device="cpu"
    )
    if args.model == "din":
        return (
            DIN(
                columns,
                list(samples.fields),
                att_hidden_size=(80, 40),
                att_weight_normalization=False,
                **common_settings,
            ),
            "attention 80-40 Dice, no softmax; tower ReLU",
        )
    return (
        DIEN(
            columns,
            list(samples.fields),
            gru_type="AUGRU",
            use_negsampling=False,
            att_hidden_units=(80, 40),
            **common_settings,
        ),
        "AUGRU, attention 80-40 with softmax, no auxiliary loss; tower ReLU",
    )


if __name__ == "__main__":
    main()
