"""The rules for the answers in cookiecutter.json, and the filters that write answers safely.

A Jinja extension gets every text that Cookiecutter renders before Jinja compiles it. While answers
are gathered, only the texts of cookiecutter.json itself may be executed. Any other text that
contains Jinja is an answer (of a command line, a configuration file or a program) and is kept as
plain text.

The first text after that is the name of the project's folder. It is rendered with the final answers
before anything is written, however Cookiecutter was called (prompts, flags, a configuration file, a
replay, the API, cruft). So this is where the answers are checked, private variables are reset to
those of cookiecutter.json and derived variables are made. Answers that Cookiecutter gathers itself
are also checked before that, so that it does not save bad ones for a replay (`__gathered`).

A refusal is an exception of click, on which Cookiecutter's command line is built: it prints its
message to stderr and ends with exit code 2. A program that calls cookiecutter() gets a
click.ClickException.
"""

import builtins
import difflib
import json
import keyword
import os
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import click
from click.core import ParameterSource
from jinja2 import Undefined
from jinja2.ext import Extension
from slugify import slugify

HERE = Path(__file__).resolve().parent
FOLDER = "{{cookiecutter.project_slug}}"
CONTEXT = json.loads((HERE / "cookiecutter.json").read_text(encoding="utf-8"))
QUESTIONS = [key for key in CONTEXT if not key.startswith("_")]
PRIVATE = {key: CONTEXT[key] for key in CONTEXT if re.match("_[^_]", key)}
OF_COOKIECUTTER = {"_template", "_output_dir", "_repo_dir", "_checkout", "_commit"}
LICENSES = CONTEXT["_licenses"]
LOCK = HERE / FOLDER / "requirements.lock"
JINJA = re.compile("{[{%#]")
HOOKS = (path.read_text(encoding="utf-8") for path in (HERE / "hooks").glob("*.py"))
OWN = {value for value in CONTEXT.values() if isinstance(value, str)} | {*HOOKS}

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
# Modules beside pipelines/<pipeline_name>/.
COMMANDS = {"run_pipeline", "get_pipeline_definition", "steps"}
ENGINE = {"sagemaker_emulator", "sagemaker_project"}
SPACE = 5 * 2**20  # bytes: several times the size of a new project with its commit


class Refused(click.ClickException):
    """The project cannot be generated. The message says why."""

    exit_code = 2

    def show(self, file=None):
        click.echo(self.message, err=True)


class Fault(Exception):
    """An answer breaks its rule. The message says how."""


class Answers(Extension):
    """Check the answers of Cookiecutter, and add the filters and functions of the template."""

    def __init__(self, environment):
        super().__init__(environment)
        # Import this module again next time: cruft generates from two versions in one process.
        sys.modules.pop(__name__, None)
        self.rendered = 0  # number of texts so far
        self.checked = False
        self.literal = []  # answers that contain Jinja, kept as plain text
        environment.globals |= {
            "gathered": gathered,
            "folder": self.folder,
            "literal": self.literal.__getitem__,
            "template_folder": lambda: str(HERE),
        }
        environment.filters |= {
            "slug": lambda name: suggest_slug(as_text(name)),
            "underscored": underscored,
            "license": license_of,
            "partition": PARTITIONS.get,
            "in_quotes": in_quotes,
            "in_markdown": in_markdown,
        }

    def preprocess(self, source, name, filename=None):
        """Return the text that Jinja compiles instead of `source`."""
        self.rendered += 1
        if self.checked:
            return source
        check_command_line()
        if source == FOLDER and self.rendered == 1:
            return "{{ folder(cookiecutter) }}"
        if JINJA.search(source) and source not in OWN:
            self.literal.append(source)
            return f"{{{{ literal({len(self.literal) - 1}) }}}}"
        return source

    def folder(self, answers):
        """Check the answers, make the derived variables, and return the name of the folder."""
        if absent := [question for question in QUESTIONS if question not in answers]:
            reason = f"has no answer, or {FOLDER!r}, which is Jinja, not an answer"
            raise Refused(f"cookiecutter.json: {absent[0]}: {reason}")
        check_answers(answers)
        check_target(answers)
        for key in [key for key in answers if key.startswith("_") and key not in OF_COOKIECUTTER]:
            del answers[key]
        answers.update(PRIVATE)
        self.checked = True
        for key, text in PRIVATE["_derived"].items():
            answers[key] = self.environment.from_string(text).render(cookiecutter=answers)
        return answers["project_slug"]


