"""Whose figures a site has told, so that two runs do not differ by few patients: for good, beside its questions.

A hospital goes on to enrol and corrects its records. The same question before and after, and the difference of both
answers is of those who came, left or changed. So a cohort that differs from one that was told of before, in any part of
the study's split, by few patients of a class gets no answer, unless the site's policy says ``small_changes: plain``.
Patients are kept as digests of salted keys and of their values; nothing of it leaves the site.
"""

import hashlib
from collections import Counter
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.client.lasting import Lasting
from fedescc.client.queries import FILE
from fedescc.common.disclosure.cells import small
from fedescc.common.errors import Refusal

FEW_CHANGED = "few-patients-changed"

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS cohort (number INTEGER PRIMARY KEY, study TEXT NOT NULL, digest TEXT NOT NULL,
    UNIQUE (study, digest))""",
    """CREATE TABLE IF NOT EXISTS member (cohort INTEGER NOT NULL, patient BLOB NOT NULL, content BLOB NOT NULL,
    cell TEXT NOT NULL, PRIMARY KEY (cohort, patient)) WITHOUT ROWID""",
)
_DIGEST_BYTES = 16


class Member(NamedTuple):
    """A patient of a cohort: digests of the key and of everything that sums are made of, and part and class."""

    patient: bytes
    content: bytes
    cell: str


class Cohorts:
    """The record of cohorts.

    Args:
        folder: of the site, where the record lasts; None keeps it in memory.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self._store = Lasting(None if folder is None else folder / FILE, _SCHEMA)
        self._known: set[tuple[str, str]] = set()

    def admit(self, study: str, cohort: SiteCohort, minimum: int) -> str:
        """Note the cohort, if it is new, and tell its identity.

        Args:
            study: its hash.
            cohort: as intake divided it.
            minimum: fewest patients of a class that a difference may be of; 1 admits every cohort.

        Raises:
            Refusal: ``few-patients-changed``; or ``lost-records``.

        """
        digest = identity(cohort)
        if (study, digest) not in self._known:
            with self._store.transaction() as connection:
                _admit(connection, study, digest, members(cohort), minimum)
            self._known.add((study, digest))
        return digest


def identity(cohort: SiteCohort) -> str:
    """Digest of the patients, their outcomes, parts and covariates."""
    columns = [cohort.labels, cohort.split, *cohort.numeric.values(), *cohort.categorical.values()]
    digest = hashlib.sha256("|".join((*cohort.keys, *cohort.numeric, *cohort.categorical)).encode())
    for column in columns:
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def members(cohort: SiteCohort) -> set[Member]:
    """The patients of a cohort."""
    names = sorted({*cohort.numeric, *cohort.categorical})
    columns = [cohort.numeric[name] if name in cohort.numeric else cohort.categorical[name] for name in names]
    found = set()
    for row, key in enumerate(cohort.keys):
        values = "|".join([key, *names, *(repr(column[row].item()) for column in columns)])
        found.add(Member(_digest(key), _digest(values), f"{cohort.split[row]}:{cohort.labels[row]}"))
    return found


def _admit(connection: Connection, study: str, digest: str, own: set[Member], minimum: int) -> None:
    if connection.execute("SELECT 1 FROM cohort WHERE study = ? AND digest = ?", (study, digest)).fetchone():
        return
    for (number,) in connection.execute("SELECT number FROM cohort WHERE study = ?", (study,)).fetchall():
        rows = connection.execute("SELECT patient, content, cell FROM member WHERE cohort = ?", (number,))
        different = own ^ {Member(*row) for row in rows}
        changed = Counter(cell for _, cell in {(one.patient, one.cell) for one in different})
        if any(small(count, minimum) for count in changed.values()):
            what = "fewer patients than the minimum came, left or changed since this site answered last"
            todo = "wait for more, go back to the earlier data, or let policy.small_changes be plain"
            raise Refusal(FEW_CHANGED, what, todo)
    inserted = connection.execute("INSERT INTO cohort (study, digest) VALUES (?, ?)", (study, digest))
    connection.executemany("INSERT INTO member VALUES (?, ?, ?, ?)", ((inserted.lastrowid, *one) for one in own))


def _digest(text: str) -> bytes:
    return hashlib.sha256(f"fedescc-cohort|{text}".encode()).digest()[:_DIGEST_BYTES]
