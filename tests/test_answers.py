"""Answers: which are refused, with which words, and that the others arrive exactly as given."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import botocore.session
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import local_extensions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEMPLATE = Path(__file__).resolve().parents[1]
NOTEBOOK = "notebooks/sagemaker-pipelines-project.ipynb"
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
LICENSES = {
    "MIT": "MIT License",
    "Apache-2.0": "Apache License",
    "BSD-3-Clause": "BSD 3-Clause License",
    "Proprietary": "All rights reserved",
}
SLUG_RULE = "must be 2 to 21 of a-z, 0-9 and single '-'"
PIPELINE_RULE = "must be 2 to 32 of a-z, 0-9 and single '_'"
TEXT_RULE = "must be one line of 1 to 256 printable characters"

REFUSED = [
    ("project_slug", "", SLUG_RULE),
    ("project_slug", "../x", SLUG_RULE),
    ("project_slug", "/abs", SLUG_RULE),
    ("project_slug", "a/b", SLUG_RULE),
    ("project_slug", "A B", "for example 'a-b'"),
    ("project_slug", "a_b", "for example 'a-b'"),
    ("project_slug", "Abalone", "for example 'abalone'"),
    ("project_slug", "café", "for example 'cafe'"),
    ("project_slug", "-abalone", "for example 'abalone'"),
    ("project_slug", "abalone-", "for example 'abalone'"),
    ("project_slug", "a--b", "for example 'a-b'"),
    ("project_slug", "a", SLUG_RULE),
    ("project_slug", "a" * 22, SLUG_RULE),
    ("project_slug", "abalone\n", SLUG_RULE),
    ("project_slug", "CON", SLUG_RULE),
    ("project_slug", "con", "is a name of Windows: choose another, for example 'con-ml'"),
    ("project_slug", "class", "is a name of Python: choose another, for example 'class-ml'"),
    ("project_slug", "json", "is a name of Python: choose another, for example 'json-ml'"),
    ("project_slug", "scikit-learn", "is a name of a package that the project installs"),
    ("pipeline_name", "", PIPELINE_RULE),
    ("pipeline_name", "a-b", "for example 'a_b'"),
    ("pipeline_name", "_private", "for example 'private'"),
    ("pipeline_name", "2nd", PIPELINE_RULE),
    ("pipeline_name", "a" * 33, PIPELINE_RULE),
    ("pipeline_name", "import", "for example 'import_ml'"),
    ("pipeline_name", "list", "is a name of Python"),
    ("pipeline_name", "nul", "is a name of Windows"),
    ("pipeline_name", "run_pipeline", "is a name of a command of the project"),
    ("project_name", "", TEXT_RULE),
    ("project_name", " Abalone", TEXT_RULE),
    ("project_name", "x" * 257, TEXT_RULE),
    ("description", "", TEXT_RULE),
    ("description", "two\nlines", TEXT_RULE),
    ("description", "two\u2028lines", TEXT_RULE),
    ("author", "nul \0 inside", TEXT_RULE),
    ("author", "half a pair \ud83d", TEXT_RULE),
    ("author", "no character \ufffe", TEXT_RULE),
    ("aws_region", "", "must be a region with SageMaker"),
    ("aws_region", "us-esat-1", "'us-east-1'"),
    ("aws_region", "us-east-1 ", "'us-east-1'"),
    ("aws_region", "cn-nort-1", "'cn-north-1'"),
    ("license", "GPL-3.0", "'MIT' or 'Apache-2.0' or 'BSD-3-Clause' or 'Proprietary'"),
    ("description", "{{ 7 * 7 }}", "which Cookiecutter would run"),
    ("description", "{% if x", "which Cookiecutter would run"),
    ("description", "{# x #}", "which Cookiecutter would run"),
    ("projectname", "x", "no such question, did you mean project_name?"),
    ("colour", "blue", "no such question, there are project_name, project_slug"),
]


@pytest.mark.parametrize(("question", "answer", "rule"), REFUSED, ids=lambda x: ascii(x)[:30])
def test_a_bad_answer_is_refused_in_one_line_before_anything_is_written(
    world, question, answer, rule
):
    before = world.files()
    result = world.generate(**{question: answer})
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"cookiecutter.json: {question}")
    assert rule in result.stderr
    assert world.files() == before


def test_the_command_itself_ends_with_code_2_and_one_line(tmp_path):
    command = [sys.executable, "-m", "cookiecutter", TEMPLATE, "--no-input", "project_slug=A B"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_very_long_answer_is_not_repeated_in_full(world):
    result = world.generate(project_name="x" * 100_000)
    assert len(result.stderr) < 300


def test_an_answer_of_a_user_configuration_is_checked_too(world):
    settings = json.loads(world.config.read_text())
    world.config.write_text(json.dumps({**settings, "default_context": {"aws_region": "mars"}}))
    assert "cookiecutter.json: aws_region 'mars'" in world.generate().stderr


def test_a_target_that_exists_is_left_alone(world):
    (world.target / "abalone").mkdir()
    (world.target / "abalone" / "mine.txt").write_text("mine")
    before = world.files()
    result = world.generate()
    assert result.exit_code == 2
    assert "abalone: exists already: move it away, or choose another" in result.stderr
    assert world.files() == before


@pytest.mark.parametrize("options", [(), ("--overwrite-if-exists",)])
def test_a_target_that_is_a_file_is_left_alone(world, options):
    (world.target / "abalone").write_text("mine")
    result = world.generate(*options)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert (world.target / "abalone").read_text() == "mine"


def test_a_target_in_a_file_is_refused(world):
    (world.target / "file").write_text("mine")
    result = world.generate("--output-dir", world.target / "file" / "deeper")
    assert result.exit_code == 2
    assert f"{world.target / 'file'} is not a folder that you may write to" in result.stderr


def test_a_target_that_may_not_be_written_is_refused(world, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != world.target)  # root may anything
    before = world.files()
    result = world.generate()
    assert result.exit_code == 2
    assert f"{world.target} is not a folder that you may write to" in result.stderr
    assert world.files() == before


def test_a_full_disk_is_refused(world, monkeypatch):
    usage = shutil.disk_usage(world.target)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    before = world.files()
    result = world.generate()
    assert result.exit_code == 2
    assert f"{world.target} has less than 5 MiB free" in result.stderr
    assert world.files() == before


ALLOWED = [
    {"license": license, "aws_region": region, **names}
    for license, region, names in zip(
        QUESTIONS["_licenses"],
        ["us-east-1", "cn-north-1", "us-gov-west-1", "eu-central-1"],
        [
            {"project_slug": "ab", "pipeline_name": "ab"},
            {"project_slug": "a1-2b", "pipeline_name": "a1_2b"},
            {"project_slug": "x" * 21, "pipeline_name": "x" * 32},
            {"project_name": "Age of 2 abalone species, predicted"},
        ],
        strict=True,
    )
]


@pytest.mark.parametrize("answers", ALLOWED, ids=lambda answers: answers["license"])
def test_the_answers_name_and_choose_files(world, answers):
    result = world.generate(**answers)
    assert result.exit_code == 0, result.output
    (project,) = world.target.iterdir()
    assert project.name == answers.get("project_slug", "age-of-2-abalone-spec")
    pipeline = answers.get("pipeline_name", "age_of_2_abalone_spec")
    assert (project / "pipelines" / pipeline / "pipeline.py").is_file()
    assert LICENSES[answers["license"]] in (project / "LICENSE").read_text()
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["name"] == project.name
    assert metadata["license"].removeprefix("LicenseRef-") == answers["license"]
    partition = local_extensions.PARTITIONS[answers["aws_region"]]
    assert f"arn:{partition}:iam::" in (project / "demo.py").read_text()


def test_every_region_has_sagemaker_and_the_container():
    session = botocore.session.get_session()
    sagemaker = {
        region: partition
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("sagemaker", partition)
    }
    images = importlib.metadata.distribution("sagemaker-core").locate_file(
        "sagemaker/core/image_uri_config/sklearn.json"
    )
    containers = json.loads(images.read_text())["training"]["versions"]["1.9-0"]["registries"]
    both = {region: partition for region, partition in sagemaker.items() if region in containers}
    assert both == local_extensions.PARTITIONS


HOSTILE = {
    "quotes": """ "double", 'single', '''three''', \"""three\""" and `back` """.strip(),
    "backslashes": r"C:\new\table \u0041 \" \\",
    "yaml": "# no: comment, - [a, {b: *c}] & !tag | > % @",
    "shell": "${HOME} $(touch x) `touch x` $$ ; touch x && rm -rf x",
    "python": '"); import os; os.abort()  #',
    "html": "</script><b>bold</b> &amp; <!-- x -->",
    "markdown": "1. *a* _b_ ~~c~~ [d](e) ![f](g) $h$ | # ",
    "list": "- item",
    "rule": "---",
    "heading": "# one ## two #",
    "emoji": "🐚 shell, 👩‍🔬 scientist",
    "alphabets": "Морское ушко أذن البحر アワビ",
    "right to left mark": "abc \u200fאבג\u200e def",
    "byte order mark": "\ufeffabalone",
    "percent": "100 % of {braces} and {0} %s %(x)s",
    "long": "a \"very\" long 'text' " * 12 + "end",
}


