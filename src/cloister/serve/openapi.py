"""The service's own description (OpenAPI 3.1), at /openapi.json: what each endpoint takes, every status it gives."""

from collections.abc import Sequence
from typing import Any, Final

from cloister import __version__
from cloister.broker.provision_forms import FORMS, JSON
from cloister.serve.veraison import DISCOVERY_TYPE, MEDIA_TYPES, SESSION_TYPE

__all__ = ["openapi"]

Document = dict[Any, Any]
"""JSON, but that statuses may be numbers."""
PROBLEM: Final = "application/problem+json"
TEXT: Final[Document] = {"type": "string"}
PART: Final = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"
TOO_LARGE: Final = {408: "too slow", 413: "too large"}


def openapi(*, verifier: bool, broker: bool, kbs: bool) -> Document:
    """The document for a service with these parts."""
    paths = common()
    if kbs:
        paths |= attestation()
    if verifier:
        paths |= challenge_response()
    if broker:
        paths |= resources() | administration() | sessions()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cloister",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": SECURITY},
    }


SECURITY: Final[Document] = {
    "administrator": {"type": "http", "scheme": "bearer"},
    "passport": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "session": {"type": "apiKey", "in": "cookie", "name": "kbs-session-id"},
    "signature": {"type": "apiKey", "in": "header", "name": "cloister-signature"},
}
SCHEMAS: Final[Document] = {
    "Problem": {
        "type": "object", "required": ["type", "title", "status"],
        "properties": {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT},
    },
    "ErrorInformation": {
        "type": "object", "required": ["type", "detail"], "properties": {"type": TEXT, "detail": TEXT},
    },
    "Request": {
        "type": "object", "required": ["version", "tee", "extra-params"],
        "properties": {"version": {"const": "0.4.0"}, "tee": TEXT, "extra-params": {}},
    },
    "Challenge": {
        "type": "object", "required": ["nonce", "extra-params"], "properties": {"nonce": TEXT, "extra-params": TEXT},
    },
    "Attestation": {
        "type": "object", "required": ["runtime-data", "tee-evidence"],
        "properties": {
            "init-data": {
                "type": ["object", "null"], "required": ["format", "body"],
                "properties": {"format": {"const": "toml"}, "body": TEXT},
            },
            "runtime-data": {
                "type": "object", "required": ["nonce", "tee-pubkey"],
                "properties": {"nonce": TEXT, "tee-pubkey": {"type": "object"}},
            },
            "tee-evidence": {
                "type": "object", "required": ["primary_evidence", "additional_evidence"],
                "properties": {"primary_evidence": {"type": ["object", "array"]}, "additional_evidence": TEXT},
            },
        },
    },
    "Token": {"type": "object", "required": ["token"], "properties": {"token": TEXT}},
    "Jwe": {
        "type": "object", "required": ["protected", "encrypted_key", "ciphertext"], "additionalProperties": False,
        "properties": dict.fromkeys(("protected", "encrypted_key", "iv", "ciphertext", "tag"), TEXT),
    },
    "RootReport": {
        "type": "object", "required": ["report"], "additionalProperties": False,
        "properties": {"report": {"type": "string", "contentEncoding": "base64"}},
    },
    "RootAcknowledged": {
        "type": "object", "required": ["acknowledged"],
        "properties": {"acknowledged": {"type": "string", "contentEncoding": "base64"}},
    },
    "Session": {
        "type": "object", "required": ["nonce", "expiry", "accept", "status"],
        "properties": {
            "nonce": TEXT, "expiry": {"type": "string", "format": "date-time"},
            "accept": {"type": "array", "items": TEXT}, "status": {"enum": ["waiting", "complete"]},
            "evidence": {"type": "object"}, "result": TEXT,
        },
    },
    "Rule": {
        "type": "object", "required": ["measurements"], "additionalProperties": False,
        "properties": {
            "measurements": {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}},
            "anchors": {"type": "array", "items": {"enum": ["hardware", "owner", "software", "testing"]}},
        },
    },
    "Put": {
        "type": "object", "required": ["value", "release"], "additionalProperties": False,
        "properties": {
            "value": {"type": "string", "contentEncoding": "base64"},
            "release": {"$ref": "#/components/schemas/Rule"}, "expires": {"type": "string", "format": "date-time"},
        },
    },
    "SessionUpdate": {
        "type": "object", "required": ["session"], "additionalProperties": False,
        "properties": {"session": TEXT, "approvals": {"type": "array", "items": {"type": "object"}}},
    },
    "SessionRotation": {
        "type": "object", "required": ["rotate"], "additionalProperties": False,
        "properties": {"rotate": {
            "type": "array", "items": TEXT, "minItems": 1, "maxItems": 64, "uniqueItems": True,
        }},
    },
    "SessionState": {
        "type": "object", "required": ["name", "number", "sha256", "created", "creator"],
        "properties": {
            "name": TEXT, "number": {"type": "integer"}, "sha256": TEXT, "creator": {"type": ["string", "null"]},
            "created": {"type": "string", "format": "date-time"}, "session": {"type": "object"},
            "rotated": {"type": "array", "items": TEXT},
        },
    },
    "RequestChallenge": {
        "type": "object", "required": ["challenge", "expires"],
        "properties": {"challenge": TEXT, "expires": {"type": "string", "format": "date-time"}},
    },
    "Rotate": {
        "type": "object", "required": ["value"], "additionalProperties": False,
        "properties": {"value": {"type": "string", "contentEncoding": "base64"}},
    },
    "Version": {
        "type": "object", "required": ["name", "version", "release", "created"],
        "properties": {"name": TEXT, "version": {"type": "integer"}, "release": {"$ref": "#/components/schemas/Rule"}},
    },
    "Versions": {
        "type": "object", "required": ["secrets"],
        "properties": {"secrets": {"type": "array", "items": {"$ref": "#/components/schemas/Version"}}},
    },
}  # fmt: skip


