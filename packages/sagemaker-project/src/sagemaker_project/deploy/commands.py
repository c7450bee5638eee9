"""What each command of `deploy-model` does: look, decide, act.

    look     everything is read before anything is decided (aws.py)
    decide   gates and plan are pure (planner.py)
    act      under the stage's lock, after a second look (executor.py)

Each function returns a result: a dict with an Outcome, a Message in one line, and what the command
is about. Whoever is told no gets planner.Refused, executor.DeployFailed, executor.NeedsHuman,
ledger.LedgerError, aws.AwsError or UsageError, and nothing else.
"""

import json
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from sagemaker_project import usage
from sagemaker_project.deploy import Refused, artifact, endpoint_test, ledger, planner
from sagemaker_project.deploy.aws import AwsError, dump, same
from sagemaker_project.deploy.config import (
    deployment_problems,
    pinned_versions,
    read_config,
    unreadable,
)
from sagemaker_project.deploy.endpoint_test_async import AsyncRuntime
from sagemaker_project.deploy.executor import DeployFailed, Executor, Lock
from sagemaker_project.deploy.planner import Call, Found, Target
from sagemaker_project.project import Project
from sagemaker_project.usage import UsageError

PIPELINE = re.compile(r"[a-z][a-z0-9_]*")
NEED_SETTINGS = ("plan", "promote", "test")
AT_ONCE = 4  # requests of a test at a time


@dataclass
class Session:
    """One command at work: its project and stage, AWS, and somebody to tell."""

    project: Project
    aws: object
    target: Target
    settings: object  # the command line's arguments
    say: object
    pins: dict = field(default_factory=dict)  # {package ARN: pin}: artifacts are read once
    tested: dict = field(default_factory=dict)  # the test in the stage before that lets it in


def open_session(project, settings, aws, say):
    """A session in the account of the credentials, once that is found to be the right one."""
    _check_settings(project, settings, aws)
    config = _config(project, settings, say)
    caller = aws.read("sts", "GetCallerIdentity")
    aws.caller = caller["Arn"]
    role, account = settings.model_execution_role, caller["Account"]
    expected = config.content.get("AccountId") or (role.split(":")[4] if role else account)
    if expected != account:
        raise UsageError(
            f"logged in as {caller['Arn']}, the project expects account {expected}: log in there"
        )
    if role and role.split(":")[4] != account:
        raise UsageError(f"--model-execution-role {role} is not of account {account}")
    settings.s3_bucket = settings.s3_bucket or f"sagemaker-{settings.region}-{account}"
    return Session(project, aws, _target(project, settings, config), settings, say)


def _check_settings(project, settings, aws):
    _check_pipeline(project, settings.pipeline)
    role = settings.model_execution_role
    if settings.command in ("plan", "promote") and not role:
        raise UsageError(
            "--model-execution-role (or MODEL_EXECUTION_ROLE_ARN) is needed: the role that the"
            " endpoint's models run as, arn:aws:iam::<account>:role/<name>"
        )
    if role:
        usage.check_role_arn(role, "--model-execution-role")
        usage.check_partition(role, settings.region, "--model-execution-role")
    usage.check_region(settings.region, "--region (or AWS_REGION)", aws.session)
    usage.check_name(settings.sagemaker_project_name, "--sagemaker-project-name")
    usage.check_name(settings.model_package_group_name, "--model-package-group-name")
    if settings.s3_bucket:
        usage.check_bucket(settings.s3_bucket, "--s3-bucket")


def _check_pipeline(project, name):
    """Refuse a pipeline without settings: its name is misspelt, or it was never deployed."""
    if project.is_first(name):
        return
    folder = Path(project.settings_of(None))
    if not PIPELINE.fullmatch(name) or not Path(folder, name).is_dir():
        others = [path.parent.name for path in folder.glob("*/*-config.json")]
        known = sorted({project.pipeline, *others} - {""})
        raise UsageError(
            f"--pipeline {name}: there are no settings of it in {folder}. {usage.near(name, known)}"
        )


