"""From an approved model package to an endpoint that serves it, and back."""

from collections.abc import Sequence

from sagemaker_project.project import Project

__all__ = ["Refused", "main"]


class Refused(Exception):
    """A gate says no, in one line; nothing was changed. `code` is the exit code."""

    def __init__(self, reason: object, code: int | None = 3) -> None:
        super().__init__(reason)
        self.code = code


def main(project: Project, argv: Sequence[str] | None = None) -> int:
    """Run the command `deploy-model` of a project; its exit code."""
    from sagemaker_project.deploy import deploy_model

    return deploy_model.main(project, argv)
