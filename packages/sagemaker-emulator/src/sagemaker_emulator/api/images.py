"""Digests of container images, which the emulator never pulls.

An image that was put into this account's ECR has its true digest. Any other image has the sha256 of
its URI, the same each time.
"""

import hashlib
import json

from sagemaker_emulator.api.documents import Answer
from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.api.request import Request, Response

JSON = "application/x-amz-json-1.1"


def repository_of(image: str) -> str:
    """Return the URI of an image without its tag or digest."""
    host, slash, path = image.partition("/")
    return host + slash + path.partition("@")[0].partition(":")[0]


def made_up_digest(image: str) -> str:
    path = image.partition("/")[2]
    tagged = image if ":" in path else f"{image}:latest"
    return "sha256:" + hashlib.sha256(tagged.encode()).hexdigest()


def answer_for_other_account(request: Request) -> Response | None:
    """Return ECR's answer about images of another account, all of which exist; else None."""
    if request.action not in ("BatchGetImage", "DescribeImages"):
        return None
    members = json.loads(request.body)
    registry, name = members.get("registryId") or ACCOUNT, members.get("repositoryName")
    if registry == ACCOUNT:
        return None
    suffix = "amazonaws.com.cn" if request.region.startswith("cn-") else "amazonaws.com"
    uri = f"{registry}.dkr.ecr.{request.region}.{suffix}/{name}"
    repository = {"registryId": registry, "repositoryName": name}
    images = []
    for image in members.get("imageIds") or []:
        tag = image.get("imageTag")
        digest = image.get("imageDigest") or made_up_digest(f"{uri}:{tag}")
        if request.action == "DescribeImages":
            about = {"imageDigest": digest, "imageTags": [tag] if tag else []}
        else:
            about = {"imageId": {"imageDigest": digest} | ({"imageTag": tag} if tag else {})}
        images.append(repository | about)
    content: Answer = {"images": images, "failures": []}
    if request.action == "DescribeImages":
        content = {"imageDetails": images}
    return Response(200, [("Content-Type", JSON)], json.dumps(content).encode())