def _config(project, settings, say):
    """The settings of the stage; whoever looks or goes back is not held up by a mistake in them."""
    stage = settings.stage
    path = _path(project, settings, stage)
    try:
        return read_config(path, stage, stage == project.stages[-1])
    except UsageError as error:
        if settings.command in NEED_SETTINGS:
            raise
        say(f"{settings.command} goes on without the settings: {error}")
        return unreadable(path, stage)


def _path(project, settings, stage):
    return Path(project.settings_of(settings.pipeline), f"{stage}-config.json")


def _target(project, settings, config):
    return Target(
        project=settings.sagemaker_project_name,
        project_id=settings.sagemaker_project_id,
        pipeline="" if project.is_first(settings.pipeline) else settings.pipeline,
        stage=config.stage,
        before=project.stage_before(config.stage) or "",
        region=settings.region,
        bucket=settings.s3_bucket,
        role=settings.model_execution_role,
        group=settings.model_package_group_name,
        config=config,
    )


# Looking


def read_ledger(session, target=None):
    """The ledger of a stage; every entry is read and checked against the one before."""
    from concurrent.futures import ThreadPoolExecutor

    target, aws = target or session.target, session.aws
    folder = ledger.entry_key(target.name, target.stage, 0).rpartition("/")[0] + "/"
    objects = aws.pages("s3", "ListObjectsV2", "Contents", Bucket=target.bucket, Prefix=folder)
    keys = sorted(item["Key"] for item in objects)
    with ThreadPoolExecutor(max_workers=8) as pool:
        bodies = list(pool.map(lambda key: aws.get_object(target.bucket, key) or b"", keys))
    return ledger.read(bodies, lambda number: f"s3://{target.bucket}/{keys[number - 1]}")


def find(session, wanted=None):
    """What is there now, as far as a plan needs it."""
    aws, target = session.aws, session.target
    endpoint = aws.endpoint(target.endpoint)
    live = aws.endpoint_config(endpoint["EndpointConfigName"]) if endpoint else None
    variants = {v["VariantName"] for v in planner.variants(live or {"ProductionVariants": []})}
    found = Found(ledger=read_ledger(session), endpoint=endpoint, endpoint_config=live)
    if wanted:
        found = replace(found, **_existing(aws, wanted, found))
        variants |= set(wanted.scaling)
    return replace(found, scaling=aws.scaling(target.endpoint, sorted(variants)))


def _existing(aws, wanted, found):
    """Which of the wanted resources there are already; one with other content is nobody's."""
    models = {m["ModelName"]: aws.model(m["ModelName"]) for m in wanted.models}
    configs = {wanted.name: aws.endpoint_config(wanted.name)}
    asked = {m["ModelName"]: m for m in wanted.models} | {wanted.name: wanted.endpoint_config}
    live = planner.variants(found.endpoint_config) if found.endpoint_config else []
    serving = {found.live, *(variant["ModelName"] for variant in live)}
    for name, there in (models | configs).items():
        if there is not None and not same(asked[name], there):
            way = "Delete it, then run again"
            if name in serving:
                way = "Leave it, it serves: promote another version, which gets other names"
            raise AwsError(
                f"{name} exists with other content than this project gives that name: somebody"
                f" changed or made it by hand. {way}"
            )
    return {
        "models": {name: there for name, there in models.items() if there},
        "configs": {name: there for name, there in configs.items() if there},
    }


def chosen_package(session):
    """The package that --model-package-arn or --latest-approved means."""
    target, arn = session.target, session.settings.model_package_arn
    if arn is None:
        arn = session.aws.latest_approved(target.group)
        if arn is None:
            raise Refused(f"the group {target.group} has no approved version: approve one first")
        session.settings.model_package_arn = arn  # the second look is at the same version
    parts = planner.package_parts(arn)
    if parts["region"] != target.region:
        raise Refused(f"{arn} is in {parts['region']}, this deployment is in {target.region}")
    package = session.aws.package(arn)
    if package is None:
        raise Refused(f"{arn} does not exist in {target.region}")
    planner.check_package(package, target)
    return package


