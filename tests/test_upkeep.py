"""What an owner does with a repository later: upgrade, a second pipeline, eject, cruft; and what
its packages do where nothing else is installed."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEMPLATE = Path(__file__).resolve().parents[1]
PACKAGES = TEMPLATE / "packages"
ROLE = "arn:aws:iam::123456789012:role/local"
MODULE = "pipelines.{}.pipeline"


@pytest.fixture
def project(default_project, tmp_path):
    """A project of a test's own, in a path with a space."""
    path = tmp_path / "a project"
    shutil.copytree(default_project, path)
    return path


def environment(project, **more):
    names = ("PATH", "HOME", "LANG", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "PYTHONPATH": str(project), **more}


def tool(project, *words):
    """Run `sagemaker-project` at the root of a project."""
    return subprocess.run(
        [sys.executable, "-m", "sagemaker_project", *map(str, words)],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
    )


def git(folder, *words):
    own = ("-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "commit.gpgSign=false")
    done = subprocess.run(
        ["git", *own, *words], cwd=folder, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout


def copy_of_template(folder):
    """The files of this repository as they are, in a git repository of their own."""
    listed = git(TEMPLATE, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (TEMPLATE / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "The template")
    git(folder, "tag", "v1")
    return folder


def change(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def newer(template):
    """A version of the engine that says something else, and calls itself newer."""
    package = template / "packages/sagemaker-project"
    change(package / "pyproject.toml", 'version = "0.1.0"', 'version = "0.1.1"')
    source = package / "src/sagemaker_project/deploy/arguments.py"
    change(source, "say what serves, whether", "newer: say what serves, whether")


# Upgrade


def test_an_upgrade_is_a_wheel_and_a_line_in_each_lock(project, tmp_path):
    template = tmp_path / "template"
    template.mkdir()
    newer(copy_of_template(template))
    done = tool(project, "upgrade", template)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "sagemaker-emulator 0.1.0: unchanged",
        "sagemaker-project: 0.1.0 -> 0.1.1",
    ]
    changes = git(project, "diff", "--numstat", "--", "*.lock", "pyproject.toml").splitlines()
    assert changes == ["1\t1\trequirements-deploy.lock", "1\t1\trequirements.lock"]
    others = git(project, "status", "--porcelain", "--", ".", ":!*.lock").splitlines()
    assert sorted(line.split()[-1] for line in others) == [
        "wheels/sagemaker_project-0.1.0-py3-none-any.whl",
        "wheels/sagemaker_project-0.1.1-py3-none-any.whl",
    ]
    wheel = project / "wheels/sagemaker_project-0.1.1-py3-none-any.whl"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for lock in ("requirements.lock", "requirements-deploy.lock"):
        line = f"sagemaker-project==0.1.1 --hash=sha256:{digest}\n"
        assert line in (project / lock).read_text()


def test_one_wheel_is_an_upgrade_too_and_the_same_one_changes_nothing(project, tmp_path):
    [wheel] = (project / "wheels").glob("sagemaker_emulator-*.whl")
    same = tmp_path / wheel.name
    shutil.copy(wheel, same)
    done = tool(project, "upgrade", same)
    assert (done.returncode, done.stdout) == (0, "sagemaker-emulator 0.1.0: unchanged\n")
    assert git(project, "status", "--porcelain") == ""


def test_what_an_upgrade_needs_and_the_lock_lacks_is_told(project, tmp_path):
    template = tmp_path / "template"
    template.mkdir()
    copy_of_template(template)
    pyproject = template / "packages/sagemaker-project/pyproject.toml"
    change(pyproject, '    "rich>=13",\n', '    "rich>=99",\n    "no-such-library>=1",\n')
    done = tool(project, "upgrade", template)
    assert done.returncode == 0, done.stderr
    assert "needs rich>=99, the lock has" in done.stdout
    assert "needs no-such-library>=1, the lock has nothing of it: type make lock" in done.stdout


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "neither a wheel nor a checkout of the template"),
        ("README.md", "neither a wheel nor a checkout of the template"),
        ("broken.whl", "broken.whl is not a readable wheel"),
        ("", "neither a wheel nor a checkout of the template"),
    ],
)
def test_what_is_no_upgrade_is_refused_and_nothing_is_changed(project, source, words):
    (project / "broken.whl").write_bytes(b"PK")
    git(project, "add", "--all"), git(project, "commit", "--quiet", "--message", "More")
    done = tool(project, "upgrade", source)
    assert done.returncode == 2
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert git(project, "status", "--porcelain") == ""


