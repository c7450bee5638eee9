"""`deploy-model`: what it adds to the waits of an endpoint and to the reads of a status, and how it
takes a large registry.
"""

import json
import statistics

import local
from measure import MODULE, PYTHON, ROLE, as_time, report

GROUP = "AbalonePackageGroup"
COPIED = ("ModelMetrics", "CustomerMetadataProperties")
MANY, FEW = 1000, 10


def promote(bench):
    """From exec to exit: a canary to prod, alarms and all, in a server that runs already."""
    config = json.loads((bench.project / "deploy/prod-config.json").read_text())
    update = config["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    canary = update["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"]
    waits = (canary + update["TerminationWaitInSeconds"]) / local.SPEED
    taken, updating = [], []
    with local.running(bench) as here:
        package = _registered(bench, here)
        _promoted(bench, here, package)  # the first version is created at once, alarms or none
        script = "from sagemaker_project import demo; demo.create_alarms('abalone-prod')"
        env = bench.env | here.keys | {"AWS_ENDPOINT_URL": here.url}
        bench.check([PYTHON, "-c", script], env=env, cwd=bench.project)
        for _ in range(bench.runs):
            taken.append(_promoted(bench, here, package))
            updating.append(_updating(bench))
    for of, seconds in (
        ("the waits of its settings", [waits] * bench.runs),
        ("the time its endpoint was Updating", updating),
    ):
        ratio = statistics.median(a / b for a, b in zip(taken, seconds, strict=True))
        detail = f"{as_time(statistics.median(taken))} / {as_time(statistics.median(seconds))}"
        report(f"promote by canary / {of}", ratio, "<= 1.1", detail)


def _promoted(bench, here, package):
    """Seconds that one more version takes to prod, when staging has it and has tested it."""
    version = _copy(here, package, GROUP)
    _deploy(bench, "promote", "staging", "--model-package-arn", version)
    _deploy(bench, "test", "staging")
    return _deploy(bench, "promote", "prod", "--model-package-arn", version)


def _updating(bench):
    """Seconds from Updating to InService, the last time that the prod endpoint took them."""
    events = (bench.project / ".sagemaker_local/events.jsonl").read_text().splitlines()
    details = [
        event["detail"]
        for event in map(json.loads, events)
        if event["detail-type"] == "SageMaker Endpoint State Change"
        and event["detail"]["EndpointName"] == "abalone-prod"
    ]
    states = [detail["EndpointStatus"] for detail in details]
    if states[-2:] != ["UPDATING", "IN_SERVICE"]:
        raise SystemExit(f"bench: the endpoint went through {states}")
    return (details[-1]["LastModifiedTime"] - details[-2]["LastModifiedTime"]) / 1000


def packages(bench):
    """What a promotion does to find the latest approved version and all that speaks against it."""
    with local.running(bench) as here:
        package = _registered(bench, here)
        for group, count in (("many", MANY), ("few", FEW)):
            here.sagemaker.create_model_package_group(ModelPackageGroupName=group)
            for _ in range(count):
                _copy(here, package, group)

        def plan(group):
            words = ("--latest-approved", "--model-package-group-name", group)
            return _deploy(bench, "plan", "staging", *words)

        label = f"plan with {MANY:,} packages / with {FEW}"
        bench.pairs(label, "<= 3", lambda: plan("many"), lambda: plan("few"))


# The reads of `status`, by a program that prints nothing and judges nothing.
BARE_READS = """
import sys
from datetime import datetime, timedelta, timezone

import boto3

url, key, secret, token, bucket, name = sys.argv[1:]
session = boto3.Session(key, secret, token, region_name="us-east-1")
client = lambda service: session.client(service, endpoint_url=url)
sm, s3, cloudwatch = client("sagemaker"), client("s3"), client("cloudwatch")
client("sts").get_caller_identity()
endpoint = sm.describe_endpoint(EndpointName=name)
prefix = "abalone/deploy/staging/ledger/"
for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
    s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
try:
    s3.get_object(Bucket=bucket, Key="abalone/deploy/staging/lock.json")
except s3.exceptions.NoSuchKey:
    pass
config = sm.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
model = sm.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
group = sm.list_model_packages(ModelPackageGroupName="AbalonePackageGroup")
package = group["ModelPackageSummaryList"][0]["ModelPackageArn"]
sm.describe_model_package(ModelPackageName=package)
now = datetime.now(timezone.utc)
where = {"EndpointName": name, "VariantName": "AllTraffic"}
dimensions = [{"Name": key, "Value": value} for key, value in where.items()]
metrics = [("Invocations", "Sum"), ("Invocation5XXErrors", "Sum")]
metrics += [("ModelLatency", "p50"), ("ModelLatency", "p99")]
cloudwatch.get_metric_data(
    MetricDataQueries=[
        {
            "Id": f"m{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": dimensions
                },
                "Period": 60,
                "Stat": stat,
            },
        }
        for number, (metric, stat) in enumerate(metrics)
    ],
    StartTime=now - timedelta(minutes=5),
    EndTime=now,
)
"""


def status(bench):
    """What is read, judged and printed, against a bare boto3 client that makes the same reads."""
    with local.running(bench) as here:
        package = _registered(bench, here)
        version = _copy(here, package, GROUP)
        _deploy(bench, "promote", "staging", "--model-package-arn", version)
        script = bench.folder / "bare_reads.py"
        script.write_text(BARE_READS)
        keys = [here.keys[name] for name in local.KEYS[:3]]
        words = [here.url, *keys, local.BUCKET, "abalone-staging"]
        bench.pairs(
            "deploy-model status / the same reads by boto3",
            "<= 6",
            lambda: _deploy(bench, "status", "staging"),
            lambda: bench.process(PYTHON, script, *words)[0],
        )


def _registered(bench, here):
    """What a run of the pipeline registers: a real model, with metrics and recorded requests."""
    command = ["-m", "pipelines.run_pipeline", "--local", "-n", MODULE, "-role-arn", ROLE]
    bench.process(PYTHON, *command, "--input-data", bench.sample, cwd=bench.project)
    listed = here.sagemaker.list_model_packages(ModelPackageGroupName=GROUP)
    [summary] = listed["ModelPackageSummaryList"][:1]
    return here.sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"])


def _copy(here, package, group):
    """The ARN of one more approved version in a group."""
    return here.sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        InferenceSpecification=package["InferenceSpecification"],
        **{name: package[name] for name in COPIED},
    )["ModelPackageArn"]


def _deploy(bench, command, stage, *words):
    words = ("-m", "deploy.deploy_model", command, "--local", "--stage", stage, *words)
    role = () if command in ("test", "status") else ("--model-execution-role", ROLE)
    return bench.process(PYTHON, *words, *role, cwd=bench.project)[0]
