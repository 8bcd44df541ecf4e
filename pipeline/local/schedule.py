"""Which steps of an execution may start: those whose dependencies have finished, in given order."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from pipeline.local.definition import Step, dependencies


class Schedule:
    """Steps are added (a condition adds its branch later), taken when ready, and finished.

    Every operation costs only what it changes: 1,000 steps are no different from ten.
    """

    def __init__(self) -> None:
        self._finished: set[str] = set()
        self._needs: dict[str, set[str]] = {}
        self._dependents: dict[str, list[Step]] = defaultdict(list)
        self._ready: deque[Step] = deque()

    def add(self, steps: Iterable[Step]) -> None:
        """Expect these steps to run."""
        for step in steps:
            needs = dependencies(step) - self._finished
            if not needs:
                self._ready.append(step)
                continue
            self._needs[step["Name"]] = needs
            for name in needs:
                self._dependents[name].append(step)

    def take(self) -> Step | None:
        """The next step that may start."""
        return self._ready.popleft() if self._ready else None

    def finish(self, name: str) -> None:
        """A step has succeeded: what waited for it alone may start."""
        self._finished.add(name)
        for step in self._dependents.pop(name, ()):
            needs = self._needs[step["Name"]]
            needs.discard(name)
            if not needs:
                del self._needs[step["Name"]]
                self._ready.append(step)
