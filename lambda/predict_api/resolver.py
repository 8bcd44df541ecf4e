"""Powertools' HTTP API resolver, made safe for several requests at a time.

On Lambda a process answers one request at a time, and Powertools keeps that request in class
attributes. Locally many are answered by threads of one process, which must not see each other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.api_gateway import Router


@dataclass
class Request:
    """One request while it is answered; `context` is what routes and handlers note about it."""

    event: Any = None
    lambda_context: Any = None
    context: dict[str, Any] = field(default_factory=dict)


class Resolver(APIGatewayHttpResolver):
    """Answers from any number of threads."""

    def __init__(self, router: Router, strip_prefixes: list[Any]) -> None:
        self._request: ContextVar[Request] = ContextVar("request")
        self._outside = Request()
        # debug prints whole events, reviews and all, and an environment variable would turn it on
        super().__init__(strip_prefixes=strip_prefixes, debug=False)
        self.include_router(router)
        self.routes = self._static_routes + self._dynamic_routes
        # A route builds its middleware at its first request, and two first requests at once would
        # build it twice over.
        for route in self.routes:
            route._build_middleware_stack(self._router_middlewares, self)

    def answer(
        self, event: Mapping[str, Any], lambda_context: Any, context: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The answer to API Gateway, and the context as the request left it."""
        request = Request(self._to_proxy_event(dict(event)), lambda_context, context)
        token = self._request.set(request)
        try:
            return self._build_response(self._resolve()), request.context
        finally:
            self._request.reset(token)

    # Powertools sets these three while it is being made, and calls them attributes

    @property
    def current_event(self) -> Any:
        return self._now.event

    @current_event.setter
    def current_event(self, event: Any) -> None:
        self._now.event = event

    @property
    def lambda_context(self) -> Any:
        return self._now.lambda_context

    @lambda_context.setter
    def lambda_context(self, lambda_context: Any) -> None:
        self._now.lambda_context = lambda_context

    @property
    def context(self) -> dict[str, Any]:
        return self._now.context

    @context.setter
    def context(self, context: dict[str, Any]) -> None:
        self._now.context = context

    def _push_processed_stack_frame(self, frame: str) -> None:
        """Powertools' debugging aid, shared by all requests and long since off."""

    @property
    def _now(self) -> Request:
        return self._request.get(self._outside)