def wanted_of(session, target, package):
    """What `package` would be in the stage of `target`, if its bytes are what was registered."""
    pinned = {}
    for variant, version in pinned_versions(target.config).items():
        arn = re.sub(r"/\d+$", f"/{version}", package["ModelPackageArn"])
        other = session.aws.package(arn)
        if other is None:
            raise Refused(
                f"{target.config.path.name}: {variant} serves {arn}, which does not exist"
            )
        planner.check_package(other, target)
        pinned[variant] = other
    packages = {p["ModelPackageArn"]: p for p in (package, *pinned.values())}
    return planner.wanted(target, package, pinned, [pin(session, p) for p in packages.values()])


def pin(session, package):
    """What identifies a package's bytes, once they are found to be a whole and unchanged model."""
    arn = package["ModelPackageArn"]
    if arn not in session.pins:
        expected = package.get("CustomerMetadataProperties", {}).get("ModelSha256")
        try:
            found = session.aws.pin(
                package, lambda file, image: artifact.check_artifact(file, expected, sklearn(image))
            )
        except artifact.ArtifactError as error:
            raise Refused(f"{arn}: {error}") from None
        registered = package["InferenceSpecification"]["Containers"][0].get("ModelDataETag")
        if registered and registered.strip('"') != found["ETag"]:
            raise Refused(
                f"{arn}: {found['ModelDataUrl']} was written again after it was registered (ETag"
                f" {found['ETag']}, registered {registered}): register the model anew"
            )
        session.pins[arn] = found
    return session.pins[arn]


def sklearn(image):
    """The scikit-learn of SageMaker's own container image, None of any other."""
    found = re.search(r"/sagemaker-scikit-learn:(\d+\.\d+)-", image)
    return found and found[1]


def check_metrics(session, package):
    source = package.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics")
    if not source:
        raise Refused(f"{package['ModelPackageArn']} has no metrics: nothing says that it is good")
    body = _object(session, source["S3Uri"])
    if body is None:
        raise Refused(f"{package['ModelPackageArn']}: its metrics {source['S3Uri']} are gone")
    try:
        content = json.loads(body)
    except ValueError as error:
        raise Refused(f"{source['S3Uri']} is not JSON: {error}") from None
    planner.check_metrics(content, source["S3Uri"])


def _object(session, uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return session.aws.get_object(bucket, key)


def samples_of(session, package):
    """The recorded requests of a package, from beside its metrics."""
    arn = package["ModelPackageArn"]
    source = package.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {})
    uri = f"{source.get('S3Uri', '').rpartition('/')[0]}/samples.json"
    body = _object(session, uri) if source else None
    if body is None:
        raise Refused(
            f"{arn}: there are no sample requests at {uri}, so it cannot be tested:"
            " register a model that this project's evaluate.py has scored"
        )
    sha256 = package.get("CustomerMetadataProperties", {}).get("SamplesSha256")
    try:
        return endpoint_test.read_samples(body, sha256)
    except UsageError as error:
        raise Refused(f"{arn}: {uri}: {error}") from None


# promote


def plan_promotion(session):
    """(plan, wanted, found): what promote would do now. Reads only.

    Raises:
        Refused: a gate says no.
    """
    target, settings = session.target, session.settings
    package = chosen_package(session)
    check_metrics(session, package)
    wanted = wanted_of(session, target, package)
    found = find(session, wanted)
    planner.check_group(target, found.ledger)
    planner.check_busy(target, found, "promote", wanted.name)
    planner.check_endpoint(target, found)
    planner.check_drift(target, found, settings.accept_drift)
    planner.check_config(target, found, wanted.name)
    plan = planner.promotion(target, wanted, found)
    if not plan.deploys:
        return plan, wanted, found
    planner.check_approval(wanted, target, datetime.now(timezone.utc))
    planner.check_reuse(wanted, found, settings.retry)
    samples_of(session, package)  # missing, that is to be told before the new version serves
    if target.before:
        _check_staged(session, package, wanted)
    notes = _judge_alarms(session, found)
    return replace(plan, notes=(*plan.notes, *notes)), wanted, found


