"""A clock that is set while the relay runs, far ahead and far back (libfaketime): mail goes on, nothing is lost, and somebody is told."""

import os
import pathlib
import smtplib
import unittest
import uuid

from harness import LOOPBACK, wait_for
from harness.messages import head
from harness.town import PASSWORD, USER, Town
from test_into_postfix import lenient

ANN = "ann@mail.test"
DAY_S = 86_400
LIBRARIES = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"]


class Clock(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        library = next((path for path in LIBRARIES if pathlib.Path(path).exists()), None)
        assert library, "libfaketime is missing: tests-interop/setup installs it"
        cls.busy = True
        cls.town = Town(judge=lambda recipient: "450 4.2.1 busy" if cls.busy and "busy" in recipient else None)
        cls.addClassCleanup(cls.town.stop)
        relay = cls.town.relay
        relay.terminate()
        cls.offset = relay.folder.path / "clock"
        cls.set_clock(0)
        # Time that only goes on is the kernel's, as it is when somebody sets a real clock.
        cls.environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(cls.offset),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_NO_CACHE": "1",
        }
        cls.start()

    @classmethod
    def start(cls):
        os.environ.update(cls.environment)
        try:
            cls.town.relay.start()
        finally:
            for name in cls.environment:
                del os.environ[name]

    @classmethod
    def set_clock(cls, days):
        aside = cls.offset.with_suffix(".new")
        aside.write_text(f"{days * DAY_S:+d}\n")
        aside.rename(cls.offset)

    def send(self, recipient):
        token = uuid.uuid4().hex
        with smtplib.SMTP(LOOPBACK, self.town.relay.submission, timeout=30) as client:
            client.starttls(context=lenient())
            client.login(USER, PASSWORD)
            client.sendmail(ANN, [recipient], head(ANN, recipient, token) + b"body\r\n")
        return token.encode()

    def wait_for_arrival(self, token):
        wait_for("the mail at its sink", lambda: any(token in arrival.content for arrival in self.town.sink.arrivals), 30)

    def told(self, sentence):
        wait_for(f"the word {sentence!r}", lambda: sentence in self.town.relay.log(), 30)

    def test_a_clock_that_jumps_loses_nothing(self):
        self.wait_for_arrival(self.send("one@sink.test"))
        waiting = self.send("busy@sink.test")
        wait_for("a deferral", lambda: "busy" in self.town.relay.log(), 30)
        self.assertNotIn("the clock went", self.town.relay.log())
        # Ahead, within the time that mail is tried: what waits is tried, and new mail goes.
        self.set_clock(3)
        self.told("the clock went ahead by")
        self.wait_for_arrival(self.send("two@sink.test"))
        self.assertEqual(self.town.waiting(), 1)
        # Far back: new mail goes, and what waits goes when a person says so. A kill and a start in that time change nothing.
        self.set_clock(-400)
        self.told("the clock went back by")
        before_the_kill = self.send("three@sink.test")
        self.wait_for_arrival(before_the_kill)
        self.town.relay.kill()
        self.start()
        self.wait_for_arrival(self.send("four@sink.test"))
        self.assertEqual(self.town.waiting(), 1)
        type(self).busy = False
        self.assertEqual(self.town.relay.cli("queue", "retry", "--all").returncode, 0)
        self.wait_for_arrival(waiting)
        self.town.wait_until_drained()
        # Right again, and everything is once where it belongs.
        self.set_clock(0)
        self.wait_for_arrival(self.send("five@sink.test"))
        # A kill right behind a delivery may send that one again (docs/custody.md), and no other.
        again = [arrival for arrival in self.town.sink.arrivals if before_the_kill in arrival.content]
        self.assertIn(len(again), (1, 2))
        self.assertEqual(len(self.town.sink.arrivals) - len(again), 5)
        self.assertNotIn("panicked", self.town.relay.log())


if __name__ == "__main__":
    unittest.main()
