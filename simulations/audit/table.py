"""The audit as the table a simulation ends with: the worst difference of each group, and each figure that failed."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_MOST_FAILED = 20


def print_audit(audit: Mapping[str, Any], console: Console) -> None:
    """Print the table, one line for each figure that failed, and what was not audited by its reason."""
    table = Table(title="audit: every figure again on the pooled patients")
    for name in ("group", "figures", "worst difference", "tolerance", ""):
        table.add_column(name, justify="right" if name in {"figures", "worst difference", "tolerance"} else "left")
    for name, group in audit["groups"].items():
        table.add_row(name, *_cells(group))
    console.print(table)
    failed = [figure for figure in audit["figures"] if not figure["passed"]]
    for figure in failed[:_MOST_FAILED]:
        console.print(Text(f"audit failed: {_in_words(figure)}", style="bold"), soft_wrap=True)
    if len(failed) > _MOST_FAILED:
        console.print(Text(f"audit failed: {len(failed) - _MOST_FAILED} more, see results.json", style="bold"))
    if not audit["figures"]:
        console.print(Text("audit failed: nothing could be recomputed", style="bold"))
    if audit["not_audited"]:
        console.print(Text(f"not audited: {_reasons(audit['not_audited'])}"), soft_wrap=True)


def _cells(group: Mapping[str, Any]) -> tuple[str, ...]:
    worst = "-" if group["difference"] is None else f"{abs(group['difference']):.1e}"
    verdict = f"{group['failed']} FAILED" if group["failed"] else "passed"
    return str(group["figures"]), worst, f"{group['tolerance']:.1e}", verdict


def _in_words(figure: Mapping[str, Any]) -> str:
    pooled = "undefined" if figure["pooled"] is None else f"{figure['pooled']:.9g}"
    return f"{figure['figure']} is {figure['federated']:.9g}, on the pooled patients {pooled}"


def _reasons(skipped: Mapping[str, str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(skipped.values()).items())