def plain(markdown, kind):
    """What a reader sees in each block of this kind."""
    tokens = MarkdownIt().parse(markdown)
    inlines = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == f"{kind}_open"]
    return ["".join(child.content for child in inline.children) for inline in inlines]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_but_legal_text_arrives_exactly(world, text):
    text = text.strip()
    answers = {"project_name": f"{text}1", "description": f"{text}2", "author": f"{text}3"}
    result = world.generate(project_slug="abalone", **answers)
    assert result.exit_code == 0, result.output
    project = world.target / "abalone"
    metadata = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    assert metadata["description"] == answers["description"]
    assert metadata["authors"] == [{"name": answers["author"]}]
    readme = (project / "README.md").read_text("utf-8")
    assert plain(readme, "heading")[0] == answers["project_name"]
    assert answers["description"] in plain(readme, "paragraph")
    assert any(p.startswith(f"{answers['author']}. ") for p in plain(readme, "paragraph"))
    notebook = json.loads((project / NOTEBOOK).read_text("utf-8"))
    title = plain("".join(notebook["cells"][0]["source"]), "heading")[0]
    assert title.startswith(f"{answers['project_name']}: ")
    assert f"Copyright (c) {answers['author']}\n" in (project / "LICENSE").read_text("utf-8")
    assert not (project / "x").exists()


