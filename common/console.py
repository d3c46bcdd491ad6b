"""What every command does with errors, progress and JSON."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedescc.common.errors import Refusal

_PLAIN_INTERVAL_SECONDS = 5.0
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it; typer exits with it too

Advance = Callable[[], None]
OpenProgress = Callable[[str, int], AbstractContextManager[Advance]]  # as `progress`
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


def command_line(name: str, purpose: str) -> typer.Typer:
    """A command with ``--help`` and ``--version``, to which subcommands are added."""
    app = typer.Typer(
        name=name, help=purpose, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )

    @app.callback()
    def _options(
        _: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        """Options before the command."""

    return app


def run_app(app: typer.Typer) -> None:
    """Run a command: a refusal is one line on stderr and exit code 1, misuse is exit code 2, an interrupt 130.

    An error of fedescc itself is one line too, because a traceback may quote patient data; ``FEDESCC_DEBUG=1`` shows
    it. Output is UTF-8 whatever the terminal; bytes that are no text are written out (``\\xd5``).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        app()
    except Refusal as refusal:
        _end(f"refused: {' '.join(str(refusal).split())}", 1)
    except KeyboardInterrupt:
        _end("interrupted", _INTERRUPTED)
    except SystemExit as end:
        if end.code != _INTERRUPTED:
            raise
        _end("interrupted", _INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last resort of every command
        if os.environ.get("FEDESCC_DEBUG") == "1":
            traceback.print_exc()
        name = type(error).__name__
        _end(f"internal error: {name} [internal-error]; run again with FEDESCC_DEBUG=1 for details", 1)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"fedescc {version('fedescc')}")
        raise typer.Exit


def _end(line: str, code: int) -> NoReturn:
    log(line)
    sys.exit(code)


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


@contextmanager
def counting(description: str, opened: OpenProgress = progress) -> Iterator[Callable[[int, int], None]]:
    """As `progress`, for work that learns its number of steps on the way.

    The yielded function is called with (steps done, steps in all) after each step.
    """
    with ExitStack() as stack:
        bars: list[Advance] = []

        def count(_done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(opened(description, total)))
            bars[0]()

        yield count


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
