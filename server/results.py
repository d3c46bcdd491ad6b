"""JSON files of a run: written whole or not at all, and read back."""

import json
from pathlib import Path
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the whole new one; NaN is refused by the encoder."""
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text.encode())


def read_results(folder: Path) -> dict[str, Any]:
    """The results of a run.

    Raises:
        Refusal: the folder holds none, or the file is damaged.

    """
    return read_json(folder / "results.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a run has written.

    Raises:
        Refusal: there is none, or the file is damaged.

    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal(
            "no-results", f"no readable {path.name} in {path.parent}", "give the folder of a finished run"
        ) from error
    if not isinstance(document, dict):
        raise Refusal("no-results", f"{path} is not a results document", "give the folder of a finished run")
    return document
