"""Salted keys and splits."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.intake.keys import patient_keys, read_salt
from fedescc.client.intake.split import split_of
from fedescc.common.errors import Refusal
from fedescc.common.study import Split

SPLIT = Split(train=0.6, validation=0.15)
KEYS = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(20_000)]


def test_keys_are_hmac_sha256_of_the_identifier() -> None:
    # RFC 4231, test case 2.
    assert patient_keys(["what do ya want for nothing?"], b"Jefe") == [
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    ]
    expected = [hmac.new(b"s" * 32, name.encode(), hashlib.sha256).hexdigest() for name in ("1", "食管")]
    assert patient_keys(["1", "食管"], b"s" * 32) == expected


def test_the_salt_is_drawn_once_and_is_private(tmp_path: Path) -> None:
    work = tmp_path / "a" / "work"
    salt = read_salt(work)
    assert len(salt) == 32
    assert read_salt(work) == salt
    assert stat.S_IMODE((work / "salt").stat().st_mode) == 0o600
    assert [path.name for path in work.iterdir()] == ["salt"]
    assert read_salt(tmp_path / "b") != salt


def test_a_salt_brought_along_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(b"0123456789abcdef\n")
    assert read_salt(tmp_path) == b"0123456789abcdef\n"


def test_a_damaged_salt_or_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(b"short")
    with pytest.raises(Refusal, match="damaged-salt"):
        read_salt(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="unusable-work-folder"):
        read_salt(tmp_path / "file")


def test_fractions_come_out_as_planned() -> None:
    parts = [split_of(key, SPLIT) for key in KEYS]
    # Four standard deviations of a binomial share at n = 20,000 are below .014.
    assert parts.count("train") / len(KEYS) == pytest.approx(0.60, abs=0.014)
    assert parts.count("validation") / len(KEYS) == pytest.approx(0.15, abs=0.011)
    assert parts.count("test") / len(KEYS) == pytest.approx(0.25, abs=0.013)


def test_other_fractions_draw_anew() -> None:
    other = Split(train=0.6, validation=0.2)
    moved = sum(split_of(key, SPLIT) != split_of(key, other) for key in KEYS[:2000])
    assert moved > 800


def test_the_division_is_fixed_for_good() -> None:
    # A changed hash would silently move patients between training and test at every site.
    assert [split_of(key, SPLIT) for key in KEYS[:8]] == [
        "train",
        "test",
        "test",
        "validation",
        "train",
        "test",
        "train",
        "train",
    ]


@given(st.sets(st.text(min_size=1), min_size=1, max_size=30), st.sets(st.text(min_size=1), max_size=30))
def test_adding_patients_moves_nobody(first: set[str], added: set[str]) -> None:
    def parts(names: set[str]) -> dict[str, str]:
        ordered = sorted(names)
        keys = patient_keys(ordered, b"salt" * 8)
        return {name: split_of(key, SPLIT) for name, key in zip(ordered, keys, strict=True)}

    before, after = parts(first), parts(first | added)
    assert all(after[name] == part for name, part in before.items())
