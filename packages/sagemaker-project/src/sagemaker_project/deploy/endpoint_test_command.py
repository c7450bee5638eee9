"""`deploy-model test`: invoke the endpoint with recorded requests, and keep a report."""

import json
from pathlib import Path

from sagemaker_project.deploy import endpoint_test, ledger_writer, look, smoke_test
from sagemaker_project.deploy import ledger as ledgers
from sagemaker_project.deploy.calls import Call, Members
from sagemaker_project.deploy.candidate import images_of
from sagemaker_project.deploy.config import pinned_versions
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.endpoint_gates import TEST_GATES
from sagemaker_project.deploy.endpoint_test import TestReport
from sagemaker_project.deploy.evidence import State, recorded_requests
from sagemaker_project.deploy.gates import check
from sagemaker_project.deploy.ledger import Deployment, Test
from sagemaker_project.errors import Refused


def test(context: Context) -> Members:
    """Test what serves, and record the result where the gate of the next stage reads it."""
    state = look.look_at_stage(context)
    check(TEST_GATES, state)
    deployment = state.ledger.current
    assert deployment is not None  # something_is_deployed
    package = context.aws.package(deployment["ModelPackageArn"])
    if package is None:
        raise Refused(f"{deployment['ModelPackageArn']} does not exist any more")
    requests = recorded_requests(package, look.samples(context.aws, package))
    new = smoke_test.new_variants(context.target.config)
    only = new[0] if len(new) == 1 else None  # pinned variants serve another version
    report: TestReport = {
        **smoke_test.run(context, requests, variant=only),
        "Stage": context.target.stage,
        "EndpointName": context.target.endpoint,
        "ModelPackageArn": deployment["ModelPackageArn"],
        "EndpointConfigName": deployment["EndpointConfigName"],
        "ConfigHash": deployment["ConfigHash"],
        "TestedBy": context.aws.caller,
    }
    return _keep(context, state, deployment, report)


def _keep(context: Context, state: State, deployment: Deployment, report: TestReport) -> Members:
    """Write the report beside the ledger for the gate, and to disk for people."""
    body = (json.dumps(report, indent=2, default=str) + "\n").encode()
    page = endpoint_test.report_html(report).encode()
    uri = _upload(context, state, body, page)
    kept: Test = {
        "ModelPackageArn": deployment["ModelPackageArn"],
        "EndpointConfigName": deployment["EndpointConfigName"],
        "ConfigHash": deployment["ConfigHash"],
        "Pins": deployment["Pins"],
        "Images": images_of(state.endpoint, pinned_versions(context.target.config)),
        "Status": report["Status"],
        "ReportUri": uri,
        "ReportSha256": endpoint_test.digest(body),
    }
    entry = {"Action": "test", "Test": kept}
    ledger_writer.append(context, state.ledger, "Tested", entry, state.endpoint)
    message, where = f"{context.target.endpoint}: {endpoint_test.summary(report)}", uri
    try:
        folder = Path("reports") / f"{context.target.endpoint}-test"
        path = Path(context.request.export_test_results or folder / "report.json")
        where = str(write_files(path, body, page))
    except OSError as error:
        message += (
            f"; the test is recorded and its report is {uri}, but it could not be written to this"
            f" machine ({error})"
        )
    return {
        "Outcome": report["Status"],
        "Message": message,
        **{name: value for name, value in kept.items() if name != "Pins"},
        "Report": where,
    }


def _upload(context: Context, state: State, body: bytes, page: bytes) -> str:
    """Write both reports to S3; return the URI of the JSON.

    Their folder is named by number and content: of two tests at once, one gets the ledger's number.
    """
    target = context.target
    number = f"{state.ledger.next_number:08d}-{endpoint_test.digest(body)[:10]}"
    folder = f"{ledgers.prefix(target.name, target.stage)}/tests/{number}"
    for name, content, kind in (
        ("report.json", body, "application/json"),
        ("report.html", page, "text/html"),
    ):
        where = {"Bucket": target.bucket, "Key": f"{folder}/{name}"}
        call = Call("s3", "PutObject", {**where, "Body": content, "ContentType": kind})
        context.aws.change(call)
    return f"s3://{target.bucket}/{folder}/report.json"


def write_files(path: Path, body: bytes, page: bytes) -> Path:
    """Write a report as JSON and, beside it, as HTML; return the path of the HTML."""
    for file, content in ((path, body), (path.with_suffix(".html"), page)):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(content)
        part.replace(file)
    return path.with_suffix(".html")
