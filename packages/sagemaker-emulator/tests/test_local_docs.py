"""reference.md says what the code does."""

import re
from pathlib import Path

import sagemaker_emulator
from sagemaker_emulator.__main__ import _parser
from sagemaker_emulator.api.sagemaker import OPERATIONS
from sagemaker_emulator.api.service_model import service
from sagemaker_emulator.pipelines.steps import STEPS

PAGE = (Path(sagemaker_emulator.__file__).parent / "reference.md").read_text()


def names(text):
    return re.findall(r"`(\w+)`", text)


def test_the_page_lists_exactly_the_operations_that_there_are():
    listed = names(PAGE.partition("<!-- operations -->")[2].partition("<!-- end -->")[0])
    assert listed == sorted(OPERATIONS)


def test_every_operation_is_one_of_awss():
    assert set(OPERATIONS) <= set(service().operation_names)


def test_the_page_lists_exactly_the_step_types():
    line = re.search(r"Steps of pipelines: (.*?)\.", PAGE)[1]
    assert names(line) == list(STEPS)


def test_the_page_has_every_command():
    (commands,) = [a.choices for a in _parser()._actions if isinstance(a.choices, dict)]
    for command in set(commands) - {"serve"}:
        assert f"`sagemaker-local {command}" in PAGE
