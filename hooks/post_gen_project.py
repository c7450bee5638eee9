"""Pack the wheels, make the project a git repository with one commit, and print what to type next.

Answers are data here: JSON in a string, never code. The commit does not depend on the user's git
settings: it works without an identity, and with a signing key that asks for a passphrase, hooks or
ignore files. Without git the project is complete too: the hook prints what is missing and succeeds.
"""

import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

# Single quotes, because JSON from tojson has double quotes and escapes single ones.
# fmt: off
SLUG = json.loads(r'{{ cookiecutter.project_slug | tojson }}')
AUTHOR = json.loads(r'{{ cookiecutter.author | tojson }}')
TEMPLATE = json.loads(r'{{ template_folder() | tojson }}')
# fmt: on
FOLDER = shlex.quote(os.getcwd())

# Git sets these if Cookiecutter runs in one of its hooks; they name another repository.
OUTER = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in OUTER}


def pack():
    """Write the wheels, their hashes in the lock files, and the schema of the settings."""
    wheels = Path("wheels")
    wheels.mkdir(exist_ok=True)
    for old in wheels.glob("*.whl"):
        old.unlink()
    packages = Path(TEMPLATE, "packages")
    runpy.run_path(str(packages / "pack.py"))["pack"](wheels)
    module = packages / "sagemaker-project/src/sagemaker_project/wheels.py"
    functions = runpy.run_path(str(module))
    functions["pin"](Path())
    functions["write_schema"](Path())


def git(*arguments):
    """Run git in the project; raise CalledProcessError if it fails."""
    command = ["git", *arguments]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, encoding="utf-8")


def commit():
    """Make the project a git repository whose branch main has one commit."""
    git("init", "--quiet")
    git("symbolic-ref", "HEAD", "refs/heads/main")
    git("-c", f"core.excludesFile={os.devnull}", "add", "--all")
    neutral = ("-c", "commit.gpgSign=false", "-c", f"core.hooksPath={os.devnull}")
    words = ("commit", "--quiet", "--message", f"Generate {SLUG}")
    try:
        git(*neutral, *words)
    except subprocess.CalledProcessError:
        # Git has no identity set: commit as the author of the answers.
        name = AUTHOR if any(map(str.isalnum, AUTHOR)) else SLUG  # git needs a letter in a name
        git("-c", f"user.name={name}", "-c", f"user.email={SLUG}@localhost", *neutral, *words)


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
        print(f"{FOLDER} is not a git repository: install git, then type git init there.")
    except subprocess.CalledProcessError as error:
        print(f"{FOLDER} has no commit: {shlex.join(error.cmd)}: {error.stderr.strip()}")
    print(f"cd {FOLDER}")
    print("make demo        # from data to a rollback in prod, here, with no AWS account")
    print("make test        # the tests")
    print("git remote add origin URL && git push --set-upstream origin main")


if __name__ == "__main__":
    main()
