"""Jobs: the /opt/ml contract, how they end, what is left of them."""

import io
import json
import os
import re
import tarfile

import pytest
from local_helpers import (
    IMAGE,
    alive,
    describe_job,
    processing,
    run_job,
    s3_input,
    s3_output,
    script,
    source,
    training,
    unique,
    until,
    wait,
)
from sagemaker_emulator.api.sagemaker import SageMaker
from sagemaker_emulator.jobs.job import STOP_GRACE_SECONDS
from sagemaker_emulator.jobs.kinds import JobError
from sagemaker_emulator.jobs.s3_files import download


def test_a_processing_job_reads_and_writes_s3(cloud):
    cloud.put("raw/a.csv", "1\n")
    cloud.put("raw/sub/b.csv", "2\n")
    cloud.put("raw-other/c.csv", "3\n")
    code = script(
        cloud,
        "import os, pathlib, sys\n"
        "source, target = map(pathlib.Path, sys.argv[1:3])\n"
        "text = ''.join(sorted(p.read_text() for p in source.rglob('*.csv')))\n"
        "(target / 'deep').mkdir()\n"
        "(target / 'deep/all.csv').write_text(text + os.environ['UNIT'] + sys.argv[3])\n",
    )
    job = run_job(
        cloud,
        processing(
            code,
            "/opt/ml/processing/input/raw",
            "/opt/ml/processing/out",
            "--to=/opt/ml/processing/x",
            inputs=[s3_input("raw", "s3://bucket/raw/", "input/raw")],
            outputs=[s3_output("out", "s3://bucket/cooked")],
            Environment={"UNIT": "cm"},
        ),
    )
    assert job["ProcessingJobStatus"] == "Completed", job
    text = cloud.get("cooked/deep/all.csv").decode()
    assert text.startswith("1\n2\ncm--to=/") and text.endswith("/opt/ml/processing/x")
    assert job["ProcessingEndTime"] >= job["ProcessingStartTime"] >= job["CreationTime"]


