"""A schema registry in this process for tests and demos: the part of Confluent's REST API that its clients use.

Schemas are kept in memory. Those in Avro are checked for compatibility by Apache Avro's own checker; one in Protobuf is
a serialised file descriptor, as Confluent's Python client registers it.
"""

import base64
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import uvicorn
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException
from avro.schema import parse
from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from adapters.http_app import protected_app
from adapters.http_limits import JSON, HttpLimits
from adapters.http_server import server_config
from vedette.errors import UnavailableError

Level = Literal["NONE", "BACKWARD", "FORWARD", "FULL"]

_Body = Annotated[dict[str, Any], Body()]

_START_S = 10.0
_NUMBER = re.compile(r"[0-9]{1,9}")
_UNREADABLE = (AvroException, AttributeError, DecodeError, KeyError, RecursionError, TypeError, ValueError)
_MEDIA = "application/vnd.schemaregistry.v1+json"
_LIMITS = HttpLimits(
    body_bytes=1024 * 1024, media_types=frozenset({_MEDIA, "application/vnd.schemaregistry+json", JSON})
)


class _RefusedError(Exception):
    """An answer with an error: the HTTP status is its first three digits."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class _Registry:
    """The state, guarded by the caller's lock."""

    schemas: list[dict[str, Any]] = field(default_factory=list)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    levels: dict[str, Level] = field(default_factory=dict)
    level: Level = "BACKWARD"

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        """Return the id of a schema, which becomes the subject's latest version."""
        _check(schema)
        versions = self.subjects.get(subject, [])
        if schema in self.schemas:
            number = self.schemas.index(schema) + 1
            if number in versions:
                return number
        if versions and (why := self.incompatible(subject, schema, self.schemas[versions[-1] - 1])):
            raise _RefusedError(409, f"Schema being registered is incompatible with an earlier schema: {why}")
        if schema not in self.schemas:
            self.schemas.append(schema)
        number = self.schemas.index(schema) + 1
        self.subjects.setdefault(subject, []).append(number)
        return number

    def incompatible(self, subject: str, new: dict[str, Any], old: dict[str, Any]) -> str:
        """Return why a schema cannot follow another one in a subject, or ''."""
        level = self.levels.get(subject, self.level)
        if level == "NONE" or kind_of(new) != "AVRO":
            return ""
        pairs = {"BACKWARD": [(new, old)], "FORWARD": [(old, new)], "FULL": [(new, old), (old, new)]}[level]
        return "; ".join(filter(None, (unreadable(reader["schema"], writer["schema"]) for reader, writer in pairs)))

    def version(self, subject: str, version: str) -> tuple[int, int]:
        """Return number and id of a version."""
        versions = self.subjects.get(subject)
        if not versions:
            raise _RefusedError(40401, f"Subject '{subject}' not found.")
        number = len(versions) if version in ("latest", "-1") else int(version) if _NUMBER.fullmatch(version) else 0
        if not 1 <= number <= len(versions):
            raise _RefusedError(40402, f"Version {version} not found.")
        return number, versions[number - 1]


def unreadable(reader: str, writer: str) -> str:
    """Return why data written by one Avro schema cannot be read by another, or ''; both are JSON."""
    found = ReaderWriterCompatibilityChecker().get_compatibility(parse(reader), parse(writer))
    return "" if found.compatibility is SchemaCompatibilityType.compatible else "; ".join(found.messages)


def kind_of(schema: dict[str, Any]) -> str:
    """Return the type of a schema."""
    return str(schema.get("schemaType") or "AVRO")


def _check(schema: dict[str, Any]) -> None:
    try:
        if kind_of(schema) == "AVRO":
            parse(schema["schema"])
        elif kind_of(schema) == "PROTOBUF":
            FileDescriptorProto.FromString(base64.b64decode(schema["schema"], validate=True))
        else:
            json.loads(schema["schema"])
    except _UNREADABLE as error:
        raise _RefusedError(42201, f"Invalid schema: {error}") from error


def make_app() -> FastAPI:
    """Return the web app of an empty registry."""
    app, registry, lock = (
        protected_app(title="Schema registry", public_url="", limits=_LIMITS),
        _Registry(),
        threading.Lock(),
    )

    @app.exception_handler(_RefusedError)
    def refused(request: Request, error: _RefusedError) -> JSONResponse:
        del request
        content = {"error_code": error.code, "message": str(error)}
        return JSONResponse(content, int(str(error.code)[:3]), media_type=_MEDIA)

    @app.get("/subjects")
    def subjects() -> list[str]:
        return sorted(registry.subjects)

    @app.post("/subjects/{subject}/versions")
    def register(subject: str, body: _Body) -> dict[str, Any]:
        schema = _schema(body)
        with lock:
            number = registry.register(subject, schema)
            return {"id": number, **schema}

    @app.post("/subjects/{subject}")
    def look_up(subject: str, body: _Body) -> dict[str, Any]:
        schema = _schema(body)
        for version, number in enumerate(registry.subjects.get(subject, []), start=1):
            if registry.schemas[number - 1] == schema:
                return {"subject": subject, "version": version, "id": number, **schema}
        if subject not in registry.subjects:
            raise _RefusedError(40401, f"Subject '{subject}' not found.")
        raise _RefusedError(40403, "Schema not found")

    @app.get("/subjects/{subject}/versions")
    def versions(subject: str) -> list[int]:
        registry.version(subject, "latest")
        return list(range(1, len(registry.subjects[subject]) + 1))

    @app.get("/subjects/{subject}/versions/{version}")
    def of_version(subject: str, version: str) -> dict[str, Any]:
        number, schema_id = registry.version(subject, version)
        return {"subject": subject, "version": number, "id": schema_id, **registry.schemas[schema_id - 1]}

    _add_reading(app, registry)
    return app


def _add_reading(app: FastAPI, registry: _Registry) -> None:
    """Add the routes by which consumers find schemas, and those of compatibility."""

    @app.get("/schemas/ids/{number}")
    def by_id(number: int) -> dict[str, Any]:
        if not 1 <= number <= len(registry.schemas):
            raise _RefusedError(40403, f"Schema {number} not found")
        return registry.schemas[number - 1]

    @app.post("/compatibility/subjects/{subject}/versions/{version}")
    def compatible(subject: str, version: str, body: _Body) -> dict[str, Any]:
        _, schema_id = registry.version(subject, version)
        schema = _schema(body)
        _check(schema)
        why = registry.incompatible(subject, schema, registry.schemas[schema_id - 1])
        return {"is_compatible": not why, "messages": [why] if why else []}

    @app.get("/config")
    def level() -> dict[str, str]:
        return {"compatibilityLevel": registry.level}

    @app.put("/config/{subject}")
    def set_level(subject: str, compatibility: Annotated[Level, Body(embed=True)]) -> dict[str, str]:
        registry.levels[subject] = compatibility
        return {"compatibility": compatibility}


def _schema(body: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a schema of a request."""
    return {key: body[key] for key in ("schema", "schemaType", "references") if body.get(key)}


class SchemaRegistry:
    """A registry on a port of 127.0.0.1, as a context manager.

    Args:
        port: The port; 0 takes a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = uvicorn.Server(server_config(make_app()))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), name="schema-registry")

    def __enter__(self) -> Self:
        self._thread.start()
        waiting = threading.Event()
        for _ in range(round(_START_S / 0.01)):
            if self._server.started:
                return self
            waiting.wait(0.01)
        raise UnavailableError(f"the schema registry does not start at {self.url}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
