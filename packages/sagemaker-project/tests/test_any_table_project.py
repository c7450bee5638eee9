"""Any table in a generated project: with its schema.json alone, the tests and the demo pass.

Their rows are made up from it.
"""

import re
import sys

import pytest
from any_table_helpers import TEN, Repository

pytestmark = pytest.mark.acceptance
DEMOS = ["many_categories", "parquet", "compressed"]  # a kind of file and of problem each


@pytest.fixture(scope="module")
def repository(make_project, tmp_path_factory):
    return Repository(make_project().path, tmp_path_factory.mktemp("commands") / "bin")


@pytest.mark.parametrize("name", TEN)
def test_the_projects_own_tests_pass(repository, tmp_path, name):
    [make] = TEN[name]
    repository.take(make(tmp_path))
    repository.run(sys.executable, "-m", "pytest", "-q")


@pytest.mark.parametrize("name", DEMOS)
def test_the_demo_goes_from_data_to_a_rollback_in_prod(make_project, tmp_path, name):
    repository = Repository(make_project().path, tmp_path / "bin")
    repository.env["SAGEMAKER_LOCAL_SPEED"] = "240"  # at 600 a canary ends before its traffic
    [make] = TEN[name]
    repository.take(make(tmp_path))
    out = repository.run("sagemaker-project", "demo")
    failed = [int(number) for number in re.findall(r"answered, (\d+) failed", out)]
    assert failed[0] == 0 and failed[1] > 0
    assert re.search(r"^verified +prediction made anew +identical ", out, re.MULTILINE)
