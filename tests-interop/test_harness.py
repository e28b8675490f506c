"""The pieces of the harness, each against a client that is not ours: a harness that lies makes every other test worthless."""

import smtplib
import socket
import struct
import unittest

import walk_production
from harness import LOOPBACK
from harness.dns import NXDOMAIN, SERVFAIL, Dns, encode_name
from harness.judge import Judge
from harness.postfix import Postfix
from harness.sink import Arrival, Sink
from harness.wire import Wire

MESSAGE = b"Subject: dots\r\n\r\n.one\r\n..two\r\n.\r\n\xff\r\n"


class DnsAnswers(unittest.TestCase):
    def setUp(self):
        zone = {("a.test", "MX"): [(10, "mx.a.test")], ("mx.a.test", "A"): ["127.0.0.1"], ("c.test", "CNAME"): ["mx.a.test"]}
        self.dns = Dns(zone, failing=["broken.test"]).start()
        self.addCleanup(self.dns.stop)

    def ask(self, name, number):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + encode_name(name) + struct.pack(">HH", number, 1), (LOOPBACK, self.dns.port))
            reply = sock.recv(512)
        return reply[3] & 15, struct.unpack(">H", reply[6:8])[0], reply

    def test_presence_absence_and_failure_are_told_apart(self):
        self.assertEqual(self.ask("a.test", 15)[:2], (0, 1))
        self.assertEqual(self.ask("a.test", 28)[:2], (0, 0))
        self.assertEqual(self.ask("none.test", 15)[:2], (NXDOMAIN, 0))
        self.assertEqual(self.ask("broken.test", 15)[:2], (SERVFAIL, 0))
        code, count, reply = self.ask("c.test", 1)
        self.assertEqual((code, count), (0, 2))
        self.assertIn(bytes([127, 0, 0, 1]), reply)


class SinkRecords(unittest.TestCase):
    def test_content_is_unstuffed_and_refusals_reach_the_client(self):
        sink = Sink(judge=lambda recipient: "550 5.1.1 no" if recipient.startswith("no") else None).start()
        self.addCleanup(sink.stop)
        with smtplib.SMTP(LOOPBACK, sink.port) as client:
            refused = client.sendmail("a@x.test", ["b@y.test", "no@y.test"], MESSAGE)
        self.assertEqual(list(refused), ["no@y.test"])
        self.assertEqual(sink.arrivals, [("a@x.test", ("b@y.test",), MESSAGE)])


class PostfixKeeps(unittest.TestCase):
    def test_a_mail_reaches_its_maildir_and_strangers_are_refused(self):
        postfix = Postfix(users=["ann@mail.test"]).start()
        self.addCleanup(postfix.stop)
        with smtplib.SMTP(LOOPBACK, postfix.port) as client:
            client.sendmail("a@x.test", ["ann@mail.test"], MESSAGE)
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                client.sendmail("a@x.test", ["bob@mail.test"], MESSAGE)
        mail = postfix.wait_for_mail("ann@mail.test")[0]
        self.assertIn(b"\n.one\n..two\n.\n\xff\n", mail)


class WireBetween(unittest.TestCase):
    def test_it_takes_extensions_away_and_writes_down_what_came_together(self):
        sink = Sink().start()
        self.addCleanup(sink.stop)
        wire = Wire("127.0.0.2", sink.port, hidden=["8BITMIME"]).start()
        self.addCleanup(wire.stop)
        with smtplib.SMTP("127.0.0.2", sink.port) as client:
            client.ehlo()
            self.assertIn("pipelining", client.esmtp_features)
            self.assertNotIn("8bitmime", client.esmtp_features)
            client.sock.sendall(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n")
            self.assertEqual([client.getreply()[0], client.getreply()[0]], [250, 250])
        (flights,) = wire.flights
        self.assertIn(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n", flights)


class ThePage(unittest.TestCase):
    def test_the_walk_knows_every_block_of_production_md(self):
        page, records = walk_production.blocks()
        self.assertEqual(len(page), len(walk_production.BEGINS))
        for (_, text), begins in zip(page, walk_production.BEGINS):
            self.assertTrue(text.startswith(begins), text)
        self.assertEqual([line.split()[1] for line in records], ["A", "TXT", "TXT", "PTR"])


class JudgeNotices(unittest.TestCase):
    """The controls of the kill test: each kind of fault, made by hand, is seen."""

    def judge(self, arrivals, kills=()):
        judge = Judge()
        judge.kills = list(kills)
        for recipient, times in arrivals.items():
            judge.arrived[recipient] = list(times)
        return judge

    def test_a_lost_delivery(self):
        promised = {"0-1": ["take-0-1-0@d0.test", "take-0-1-1@d1.test"]}
        self.assertEqual(self.judge({"take-0-1-0@d0.test": [1]}).missing(promised), {"take-0-1-1@d1.test"})

    def test_a_lost_report(self):
        promised = {"0-2": ["gone-0-2-0@d0.test"]}
        self.assertEqual(self.judge({}).missing(promised), {"back-0-2@d0.test"})
        self.assertEqual(self.judge({"back-0-2@d0.test": [1]}).missing(promised), set())

    def test_extra_copies_with_and_without_a_crash_between(self):
        judge = self.judge({"take-0-1-0@d0.test": [1, 3], "take-0-2-0@d0.test": [4, 5], "take-0-3-0@d0.test": [4]}, kills=[2])
        self.assertEqual(dict(judge.duplicates()), {0: 1, -1: 1})

    def test_the_content_of_another(self):
        judge = Judge()
        judge.keep(Arrival("a@x.test", ("take-0-1-0@d0.test",), b"X-Token: 0-1\r\n\r\n"))
        self.assertEqual(judge.wrong, [])
        judge.keep(Arrival("a@x.test", ("take-0-1-0@d0.test",), b"X-Token: 0-2\r\n\r\n"))
        judge.keep(Arrival("", ("take-0-1-0@d0.test",), b"X-Token: 0-1\r\n\r\n"))
        self.assertEqual(len(judge.wrong), 2)

    def test_a_recipient_deferred_once(self):
        judge = Judge()
        self.assertEqual([judge.answer("later-0-1-0@d0.test") is None for _ in range(2)], [False, True])


if __name__ == "__main__":
    unittest.main()
