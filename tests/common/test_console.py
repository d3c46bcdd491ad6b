"""What every command does with errors, progress and JSON."""

import json
import sys

import pytest
import typer

from fedescc.common import console
from fedescc.common.errors import Refusal


def run(monkeypatch: pytest.MonkeyPatch, app: typer.Typer, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as caught:
        console.run_app(app)
    return int(caught.value.code or 0)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def refuse(fail: bool = False, crash: bool = False, stop: bool = False) -> None:
        if crash:
            raise KeyError("patient Smith")
        if stop:
            raise KeyboardInterrupt
        if fail:
            raise Refusal("bad-thing", "it is\nbad", "do better")
        console.print_json({"ok": True})

    return app


def test_a_refusal_is_one_line_and_exit_code_1(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, app, "--fail") == 1
    printed = capsys.readouterr()
    assert printed.err == "refused: it is bad [bad-thing]; do better\n"
    assert printed.out == ""


def test_success_is_exit_code_0_and_misuse_2(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, app) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True}
    assert run(monkeypatch, app, "--unknown") == 2


def test_an_internal_error_is_one_line_without_its_message(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FEDESCC_DEBUG", raising=False)
    assert run(monkeypatch, app, "--crash") == 1
    line = "internal error: KeyError [internal-error]; run again with FEDESCC_DEBUG=1 for details\n"
    assert capsys.readouterr() == ("", line)
    monkeypatch.setenv("FEDESCC_DEBUG", "1")
    assert run(monkeypatch, app, "--crash") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith(line)


def test_an_interrupt_is_one_line_and_exit_code_130(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, app, "--stop") == 130
    assert capsys.readouterr() == ("", "interrupted\n")

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        console.run_app(interrupted)  # type: ignore[arg-type]  # before the command begins
    assert caught.value.code == 130


def test_json_keeps_text_and_refuses_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"name": "食管"})
    assert "食管" in capsys.readouterr().out
    with pytest.raises(ValueError, match="JSON compliant"):
        console.print_json({"auc": float("nan")})


def test_progress_without_a_terminal_logs_the_end_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("counting", 3) as advance:
        for _ in range(3):
            advance()
    printed = capsys.readouterr()
    assert printed.err == "counting: 3/3\n"
    assert printed.out == ""


def test_progress_logs_every_few_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 1.0, 6.0, 6.0, 7.0, 8.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("counting", 9) as advance:
        for _ in range(3):
            advance()
    assert capsys.readouterr().err == "counting: 2/9\n"


def test_progress_on_a_terminal_draws_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.progress("drawing", 2) as advance:
        advance()
        advance()
    assert "2/2" in capsys.readouterr().err
