"""Named checks with one line each, and the suite's verdict."""

import os
import sys
import traceback

_counts = {"passed": 0, "failed": 0}


def passed(name):
    """Counts a success."""
    _counts["passed"] += 1
    print(f"ok    {name}", flush=True)


def failed(name, why):
    """Counts a failure."""
    _counts["failed"] += 1
    print(f"FAIL  {name}: {str(why)[:600]}", flush=True)


def _why(error):
    """The error in one line, with the line of the suite that it came from."""
    suite = [frame for frame in traceback.extract_tb(error.__traceback__) if "suites" in frame.filename]
    line = f" (line {suite[-1].lineno}: {suite[-1].line})" if suite else ""
    return f"{type(error).__name__} {' | '.join(str(error).splitlines())}{line}"


def check(name, body, *args):
    """Runs `body`; returns what it returned, or None if it raised."""
    try:
        value = body(*args)
    except Exception as error:  # a suite reports every failure and goes on
        failed(name, _why(error))
        return None
    passed(name)
    return value


async def check_async(name, awaitable):
    """The same for a coroutine."""
    try:
        value = await awaitable
    except Exception as error:  # a suite reports every failure and goes on
        failed(name, _why(error))
        return None
    passed(name)
    return value


def finish():
    """Prints the verdict and exits."""
    print(f"{_counts['passed']} passed, {_counts['failed']} failed", flush=True)
    sys.stdout.flush()
    os._exit(0 if _counts["failed"] == 0 and _counts["passed"] > 0 else 1)


def setting(name):
    """An environment variable that e2e/run sets."""
    value = os.environ.get(name)
    if not value:
        print(f"{name} is not set: run this suite with e2e/run")
        sys.exit(2)
    return value
