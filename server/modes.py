"""Run modes: into which folds a run divides itself, and what its results are then called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fedescc.common.analysis import COMPARATORS
from fedescc.common.errors import Refusal
from fedescc.common.fold import MAX_FOLDS, Fold, KFold, Loso, Temporal
from fedescc.common.protocol import DateVariable
from fedescc.common.study import Study

Mode = Literal["split", "kfold", "loso", "temporal"]
MODES: tuple[Mode, ...] = get_args(Mode)
ON_THE_WIRE = COMPARATORS
"""Comparators that the federation fits itself."""


@dataclass(frozen=True)
class Plan:
    """What a run does beyond its study and its federation file.

    Attributes:
        mode: ``split`` the study's fixed split; ``kfold`` every patient tested once; ``loso`` every site held out
            once; ``temporal`` the latest patients tested.
        folds: of ``kfold``.
        comparators: models that the sites fit together beside the study's own; None are those of its analysis plan.
        warm_start: a local safetensors file that the weights start from.
        contribution: whether a model without each site is trained too, to tell what the site gives (``split`` alone).
        cohort: identity of the patients, where the caller knows it; a run of other patients is not gone on with.

    """

    mode: Mode = "split"
    folds: int = 5
    comparators: tuple[str, ...] | None = None
    warm_start: Path | None = None
    contribution: bool = False
    cohort: str = ""

    def __post_init__(self) -> None:
        if not 2 <= self.folds <= MAX_FOLDS:
            raise Refusal("wrong-folds", f"{self.folds} folds", f"give 2 to {MAX_FOLDS}")
        if self.contribution and self.mode != "split":
            what = f"contributions of sites in mode {self.mode}"
            raise Refusal("wrong-mode", what, "ask for them in mode split, whose test patients all models share")

    def comparators_of(self, study: Study) -> tuple[str, ...]:
        """The comparators, in an order of their own."""
        asked = study.analysis.comparators if self.comparators is None else self.comparators
        return tuple(sorted(asked))

    @property
    def several(self) -> bool:
        """Whether the run has more than one fold, and so more than one model."""
        return self.mode in {"kfold", "loso"}


def read_mode(name: str) -> Mode:
    """A run mode by its name.

    Raises:
        Refusal: ``unknown-mode``.

    """
    for mode in MODES:
        if mode == name:
            return mode
    raise Refusal("unknown-mode", f"no run mode {name!r}", f"choose one of: {', '.join(MODES)}")


def folds_of(plan: Plan, site_names: Callable[[], Sequence[str]]) -> list[Fold | None]:
    """The folds in order; None is the fixed split. ``site_names`` is asked only where a fold is named by a site.

    Raises:
        Refusal: fewer than two sites to hold out.

    """
    match plan.mode:
        case "kfold":
            return [KFold(index=index, of=plan.folds) for index in range(plan.folds)]
        case "loso":
            names = sorted(site_names())
            if len(names) < 2:
                raise Refusal("no-quorum", f"{len(names)} sites", "leave-one-site-out needs at least two")
            return [Loso(held_out=name) for name in names]
        case "temporal":
            return [Temporal()]
        case _:
            return [None]


def has_dates(study: Study) -> bool:
    """Whether anything in the study tells which patients came first: a scan, or a date up to surgery."""
    dated = [variable for variable in study.variables.values() if isinstance(variable, DateVariable)]
    return study.imaging is not None or any(variable.available_at != "pathology" for variable in dated)


def fold_name(fold: Fold | None) -> str:
    """Name of a fold and of its folder."""
    return "split" if fold is None else fold.name
