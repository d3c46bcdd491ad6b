"""Salted patient keys: the only name a patient has beyond the clinical table."""

import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from fedescc.common.errors import Refusal

_SALT_BYTES = 32
_SHORTEST_SALT_BYTES = 16


def patient_keys(patient_ids: Iterable[str], salt: bytes) -> list[str]:
    """HMAC-SHA256 (RFC 2104) of each identifier under the site's salt, as 64 hex digits."""
    return [hmac.digest(salt, patient_id.encode(), "sha256").hex() for patient_id in patient_ids]


def read_salt(work: Path) -> bytes:
    """The site's secret salt at ``<work>/salt``; drawn from the OS (mode 0600) when absent.

    Without it identifiers could be guessed from keys, and with another one every key and split would change.

    Raises:
        Refusal: the file cannot be read or written, or is too short to be a salt.

    """
    path = work / "salt"
    try:
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(path)
        salt = path.read_bytes()
    except OSError as error:
        raise Refusal(
            "unusable-work-folder",
            f"cannot keep the site's salt at {path}: {type(error).__name__}",
            "set work in the site file to a folder that can be written",
        ) from error
    if len(salt) < _SHORTEST_SALT_BYTES:
        raise Refusal(
            "damaged-salt",
            f"{path} holds {len(salt)} bytes",
            "restore it from backup: it fixes keys and splits",
        )
    return salt


def _create(path: Path) -> None:
    """Write a salt unless there is one; it appears whole, also when two commands start together."""
    if path.exists():
        return
    draft = path.with_name(f"salt.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_SALT_BYTES))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # the other command was first: its salt holds
    finally:
        draft.unlink()
