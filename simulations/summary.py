"""The table a simulation ends with."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedescc.simulations.audit.table import print_audit

_LABELS = {
    "local_only": "local-only",
    "features_clinical": "features + clinical",
    "radiomics_clinical": "radiomics + clinical",
}


def print_summary(results: dict[str, Any], out: Path) -> None:
    """Print AUCs of the federation beside its comparators, and where the results are."""
    console = Console()
    table = Table(title=f"{results['study']}: {results['strategy']}, {_extent(results)}")
    table.add_column("model")
    table.add_column(f"sites' test patients (n={results['final']['pooled']['n'] or '-'})", justify="right")
    extra = results.get("synthetic_test")
    if extra:
        table.add_column(f"extra synthetic patients (n={extra['n']})", justify="right")
    for name, own, synthetic in summary_rows(results):
        table.add_row(name, own, *([synthetic] if extra else []))
    console.print(table)
    for name, code in results["comparators_unavailable"].items():
        console.print(Text(f"not available: {_label(name)} ({code})"))
    for fold in results["folds"]:
        if "failed" in fold:
            console.print(Text(f"failed: {fold['fold']} ({fold['failed']})", style="bold"))
    for site in results["sites_lost"]:
        console.print(Text(f"lost: {site}", style="bold"))
    if "audit" in results:
        print_audit(results["audit"], console)
    console.print(Text(f"report: {out / 'report.html'}"), soft_wrap=True)


def summary_rows(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(model, AUC on the sites' own test patients, AUC on the extra synthetic ones)."""
    extra = results.get("synthetic_test", {}).get("auc", {})
    rows = [("federated", _auc(results["final"]["pooled"]), _auc(extra.get("federated")))]
    for name, entry in results["comparators"].items():
        rows.append((_label(name), _auc(entry["pooled"]), _synthetic(name, extra)))
    if extra:
        rows.append(("ceiling: regression on true latents", "", _auc(extra["ceiling_latent_regression"])))
        rows.append(("ceiling: true probability", "", _auc(extra["ceiling_bayes"])))
        rows.append(("best trivial cue", "", _best_cue(results["synthetic_test"]["trivial_cues"])))
    return rows


def _extent(results: dict[str, Any]) -> str:
    """How long, or over how many folds."""
    folds = results["folds"]
    return f"{results['mode']}, {len(folds)} folds" if folds else f"{len(results['rounds'])} rounds"


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " "))


def _synthetic(name: str, extra: dict[str, Any]) -> str:
    mean = extra.get("local_only_mean")
    if name == "local_only" and mean is not None:
        return f"{mean:.3f} (mean of sites)"
    return _auc(extra.get(name))


def _best_cue(cues: dict[str, float]) -> str:
    """The cue that tells most, whichever way it points."""
    name = max(cues, key=lambda cue: abs(cues[cue] - 0.5))
    return f"{max(cues[name], 1 - cues[name]):.3f} ({name})"


def _auc(entry: dict[str, Any] | None) -> str:
    if not entry or entry["auc"] is None:
        return "-"
    interval = entry.get("auc_ci95")
    return f"{entry['auc']:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")
