"""What the tests cost: `--cpu_times` ends a run with its CPU-minutes, user and system, and its dearest tests.

Counted are the processes of the tests and those that they started and waited for; what daemons start is not.
What several tests share counts for the first that asks for it.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import resource
from collections import Counter
from pathlib import Path

import pytest

MOST = 20
PROPERTY = "cpu_seconds"


class CpuTimes:
    """In the process that runs tests, and in the one that collects the reports: the same without xdist."""

    def __init__(self, earlier: dict) -> None:
        self.earlier = earlier.get("seconds", 0.0)
        self.by_test = Counter(earlier.get("by_test", {}))
        self.start = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self):
        self.start = cpu_seconds()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo):
        report = yield
        if call.when == "teardown":
            report.user_properties.append((PROPERTY, cpu_seconds() - self.start))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.by_test[report.nodeid] += dict(report.user_properties).get(PROPERTY, 0.0)

    def pytest_sessionfinish(self) -> None:
        """Wait for the fork server: only what has been waited for is counted.

        It ends when no process holds its pipe, and workers that an error left behind have copies.
        """
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        multiprocessing.forkserver._forkserver._stop()

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        seconds = cpu_seconds() + self.earlier
        terminalreporter.section(f"{seconds / 60:.2f} CPU-minutes; the dearest tests in CPU-seconds")
        for test, value in self.by_test.most_common(MOST):
            terminalreporter.write_line(f"{value:7.1f} {test}")
        if config.cache is not None:
            config.cache.set("cpu_times", {"seconds": seconds, "by_test": self.by_test})


def cpu_seconds() -> float:
    """User and system time of this process, of the children it has waited for, and of its fork server's."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + _fork_server_seconds()


def _fork_server_seconds() -> float:
    """What `warm_processes` starts are children of a server, which runs until the tests end."""
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    stat = Path(f"/proc/{server}/stat")
    if server is None or not stat.exists():
        return 0.0
    ticks = stat.read_text().rpartition(")")[2].split()[11:15]  # utime, stime, cutime, cstime; see proc(5)
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "end with the CPU times of this run, or with those of the last such run and this one together"
    parser.addoption("--cpu_times", choices=["this", "both"], help=told)


def pytest_configure(config: pytest.Config) -> None:
    wanted = config.getoption("cpu_times")
    if wanted is not None:
        earlier = config.cache.get("cpu_times", {}) if wanted == "both" and config.cache else {}
        config.pluginmanager.register(CpuTimes(earlier))
