"""When the server lives and ends, what it remembers, and the command line around it."""

import contextlib
import http.server
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

import boto3
import pytest
from botocore.exceptions import ClientError
from local_helpers import (
    ROLE,
    Cloud,
    alive,
    create,
    definition,
    fail,
    finish,
    processing,
    run_job,
    script,
    start,
    step,
    steps_of,
    unique,
    until,
)
from sagemaker_emulator import LocalError
from sagemaker_emulator import client as local_client

ENVIRON = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}


@pytest.fixture
def state(tmp_path):
    return tmp_path / "project" / ".sagemaker_local"


@contextlib.contextmanager
def attached(state):
    with local_client.attach(state=state) as local:
        yield Cloud(local)


def command(state, *words, **options):
    state.parent.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "sagemaker_emulator", *words],
        cwd=state.parent,
        env=ENVIRON | options.pop("env", {}),
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def server_pid(state):
    return json.loads((state / "server.json").read_text())["pid"]


def listens(url):
    host, port = url.removeprefix("http://").split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def fill(cloud):
    """Create one of everything that must survive."""
    s3, iam = cloud.s3, cloud.client("iam")
    s3.create_bucket(Bucket="bucket")
    cloud.put("kept/a b+c.txt", b"old")
    s3.put_object(
        Bucket="bucket",
        Key="kept/a b+c.txt",
        Body=b"new",
        ContentType="text/x-test",
        Metadata={"under_score": "1"},
        Tagging="team=prices",
    )
    s3.copy_object(Bucket="bucket", Key="copied", CopySource="bucket/kept/a b+c.txt")
    cloud.put("gone/1", b"x")
    s3.delete_object(Bucket="bucket", Key="gone/1")
    cloud.put("gone/2", b"x")
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "gone/2"}]})
    upload = s3.create_multipart_upload(Bucket="bucket", Key="large")["UploadId"]
    parts = []
    for number, letter in enumerate((b"a", b"b"), 1):
        size = 5 * 2**20 if number == 1 else 10
        etag = s3.upload_part(
            Bucket="bucket", Key="large", UploadId=upload, PartNumber=number, Body=letter * size
        )["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(
        Bucket="bucket", Key="large", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    s3.put_bucket_policy(Bucket="bucket", Policy='{"Version": "2012-10-17", "Statement": []}')
    s3.create_bucket(Bucket="emptied")
    s3.delete_bucket(Bucket="emptied")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
    cloud.sm.create_model_package_group(ModelPackageGroupName="Prices")


def check_filled(cloud):
    s3 = cloud.s3
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket="bucket")["Contents"]]
    assert [key for key in listed if not key.startswith("code/")] == [
        "copied", "kept/a b+c.txt", "large",
    ]  # fmt: skip
    kept = s3.get_object(Bucket="bucket", Key="kept/a b+c.txt")
    assert kept["Body"].read() == b"new" and kept["ContentType"] == "text/x-test"
    assert kept["Metadata"] == {"under_score": "1"}
    tags = s3.get_object_tagging(Bucket="bucket", Key="kept/a b+c.txt")["TagSet"]
    assert tags == [{"Key": "team", "Value": "prices"}]
    assert cloud.get("copied") == b"new"
    assert cloud.get("large") == b"a" * 5 * 2**20 + b"b" * 10
    assert "2012-10-17" in s3.get_bucket_policy(Bucket="bucket")["Policy"]
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["bucket"]
    assert cloud.client("iam").get_role(RoleName="worker")["Role"]["RoleName"] == "worker"
    cloud.sm.describe_model_package_group(ModelPackageGroupName="Prices")


