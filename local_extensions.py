"""What cookiecutter.json needs from Python: the rules for answers, and answers made safe to write.

Cookiecutter makes the project's folder before its pre_gen_project hook runs, so a hook that
refuses `../x` or `a/b` comes too late. A Jinja extension runs inside Cookiecutter: two private
variables of cookiecutter.json call it while nothing is written. check_command_line() comes before
the first answer is rendered, and so before Jinja inside an answer could run; check_answers() comes
after the last. Both render as nothing.

A refusal is an exception of click, which Cookiecutter's command line is built on: one line on
stderr and exit code 2. A program that calls cookiecutter() itself gets an exception to catch.
"""

import builtins
import difflib
import json
import keyword
import os
import re
import shutil
import sys
import unicodedata
from pathlib import Path

import click
from jinja2.ext import Extension
from slugify import slugify

HERE = Path(__file__).parent
QUESTIONS = [
    key
    for key in json.loads((HERE / "cookiecutter.json").read_text(encoding="utf-8"))
    if not key.startswith("_")
]
LOCK = HERE / "{{cookiecutter.project_slug}}" / "requirements.lock"

# Each partition's regions that have both SageMaker and its scikit-learn 1.9-0 container.
REGIONS = """\
aws af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
aws ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ca-central-1 ca-west-1
aws eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3
aws il-central-1 me-central-1 me-south-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2
aws-cn cn-north-1 cn-northwest-1
aws-us-gov us-gov-east-1 us-gov-west-1
aws-iso us-iso-east-1
aws-iso-b us-isob-east-1
aws-iso-f us-isof-east-1 us-isof-south-1
"""
PARTITIONS = {
    region: partition
    for partition, *regions in map(str.split, REGIONS.splitlines())
    for region in regions
}

PYTHON_WORDS = (
    {word.lower() for word in keyword.kwlist} | sys.stdlib_module_names | {*dir(builtins)}
)
WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{p}{n}" for p in ("com", "lpt") for n in range(10)
}
COMMANDS = {"run_pipeline", "get_pipeline_definition"}  # modules beside pipelines/<pipeline_name>/
SPACE = 5 * 2**20  # bytes: several times a fresh project with its commit


class Refused(click.ClickException):
    exit_code = 2

    def show(self, file=None):
        click.echo(self.message, err=True)


def check_command_line():
    """Refuse a key=value that Cookiecutter would drop as unknown, or run as Jinja."""
    command = click.get_current_context(silent=True)
    for key, value in (command and command.params["extra_context"] or {}).items():
        if key not in QUESTIONS:
            near = difflib.get_close_matches(key, QUESTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(QUESTIONS)}"
            raise Refused(f"cookiecutter.json: {key}={value!r}: no such question, {hint}")
        if re.search("{[{%#]", value):
            refuse(key, value, "holds {{, {% or {#, which Cookiecutter would run: leave it out")
    return ""


def check_answers(answers):
    """Refuse the first answer that breaks its rule, then a target that cannot be written."""
    check_command_line()  # again: an answer called __command_line would have replaced the first
    check_text("project_name", answers, "Abalone age prediction")
    check_name("project_slug", answers, "-", 21)
    check_name("pipeline_name", answers, "_", 32)
    check_text("description", answers, "Predict the age of abalone")
    check_text("author", answers, "Data Science Team")
    has_sagemaker = "must be a region with SageMaker and its scikit-learn 1.9-0 container"
    check_choice("aws_region", answers, PARTITIONS, has_sagemaker)
    check_choice(
        "license", answers, answers["_licenses"], "must be a license that the template has"
    )
    if command := click.get_current_context(silent=True):
        target = Path(command.params["output_dir"], answers["project_slug"])
        check_target(target, command.params["overwrite_if_exists"])
    return ""


def refuse(question, value, rule):
    shown = value if len(value) <= 60 else value[:57] + "..."
    raise Refused(f"cookiecutter.json: {question} {shown!r}: {rule}")


def check_text(question, answers, example):
    text = answers[question]
    if not 1 <= len(text) <= 256 or text != text.strip() or not all(map(is_printable, text)):
        rule = "must be one line of 1 to 256 printable characters, with no space at either end"
        refuse(question, text, f"{rule}, for example {example!r}")


def is_printable(character):
    """False for what ends a line or is no character; marks that only steer the writing are fine."""
    code = ord(character)
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and not is_noncharacter


def check_name(question, answers, separator, longest):
    name = answers[question]
    example = suggest_slug(name).replace("-", separator)
    if not re.fullmatch(f"[a-z]({separator}?[a-z0-9])+", name) or len(name) > longest:
        rule = (
            f"must be 2 to {longest} of a-z, 0-9 and single {separator!r}, "
            f"beginning with a letter and not ending with {separator!r}"
        )
        refuse(question, name, f"{rule}, for example {example!r}")
    if owner := reserved(name):
        refuse(question, name, f"is a name of {owner}: choose another, for example {example!r}")


def reserved(name):
    """Who has the name already, or None. Installing a project called numpy would replace numpy."""
    packages = re.findall("^([a-z0-9-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    owners = {
        "Python": PYTHON_WORDS,
        "Windows": WINDOWS_DEVICES,
        "a command of the project": COMMANDS,
        "a package that the project installs": {package.replace("-", "_") for package in packages},
    }
    word = name.replace("-", "_")
    return next((owner for owner, words in owners.items() if word in words), None)


def suggest_slug(text):
    """The nearest name that check_name allows as a project_slug."""
    word = re.sub("^[^a-z]+", "", slugify(text))[:21].strip("-")
    if len(word) < 2:
        return "abalone"
    return f"{word[:18].strip('-')}-ml" if reserved(word) else word


def check_choice(question, answers, choices, rule):
    choice = answers[question]
    if choice not in choices:
        near = difflib.get_close_matches(choice, choices, cutoff=0.5) or choices
        refuse(question, choice, f"{rule}, for example {' or '.join(map(repr, near))}")


def check_target(target, overwrite):
    parent = next(folder for folder in target.absolute().parents if folder.exists())
    if target.exists() and not (overwrite and target.is_dir()):
        reason = "exists already: move it away, or choose another project_slug"
    elif not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        reason = f"cannot be made: {parent} is not a folder that you may write to"
    elif shutil.disk_usage(parent).free < SPACE:
        reason = f"cannot be made: {parent} has less than {SPACE // 2**20} MiB free"
    else:
        return
    raise Refused(f"cookiecutter: {target}: {reason}")


def in_quotes(text):
    """For between double quotes in JSON, TOML or YAML; the last two know no surrogate pairs."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def in_markdown(text):
    """For a heading or a paragraph: what would be markup is escaped, the rest stays readable."""
    escaped = re.sub(r"[\\`*_\[\]<>#|~&$]", r"\\\g<0>", text)
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escaped)


class Answers(Extension):
    def __init__(self, environment):
        super().__init__(environment)
        environment.globals |= {
            "check_command_line": check_command_line,
            "check_answers": check_answers,
        }
        environment.filters |= {
            "slug": suggest_slug,
            "partition": PARTITIONS.get,
            "in_quotes": in_quotes,
            "in_markdown": in_markdown,
        }
