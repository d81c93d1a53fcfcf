"""FuxiCTR's DIN, DIEN and BST scoring one user against many candidates, eagerly, in evaluation
mode.

    VENV/bin/python benchmarks/peers/runners/latency_fuxictr.py --samples OUT/samples --threads 2

VENV and OUT are those of compare.py. The counterpart of benchmarks/serving.py, which see for ours:
run them in turn. Weights and ids are random; a forward pass takes no longer for them.
"""

import argparse
import json
import sys
import tempfile
from types import SimpleNamespace

import common
import run_fuxictr

sys.path.append(common.ROOT)
from benchmarks.latency import percentiles

try:
    import torch
except ImportError as e:
    raise SystemExit(
        "error: PyTorch is not here; run this with the Python of the peers' environment that"
        " compare.py makes (--venv)"
    ) from e


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--samples", required=True, help="directory that compare.py wrote")
    p.add_argument(
        "--models", nargs="+", default=["din", "dien", "bst"], choices=["din", "dien", "bst"]
    )
    p.add_argument("--candidates", type=int, default=500, help="candidates a request; default 500")
    p.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="CPU threads; default 1 2"
    )
    p.add_argument("--calls", type=int, default=100, help="timed calls; default 100")
    args = p.parse_args()
    samples = common.Samples(args.samples)
    rows = []
    for model in args.models:
        net = net_of(model, samples, args.candidates)
        batch = request(model, samples, args.candidates)
        for threads in args.threads:
            row = {"model": model, "threads": threads, **measure(net, batch, threads, args.calls)}
            print(row, flush=True)
            rows.append(row)
    print(json.dumps({"versions": common.versions("torch", "fuxictr"), "rows": rows}))


def net_of(model, samples, candidates):
    """The peer's net, in evaluation mode."""
    build = run_fuxictr.bst if model == "bst" else run_fuxictr.long_ctr
    flags = SimpleNamespace(model=model, emb=32, batch_size=candidates, gpu=-1)
    with tempfile.TemporaryDirectory(prefix="fuxictr-") as folder:
        _, net = build(flags, samples, folder)
    net.eval()
    return net


def measure(net, batch, threads, calls):
    """p50 and p99 of a forward pass."""
    torch.set_num_threads(threads)
    with torch.inference_mode():
        return percentiles(lambda: net(batch), calls, 10)


def request(model, samples, n):
    """A batch of `n` rows, as the loader of the model makes them, that share one full history."""
    generator = torch.Generator().manual_seed(0)
    past = {
        name: torch.randint(1, size, [samples.cap], generator=generator)
        for name, size in samples.fields.items()
    }
    target = {
        name: torch.randint(1, size, [n], generator=generator)
        for name, size in samples.fields.items()
    }
    if model == "bst":
        return {
            **target,
            **{f"hist_{name}": ids.expand(n, -1).contiguous() for name, ids in past.items()},
            "label": torch.zeros(n),
        }
    joined = {
        f"{name}_id": torch.cat([past[name].expand(n, -1), target[name][:, None]], 1).flatten()
        for name in past
    }
    return {}, joined, torch.ones(n, samples.cap)


if __name__ == "__main__":
    main()