@pytest.mark.parametrize("end", [pytest.param("politely", marks=pytest.mark.acceptance), "kill -9"])
def test_everything_is_there_after_a_restart(state, end):
    with attached(state) as cloud:
        fill(cloud)
        job = run_job(cloud, processing(script(cloud, "print('hello')")))
        arn = start(cloud, create(cloud, definition(fail("A", "x"))))
        finish(cloud, arn)
        stamp = cloud.s3.head_object(Bucket="bucket", Key="copied")["LastModified"]
        if end == "kill -9":
            os.kill(server_pid(state), signal.SIGKILL)
    with attached(state) as cloud:
        check_filled(cloud)
        assert cloud.s3.head_object(Bucket="bucket", Key="copied")["LastModified"] == stamp
        described = cloud.sm.describe_processing_job(ProcessingJobName=job["ProcessingJobName"])
        del job["ResponseMetadata"], described["ResponseMetadata"]
        assert described == job
        assert steps_of(cloud, arn)["A"]["Metadata"]["Fail"]["ErrorMessage"] == "x"
        group = "/aws/sagemaker/ProcessingJobs"
        events = cloud.client("logs").filter_log_events(logGroupName=group)["events"]
        assert "hello" in [event["message"] for event in events]
    assert "not restored" not in (state / "server.log").read_text()


def test_the_journal_grows_with_the_data_and_not_with_its_history(state):
    with attached(state) as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        for number in range(20):
            cloud.put("same", b"x" * 1000 + str(number).encode())
        for number in range(5):
            cloud.put(f"passing/{number}", b"x")
            cloud.s3.delete_object(Bucket="bucket", Key=f"passing/{number}")
        for _ in range(5):
            cloud.s3.put_bucket_policy(Bucket="bucket", Policy="{}")
    rows = sqlite3.connect(state / "state.db").execute("SELECT COUNT(*) FROM journal").fetchone()
    assert rows == (3,)  # the bucket, the object, the policy


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "region", ["cn-north-1", pytest.param("us-gov-west-1", marks=pytest.mark.acceptance)]
)
def test_every_partition_is_there_after_a_restart(state, region):
    with attached(state) as cloud:
        s3 = cloud.client("s3", region)
        s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": region})
        s3.put_object(Bucket="bucket", Key="key", Body=b"kept")
        stamp = s3.head_object(Bucket="bucket", Key="key")["LastModified"]
    time.sleep(1)
    with attached(state) as cloud:
        found = cloud.client("s3", region).get_object(Bucket="bucket", Key="key")
        assert found["Body"].read() == b"kept" and found["LastModified"] == stamp


def test_a_repeated_setting_keeps_its_place_in_the_journal(state):
    targets = [{"Id": "log", "Arn": "arn:aws:logs:us-east-1:123456789012:log-group:/x"}]
    rule = {"Name": "rule", "EventPattern": '{"source": ["mine"]}'}
    with attached(state) as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        cloud.put("key", "kept")
        cloud.s3.create_bucket(Bucket="bucket")
        events = cloud.client("events")
        events.put_rule(**rule)
        events.put_targets(Rule="rule", Targets=targets)
        events.put_rule(**rule)
    with attached(state) as cloud:
        assert cloud.get("key") == b"kept"
        assert cloud.client("events").list_targets_by_rule(Rule="rule")["Targets"] == targets
    assert "not restored" not in (state / "server.log").read_text()


def test_a_damaged_row_of_the_journal_leaves_the_others(state):
    with attached(state) as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        cloud.put("bad", "x")
        cloud.put("good", "kept")
    with sqlite3.connect(state / "state.db") as database:
        database.execute("UPDATE journal SET headers = 'spoilt' WHERE path = '/bucket/bad'")
    with attached(state) as cloud:
        assert cloud.get("good") == b"kept"
    assert "not restored: s3 PUT /bucket/bad: " in (state / "server.log").read_text()


def test_an_overwriting_that_fails_half_way_leaves_what_there_was(state):
    with attached(state) as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        cloud.put("key", "old")
        tags = {"TagSet": [{"Key": "team", "Value": "prices"}]}
        cloud.s3.put_object_tagging(Bucket="bucket", Key="key", Tagging=tags)
        full = "BEGIN SELECT RAISE(ABORT, 'the disk is <full>'); END"
        with sqlite3.connect(state / "state.db") as database:
            database.execute(f"CREATE TRIGGER full BEFORE INSERT ON journal {full}")
        # Both protocols report an internal error with its message.
        with pytest.raises(ClientError, match="InternalFailure.*the disk is <full>"):
            cloud.put("key", "new")
        with pytest.raises(ClientError, match="InternalFailure.*the disk is <full>"):
            cloud.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
        os.kill(server_pid(state), signal.SIGKILL)
    with sqlite3.connect(state / "state.db") as database:
        database.execute("DROP TRIGGER full")
    with attached(state) as cloud:
        assert cloud.get("key") == b"old"
        assert cloud.s3.get_object_tagging(Bucket="bucket", Key="key")["TagSet"] == tags["TagSet"]


