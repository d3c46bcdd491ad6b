"""A run's folder: whose it is, so that a run goes on where it was stopped and never into another's results.

``run.json`` holds the run's random id and everything that decides its results. Beside it lie ``folds/NAME/`` with each
fold's ``results.json``, ``model.safetensors`` and what its rounds need to go on.
"""

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically

RUN = "run.json"
FOLDS = "folds"
RESULTS = "results.json"
MODEL = "model.safetensors"
_REPORT = "report.html"
_OURS = (RUN, RESULTS, MODEL, _REPORT)


def claim(out: Path, settings: dict[str, Any]) -> str:
    """The id of the run in ``out``: a new one, or that of the same run, stopped before its end or finished.

    Args:
        out: made when absent.
        settings: JSON values that decide the run's results.

    Raises:
        Refusal: ``other-run``, when ``out`` holds anything of a run with other settings; ``unwritable-folder``.

    """
    make_folder(out)
    wanted = json.loads(json.dumps(settings))
    found = _read(out / RUN)
    if found is None:
        if any((out / name).exists() for name in (*_OURS, FOLDS)):
            raise _other(out, "results of an unknown run")
        run = secrets.token_hex(8)
        write_atomically(out / RUN, json.dumps({"run": run, "settings": wanted}, indent=2, sort_keys=True).encode())
        return run
    if found.get("settings") != wanted:
        raise _other(out, f"a run with other settings ({_difference(found.get('settings'), wanted)})")
    return str(found["run"])


def discard(out: Path) -> None:
    """Remove what a run has left in ``out``, and nothing else; that it was a run goes last."""
    shutil.rmtree(out / FOLDS, ignore_errors=True)
    for name in reversed(_OURS):
        (out / name).unlink(missing_ok=True)


def make_folder(out: Path) -> None:
    """The folder for results, made when absent.

    Raises:
        Refusal: it cannot be made.

    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(
            "unwritable-folder", f"cannot make {out}: {type(error).__name__}", "give another --out"
        ) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "run" in document else None


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "unreadable"
    return ", ".join(key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key))


def _other(out: Path, what: str) -> Refusal:
    return Refusal("other-run", f"{out} holds {what}", "give another --out, or --fresh to discard what is there")