def test_a_wheel_of_something_else_is_refused(project, tmp_path):
    wheel = tmp_path / "other-1.0-py3-none-any.whl"
    [own] = (project / "wheels").glob("sagemaker_emulator-*.whl")
    body = own.read_bytes()
    wheel.write_bytes(body.replace(b"\nName: sagemaker-emulator", b"\nName: sagemaker-emulatoR"))
    done = tool(project, "upgrade", wheel)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert git(project, "status", "--porcelain") == ""


def test_outside_a_repository_every_command_is_refused_in_one_line(tmp_path):
    for words in (["demo"], ["eject"], ["upgrade", "x"], ["new-pipeline", "churn"], ["pin"]):
        done = tool(tmp_path, *words)
        assert done.returncode == 2
        assert "go to the repository's root" in done.stderr and done.stderr.count("\n") == 1


# A second pipeline


def run_module(project, module, *words):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def two(project):
    done = tool(project, "new-pipeline", "customer_churn")
    assert done.returncode == 0, done.stderr
    return project


@pytest.mark.acceptance
def test_a_second_pipeline_has_names_of_its_own(two):
    module = MODULE.format("customer_churn")
    made = run_module(two, "pipelines.get_pipeline_definition", "-n", module).stdout
    assert "CustomerChurnPackageGroup" in made and "PreprocessCustomerChurnData" in made
    first = run_module(two, "pipelines.get_pipeline_definition", "-n", MODULE.format("abalone"))
    assert "CustomerChurn" not in first.stdout and "AbalonePackageGroup" in first.stdout
    settings = json.loads((two / "deploy/customer_churn/prod-config.json").read_text())
    assert settings["$schema"] == "../config.schema.json"
    alarms = settings["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    names = {alarm["AlarmName"] for alarm in alarms}
    assert names == {
        "abalone-customer-churn-prod-model-errors",
        "abalone-customer-churn-prod-latency",
    }


@pytest.mark.acceptance
def test_a_second_pipeline_runs_at_once(two):
    module = MODULE.format("customer_churn")
    words = ("--local", "-n", module, "--role-arn", ROLE, "--input-data", "data/abalone-sample.csv")
    done = run_module(two, "pipelines.run_pipeline", *words)
    assert done.returncode == 0, done.stderr
    assert "model-package/CustomerChurnPackageGroup/1" in done.stdout


def test_a_second_pipeline_lints_and_only_adds(two):
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache"],
            cwd=two,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    changed = git(two, "status", "--porcelain").splitlines()
    assert {line.split()[1] for line in changed} == {
        "deploy/customer_churn/",
        "pipelines/customer_churn/",
        "tests/customer_churn/",
    }


@pytest.mark.acceptance
def test_each_pipeline_s_tests_import_the_scripts_of_its_own(two):
    """Two modules called `train` in one run of pytest; each test sees that of its own pipeline."""
    for name in ("abalone", "customer_churn"):
        script = two / f"pipelines/{name}/train.py"
        script.write_text(f"{script.read_text()}\nOF_PIPELINE = '{name}'\n")
        (two / f"tests/{name}/test_own.py").write_text(
            "from pathlib import Path\n\nimport train\n\n\n"
            "def test_at_import_and_at_run():\n"
            "    import train as again\n\n"
            "    name = Path(__file__).parent.name\n"
            "    assert train.OF_PIPELINE == again.OF_PIPELINE == name\n"
        )
        helpers = two / f"pipelines/{name}/helpers"
        helpers.mkdir()
        (helpers / "__init__.py").write_text(f"OF_PIPELINE = '{name}'\n")
        (two / f"tests/{name}/deeper").mkdir()
        (two / f"tests/{name}/deeper/test_own_deeper.py").write_text(
            f"import helpers\n\n\ndef test_it():\n    assert helpers.OF_PIPELINE == '{name}'\n"
        )
    (two / "tests/test_own_of_none.py").write_text(
        "import importlib.util\n\n\ndef test_it():\n"
        "    assert importlib.util.find_spec('train') is None\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-k", "defaults or own"],
        cwd=two,
        env=environment(two, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^7 passed", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("name", ["Churn", "a-b", "1st", "import", "x" * 33, "", "../up"])
def test_a_name_that_is_no_pipeline_s_is_refused(project, name):
    done = tool(project, "new-pipeline", name)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "make new-pipeline NAME=customer_churn" in done.stderr
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["abalone", "run_pipeline", "steps"])
def test_a_name_in_use_is_refused(project, name):
    done = tool(project, "new-pipeline", name)
    assert done.returncode == 2 and "exists already: choose another name" in done.stderr
    assert git(project, "status", "--porcelain") == ""


def test_names_that_would_be_one_in_sagemaker_are_refused(two):
    tool(two, "new-pipeline", "churn2")
    done = tool(two, "new-pipeline", "churn_2")
    assert done.returncode == 2 and "would be called Churn2, as those of churn2 are" in done.stderr


def test_a_first_pipeline_that_its_owner_has_renamed_is_copied_under_the_new_name(project):
    pipeline = project / "pipelines/abalone/pipeline.py"
    change(pipeline, 'NAME = "Abalone"', 'NAME = "Shellfish"')
    settings = project / "deploy/prod-config.json"
    change(settings, '"abalone-prod-latency"', '"team-latency"')
    done = tool(project, "new-pipeline", "churn")
    assert done.returncode == 0, done.stderr
    assert 'NAME = "Churn"\n' in (project / "pipelines/churn/pipeline.py").read_text()
    assert "the alarm team-latency is shared with abalone\n" in done.stdout


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("deploy/prod-config.json", "prod-config.json cannot be read"),
        ("pipelines/abalone/pipeline.py", 'pipeline.py: expected one line NAME = "...", found'),
    ],
)
def test_what_cannot_be_copied_is_told_and_nothing_is_made(project, path, words):
    if path.endswith(".json"):
        (project / path).unlink()
    else:
        change(project / path, 'NAME = "Abalone"', "NAME = str('Abalone')")
    git(project, "commit", "--quiet", "--all", "--message", "Mine")
    done = tool(project, "new-pipeline", "churn")
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
    assert git(project, "status", "--porcelain") == ""