def test_a_job_has_nothing_of_the_users_environment_but_what_a_shell_needs(state, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    with attached(state) as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        code = script(cloud, "import os, json; print(json.dumps(dict(os.environ)))")
        job = run_job(cloud, processing(code, Environment={"MINE": "1"}))
    log = state / f"logs/ProcessingJobs/{job['ProcessingJobName']}.log"
    seen = json.loads(log.read_text().splitlines()[-1])
    assert "MY_TOKEN" not in seen and seen["MINE"] == "1" and seen["LC_ALL"] == "C.UTF-8"
    assert seen["HOME"] == os.environ["HOME"] and os.environ["PATH"] in seen["PATH"]
    assert seen["https_proxy"] == "http://proxy:1" and seen["PROCESSING_JOB_ARN"]


SLEEPER = "import subprocess, sys, time\nsubprocess.Popen(['sleep', '300'])\ntime.sleep(300)"


@pytest.mark.parametrize("end", ["politely", pytest.param("kill -9", marks=pytest.mark.acceptance)])
def test_what_ran_when_the_server_ended_has_failed_and_is_gone(state, end):
    with attached(state) as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        document = definition(step("A", "Processing", processing(script(cloud, SLEEPER))))
        arn = start(cloud, create(cloud, document))
        group = until(lambda: processes_of(state))
        if end == "kill -9":
            os.kill(server_pid(state), signal.SIGKILL)
    until(lambda: not any(map(alive, group)))
    with attached(state) as cloud:
        execution = cloud.sm.describe_pipeline_execution(PipelineExecutionArn=arn)
        assert execution["PipelineExecutionStatus"] == "Failed"
        assert "server ended" in execution["FailureReason"]
        failed = steps_of(cloud, arn)["A"]
        assert failed["StepStatus"] == "Failed" and "server ended" in failed["FailureReason"]
        (job,) = cloud.sm.list_processing_jobs()["ProcessingJobSummaries"]
        assert job["ProcessingJobStatus"] == "Failed"
        assert not list((state / "jobs").glob("*"))


def processes_of(state):
    """The processes that work in the state's job folders, once a job and its child are there."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.readlink(f"/proc/{entry}/cwd").startswith(f"{state}/jobs"):
                found.append(int(entry))
    return found if len(found) > 1 else None


CLIENT = """
import sys, time
from sagemaker_emulator import client
with client.attach(state=sys.argv[1]) as local:
    print(local.url, flush=True)
    time.sleep(60)
"""


def other_client(state):
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(state)], env=ENVIRON, stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.acceptance)]
)
def test_nothing_is_left_of_a_client_that_was_killed(state, number):
    process, url = other_client(state)
    pid = server_pid(state)
    assert listens(url) and alive(pid)
    process.send_signal(number)
    process.wait()
    until(lambda: not alive(pid) and not listens(url))
    assert not (state / "server.json").exists()


def test_nothing_is_left_of_a_client_killed_while_the_server_starts(state):
    process = subprocess.Popen([sys.executable, "-c", CLIENT, str(state)], env=ENVIRON)
    until(lambda: (state / "server.log").exists())
    process.kill()
    process.wait()
    time.sleep(0.5)
    until(lambda: not (state / "server.json").exists())
    assert command(state, "status").stdout.splitlines()[1].endswith("not running")


def test_clients_share_one_server_and_the_last_one_ends_it(state):
    first, url = other_client(state)
    with attached(state) as cloud:
        assert cloud.url == url and cloud.local.joined
        first.kill()
        first.wait()
        cloud.s3.list_buckets()
    until(lambda: not listens(url))


def test_clients_that_start_together_share_one_server(state):
    start = [sys.executable, "-c", CLIENT, str(state)]
    clients = [
        subprocess.Popen(start, env=ENVIRON, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    try:
        assert len({client.stdout.readline() for client in clients}) == 1
        pid = server_pid(state)
    finally:
        for client in clients:
            client.kill()
            client.wait()
    until(lambda: not alive(pid))


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda path: path.write_bytes(b"not a database, " * 100), ["not a database"]),
        (lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99"), ["version 99"]),
    ],
)
def test_a_state_that_cannot_be_read_is_refused_and_kept(state, spoil, words):
    state.mkdir(parents=True)
    database = state / "state.db"
    spoil(database)
    before = database.read_bytes()
    ended = command(state, "run", "--", "true")
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    for word in [*words, str(database), "sagemaker-local reset"]:
        assert word in ended.stderr
    assert database.read_bytes() == before
    assert command(state, "reset").returncode == 0 and not database.exists()
    assert command(state, "run", "--", "true").returncode == 0


def test_an_environment_points_at_the_server_and_at_nothing_else(state):
    mine = {"AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "t", "AWS_ENDPOINT_URL_S3": "http://x"}
    others = {"AWS_REGION": "eu-west-1", "HTTP_PROXY": "http://proxy", "no_proxy": "intranet"}
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    ended = command(state, "run", "--", sys.executable, "-c", show, env=mine | others)
    seen = json.loads(ended.stdout)
    assert seen["no_proxy"] == seen["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert seen["HTTPS_PROXY"] == seen["https_proxy"] == seen["AWS_ENDPOINT_URL"]
    assert set(mine) & set(seen) == {"AWS_SESSION_TOKEN"} and seen["AWS_SESSION_TOKEN"] != "t"
    assert seen["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert seen["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "words, code",
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-command"], 127),
    ],
)
def test_run_ends_with_the_commands_exit_code(state, words, code):
    assert command(state, "run", "--", *words).returncode == code
    assert not (state / "server.json").exists()


def test_up_prints_what_points_boto3_at_it_and_ends_with_ctrl_c(state):
    state.parent.mkdir()
    up = subprocess.Popen(
        [sys.executable, "-m", "sagemaker_emulator", "up"],
        cwd=state.parent,
        env=ENVIRON,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [up.stdout.readline().strip() for _ in range(2)]
    assert all(line.startswith("export ") for line in lines)
    exports = dict(word.split("=") for line in lines for word in line.split()[1:])
    sts = boto3.client(
        "sts",
        endpoint_url=exports["AWS_ENDPOINT_URL"],
        region_name=exports["AWS_DEFAULT_REGION"],
        aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=exports["AWS_SESSION_TOKEN"],
    )
    assert sts.get_caller_identity()["Account"] == "123456789012"
    status = command(state, "status").stdout
    assert exports["AWS_ENDPOINT_URL"] in status
    again = command(state, "up")
    assert again.returncode == 1 and "already running" in again.stderr
    refused = command(state, "reset")
    assert refused.returncode == 1 and "running" in refused.stderr and state.exists()
    with attached(state) as cloud:
        assert cloud.url == exports["AWS_ENDPOINT_URL"]
    assert up.poll() is None  # it outlives its clients
    up.send_signal(signal.SIGINT)
    assert up.wait(10) == 0
    assert "It is not AWS" in up.stderr.read()
    assert not (state / "server.json").exists()


def test_a_port_in_use_is_one_line(state):
    """Row 48 of the bad inputs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = command(state, "up", "--port", str(taken.getsockname()[1]))
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert "cannot listen on port" in ended.stderr


def test_a_server_that_is_killed_while_it_starts_is_reported_with_its_signal(state, monkeypatch):
    killed = state.parent / "python"
    killed.parent.mkdir()
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(local_client.sys, "executable", str(killed))
    with pytest.raises(local_client.LocalError) as raised, attached(state):
        pass
    assert "killed by signal 9 (SIGKILL): is there enough memory?" in str(raised.value)
    assert "disk" not in str(raised.value) and "\n" not in str(raised.value)


def test_status_and_logs(state):
    with attached(state) as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        name = unique("explore")
        run_job(cloud, processing(script(cloud, "print('seen')")), name)
        arn = start(cloud, create(cloud, definition(fail("A", "x"))))
        finish(cloud, arn)
    status = command(state, "status").stdout
    assert "not running" in status and f"Failed     {arn}" in status
    assert command(state, "logs", name).stdout.endswith("seen\n")
    wrong = command(state, "logs", name[:-1] + "?")
    assert wrong.returncode == 1 and f"did you mean {name}?" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["up"], ["run", "--", "true"], ["reset"]])
