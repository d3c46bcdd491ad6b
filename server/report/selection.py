"""Where a model's weights started, which round's were kept and why, and what stayed at the sites, in words."""

from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, decimal, duration, plural, sentence, span_of, whole
from fedescc.server.report.learning import Learned, Personalisation, PretrainingRound, WarmStart
from fedescc.server.report.losses import refused_in_words
from fedescc.server.report.markup import Child, Html, el, join
from fedescc.server.report.tables import table

_KEPT = {
    "last-round": "the settings keep the last round's model",
    "best-validation": "it had the lowest loss on the validation patients",
    "no-validation-released": "the best was to be kept, but no site released validation losses, so it is the last",
}
_RULES = {
    "last": "In every fold that of the last round",
    "best": "In every fold that with the lowest loss on the validation patients, or the last where no site released it",
}
_PERSONAL = {
    "ditto": "Each site also trained a model of its own, held near the shared one, and is judged by its own "
    "(Ditto, Li et al., ICML 2021).",
    "local_head": "Each site kept a head of its own that never left it; only what lies below was shared "
    "(FedPer, Arivazhagan et al., 2019).",
    "local_norm": "Each site kept the affine parameters of its normalisation layers, which never left it; the rest "
    "was shared (FedBN, Li et al., ICLR 2021).",
}
NO_COMPARISON = (
    "Every site was judged with a model of its own, so no paired difference from the shared model is computed."
)

Fact = tuple[str, Child]


def facts(found: list[Fact]) -> Html | None:
    """Facts as a list of terms; None without any."""
    parts = [part for name, what in found for part in (el("dt", name), el("dd", what))]
    return el("dl", *parts, class_="settings") if parts else None


def start_facts(one: Learned) -> list[Fact]:
    """What the weights started from, where that was not the seed's."""
    found: list[Fact] = [("Warm start", _warm_start(one.warm_start))] if one.warm_start else []
    if one.pretraining:
        rounds = plural(len(one.pretraining), "round")
        first, last = one.pretraining[0].loss, one.pretraining[-1].loss
        words = f"{rounds} of self-supervised training of the encoder, without labels; "
        found.append(("Pretraining", f"{words}loss {decimal(first)} in the first, {decimal(last)} in the last"))
    return found


def kept_facts(one: Learned) -> list[Fact]:
    """Which round's model was kept, and why."""
    if one.kept_round is None:
        return []
    rounds = whole(len(one.rounds))
    which = f"round {one.kept_round} of {rounds}" if one.kept_round else f"the initial model, before {rounds} rounds"
    code = one.selection.reason if one.selection else None
    why = f": {_KEPT.get(code, code)}" if code else ""
    loss = dict(validation_losses(one)).get(one.kept_round)
    shown = f"; validation loss {decimal(loss)}" if loss is not None else ""
    return [("Model kept", f"{which}{why}{shown}")]


def kept_by_fold(results: Results) -> list[Fact]:
    """By which rule every fold's round was kept, from the settings; nothing for one fold, which says it itself."""
    selection = results.federation.get("selection")
    rule = selection.get("keep") if isinstance(selection, dict) else None
    if not results.folds or not isinstance(rule, str) or rule not in _RULES:
        return []
    kept = {fold.kept_round for fold in results.tested_folds if fold.kept_round is not None}
    which = f" ({'round' if len(kept) == 1 else 'rounds'} {span_of(kept)})" if kept else ""
    return [("Model kept", f"{_RULES[rule]}{which}")]


def personalisation_facts(results: Results) -> list[Fact]:
    """What stayed at the sites, and what that means for comparisons."""
    kind = personal_kind(results)
    if kind is None:
        return []
    return [("Personalisation", f"{_PERSONAL.get(kind.kind, sentence(kind.kind))} {NO_COMPARISON}")]


def personal_kind(results: Results) -> Personalisation | None:
    """The run's personalisation; None where all sites share the whole model. Of several folds the settings tell."""
    found = results.personalisation
    if found is None:
        settings = results.federation.get("personalisation")
        name = settings.get("kind") if isinstance(settings, dict) else None
        found = Personalisation(kind=name) if isinstance(name, str) else None
    return found if found and found.kind != "none" else None


def validation_losses(one: Learned) -> tuple[tuple[float, float | None], ...]:
    """(round, loss of the model after it), with the initial model as round 0 where its loss is known.

    The evaluation brings the last model's loss to the rounds, where the selection did not ask for it.
    """
    known = dict(enumerate(one.selection.validation_loss)) if one.selection else {}
    initial = [(0, known[0])] if known.get(0) is not None else []
    after = [
        (row.round, row.validation.loss if row.validation.loss is not None else known.get(row.round))
        for row in one.rounds
    ]
    return (*initial, *after)


def pretraining_table(rounds: tuple[PretrainingRound, ...]) -> Html | None:
    """The rounds of pretraining, to unfold; None without any."""
    if not rounds:
        return None
    head = ["Round", "Sites accepted", "Refused", "Patients", "Loss", "Time"]
    rows = [
        [
            str(one.round),
            ", ".join(one.sites) or DASH,
            refused_in_words(one.refused) or DASH,
            whole(one.patients),
            decimal(one.loss),
            duration(one.seconds),
        ]
        for one in rounds
    ]
    summary = el("summary", f"Every round of pretraining ({len(rounds)})")
    return el("details", summary, table("Rounds of pretraining.", head, rows, left=3))


def _warm_start(start: WarmStart) -> Html:
    whole_model = len(start.loaded) + len(start.mismatched) + len(start.missing)
    counts = f"{len(start.loaded)} of the model's {plural(whole_model, 'tensor')} taken from a file"
    if (taken := start.parameters.get("loaded")) is not None:
        counts += f" ({plural(taken, 'parameter')})"
    rest = _listed(
        (len(start.mismatched), "of another shape"),
        (len(start.missing), "not in the file"),
        (len(start.unused), "of the file unused"),
    )
    digest = [" SHA-256 of the file: ", el("code", start.file_sha256)] if start.file_sha256 else []
    return join([f"{counts}; {rest}.", *digest])


def _listed(*counts: tuple[int, str]) -> str:
    return ", ".join(f"{count} {what}" for count, what in counts)
