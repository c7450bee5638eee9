"""The data that `run-pipeline --input-data` names: looked at before anything is created, uploaded.

A mistake in the data is told here, once, in the words of the pipeline's preprocessing, which reads
by the same rules. A file is uploaded under its sha256, the files of a folder under that of them
all, so that other data gets another URI.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from sagemaker_project.errors import UsageError
from sagemaker_project.usage import Client, expected_owner


def files_of(path: Path | None, module_name: str) -> list[Path]:
    """Return the data files at a path, after a look at their content; none without a path.

    Without a schema.json beside the module only the path is looked at.

    Raises:
        UsageError: there are none, or schema.json or preprocessing would refuse them.
    """
    if path is None:
        return []
    schema_file = _schema_of(module_name)
    if schema_file is None:
        files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
        if not files:
            raise UsageError(f"--input-data {str(path)!r}: there is no file in this folder")
        return files
    from sagemaker_project.tabular.reading import find_files, read_table
    from sagemaker_project.tabular.schema import SchemaError, read_schema
    from sagemaker_project.tabular.table import BadInput

    try:
        schema = read_schema(schema_file.read_bytes(), str(schema_file))
        files = find_files(path, schema)
        read_table(files, schema)
    except (BadInput, SchemaError) as error:
        raise UsageError(f"--input-data: {error}") from None
    return files


def _schema_of(module_name: str) -> Path | None:
    spec = importlib.util.find_spec(module_name)
    path = Path(spec.origin).with_name("schema.json") if spec and spec.origin else None
    return path if path and path.is_file() else None


def upload(s3: Client, bucket: str, prefix: str, files: Sequence[Path]) -> str:
    """Upload a file, or files as one prefix, under their sha256; return the URI."""
    digests = {file.name: _sha256(file) for file in files}
    whole = next(iter(digests.values()))
    if len(files) > 1:
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
        whole = hashlib.sha256(lines.encode()).hexdigest()
    folder = f"{prefix}/input/{whole}"
    for file in files:
        owner = expected_owner(bucket)
        s3.upload_file(str(file), bucket, f"{folder}/{file.name}", ExtraArgs=owner)
    return f"s3://{bucket}/{folder}/{files[0].name if len(files) == 1 else ''}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
