"""The command `get-pipeline-definition`: print what AWS would get, or write it to a file."""

import sys

from sagemaker_project.build import get_pipeline_definition

from pipelines import PROJECT


def main(argv=None):
    return get_pipeline_definition.main(PROJECT, argv)


if __name__ == "__main__":
    sys.exit(main())
