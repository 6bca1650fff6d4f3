"""How a client in Python tells the suite `clients` of its checks: one JSON object a line, as `tests/src/clients/report.rs` reads
them. Words on the command line select checks by parts of their names, or leave them out when they begin with a dash."""

import json
import sys
import traceback

IMAGE = "bb:latest"
_checks = []
# Libraries may print; the report has standard output for itself.
_report, sys.stdout = sys.stdout, sys.stderr


def check(function):
    """Marks a function as a check; its name is the check's, and its order in the file the order of the run."""
    _checks.append(function)
    return function


def _tell(**line):
    print(json.dumps(line), file=_report, flush=True)


def run(*arguments):
    """Makes all checks that the command line asks for."""
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    left_out = [word[1:] for word in sys.argv[1:] if word.startswith("-")]
    for function in _checks:
        name = function.__name__
        if wanted and not any(word in name for word in wanted) or any(word in name for word in left_out):
            continue
        _tell(begin=name)
        try:
            function(*arguments)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[1:2]
            where = "".join(f"line {frame.lineno}: {frame.line}\n" for frame in place)
            _tell(failed=name, why=f"{where}{type(error).__name__}: {error}")
        else:
            _tell(ok=name)
    _tell(done=True)


def same(what, got, want):
    """Fails unless both are equal, showing both."""
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, expected {want!r}")
