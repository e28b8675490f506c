"""The whole matrix: `matrix.py PAGE` runs every peer's checks and writes what came of them, with date and versions, into PAGE.

A check that failed is in the page, too, and the status says so. `cargo xtask interop --matrix` is the command; docs/testing.md tells more.
"""

import datetime
import pathlib
import sys
import time
import unittest

import matrix_clients
import matrix_next_hops
import test_from_postfix
import test_local
import test_smart_host
import walk_production
from harness.dovecot import Dovecot
from harness.postfix import Postfix

HEAD = """\
# Interoperability

Written by `cargo xtask interop --matrix` on {date}, on {system}: the real program and these peers, each installed from its package and
started for the purpose, on loopback. A row is a check, a column a peer; the tests are in `tests-interop/` ([testing.md](testing.md)). {summary}
"""

# What each check of a suite without columns is about.
SUITES = [
    ("Dovecot {dovecot}: LMTP, and Maildirs that it reads", test_local.Local),
    ("Postfix {postfix} hands its mail to us", test_from_postfix),
    ("Postfix {postfix} with Dovecot's SASL as our smart host", test_smart_host.SmartHost),
    ("From zero: [production.md](production.md), each command run as it stands, between machines of namespaces", walk_production.Production),
]


class Result(unittest.TextTestResult):
    """Remembers each check by its peer's class and its name."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.cells, self.columns, self.seconds = {}, {}, {}

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def put(self, test, word):
        kind, name = type(test), getattr(test, "_testMethodName", "")
        self.cells[kind, name] = word
        if hasattr(kind, "column"):
            self.columns[kind] = kind.column()
            note = kind.notes.get(test.id())
            if note and word == "passed":
                self.cells[kind, name] = note

    def stopTest(self, test):
        super().stopTest(test)
        kind = type(test).__name__
        self.seconds[kind] = self.seconds.get(kind, 0) + time.monotonic() - self.began

    def addSuccess(self, test):
        super().addSuccess(test)
        self.put(test, "passed")

    def addFailure(self, test, trouble):
        super().addFailure(test, trouble)
        self.put(test, "FAILED")

    def addError(self, test, trouble):
        super().addError(test, trouble)
        self.put(test, "FAILED")

    def addSkip(self, test, reason):
        # A peer that is not there is a failure; nothing here may be left out.
        super().addFailure(test, (AssertionError, AssertionError(f"skipped: {reason}"), None))
        self.put(test, "FAILED")

    def cell(self, kind, name):
        """What never ran failed: its class could not be set up."""
        return self.cells.get((kind, name), "FAILED")


def checks(kind):
    """(name, first line) of each check, in the order of the file."""
    methods = [(name, method) for base in reversed(kind.__mro__) for name, method in vars(base).items() if name.startswith("test_")]
    return [(name, (method.__doc__ or words(name)).strip().splitlines()[0]) for name, method in methods]


def words(name):
    return name.removeprefix("test_").replace("_", " ")


def row(cells):
    return "| " + " | ".join(cells) + " |\n"


def table(result, family):
    """One column for each peer."""
    kinds = family.__subclasses__()
    named = [result.columns.get(kind) or getattr(kind, "name", None) or kind.server.NAME for kind in kinds]
    text = row(["check", *named]) + row(["---"] * (1 + len(kinds)))
    return text + "".join(row([about, *(result.cell(kind, name) for kind in kinds)]) for name, about in checks(family))


def suite_table(result, suite):
    kinds = [suite] if isinstance(suite, type) else [kind for kind in vars(suite).values() if isinstance(kind, type) and issubclass(kind, unittest.TestCase)]
    text = row(["check", "result"]) + row(["---"] * 2)
    return text + "".join(row([about, result.cell(kind, name)]) for kind in kinds for name, about in checks(kind))


def page(result):
    failed = len(result.failures) + len(result.errors)
    release = pathlib.Path("/etc/os-release").read_text()
    system = next(line.split("=")[1].strip('"') for line in release.splitlines() if line.startswith("PRETTY_NAME"))
    summary = f"{result.testsRun} checks, all passed." if not failed else f"{result.testsRun} checks, {failed} FAILED."
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%-d %B %Y")
    text = HEAD.format(date=date, system=system, summary=summary)
    text += "\n## Next hops\n\n" + table(result, matrix_next_hops.NextHop)
    text += "\n## Clients\n\n" + table(result, matrix_clients.Client)
    versions = {"dovecot": Dovecot.version(), "postfix": Postfix.version()}
    for title, suite in SUITES:
        text += f"\n## {title.format(**versions)}\n\n" + suite_table(result, suite)
    return text


def main():
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite()
    for part in (matrix_next_hops, matrix_clients, *(part for _, part in SUITES)):
        suite.addTests(loader.loadTestsFromTestCase(part) if isinstance(part, type) else loader.loadTestsFromModule(part))
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(suite)
    for kind, seconds in sorted(result.seconds.items(), key=lambda pair: -pair[1]):
        print(f"{seconds:6.1f} s  {kind}")
    pathlib.Path(sys.argv[1]).write_text(page(result), encoding="utf-8")
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
