"""The artifact check: every kind of artifact that must not be deployed, and the one that may."""

import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc

import pytest
from sagemaker_project.deploy import artifact
from sagemaker_project.deploy.artifact import ArtifactError, check_artifact

pytestmark = pytest.mark.fast

MODEL = b"not really a pickle: it is never loaded" * 100
FILES = {
    "./model.joblib": MODEL,
    "./trees.json": b"{}",
    "./code/inference.py": b"def model_fn(model_dir): ...",
}
ABOUT = {
    "versions": {"scikit-learn": "1.9.0"},
    "files": {
        "model.joblib": hashlib.sha256(MODEL).hexdigest(),
        "trees.json": hashlib.sha256(b"{}").hexdigest(),
    },
}


def member(name, content=b"", kind=tarfile.REGTYPE, **more):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


def packed(files=None, about=ABOUT, extra=(), format=tarfile.PAX_FORMAT):
    """The bytes of a tar file as train.py's model folder gives it."""
    files = {**(FILES if files is None else files)}
    if about is not None:
        files["./model.json"] = about if isinstance(about, bytes) else json.dumps(about).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        tar.addfile(*member("./code", kind=tarfile.DIRTYPE))
        for name, content in files.items():
            tar.addfile(*member(name, content))
        for info, content in extra:
            if content:
                tar.addfile(info, content)
            else:  # the header alone, which addfile() refuses to write from Python 3.13 on
                tar.fileobj.write(info.tobuf())
    return out.getvalue()


def without(name):
    return {key: content for key, content in FILES.items() if key != name}


def check(content, **options):
    return check_artifact(io.BytesIO(content), **options)


def test_whole_artifact_is_known_by_its_sha256(tmp_path):
    content = gzip.compress(packed())
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / "model.tar.gz").write_bytes(content)
    assert check(content) == sha256
    assert check_artifact(tmp_path / "model.tar.gz", sha256, "1.9.3") == sha256


WHOLE = packed()
with tarfile.open(fileobj=io.BytesIO(WHOLE)) as whole:
    END = whole.getmembers()[-1].offset_data + tarfile.BLOCKSIZE  # its last file is a small one
