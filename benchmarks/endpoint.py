"""The local endpoint under load, against other servers of the same model, for tables of any width.

    endpoint    the emulator, a worker for each CPU, the project's inference.py
    mlflow      `mlflow models serve`; of the abalone table alone, since it answers with no
                probabilities
    container   the scikit-learn container's: Flask on gunicorn with gevent, as
                sagemaker-containers starts it (without nginx in front, which costs time), around
                Pipeline.predict on a data frame

All have as many processes as this machine has CPUs, one thread each, and take turns. load.py asks
them, on the same CPUs. The limit is Pipeline.predict in one process, with no server at all.

capture.py compares the endpoint with itself, with and without data capture.
"""

import contextlib
import functools
import json
import os
import socket
import statistics
import subprocess
import time
import urllib.request
from typing import NamedTuple

import local
from measure import PYTHON, ROLE, TEMPLATE, as_time, report

HERE = TEMPLATE / "benchmarks"
ROWS = (1, 100)
COLUMNS = (30, 200)
CONNECTIONS = (1, 8, 32)
SECONDS = 2  # for a turn
CPUS = os.cpu_count() or 1
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/sagemaker/aws4_request,"
    f" SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature={'0' * 64}"
)
SAVE = """
import sys, joblib, mlflow.sklearn
model, folder = sys.argv[1:]
mlflow.sklearn.save_model(joblib.load(model), folder, serialization_format="cloudpickle")
"""


class Server(NamedTuple):
    port: int
    path: str = "/invocations"
    header_line: bool = False  # whether the CSV has one
    headers: tuple[str, ...] = ()


def endpoint(bench):
    peers = os.environ.get("BENCH_PEERS")
    if not peers:
        _say_how()
    tables = {"8 columns": bench.abalone}
    tables |= {f"{columns} columns": bench.table("binary", columns) for columns in COLUMNS}
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(local.running(bench))
        _generator(stack)
        for what, table in tables.items():
            _one_table(bench, here, what, table, peers)


def _one_table(bench, here, what, table, peers):
    alone = {rows: bench.in_process(table, rows) for rows in ROWS}
    with contextlib.ExitStack() as stack:
        servers = {"endpoint": serve(bench, here, f"endpoint-{what.replace(' ', '-')}", table)}
        if peers:
            servers |= dict(_peers(bench, stack, peers, table, alone[1]["names"]))
        for rows in ROWS:
            _under_load(bench, servers, what, rows, alone[rows])


def _say_how():
    import pandas
    import sklearn

    wanted = f"mlflow gunicorn gevent packaging flask pandas=={pandas.__version__}"
    print(f"{'endpoint / other servers':<44} skipped: BENCH_PEERS is not set. To have them:")
    print(
        "    python3 -m venv build/peers && build/peers/bin/pip install"
        f" {wanted} scikit-learn=={sklearn.__version__}"
        " && make bench ONLY=endpoint BENCH_PEERS=build/peers/bin/python"
    )


# Servers


def serve(bench, here, name, table, **members):
    """Serve the model of a table on an emulator; `members` are of the endpoint configuration."""
    here.serve(name, bench.trained(table) / "model", ROLE, CPUS, **members)
    token = here.keys["AWS_SESSION_TOKEN"]
    headers = (f"Authorization: {AUTHORIZATION}", f"X-Amz-Security-Token: {token}")
    return Server(here.port, f"/endpoints/{name}/invocations", headers=headers)


def _peers(bench, stack, python, table, names):
    model = bench.trained(table) / "model/model.joblib"
    env = bench.env | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env |= {"MODEL": str(model), "COLUMNS": ",".join(names), "PYTHONPATH": str(HERE)}
    env |= {"PATH": os.pathsep.join([os.path.dirname(python), env["PATH"]])}
    start = functools.partial(_start, stack, env, python)
    gunicorn = ("gunicorn", "--timeout", 60, "-k", "gevent", "--log-level", "info")
    workers = ("--worker-connections", 1000 * CPUS, "-w", CPUS, "container_app:app")
    yield "container", start(*gunicorn, *workers, port=("-b", "127.0.0.1:{}"))
    if table == bench.abalone:
        saved = bench.folder / "mlflow"
        bench.check([python, "-c", SAVE, model, saved], env=env)
        mlflow = ("mlflow", "models", "serve", "--env-manager", "local", "--model-uri", saved)
        yield "mlflow", start(*mlflow, "--workers", CPUS, port=("--port", "{}"), header_line=True)