def content(schema: str, media_type: str = "application/json") -> Document:
    """A body of one of the schemas."""
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def answers(success: Document, *, error: str = PROBLEM, **refusals: str) -> Document:
    """Responses: those of success, and refusals by status, `_401="not attested"`."""
    shape = content("Problem", PROBLEM) if error == PROBLEM else content("ErrorInformation")
    made = {name[1:]: {"description": text, "content": shape} for name, text in refusals.items()}
    return {str(status): answer for status, answer in success.items()} | made


def success(text: str, schema: str = "", media_type: str = "application/json") -> Document:
    """One response."""
    return {"description": text, **({"content": content(schema, media_type)} if schema else {})}


def body(schema: str) -> Document:
    """A request's body."""
    return {"required": True, "content": content(schema)}


def parts(*names: str, pattern: str = "") -> list[Document]:
    """Parameters in the path."""
    schema = TEXT | ({"pattern": pattern} if pattern else {"minLength": 1})
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def common() -> Document:
    """Health, counters, this document."""
    return {
        "/healthz": {"get": {"responses": answers({200: success("it works")}, _503="the database does not answer")}},
        "/metrics": {"get": {"responses": {"200": {"description": "for Prometheus", "content": {"text/plain": {}}}}}},
        "/openapi.json": {"get": {"responses": {"200": {"description": "this", "content": {"application/json": {}}}}}},
    }


def attestation() -> Document:
    """The KBS protocol, first half."""
    refused = {"error": "kbs", "_400": "malformed", "_401": "not attested", "_408": "too slow", "_413": "too large"}
    return {
        "/kbs/v0/auth": {"post": {
            "requestBody": body("Request"), "responses": answers({200: success("a challenge", "Challenge")}, **refused),
        }},
        "/kbs/v0/attest": {"post": {
            "security": [{"session": []}], "requestBody": body("Attestation"),
            "responses": answers({200: success("a result", "Token")}, _503="could not decide", **refused),
        }},
    }  # fmt: skip


def resources() -> Document:
    """The KBS protocol, second half."""
    refused = {"_400": "malformed", "_401": "not attested", "_403": "denied", "_404": "no such", "_503": "not decided"}
    return {
        "/kbs/v0/resource/{repository}/{type}/{tag}": {"get": {
            "security": [{"session": []}, {"passport": []}],
            "parameters": parts("repository", "type", "tag", pattern=PART),
            "responses": answers({200: success("the secret, for the attested key", "Jwe")}, error="kbs", **refused),
        }},
        "/cloister/v1/provision/{service}/{session}": {"get": {
            "security": [{"session": []}, {"passport": []}],
            "parameters": [*parts("service", "session"), {
                "name": "format", "in": "query", "schema": {"enum": [*FORMS], "default": JSON},
            }],
            "responses": answers({200: success("all that the service gets, for the attested key", "Jwe")}, **refused),
        }},
        "/cloister/v1/roots/{session}": {"post": {
            "parameters": parts("session"), "requestBody": body("RootReport"),
            "responses": answers(
                {200: success("kept", "RootAcknowledged")}, _408="too slow", _413="too large", **refused
            ),
        }},
    }  # fmt: skip


