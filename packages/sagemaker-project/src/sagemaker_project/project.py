"""`Project`: the names and places that the commands of one repository share.

Every command imports this module, also for `--help`, so it imports almost nothing.
"""

import os

PACKAGE = "pipelines"  # the package of the repository whose subpackages are its pipelines


class Project:
    """The names and places of a repository.

    Args:
        name: prefix of the names of its endpoints and of everything that belongs to them.
        region: AWS region.
        model_package_group: model package group of the first pipeline.
        settings: folder of `<stage>-config.json`; a relative path starts beside the package
            `pipelines`.
        stages: in the order of promotion. A version is promoted to a stage after it passed the test
            in the stage before; to the first stage it needs an approval only.
        pipeline: the first pipeline, whose endpoints are `<name>-<stage>`. Any other pipeline has
            the endpoints `<name>-<pipeline>-<stage>` and its settings in a folder of its name in
            `settings`.

    Raises:
        ValueError: `stages` is not a tuple of different names.
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
            raise ValueError(f"stages={stages!r}: expected a tuple of different names")
        self.name = name
        self.region = region
        self.model_package_group = model_package_group
        self.settings = settings
        self.stages = tuple(stages)
        self.pipeline = pipeline

    def is_first(self, pipeline: "str | None") -> bool:
        """Return whether `pipeline` is the first pipeline, which is the default."""
        return pipeline in (None, "", self.pipeline)

    def group_of(self, pipeline: "str | None") -> str:
        """Return the model package group that a pipeline registers its models in."""
        if pipeline is None or self.is_first(pipeline):
            return self.model_package_group
        return f"{title(pipeline)}PackageGroup"

    def settings_of(self, pipeline: "str | None") -> str:
        """Return the folder with the settings of a pipeline's stages."""
        folder = os.path.join(os.path.dirname(package_folder()), self.settings)
        return folder if pipeline is None or self.is_first(pipeline) else f"{folder}/{pipeline}"

    def stage_before(self, stage: str) -> "str | None":
        """Return the stage whose test a version must pass before `stage`; None for the first."""
        position = self.stages.index(stage)
        return self.stages[position - 1] if position else None


def title(pipeline: str) -> str:
    """Return a pipeline's name as SageMaker's resources have it: CustomerChurn."""
    return "".join(word.capitalize() for word in pipeline.split("_"))


def package_folder() -> str:
    """Return the folder of the package `pipelines`, else `pipelines` in the working folder."""
    from importlib.util import find_spec

    spec = find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return os.path.abspath(next(iter(places), PACKAGE) if places else PACKAGE)
