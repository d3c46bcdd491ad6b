"""The evaluation issue's figures: federated metrics against the pooled patients, and coverage of every interval.

Resumable: what lies in ``out/verify/evaluation`` already is not simulated again. Run: make verify
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from evaluation_document import as_markdown, plot
from evaluation_pooled import simulate_pooled
from evaluation_scores import HARDER, SETTINGS
from evaluation_sites import FEDERATIONS, simulate_sites
from evaluation_summary import GOALS, Summary, summarise

from fedescc.common.console import progress
from fedescc.common.files import write_atomically

SIMULATIONS = 2000
REMARKS = "## Reading it"


def main(out: Path, document: Path) -> int:
    """Simulate what is missing, write the document and the plot, return 1 if a goal is missed."""
    out.mkdir(parents=True, exist_ok=True)
    pooled = {one.name: _once(out, one.name, partial(simulate_pooled, one)) for one in (*SETTINGS, *HARDER)}
    sites = {one.name: _once(out, one.name, partial(simulate_sites, one)) for one in FEDERATIONS}
    seconds = sum(one["seconds"] for one in (*pooled.values(), *sites.values()))
    text = as_markdown(pooled, sites, seconds, _remarks(document))
    document.write_text(text, encoding="utf-8")
    plot(pooled, sites, out / "coverage.svg")
    sys.stdout.write(text)
    asked = [pooled[setting.name] for setting in SETTINGS]
    return 0 if all(goal.reached(summary) for goal in GOALS for summary in asked) else 1


def _once(out: Path, name: str, simulate: Callable[[int], dict[str, Any]]) -> Summary:
    path = out / f"{name.replace(' ', '-').replace(',', '')}.json"
    if not path.exists():
        start = time.perf_counter()
        with progress(name, SIMULATIONS) as advance, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # statsmodels on fits that are all but separated
            rows = []
            for number in range(SIMULATIONS):
                rows.append(simulate(number))
                advance()
        summary = {**summarise(rows), "seconds": time.perf_counter() - start}
        write_atomically(path, json.dumps(summary, indent=2).encode())
    found: Summary = json.loads(path.read_text(encoding="utf-8"))
    return found


def _remarks(document: Path) -> str:
    """What a person wrote at the document's end, which is kept."""
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    return REMARKS + text.partition(REMARKS)[2] if REMARKS in text else ""


if __name__ == "__main__":
    sys.exit(main(Path("out/verify/evaluation"), Path("docs/verification/evaluation.md")))
