"""ModelBuild. PROJECT holds the names that the commands of pipelines/ and deploy/ share."""

from sagemaker_project import Project

PROJECT = Project(
    name="{{cookiecutter.project_slug}}",
    region="{{cookiecutter.aws_region}}",
    pipeline="{{cookiecutter.pipeline_name}}",
    model_package_group="{{cookiecutter.__pipeline_title}}PackageGroup",
)
