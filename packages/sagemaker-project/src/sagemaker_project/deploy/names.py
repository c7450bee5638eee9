"""Names that follow from content.

The same package with the same settings always gets the same names, so a deployment that is run
again finds what it made before, and two different deployments never share a name.
"""

import hashlib
import json
import re

from sagemaker_project.errors import Refused, UsageError

MAX_NAME = 63  # characters of a name in SageMaker
HASH = 10  # hexadecimal digits in a name
DIRTY = "-dirty"  # the end of a GitCommit whose working copy had changes
PACKAGE_ARN = re.compile(
    r"arn:aws[a-z-]*:sagemaker:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):model-package/"
    r"(?P<group>[a-zA-Z0-9](?:-*[a-zA-Z0-9])*)(?:/(?P<version>\d+))?"
)


def digest(content: object) -> str:
    """Return the SHA-256 of JSON, whatever the order of its keys, in hexadecimal."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fit(start: str, end: str) -> str:
    """Join two parts of a name; cut the first one where both are too long together."""
    return start[: MAX_NAME - len(end)].rstrip("-") + end


def resource_name(project: str, stage: str, version: int, content: object) -> str:
    """Return <project>-<stage>-v<version>-<hash>; the hash covers everything and is never cut."""
    whole = digest([project, stage, version, content])
    return fit(f"{project}-{stage}", f"-v{version}-{whole[:HASH]}")


def package_parts(arn: str) -> dict[str, str]:
    """Return region, account, group and version of a versioned model package's ARN.

    Raises:
        UsageError: it is not the ARN of a model package.
        Refused: it has no version.
    """
    found = PACKAGE_ARN.fullmatch(arn)
    if not found:
        raise UsageError(f"{arn!r} is not the ARN of a model package")
    if not found["version"]:
        raise Refused(f"{arn}: an unversioned package is never deployed: name a version of a group")
    return found.groupdict()


def is_uncommitted(commit: str) -> bool:
    """Whether a GitCommit says that the working copy had changes that no commit has."""
    return commit.endswith(DIRTY)


def shown_commit(commit: str) -> str:
    """Return a GitCommit for people, which says plainly where it is not what ran."""
    short = commit.removesuffix(DIRTY)[:12]
    return f"{short} with uncommitted changes" if is_uncommitted(commit) else short