def _check_staged(session, package, wanted):
    project, settings, before = session.project, session.settings, session.target.before
    config = read_config(_path(project, settings, before), before, last=False)
    staging = _target(project, settings, config)
    there = wanted_of(session, staging, package)
    staged = read_ledger(session, staging)
    session.tested = planner.check_staged(session.target, wanted, staged, there.config_hash)
    _check_report(session, session.tested)


def _check_report(session, test):
    body = _object(session, test["ReportUri"])
    if body is None or endpoint_test.digest(body) != test["ReportSha256"]:
        state = "gone" if body is None else "not what the test wrote"
        raise Refused(
            f"the {session.target.before} report {test['ReportUri']} is {state}: test again"
        )


def _judge_alarms(session, found):
    """Alarms that must not stop a deployment yet are told; the others stop it."""
    config = session.target.config
    alarms = session.aws.alarms(config.alarms)
    counts = None
    if found.endpoint:
        live = found.endpoint.get("ProductionVariants", [])
        counts = {v["VariantName"]: v.get("DesiredInstanceCount") for v in live}
    problems = deployment_problems(config, counts, alarms)
    if counts is None:
        return [f"before the next promotion: {problem.message}" for problem in problems]
    for problem in sorted(problems, key=lambda problem: problem.kind == "inconclusive"):
        raise Refused(problem.message, 3 if problem.kind == "inconclusive" else 2)
    return []


def promote(session):
    plan, wanted, found = plan_promotion(session)
    about = _about(session, wanted, plan)
    if not plan.steps:
        message = f"{session.target.endpoint} serves version {wanted.version}: already deployed"
        return {"Outcome": "Unchanged", "Message": message, **about}
    _check_token(session, plan, found)
    what = f"promote version {wanted.version}"
    with Lock(session.aws, session.target, what, session.say) as lock:
        plan, wanted, found = plan_promotion(session)  # what is true now that nobody else acts
        _check_token(session, plan, found)
        for note in plan.notes:
            session.say(note)
        executor = _executor(session, found, lock, wanted)
        executor.do(plan)
    message = f"{session.target.endpoint} serves version {wanted.version}"
    return {"Outcome": "Promoted", "Message": message, **about}


def _check_token(session, plan, found):
    given = session.settings.plan_token
    if given and given != planner.token(plan, found):
        raise Refused(
            "--plan-token: what would be done now is not what that plan said: look at"
            f" {session.target.command('plan')} again"
        )


def _executor(session, found, lock, wanted=None):
    return Executor(
        session.aws,
        session.target,
        found,
        lock,
        session.say,
        smoke=lambda: _smoke(session, wanted),
        approve=lambda: _still_approved(session, wanted),
    )


def _still_approved(session, wanted):
    """Somebody may have said no since this command began."""
    package = session.aws.package(wanted.package["ModelPackageArn"])
    if package is None:
        raise Refused(f"{wanted.package['ModelPackageArn']} was deleted meanwhile")
    planner.check_package(package, session.target)


