"""Sums its shard, a number a step, and goes on from its checkpoint; the instance is lost at first.

Each host keeps a checkpoint of its own. The second host of the first attempt ends as one whose
instance is taken away: by SIGKILL, having got half way.
"""

import argparse
import json
import os
import signal
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--checkpoints", type=Path)
options = parser.parse_args()
host = os.environ["SM_CURRENT_HOST"]
checkpoint = options.checkpoints / f"{host}.json"
numbers = sorted(
    int(path.read_text()) for path in Path(os.environ["SM_CHANNEL_NUMBERS"]).glob("*.txt")
)
resumed = checkpoint.exists()
state = json.loads(checkpoint.read_text()) if resumed else {"done": 0, "total": 0}
for number in numbers[state["done"] :]:
    state = {"done": state["done"] + 1, "total": state["total"] + number}
    checkpoint.write_text(json.dumps(state))
    if host == "algo-2" and not resumed and state["done"] == len(numbers) // 2:
        time.sleep(0.1)
        os.killpg(0, signal.SIGKILL)
Path(os.environ["SM_MODEL_DIR"], f"{host}.json").write_text(
    json.dumps({**state, "resumed": resumed, "hosts": json.loads(os.environ["SM_HOSTS"])})
)
