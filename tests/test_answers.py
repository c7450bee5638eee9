"""Answers: which are refused, with which words, and that the others arrive exactly as given."""

import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import botocore.session
import click
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

pytestmark = pytest.mark.fast

TEMPLATE = Path(__file__).resolve().parents[1]
NOTEBOOK = "notebooks/sagemaker-pipelines-project.ipynb"
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
PUBLIC = [name for name in QUESTIONS if not name.startswith("_")]
FOLDER = "{{cookiecutter.project_slug}}"
LICENSES = {
    "MIT": "MIT License",
    "Apache-2.0": "Apache License",
    "BSD-3-Clause": "BSD 3-Clause License",
    "Proprietary": "All rights reserved",
}
SLUG_RULE = "must be 2 to 21 of a-z, 0-9 and single '-'"
PIPELINE_RULE = "must be 2 to 32 of a-z, 0-9 and single '_'"
TEXT_RULE = "must be one line of 1 to 256 printable characters"
JINJA_RULE = "must hold no {{, {% or {#"
LICENSE_RULE = "by number or name: 1 MIT, 2 Apache-2.0, 3 BSD-3-Clause, 4 Proprietary"

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
    ("aws_region", "mars", "for example 'us-east-1'"),
    ("aws_region", "us-esat-1", "'us-east-1'"),
    ("aws_region", "us-east-1 ", "'us-east-1'"),
    ("aws_region", "cn-nort-1", "'cn-north-1'"),
    ("license", "GPL-3.0", LICENSE_RULE),
    ("license", "5", LICENSE_RULE),
    ("license", "0", LICENSE_RULE),
    ("license", "", LICENSE_RULE),
    ("project_name", "{{ 7 * 7 }}", JINJA_RULE),
    ("description", "{% if x", JINJA_RULE),
    ("author", "{# x #}", JINJA_RULE),
    ("project_slug", "{{ 'a' }}", SLUG_RULE),
    ("pipeline_name", "{{ 'a' }}", PIPELINE_RULE),
    ("aws_region", "{{ 'us-east-1' }}", "must be a region with SageMaker"),
    ("license", "{{ 'MIT' }}", LICENSE_RULE),
]


@pytest.mark.parametrize(("question", "answer", "rule"), REFUSED, ids=lambda x: ascii(x)[:30])
def test_a_bad_answer_is_refused_in_one_line_before_anything_is_written(
    world, entrance, question, answer, rule
):
    """Rows 1 to 3 and 6 of the bad inputs."""
    before = world.files()
    refusal = world.enter(entrance, {question: answer})
    assert len(refusal.splitlines()) == 1
    assert refusal.startswith(f"cookiecutter.json: {question} {repr(answer)[:10]}")
    assert rule in refusal
    assert world.files() == before


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ("projectname", "did you mean project_name?"),
        ("colour", "there are project_name, project_slug"),
        ("__license", "did you mean license?"),
        ("_template_version", "no such question"),
        ("two\nlines", "no such question"),
    ],
)
def test_a_question_that_does_not_exist_is_refused(world, question, rule):
    """Row 11 of the bad inputs."""
    before = world.files()
    refusal = world.enter("flags", {question: "blue"})
    shown = question if question.isidentifier() else repr(question)
    assert refusal.startswith(f"cookiecutter.json: {shown} 'blue': no such question")
    assert rule in refusal
    assert len(refusal.splitlines()) == 1
    assert world.files() == before


def test_several_faults_are_told_at_once(world, entrance):
    bad = {"project_slug": "A b", "pipeline_name": "1", "author": "", "license": "5"}
    lines = world.enter(entrance, bad).splitlines()
    assert [line.split()[1] for line in lines] == list(bad)


def test_several_questions_that_do_not_exist_are_told_at_once(world):
    lines = world.enter("flags", {"projectname": "x", "colour": "blue"}).splitlines()
    assert [line.split()[1] for line in lines] == ["projectname", "colour"]


def test_what_follows_from_a_bad_slug_is_not_told_again(world):
    for answers in ({"project_slug": "A b"}, {"project_slug": "json", "pipeline_name": "json"}):
        [line] = world.enter("flags", answers).splitlines()
        assert line.startswith("cookiecutter.json: project_slug")


def test_a_refused_run_is_not_kept_to_be_replayed(world):
    world.generate(author="")
    assert not (world.home / f"{TEMPLATE.name}.json").exists()


# Jinja