def _smoke(session, wanted):
    """The new version answers the recorded requests of its model, and only then does it count."""
    pinned = set(pinned_versions(session.target.config))
    images = _images(session.aws.endpoint(session.target.endpoint), pinned)
    if session.tested and images != session.tested["Images"]:
        raise DeployFailed(
            f"it runs {', '.join(images)}, the {session.target.before} test ran with"
            f" {', '.join(session.tested['Images'])}: the image's tag was moved meanwhile"
        )
    variants = [v["VariantName"] for v in session.target.config.production_variants]
    samples = samples_of(session, wanted.package)
    for variant in variants:
        if variant not in pinned:
            session.say(f"invoke {session.target.endpoint} ({variant}) with recorded requests")
            try:
                one = variant if len(variants) > 1 else None
                result = _run_test(session, samples, smoke=True, target_variant=one)
            except UsageError as error:  # what cannot be invoked cannot be shown to serve
                raise DeployFailed(f"the smoke test: {error}") from None
            if result["Status"] != "Passed":
                raise DeployFailed(f"the smoke test: {endpoint_test.summary(result)}")


def _images(endpoint, pinned):
    """What SageMaker found the image tags of the variants to stand for when it deployed them."""
    variants = [v for v in endpoint["ProductionVariants"] if v["VariantName"] not in pinned]
    deployed = [image for variant in variants for image in variant.get("DeployedImages", [])]
    return sorted({image["ResolvedImage"] for image in deployed})


def _run_test(session, samples, **how):
    config, name = session.target.config, session.target.endpoint
    runtime, at_once = session.aws.runtime(), AT_ONCE
    if "AsyncInferenceConfig" in config.content:
        folder = f"s3://{session.target.bucket}/async-input/{name}"
        runtime = AsyncRuntime(runtime, session.aws.client("s3"), folder)
    for one in config.production_variants:
        at_once = min(at_once, one.get("ServerlessConfig", {}).get("MaxConcurrency", at_once))
    return endpoint_test.run_test(runtime, name, samples, config.test, concurrency=at_once, **how)


def _about(session, wanted, plan):
    return {
        "ModelPackageArn": wanted.package["ModelPackageArn"],
        "EndpointName": session.target.endpoint,
        "EndpointConfigName": wanted.name,
        "ConfigHash": wanted.config_hash,
        "Calls": [_said(call) for call in plan.calls],
        "Notes": list(plan.notes),
    }


def _said(call):
    return {"Service": call.service, "Operation": call.operation, "Resource": call.resource}


def plan(session):
    """The calls that promote would make, and a token that stands for exactly these."""
    found_plan, wanted, found = plan_promotion(session)
    about = _about(session, wanted, found_plan)
    if not found_plan.steps:
        message = f"{session.target.endpoint} serves version {wanted.version}: nothing to do"
        return {"Outcome": "Unchanged", "Message": message, **about}
    return {
        "Outcome": "Planned",
        "Message": f"{len(found_plan.calls)} calls would change something; nothing was changed",
        "PlanToken": planner.token(found_plan, found),
        **about,
    }


# rollback, cleanup


def rollback(session):
    with Lock(session.aws, session.target, "rollback", session.say) as lock:
        found = find(session)
        if _was_done(lock, found.ledger):
            history = found.ledger
            session.say("the rollback that was interrupted had come to its end; nothing to do")
        else:
            history = _roll_back(session, found, lock)
    current = history.current
    message = f"{session.target.endpoint} serves version {current['ModelPackageVersion']}"
    return {
        "Outcome": "RolledBack",
        "Message": message,
        "EndpointName": session.target.endpoint,
        "ModelPackageArn": current["ModelPackageArn"],
        "EndpointConfigName": current["EndpointConfigName"],
    }


def _was_done(lock, history):
    """Whether a rollback that was killed had done all but to end: another one goes back too far."""
    before = lock.inherited
    if not before or before["What"] != lock.what:
        return False
    return any(
        entry["Kind"] == "RolledBack" and entry["Time"] >= before["Since"]
        for entry in history.entries
    )


def _roll_back(session, found, lock):
    """The ledger after the rollback."""
    if found.ledger.current and found.endpoint is None:
        raise Refused(
            f"{session.target.endpoint} does not exist (any more), so there is nothing to roll"
            " back: promote the version that is to serve"
        )
    planner.check_busy(session.target, found, "rollback")
    planner.check_endpoint(session.target, found)
    planner.check_drift(session.target, found, session.settings.accept_drift)
    planner.check_config(session.target, found)
    made = planner.rollback(session.target, _with_goal(session, found))
    for note in made.notes:
        session.say(note)
    executor = _executor(session, found, lock)
    executor.do(made)
    return executor.ledger


