"""How many requests are taken a second: what the stage's throttle does on AWS. Only for serving on
this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

# The stage's own are in template.yaml.
RATE_PER_S = 50.0
BURST = 50


class Throttle:
    """A bucket of tokens, one a request, filled at a steady rate; what API Gateway uses.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html
    """

    def __init__(
        self,
        rate_per_s: float = RATE_PER_S,
        burst: int = BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()

    def take(self) -> bool:
        """Whether one more request may come in now."""
        now = self._clock()
        gained = (now - self._filled_at) * self._rate_per_s
        self._tokens, self._filled_at = min(float(self._burst), self._tokens + gained), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
