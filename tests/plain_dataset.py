"""A prepared dataset in raw values, read without the code under test."""

import os

import pyarrow as pa
import pyarrow.parquet as pq


class Plain:
    """A prepared dataset read without the code under test, in raw values."""

    def __init__(self, data):
        self.data = data
        self.words = {}
        for name in os.listdir(os.path.join(data, "vocab")):
            rows = pq.read_table(os.path.join(data, "vocab", name)).to_pylist()
            self.words[name.removesuffix(".parquet")] = {r["index"]: r["value"] for r in rows}
        self.items = pq.read_table(os.path.join(data, "items.parquet")).to_pylist()
        self.users = pq.read_table(os.path.join(data, "users.parquet")).to_pylist()
        folder = os.path.join(data, "test")
        parts = [pq.read_table(os.path.join(folder, p)) for p in sorted(os.listdir(folder))]
        self.samples = [row for part in parts for row in part.to_pylist()]
        folder = os.path.join(data, "sequences")
        files = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        self.sequences = [r for f in files for r in pa.ipc.open_file(f).read_all().to_pylist()]

    def raw(self, name, index):
        return self.words[name].get(index)

    def request(self, sample):
        """The request that a row of test is, with its own target as the candidate."""
        sequence = self.sequences[sample["sequence"]]
        history = []
        for k in range(sample["end"]):
            event = {"item": self.items[sequence["item"][k]]["item"], "time": sequence["time"][k]}
            if sequence["action"][k] > 1:
                event["action"] = self.raw("action", sequence["action"][k])
            if sequence["dwell"][k] == sequence["dwell"][k]:
                event["dwell"] = sequence["dwell"][k]
            history.append(event)
        wait = sample["wait"]
        return {
            "user": self.users[sample["user"]]["user"],
            "time": sample["time"],
            "history": history,
            "candidates": [self.items[sample["item"]]["item"]],
            "context": {
                "device": self.raw("device", sample["device"]),
                "wait": None if wait != wait else wait,
            },
        }
