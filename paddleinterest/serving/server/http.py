"""The paths of the server, and what each answers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from paddleinterest.core import json_text
from paddleinterest.core.errors import InputError
from paddleinterest.serving.server import openapi, pages
from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.server.pool import ClientGone, Pool, Unavailable
from paddleinterest.serving.server.telemetry import CONTENT_TYPE, Telemetry

JSON = "application/json"
LINGER = 2.0  # seconds that a body which is too long may still come
DISCARDED = 4  # times the longest body: more of it is not read
MOST_HELD = 256 << 20  # bytes of all bodies that are read or wait
SHOWN = 20  # users or items that a look-up lists, if it does not say how many
PUBLIC = (
    "version",
    "model",
    "engine",
    "dataset",
    "item_attributes",
    "user_attributes",
    "context",
    "event_fields",
    "history_cap",
    "needs_times",
    "time",
    "items",
    "users",
    "history",
)


class TooLong(Exception):
    """A body of more bytes than are taken."""


@dataclass
class Service:
    """The objects that all paths share.

    Attributes:
        pool: does the jobs.
        limits: of bodies.
        telemetry: counts.
        reload: opens the bundle anew.
        may_reload: POST /-/reload is served, since a token guards it.
        held: bytes of all bodies that are read or wait.
    """

    pool: Pool
    limits: Limits
    telemetry: Telemetry
    reload: Callable[[], Any]
    may_reload: bool = False
    held: int = 0


Endpoint = Callable[[Request], Awaitable[Response]]


def application(service: Service) -> Starlette:
    """The ASGI application of a service."""
    answers = Answers(service)
    routes = [
        Route("/rank", answers.rank, methods=["POST"]),
        Route("/events", answers.events, methods=["POST"]),
        Route("/users", answers.users),
        Route("/items", answers.items),
        Route("/history", answers.history),
        Route("/", answers.about),
        Route("/healthz", answers.healthz),
        Route("/readyz", answers.readyz),
        Route("/metrics", answers.metrics),
        Route("/-/reload", answers.reload, methods=["POST"]),
        Route("/openapi.json", answers.document),
        Route("/ui", _page("ui.html")),
        Route("/docs", _page("docs.html")),
        Route("/pages/{name}", _file),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _other_path})


def paths(app: Starlette) -> set[str]:
    """The paths that the application answers."""
    return {route.path for route in app.routes if isinstance(route, Route)}


class Answers:
    """The answer of each path.

    Args:
        service: what they share.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    async def rank(self, request: Request) -> Response:
        """POST /rank."""
        head = {"kind": "rank", "explain": request.query_params.get("explain") == "1"}
        return await _job(self.service, request, head)

    async def events(self, request: Request) -> Response:
        """POST /events."""
        return await _job(self.service, request, {"kind": "events"})

    async def users(self, request: Request) -> Response:
        """GET /users."""
        return await _look_up(self.service, request, "users")

    async def items(self, request: Request) -> Response:
        """GET /items."""
        return await _look_up(self.service, request, "items")

    async def history(self, request: Request) -> Response:
        """GET /history."""
        user = request.query_params.get("user")
        if user is None:
            return _refusal(self.service, 400, "?user= is missing", "malformed")
        return await _job(self.service, request, {"kind": "history", "user": user})

    async def about(self, _: Request) -> Response:
        """GET /."""
        facts = self.service.pool.facts
        return _reply({key: facts.get(key) for key in PUBLIC})

    async def healthz(self, _: Request) -> Response:
        """GET /healthz."""
        return _reply({"alive": True})

    async def readyz(self, _: Request) -> Response:
        """GET /readyz."""
        why = self.service.pool.stuck()
        if why:
            return _reply({"ready": False, "error": why}, 503)
        return _reply({"ready": True, "version": self.service.pool.facts.get("version")})

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self.service.telemetry.text(), media_type=CONTENT_TYPE)

    async def reload(self, _: Request) -> Response:
        """POST /-/reload."""
        if not self.service.may_reload:
            words = "reload over HTTP needs a server with --token; send SIGHUP instead"
            return _refusal(self.service, 403, words, "reload without token")
        try:
            facts = await self.service.reload()
        except InputError as e:
            return _refusal(self.service, 409, f"{e}; the old bundle stays in service", "reload")
        return _reply({"version": facts["version"]})

    async def document(self, _: Request) -> Response:
        """GET /openapi.json."""
        return _reply(openapi.document(self.service.pool.facts, self.service.limits))


