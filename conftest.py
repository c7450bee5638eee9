"""What the tests of all three houses have in common."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_collection_modifyitems(items):
    """xdist gives files out in this order: a long one that began late would be waited for."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(scope="session", autouse=True)
def client_classes():
    """boto3 makes the class of a client anew for each client: half the CPU time of a command."""
    from botocore.client import ClientCreator

    make, made = ClientCreator._create_client_class, {}

    def once(self, service_name, service_model):
        if service_name not in made:
            made[service_name] = make(self, service_name, service_model)
        return made[service_name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientCreator, "_create_client_class", once)
        yield
