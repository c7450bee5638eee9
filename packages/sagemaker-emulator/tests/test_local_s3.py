"""S3 as plain boto3 uses it: presigned addresses, streams, concurrent writers, restarts."""

import io
import threading
import urllib.request

import pytest
from local_helpers import Cloud
from sagemaker_emulator import client as local_client


class Stream(io.RawIOBase):
    """A body of unknown length."""

    def __init__(self, body):
        self.body = io.BytesIO(body)

    def readable(self):
        return True

    def seekable(self):
        return False

    def readinto(self, buffer):
        return self.body.readinto(buffer)


def test_presigned_addresses(cloud):
    def address(method):
        where = {"Bucket": "bucket", "Key": "signed/a b.txt"}
        return cloud.s3.generate_presigned_url(method, Params=where)

    request = urllib.request.Request(address("put_object"), data=b"by address", method="PUT")
    assert urllib.request.urlopen(request).status == 200
    assert urllib.request.urlopen(address("get_object")).read() == b"by address"
    assert cloud.get("signed/a b.txt") == b"by address"


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, marks=pytest.mark.acceptance),
        pytest.param(10, marks=pytest.mark.acceptance),
        9 * 2**20,
    ],
)
def test_streams_survive_a_restart(tmp_path, size):
    body = b"0123456789abcdef" * (size // 16) + b"x" * (size % 16)
    state = tmp_path / "state"
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        cloud.s3.upload_fileobj(Stream(body), "bucket", "stream")
        chunked = urllib.request.Request(
            cloud.s3.generate_presigned_url(
                "put_object", Params={"Bucket": "bucket", "Key": "chunked"}
            ),
            data=iter([body[:7], body[7:]]) if size else b"",
            method="PUT",
        )
        urllib.request.urlopen(chunked)
    with local_client.attach(state=state) as local:
        assert Cloud(local).get("stream") == body
        assert Cloud(local).get("chunked") == body


def test_what_is_kept_is_what_was_written_last(tmp_path):
    state = tmp_path / "state"
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        writers = [
            threading.Thread(target=lambda n=n: [cloud.put("k", b"%d" % n) for _ in range(5)])
            for n in range(4)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        last = cloud.get("k")
    with local_client.attach(state=state) as local:
        assert Cloud(local).get("k") == last
