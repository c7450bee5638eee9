"""The engine of a repository that builds and deploys models on Amazon SageMaker.

    the repository                       what it calls here
    pipelines/__init__.py                Project: names and places, in one place
    pipelines/run_pipeline.py            build.run_pipeline                run-pipeline
    pipelines/get_pipeline_definition.py build.get_pipeline_definition     get-pipeline-definition
    pipelines/_utils.py                  build.driver: get_pipeline_driver, ...
    pipelines/steps.py                   build.code: StepCode, PipelineWithCode
    deploy/deploy_model.py               deploy.main                       deploy-model
    Makefile                             the command sagemaker-project: demo, new-pipeline, ...

    build/        from a module with get_pipeline() to an execution that has ended
      run_pipeline.py, get_pipeline_definition.py   the commands
      request.py      the checked arguments of one run
      driver.py       reads arguments, calls get_pipeline()
      parameters.py   checks the parameters of an execution
      cooldown.py     whether an execution may start now
      provenance.py   data, commit and definition of a run
      run.py          create or update, start, follow
      execution.py    polls an execution, reads its results
      reports.py      reports/: what a run adds to its report, and the list of all runs
      display.py      what is printed meanwhile
      code.py         the code of the steps in S3
      traveling.py    what of this package travels with it
    deploy/       from an approved model package to an endpoint, and back
    errors.py     every error that ends a command, and its exit code
    usage.py      the checks of arguments that both share
    cli.py        what their command lines share
    project.py    Project
    wheels.py, new_pipeline.py, demo.py   the command sagemaker-project, on a whole repository

The repository decides what SageMaker is asked for, this package how it is asked. If a value is
given in several places, the first of these counts: the flag of a command, the variable that
CodeBuild sets, `Project`, the default of this package; for a stage, its settings file, then the
defaults.

The README lists the public names; everything else may change with any version. `--local` needs the
extra `local`, which is the package sagemaker_emulator. Building a pipeline needs the extra `build`,
which is SageMaker's SDK. The SDK takes seconds to import, so only build/code.py imports it.
"""

from sagemaker_project.project import Project

__all__ = ["Project"]
