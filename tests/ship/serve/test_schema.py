"""Requests made from the server's own description, by schemathesis: none ends in a server error or an odd status."""

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance


def explore(server: Any, examples: int) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    checks = (not_a_server_error, status_code_conformance, response_schema_conformance)
    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=examples, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        def ask(case: schemathesis.Case) -> None:
            if "version" in (case.path_parameters or {}):
                case.path_parameters["version"] = server.version
            case.call_and_validate(checks=list(checks), timeout=20)

        ask()


def test_r40_a_look_at_every_operation(start: Callable[..., Any]) -> None:
    explore(start().wait(), examples=5)


@pytest.mark.slow
def test_r40_five_hundred_requests_an_operation(start: Callable[..., Any]) -> None:
    explore(start().wait(), examples=500)
