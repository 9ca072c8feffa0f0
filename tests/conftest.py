"""Options of the whole test suite. They are declared here, so that they work whichever folder is named."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.docker.private import FLAG, FLAG_HELP, SharedDaemonError, check_private
from tests.drawing import CASES_SEED, OPTION, leave_out

# Folders whose tests share nothing but what each makes for itself. Elsewhere a file's tests share something that is dear to make.
APART = frozenset(("conformance", "context", "dockerfile", "engine", "transfer"))
_LEFT_OUT = pytest.StashKey[int]()
_NOT_DRAWN = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the conformance cases are, and which engine is tested against them."""
    group = parser.getgroup("conformance")
    group.addoption(
        "--cases", type=Path, default=Path(__file__).parent / "conformance" / "cases", metavar="DIR", help="folder of the conformance cases"
    )
    group.addoption("--engine", choices=("embedded", "docker"), default="embedded", help="the engine that the conformance cases are run on")
    group.addoption(
        "--share",
        type=int,
        metavar="N",
        help="of the conformance cases one in N, drawn anew; the seed is printed (default: all; 2 in a quick run)",
    )
    group.addoption("--as", dest="like", choices=("26", "28"), default="28", help="whose verdicts the embedded engine must give there")
    parser.addoption(
        "--all", action="store_true", dest="all_tests", help="run the slow tests, too, which are left out where no path is named"
    )
    parser.addoption(
        OPTION,
        type=int,
        default=1,
        metavar="N",
        help="of tests that are many of a kind, each dear, one in N; the seed is printed",
    )
    group.addoption(FLAG, action="store_true", help=FLAG_HELP)
    group.addoption("--differences", type=Path, default=None, metavar="FILE", help="write all differences of images to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Tests say which engine they mean: a daemon that happens to run must not change what they test, nor be changed."""
    os.environ["LAYERLAB_ENGINE"] = "embedded"
    # A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # All workers draw the same.
    os.environ.setdefault(CASES_SEED, secrets.token_hex(4))
    if config.option.share is None:
        config.option.share = 2 if _is_quick(config) else 1

    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_FromWorkers())
    if config.getoption("--engine") == "docker":
        try:
            check_private(told=config.getoption(FLAG))
        except SharedDaemonError as error:
            raise pytest.UsageError(str(error)) from error


def _is_quick(config: pytest.Config) -> bool:
    """Whether nothing in particular is asked for: then what takes long is left out."""
    whole = [Path(__file__).parent] == [Path(argument) for argument in config.args]
    return whole and not config.option.all_tests and not config.option.markexpr


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests unless they are asked for, and of many of a kind those that ``--many`` does not draw."""
    if config.getoption(OPTION) > 1:
        left = leave_out(config, items)
        config.stash[_NOT_DRAWN] = len(left)
        config.hook.pytest_deselected(items=left)
    if not _is_quick(config):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.stash[_LEFT_OUT] = len(slow)
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes run tests, keep together what shares something that is dear to make.

    xdist's own groups are marks that it writes into the ids of tests; with pytest 9 these ids do not change, and nothing is grouped.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if Path(file).parent.name in APART else file

    # What takes long comes first, in the order of the folders.
    config.option.loadscopereorder = False
    return Together(config, log)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The last line says what did not run."""
    left = config.stash.get(_LEFT_OUT, 0) or getattr(config, "layerlab_left_out", 0)
    if left:
        terminalreporter.write_line(
            f"left out: {left} slow tests (whole classes graded, attacks, notebooks, browser, real installs) and half of the conformance "
            "cases; ./lab test --all runs them"
        )
    if not_drawn := config.stash.get(_NOT_DRAWN, 0) or getattr(config, "layerlab_not_drawn", 0):
        terminalreporter.write_line(
            f"not drawn: {not_drawn} of many tests of a kind ({OPTION} {config.getoption(OPTION)}, "
            f"{CASES_SEED}={os.environ[CASES_SEED]}); ./lab test --all runs them"
        )


class _FromWorkers:
    """With several processes the collecting is theirs; one of them tells the first how many tests were left out."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", {})
        node.config.layerlab_left_out = output.get("layerlab_left_out", 0)
        node.config.layerlab_not_drawn = output.get("layerlab_not_drawn", 0)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """See ``_FromWorkers``."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["layerlab_left_out"] = session.config.stash.get(_LEFT_OUT, 0)
        output["layerlab_not_drawn"] = session.config.stash.get(_NOT_DRAWN, 0)
