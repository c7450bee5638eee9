"""The command `run-pipeline`: create or update a pipeline, run it and wait for its end."""

import sys

from sagemaker_project.build import run_pipeline

from pipelines import PROJECT


def main(argv=None):
    return run_pipeline.main(PROJECT, argv)


if __name__ == "__main__":
    sys.exit(main())
