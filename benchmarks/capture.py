"""The endpoint with data capture against the same endpoint without, both under load.

Two endpoints of one server take turns, in an order that changes from pair to pair. Before the next
turn, what was captured is put into S3, which the server leaves for a time with little load: a turn
pays for its own records and not for those of another.
"""

import time

import endpoint
import local
from measure import report

CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": f"s3://{local.BUCKET}/capture",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {
        "CsvContentTypes": ["text/csv"],
        "JsonContentTypes": ["application/json"],
    },
}
TARGETS = {1: ">= 0.9", 100: ">= 0.85"}


def capture(bench):
    table = bench.abalone
    with local.running(bench) as here:
        servers = {
            "on": endpoint.serve(bench, here, "with-capture", table, DataCaptureConfig=CAPTURE),
            "off": endpoint.serve(bench, here, "without-capture", table),
        }
        for rows in endpoint.ROWS:
            alone = bench.in_process(table, rows)
            for connections in endpoint.CONNECTIONS:
                figures = _pairs(bench, servers, alone, connections)
                what = f"capture on / off, {rows} row{'s'[: rows > 1]} at {connections}"
                _tell(what, figures, TARGETS[rows], "<= 1.3" if connections == 32 else "")


def _pairs(bench, servers, alone, connections):
    figures = {"on": [], "off": []}
    for run in range(2 * bench.runs):
        for name in sorted(servers, reverse=bool(run % 2)):
            found = endpoint.load(servers[name], alone["example"], connections, seconds=1)
            endpoint.check_answer(f"capture {name}", found, alone)
            figures[name].append(found)
            _wait_for_delivery(bench)
    return figures


def _wait_for_delivery(bench):
    while any((bench.project / ".sagemaker_local/capture").glob("*.*")):
        time.sleep(0.05)


def _tell(what, figures, rate_target, p99_target):
    on, off = figures["on"], figures["off"]
    detail = f"on: {endpoint.said(on)}; off: {endpoint.said(off)}"
    report(f"{what}: requests/s", endpoint.ratio("rate", on, off), rate_target, detail)
    report(f"{what}: p99", endpoint.ratio("p99", on, off), p99_target, "")
