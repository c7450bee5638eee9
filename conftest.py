"""What the tests of all three houses have in common."""


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_configure(config):
    config.addinivalue_line("markers", "last: slow, so it runs when everything else has passed")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)
