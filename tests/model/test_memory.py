import subprocess
import sys

import pytest

SCRIPT = """
import random, resource, sys
from concurrent.futures import ThreadPoolExecutor
import torch
from model.memory import keep_freed_memory

chance = random.Random(1)

def step(_):
    [torch.empty(chance.randrange(1, 20) << 16).fill_(1) for _ in range(12)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("another C library")
with ThreadPoolExecutor(1) as pool:  # threads have heaps of their own, which shrink sooner
    list(pool.map(step, range(60)))
    before = faults()
    list(pool.map(step, range(100)))
    print(faults() - before)
"""


def faults(how: str) -> int:
    """Pages that a hundred steps, each of a dozen tensors of odd sizes, ask the system for."""
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=False
    )
    if done.returncode and "another C library" in done.stderr:
        pytest.skip("there is no glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_pages_that_were_freed_are_not_asked_for_again() -> None:
    assert faults("keep") * 10 < faults("give back")