# Eject


@pytest.fixture
def bare_environment(tmp_path):
    """A virtual environment that sees the libraries of this one, but none of our two packages."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [site] = folder.glob("lib/python3*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.mark.acceptance
def test_an_ejected_engine_is_the_repository_s_own(project, bare_environment):
    done = tool(project, "eject")
    assert done.returncode == 0, done.stderr
    assert not (project / "wheels").exists()
    for lock in ("requirements.lock", "requirements-deploy.lock"):
        text = (project / lock).read_text()
        assert "sagemaker-project" not in text and "find-links" not in text
    python = bare_environment / "python"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    env = environment("") | {"PYTHONPATH": ""}
    subprocess.run([python, *install, "--editable", "."], cwd=project, check=True, env=env)
    source = project / "engine/sagemaker_project/deploy/arguments.py"
    change(source, "say what serves, whether", "patched: say what serves, whether")
    for command, word in (
        (["deploy-model", "--help"], "patched: say what serves"),
        (["run-pipeline", "--help"], "--local"),
        (["sagemaker-local", "operations"], "CreateModelPackage"),
        (["sagemaker-project", "--help"], "new-pipeline"),
    ):
        path = bare_environment / command[0]
        done = subprocess.run(
            [path, *command[1:]], cwd="/", env=env, capture_output=True, text=True
        )
        assert done.returncode == 0 and word in done.stdout, done.stderr
    again = tool(project, "eject")
    assert again.returncode == 2 and "nothing to eject" in again.stderr


def test_an_eject_leaves_what_is_the_owner_s_in_pyproject(project):
    pyproject = project / "pyproject.toml"
    change(
        pyproject,
        'dependencies = [\n    "sagemaker>=3.27,<4",\n',
        "dependencies = [\n    \"mine<2; python_version < '3.11'\",  # old\n"
        '    "mine>=2; python_version >= \'3.11\'",\n    "sagemaker>=3.27,<4",\n',
    )
    change(
        pyproject,
        "[tool.uv.sources]\n",
        '[[tool.uv.index]]\nname = "own"\nurl = "https://example.com/simple"\n\n'
        '[tool.uv.sources]\nmine = { index = "own" }\n',
    )
    done = tool(project, "eject")
    assert done.returncode == 0, done.stderr
    content = tomllib.loads(pyproject.read_text())
    assert content["tool"]["uv"]["sources"] == {"mine": {"index": "own"}}
    assert [index["name"] for index in content["tool"]["uv"]["index"]] == ["own"]
    dependencies = content["project"]["dependencies"]
    assert [d for d in dependencies if d.startswith("mine")] == [
        "mine<2; python_version < '3.11'",
        "mine>=2; python_version >= '3.11'",
    ]
    assert "# old" in pyproject.read_text()
    assert (project / "engine/sagemaker_emulator/LICENSE").is_file()


def test_two_wheels_of_one_package_are_refused_in_one_line(project):
    [wheel] = (project / "wheels").glob("sagemaker_emulator-*.whl")
    shutil.copy(wheel, wheel.with_name("sagemaker_emulator-0.0.9-py3-none-any.whl"))
    for words in (["pin"], ["eject"], ["upgrade", TEMPLATE]):
        done = tool(project, *words)
        assert done.returncode == 2 and "delete one of them" in done.stderr


def test_a_lock_whose_last_line_has_no_end_keeps_that_line(project):
    for lock in ("requirements.lock", "requirements-deploy.lock"):
        path = project / lock
        path.write_text(path.read_text().rstrip("\n"))
    assert tool(project, "pin").returncode == 0
    assert git(project, "status", "--porcelain") == ""


def test_one_package_may_come_from_an_index_already(project):
    [wheel] = (project / "wheels").glob("sagemaker_project-*.whl")
    wheel.unlink()
    [other] = (project / "wheels").glob("sagemaker_emulator-*.whl")
    done = tool(project, "upgrade", other)
    assert (done.returncode, done.stdout) == (0, "sagemaker-emulator 0.1.0: unchanged\n")
    for lock in ("requirements.lock", "requirements-deploy.lock"):
        assert "\nsagemaker-project==0.1.0 --hash" in f"\n{(project / lock).read_text()}"


def test_without_wheels_the_locks_are_left_as_they_are(project):
    """As it is on the day the packages come from an index."""
    shutil.rmtree(project / "wheels")
    before = (project / "requirements.lock").read_text()
    assert tool(project, "pin").returncode == 0
    assert (project / "requirements.lock").read_text() == before


def test_what_the_wheels_needed_is_the_repository_s_to_need(project):
    tool(project, "eject")
    text = (project / "pyproject.toml").read_text()
    dependencies = text.partition("dependencies = [")[2].partition("\n]")[0]
    for name in ("boto3", "jsonschema", "moto", "httptools", "sagemaker>=", "rich", "scikit-learn"):
        assert f'"{name}' in dependencies, name
    assert '"sagemaker-project' not in text and '"sagemaker-emulator' not in dependencies
    assert "# What SageMaker's scikit-learn" in text  # comments stay


# cruft


@pytest.mark.acceptance
def test_a_cruft_update_brings_the_template_s_change_beside_an_edit(tmp_path, monkeypatch):
    template = tmp_path / "template"
    template.mkdir()
    copy_of_template(template)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))

    def cruft(*words, cwd):
        done = subprocess.run(
            [sys.executable, "-m", "cruft", *words],
            cwd=cwd,
            capture_output=True,
            text=True,
            env={**os.environ, "HOME": str(home)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    cruft("create", str(template), "--no-input", "--checkout", "v1", cwd=tmp_path)
    project = tmp_path / "abalone"
    assert not (project / ".cruft.json").read_text().count('"commit": null')
    change(project / "pipelines/steps.py", "MAX_RUNTIME_SECONDS = 3600", "MAX_RUNTIME_SECONDS = 60")
    git(project, "add", "--all"), git(project, "commit", "--quiet", "--message", "My edit")

    newer(template)
    steps = template / "{{cookiecutter.project_slug}}/pipelines/steps.py"
    change(steps, 'SKLEARN_VERSION = "1.9-0"', 'SKLEARN_VERSION = "2.0-0"')
    git(template, "commit", "--quiet", "--all", "--message", "Newer")
    git(template, "tag", "v2")

    cruft("update", "--skip-apply-ask", "--checkout", "v2", cwd=project)
    text = (project / "pipelines/steps.py").read_text()
    assert 'SKLEARN_VERSION = "2.0-0"' in text and "MAX_RUNTIME_SECONDS = 60" in text
    assert not list(project.rglob("*.rej"))
    [wheel] = (project / "wheels").glob("sagemaker_project-*.whl")
    assert wheel.name == "sagemaker_project-0.1.1-py3-none-any.whl"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert digest in (project / "requirements.lock").read_text()
    assert "My edit" in git(project, "log", "--format=%s")


# Where nothing else is installed


def empty_environment(folder, *install):
    """A virtual environment with what pip installs, and nothing of this one."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    command = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-compile"]
    done = subprocess.run(
        [*command, *map(str, install)],
        capture_output=True,
        text=True,
        env=environment("") | {"PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.mark.acceptance
def test_deploy_model_needs_nothing_but_its_own_lock(project, tmp_path):
    """As deploy/buildspec.yml installs it; the emulator is a process of another environment."""
    locked = ("--require-hashes", "--requirement", project / "requirements-deploy.lock")
    binaries = empty_environment(tmp_path / "deploy", *locked)
    python = binaries / "python"
    own = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run(
        [python, *own], cwd=project, check=True, env=environment("") | {"PYTHONPATH": ""}
    )
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True)
    names = {item["name"] for item in json.loads(listed.stdout)}
    assert not names & {"sagemaker", "sagemaker-emulator", "numpy", "pandas", "moto"}

    words = ("-n", MODULE.format("abalone"), "--role-arn", ROLE)
    sample = (
        "--input-data",
        "data/abalone-sample.csv",
        "--parameters",
        "ModelApprovalStatus=Approved",
    )
    trained = run_module(project, "pipelines.run_pipeline", "--local", *words, *sample)
    assert trained.returncode == 0, trained.stderr
    deploy = [binaries / "deploy-model", "promote", "--stage", "staging", "--latest-approved"]
    serve = [
        sys.executable,
        "-m",
        "sagemaker_emulator",
        "run",
        "--",
        *deploy,
        "--model-execution-role",
        ROLE,
    ]
    done = subprocess.run(
        serve, cwd=project, env=environment(""), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "abalone-staging serves version 1" in done.stdout
    local = subprocess.run(
        [*deploy, "--local", "--model-execution-role", ROLE],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert local.returncode == 2 and local.stderr.count("\n") == 1
    assert "sagemaker-project[local]" in local.stderr


@pytest.mark.acceptance
def test_the_emulator_is_of_use_where_nothing_else_is_installed(project, tmp_path):
    """The first example of its README, word for word, in an environment with its wheel alone."""
    [wheel] = (project / "wheels").glob("sagemaker_emulator-*.whl")
    pins = tmp_path / "pins.txt"
    lock = (project / "requirements.lock").read_text()
    pins.write_text("\n".join(re.findall(r"^[\w.-]+==[^\s\\]+(?: ;[^\\\n]+)?", lock, re.MULTILINE)))
    pins.write_text(re.sub(r"(?m)^sagemaker-(emulator|project)==.*$", "", pins.read_text()))
    binaries = empty_environment(tmp_path / "alone", wheel, "--constraint", pins)
    readme = (PACKAGES / "sagemaker-emulator/README.md").read_text()
    program = tmp_path / "work/program.py"
    program.parent.mkdir()
    program.write_text(re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1])
    done = subprocess.run(
        [binaries / "sagemaker-local", "run", "--", binaries / "python", program],
        cwd=program.parent,
        env=environment(""),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() != ""
