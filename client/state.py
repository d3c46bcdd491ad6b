"""What a site must remember from round to round: SCAFFOLD's control, and parameters that never leave it.

Everything is kept by the round that left it, beside what that round started from, so that a round asked for again
gives the same answer. A round has one file, replaced at once: wherever a process is killed, a round has left the old
or the new, never both. Nothing is ever deleted but what a run's later rounds replaced: the last parameters of its own
are a hospital's model. A server names run and round, and neither can choose a path.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedescc.common.arrays import FlatParameters, load_safetensors
from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.fold import read_fold
from fedescc.common.wire import Request

Purpose = Literal["control", "own"]

_RUN = re.compile(r"[0-9a-f]{8,64}")
_NAME = re.compile(r"(\d{6})\.safetensors")
_ROOT, _FIXED_SPLIT, _VALUES, _STARTED_FROM = "state", "split", "values", "started_from"


@dataclass(frozen=True)
class Place:
    """Whose state it is: of a run, one of its folds, and for what."""

    run: str
    fold: str
    purpose: Purpose

    @classmethod
    def of(cls, request: Request, purpose: Purpose) -> "Place":
        """The place a request speaks of.

        Raises:
            Refusal: it names no run, or a fold that is unknown.

        """
        run, fold = request.task.get("run"), read_fold(request.task)
        if not isinstance(run, str) or not _RUN.fullmatch(run):
            raise Refusal("malformed-message", "the request names no run", "check the server's version")
        return cls(run, _FIXED_SPLIT if fold is None else fold.name, purpose)


@dataclass(frozen=True)
class Stamp:
    """Which round left something, and the digest (16 hex digits) of the shared model which that round started from."""

    round: int
    started_from: str


START = Stamp(0, "0" * 16)
"""Before a site's first round, when there is nothing to remember."""


@dataclass(frozen=True, eq=False)
class Held:
    """What was remembered, and since when; ``values`` is None at the start."""

    stamp: Stamp = START
    values: FlatParameters | None = None


class SiteState:
    """Flat float32 vectors by place and round.

    Args:
        folder: vectors are files below its ``state/`` (safetensors, for their owner's eyes alone); None keeps them
            in memory.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self._store: _Memory | _Disk = _Memory() if folder is None else _Disk(folder / _ROOT)

    def before(self, place: Place, number: int) -> Held:
        """What round ``number`` starts from: what the newest earlier round left.

        Raises:
            Refusal: ``round-too-old``, that is forgotten; ``unreadable-weights``, its file is damaged.

        """
        rounds = self._store.rounds(place)
        earlier = [left for left in rounds if left < number]
        if rounds and not earlier:
            raise Refusal("round-too-old", f"what round {number} started from is gone", "start a new run")
        return self._held(place, max(earlier, default=START.round))

    def left_by(self, place: Place, number: int) -> Held:
        """What round ``number`` left; round 0 is the start.

        Raises:
            Refusal: ``state-lost``, nothing of that round is here; ``unreadable-weights``.

        """
        if number != START.round and number not in self._store.rounds(place):
            raise Refusal("state-lost", f"what round {number} left is gone", "start a new run")
        return self._held(place, number)

    def of_model(self, place: Place, digest: str) -> Held | None:
        """What belongs to a shared model; None at a place without any round.

        A model that a round started from belongs with what that round started from; any other with the newest.

        Raises:
            Refusal: ``round-too-old`` or ``unreadable-weights``.

        """
        rounds = [left for left in self._store.rounds(place) if left != START.round]
        if not rounds:
            return None
        started = (left for left in rounds if self._store.started_from(place, left) == digest)
        first = next(started, None)
        return self._held(place, rounds[-1]) if first is None else self.before(place, first)

    def keep(self, place: Place, stamp: Stamp, values: FlatParameters, since: Held, *, all_rounds: bool) -> None:
        """Keep what a round left, in place of anything else that it left before.

        Args:
            place: whose it is.
            stamp: the round and the model it started from.
            values: flat float32 vector.
            since: what the round started from, which stays.
            all_rounds: keep what earlier rounds left, too.

        Raises:
            Refusal: ``unwritable-state``.

        """
        if since.stamp == START:
            self._store.write(place, START, np.zeros(0, np.float32))
        self._store.write(place, stamp, values)
        if not all_rounds:
            for old in self._store.rounds(place):
                if old < since.stamp.round:
                    self._store.forget(place, old)

    def _held(self, place: Place, number: int) -> Held:
        if number == START.round:
            return Held()
        stamp = Stamp(number, self._store.started_from(place, number))
        return Held(stamp, self._store.read(place, number))


class _Memory:
    def __init__(self) -> None:
        self._places: dict[Place, dict[int, tuple[str, FlatParameters]]] = {}

    def rounds(self, place: Place) -> list[int]:
        return sorted(self._places.get(place, {}))

    def started_from(self, place: Place, number: int) -> str:
        return self._places[place][number][0]

    def read(self, place: Place, number: int) -> FlatParameters:
        return self._places[place][number][1]

    def write(self, place: Place, stamp: Stamp, values: FlatParameters) -> None:
        self._places.setdefault(place, {})[stamp.round] = stamp.started_from, values.copy()

    def forget(self, place: Place, number: int) -> None:
        del self._places[place][number]


class _Disk:
    def __init__(self, root: Path) -> None:
        self._root = root

    def rounds(self, place: Place) -> list[int]:
        found = (_NAME.fullmatch(path.name) for path in self._folder(place).glob("*.safetensors"))
        return sorted(int(name[1]) for name in found if name)

    def started_from(self, place: Place, number: int) -> str:
        from safetensors import SafetensorError, safe_open

        path = self._path(place, number)
        try:
            with safe_open(path, framework="numpy") as file:
                return str(file.metadata()[_STARTED_FROM])
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise _no_state(path) from error

    def read(self, place: Place, number: int) -> FlatParameters:
        path = self._path(place, number)
        values: Any = load_safetensors(path)[0].get(_VALUES)
        if values is None or values.dtype != np.float32:
            raise _no_state(path)
        return np.asarray(values)

    def write(self, place: Place, stamp: Stamp, values: FlatParameters) -> None:
        from safetensors.numpy import save

        content = save({_VALUES: np.ascontiguousarray(values)}, metadata={_STARTED_FROM: stamp.started_from})
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder(place).mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(place, stamp.round), content, mode=0o600)
        except OSError as error:
            what = f"cannot write below {self._root}: {type(error).__name__}"
            raise Refusal("unwritable-state", what, "make room, or make the folder writable") from error

    def forget(self, place: Place, number: int) -> None:
        self._path(place, number).unlink(missing_ok=True)

    def _folder(self, place: Place) -> Path:
        return self._root / place.run / place.fold / place.purpose

    def _path(self, place: Place, number: int) -> Path:
        return self._folder(place) / f"{number:06d}.safetensors"


def _no_state(path: Path) -> Refusal:
    return Refusal("unreadable-weights", f"{path} is no state of a round", "start a new run")