BAD = {
    "0 bytes": (b"", "0 bytes"),
    "not gzip": (b"PK\x03\x04", "not a whole gzipped tar"),
    "tar without gzip": (WHOLE, "not a whole gzipped tar"),
    "gzip without tar": (gzip.compress(b"x" * 4096), "not a whole gzipped tar"),
    "empty gzip": (gzip.compress(b""), "not a whole gzipped tar"),
    "cut": (gzip.compress(WHOLE)[:-9], "not a whole gzipped tar"),
    "cut in its checksum": (gzip.compress(WHOLE)[:-3], "not a whole gzipped tar"),
    "garbage after it": (gzip.compress(WHOLE) + b"more", "not a whole gzipped tar"),
    "cut before gzip": (gzip.compress(WHOLE[:-9000]), "not a whole gzipped tar"),
    "no end mark": (gzip.compress(WHOLE.rstrip(b"\0") + b"\0" * 100), "not a whole gzipped tar"),
    "cut behind a member": (gzip.compress(WHOLE[:END]), "it has no end mark"),
    "something after the end": (gzip.compress(WHOLE + WHOLE), "after the end mark"),
    "no model": (
        packed(without("./model.joblib")),
        "exactly one model file is wanted, found: none",
    ),
    "two models": (
        packed({**FILES, "old/model.pkl": b"x"}),
        "2 model files (model.joblib, old/model.pkl)",
    ),
    "no code": (packed(without("./code/inference.py")), "it has no code/inference.py"),
    "no model.json": (packed(about=None), "it has no model.json"),
    "model.json is no JSON": (packed(about=b"{"), "model.json does not say"),
    "model.json is deep": (packed(about=b"[" * 100_000), "model.json does not say"),
    "no version": (packed(about={**ABOUT, "versions": {}}), "which scikit-learn"),
    "odd version": (packed(about={**ABOUT, "versions": {"scikit-learn": 1.9}}), "is 1.9"),
    "no hashes": (packed(about={"versions": ABOUT["versions"]}), "model.json does not say"),
    "unnamed model": (packed(about={**ABOUT, "files": {}}), "no sha256 of model.joblib"),
    "other model": (packed({**FILES, "./model.joblib": b"other"}), "changed after training"),
    "missing file": (packed(without("./trees.json")), "trees.json: its sha256 is missing"),
    "parent": (packed(extra=[member("../out")]), "outside the folder"),
    "inner parent": (packed(extra=[member("code/../../out")]), "outside the folder"),
    "absolute": (packed(extra=[member("/tmp/out")]), "outside the folder"),
    "windows": (packed(extra=[member("c:\\out")]), "outside the folder"),
    "symlink": (packed(extra=[member("a", kind=tarfile.SYMTYPE, linkname="/etc")]), "a link"),
    "hard link": (packed(extra=[member("a", kind=tarfile.LNKTYPE, linkname="b")]), "a link"),
    "device": (packed(extra=[member("a", kind=tarfile.CHRTYPE)]), "a device"),
    "fifo": (packed(extra=[member("a", kind=tarfile.FIFOTYPE)]), "a device"),
    "sparse": (packed(extra=[member("a", kind=tarfile.GNUTYPE_SPARSE)]), "sparse"),
    "twice": (packed(extra=[member("model.joblib", MODEL)]), "occurs twice"),
    "many members": (packed(extra=[member(f"{i}") for i in range(1_000)]), "more than 1000"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_artifact_is_refused_in_one_line(name):
    content, message = BAD[name]
    is_tar = content[257:262] == b"ustar" and name != "tar without gzip"
    with pytest.raises(ArtifactError) as raised:
        check(gzip.compress(content) if is_tar else content)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_cut_is_found():
    content = gzip.compress(packed())
    for size in range(len(content)):
        with pytest.raises(ArtifactError):
            check(content[:size])


def test_every_damaged_header_is_found():
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar:
        headers = [member.offset for member in tar]
    for start in headers:
        damaged = bytearray(WHOLE)
        damaged[start] ^= 1
        with pytest.raises(ArtifactError):
            check(gzip.compress(bytes(damaged), 1))


def test_other_bytes_than_the_registered_ones_are_refused():
    content = gzip.compress(packed())
    with pytest.raises(ArtifactError, match=f"{hashlib.sha256(content).hexdigest()}.*{'0' * 64}"):
        check(content, sha256="0" * 64)


def test_other_minor_version_of_scikit_learn_is_refused_and_both_are_named():
    with pytest.raises(ArtifactError, match=r"1\.9\.0.*1\.8\.2"):
        check(gzip.compress(packed()), sklearn="1.8.2")


BOMBS = {
    "declared": ([member("zeros", b"", size=1 << 40)], b""),
    "after the end": ([], b"\0" * (32 << 20)),
    "header": ([member("a", pax_headers={"comment": "x" * (8 << 20)})], b""),
    "real": ([member("zeros", b"\0" * (32 << 20))], b""),
}


@pytest.mark.parametrize("name", BOMBS)
def test_zip_bomb_is_refused_in_bounded_memory(monkeypatch, name):
    monkeypatch.setattr(artifact, "MAX_UNPACKED", 2 << 20)
    extra, after = BOMBS[name]
    for info, _ in extra:
        if info.size == 1 << 40:  # the header alone
            extra = [(info, None)]
    content = gzip.compress(packed(extra=extra) + after, 1)
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match="more than|header of"):
            check(content)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_an_artifact_that_s3_does_not_take_in_one_piece_is_refused(monkeypatch):
    content = gzip.compress(packed())
    monkeypatch.setattr(artifact, "MAX_PACKED", len(content))
    check(content)
    monkeypatch.setattr(artifact, "MAX_PACKED", len(content) - 1)
    with pytest.raises(ArtifactError, match="S3 does not take it in one piece"):
        check(content)


def test_artifact_may_come_as_a_stream_that_cannot_seek():
    class Stream:
        def __init__(self, content):
            self.read = io.BytesIO(content).read

    content = gzip.compress(packed())
    assert check_artifact(Stream(content)) == hashlib.sha256(content).hexdigest()


def test_requirements_that_cannot_be_installed_without_a_network_are_refused():
    content = gzip.compress(packed({**FILES, "./code/requirements.txt": b"lightgbm"}))
    assert check(content) == hashlib.sha256(content).hexdigest()
    with pytest.raises(ArtifactError, match=r"install code/requirements\.txt .*NetworkIsolation"):
        check(content, isolated=True)
    assert check(gzip.compress(packed()), isolated=True)
