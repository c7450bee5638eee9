"""The command `deploy-model`: deploy an approved model package to a stage, and go back."""

import sys

from sagemaker_project import deploy

from pipelines import PROJECT


def main(argv=None):
    return deploy.main(PROJECT, argv)


if __name__ == "__main__":
    sys.exit(main())
