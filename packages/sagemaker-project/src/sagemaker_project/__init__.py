"""The engine of a repository that builds and deploys models on Amazon SageMaker.

    the repository                       what it calls here
    pipelines/__init__.py                Project: names and places, said once
    pipelines/run_pipeline.py            build.run_pipeline                run-pipeline
    pipelines/get_pipeline_definition.py build.get_pipeline_definition     get-pipeline-definition
    pipelines/_utils.py                  build.driver: get_pipeline_driver and its like
    pipelines/steps.py                   build.code: StepCode, PipelineWithCode
    deploy/deploy_model.py               deploy.main                       deploy-model
    Makefile                             the command sagemaker-project: demo, new-pipeline, ...

    build/        from a module with get_pipeline() to an execution that is followed to its end
    deploy/       from an approved model package to an endpoint, and back
    usage.py      what both refuse, in one line
    project.py    Project

The repository owns what SageMaker is asked for, this package how it is asked. A value given twice
counts in this order: the flag of a command, the variable that CodeBuild sets, `Project`, a default
of this package; for a stage, its settings file and then the defaults.

Public are the names that the README lists; everything else may
change with any version. `--local` needs the extra `local`, the package sagemaker_emulator; what
builds a pipeline needs the extra `build`, SageMaker's SDK, which takes seconds to import: so only
build/code.py imports it.
"""

from sagemaker_project.project import Project

__all__ = ["Project"]