def test_the_prompts_ask_in_order_and_what_is_typed_is_never_run(world):
    result = world.generate(typed="Shell {{ 7 * 7 }}\n\nshell\n{% if %}\n\n\n\n")
    assert result.exit_code == 0, result.output
    places = [result.stdout.index(prompt) for prompt in QUESTIONS["__prompts__"].values()]
    assert places == sorted(places)
    project = world.target / "shell-7-7"
    assert (project / "pipelines/shell").is_dir()
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == "{% if %}"
    assert plain((project / "README.md").read_text(), "heading")[0] == "Shell {{ 7 * 7 }}"


def is_legal(text):
    try:
        local_extensions.check_text("author", {"author": text}, "")
        return True
    except local_extensions.Refused:
        return False


@given(st.text(min_size=1, max_size=40).filter(is_legal))
def test_any_legal_text_survives_its_escaping(text):
    quoted = f'"{local_extensions.in_quotes(text)}"'
    assert json.loads(quoted) == text
    assert tomllib.loads(f"x = {quoted}") == {"x": text}
    assert yaml.safe_load(f"x: {quoted}") == {"x": text}
    escaped = local_extensions.in_markdown(text)
    assert plain(f"# {escaped}\n\n{escaped}\n", "heading") == [text]
    assert plain(f"# {escaped}\n\n{escaped}\n", "paragraph") == [text]


@given(st.text(max_size=40))
def test_a_suggested_name_is_a_good_one(text):
    slug = local_extensions.suggest_slug(text)
    local_extensions.check_name("project_slug", {"project_slug": slug}, "-", 21)
