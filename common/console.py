"""What every command does with errors, progress and JSON."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedescc.common.errors import Refusal

_PLAIN_INTERVAL_SECONDS = 5.0

Advance = Callable[[], None]


def run_app(app: typer.Typer) -> None:
    """Run a command: a refusal is one line on stderr and exit code 1, misuse is exit code 2."""
    try:
        app()
    except Refusal as refusal:
        sys.stderr.write(f"refused: {' '.join(str(refusal).split())}\n")
        sys.exit(1)


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout; NaN and infinity are programming errors, never output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def log(line: str) -> None:
    """A line for the person watching, on stderr, so that stdout stays free for results."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """A progress bar on a terminal, a plain log line every few seconds elsewhere.

    Args:
        description: what is being done, in a few words.
        total: number of steps; the yielded function is called once a step.

    """
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(description, total=total)
            yield lambda: bar.advance(task)
    else:
        yield _plain(description, total)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _plain(description: str, total: int) -> Advance:
    done, said = 0, time.monotonic()

    def advance() -> None:
        nonlocal done, said
        done += 1
        if done == total or time.monotonic() - said >= _PLAIN_INTERVAL_SECONDS:
            said = time.monotonic()
            log(f"{description}: {done}/{total}")

    return advance