def check_command_line():
    """Refuse an unknown key=value of the command line, which Cookiecutter would ignore."""
    given = command_line().get("extra_context") or {}
    lines = []
    for key in [key for key in given if key not in QUESTIONS]:
        near = difflib.get_close_matches(key, QUESTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(QUESTIONS)}"
        name = key if key.isidentifier() else shown(key)
        lines.append(f"cookiecutter.json: {name} {shown(given[key])}: no such question, {hint}")
    if lines:
        raise Refused("\n".join(lines))


def command_line():
    """Return the parameters of Cookiecutter's command, or {} if another program calls it."""
    context = click.get_current_context(silent=True)
    parameters = context.params if context else {}
    return parameters if "replay_file" in parameters else {}


def gathered(answers):
    """Check the answers if they are complete; a program may still add some."""
    if all(question in answers for question in QUESTIONS):
        check_answers(answers)
    return ""


def check_answers(answers):
    """Refuse answers that break their rules, with one message for all of them."""
    faults = {}
    for question in QUESTIONS:
        try:
            RULES[question](answers[question])
        except Fault as fault:
            faults[question] = f"{shown(answers[question])}: {fault}"
    if "project_slug" in faults and follows(answers):
        faults.pop("pipeline_name", None)  # it has the same fault
    if faults:
        lines = [f"cookiecutter.json: {question} {fault}" for question, fault in faults.items()]
        raise Refused("\n".join([*lines, *repeat(answers, faults)]))


def follows(answers):
    """Return whether pipeline_name is the one derived from project_slug."""
    return answers["pipeline_name"] == underscored(answers["project_slug"])


def repeat(answers, faults):
    """After prompts, return the command that repeats the answers, with ... for the wrong ones."""
    command = command_line()
    if not command or command["no_input"] or command["replay"] or command["replay_file"]:
        return []
    given = {q: "..." if q in faults else answers[q] for q in QUESTIONS}
    if "project_slug" in faults and follows(answers):
        del given["pipeline_name"]
    pairs = [f"{question}={answer}" for question, answer in given.items()]
    words = ["cookiecutter", command["template"], "--no-input", *options(), *pairs]
    hint = "once more, with other answers for ..." if faults else "then once more"
    return [f"{hint}: {shlex.join(words)}"]


def options():
    """Return the options that were passed to Cookiecutter's command."""
    context = click.get_current_context()
    words = []
    for option in context.command.params:
        given = context.get_parameter_source(option.name) == ParameterSource.COMMANDLINE
        if given and isinstance(option, click.Option):
            value = context.params[option.name]
            words += [option.opts[-1]] if option.is_flag else [option.opts[-1], str(value)]
    return words


def shown(value):
    return repr(value if len(str(value)) <= 60 else f"{str(value)[:57]}...")


# The rules


def check_text(example):
    def check(text):
        is_line = isinstance(text, str) and text == text.strip() and all(map(is_printable, text))
        if not is_line or not 1 <= len(text) <= 256:
            rule = "must be one line of 1 to 256 printable characters, with no space at either end"
            raise Fault(f"{rule}, for example {example!r}")
        if JINJA.search(text):
            rule = "must hold no {{, {% or {#, which Cookiecutter would run where it is a flag"
            raise Fault(f"{rule}, for example {example!r}")

    return check


def is_printable(character):
    """Return False for line ends, control characters and code points that are not characters.

    Marks that change the direction of writing or join characters are allowed.
    """
    code = ord(character)
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and not is_noncharacter


def check_name(separator, longest):
    def check(name):
        example = suggest_slug(str(name)).replace("-", separator)
        allowed = f"[a-z]({separator}?[a-z0-9])+"
        if not isinstance(name, str) or not re.fullmatch(allowed, name) or len(name) > longest:
            raise Fault(
                f"must be 2 to {longest} of a-z, 0-9 and single {separator!r}, beginning with a"
                f" letter and not ending with {separator!r}, for example {example!r}"
            )
        if owner := reserved(name):
            raise Fault(f"is a name of {owner}: choose another, for example {example!r}")

    return check


