"""The program as a process: verbs, exit codes, and every way in which it can end."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aistack import __version__, cli, verbs
from aistack.commands import ending
from aistack.diagnostics import ExitCode

ROOT = Path(__file__).resolve().parent.parent


def aistack(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aistack", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, timeout=60, check=False)


def ended(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["aistack", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(["--help"], monkeypatch) == 0
    listed = re.findall(r"^  ([a-z-]+)  ", capsys.readouterr().out.split("Commands:")[1], re.MULTILINE)
    assert listed == [*verbs.VERBS["aistack"], *verbs.GROUPS]
    for group in verbs.GROUPS:
        assert ended([group, "--help"], monkeypatch) == 0
        assert re.findall(r"^  ([a-z-]+)  ", capsys.readouterr().out.split("Commands:")[1], re.MULTILINE) == [*verbs.VERBS[group]]


def every_verb() -> list[list[str]]:
    return [[*([] if group == "aistack" else [group]), verb] for group, names in verbs.VERBS.items() for verb in names]


@pytest.mark.parametrize("verb", every_verb(), ids=" ".join)
def test_every_verb_explains_itself(verb: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended([*verb, "--help"], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert f"Usage: aistack {' '.join(verb)}" in shown
    assert len(shown.splitlines()) > 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc"], "did you mean `check`?"),
        (["zzzzz"], "there is no verb `zzzzz`"),
        (["check"], "Missing argument"),
        (["check", "--jsno", "x"], "No such option"),
        (["node", "chekc"], "did you mean `check`?"),
        (["--nothing"], "No such option"),
    ],
)
def test_a_wrong_command_line_is_exit_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended(arguments, monkeypatch) == ExitCode.USAGE
    seen = capsys.readouterr()
    assert said in seen.err
    assert seen.out == ""


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ended([], monkeypatch)
    seen = capsys.readouterr()
    assert "Usage: aistack" in seen.out + seen.err


def test_a_bug_is_exit_70_with_a_report_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> ExitCode:
        raise ZeroDivisionError("nothing to divide by")

    with pytest.raises(SystemExit) as stopped:
        ending.guarded(broken)()
    assert stopped.value.code == 70
    said = capsys.readouterr().err
    assert said.startswith("error: aistack has a bug: ZeroDivisionError: nothing to divide by\n")
    assert f"aistack {__version__}, Python {sys.version_info.major}." in said
    assert 'raise ZeroDivisionError("nothing to divide by")' in said


@pytest.mark.parametrize(("number", "hint"), [(errno.ENOSPC, "free space"), (errno.EROFS, "AISTACK_STORE"), (errno.EACCES, "own")])
def test_what_the_machine_refuses_is_no_bug(number: int, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> ExitCode:
        raise OSError(number, os.strerror(number), "/store/blobs")

    with pytest.raises(SystemExit) as stopped:
        ending.guarded(refused)()
    assert stopped.value.code == 3
    said = capsys.readouterr().err
    assert said.startswith(f"error[HOST004]: `/store/blobs`: {os.strerror(number)}\n")
    assert hint in said
    assert "Traceback" not in said


def test_an_interrupt_is_exit_130(tmp_path: Path) -> None:
    pipe = tmp_path / "recipe.yaml"
    os.mkfifo(pipe)
    program = subprocess.Popen([sys.executable, "-m", "aistack", "check", str(pipe)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with pipe.open("wb"):  # opens once the program has opened its end, and then waits for text
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=60)
    assert (program.returncode, said) == (130, "interrupted\n")


def test_a_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "aistack", "schema", "recipe"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (ExitCode.UNABLE, "")


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        *((">/dev/full", arguments) for arguments in ("--help", "list rules", "schema recipe", "check missing.yaml --json")),
        *((place, arguments) for place in (">&-", ">&- 2>&- <&-") for arguments in ("list rules", "check missing.yaml --json")),
    ],
)
def test_an_output_that_cannot_be_written_is_no_bug_of_ours(arguments: str, place: str) -> None:
    script = f"exec {shlex.quote(sys.executable)} -m aistack {arguments} {place}"
    done = subprocess.run(["sh", "-c", script], stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60, check=False)
    if "full" in place:
        assert done.returncode == ExitCode.UNABLE
        assert done.stderr.endswith("error: the output cannot be written: No space left on device\n")
        assert "AISTACK_STORE" not in done.stderr
    else:
        assert done.returncode == (ExitCode.NO if "missing" in arguments else ExitCode.OK)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["lock", "plan", "build", "up", "boot", "build --dry-run", "why"])
def test_an_error_is_json_too_where_json_was_asked_for(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ended([*verb.split(), "missing.yaml", *(["kernel"] if verb == "why" else []), "--json"], monkeypatch) == ExitCode.NO
    seen = capsys.readouterr()
    document = json.loads(seen.out)
    assert (document["ok"], [found["rule"] for found in document["diagnostics"]]) == (False, ["DOC011"])
    assert seen.err.startswith("error[DOC011]")


def test_a_terminal_without_our_letters_is_no_reason_to_stop() -> None:
    done = aistack("check", "tests/golden/inputs/wide.yaml", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 1
    assert "unknown key `\\u65e5\\u672c\\u8a9e`" in done.stdout


def test_check_reads_through_links_and_names_with_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "my recipe.yaml"
    link.symlink_to(ROOT / "recipes" / "cpu-embeddings.yaml")
    assert ended(["check", str(link)], monkeypatch) == 0


def test_a_file_that_cannot_be_opened_is_exit_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)  # as unreadable for root as for anybody else
    assert ended(["check", str(loop)], monkeypatch) == ExitCode.UNABLE
    assert "error[DOC012]" in capsys.readouterr().out
    assert ended(["check", str(loop), str(tmp_path / "missing.yaml")], monkeypatch) == ExitCode.NO


def test_completion_installs() -> None:
    script = aistack("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert script.returncode == 0
    assert "_AISTACK_COMPLETE" in script.stdout


def test_completion_knows_the_verbs() -> None:
    done = aistack(_AISTACK_COMPLETE="complete_bash", COMP_WORDS="aistack ch", COMP_CWORD="1")
    assert done.stdout.split() == ["check"], shlex.join(done.args) + done.stderr


def test_verbs_are_imported_only_when_they_run() -> None:
    code = "import sys, aistack.cli; print(*sorted(name for name in sys.modules if name.startswith('aistack.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    shared = ["commands", "commands.ending", "commands.options", "diagnostics", "node_verbs", "report", "report.output", "values", "verbs"]
    assert done.stdout.split() == ["aistack.cli", *(f"aistack.{name}" for name in shared)]


def test_check_needs_no_network_client_and_no_processes() -> None:
    code = """
import sys
from aistack.cli import main
sys.argv = ["aistack", "check", "recipes/cpu-embeddings.yaml"]
try:
    main()
except SystemExit as ended:
    assert not ended.code
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert {"huggingface_hub", "podman", "aistack.host.process", "http.client"} & set(done.stdout.split()) == set()


def test_check_reads_standard_input() -> None:
    text = (ROOT / "recipes" / "cpu-embeddings.yaml").read_text()
    argv = [sys.executable, "-m", "aistack", "check", "-"]
    good = subprocess.run(argv, cwd=ROOT, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert good.returncode == 0 and good.stdout == ""
    bad = subprocess.run(
        argv, cwd=ROOT, input=text.replace("arch: amd64", "arch: amd46"), capture_output=True, text=True, timeout=120, check=False
    )
    assert bad.returncode == 1 and "/dev/stdin:" in bad.stdout
    fixing = subprocess.run([*argv, "--fix"], cwd=ROOT, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert fixing.returncode == 2 and "name one instead of" in fixing.stderr
