"""The server's OpenAPI document. Requests and answers are pydantic models made from the bundle's
fields.

The models describe, and clients' generators read them. Requests are checked by
paddleinterest/serving/request.py, which is ten times as fast and says what is wrong in one line; a
test holds the two against each other.
"""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    create_model,
)
from pydantic.json_schema import models_json_schema

import paddleinterest
from paddleinterest.data.schema import LATEST
from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.values import LARGEST, MOST_VALUES

Id = StrictStr | StrictInt
Category = StrictStr | StrictInt | StrictFloat | None
Number = Annotated[StrictInt | StrictFloat, Field(gt=-LARGEST, lt=LARGEST)] | None
Time = Annotated[StrictInt, Field(gt=-LATEST, lt=LATEST)]
CLOSED = ConfigDict(extra="forbid")
REF = "#/components/schemas/{model}"
JSON = "application/json"


class Candidate(BaseModel):
    """A candidate with its score. Attention and attributes come with ?explain=1."""

    place: int = Field(description="1 = best")
    item: str | int
    score: float = Field(description="click probability")
    known: bool = Field(description="the catalogue has the item")
    attention: list[float] | None = Field(None, description="one weight per event of history")
    attributes: dict[str, str] | None = None


class Answer(BaseModel):
    """The candidates of one request, best first."""

    user: str | int | None
    known_user: bool | None = Field(description="null if the request names no user")
    candidates: list[Candidate]
    history_events: int = Field(description="events of the history that were used")
    history_from: str = Field(description="request, none, or what kept them, such as sqlite+bundle")
    unknown_history: int = Field(description="used events whose item the catalogue does not have")
    unknown_values: dict[str, int] = Field(description="given values that training never saw")
    version: str = Field(description="of the bundle")
    calibration: str | None = Field(None, description="platt or isotonic, if scores are calibrated")
    history: list[dict[str, Any]] | None = Field(None, description="with ?explain=1")


class Answers(BaseModel):
    """The answers to a list of requests, in its order."""

    answers: list[Answer]


class Refusal(BaseModel):
    """An error in one line."""

    error: str


class Kept(BaseModel):
    """How many events were kept."""

    events: int


def request_model(facts: dict[str, Any]) -> type[BaseModel]:
    """The request of a bundle.

    Args:
        facts: the loader's facts of the bundle: fields, and whether it needs times.
    """
    of_event = _attributes(facts["event_fields"])
    event = _model("Event", {"item": (Id, ...), "time": (Time, 0), **of_event})
    attributes = _attributes(facts["item_attributes"])
    candidate = _model("GivenItem", {"item": (Id, ...), **attributes})
    user = _model("UserAttributes", _attributes(facts["user_attributes"]))
    context = _model("Context", _attributes(facts["context"]))
    when = "needed, as this model reads times" if facts["needs_times"] else "optional"
    history: Any = Field(default_factory=list, description="oldest first; optional with a user")
    fields: dict[str, Any] = {
        "user": (Id | None, None),
        "user_attributes": (user | None, Field(None, description="win over those that are known")),
        "time": (Time, Field(0, description=f"of the request; {when}")),
        "history": (list[Id | event], history),  # type: ignore[valid-type]
        "candidates": (list[Id | candidate], Field(min_length=1)),  # type: ignore[valid-type]
        "context": (context | None, None),
    }
    return _model("Request", fields)


def arrived_model(facts: dict[str, Any]) -> type[BaseModel]:
    """An event that the next request of its user sees. Without a time it is of now."""
    now: Any = Field(default_factory=int, description="optional; without it the event is of now")
    fields = {"user": (Id, ...), "item": (Id, ...), "time": (Time, now)}
    return _model("ArrivedEvent", {**fields, **_attributes(facts["event_fields"])})


def _attributes(kinds: dict[str, str]) -> dict[str, Any]:
    types = {
        "category": Category,
        "dense": Number,
        "several": Annotated[list[Category], Field(max_length=MOST_VALUES)] | None,
        "vector": list[Annotated[StrictInt | StrictFloat, Field(gt=-LARGEST, lt=LARGEST)]] | None,
    }
    return {name: (types[kind], None) for name, kind in kinds.items()}


