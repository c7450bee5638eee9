"""The command line of `deploy-model`: its flags, its help, and the request that they make."""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from sagemaker_project import pages
from sagemaker_project.cli import add_with_variable, seconds
from sagemaker_project.deploy.flags import FLAGS, wrong_audit
from sagemaker_project.project import Project

EXIT_CODES = """\
exit codes:
  0    done
  1    the deployment failed and what served before serves again; or a test or audit failed
  2    the arguments, settings or credentials cannot be used; nothing was changed
  3    a gate says no, or there is too little to judge by; what serves was not changed
  4    busy: another deployment is in progress, or AWS does not answer; run again later
  5    a person is needed; the message says what for
  130  interrupted (143: terminated); run the same command again to go on
A standard output that is full or closed changes no code, but for commands that only print: 2.
"""
COMMANDS = {
    "plan": "show what promote would do; nothing is changed",
    "promote": "deploy an approved model package and wait until it serves",
    "test": "invoke the endpoint with the recorded requests of its model, and report",
    "rollback": "undo the last promotion: the version before serves again; once, if repeated",
    "status": "say what serves, whether it is well, and what to type if it is not",
    "history": "list what happened to the stage, and entries of the ledger that are damaged",
    "audit": "trace a prediction, or a version, back to the data and the commit, link by link",
    "cleanup": "delete what earlier deployments left and nothing needs",
    "approve": "approve a version of the model registry, which promote then may deploy",
    "reject": "reject a version, or withdraw its approval; what serves is not changed",
    "ledger": "accept that an entry of the ledger is damaged: it does not count any more",
}
GROUP_VARIABLE = "SOURCE_MODEL_PACKAGE_GROUP_NAME"
TIMEOUT_SECONDS = 4 * 3600


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the command line also in JSON, where that is wanted."""

    in_json = False

    def error(self, message: str) -> NoReturn:
        if self.in_json:
            content = {"ExitCode": 2, "Outcome": "Invalid", "Message": message}
            print(json.dumps(content, indent=2))
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parse(project: Project, argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exit where it cannot be read, or only help is wanted."""
    parser = _parser(project, "--json" in argv)
    args = parser.parse_args(argv)
    if args.command == "audit" and (wrong := wrong_audit(args)):
        parser.error(wrong)
    if args.command != "help" and args.model_package_group_name is None:
        # CodeBuild's variable is about the first pipeline, not about the endpoints of another one.
        group = os.environ.get(GROUP_VARIABLE) if project.is_first(args.pipeline) else None
        args.model_package_group_name = group or project.group_of(args.pipeline)
    return args


def _parser(project: Project, in_json: bool) -> _Parser:
    parser = _Parser(
        "deploy-model",
        description=f"Deploy an approved model package to {_stages(project)}, and roll back.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.in_json = in_json
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=help,
            description=help,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.in_json = in_json
        for add in FLAGS[name]:
            add(command, project.stages)
        _add_common(command, project)
    _add_help(commands)
    return parser


def _add_help(commands: Any) -> None:
    help = "print a page of the documentation"
    command = commands.add_parser("help", help=help, description=help, allow_abbrev=False)
    topics = pages.topics()
    command.add_argument(
        "topic",
        nargs="?",
        default="deploy",
        choices=topics,
        metavar="TOPIC",
        help=f"{', '.join(topics)} (default: deploy)",
    )


def _stages(project: Project) -> str:
    *others, last = project.stages
    return " and ".join(filter(None, [", ".join(others), last]))


def _add_common(command: argparse.ArgumentParser, project: Project) -> None:
    add = command.add_argument
    first = f" (default: {project.pipeline})" if project.pipeline else ""
    add("--pipeline", metavar="NAME", help=f"of which pipeline{first}")
    add("--local", action="store_true", help="on this machine, without AWS")
    add("--json", action="store_true", help="print the result as JSON, whatever it is")
    add(
        "--timeout",
        type=seconds,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for an endpoint and for AWS (default: %(default)s)",
    )
    add(
        "--model-package-group-name",
        metavar="VALUE",
        help=f"group in the model registry (default: that of the pipeline; of the first one"
        f" {GROUP_VARIABLE}, where it is set)",
    )
    for flag, variable, default, help in (
        ("--model-execution-role", "MODEL_EXECUTION_ROLE_ARN", "", "role the models run as"),
        (
            "--sagemaker-project-name",
            "SAGEMAKER_PROJECT_NAME",
            project.name,
            "first part of every name",
        ),
        ("--sagemaker-project-id", "SAGEMAKER_PROJECT_ID", "", "for tags"),
        ("--s3-bucket", "ARTIFACT_BUCKET", "", "bucket of ledger and reports"),
        ("--region", "AWS_REGION", project.region, "AWS region"),
    ):
        add_with_variable(command, flag, variable=variable, default=default, help=help)
