"""What some files are, as JSON: how it travels between processes and lies in a store.

Columns rather than rows, and what the images of a series share once: an unchanged folder must load in a fraction of
the time that reading it takes. JSON rather than pickle, because a store is a file that somebody else may have written.
"""

import json
from collections.abc import Iterable
from functools import partial
from itertools import repeat
from operator import add
from typing import Any, NamedTuple

from fedescc.client.imaging.headers.classify import classify
from fedescc.client.imaging.headers.fields import Numbers
from fedescc.client.imaging.headers.found import Found, MaskFile, Reference, RejectedFile
from fedescc.client.imaging.headers.header import OWN_FIELDS, DicomRow, printable
from fedescc.client.imaging.headers.walk import Signature
from fedescc.client.imaging.quiet import quiet_pydicom

# Name, signature (None: what it is must be found out anew next time) and what the file is.
Entry = tuple[str, Signature | None, tuple[Found, ...]]
Shared = dict[tuple[Any, ...], tuple[Any, ...]]


class Columns(NamedTuple):
    """Entries by column: equally many names, signatures, and what the files are."""

    names: list[str]
    signatures: list[Signature | None]
    found: list[tuple[Found, ...]]


_NOWHERE = (None, None, None)
_NO_SIGNATURE = (0, 0, 0, 0)  # no file's: inodes start at 1


def read_batch(root: str, files: Iterable[tuple[str, Signature | None]]) -> bytes:
    """Read some files of a folder, in their order, and say what they are; see ``decode``.

    Args:
        root: the indexed folder.
        files: names relative to it, with the signature that each had before it was read, or None if that is not to be
            relied on.

    """
    entries: list[Entry] = []
    with quiet_pydicom():
        for name, signature in files:
            try:
                entries.append((name, signature, classify(root, name)))
            except OSError:
                entries.append((name, None, (RejectedFile(printable(name), "unreadable"),)))
    return encode(entries)


def encode(entries: Iterable[Entry]) -> bytes:
    """Entries of one folder as JSON; inverse of ``decode``."""
    names, signatures, rows, others = [], [], [], []
    shared: dict[tuple[Any, ...], int] = {}
    for number, (name, signature, found) in enumerate(entries):
        names.append(name)
        signatures.append(signature or _NO_SIGNATURE)
        for one in found:
            if isinstance(one, DicomRow):
                part = shared.setdefault(one[OWN_FIELDS:], len(shared))
                rows.append((number, *one[2 : OWN_FIELDS - 1], *(one.position or _NOWHERE), part))
            else:
                others.append((number, *_encode_other(one)))
    columns = [list(zip(*table, strict=True)) for table in (signatures, rows)]
    return json.dumps([names, *columns, list(shared), others], separators=(",", ":")).encode()


def decode(content: bytes, root: str, kept: Shared) -> Columns:
    """The entries of a batch, as columns.

    Args:
        content: from ``encode``.
        root: the indexed folder.
        kept: shared parts of rows decoded before; an equal one is used again, so that it is in memory once.

    Raises:
        ValueError, TypeError, KeyError, IndexError: it is something else.

    """
    names, signatures, columns, parts, others = json.loads(content)
    signed = [None if one == _NO_SIGNATURE else one for one in zip(*signatures, strict=True)]
    shared = [kept.setdefault(part, part) for part in map(_tuples, parts)]
    numbers, rows = _decode_rows(names, columns, root, shared)
    found: Iterable[tuple[Found, ...]]
    if numbers == list(range(len(names))) and not others:
        found = zip(rows, strict=True)  # every file is one image
    else:
        lists: list[list[Found]] = [[] for _ in names]
        for number, row in zip(numbers, rows, strict=True):
            lists[number].append(row)
        for number, kind, fields in others:
            lists[number].append(_decode_other(root, kind, fields))
        found = map(tuple, lists)
    return Columns(names, signed, list(found))


def _decode_rows(
    names: list[str], columns: list[list[Any]], root: str, shared: list[tuple[Any, ...]]
) -> tuple[list[int], list[DicomRow]]:
    """The number of its file, and each row."""
    if not columns:
        return [], []
    numbers, frames, offsets, sop_uids, instances, times, *position, parts = columns
    if any(len(part) != len(DicomRow._fields) - OWN_FIELDS for part in shared):
        raise ValueError("another kind of row")
    triples = zip(*position, strict=True)
    places: Iterable[Numbers | None] = triples
    if None in position[0]:
        places = (None if triple == _NOWHERE else triple for triple in triples)
    own = zip(
        repeat(root, len(numbers)), map(names.__getitem__, numbers), frames, offsets,
        sop_uids, instances, times, places, strict=True,
    )  # fmt: skip
    fields = map(add, own, map(shared.__getitem__, parts))
    return numbers, list(map(partial(tuple.__new__, DicomRow), fields))  # twice as fast as DicomRow._make


def _tuples(part: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in part)


def _encode_other(one: Found) -> tuple[str, tuple[str, ...]]:
    if isinstance(one, MaskFile):
        return "mask", (one.name, one.kind)
    if isinstance(one, RejectedFile):
        return "rejected", (one.file, one.reason, one.patient_id, one.series_uid)
    assert isinstance(one, Reference)
    return "reference", tuple(one)


def _decode_other(root: str, kind: str, fields: list[Any]) -> Found:
    if kind == "mask":
        return MaskFile(root, *fields)
    return RejectedFile(*fields) if kind == "rejected" else Reference(*fields)