def _model(name: str, fields: dict[str, Any]) -> type[BaseModel]:
    """A model; a field's name may be anything, as an alias."""
    declared: dict[str, Any] = {}
    for number, (field, (kind, default)) in enumerate(fields.items()):
        declared[f"field_{number}"] = (Annotated[kind, Field(alias=field)], default)
    made: type[BaseModel] = create_model(name, __config__=CLOSED, **declared)
    return made


def document(facts: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        facts: the loader's facts of the bundle.
        limits: of the server.
    """
    own = request_model(facts)
    models: list[type[BaseModel]] = [own, arrived_model(facts), Answer, Answers, Refusal, Kept]
    _, schemas = models_json_schema([(m, "validation") for m in models], ref_template=REF)
    body = _either("Request", limits.max_requests)
    if facts.get("example") is not None:
        body["example"] = facts["example"]
    bearer = {"type": "http", "scheme": "bearer", "description": "only with --token"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{facts['model']} on {facts['dataset']}",
            "description": "A request of raw ids in, ranked candidates out.",
            "version": paddleinterest.__version__,
        },
        "paths": {
            "/rank": {"post": _rank(body)},
            "/events": {"post": _events(limits)},
            "/history": {"get": _get("The latest events of a user", user=True)},
            "/users": {"get": _get("Users whose id starts with ?q=", lists=True)},
            "/items": {"get": _get("Items whose id starts with ?q=", lists=True)},
            "/": {"get": _get("The bundle: model, dataset, fields, version")},
            "/healthz": {"get": _get("Whether the process is alive")},
            "/readyz": {"get": _get("Whether requests are answered; 503 if not")},
            "/metrics": {"get": _get("Counts and times, for Prometheus", kind="text/plain")},
            "/-/reload": {"post": _get("Open the bundle's directory anew; needs --token")},
        },
        "components": {"schemas": schemas["$defs"], "securitySchemes": {"token": bearer}},
        "security": [{}, {"token": []}],
    }


def _either(model: str, most: int) -> dict[str, Any]:
    """A body of one model, or a list of it."""
    one = {"$ref": REF.format(model=model)}
    return {"schema": {"oneOf": [one, {"type": "array", "items": one, "maxItems": most}]}}


def _responses(success: dict[str, Any]) -> dict[str, Any]:
    refusals = {
        400: "What is wrong with the request, in one line",
        401: "The token is missing or wrong",
        403: "Not from a page of another site, and reload only with --token",
        408: "Sent too slowly",
        409: "The new bundle cannot be opened",
        413: "Too long",
        421: "Host is not a name of this server",
        500: "A bug",
        503: "Too many requests, too slow, or about to end; Retry-After says when to try again",
    }
    schema = {"$ref": REF.format(model="Refusal")}
    made = {
        str(status): {"description": words, "content": {JSON: {"schema": schema}}}
        for status, words in refusals.items()
    }
    return {"200": success, **made}


def _rank(body: dict[str, Any]) -> dict[str, Any]:
    either = [{"$ref": REF.format(model=model)} for model in ("Answer", "Answers")]
    success = {"description": "Ranked", "content": {JSON: {"schema": {"anyOf": either}}}}
    explain = _parameter("explain", {"type": "string", "enum": ["0", "1"]})
    return {
        "summary": "Rank the candidates of a request, or of a list of them",
        "parameters": [explain],
        "requestBody": {"required": True, "content": {JSON: body}},
        "responses": _responses(success),
    }


def _events(limits: Limits) -> dict[str, Any]:
    schema = {"$ref": REF.format(model="Kept")}
    success = {"description": "Kept", "content": {JSON: {"schema": schema}}}
    return {
        "summary": "Keep an event, or a list of them; needs --history sqlite:… or redis://…",
        "requestBody": {
            "required": True,
            "content": {JSON: _either("ArrivedEvent", limits.max_events)},
        },
        "responses": _responses(success),
    }


def _parameter(name: str, schema: dict[str, Any], required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _get(summary: str, user: bool = False, lists: bool = False, kind: str = JSON) -> dict[str, Any]:
    parameters = []
    if user:
        parameters.append(_parameter("user", {"type": "string"}, True))
    if lists:
        parameters.append(_parameter("q", {"type": "string"}))
        number = {"type": "integer", "minimum": 0, "maximum": 9999}
        parameters.append(_parameter("limit", number))
    success = {"description": "Found", "content": {kind: {"schema": {}}}}
    return {"summary": summary, "parameters": parameters, "responses": _responses(success)}
