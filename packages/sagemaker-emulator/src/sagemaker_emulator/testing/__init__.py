"""For tests of programs that use AWS: a server, injected faults, a log of calls. Needs pytest.

    from sagemaker_emulator import testing

    def test_a_throttled_call_is_repeated(sagemaker_local):
        testing.inject(sagemaker_local, "ListModels", "throttle", times=1)
        assert my_program.models() == []      # its boto3 finds the server by itself
        assert len(testing.calls(sagemaker_local)) == 2

pytest finds the fixture `sagemaker_local` by itself wherever this package is installed.

    __init__.py   the fixture
    faults.py     which faults there are, and what the log holds
"""

import os
from collections.abc import Iterator

import pytest

from sagemaker_emulator.api.faults import SWITCH
from sagemaker_emulator.client import Local, attach
from sagemaker_emulator.testing.faults import calls, clear, clear_calls, inject

__all__ = ["calls", "clear", "clear_calls", "inject", "sagemaker_local"]


@pytest.fixture(scope="session")
def _sagemaker_local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        with attach(state=tmp_path_factory.mktemp("sagemaker_local")) as local:
            yield local


@pytest.fixture
def sagemaker_local(
    _sagemaker_local_server: Local, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Local]:
    """A server, and an environment in which boto3 finds it and nothing of the user's.

    All tests of a session share the server and what they create in it, so use names of your own
    for each test. Faults and the log of calls end with the test.
    """
    environ = dict(os.environ)
    _sagemaker_local_server.enter(environ)
    for name in set(os.environ) - set(environ):
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    clear_calls(_sagemaker_local_server)
    yield _sagemaker_local_server
    clear(_sagemaker_local_server)
