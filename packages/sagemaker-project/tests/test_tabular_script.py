"""What the scripts of a job share: arguments, errors, files."""

import argparse

import pytest
from sagemaker_project.tabular.schema import read_schema
from sagemaker_project.tabular.script import (
    Parser,
    as_json,
    path_option,
    real,
    run,
    seed_number,
    sha256_of,
    whole,
    write_all,
)
from sagemaker_project.tabular.table import BadInput

pytestmark = pytest.mark.fast


def failing(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [(BadInput("line 3: x"), 2), (PermissionError("disk is read-only"), 1)],
)
def test_an_error_is_one_line_on_stderr_and_in_the_message(tmp_path, capsys, error, code):
    message = tmp_path / "output" / "message"
    assert run("train.py", failing(error), message) == code
    assert message.read_text() == f"train.py: {error}"
    assert capsys.readouterr().err == f"train.py: {error}\n"


def test_a_wrong_schema_is_an_error_of_the_input(capsys):
    assert run("train.py", lambda: read_schema(b"{"), None) == 2
    assert capsys.readouterr().err.startswith("train.py: schema.json: not JSON")


def test_an_error_of_several_lines_is_told_in_one(capsys):
    assert run("train.py", failing(BadInput("one\ntwo\r\nthree")), None) == 2
    assert capsys.readouterr().err == "train.py: one two three\n"


def test_a_mistake_in_the_code_keeps_its_traceback(tmp_path):
    with pytest.raises(KeyError):
        run("train.py", failing(KeyError("x")), tmp_path / "message")


def test_a_long_message_is_cut_between_characters(tmp_path):
    run("train.py", failing(BadInput("é" * 2_000)), tmp_path / "message")
    content = (tmp_path / "message").read_bytes()
    assert 1022 < len(content) <= 1024
    assert content.decode() == "train.py: " + "é" * 507


def test_an_error_is_told_where_its_message_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("train.py", failing(BadInput("x")), tmp_path / "file" / "message") == 2
    assert capsys.readouterr().err == "train.py: x\n"


def test_all_went_well(tmp_path):
    done = []
    assert run("train.py", lambda: done.append(1), tmp_path / "message") == 0
    assert done and not (tmp_path / "message").exists()


@pytest.mark.parametrize("arguments", [["--seed", "x"], ["--see", "1"], ["1"], ["--seed"]])
def test_wrong_arguments_are_bad_input(arguments):
    parser = Parser("Test.")
    parser.add_argument("--seed", type=seed_number)
    with pytest.raises(BadInput, match="; see --help$"):
        parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--message", "a/b"], "a/b"),
        (["--wrong", "--message=a/b"], "a/b"),
        (["--seed", "x", "--message", "a/b", "more"], "a/b"),
        (["--mess", "a/b"], None),
        (["--message"], None),
        ([], None),
    ],
)
def test_message_is_found_among_wrong_arguments(argv, expected):
    path = path_option("--message", argv)
    assert (path.as_posix() if path else None) == expected


@pytest.mark.parametrize("text", ["0", "7", "4294967295"])
def test_seeds(text):
    assert seed_number(text) == int(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "4294967296", "1_0", "７", "²", "x", " 7"])
def test_no_seeds(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 0 to 2"):
        seed_number(text)


@pytest.mark.parametrize("text", ["0", "11", "1_0", "７", "+7", "7.0", ""])
def test_no_whole_numbers_of_the_range(text):
    assert whole("10", 1, 10) == 10
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 1 to 10"):
        whole(text, 1, 10)


@pytest.mark.parametrize(
    "text", ["0", "1.01", "nan", "inf", "1_0", "０.5", "", "x", "0x1", "1e999"]
)
def test_no_numbers_of_the_range(text):
    assert real("1", 0, 1) == 1.0 and real(".5e0", 0, 1) == 0.5
    assert real("0", 0, 1, low_included=True) == 0.0
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number above 0, up to 1"):
        real(text, 0, 1)


def test_files_are_written_as_text_bytes_and_by_functions(tmp_path):
    write_all(
        {
            tmp_path / "a" / "text": "é\n",
            tmp_path / "bytes": b"\0\r\n",
            tmp_path / "function": lambda path: path.write_text("x"),
        }
    )
    assert (tmp_path / "a" / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\0\r\n"
    assert (tmp_path / "function").read_text() == "x"
    assert sha256_of(tmp_path / "function").startswith("2d711642b726b044")


def test_a_failed_write_leaves_the_earlier_files_alone(tmp_path):
    (tmp_path / "one").write_text("before")

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_all({tmp_path / "one": "after", tmp_path / "two": fail})
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert (tmp_path / "one").read_text() == "before"


def test_json_has_no_number_that_is_none():
    assert as_json({"a": 1.5}) == '{\n  "a": 1.5\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        as_json({"a": float("nan")})
