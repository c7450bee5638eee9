"""The code of a pipeline's steps in S3: scripts, modules beside them, and packages with folders."""

import gzip
import io
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from sagemaker_project import tabular

BUCKET = "sagemaker-us-east-1-123456789012"


@pytest.fixture(scope="module")
def code_module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")  # the SDK wants one to be imported
        from sagemaker_project.build import code
    return code


@pytest.fixture
def code(code_module):
    return code_module.StepCode(BUCKET, "abalone")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("import own.deep.tools\n")
    return path


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "own"
    write(folder, "__init__.py", "")
    write(folder, "deep/__init__.py", "")
    write(folder, "deep/tools.py", "ANSWER = 42\n")
    write(folder, "deep/notes.txt", "not code")
    write(folder, "deep/__pycache__/tools.cpython-312.pyc", "compiled")
    return folder


def write(folder, name, text):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def below(files):
    """{name below the folder of the hash: content}."""
    return {key.split("/", 3)[3]: content for key, content in files.items()}


def members(files):
    """The content of the only sourcedir.tar.gz."""
    [(key, content)] = files.items()
    assert key.endswith("/sourcedir.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


PACKAGE = {
    "own/__init__.py": b"",
    "own/deep/__init__.py": b"",
    "own/deep/tools.py": b"ANSWER = 42\n",
}


def test_a_package_keeps_its_folders(code_module, code, script, package):
    uri = code.script(script, package=package)
    wanted = {"train.py": script.read_bytes(), **PACKAGE}
    assert below(code.files) == wanted
    assert {f"s3://{BUCKET}/{key}" for key in code.files} == {f"{uri}/{name}" for name in wanted}
    other = code_module.StepCode(BUCKET, "abalone")
    assert other.source_dir(script, package=package).endswith("/sourcedir.tar.gz")
    assert members(other.files) == wanted


def test_the_address_follows_from_names_and_bytes_alone(
    code_module, code, script, package, tmp_path
):
    first = code.script(script, package=package), code.source_dir(script, package=package)
    moved = tmp_path / "elsewhere"
    package.rename(moved.parent / "moved")
    (moved / "own").parent.mkdir()
    (moved.parent / "moved").rename(moved / "own")
    assert first == (
        code.script(script, package=moved / "own"),
        code.source_dir(script, package=moved / "own"),
    )
    write(moved / "own", "deep/notes.txt", "other words")
    assert code.script(script, package=moved / "own") == first[0]
    assert code.script(script, package=PACKAGE) == first[0]
    (moved / "own/deep/tools.py").rename(moved / "own/tools.py")
    assert code.script(script, package=moved / "own") != first[0]


def test_a_script_alone_is_a_file_and_with_modules_a_folder(code, script, tmp_path):
    assert code.script(script).endswith("/train.py")
    module = tmp_path / "helper.py"
    module.write_text("")
    assert not code.script(script, module).endswith(".py")
    assert set(below(code.files)) == {"train.py", "helper.py"}


def test_what_cannot_be_a_folder_of_code_is_refused(code, script, tmp_path):
    twin = tmp_path / "other/train.py"
    write(tmp_path, "other/train.py", "")
    with pytest.raises(ValueError, match=r"one file of the name train\.py"):
        code.script(script, twin)
    with pytest.raises(ValueError, match=r"no folder with \.py files"):
        code.script(script, package=tmp_path / "nothing")


def test_what_travels_is_the_package_tabular_under_a_stub(code_module, tmp_path):
    files = code_module.traveling()
    folder = Path(tabular.__file__).parent
    assert files["sagemaker_project/tabular/cells.py"] == (folder / "cells.py").read_bytes()
    assert {name.split("/")[1] for name in files} == {"__init__.py", "tabular"}
    for name, content in files.items():
        write(tmp_path, name, content.decode())
    write(tmp_path, "run.py", "import sagemaker_project.tabular.cells as c; print(c.__file__)")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", tmp_path / "run.py"], capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tmp_path / "sagemaker_project/tabular/cells.py")
    assert "sagemaker_project.project" not in done.stderr


class Bucket:
    """Takes uploads, of which it holds some back until others have come: they are parallel."""

    def __init__(self, fails=""):
        self.objects, self.fails = {}, fails
        self.together = threading.Barrier(2, timeout=20)

    def client(self, service):
        return self

    def put_object(self, Bucket, Key, Body, ExpectedBucketOwner):
        assert (Bucket, ExpectedBucketOwner) == (BUCKET, "123456789012")
        self.together.wait()
        if self.fails and Key.endswith(self.fails):
            raise OSError("no such bucket")
        self.objects[Key] = Body


def uploaded(code_module, code, bucket):
    session = SimpleNamespace(
        default_bucket=lambda: BUCKET, boto_session=bucket, boto_region_name="us-east-1"
    )
    pipeline = code_module.PipelineWithCode(
        name="p", steps=[], code=code, sagemaker_session=session
    )
    pipeline._upload_code()


def test_every_file_is_uploaded_several_at_a_time(code_module, code, script, package):
    code.script(script, package=package)
    files, bucket = dict(code.files), Bucket()
    uploaded(code_module, code, bucket)
    assert (bucket.objects, code.files) == (files, {})


def test_an_upload_that_fails_ends_the_command(code_module, code, script, package):
    code.script(script, package=package)
    files = dict(code.files)
    with pytest.raises(OSError, match="no such bucket"):
        uploaded(code_module, code, Bucket(fails="tools.py"))
    assert code.files == files