def reserved(name):
    """Return who uses the name already, or None: a project named numpy would replace numpy."""
    packages = re.findall("^([a-z0-9-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    installed = {package.replace("-", "_") for package in packages} | ENGINE
    owners = {
        "Python": PYTHON_WORDS,
        "Windows": WINDOWS_DEVICES,
        "a command of the project": COMMANDS,
        "a package that the project installs": installed,
    }
    word = name.replace("-", "_")
    return next((owner for owner, words in owners.items() if word in words), None)


def suggest_slug(text):
    """Return a name close to `text` that check_name accepts as a project_slug."""
    word = re.sub("^[^a-z]+", "", slugify(text))[:21].strip("-")
    if len(word) < 2:
        return "abalone"
    return f"{word[:18].strip('-')}-ml" if reserved(word) else word


def check_region(region):
    if not isinstance(region, str) or region not in PARTITIONS:
        rule = "must be a region with SageMaker and its scikit-learn 1.9-0 container"
        near = difflib.get_close_matches(str(region), PARTITIONS, cutoff=0.5) or ["us-east-1"]
        raise Fault(f"{rule}, for example {' or '.join(map(repr, near))}")


def check_license(answer):
    if license_of(answer) not in LICENSES:
        numbered = ", ".join(f"{number} {name}" for number, name in enumerate(LICENSES, 1))
        raise Fault(f"must be a license that the template has, by number or name: {numbered}")


def license_of(answer):
    """Return the license of a name, in any case, or of a number in the list; else the answer."""
    names = {name.lower(): name for name in LICENSES}
    names |= {str(number): name for number, name in enumerate(LICENSES, 1)}
    return names.get(str(answer).strip().lower(), answer)


RULES = {
    "project_name": check_text("Abalone age prediction"),
    "project_slug": check_name("-", 21),
    "pipeline_name": check_name("_", 32),
    "description": check_text("Predict the age of abalone"),
    "author": check_text("Data Science Team"),
    "aws_region": check_region,
    "license": check_license,
}


# The target


def check_target(answers):
    """Refuse a place where the project cannot be written, or would overwrite other work."""
    if reason := target_problem(answers):
        raise Refused("\n".join([f"cookiecutter: {reason}", *repeat(answers, {})]))


def target_problem(answers):
    """Return why the project cannot be written to its folder, or "" if it can."""
    if "_output_dir" not in answers:
        return ""  # a program that calls a part of Cookiecutter and chooses the folder itself
    target = Path(answers["_output_dir"], answers["project_slug"])
    command = command_line()
    parent = next(folder for folder in target.parents if folder.exists())
    if target.exists() and (not target.is_dir() or command and not command["overwrite_if_exists"]):
        return f"{target}: exists already: move it away, or choose another project_slug"
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        return f"{target}: cannot be made: {parent} is not a folder that you may write to"
    if shutil.disk_usage(parent).free < SPACE:
        return f"{target}: cannot be made: {parent} has less than {SPACE // 2**20} MiB free"
    if target.exists() and (changes := uncommitted(target)):
        hint = "commit or move it away first, for what is generated goes over it"
        return f"{target}: {changes}: {hint}"
    return ""


def uncommitted(folder):
    """Return what git could not restore in a folder, or "" if it could restore everything."""
    if all(path.name == ".git" for path in folder.iterdir()):
        return ""
    try:
        tracked = git(folder, "ls-files")
        changes = git(folder, "status", "--porcelain", "--untracked-files=normal")
    except FileNotFoundError:
        return "git is not installed, so nothing says whether it holds changes"
    if (
        tracked is None or changes is None or not tracked + changes
    ):  # inside another repository that ignores it
        return "is not a git repository, and holds files"
    names = [line[3:] for line in changes.splitlines()]
    shown = ", ".join(names[:1] + ["..."] * (len(names) > 1))
    return f"has changes that are not committed ({shown})" if names else ""


def git(folder, *arguments):
    """Return the output of git for a folder, or None if it fails."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments, "--", "."]
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="replace"
    )
    return None if done.returncode else done.stdout


# Writing answers safely


def as_text(answer):
    """Return an answer as text, "" if a program has not given it yet."""
    return "" if isinstance(answer, Undefined) else str(answer)


def underscored(slug):
    return as_text(slug).replace("-", "_")


def in_quotes(text):
    """Escape text for double quotes in JSON, TOML or YAML; the last two have no surrogate pairs."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def in_markdown(text):
    """Escape text for a heading or a paragraph: only what Markdown would interpret."""
    escaped = re.sub(r"[\\`*_\[\]<>#|~&$]", r"\\\g<0>", text)
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escaped)