def _start(stack, env, python, module, *words, port, header_line=False):
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    words = map(str, (python, "-m", module, *words, *(word.format(number) for word in port)))
    process = subprocess.Popen(
        list(words), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(process.wait, 60)
    stack.callback(process.terminate)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{number}/ping")
            return Server(number, header_line=header_line)
        time.sleep(0.2)
    raise SystemExit(f"bench: {module} does not answer")


# Load


def _request(server, body):
    head = [f"POST {server.path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    head += ["Content-Type: text/csv", "Accept: application/json"]
    head += server.headers
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode()


def load(server, body, connections, seconds=SECONDS):
    done = subprocess.run(
        [PYTHON, HERE / "load.py", str(server.port), str(connections), str(seconds)],
        input=_request(server, body),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"bench: {server.path}: {done.stderr.decode()[-2000:]}")
    return json.loads(done.stdout)


def _generator(stack):
    """How fast the load itself is, so that it can be told from what it measures."""
    idle = subprocess.Popen([PYTHON, HERE / "idle_app.py"], stdout=subprocess.PIPE, text=True)
    stack.callback(idle.wait, 60)
    stack.callback(idle.terminate)
    found = load(Server(int(idle.stdout.readline())), "1\n", 8)
    detail = f"{found['rate']:,.0f} requests/s, the load {found['busy']:.0%} busy"
    print(f"{'a server that does nothing, 8 connections':<44} {'':>18}   {detail}", flush=True)


def _under_load(bench, servers, what, rows, alone):
    figures = {name: {connections: [] for connections in CONNECTIONS} for name in servers}
    for _ in range(bench.runs):
        for connections in CONNECTIONS:
            for name, server in servers.items():
                header = ",".join(alone["names"]) + "\n" if server.header_line else ""
                found = load(server, header + alone["example"], connections)
                check_answer(name, found, alone)
                figures[name][connections].append(found)
    what = f"{what}, {rows} row{'s'[: rows > 1]}"
    print(f"{what}: requests/s times the seconds of one predict with no server")
    for name, points in figures.items():
        for connections, found in points.items():
            limit = statistics.median(one["rate"] for one in found) * alone["predict"]
            report(f"  {name} at {connections}", limit, "", said(found))
    ours = figures.pop("endpoint")
    for more, fewer in ((8, 1), (32, 8)):
        growth = ratio("rate", ours[more], ours[fewer])
        report(f"{what}: requests/s at {more} connections / at {fewer}", growth, ">= 1", "")
    target = ">= 20" if rows == 1 else ">= 3" if len(alone["names"]) > 30 else ">= 8"
    for connections in CONNECTIONS:
        for name, points in figures.items():
            rate = ratio("rate", ours[connections], points[connections])
            wanted = target if name == "container" else ""
            report(f"{what} at {connections}: requests/s / {name}'s", rate, wanted, "")
            p99 = ratio("p99", ours[connections], points[connections])
            report(f"{what} at {connections}: p99 / {name}'s", p99, "< 1", "")


def check_answer(name, found, alone):
    """Stop unless the numbers of an answer are those of the Pipeline."""
    answers = json.loads(found["body"])["predictions"]
    if isinstance(answers[0], dict):
        answers = [list(one["probabilities"].values()) for one in answers]
    if answers != alone["expected"]:
        raise SystemExit(f"bench: {name} answers {found['body'][:200]}")


def ratio(key, ours, theirs):
    return statistics.median(a[key] / b[key] for a, b in zip(ours, theirs, strict=True))


def said(found):
    rate, p50, p99, busy = (
        statistics.median(one[key] for one in found) for key in ("rate", "p50", "p99", "busy")
    )
    times = f"p50 {as_time(p50)}, p99 {as_time(p99)}"
    return f"{rate:,.0f} requests/s, {times}, load {busy:.0%} busy"