@pytest.mark.parametrize("question", PUBLIC)
def test_jinja_in_an_answer_is_never_run(world, entrance, question):
    """Row 4 of the bad inputs."""
    before = world.files()
    code = "{{ cycler.__init__.__globals__.os.mkdir('%s') }}" % (world.root / "ran")
    for answer in (code, {"{{ x }}": code}, [code]) if entrance == "program" else (code,):
        refusal = world.enter(entrance, {question: answer})
        assert f"cookiecutter.json: {question} " in refusal
        assert world.files() == before


@pytest.mark.parametrize("question", PUBLIC)
def test_an_answer_that_reads_like_the_template_s_folder_is_refused(world, entrance, question):
    before = world.files()
    assert world.enter(entrance, {question: FOLDER}).startswith(f"cookiecutter.json: {question}")
    assert world.files() == before


def test_an_answer_that_reads_like_the_template_s_own_jinja_runs_nothing(world, entrance):
    for own in [QUESTIONS["__gathered"], "{{ folder(cookiecutter) }}", "{{ literal(0) }}"]:
        assert "cookiecutter.json: author" in world.enter(entrance, {"author": own})


# What is not an answer


EVIL = '"\nevil = 1\nx = "'
PRIVATE = {
    "_template_version": EVIL,
    "_derived": {"__description_in_quotes": EVIL, "__more": EVIL},
    "_licenses": [],
    "_copy_without_render": [],
    "__gathered": "",
    "__description_in_quotes": EVIL,
    "__license": "GPL-3.0",
    "__partition": EVIL,
    "_new_lines": "\r\n",
}


@pytest.mark.parametrize("entrance", ["configuration", "replay", "program"], indirect=True)
def test_private_variables_of_others_have_no_effect(world, default_project, entrance):
    assert world.enter(entrance, PRIVATE) == ""
    assert tree(world.target / "abalone") == tree(default_project)


@pytest.mark.parametrize("entrance", ["configuration", "replay", "program"], indirect=True)
def test_private_variables_of_others_let_nothing_through(world, entrance):
    before = world.files()
    refusal = world.enter(entrance, {**PRIVATE, "project_slug": "../up", "author": EVIL})
    assert [line.split()[1] for line in refusal.splitlines()] == ["project_slug", "author"]
    assert world.files() == before


STRANGE = [None, True, 7, 2.5, {}, {"a": "b"}, [["a"]], [{"a": None}], ["a", "b"]]


@pytest.mark.parametrize("question", PUBLIC)
@pytest.mark.parametrize("answer", STRANGE, ids=repr)
def test_an_answer_that_is_no_text_is_no_reason_for_a_traceback(world, question, answer):
    before = world.files()
    bad = {"license": "5", "author": ""}
    with pytest.raises(click.ClickException) as refused:
        world.program(extra_context={**bad, question: answer})
    lines = refused.value.format_message().splitlines()
    assert all(line.startswith("cookiecutter.json: ") for line in lines)
    if isinstance(answer, dict) or answer is None:
        assert any(line.split()[1] == question for line in lines)
    assert world.files() == before


def test_a_number_is_understood_as_its_text(world):
    project = world.program(extra_context={"project_slug": "ab", "description": 7, "license": 2})
    settings = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert (settings["description"], settings["license"]) == ("7", "Apache-2.0")


# Replay


def tree(project):
    command = ["git", "rev-parse", "HEAD^{tree}"]
    return subprocess.run(command, cwd=project, check=True, capture_output=True).stdout


def test_a_replay_gives_the_same_project(world):
    answers = {"project_name": "Shells 🐚", "aws_region": "cn-north-1", "license": "bsd-3-clause"}
    assert world.generate(project_slug="shells", **answers).exit_code == 0
    kept = world.home / f"{TEMPLATE.name}.json"
    for number, options in enumerate([["--replay"], ["--replay-file", kept]]):
        place = world.root / f"again{number}"
        result = world.generate(*options, "--output-dir", place)
        assert result.exit_code == 0, result.output
        assert tree(place / "shells") == tree(world.target / "shells")


def test_the_answers_are_recorded_in_the_project(world):
    answers = {
        "project_name": 'Shell "age"',
        "project_slug": "shell",
        "pipeline_name": "shell_age",
        "description": r"C:\new # 🐚",
        "author": "Ana",
        "aws_region": "eu-west-1",
        "license": "2",
    }
    assert world.generate(**answers).exit_code == 0
    settings = tomllib.loads((world.target / "shell/pyproject.toml").read_text("utf-8"))
    recorded = settings["tool"]["sagemaker-project"]
    assert recorded["answers"] == {**answers, "license": "Apache-2.0"}
    assert recorded["template-version"] == QUESTIONS["_template_version"]


