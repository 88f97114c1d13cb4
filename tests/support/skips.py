"""Which tests may be skipped where `CI` is `true`, and why. Any other skip fails there: nobody reads what is skipped.

Packages are no reason: `packages.sh` and the test extra install them.
"""

import os
from collections.abc import Iterator

import pytest

NO_RIGHTS = "a container has no right to it unless it is privileged"
NOT_ROOT = "the machine's owner may not have it run by root"
ALLOWED = {  # how the reason of the skip begins -> why it can't be mended there
    "no systemd here": "systemd is no container's first process",
    "downloads all it needs": "some hundred megabytes; `make soak` does it",
    "azurite is not here": "190 MB from npm, which is no other test's; what it holds to the rules, S3's holds too",
    "can't make a cgroup here": NO_RIGHTS,
    "can't mount": NO_RIGHTS,
    "no mount namespaces here": NO_RIGHTS,
    "no process namespaces here": NO_RIGHTS,
    "can't become another user here": NOT_ROOT,
    "only root can": NOT_ROOT,
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _judged((yield))


def _judged(report: pytest.TestReport | pytest.CollectReport) -> pytest.TestReport | pytest.CollectReport:
    """A failure in place of a skip that is not allowed here."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(tuple(ALLOWED)):
            report.outcome = "failed"
            report.longrepr = f"skipped on CI, and not for a reason in tests/support/skips.py: {reason}"
    return report