def challenge_response() -> Document:
    """Veraison's API."""
    found = success("the session", "Session", SESSION_TYPE)
    query = [
        {"name": "nonceSize", "in": "query", "schema": {"type": "integer", "minimum": 8, "maximum": 64}},
        {"name": "nonce", "in": "query", "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{11,86}={0,2}$"}},
    ]
    binary = {"schema": {"type": "string", "format": "binary"}}
    evidence = {"required": True, "content": {one: {} if one.endswith("+json") else binary for one in MEDIA_TYPES}}
    session = parts("session")
    return {
        "/challenge-response/v1/newSession": {"post": {
            "parameters": query, "responses": answers({201: found}, _400="malformed", _406="not acceptable"),
        }},
        "/challenge-response/v1/session/{session}": {
            "parameters": session,
            "get": {"responses": answers({200: found}, _404="no such", _406="not acceptable", _503="not decided")},
            "post": {"requestBody": evidence, "responses": answers(
                {200: found}, _400="malformed", _401="not authentic", _404="no such", _408="too slow",
                _409="complete already", _413="too large", _415="of a type that is not verified", _503="not decided",
            )},
            "delete": {"responses": answers({204: success("deleted")}, _404="no such", _503="not decided")},
        },
        "/.well-known/veraison/verification": {"get": {"responses": answers(
            {200: {"description": "media types, endpoints, key", "content": {DISCOVERY_TYPE: {}}}},
            _406="not acceptable",
        )}},
    }  # fmt: skip


ADMINISTRATOR: Final[Document] = {"administrator": []}
REFUSED: Final = {
    "_400": "malformed", "_401": "the token or signature is missing or wrong", "_403": "revoked, or not allowed",
    "_404": "no such", "_408": "too slow", "_413": "too large", "_503": "not decided",
}  # fmt: skip


def operation(answer: Document, schema: str = "", *, security: Sequence[Document] = (ADMINISTRATOR,)) -> Document:
    """One that takes a body of a schema, or none."""
    given = {"requestBody": body(schema)} if schema else {}
    return {"security": [*security], "responses": answers(answer, **REFUSED), **given}


def administration() -> Document:
    """For the administrator."""
    one = parts("repository", "type", "tag", pattern=PART)
    name = "/admin/v1/secrets/{repository}/{type}/{tag}"
    return {
        "/admin/v1/secrets": {"get": operation({200: success("every version", "Versions")})},
        name: {
            "parameters": one, "put": operation({201: success("stored", "Version")}, "Put"),
            "get": operation({200: success("its versions", "Versions")}),
        },
        f"{name}/rotate": {"parameters": one, "post": operation({201: success("stored", "Version")}, "Rotate")},
        f"{name}/revoke": {"parameters": one, "post": operation({200: {"description": "revoked"}})},
        "/admin/v1/log/checkpoint": {
            "parameters": [{"name": "worker", "in": "query", "schema": {"type": "integer", "minimum": 0}}],
            "get": operation({200: {"description": "the head of a worker's audit log, signed; 0 if none is named"}}),
        },
    }  # fmt: skip


def sessions() -> Document:
    """For the administrator and the owners of sessions."""
    owner: Document = {"signature": []}
    owners: list[Document] = [ADMINISTRATOR, owner, ADMINISTRATOR | owner]
    state = success("as it is in effect", "SessionState")
    return {
        "/admin/v1/sessions": {"get": operation({200: success("every session")})},
        "/admin/v1/sessions/{name}": {
            "parameters": parts("name"), "get": operation({200: state}, security=[{}, *owners]),
            "put": operation({201: state}, "SessionUpdate", security=owners),
            "post": operation({200: state}, "SessionRotation", security=owners),
            "delete": operation({200: success("revoked")}, security=owners),
        },
        "/cloister/v1/challenge": {"post": {"responses": {
            "200": success("for one signed request", "RequestChallenge"),
        }}},
    }  # fmt: skip