# The command


def test_the_command_itself_ends_with_code_2_and_one_line(tmp_path):
    command = [sys.executable, "-m", "cookiecutter", TEMPLATE, "--no-input", "project_slug=A B"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_very_long_answer_is_not_repeated_in_full(world):
    result = world.generate(project_name="x" * 100_000)
    assert len(result.stderr) < 300


# The target


def test_a_target_that_exists_is_left_alone(world):
    """Row 12 of the bad inputs."""
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


# Good answers


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
    assert f"arn:{partition}:iam::" in (project / "README.md").read_text()
    assert f"arn:{partition}:iam::" in (project / NOTEBOOK).read_text()


@pytest.mark.parametrize(
    ("answer", "license"),
    [("mit", "MIT"), ("2", "Apache-2.0"), ("BSD-3-clause", "BSD-3-Clause"), ("4", "Proprietary")],
)
def test_a_license_is_known_by_number_and_in_any_case(world, answer, license):
    result = world.generate(license=answer)
    assert result.exit_code == 0, result.output
    assert LICENSES[license] in (world.target / "abalone/LICENSE").read_text()
    settings = tomllib.loads((world.target / "abalone/pyproject.toml").read_text())
    assert settings["project"]["license"].removeprefix("LicenseRef-") == license


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
    """Row 5 of the bad inputs."""
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


# Prompts


def test_the_prompts_ask_in_order(world):
    result = world.generate(typed="Shells: 100 %\n\nshell\nAge [of] shells\n\n\nmit\n")
    assert result.exit_code == 0, result.output
    places = [result.stdout.index(prompt) for prompt in QUESTIONS["__prompts__"].values()]
    assert places == sorted(places)
    project = world.target / "shells-100"
    assert (project / "pipelines/shell").is_dir()
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == "Age [of] shells"
    assert plain((project / "README.md").read_text(), "heading")[0] == "Shells: 100 %"


def test_what_is_typed_is_never_run(world):
    before = world.files()
    result = world.generate(typed="Shell {{ 7 * 7 }}\n\n\n{% if %}\n\n\n\n")
    assert result.exit_code == 2
    faults = result.stderr.splitlines()[:-1]
    assert ["Shell {{ 7 * 7 }}" in faults[0], "{% if %}" in faults[1]] == [True, True]
    assert world.files() == before


GOOD = {"project_slug": "shells", "author": "Ana", "aws_region": "eu-west-1"}


def test_after_prompts_the_command_is_told_that_repeats_the_good_answers(world):
    typed = "Ana's shells\nA b\n\nAge of $shells\n {{\nmars\n2\n"
    *faults, last = world.generate(typed=typed).stderr.splitlines()
    assert [fault.split()[1] for fault in faults] == list(GOOD)
    hint, _, command = last.partition(": ")
    assert hint == "once more, with other answers for ..."
    words = shlex.split(command)
    for question, answer in GOOD.items():
        words[words.index(f"{question}=...")] = f"{question}={answer}"
    assert words[0] == "cookiecutter"
    assert world.run(words[1:]).exit_code == 0
    settings = tomllib.loads((world.target / "shells/pyproject.toml").read_text())
    typed_answers = {"project_name": "Ana's shells", "description": "Age of $shells"}
    others = {"pipeline_name": "shells", "license": "Apache-2.0"}
    assert settings["tool"]["sagemaker-project"]["answers"] == {**typed_answers, **GOOD, **others}


def test_after_prompts_a_target_that_exists_costs_no_answer(world):
    (world.target / "shells").mkdir()
    fault, last = world.generate(typed="Shells\n\n\n\n\n\n\n").stderr.splitlines()
    assert "exists already" in fault
    (world.target / "shells").rmdir()
    hint, _, command = last.partition(": ")
    assert hint == "then once more"
    assert world.run(shlex.split(command)[1:]).exit_code == 0
    assert (world.target / "shells/Makefile").is_file()


# Written safely


def is_legal(text):
    try:
        local_extensions.RULES["author"](text)
        return True
    except local_extensions.Fault:
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
    local_extensions.RULES["project_slug"](slug)
    local_extensions.RULES["pipeline_name"](local_extensions.underscored(slug))
