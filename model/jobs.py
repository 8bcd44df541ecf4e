"""How a job's script ends: exit 0, or one line that says what is wrong and where, and exit 1."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from model.errors import ModelError, StoppedError

STOPPED = 143  # 128 + SIGTERM, as a shell reports it


def run_job(job: Callable[[], None], failure_file: Path | None = None) -> int:
    """Run `job`; its error becomes the last line on stderr and the content of `failure_file`.

    An error that this package does not know keeps its traceback on stderr, above that line.
    """
    try:
        job()
    except StoppedError as error:
        print(error, file=sys.stderr, flush=True)
        return STOPPED
    except ModelError as error:
        return _fail(str(error), failure_file)
    except OSError as error:
        return _fail(_os_error(error), failure_file)
    except MemoryError:
        return _fail("out of memory; use an instance with more, or fewer reviews", failure_file)
    return 0


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; use a larger volume"
    return f"{where}{os.strerror(error.errno) if error.errno else error}"


def _fail(message: str, failure_file: Path | None) -> int:
    line = " ".join(message.split())
    if failure_file is not None:
        try:
            failure_file.parent.mkdir(parents=True, exist_ok=True)
            failure_file.write_text(line + "\n")
        except OSError as error:
            print(f"{failure_file}: {error.strerror}", file=sys.stderr)
    print(f"error: {line}", file=sys.stderr, flush=True)
    return 1
