"""Pack the wheels, make the project a git repository with one commit, and say what to type next.

Answers are data here: JSON in a string, never code. The commit succeeds on every machine, also
with no identity set, a signing key that asks, hooks or ignore files of the user's own. Without git
the project is still good: the hook says what is missing and ends well.
"""

import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

# Single quotes, because JSON from tojson has double ones and escapes the single.
# fmt: off
SLUG = json.loads(r'{{ cookiecutter.project_slug | tojson }}')
AUTHOR = json.loads(r'{{ cookiecutter.author | tojson }}')
TEMPLATE = json.loads(r'{{ template_folder() | tojson }}')
# fmt: on
FOLDER = shlex.quote(os.getcwd())

# Git sets these where it calls Cookiecutter itself, and they would lead to the wrong repository.
OUTER = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in OUTER}


def pack():
    """The engine's wheels, their hashes in the lock files, and the schema of the settings."""
    wheels = Path("wheels")
    wheels.mkdir(exist_ok=True)
    for old in wheels.glob("*.whl"):
        old.unlink()
    packages = Path(TEMPLATE, "packages")
    runpy.run_path(str(packages / "pack.py"))["pack"](wheels)
    engine = packages / "sagemaker-project/src/sagemaker_project/wheels.py"
    tool = runpy.run_path(str(engine))
    tool["pin"](Path())
    tool["write_schema"](Path())


def git(*arguments):
    command = ["git", *arguments]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, encoding="utf-8")


def commit():
    git("init", "--quiet")
    git("symbolic-ref", "HEAD", "refs/heads/main")
    git("-c", f"core.excludesFile={os.devnull}", "add", "--all")
    alone = ("-c", "commit.gpgSign=false", "-c", f"core.hooksPath={os.devnull}")
    words = ("commit", "--quiet", "--message", f"Generate {SLUG}")
    try:
        git(*alone, *words)
    except subprocess.CalledProcessError:
        # Git does not know who commits: it is the author of the answers.
        name = AUTHOR if any(map(str.isalnum, AUTHOR)) else SLUG  # git wants a letter in a name
        git("-c", f"user.name={name}", "-c", f"user.email={SLUG}@localhost", *alone, *words)


def main():
    os.unlink(__file__)  # the rendered copy, which Cookiecutter leaves in the temporary folder
    try:
        pack()
    except OSError as error:
        sys.exit(f"cookiecutter: {FOLDER}: the wheels cannot be packed: {error}")
    try:
        if not os.path.exists(".git"):
            commit()
    except FileNotFoundError:
        print(f"{FOLDER} is no git repository: install git, then type git init there.")
    except subprocess.CalledProcessError as error:
        print(f"{FOLDER} has no commit: {shlex.join(error.cmd)}: {error.stderr.strip()}")
    print(f"cd {FOLDER}")
    print("make demo        # from data to a rollback in prod, here, with no AWS account")
    print("make test        # the tests")
    print("git remote add origin URL && git push --set-upstream origin main")


if __name__ == "__main__":
    main()
