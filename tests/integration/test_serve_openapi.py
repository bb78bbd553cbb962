"""The service against its own description: whatever fits it, and much that does not, gets an answer that it lists."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.services.key_broker import Desk, desk, snp_attester

from cloister.serve.openapi import openapi
from cloister.serve.veraison import MEDIA_TYPES

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
TRANSPORT = {404, 405, 408, 413}
"""What a path or method that is none gets; the description does not repeat it everywhere."""


@pytest.fixture(scope="module")
def at_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk(tmp_path_factory.mktemp("openapi"), snp_attester()) as made:
        made.store_secret()
        yield made


DOCUMENT = openapi(verifier=True, broker=True, kbs=True)
for media_type in MEDIA_TYPES:
    if not media_type.endswith("+json"):
        schemathesis.serializer.alias(media_type, "application/octet-stream")
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


def test_the_document_is_served_as_it_is(at_desk: Desk) -> None:
    served = at_desk.client.get("/openapi.json").json()
    assert served["paths"].keys() == DOCUMENT["paths"].keys()
    assert served["openapi"] == "3.1.0"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("as_administrator", [False, True])
@SCHEMA.parametrize()
@settings(
    max_examples=25, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck), deadline=None
)
def test_nothing_makes_it_fail(at_desk: Desk, case: Any, *, as_administrator: bool) -> None:
    headers = {"authorization": f"Bearer {at_desk.token}"} if as_administrator else {}
    response = case.call(base_url=str(at_desk.client.base_url), headers=headers)
    assert response.status_code < 500 or response.status_code == 503, at_desk.log.getvalue()[-600:]
    if response.status_code not in TRANSPORT:
        case.validate_response(response, checks=CHECKS)