def _with_goal(session, found):
    """What a rollback goes back to must still be there, models and all."""
    goal = planner.rollback_goal(found)
    if goal is None or found.live == goal["EndpointConfigName"]:
        return found
    name = goal["EndpointConfigName"]
    config = session.aws.endpoint_config(name)
    models = [v["ModelName"] for v in planner.variants(config)] if config else []
    gone = [model for model in models if session.aws.model(model) is None]
    if config is None or gone:
        name = gone[0] if gone else name
        raise Refused(f"{name} was deleted, so its version cannot be put back: promote it again")
    return replace(found, configs={name: config})


def cleanup(session):
    made = planner.cleanup(session.target, find(session))
    if made.steps:
        with Lock(session.aws, session.target, "cleanup", session.say) as lock:
            found = find(session)
            planner.check_busy(session.target, found, "cleanup")
            planner.check_endpoint(session.target, found)
            made = planner.cleanup(session.target, found)
            _executor(session, found, lock).do(made)
    deleted = [_said(call) for call in made.calls if call.operation.startswith("DeleteE")]
    deleted += [_said(call) for call in made.calls if call.operation == "DeleteModel"]
    message = f"{len(deleted)} resources deleted, none of them in use"
    return {"Outcome": "CleanedUp", "Message": message, "Deleted": deleted}


# test


def test(session):
    """Invoke the endpoint as its model's recorded requests say, and keep what came of it."""
    target = session.target
    endpoint, history = session.aws.endpoint(target.endpoint), read_ledger(session)
    deployment = history.current
    if endpoint is None or deployment is None:
        raise Refused(f"nothing is deployed to {target.stage}: promote a version first")
    found = Found(ledger=history, endpoint=endpoint)
    planner.check_busy(target, found, "test")
    planner.check_endpoint(target, found)
    if (endpoint["EndpointConfigName"], endpoint["EndpointStatus"]) != (
        deployment["EndpointConfigName"],
        "InService",
    ):
        raise Refused(
            f"{target.endpoint} is {endpoint['EndpointStatus']} with"
            f" {endpoint['EndpointConfigName']}, the ledger says"
            f" {deployment['EndpointConfigName']}: see deploy-model status"
        )
    package = session.aws.package(deployment["ModelPackageArn"])
    if package is None:
        raise Refused(f"{deployment['ModelPackageArn']} does not exist any more")
    result = _run_test(session, samples_of(session, package))
    report = {
        **result,
        "Stage": target.stage,
        "EndpointName": target.endpoint,
        "ModelPackageArn": deployment["ModelPackageArn"],
        "EndpointConfigName": deployment["EndpointConfigName"],
        "ConfigHash": deployment["ConfigHash"],
        "TestedBy": session.aws.caller,
    }
    return _keep_report(session, history, endpoint, report)


def _keep_report(session, history, endpoint, report):
    """Beside the ledger for the gate, and on disk for whoever looks; the ledger names it."""
    target, deployment = session.target, history.current
    body, page = dump(report).encode(), endpoint_test.report_html(report).encode()
    # By number and content: of two tests at once only one gets the number in the ledger.
    number = f"{history.next_number:08d}-{endpoint_test.digest(body)[:10]}"
    name = f"{ledger.prefix(target.name, target.stage)}/tests/{number}"
    for key, content, kind in (
        (f"{name}/report.json", body, "application/json"),
        (f"{name}/report.html", page, "text/html"),
    ):
        members = {"Bucket": target.bucket, "Key": key, "Body": content, "ContentType": kind}
        session.aws.change(Call("s3", "PutObject", members))
    kept = {
        "ModelPackageArn": deployment["ModelPackageArn"],
        "EndpointConfigName": deployment["EndpointConfigName"],
        "ConfigHash": deployment["ConfigHash"],
        "Pins": deployment["Pins"],
        "Images": _images(endpoint, set(pinned_versions(target.config))),
        "Status": report["Status"],
        "ReportUri": f"s3://{target.bucket}/{name}/report.json",
        "ReportSha256": endpoint_test.digest(body),
    }
    found = Found(ledger=history)
    _executor(session, found, None).record("Tested", {"Action": "test", "Test": kept})
    path = _write_reports(session, body, page)
    summary = endpoint_test.summary(report)
    return {
        "Outcome": report["Status"],
        "Message": f"{target.endpoint}: {summary}",
        **{name: value for name, value in kept.items() if name != "Pins"},
        "Report": str(path),
    }