def test_a_folder_with_other_files_is_refused_and_kept(state, words):
    folder = state.parent / "theirs"
    for name in ("logs/a", "jobs/b", ".gitignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("theirs")
    ended = command(state, *words[:1], "--state", str(folder), *words[1:])
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1 and str(folder) in ended.stderr
    kept = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert kept == {"logs/a", "jobs/b", ".gitignore"}
    assert (folder / ".gitignore").read_text() == "theirs"


def test_a_state_folder_is_for_its_owner_and_an_ignore_file_in_it_stays(state):
    with attached(state):
        pass
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / ".gitignore").read_text() == "*\n"
    (state / ".gitignore").write_text("mine")
    with attached(state):
        assert (state / ".gitignore").read_text() == "mine"


def test_a_state_folder_that_is_a_file_is_one_line(state):
    state.parent.mkdir()
    state.write_text("")
    ended = command(state, "run", "--", "true")
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1 and str(state) in ended.stderr


def test_reset_touches_nothing_but_its_own(state):
    with attached(state):
        pass
    (state / "mine.txt").write_text("mine")
    (state / "capture").mkdir()
    (state / "capture/1.open").write_text("s3://bucket/key\n{}\n")
    assert command(state, "reset").returncode == 0
    assert [path.name for path in state.iterdir()] == ["mine.txt"]


