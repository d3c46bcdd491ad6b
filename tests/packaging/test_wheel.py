"""What a user installs: every package, every shipped study and settings file, three commands, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROLES = ("common", "client", "server", "simulations", "configs")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*ROLES, "pyproject.toml", "README.md", "LICENSE"):
        item = repository / name
        copy = shutil.copytree if item.is_dir() else shutil.copy2
        copy(item, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    [path] = out.glob("*.whl")
    return zipfile.ZipFile(path)


def expected(repository: Path) -> set[str]:
    kinds = {"configs": ("*.py", "*.yaml")}
    files = {p for role in ROLES for kind in kinds.get(role, ("*.py",)) for p in (repository / role).rglob(kind)}
    typed = {repository / role / "py.typed" for role in ROLES if role != "configs"}
    return {f"fedescc/{path.relative_to(repository)}" for path in files | typed}


def test_the_wheel_holds_exactly_the_packages(wheel, repository):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == expected(repository)


def test_the_three_commands_are_declared(wheel):
    [name] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = wheel.read(name).decode()
    for command in ("simulate", "client", "server"):
        folder = "simulations" if command == "simulate" else command
        assert f"fedescc-{command} = fedescc.{folder}.cli:main" in text


def test_the_licence_travels(wheel):
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
