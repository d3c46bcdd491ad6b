"""``scenarios.md``: one table a measure, strategies down, heterogeneity across."""

from collections.abc import Callable, Sequence
from typing import Any

from fedescc.simulations.scenarios.summary import MEASURES, best

_ROUNDS = "rounds until the validation loss stays within .01 of the last"


def as_markdown(document: dict[str, Any]) -> str:
    """The tables of a sweep as Markdown; the best strategy of a column is bold."""
    parts = ["# Strategies under heterogeneity", _setting(document), reading(document)]
    parts += [_section(words, _measure(document, key)) for key, words in MEASURES.items()]
    parts += [
        _section(_ROUNDS, _plain(document, "rounds_to_settle")),
        _section("seconds a federation", _plain(document, "seconds")),
        _section("heterogeneity", _kinds(document)),
        _section("settings", _settings(document)),
        _section("failed", _failures(document)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def reading(document: dict[str, Any]) -> str:
    """How far to trust the numbers, in words."""
    error = document["standard_error"]
    if error is None:
        return "No federation could be tested."
    seeds = len(document["seeds"])
    return (
        f"Each number is the mean over {_counted(seeds, 'seed')}, the range in brackets. The test patients alone give "
        f"one AUC a standard error of {error['one']:.3f}, and a mean over the seeds one of {error['mean']:.3f}. "
        "Strategies are tested on the same patients, so they compare more closely than that: the best of a column is "
        "bold or has a star, and one that DeLong's paired comparison cannot tell from it (95 %) has a ~. Training has "
        "chance of its own, which only more seeds show. The worst hospital is the lowest of several, which noise alone "
        "pulls down."
    )


def cell(group: dict[str, Any], key: str, digits: int = 3) -> str:
    """Mean and range of one measure of one group; a dash where there is none."""
    value = group[key]
    if value is None:
        return "failed" if group["failed"] else "–"
    shown = f"{value['mean']:.{digits}f}"
    if value["low"] == value["high"]:
        return shown
    return f"{shown} ({value['low']:.{digits}f}–{value['high']:.{digits}f})"


def table(head: Sequence[str], *rows: Sequence[str], numbers: bool = True) -> str:
    """A Markdown table; the first column is text, the others are numbers unless said otherwise."""
    rule = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def _section(words: str, body: str) -> str:
    """A heading over what there is; nothing where there is nothing."""
    return f"## {words[:1].upper()}{words[1:]}\n\n{body}" if body else ""


def _setting(document: dict[str, Any]) -> str:
    grid = "x".join(str(n) for n in document["grid"]["size_zyx"]) if document["grid"] else "no"
    return (
        f"Synthetic patients of study `{document['study']}`, fedescc {document['version']}: "
        f"{document['sites']} hospitals of {document['patients']} patients on average, "
        f"{document['test_patients']} extra test patients of all hospitals alike, "
        f"{_counted(document['rounds'], 'round')}, {grid} grid, seeds {', '.join(map(str, document['seeds']))}."
    )


def by_kind(document: dict[str, Any], shown: Callable[[dict[str, Any]], str]) -> list[list[str]]:
    """Head and rows of a table: strategies down, heterogeneity across, every group as ``shown`` has it."""
    kinds = list(document["heterogeneity"])
    groups = {(group["strategy"], group["heterogeneity"]): group for group in document["groups"]}
    rows = [[name, *(shown(groups[name, kind]) for kind in kinds)] for name in document["strategies"]]
    return [["strategy", *kinds], *rows]


def marked(document: dict[str, Any], group: dict[str, Any], key: str, strong: str = "{} *") -> str:
    """Mean and range; the best of its column as ``strong`` has it, an AUC not told from the best with ~."""
    shown = cell(group, key)
    if group["strategy"] == best(document["groups"], group["heterogeneity"], key):
        return strong.format(shown)
    gap = group["behind_best"] if key == "auc" else None
    return f"{shown} ~" if gap and not gap["told_apart"] else shown


def _measure(document: dict[str, Any], key: str) -> str:
    return table(*by_kind(document, lambda group: marked(document, group, key, "**{}**")))


def _plain(document: dict[str, Any], key: str) -> str:
    return table(*by_kind(document, lambda group: cell(group, key, 1)))


def _kinds(document: dict[str, Any]) -> str:
    rows = [
        [name, kind["text"], ", ".join(map(str, kind["patients"]))] for name, kind in document["heterogeneity"].items()
    ]
    return table(["heterogeneity", "what differs", "patients"], *rows, numbers=False)


def _settings(document: dict[str, Any]) -> str:
    rows = [
        [name, entry["training"]["optimizer"], f"{entry['training']['learning_rate']:g}", _own(entry), entry["why"]]
        for name, entry in document["strategies"].items()
    ]
    return table(["strategy", "at the sites", "rate", "own settings", "why"], *rows, numbers=False)


def _own(entry: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in entry["settings"].items()) or "defaults"


def _failures(document: dict[str, Any]) -> str:
    failed = [
        f"- {group['strategy']}, {group['heterogeneity']}, seed {one['seed']}: `{one['failed']}`"
        for group in document["groups"]
        for one in group["failed"]
    ]
    return "\n".join(failed)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
