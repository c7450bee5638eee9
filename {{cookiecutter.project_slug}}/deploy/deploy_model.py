"""The command `deploy-model`: deploy an approved model package to a stage, and roll back.

A gate is a function that gets what a promotion is decided on (deploy.Evidence) and raises
deploy.Refused to stop it. The package asks its own gates first, then those listed in GATES.
"""

import sys

from sagemaker_project import deploy

from pipelines import PROJECT

GATES = ()


def main(argv=None):
    return deploy.main(PROJECT, argv, gates=GATES)


if __name__ == "__main__":
    sys.exit(main())
