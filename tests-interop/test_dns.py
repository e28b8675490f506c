"""Where mail goes, by the word of a real recursive server (unbound), asked as a relay asks it; the first server it was told of is dead."""

import socket
import unittest
import uuid

from harness import LOOPBACK, free_port, wait_for
from harness.relay import Relay
from harness.sink import Sink
from harness.unbound import Unbound

ONE, TWO, NOBODY = "127.0.0.2", "127.0.0.3", "127.0.0.60"
MANY = 120

ZONE = f"""\
one IN A {ONE}
two IN A {TWO}
dead IN A {NOBODY}
prefer IN MX 20 two
prefer IN MX 10 one
second IN MX 20 two
second IN MX 10 dead
null IN MX 0 .
bare IN A {ONE}
empty IN TXT "neither MX nor address"
nowhere IN MX 10 no-such-host
nowhere IN MX 20 empty
alias IN CNAME alias2
alias2 IN CNAME prefer
tohost IN MX 10 hostalias
hostalias IN CNAME two
six IN MX 10 mx6
mx6 IN AAAA ::1
brief 1 IN MX 10 one
lasting 3600 IN MX 10 one
"""
ZONE += "".join(f"large IN MX {10 + number} mx-{number}.a-name-that-makes-the-answer-long\n" for number in range(MANY))
ZONE += "".join(f"mx-{number}.a-name-that-makes-the-answer-long IN A {ONE}\n" for number in range(MANY))


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


class Dns(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        port = free_port()
        cls.one, cls.two = Sink().start([ONE], port), Sink().start([TWO, *(["::1"] if has_ipv6() else [])], port)
        cls.addClassCleanup(cls.one.stop)
        cls.addClassCleanup(cls.two.stop)
        cls.unbound = Unbound(ZONE).start()
        cls.addClassCleanup(cls.unbound.stop)
        # The first takes questions and never answers.
        cls.silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        cls.silent.bind((LOOPBACK, 0))
        cls.addClassCleanup(cls.silent.close)
        cls.relay = Relay(cls.unbound.port, port)
        servers = [cls.silent.getsockname()[1], cls.unbound.port]
        text = cls.relay.config.read_text().replace(f'"127.0.0.1:{cls.unbound.port}"', ", ".join(f'"127.0.0.1:{each}"' for each in servers))
        cls.relay.config.write_text(text)
        cls.relay.start()
        cls.addClassCleanup(cls.relay.stop)

    def send(self, domain):
        """Sends to a fresh mailbox there; returns it."""
        mailbox = f"{uuid.uuid4().hex}@{domain}"
        sent = self.relay.cli("send", "--from", "", "--to", mailbox)
        self.assertEqual(sent.returncode, 0, sent.stderr)
        return mailbox

    def outcome(self, domain):
        """The first line of the mail log about an attempt."""
        mailbox = self.send(domain)

        def line():
            lines = [line for line in self.relay.log().splitlines() if f"to=<{mailbox}>" in line and " accepted " not in line]
            return lines[0] if lines else None

        return wait_for(f"a word on {domain}", line, 60)

    def has(self, sink, mailbox):
        return any(mailbox in arrival.recipients for arrival in sink.arrivals)

    def test_the_better_preference_comes_first(self):
        mailbox = self.send("prefer.test")
        wait_for("the mail at the first host", lambda: self.has(self.one, mailbox))

    def test_a_host_that_is_down_is_passed_over(self):
        mailbox = self.send("second.test")
        wait_for("the mail at the second host", lambda: self.has(self.two, mailbox))

    def test_a_domain_without_mx_stands_for_itself(self):
        mailbox = self.send("bare.test")
        wait_for("the mail at the domain's own address", lambda: self.has(self.one, mailbox))

    def test_absence_is_for_good_and_failure_is_not(self):
        for domain, event, parts in [
            ("null.test", "bounced", ["status=5.1.10", "the domain null.test takes no mail (null MX)"]),
            ("absent.test", "bounced", ["status=5.1.2", "the domain absent.test does not exist"]),
            ("empty.test", "bounced", ["the domain empty.test has no mail host"]),
            ("nowhere.test", "bounced", ["status=5.4.4", "the domain nowhere.test has no mail host"]),
            ("broken.test", "deferred", ["status=4.4.3", "DNS look-up of broken.test failed"]),
            ("silent.test", "deferred", ["status=4.4.3", "DNS look-up of silent.test failed"]),
        ]:
            with self.subTest(domain):
                line = self.outcome(domain)
                self.assertIn(f" {event} ", line)
                for part in ["phase=route", *parts]:
                    self.assertIn(part, line)

    def test_aliases_are_followed(self):
        mailbox = self.send("alias.test")
        wait_for("the mail behind a chain of aliases", lambda: self.has(self.one, mailbox))
        mailbox = self.send("tohost.test")
        wait_for("the mail at a host that is an alias", lambda: self.has(self.two, mailbox))

    @unittest.skipUnless(has_ipv6(), "this machine has no IPv6")
    def test_a_host_with_an_ipv6_address_only(self):
        line = self.outcome("six.test")
        self.assertIn(" delivered ", line)
        self.assertIn("addr=[::1]:", line)

    def test_an_answer_that_is_truncated_comes_over_tcp(self):
        before = self.unbound.number("num.query.tcp")
        mailbox = self.send("large.test")
        wait_for("the mail at one of many hosts", lambda: self.has(self.one, mailbox))
        self.assertGreater(self.unbound.number("num.query.tcp"), before)

    def test_an_answer_counts_for_its_time(self):
        for domain in ("brief.test", "lasting.test"):
            mailbox = self.send(domain)
            wait_for("the mail at the first host", lambda: self.has(self.one, mailbox))
        asked = self.unbound.asked("lasting.test", "MX")
        self.assertGreaterEqual(asked, 1)
        self.unbound.change(ZONE.replace("brief 1 IN MX 10 one", "brief 1 IN MX 10 two").replace("lasting 3600 IN MX 10 one", "lasting 3600 IN MX 10 two"))

        def moved():
            mailbox = self.send("brief.test")
            wait_for("the mail somewhere", lambda: self.has(self.one, mailbox) or self.has(self.two, mailbox))
            return self.has(self.two, mailbox)

        wait_for("the new answer", moved, 60)
        mailbox = self.send("lasting.test")
        wait_for("the mail at the old host", lambda: self.has(self.one, mailbox))
        self.assertEqual(self.unbound.asked("lasting.test", "MX"), asked, "nobody asks again before the time is over")


if __name__ == "__main__":
    unittest.main()
