"""Delivers the outbox: each event to its function, in order, again with back-off when it fails.

`python -m pipeline.local.delivery HOME` drains it and ends. An event is put into the outbox in the
transaction that caused it, so it survives a kill; whoever opens the account next delivers it. As
on AWS an event may arrive more than once (a kill between the call and the record of it). What no
attempt could deliver is tried once more whenever somebody opens the account, at most once a minute:
there is no schedule here that would make it good.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.local.processes import release_inherited_lock, spawn

if TYPE_CHECKING:
    from pipeline.local.account import Account

MAX_ATTEMPTS = 4
BACKOFF_S = float(os.environ.get("LOCAL_ACCOUNT_BACKOFF_S", "1"))
DEAD_PAUSE_S = 60.0
POLL_S = 0.1


def _lock(account: Account) -> Path:
    return account.home / "locks" / "delivery"


def deliver_in_background(account: Account) -> None:
    """Start the deliverer if there is something to deliver and none is at work."""
    if account.store.pending():
        spawn(
            "pipeline.local.delivery",
            [str(account.home)],
            lock=_lock(account),
            log=account.home / "logs" / "local" / "delivery.log",
        )


def deliver(account: Account) -> None:
    """Deliver until nothing is pending."""
    from pipeline.local.functions import clear, run_function

    clear(account)  # of a deliverer that was killed
    while account.store.pending():
        due = account.store.due()
        if due is None:
            time.sleep(POLL_S)
            continue
        event_id, function, event, attempts = due
        try:
            outcome = run_function(account, function, json.dumps(event).encode())
            failed = outcome.error is not None
        except Exception as error:  # an event that cannot be sent must not stop those behind it
            print(f"event {event_id} to {function}: {error}", file=sys.stderr)
            failed = True
        attempts += 1
        if not failed:
            account.store.settle(event_id, "delivered", attempts=attempts)
        elif attempts >= MAX_ATTEMPTS:
            account.store.settle(event_id, "dead", attempts=attempts, delay_s=DEAD_PAUSE_S)
        else:
            delay_s = BACKOFF_S * 2 ** (attempts - 1)
            account.store.settle(event_id, "pending", attempts=attempts, delay_s=delay_s)


def main(home: str) -> None:
    from pipeline.local.account import open_account

    account = open_account(Path(home))
    deliver(account)
    release_inherited_lock()
    # Whoever queued an event while we were about to end saw the lock held and relied on us.
    deliver_in_background(account)


if __name__ == "__main__":
    main(sys.argv[1])
