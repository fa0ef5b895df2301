"""What all tests share, and their order.

Modules with slow tests come first, then those with many, so that at the end no process waits long for another.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.faults.preloaded import Preloaded
from tests.shared_folders import shared

# here and in all processes of the tests: one that compiles what it imports takes a quarter of a minute to start
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("tests", deadline=None)  # a busy machine is no fault of an example
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -tests[item.path]))


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    """What starts tdlens's commands at once; one for all processes of a test run."""
    with shared(tmp_path_factory.getbasetemp(), "preloaded") as folder:
        started = Preloaded.begin(folder)
    yield started
    started.end()
