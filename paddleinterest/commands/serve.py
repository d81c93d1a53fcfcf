"""Answer requests of raw ids over HTTP, from an export bundle.

    python tools/serve.py --bundle output/din/complete_journey/export
    curl --data @output/din/complete_journey/export/request.example.json localhost:8000/rank

POST /rank   a request (README.md, "A request") or a list of them; answers as paddle_infer.py
--request does.
             What is wrong is told by the status, 400 for a request, and {"error": one line}.
GET /        the bundle: model, dataset, names of the attributes, events of a history that count
GET /docs    a page to try it on (the browser fetches its scripts from a public CDN)

Requests are scored one after the other; to use more of a machine, start more of these behind a
proxy. There is neither encryption nor a password: that too is the proxy's.
"""

import argparse
import asyncio
import concurrent.futures
import json
import os
import signal
import socket

from paddleinterest.core import cli
from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.serving.flags import add_arguments, open_bundle

PATIENCE = 30  # seconds that a client may take to send its request
LAST = 5  # seconds that requests have to be answered after Ctrl-C
REFUSALS = {
    400: {"description": "What is wrong with the request, in one line"},
    408: {"description": "Sent too slowly"},
    413: {"description": "Too long"},
}


class TooLong(Exception):
    """A request of more bytes than are taken."""


def application(bundle, largest):
    """The FastAPI application of a bundle, and its counts {"requests", "refused"}. largest: bytes
    of a request's body."""
    from fastapi import FastAPI, Request, Response
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    from paddleinterest.core import json_text

    app = FastAPI(
        title=f"{bundle.signature['model']} on {bundle.schema.name}",
        description="A request of raw ids in, ranked candidates out.",
    )
    scorer = concurrent.futures.ThreadPoolExecutor(1)  # a predictor serves one thread at a time
    counts = {"requests": 0, "refused": 0}

    def reply(
        content, status=200
    ):  # in ASCII: an id may hold half a surrogate pair, which has no UTF-8
        return Response(json_text.dumps(content), status, media_type="application/json")

    def refusal(status, message):
        counts["refused"] += 1
        return reply({"error": message}, status)

    @app.exception_handler(HTTPException)
    async def other_path(request, e):
        return reply(
            {"error": f"{e.detail}: there are POST /rank, GET / and GET /docs"}, e.status_code
        )

    @app.get("/")
    def about():
        return describe(bundle)

    @app.post("/rank", openapi_extra=body_with_example(bundle), responses=REFUSALS)
    async def rank(request: Request):
        counts["requests"] += 1
        try:
            body = await asyncio.wait_for(read(request, largest), PATIENCE)
            return reply(
                await asyncio.get_running_loop().run_in_executor(
                    scorer, lambda: bundle.answer(json_text.parse(body, "the request"))
                )
            )
        except InputError as e:
            return refusal(400, str(e))
        except TooLong:
            return refusal(413, f"the request is longer than {largest:,} bytes (--max-bytes)")
        except asyncio.TimeoutError:
            return refusal(408, f"the request was not whole after {PATIENCE} seconds")
        except (ClientDisconnect, asyncio.CancelledError):
            return refusal(
                400, "the client went, or the server ended, before the request was whole"
            )  # which no one reads

    return app, counts


async def read(request, largest):
    """The request's body as bytes; TooLong as soon as it is."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > largest:
            raise TooLong
    return bytes(body)


def describe(bundle):
    """What a client needs to know to write a request."""
    names = {
        of: [f.name for f in bundle.schema.fields if f.of == of and f.name != "item"]
        for of in ("item", "user", "context")
    }
    return {
        "model": bundle.signature["model"],
        "dataset": bundle.schema.name,
        "item_attributes": names["item"],
        "user_attributes": names["user"],
        "context": names["context"],
        "history_cap": bundle.signature["history_cap"],
        "needs_times": bundle.encoder.needs_times,
    }


def body_with_example(bundle):
    """The body as /docs shows it, with the bundle's own example."""
    one = {"type": "object", "required": ["candidates"]}
    content = {"schema": {"oneOf": [one, {"type": "array", "items": one}]}}
    path = os.path.join(bundle.directory, "request.example.json")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as f:
            content["example"] = json.load(f)
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def listen(host, port):
    """A socket that listens at the address; port 0 is a free one."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}, must be from 0, which takes a free one, to 65535")
    made = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # named, or asyncio leaves Nagle's algorithm on: 40 ms an answer
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen()  # whoever connects from here on waits, and is not refused
    except OSError as e:
        raise InputError(
            f"cannot listen at {host}, port {port}: {e}; choose another --host or --port"
        ) from None
    return made


def work(args):
    if args.max_bytes < 1:
        raise InputError(f"--max-bytes is {args.max_bytes}, must be at least 1")
    bundle = open_bundle(args)
    import uvicorn

    app, counts = application(bundle, args.max_bytes)
    where = listen(args.host, args.port)
    url = f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{where.getsockname()[1]}"
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # the usual end of a server; uvicorn takes them, and raises them again after
        signal.signal(number, lambda *_: None)
    say(f"serving {args.bundle} at {url}, {url}/docs to try it; Ctrl-C ends it")
    uvicorn.Server(
        uvicorn.Config(
            app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=LAST
        )
    ).run(sockets=[where])
    return {"bundle": args.bundle, "url": url, **counts}


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(p)
    p.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; default 127.0.0.1, this machine alone; 0.0.0.0 for all",
    )
    p.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    p.add_argument(
        "--max-bytes", type=int, default=8 << 20, help="longest request; default 8388608"
    )
    cli.run(p, work)
