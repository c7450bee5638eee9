"""What the tests of all three houses have in common."""

import os

# Threads of a training that wait for each other spin, where others want the CPU as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_configure(config):
    config.addinivalue_line("markers", "first: long, so its file is begun before the others")


def pytest_collection_modifyitems(items):
    """xdist gives files out in this order: a long one that began late would be waited for."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
