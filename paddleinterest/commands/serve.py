"""Answer requests of raw ids over HTTP, from an export bundle.

    python tools/serve.py --bundle output/din/complete_journey/export
    curl --data @output/din/complete_journey/export/request.example.json localhost:8000/rank

POST /rank      a request (docs/request.md) or a list of them; answers as paddle_infer.py --request
POST /events    events of users, which their next requests see (--history sqlite:FILE or redis://…)
GET  /ui        a page to look at users, histories and rankings
GET  /docs      a page to try the paths on; /openapi.json describes them
GET  /          the bundle: model, dataset, fields, version
GET  /healthz   alive;  /readyz  able to answer;  /metrics  for Prometheus
POST /-/reload  open the bundle's directory again (with --token); SIGHUP does the same

Errors have a status and {"error": one line}. Encryption is the job of a proxy in front.
"""

import argparse
import importlib.util
import os
import sys
from typing import Any, TextIO

from paddleinterest.core import cli
from paddleinterest.core.errors import InputError
from paddleinterest.serving import flags

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN = "PADDLEINTEREST_TOKEN"  # an environment variable
PACKAGES = ("starlette", "uvicorn", "httptools", "uvloop", "orjson", "prometheus_client")


def work(args: argparse.Namespace) -> dict[str, Any]:
    """Serve until a signal."""
    check_packages()
    from paddleinterest.serving.history.source import check_form
    from paddleinterest.serving.server import limits, process
    from paddleinterest.serving.server.guard import Access
    from paddleinterest.serving.server.loader import Options

    if args.workers < 1 or args.workers > 1024:
        raise InputError(f"--workers is {args.workers}, must be from 1 to 1024")
    if args.use_gpu and args.workers > 1:
        raise InputError("--use-gpu works with one worker; leave out --workers")
    options = Options(
        args.bundle,
        args.threads,
        args.workers,
        args.onednn,
        args.use_gpu,
        not args.no_cpu_tuning,
        check_form(args.history),
        args.engine,
    )
    access = Access(_hosts(args), _token(args), _log(args.access_log))
    address = process.Address(args.host, args.port, args.reuse_port)
    return process.serve(options, limits.of_arguments(args), access, address)


def check_packages() -> None:
    """Raise InputError if a package of the extra `serve` is missing: without this the processes
    that score would end, one after the other, and nothing would say why."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"serving needs the package {missing[0]}, which is not installed; run"
            " pip install -r requirements.txt, or pip install '.[serve]'"
        )


def _hosts(args: argparse.Namespace) -> frozenset[str]:
    """Names that the Host header may have; only those of this machine if others cannot reach it."""
    given = {name.lower() for name in args.allow_host}
    if args.host in LOOPBACK:
        return frozenset({*LOOPBACK, *given})
    return frozenset(given)


def _token(args: argparse.Namespace) -> str:
    """The token, from a file, the environment or the flag."""
    token = args.token or os.environ.get(TOKEN, "")
    if args.token_file:
        with open(args.token_file, encoding="utf-8") as f:
            token = f.read(4096).strip()
        if not token:
            raise InputError(f"{args.token_file} is empty, must hold the token")
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError("the token must be printable ASCII without spaces")
    return token


def _log(path: str) -> TextIO | None:
    """The function that writes lines of the access log."""
    if path == "-":
        return sys.stderr
    return open(path, "a", buffering=1, encoding="utf-8") if path else None


def main() -> None:
    """Parse the flags and serve."""
    from paddleinterest.serving.server import limits

    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_arguments(p)
    add = p.add_argument
    add("--host", default="127.0.0.1", help="address to listen at; default this machine only")
    add("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    add("--workers", type=int, default=1, help="processes that score; default 1")
    add(
        "--history",
        default="bundle",
        metavar="STORE",
        help="histories of users: bundle (default), none, sqlite:FILE or redis://HOST:PORT/DB",
    )
    add(
        "--token",
        default="",
        help=f"token that clients must send; better use --token-file or ${TOKEN}",
    )
    add("--token-file", help="file that holds the token")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="allowed Host header; repeat for more",
    )
    add("--access-log", default="", metavar="FILE", help="a JSON line per answer; - = stderr")
    add("--reuse-port", action="store_true", help="let a new server start beside an old one")
    limits.add_arguments(p)
    cli.run(p, work)
