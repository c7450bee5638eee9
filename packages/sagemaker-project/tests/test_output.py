"""Output never ends a command: its exit code is what became of the deployment. P35, P36."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile

import pytest
from deploy_helpers import BUCKET, COMMANDS, artifact, refused, some
from sagemaker_project import cli, deploy

FULL = "No space left on device"


def in_a_shell(place, redirection, *words):
    """Run `deploy-model` as a shell does, with this redirection."""
    arguments = place.arguments(*words)
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh"]
        + [sys.executable, "-m", COMMANDS["deploy-model"], *arguments],
        cwd=place.project,
        env={**os.environ, **place.environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def no_traceback(ended):
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr
    assert "Traceback" not in ended.stdout


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "redirection",
    [
        "> /dev/full",
        pytest.param(">&-", marks=pytest.mark.acceptance),
        "2> /dev/full",
        pytest.param("2>&-", marks=pytest.mark.acceptance),
        ">&- 2>&-",
    ],
)
def test_p35_a_promotion_whose_output_cannot_be_written_ends_as_it_would(place, redirection):
    arn = place.register()
    ended = in_a_shell(place, redirection, "promote", "--model-package-arn", arn)
    assert ended.returncode == 0, ended
    no_traceback(ended)
    assert place.version() == 1
    assert [entry["Kind"] for entry in place.entries()] == ["Started", "Promoted"]
    if redirection.startswith("2"):
        assert json.loads(ended.stdout)["Outcome"] == "Promoted"
    elif "2" not in redirection:
        last = ended.stderr.splitlines()[-1]
        assert "the result could not be written to standard output" in last
        assert f"Promoted: {place.name}-staging serves version 1" in last


@pytest.mark.acceptance
@pytest.mark.parametrize("redirection", some(["> /dev/full", "2> /dev/full"]))
def test_p35_a_promotion_that_fails_ends_with_1_whatever_its_output(place, redirection):
    arn = place.register(body=artifact(broken=True))
    ended = in_a_shell(place, redirection, "promote", "--model-package-arn", arn)
    assert ended.returncode == 1, ended
    no_traceback(ended)
    assert [entry["Kind"] for entry in place.entries()] == ["Started", "Failed"]


@pytest.mark.parametrize("words", [("status",), ("help",)])
def test_p35_a_command_that_only_prints_fails_where_it_cannot(place, words, monkeypatch):
    arguments = list(words) if words == ("help",) else place.arguments(*words)
    for stream in (None, full()):
        err = io.StringIO()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", err)
        with place.entered():
            assert place.main(arguments) == 2
        assert "could not be written to standard output" in err.getvalue()
        assert err.getvalue().count("\n") == 1


def full():
    return open("/dev/full", "w")  # noqa: SIM115


class Filling(io.StringIO):
    """A file on a disk that has room for some lines."""

    def __init__(self, lines, error):
        super().__init__()
        self.lines, self.error = lines, error

    def write(self, text):
        if self.getvalue().count("\n") >= self.lines:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error", [OSError(28, FULL), BrokenPipeError(), ValueError("I/O operation on closed file")]
)
def test_p35_progress_that_cannot_be_written_any_more_changes_nothing(place, monkeypatch, error):
    arn = place.register()
    out, err = io.StringIO(), Filling(2, error)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with place.entered():
        assert place.main(place.arguments("promote", "--model-package-arn", arn)) == 0
    assert json.loads(out.getvalue())["Outcome"] == "Promoted" and place.version() == 1
    assert err.getvalue().count("\n") == 2


def test_p35_letters_that_a_terminal_does_not_have_do_not_end_a_promotion(place, monkeypatch):
    arn = place.register()
    place.approve(arn, "Approved", "sieht gut aus: größer als α")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    words = [w for w in place.arguments("promote", "--model-package-arn", arn) if w != "--json"]
    with place.entered():
        assert place.main(words) == 0
        assert place.main([w for w in place.arguments("history") if w != "--json"]) == 0
    assert b"serves version 1" in raw.getvalue()


def test_p35_output_with_letters_of_another_alphabet_is_escaped():
    raw = io.BytesIO()
    stream = cli.Output(io.TextIOWrapper(raw, encoding="ascii"))
    print("größer", file=stream, flush=True)
    assert (raw.getvalue(), stream.problem) == (b"gr\\xf6\\xdfer\n", "")


# What the command itself writes to this machine


@pytest.mark.parametrize("folder", ["missing", "full"])
def test_p35_no_usable_temporary_folder_is_a_2(place, monkeypatch, tmp_path, folder):
    arn = place.register()
    if folder == "missing":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    else:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b"))  # noqa: SIM115
    result, calls = place.logged("promote", "--model-package-arn", arn)
    refused(result, calls, "temporary folder", "TMPDIR", "Nothing was changed", code=2)
    assert place.entries() == []


def test_p35_a_test_whose_report_cannot_be_kept_here_says_that_it_is_recorded(place, tmp_path):
    assert place.deploy("promote", "--model-package-arn", place.register())["ExitCode"] == 0
    (tmp_path / "reports").write_text("a file where the folder would be")
    result = place.deploy("test")
    assert (result["ExitCode"], result["Outcome"]) == (0, "Passed"), result
    test = place.entries()[-1]["Test"]
    for part in ("is recorded", test["ReportUri"], "could not be written", "reports"):
        assert part in result["Message"]
    assert result["Report"] == test["ReportUri"]
    key = test["ReportUri"].removeprefix(f"s3://{BUCKET}/")
    assert json.loads(place.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())


# Signals in the first and in the last moment


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", some(["result", "imports", "arguments"]))
def test_p36_a_signal_at_any_moment_ends_with_one_line(place, monkeypatch, moment, number, code):
    from sagemaker_project import usage
    from sagemaker_project.deploy import deploy_model, display

    def stop(*_):
        os.kill(os.getpid(), number)

    where = {"arguments": (deploy_model, "parse"), "imports": (usage, "quiet_sdk")}
    monkeypatch.setattr(*where.get(moment, (display, "show")), stop)
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with place.entered():
        words = [word for word in place.arguments("status") if word != "--json"]
        assert place.main(words) == code
    assert out.getvalue() == ""
    assert err.getvalue().count("\n") == 1 and "interrupted by SIG" in err.getvalue()
    assert "run the same command again" in err.getvalue()


def test_p36_a_signal_while_the_command_is_imported_ends_with_one_line(monkeypatch, capsys):
    class Stopped:
        def find_spec(self, name, *_):
            if name == "sagemaker_project.deploy.deploy_model":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "sagemaker_project.deploy.deploy_model", raising=False)
    monkeypatch.delattr(deploy, "deploy_model", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Stopped(), *sys.meta_path])
    assert deploy.main(None, ["status"]) == 130
    assert capsys.readouterr().err == "deploy-model: interrupted; nothing was changed\n"


# The other commands


def test_what_run_command_cannot_write_does_not_change_its_end(monkeypatch, capsys):
    def command():
        print("started", flush=True)

    monkeypatch.setattr(sys, "stdout", full())
    assert cli.run_command("run-pipeline", command) == 0
    assert capsys.readouterr().err == (
        f"run-pipeline: standard output could not be written: {FULL}\n"
    )
    monkeypatch.setattr(sys, "stdout", full())
    assert cli.run_command("get-pipeline-definition", command, prints_result=True) == 2
