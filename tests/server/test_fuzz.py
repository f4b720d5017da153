"""Requests made up from the API's own description: none may surprise the host."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from camera_rig import wire
from camera_rig.clock import ManualClock
from camera_rig.server import create_app
from tests.server.hosted import host_of, served
from tests.support.toy_drivers import ToyLight, ToyMirror, ToyStage

TOKEN = "t" * 32
HEADERS = {"Authorization": f"Bearer {TOKEN}", wire.PROTOCOL_HEADER: str(wire.PROTOCOL)}


@pytest.mark.parametrize("kind", [ToyMirror, ToyStage, ToyLight])
def test_host_answers_as_it_says(kind):
    with host_of(kind, ManualClock()) as host:
        schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(host, TOKEN))
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) == 19
        for operation in operations:
            fuzz(operation)
        assert host.describe().serial == "far-1", "the host lives on"


def fuzz(operation) -> None:
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def run(case):
        case.headers = {**(case.headers or {}), **HEADERS}
        reply = case.call()
        assert reply.status_code != 500, reply.text
        # Status, content type and body must be as described, for every answer.
        case.validate_response(
            reply,
            checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
        )

    run()


@pytest.mark.parametrize("token", [None, "Bearer wrong", "Basic abc"])
def test_nothing_is_answered_without_the_token(tmp_path, token):
    headers = {wire.PROTOCOL_HEADER: "1"} | ({} if token is None else {"Authorization": token})
    with served(ToyMirror, tmp_path) as far, httpx.Client(headers=headers) as client:
        paths = client.get(f"{far.url}/openapi.json").json()["paths"]
        for path, operations in paths.items():
            for method in operations:
                reply = client.request(method, far.url + path)
                assert reply.status_code == 401, path
                assert set(reply.json()) == {"kind", "message", "hint"}
