"""YAML settings: what is accepted, and that every refusal is one line that names the key."""

from pathlib import Path

import pytest

from fedescc.common.errors import Refusal
from fedescc.common.yamlfile import Strict, parse_mapping, parse_model, read_model


class Inner(Strict):
    weight: float = 1.0


class Image(Strict):
    dicom: str
    masks: str | None = None


class Settings(Strict):
    name: str
    rounds: int = 3
    inner: Inner = Inner()
    images: tuple[Image, ...] | None = None
    by_site: dict[str, Image] = {}


def refusal(text: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_model(text, Settings, "file.yaml")
    assert "\n" not in str(caught.value)
    return caught.value


def test_defaults_are_filled_in() -> None:
    assert parse_model("name: a", Settings, "x") == Settings(
        name="a", rounds=3, inner=Inner(weight=1.0), images=None, by_site={}
    )


def test_settings_are_frozen() -> None:
    settings = parse_model("name: a", Settings, "x")
    with pytest.raises(ValueError, match="frozen"):
        settings.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("name: a\nround: 3", "invalid-settings", "file.yaml: round: unknown key"),
        (
            "nam: a\nrounds: x",
            "invalid-settings",
            "file.yaml: nam: unknown key (did you mean 'name'?); name: Field required;",
        ),
        ("rounds: 3", "invalid-settings", "name: Field required"),
        ("name: a\nrounds: three", "invalid-settings", "(got 'three')"),
        ("name: a\ninner: {weight: .nan}", "invalid-settings", "inner.weight"),
        ("name: a\ninner: {weight: .inf}", "invalid-settings", "inner.weight"),
        (
            "name: a\nrounds: 1.5\ninner: {wait: 1}",
            "invalid-settings",
            "inner.wait: unknown key (did you mean 'weight'?); rounds: ",
        ),
        ("name: a\nzzz: 1", "invalid-settings", "file.yaml: zzz: unknown key ["),
        ('name: a\n? "ro\\nunds"\n: 1', "invalid-settings", "unknown key (did you mean 'rounds'?)"),
        (
            "name: a\nimages: [{dicom: a}, {dicm: b}]",
            "invalid-settings",
            "images.1.dicm: unknown key (did you mean 'dicom'?); images.1.dicom: Field required [",
        ),
        (
            "name: a\nby_site: {b: {dicom: a, mask: b}}",
            "invalid-settings",
            "by_site.b.mask: unknown key (did you mean 'masks'?) [",
        ),
        ("name: a\nk1: 1\nk2: 1\nk3: 1\nk4: 1\nk5: 1", "invalid-settings", "k3: unknown key, and 2 more ["),
        ("name: a\nname: b", "invalid-yaml", "'name' is given twice"),
        ("name: a\ninner: {weight: 1, weight: 2}", "invalid-yaml", "'weight' is given twice"),
        ("name: [", "invalid-yaml", "not valid YAML"),
        ("name: 2025-02-30", "invalid-yaml", "not valid YAML"),
        ("name: \x00", "invalid-yaml", "not valid YAML"),
        ("[" * 5000, "invalid-yaml", "not valid YAML"),
        ("- name", "invalid-yaml", "no mapping"),
        ("", "invalid-yaml", "no mapping"),
        ("1: a", "invalid-settings", "file.yaml"),
    ],
)
def test_faults_are_refused(text: str, code: str, part: str) -> None:
    error = refusal(text)
    assert error.code == code
    assert part in str(error)


def test_yaml_cannot_run_code() -> None:
    with pytest.raises(Refusal, match="not valid YAML"):
        parse_mapping("name: !!python/object/apply:os.getcwd []", "x")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("name: é", encoding="utf-8")
    assert read_model(path, Settings).name == "é"
    path.write_bytes(b"name: \xff")
    with pytest.raises(Refusal, match="UnicodeDecodeError"):
        read_model(path, Settings)
    with pytest.raises(Refusal, match="FileNotFoundError"):
        read_model(tmp_path / "absent.yaml", Settings)
    with pytest.raises(Refusal, match="IsADirectoryError"):
        read_model(tmp_path, Settings)
