"""Who has looked at which test patients: for good, in ``openings.sqlite``.

In one run a patient is tested once. The first request about a fold's test patients declares every look, each a model
with one threshold and one set of bins, and nobody among them may be tested by another fold of the run, however it is
called. After a restart the declared looks may be asked for again, and no others. Other runs may open the same patients;
how many have done so before goes with the results. Keys are salted at intake and hashed once more here; nothing of the
file leaves the site.

Whoever can write the site's folder can make it forget: with all its records gone, or an older backup in their place,
test sets are open again and the results say so of none. One record missing beside the other stops the answers.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from fedescc.client.lasting import Lasting
from fedescc.client.queries import run_of
from fedescc.common.errors import Refusal
from fedescc.common.fold import read_fold
from fedescc.common.wire import Request

FILE = "openings.sqlite"

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS opening (number INTEGER PRIMARY KEY, study TEXT NOT NULL, plan TEXT NOT NULL,
    run TEXT NOT NULL, fold TEXT NOT NULL, patients TEXT NOT NULL, declared TEXT NOT NULL, before INTEGER NOT NULL,
    opened_at TEXT NOT NULL, UNIQUE (run, fold))""",
    """CREATE TABLE IF NOT EXISTS tested (opening INTEGER NOT NULL, patient BLOB NOT NULL,
    PRIMARY KEY (patient, opening)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS look (opening INTEGER NOT NULL, model TEXT NOT NULL, look TEXT NOT NULL,
    questions INTEGER NOT NULL, PRIMARY KEY (opening, model)) WITHOUT ROWID""",
)


class PatientSet(NamedTuple):
    """One fold's test patients in one run.

    Attributes:
        study: its hash.
        plan: digest of the analysis plan.
        place: run and fold.
        keys: the patients' salted keys.

    """

    study: str
    plan: str
    place: "Place"
    keys: tuple[str, ...]


class Place(NamedTuple):
    """A run and one of its folds, however the fold is spelt; "" is the study's fixed split."""

    run: str
    fold: str

    @classmethod
    def of(cls, request: Request) -> "Place":
        """The place that a request speaks of.

        Raises:
            Refusal: ``unknown-fold``.

        """
        fold = read_fold(request.task)
        return cls(run_of(request), "" if fold is None else fold.name)


@dataclass(frozen=True)
class Opened:
    """An open test set.

    Attributes:
        number: in the record.
        before: how many other runs had opened any of these patients before.

    """

    number: int
    before: int


class Openings:
    """The record of openings and looks.

    Args:
        folder: of the site, where the record lasts; None keeps it in memory.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self._store = Lasting(None if folder is None else folder / FILE, _SCHEMA)

    def look(self, test: PatientSet, declared: Sequence[str], model: str, look: str) -> Opened:
        """Open the test set for the looks declared, or find it open for just these, and note this one.

        Raises:
            Refusal: ``test-already-opened``: for other looks, of other patients, by another fold of the run, or to the
                model at another threshold; ``lost-records``.

        """
        with self._store.transaction() as connection:
            opened = _opened(connection, test, declared) or _open(connection, test, declared)
            if _look_of(connection, opened.number, model) not in (None, look):
                raise already_opened()
            connection.execute("INSERT OR IGNORE INTO look VALUES (?, ?, ?, 0)", (opened.number, model, look))
        return opened

    def looked(self, place: Place, model: str) -> str:
        """The look that a model has taken.

        Raises:
            Refusal: ``test-not-opened``, nobody has; ``test-already-opened``, others have.

        """
        with self._looks(place, model) as (connection, number):
            return str(_look_of(connection, number, model))

    def count_question(self, place: Place, model: str) -> int:
        """Count one more question that follows up a model's look; how many there are now.

        Raises:
            Refusal: as `looked`.

        """
        with self._looks(place, model) as (connection, number):
            counted = "UPDATE look SET questions = questions + 1 WHERE opening = ? AND model = ? RETURNING questions"
            return int(connection.execute(counted, (number, model)).fetchone()[0])

    def any(self) -> bool:
        """Whether any test set was ever opened; makes the record where there is none.

        Raises:
            Refusal: ``lost-records``.

        """
        with self._store.transaction() as connection:
            return connection.execute("SELECT 1 FROM opening LIMIT 1").fetchone() is not None

    @contextmanager
    def _looks(self, place: Place, model: str) -> Iterator[tuple[Connection, int]]:
        with self._store.transaction() as connection:
            found = connection.execute("SELECT number FROM opening WHERE run = ? AND fold = ?", place).fetchone()
            if found is None:
                what = "a question about test patients before the test"
                raise Refusal("test-not-opened", what, "ask for the test first")
            if _look_of(connection, found[0], model) is None:
                raise already_opened()
            yield connection, found[0]


def already_opened(what: str = "another question to the test set") -> Refusal:
    """The refusal of every look but those that were declared."""
    return Refusal("test-already-opened", what, "the test set opens once a run")


def _opened(connection: Connection, test: PatientSet, declared: Sequence[str]) -> Opened | None:
    columns = "number, before, study, plan, patients, declared"
    row = connection.execute(f"SELECT {columns} FROM opening WHERE run = ? AND fold = ?", test.place).fetchone()  # noqa: S608
    if row is None:
        return None
    number, before, *same = row
    if same != [test.study, test.plan, _digest(test.keys), json.dumps(list(declared))]:
        raise already_opened()
    return Opened(number, before)


def _open(connection: Connection, test: PatientSet, declared: Sequence[str]) -> Opened:
    runs = _runs_of(connection, test.keys)
    if test.place.run in runs:
        raise already_opened("patients whom another fold of this run has tested")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    values = (test.study, test.plan, *test.place, _digest(test.keys), json.dumps(list(declared)), len(runs), now)
    columns = "study, plan, run, fold, patients, declared, before, opened_at"
    inserted = connection.execute(f"INSERT INTO opening ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
    number = int(inserted.lastrowid or 0)
    rows = ((number, _hashed(key)) for key in test.keys)
    connection.executemany("INSERT INTO tested VALUES (?, ?)", rows)
    return Opened(number, len(runs))


def _runs_of(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Runs that have opened any of the patients."""
    query = "SELECT DISTINCT run FROM tested JOIN opening ON number = opening WHERE patient = ?"
    return {run for key in keys for (run,) in connection.execute(query, (_hashed(key),))}


def _look_of(connection: Connection, number: int, model: str) -> str | None:
    found = connection.execute("SELECT look FROM look WHERE opening = ? AND model = ?", (number, model)).fetchone()
    return None if found is None else str(found[0])


def _hashed(key: str) -> bytes:
    return hashlib.sha256(f"fedescc-tested|{key}".encode()).digest()[:16]


def _digest(keys: Sequence[str]) -> str:
    return hashlib.sha256("|".join(sorted(keys)).encode()).hexdigest()
