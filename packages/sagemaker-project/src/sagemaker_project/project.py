"""What the commands of one repository have in common.

Imported by every command, `--help` too, so it imports next to nothing.
"""

import os

PACKAGE = "pipelines"  # of the repository; its subpackages are the pipelines


class Project:
    """The names and places of a repository.

    Args:
        name: the first part of the names of its endpoints and of all that belongs to them.
        region: AWS region.
        model_package_group: group in the model registry of the first pipeline.
        settings: folder of `<stage>-config.json`; if relative, beside the package `pipelines`.
        stages: from the first to the last; a version goes to each but the first only when it
            passed its test in the one before.
        pipeline: the first pipeline, whose endpoints are `<name>-<stage>`. Any other pipeline has
            `<name>-<pipeline>-<stage>`, and its settings in a folder of its name in `settings`.
    """

    def __init__(
        self,
        name: str,
        region: str,
        model_package_group: str,
        settings: "str | os.PathLike[str]" = "deploy",
        stages: "tuple[str, ...]" = ("staging", "prod"),
        pipeline: str = "",
    ) -> None:
        if isinstance(stages, str) or not stages or len({*stages}) < len(stages):
            raise ValueError(f"stages={stages!r}: a tuple of different names is wanted")
        self.name = name
        self.region = region
        self.model_package_group = model_package_group
        self.settings = settings
        self.stages = tuple(stages)
        self.pipeline = pipeline

    def is_first(self, pipeline: "str | None") -> bool:
        """Whether `pipeline` is the one that names and settings mean where none is named."""
        return pipeline in (None, "", self.pipeline)

    def group_of(self, pipeline: "str | None") -> str:
        """The model package group that a pipeline registers its models in."""
        if pipeline is None or self.is_first(pipeline):
            return self.model_package_group
        return f"{title(pipeline)}PackageGroup"

    def settings_of(self, pipeline: "str | None") -> str:
        """The folder with the settings of a pipeline's stages."""
        folder = os.path.join(os.path.dirname(package_folder()), self.settings)
        return folder if pipeline is None or self.is_first(pipeline) else f"{folder}/{pipeline}"

    def stage_before(self, stage: str) -> "str | None":
        """The stage that a version must have passed before it gets to `stage`, if there is one."""
        position = self.stages.index(stage)
        return self.stages[position - 1] if position else None


def title(pipeline: str) -> str:
    """A pipeline's name as resources in SageMaker bear it: customer_churn is CustomerChurn."""
    return "".join(word.capitalize() for word in pipeline.split("_"))


def package_folder() -> str:
    """The folder of the package `pipelines`, below the working folder where there is none."""
    from importlib.util import find_spec

    spec = find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return os.path.abspath(next(iter(places), PACKAGE) if places else PACKAGE)
