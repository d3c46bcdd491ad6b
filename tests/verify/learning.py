"""What the federation learns, against a ceiling that is known, on seeds 0 to 5; sites held out on the first three.

Resumable: what lies in ``out/verify/learning`` already is not run again. Run: make verify
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from learning_document import as_markdown, as_page, as_point, measured, reached
from learning_runs import CURVE_FACTORS, Seed

from fedescc.server.results import write_json

SEEDS = (0, 1, 2, 3, 4, 5)
HELD_OUT_SEEDS = 3  # of which every site is held out once, five runs each
REMARKS = "## Reading it"


def main(out: Path, document: Path) -> int:
    """Run what is missing, write the document, return 1 if a goal is missed."""
    seeds = [Seed(seed, out / f"seed-{seed}") for seed in SEEDS]
    mains = [_once(seed.folder / "main.json", seed.main) for seed in seeds]
    unseen = [_once(seed.folder / "loso.json", seed.leave_one_out) for seed in seeds[:HELD_OUT_SEEDS]]
    rows = [measured(one, two) for one, two in zip_longest(mains, unseen)]
    first = seeds[0]
    curve = [_once(first.folder / f"times-{f:g}.json", partial(first.curve, f)) for f in CURVE_FACTORS]
    curve = sorted([*curve, as_point(mains[0])], key=lambda point: point["factor"])
    document.write_text(as_markdown(mains, rows, curve, _remarks(document)), encoding="utf-8")
    (out / "learning.html").write_text(as_page(rows, curve), encoding="utf-8")
    sys.stdout.write(document.read_text(encoding="utf-8"))
    return 0 if reached(rows) else 1


def _once(path: Path, measure: Callable[[], Any]) -> Any:
    if not path.exists():
        found = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    return json.loads(path.read_text(encoding="utf-8"))


def _remarks(document: Path) -> str:
    """What a person wrote at the document's end, which is kept."""
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    return REMARKS + text.partition(REMARKS)[2] if REMARKS in text else ""


if __name__ == "__main__":
    sys.exit(main(Path("out/verify/learning"), Path("docs/verification/learning.md")))