def test_a_wrong_command_line_ends_with_2(state):
    assert command(state, "fly").returncode == 2
    assert "exit codes:" in command(state, "--help").stdout


def test_two_processes_that_are_given_the_same_name_one_wins(state):
    with attached(state) as cloud:
        create(cloud, definition(fail("A", "x")), "same")
        with pytest.raises(ClientError):
            cloud.sm.create_pipeline(PipelineName="same", RoleArn=ROLE, PipelineDefinition="{}")


def test_only_its_owner_can_read_the_state_with_the_secret(state):
    state.mkdir(mode=0o755, parents=True)
    with attached(state):
        assert state.stat().st_mode & 0o777 == 0o700


def test_an_impostor_on_the_port_of_a_dead_server_gets_neither_secret_nor_client(state):
    """Another user may have bound the port of a server that was killed."""
    heard = []

    class Impostor(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(str(self.headers))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.headers["x-local-proof"].encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impostor) as impostor:
        threading.Thread(target=impostor.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{impostor.server_port}"
        state.mkdir(parents=True)
        (state / "lock").touch()
        about = {"url": url, "pid": os.getpid(), "secret": "of the dead server"}
        (state / "server.json").write_text(json.dumps(about))
        with attached(state) as cloud:
            assert cloud.url != url and not cloud.local.joined
        assert heard and "of the dead server" not in "".join(heard)
        impostor.shutdown()


@pytest.mark.parametrize(
    "about",
    [
        {"url": "http://203.0.113.7:80", "secret": "s"},
        {"url": "http://127.0.0.1:1", "secret": ""},
        {"url": "http://127.0.0.1:1"},
    ],
    ids=["elsewhere", "empty secret", "no secret"],
)
def test_what_no_server_of_ours_wrote_is_not_joined(state, about):
    state.mkdir(parents=True)
    (state / "lock").touch()
    (state / "server.json").write_text(json.dumps({"pid": os.getpid(), **about}))
    assert local_client.running(state) is None
    with attached(state) as cloud:
        assert not cloud.local.joined


def test_a_state_folder_of_another_user_is_refused(state, monkeypatch):
    state.mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: state.stat().st_uid + 1)
    with pytest.raises(LocalError, match="belongs to another user"), attached(state):
        pass
    assert list(state.iterdir()) == []


def test_the_secret_is_in_no_file_but_the_one_for_its_owner(state):
    with attached(state) as cloud:
        secret = cloud.local.secret
        url = cloud.s3.generate_presigned_url("create_bucket", {"Bucket": "presigned"})
        request = urllib.request.Request(url, method="PUT")
        assert urllib.request.urlopen(request).status == 200
        cloud.s3.create_bucket(Bucket="bucket")
        run_job(cloud, processing(script(cloud, "print(1)")))
        found = [
            p.name for p in state.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()
        ]
        assert found == ["server.json"]
        assert (state / "server.json").stat().st_mode & 0o777 == 0o600