async def _file(request: Request) -> Response:
    """GET /pages/{name}."""
    name = request.path_params["name"]
    if name not in pages.names():
        raise HTTPException(404, "Not Found")
    return _page_response(name)


def _page(name: str) -> Endpoint:
    async def page(_: Request) -> Response:
        return _page_response(name)

    return page


def _page_response(name: str) -> Response:
    content, kind = pages.read(name)
    return Response(content, media_type=kind)


async def _other_path(request: Request, e: Exception) -> Response:
    status = getattr(e, "status_code", 404)
    words = getattr(e, "detail", "Not Found")
    return _reply({"error": f"{words}: GET /docs lists the paths"}, status)


async def _look_up(service: Service, request: Request, kind: str) -> Response:
    """Users or items whose id starts with ?q=."""
    query = request.query_params.get("q", "")
    given = request.query_params.get("limit", str(SHOWN))
    if not given.isascii() or not given.isdigit() or len(given) > 4:
        return _refusal(service, 400, "?limit= must be a small number", "malformed")
    head = {"kind": kind, "query": query, "limit": int(given)}
    return await _job(service, request, head)


async def _job(service: Service, request: Request, head: dict[str, Any]) -> Response:
    """Have a scorer answer."""
    held = 0
    try:
        body = await _within(service.limits.patience, _body(service, request))
        held = len(body)
        client = request.client.host if request.client else ""
        reply, content = await service.pool.submit(head, body, client, _gone(request))
    except TooLong:
        await _discard(request, service.limits.max_bytes)
        words = f"the request is longer than {service.limits.max_bytes:,} bytes (--max-bytes)"
        return _refusal(service, 413, words, "too long", close=True)
    except asyncio.TimeoutError:
        words = f"the request was not complete after {service.limits.patience:g} seconds"
        return _refusal(service, 408, words, "slow body", close=True)
    except Unavailable as e:
        response = _refusal(service, 503, str(e), e.reason)
        response.headers["retry-after"] = str(e.retry_after)
        return response
    except (ClientDisconnect, ClientGone):
        return _refusal(service, 499, "the client has gone", "client gone")  # nobody reads this
    finally:
        service.held -= held
    request.state.facts = reply
    service.telemetry.scored(reply)
    if "refused" in reply:
        service.telemetry.refusal(reply["refused"])
    response = Response(content, reply["status"], media_type=JSON)
    if reply["status"] == 503:
        response.headers["retry-after"] = "1"
    return response


async def _within(seconds: float, work: Any) -> Any:
    """`work`, or asyncio.TimeoutError."""
    if hasattr(asyncio, "timeout"):  # from Python 3.11; quicker, as it makes no task
        async with asyncio.timeout(seconds):
            return await work
    return await asyncio.wait_for(work, seconds)


async def _body(service: Service, request: Request) -> bytes:
    """The request's body. The bytes are counted as held until the caller lets go of them."""
    longest = service.limits.max_bytes
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > longest:
        raise TooLong
    body = bytearray()
    try:
        async for piece in request.stream():
            if service.held + len(piece) > MOST_HELD:
                raise Unavailable("memory", "too many long requests at once; try again")
            body += piece
            service.held += len(piece)
            if len(body) > longest:
                raise TooLong
    except BaseException:
        service.held -= len(body)
        raise
    return bytes(body)


async def _discard(request: Request, longest: int) -> None:
    """Read on for a moment and keep nothing: a client that still sends when the connection closes
    gets a reset in place of the answer."""

    async def read_on() -> None:
        left = DISCARDED * longest
        async for piece in request.stream():
            left -= len(piece)
            if left < 0:
                return

    with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect):
        await _within(LINGER, read_on())


def _gone(request: Request) -> Callable[[], Any]:
    """A function that returns when the client has gone; the body was read to its end."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return gone


def _reply(content: Any, status: int = 200) -> Response:
    return Response(json_text.dumps(content), status, media_type=JSON)


def _refusal(
    service: Service, status: int, words: str, reason: str, close: bool = False
) -> Response:
    """One line that says what is wrong. close: the rest of the request is not read."""
    service.telemetry.refusal(reason)
    response = _reply({"error": words}, status)
    if close:
        response.headers["connection"] = "close"
    return response
