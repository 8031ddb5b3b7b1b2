"""Fixtures for tests that live on the cluster. In a conftest.py: `from cluster.fixtures import *`.

cluster   the cluster, brought up once for all tests, in a folder of its own, and taken down at the
          end. With PASSERELLE_CLUSTER_STATE set, the one in that folder, brought up if need be and
          left up: for trying one test again and again.
clean     the same, without jobs and with homes as on a new account.
idle      the same, without jobs; what is in the homes stays.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .api import Cluster

__all__ = ["clean", "cluster", "idle"]


class NoCluster(pytest.skip.Exception):
    """A test is skipped because there can be no cluster on this machine."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Give the tests that are skipped for want of a cluster one place, and so one line of the summary."""
    report = yield
    if call.excinfo and isinstance(call.excinfo.value, NoCluster):
        report.longrepr = (str(Path(__file__).parent), None, str(call.excinfo.value))
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster; skips, with one line for all tests that says why, where none can be brought up."""
    if hindrance := Cluster.hindrance():
        raise NoCluster(hindrance)
    state = os.environ.get("PASSERELLE_CLUSTER_STATE")
    cluster = Cluster(state or tempfile.mkdtemp(prefix="passerelle-cluster-"))
    try:
        cluster.up()
        yield cluster
    finally:
        if state:
            cluster.stop_spawned()
        else:
            cluster.down()
            shutil.rmtree(cluster.state, ignore_errors=True)


@pytest.fixture
def clean(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster as on the first day: no jobs, new homes. Jobs are cancelled at the end too."""
    cluster.clean()
    yield cluster
    cluster.clean(homes=False)


@pytest.fixture
def idle(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster without jobs, before and after; homes as the test before left them."""
    cluster.clean(homes=False)
    yield cluster
    cluster.clean(homes=False)
