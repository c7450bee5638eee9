"""The pages of promises and bad inputs agree with the tests; workflows run nothing unpinned.

A test cites a promise as `P8` and a bad input as `row 33`, `rows 33 to 36` or `rows 41 and 42`: in
its name (`test_p8_...`, `test_rows_33_34_35_...`), in its docstring, or in a comment or docstring
of its file. A row or promise is proven by a test that cites it in its name or its own docstring.
"""

import ast
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

TEMPLATE = Path(__file__).resolve().parents[1]
GENERATED = "{{cookiecutter.project_slug}}"
TEST = re.compile(r"`([\w{}./-]+\.py)::(test_\w+)`")


def functions_of(path):
    """{name: docstring} of the test functions in a file."""
    functions = ast.walk(ast.parse(path.read_text()))
    return {
        node.name: ast.get_docstring(node) or ""
        for node in functions
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def listed_files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*test_*.py"],
        cwd=TEMPLATE,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [TEMPLATE / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.name.startswith("test_") and path != Path(__file__)]


FILES = {path.name: path for path in listed_files() if path.exists()}
TESTS = {name: functions_of(path) for name, path in FILES.items()}


def expand(text):
    """The numbers in "33, 34", "33_34", "33 to 36" or "1 to 3 and 6"."""
    numbers = {int(number) for number in re.findall(r"\d+", text)}
    for first, last in re.findall(r"(\d+)[ _]to[ _](\d+)", text):
        numbers |= set(range(int(first), int(last) + 1))
    return numbers


def promises_cited(text):
    numbers = {int(number) for number in re.findall(r"(?:\bP|_p)(\d+)(?=\b|_)", text)}
    ranges = re.findall(r"\bP\d+ to P\d+\b", text)
    return numbers.union(*(expand(each.replace("P", "")) for each in ranges))


def rows_cited(text):
    lists = re.findall(r"(?:\b[Rr]|_r)ows?[ _](\d+(?:(?:, | to | and |_to_|_)\d+)*)", text)
    return set().union(*map(expand, lists))


def promises():
    """{number: the text of its section in promises.md}"""
    page = (TEMPLATE / "docs/promises.md").read_text()
    sections = re.split(r"^##+ ", page, flags=re.MULTILINE)[1:]
    found = [(re.match(r"P(\d+)\. ", text), text) for text in sections]
    return {int(match[1]): text for match, text in found if match}


def rows():
    """{number: the line of its row in bad-inputs.md}"""
    page = (TEMPLATE / "docs/bad-inputs.md").read_text()
    return {int(number): line for line, number in re.findall(r"^(\| (\d+) \|.*)$", page, re.M)}


PAGES = [
    pytest.param(promises(), promises_cited, 38, id="promises"),
    pytest.param(rows(), rows_cited, 48, id="bad inputs"),
]


@pytest.mark.parametrize("page, cited, last", PAGES)
def test_the_page_has_every_number_once_and_in_all(page, cited, last):
    assert sorted(page) == list(range(1, last + 1))


@pytest.mark.parametrize("page, cited, last", PAGES)
def test_every_number_that_a_test_cites_is_on_the_page(page, cited, last):
    for path in FILES.values():
        # What is in quotes on one line is data: a message may speak of a row of its own.
        text = re.sub(r'(?<!")"[^"\n]+"(?!")|\'[^\'\n]*\'', "", path.read_text())
        assert cited(text) <= set(page), path


@pytest.mark.parametrize("page, cited, last", PAGES)
def test_every_entry_names_tests_that_exist_and_one_that_cites_it(page, cited, last):
    for number, text in page.items():
        named = [(Path(path).name, test) for path, test in TEST.findall(text)]
        assert named, f"{number} names no test"
        for file, test in named:
            assert test in TESTS.get(file, ()), f"{number}: there is no {file}::{test}"
        citations = [f"{test} {TESTS[file][test]}" for file, test in named]
        owners = {GENERATED in str(FILES[file]) for file, _ in named}
        # The tests of a generated project are its user's, and know nothing of these pages.
        assert owners == {True} or any(number in cited(text) for text in citations), (
            f"none of the tests named for {number} cites it: {named}"
        )


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("# Rows 33 to 36: artifacts", {33, 34, 35, 36}),
        ("def test_rows_37_to_39_a_request", {37, 38, 39}),
        ("def test_rows_33_34_35_an_artifact", {33, 34, 35}),
        ("P24 and row 45: nowhere", {45}),
        ("and rows 41 and 42 of the bad inputs", {41, 42}),
        ("Rows 1 to 3 and 6 of the bad inputs.", {1, 2, 3, 6}),
        ("Rows of the table", set()),
    ],
)
def test_rows_are_read(text, numbers):
    assert rows_cited(text) == numbers


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("def test_p9_p13_every_call", {9, 13}),
        ("P29, P30 and P35", {29, 30, 35}),
        ("P17 to P21, and more", {17, 18, 19, 20, 21}),
        ("p50 and p99, P", set()),
    ],
)
def test_promises_are_read(text, numbers):
    assert promises_cited(text) == numbers


def test_every_action_of_a_workflow_is_pinned():
    for path in (TEMPLATE / ".github/workflows").glob("*.yml"):
        for line in re.findall(r"uses: .*", path.read_text()):
            assert re.fullmatch(r"uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+", line), f"{path}: {line}"
