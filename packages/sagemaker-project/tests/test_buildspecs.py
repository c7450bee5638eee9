"""deploy/buildspec.yml and deploy/test-buildspec.yml: their commands, run as they stand by bash."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from deploy_helpers import BUCKET, ROLE

EXPORTS = {
    "EXPORT_TEMPLATE_STAGING_CONFIG": "staging-config-export.json",
    "EXPORT_TEMPLATE_PROD_CONFIG": "prod-config-export.json",
    "BUILD_CONFIG": "staging-config-export.json",
    "EXPORT_TEST_RESULTS": "test-results.json",
}


@pytest.fixture
def build(place, tmp_path):
    """Run a buildspec's build phase with the variables that CodeBuild and the project set."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, module in (("deploy-model", "-m deploy.deploy_model "), ("python", "")):
        (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        (scripts / name).chmod(0o755)
    variables = {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(place.project),
        **place.environment,
        **EXPORTS,
        "SAGEMAKER_PROJECT_NAME": place.name,
        "SAGEMAKER_PROJECT_ID": "p-1",
        "SOURCE_MODEL_PACKAGE_GROUP_NAME": place.group,
        "MODEL_EXECUTION_ROLE_ARN": ROLE,
        "ARTIFACT_BUCKET": BUCKET,
        "CODEBUILD_SRC_DIR_BuildArtifact": str(tmp_path),
    }

    def run(buildspec, **more):
        content = yaml.safe_load((place.project / "deploy" / buildspec).read_text())
        assert content["env"]["shell"] == "bash"
        [command] = content["phases"]["build"]["commands"]
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**variables, **more},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_staging_test_and_prod_as_a_pipeline_runs_them(place, build, tmp_path):
    first = place.register(factor=2)
    done = build("buildspec.yml")
    assert done.returncode == 0, done.stderr
    exported = json.loads((tmp_path / "staging-config-export.json").read_text())
    assert exported["ModelPackageArn"] == first

    done = build("test-buildspec.yml")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "test-results.json").read_text())["Status"] == "Passed"
    assert "<html" in (tmp_path / "test-results.html").read_text()

    place.register(factor=3)  # approved meanwhile: prod gets what staging tested
    done = build("buildspec.yml", DEPLOY_STAGE="prod")
    assert done.returncode == 0, done.stderr
    assert place.answer("1", "prod") == [2.0]
    tags = place.sm.list_tags(ResourceArn=place.endpoint("prod")["EndpointArn"])["Tags"]
    assert {"Key": "sagemaker:project-id", "Value": "p-1"} in tags


def test_the_version_that_an_event_names_is_deployed(place, build):
    first = place.register(factor=2)
    place.register(factor=3)
    assert build("buildspec.yml", MODEL_PACKAGE_ARN=first).returncode == 0
    assert place.version() == 1


def test_a_refusal_fails_the_build_and_is_exported(place, build, tmp_path):
    place.register(approve=False)
    done = build("buildspec.yml")
    assert done.returncode == 3
    exported = json.loads((tmp_path / "staging-config-export.json").read_text())
    assert exported["Outcome"] == "Refused" and "no approved version" in exported["Message"]
    done = build("test-buildspec.yml")
    assert done.returncode == 3 and "nothing is deployed to staging" in done.stderr


def test_hostile_values_stay_values(place, build, tmp_path):
    hostile = 'it\'s a "test" $(touch pwned) `touch pwned` ; touch pwned'
    for name in ("SAGEMAKER_PROJECT_NAME", "MODEL_PACKAGE_ARN", "ARTIFACT_BUCKET"):
        done = build("buildspec.yml", **{name: hostile})
        assert done.returncode == 2, done.stderr
    assert not (tmp_path / "pwned").exists()
