"""Everything a run published, once more on the pooled patients."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.server.evaluation.fold_comparators import NETWORK
from fedescc.simulations.audit.contributions import policies_of
from fedescc.simulations.audit.derived import audit_primary
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.fold_audit import Entry, FoldAudit
from fedescc.simulations.audit.heterogeneity import audit_meta, audit_within
from fedescc.simulations.audit.scores import Scored
from fedescc.simulations.audit.unaudited import note_unaudited
from fedescc.simulations.comparison.fold_comparison import FoldComparison
from fedescc.simulations.hospitals import Hospitals

OVER_FOLDS = "pooled-from-the-folds"


def can_audit() -> bool:
    """Whether statsmodels is installed."""
    return find_spec("statsmodels") is not None


def require_audit() -> None:
    """Stop before anything is run that could not be audited.

    Raises:
        Refusal: ``no-audit`` where statsmodels is missing.

    """
    if not can_audit():
        todo = "install it: pip install 'fedescc[audit]', or give --no-audit"
        raise Refusal("no-audit", "an audit needs statsmodels, which is not installed", todo)


def audit(results: Entry, folds: Sequence[FoldComparison], hospitals: Hospitals) -> dict[str, Any]:
    """``results["audit"]``, see `Ledger.entry`.

    Args:
        results: of the run, with the simulation's own comparators.
        folds: what each finished fold left.
        hospitals: all sites' patients.

    """
    whole, policies = Ledger(), policies_of(hospitals)
    held_out: dict[str, Scored] = {}
    for fold in folds:
        own = Ledger(f"{fold.results['fold']} / " if results["folds"] else "")
        one = FoldAudit(own, fold, policies)
        one.run(_comparators(results, fold))
        held_out |= one.held_out
        whole.figures += own.figures
        whole.skipped |= own.skipped
    note_unaudited(whole, results)
    if held_out:
        _over_sites_held_out(whole, results["final"], held_out)
    if results["folds"]:
        whole.skip("figures over all folds", OVER_FOLDS)
    return whole.entry()


def _over_sites_held_out(ledger: Ledger, final: Entry, held_out: Mapping[str, Scored]) -> None:
    """The main figures of sites held out: each site's patients under the model that never saw it."""
    audit_meta(ledger, NETWORK, final["meta"], held_out)
    audit_within(ledger, NETWORK, final["auc_within_site"], held_out)
    audit_primary(ledger, NETWORK, final)


def _comparators(results: Entry, fold: FoldComparison) -> dict[str, Any]:
    """The fold's comparators with what the simulation added to them."""
    entries = {entry["fold"]: entry for entry in results["folds"]}
    found: dict[str, Any] = entries[fold.results["fold"]]["comparators"] if entries else results["comparators"]
    return {name: entry for name, entry in found.items() if "unavailable" not in entry}