def test_a_training_job_has_the_toolkits_environment(cloud):
    cloud.put("channels/train/x.csv", "1")
    code = source(
        cloud,
        helper="VALUE = 42",
        train=(
            "import helper, json, os, sys\n"
            "env = {k: v for k, v in os.environ.items() if k.startswith(('SM_', 'AWS_'))}\n"
            "config = json.load(open(env['SM_INPUT_CONFIG_DIR'] + '/hyperparameters.json'))\n"
            "seen = {'env': env, 'argv': sys.argv[1:], 'config': config, 'helper': helper.VALUE,\n"
            "        'files': os.listdir(env['SM_CHANNEL_TRAIN']), 'name': __name__,\n"
            "        'cwd': os.path.basename(os.getcwd()), 'stdin': sys.stdin.read()}\n"
            "json.dump(seen, open(env['SM_MODEL_DIR'] + '/seen.json', 'w'))\n"
            "open(env['SM_OUTPUT_DATA_DIR'] + '/extra.txt', 'w').write('extra')\n"
            "print('loss=3.5'); print('loss=1.25')\n"
        ),
    )
    request = training(
        code, [("train", "s3://bucket/channels/train")], learning_rate="0.5", name='"ada"', n="3"
    )
    job = run_job(cloud, request)
    assert job["TrainingJobStatus"] == "Completed", job
    assert [(m["MetricName"], m["Value"]) for m in job["FinalMetricDataList"]] == [("loss", 1.25)]
    states = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert states == ["Downloading", "Training", "Uploading", "Completed"]
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"s3://bucket/models/{job['TrainingJobName']}/output/model.tar.gz"
    body = cloud.get(uri.removeprefix("s3://bucket/"))
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        seen = json.load(tar.extractfile("seen.json"))
    env = seen["env"]
    assert seen["argv"] == ["--learning-rate", "0.5", "-n", "3", "--name", "ada"]
    assert seen["helper"] == 42 and seen["files"] == ["x.csv"] and seen["cwd"] == "code"
    assert seen["name"] == "__main__" and seen["stdin"] == ""
    assert seen["config"]["name"] == '"ada"' and seen["config"]["sagemaker_program"] == "train.py"
    assert json.loads(env["SM_HPS"]) == {"learning-rate": 0.5, "n": 3, "name": "ada"}
    assert env["SM_HP_LEARNING-RATE"] == "0.5" and env["SM_CURRENT_HOST"] == "algo-1"
    assert json.loads(env["SM_HOSTS"]) == ["algo-1"] and int(env["SM_NUM_CPUS"]) >= 1
    assert env["AWS_ENDPOINT_URL"] == cloud.url and env["AWS_CONFIG_FILE"] == os.devnull
    extra = cloud.get(f"models/{job['TrainingJobName']}/output/output.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(extra)) as tar:
        assert tar.getnames() == ["extra.txt"]


@pytest.mark.parametrize("name", ["sagemaker_project", "boto3"])
def test_a_package_beside_the_script_wins_over_an_installed_one(cloud, name):
    files = {
        f"{name}/__init__": "",
        f"{name}/tabular/__init__": "",
        f"{name}/tabular/words": "OWN = 'its own'",
        "run": f"from {name}.tabular.words import OWN\nassert OWN == 'its own'",
    }
    prefix = f"code/{unique('folder')}"
    for path, text in files.items():
        cloud.put(f"{prefix}/{path}.py", text)
    processed = run_job(cloud, processing(f"s3://bucket/{prefix}"))
    assert processed["ProcessingJobStatus"] == "Completed", processed
    trained = run_job(cloud, training(source(cloud, **files), program="run.py"))
    assert trained["TrainingJobStatus"] == "Completed", trained


def test_the_same_model_gives_the_same_archive(cloud):
    code = source(
        cloud,
        train=(
            "import os, sys\n"
            "for name in 'ba':\n"
            "    path, time = os.environ['SM_MODEL_DIR'] + '/' + name, int(sys.argv[2])\n"
            "    open(path, 'w').write(name)\n"
            "    os.utime(path, (time, time))\n"
        ),
    )
    archives = set()
    for seconds in ("1000", "2000"):  # written at different times, which a tar would hold
        job = run_job(cloud, training(code, time=seconds))
        assert job["TrainingJobStatus"] == "Completed", job
        archives.add(cloud.get(f"models/{job['TrainingJobName']}/output/model.tar.gz"))
    assert len(archives) == 1


@pytest.mark.parametrize(
    "text, reason",
    [
        ("raise ValueError('row 7: no price')", ", exit code: 1: ValueError: row 7: no price"),
        ("import sys; sys.exit('no price in row 7')", ", exit code: 1: no price in row 7"),
        ("import sys; print('bad'); sys.exit(3)", ", exit code: 3: bad"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code: 137"),
        ("x = (", "SyntaxError"),
        ("open(__file__ + '.csv')", "'/opt/ml/processing/input/code/run.py.csv'"),
    ],
)
def test_a_failure_has_the_scripts_own_reason(cloud, text, reason):
    job = run_job(cloud, processing(script(cloud, text)))
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: See job logs for more information, ")
    assert reason in job["FailureReason"], job["FailureReason"]
    assert "ExitMessage" not in job


@pytest.mark.parametrize("code", [0, 4])
def test_the_message_file_of_a_processing_job_is_its_exit_message(cloud, code):
    write = f"import sys; open(sys.argv[1], 'w').write('no price in ' + __file__); sys.exit({code})"
    job = run_job(cloud, processing(script(cloud, write), "/opt/ml/output/message"))
    assert job["ExitMessage"] == "no price in /opt/ml/processing/input/code/run.py"
    assert ("exit code: 4: " in job.get("FailureReason", "")) == bool(code)
    long = "import sys; open(sys.argv[1], 'w').write('x' * 5000)"
    job = run_job(cloud, processing(script(cloud, long), "/opt/ml/output/message"))
    assert job["ExitMessage"] == "x" * 1024


@pytest.mark.parametrize(
    "text, reason",
    [
        ("1 / 0", "AlgorithmError: ZeroDivisionError: division by zero, exit code: 1"),
        (
            "import os; open(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w')"
            ".write('in my own words'); raise SystemExit(1)",
            "AlgorithmError: in my own words, exit code: 1",
        ),
    ],
)
def test_the_reason_of_a_failed_training_job_is_its_failure_file_or_its_last_words(
    cloud, text, reason
):
    assert run_job(cloud, training(source(cloud, train=text)))["FailureReason"] == reason


def test_keys_that_cannot_be_files_are_named(cloud):
    cloud.put("clash/a", "1")
    cloud.put("clash/a/b", "2")
    inputs = [s3_input("clash", "s3://bucket/clash/", "clash")]
    job = run_job(cloud, processing(script(cloud, "pass"), inputs=inputs))
    assert job["FailureReason"].startswith("ClientError: ") and "'clash/a" in job["FailureReason"]


def test_an_object_that_is_deleted_during_the_download_is_named(tmp_path):
    class Gone:
        def list_objects(self, *_):
            return ["d/a"]

        def read_object(self, *_):
            return None

    with pytest.raises(JobError, match="s3://bucket/d/a has been deleted"):
        download(Gone(), "s3://bucket/d", tmp_path / "d")


def test_a_traceback_shows_the_script_and_no_frame_of_this_package(cloud, state):
    job = run_job(cloud, processing(script(cloud, "def f():\n    1 / 0\nf()\n")))
    log = (state / "logs/ProcessingJobs" / f"{job['ProcessingJobName']}.log").read_text()
    assert 'run.py", line 3, in <module>' in log and "_job.py" not in log


@pytest.mark.parametrize(
    "change, words",
    [
        ({"inputs": [s3_input("a", "s3://bucket/none/", "a")]}, ["s3://bucket/none/"]),
        ({"inputs": [s3_input("a", "s3://nobucket/x", "a")]}, ["s3://nobucket/x", "NoSuchBucket"]),
        ({"outputs": [s3_output("o", "s3://nobucket/x")]}, ["s3://nobucket/x"]),
        ({"code": "s3://bucket/nocode.py"}, ["s3://bucket/nocode.py"]),
        (
            {
                "AppSpecification": {
                    "ImageUri": "me/xgboost:1",
                    "ContainerEntrypoint": ["/bin/run"],
                }
            },
            ["me/xgboost:1", "no container"],
        ),
        ({"AppSpecification": {"ImageUri": "me/xgboost:1"}}, ["me/xgboost:1"]),
    ],
)
def test_the_reason_names_what_cannot_run(cloud, change, words):
    write = "open('/opt/ml/processing/o/x'.replace('/opt/ml', __import__('os').getcwd()), 'w')"
    code = change.pop("code", None) or script(cloud, write if "outputs" in change else "pass")
    job = run_job(cloud, processing(code, **change))
    assert job["ProcessingJobStatus"] == "Failed"
    assert all(word in job["FailureReason"] for word in words), job["FailureReason"]


def test_a_manifest_is_refused(cloud):
    item = s3_input("a", "s3://bucket/raw/", "a")
    item["S3Input"]["S3DataType"] = "ManifestFile"
    job = run_job(cloud, processing(script(cloud, "pass"), inputs=[item]))
    assert "ManifestFile" in job["FailureReason"] and "'a'" in job["FailureReason"]


GRANDCHILD = (
    "import subprocess, sys, time, signal\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print('child', child.pid, flush=True)\n"
    "{}\n"
)


SLEEP = "signal.signal(signal.SIGTERM, signal.SIG_DFL)\ntime.sleep(60)"


def child_of(state, kind, name):
    log = state / "logs" / kind / f"{name}.log"
    return int(until(lambda: re.search(r"^child (\d+)\n", log.read_text(), re.MULTILINE))[1])


class Timers(list):
    """In place of timers: calls that the job wants later, which a test makes when it likes."""

    def __call__(self, seconds, function):
        entry = (seconds, function)
        self.append(entry)
        return lambda: self.remove(entry)


@pytest.fixture
def sagemaker(tmp_path):
    """The API in this process. Its jobs have no files in S3."""
    sagemaker = SageMaker(tmp_path)
    sagemaker.jobs.call_later = Timers()
    return sagemaker


def start_job(sagemaker, tmp_path, text, request):
    """Start a job that runs a script, and wait for its child."""
    path = tmp_path / "run.py"
    path.write_text(text)
    kind = "Processing" if "AppSpecification" in request else "Training"
    member = {"Processing": "AppSpecification", "Training": "AlgorithmSpecification"}[kind]
    request[member] |= {"ContainerEntrypoint": ["python3", str(path)]}
    name = {f"{kind}JobName": unique("job")}
    sagemaker.call(f"Create{kind}Job", name | request, "us-east-1")
    pid = child_of(tmp_path, f"{kind}Jobs", name[f"{kind}JobName"])
    return name, pid


def end_of(sagemaker, kind, name):
    def describe():
        return sagemaker.call(f"Describe{kind}Job", name, "us-east-1")

    return wait(describe, f"{kind}JobStatus")


def test_a_training_job_ends_at_its_limit_with_all_its_processes(sagemaker, tmp_path):
    request = training("s3://bucket/none", seconds=7)
    name, pid = start_job(sagemaker, tmp_path, GRANDCHILD.format(SLEEP), request)
    ((seconds, reach_limit),) = sagemaker.jobs.call_later
    assert seconds == 7 and alive(pid)
    reach_limit()
    job = end_of(sagemaker, "Training", name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert until(lambda: not alive(pid))


def test_a_processing_job_fails_at_its_limit(sagemaker, tmp_path):
    request = processing("", ProcessingInputs=[], seconds=7)
    name, pid = start_job(sagemaker, tmp_path, GRANDCHILD.format(SLEEP), request)
    ((_, reach_limit),) = sagemaker.jobs.call_later
    reach_limit()
    job = end_of(sagemaker, "Processing", name)
    assert job["ProcessingJobStatus"] == "Failed" and "MaxRuntimeInSeconds" in job["FailureReason"]
    assert until(lambda: not alive(pid))


def test_a_job_that_ignores_the_signal_is_killed_after_the_grace_period(sagemaker, tmp_path):
    request = processing("", ProcessingInputs=[])
    name, pid = start_job(sagemaker, tmp_path, GRANDCHILD.format("time.sleep(60)"), request)
    sagemaker.call("StopProcessingJob", name, "us-east-1")
    document = sagemaker.call("DescribeProcessingJob", name, "us-east-1")
    assert document["ProcessingJobStatus"] == "Stopping"
    seconds, kill = sagemaker.jobs.call_later[-1]
    assert seconds == STOP_GRACE_SECONDS
    kill()
    assert end_of(sagemaker, "Processing", name)["ProcessingJobStatus"] == "Stopped"
    assert until(lambda: not alive(pid))


def test_a_job_that_is_stopped_ends_with_all_its_processes(cloud, state):
    name = unique("stopped")
    code = script(cloud, GRANDCHILD.format(SLEEP))
    cloud.sm.create_processing_job(ProcessingJobName=name, **processing(code))
    pid = child_of(state, "ProcessingJobs", name)
    cloud.sm.stop_processing_job(ProcessingJobName=name)
    job = wait(lambda: describe_job(cloud, "processing", name), "ProcessingJobStatus")
    assert job["ProcessingJobStatus"] == "Stopped"
    assert until(lambda: not alive(pid))


def test_what_a_finished_script_left_running_is_ended(cloud, state):
    job = run_job(cloud, processing(script(cloud, GRANDCHILD.format(""))))
    assert job["ProcessingJobStatus"] == "Completed"
    pid = child_of(state, "ProcessingJobs", job["ProcessingJobName"])
    assert until(lambda: not alive(pid))
    assert not list((state / "jobs").iterdir())


def test_logs_are_in_cloudwatch(cloud):
    job = run_job(cloud, processing(script(cloud, "print('first')\nprint('second')")))
    logs, group = cloud.client("logs"), "/aws/sagemaker/ProcessingJobs"
    (stream,) = logs.describe_log_streams(
        logGroupName=group, logStreamNamePrefix=job["ProcessingJobName"] + "/"
    )["logStreams"]
    assert stream["logStreamName"].startswith(f"{job['ProcessingJobName']}/algo-1-")
    found = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])
    assert [event["message"] for event in found["events"]][1:] == ["first", "second"]


def test_the_log_of_a_job_with_the_name_of_a_deleted_one_is_in_cloudwatch(cloud):
    logs, group, name = cloud.client("logs"), "/aws/sagemaker/ProcessingJobs", unique("again")
    for words in ("the first of the two", "second"):  # a shorter log than that of the first job
        run_job(cloud, processing(script(cloud, f"print('{words}')")), name)
        found = logs.filter_log_events(logGroupName=group, logStreamNamePrefix=f"{name}/")
        assert words in [event["message"] for event in found["events"]]
        cloud.sm.delete_processing_job(ProcessingJobName=name)


def test_jobs_are_listed_by_status(cloud):
    good = run_job(cloud, processing(script(cloud, "pass")), unique("listed"))
    bad = run_job(cloud, processing(script(cloud, "1 / 0")), unique("listed"))
    listed = cloud.sm.list_processing_jobs(NameContains="listed", StatusEquals="Failed")
    names = [item["ProcessingJobName"] for item in listed["ProcessingJobSummaries"]]
    assert bad["ProcessingJobName"] in names and good["ProcessingJobName"] not in names


def test_a_training_image_without_a_program_is_refused(cloud):
    request = training(source(cloud, train="pass"))
    del request["HyperParameters"]
    job = run_job(cloud, request)
    assert job["TrainingJobStatus"] == "Failed" and IMAGE in job["FailureReason"]