def _write_reports(session, body, page):
    folder = Path("reports") / f"{session.target.endpoint}-test"
    path = Path(session.settings.export_test_results or folder / "report.json")
    try:
        for target, content in ((path, body), (path.with_suffix(".html"), page)):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            part.write_bytes(content)
            part.replace(target)
    except OSError as error:
        raise UsageError(f"the report cannot be written: {error}") from None
    return path.with_suffix(".html")


# status, history


def status(session):
    target, found = session.target, find(session)
    endpoint, current = found.endpoint, found.ledger.current
    if endpoint is None:
        message = f"{target.endpoint} does not exist: nothing is deployed to {target.stage}"
        return {"Outcome": "Absent", "Message": message, "EndpointName": target.endpoint}
    alarms = session.aws.alarms(target.config.alarms)
    pending = found.ledger.pending
    version = current["ModelPackageVersion"] if current else "unknown"
    recovery = planner.recovery if planner.needs_human(endpoint) else planner.without_config
    return {
        "Outcome": endpoint["EndpointStatus"],
        "Message": f"{target.endpoint} is {endpoint['EndpointStatus']} with version {version}",
        "EndpointName": target.endpoint,
        "EndpointConfigName": found.live,
        "Current": current,
        "RollbackTarget": found.ledger.rollback_target,
        "Pending": {k: pending[k] for k in ("Action", "Time", "By")} if pending else None,
        "FailureReason": endpoint.get("FailureReason", ""),
        "Variants": [
            {
                "VariantName": variant["VariantName"],
                "Weight": variant.get("CurrentWeight"),
                "InstanceCount": variant.get("CurrentInstanceCount"),
                "Images": [i.get("ResolvedImage") for i in variant.get("DeployedImages", [])],
            }
            for variant in endpoint.get("ProductionVariants", [])
        ],
        "Alarms": {
            name: alarms[name]["StateValue"] if name in alarms else "does not exist"
            for name in target.config.alarms
        },
        "Drift": planner.differences(found),
        "Recovery": recovery(target, found),
    }


def history(session):
    entries = read_ledger(session).entries
    rows = [_row(entry) for entry in entries]
    message = f"{len(rows)} entries, each follows the one before it unchanged"
    return {"Outcome": "Read", "Message": message, "Entries": rows}


def _row(entry):
    about = entry.get("Deployment") or entry.get("Test") or {}
    version = about.get("ModelPackageArn", "").rpartition("/")[2]
    kept = entry.get("Test", {}).get("Status") or entry.get("Reason", "")
    deleted = entry.get("Deleted", {})
    gone = sum(len(names) for names in deleted.values())
    return {
        "Number": entry["Number"],
        "Time": entry["Time"],
        "Kind": entry["Kind"],
        "Action": entry.get("Action", ""),
        "Version": version,
        "EndpointConfigName": about.get("EndpointConfigName", ""),
        "By": entry["By"],
        "ApprovedBy": (about.get("Approval") or {}).get("By", ""),
        "GitCommit": about.get("GitCommit", ""),
        "Note": kept or (f"{gone} resources deleted" if gone else ""),
    }
