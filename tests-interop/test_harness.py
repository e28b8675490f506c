"""The pieces of the harness, each against a client that is not ours: a harness that lies makes every other test worthless."""

import smtplib
import socket
import struct
import unittest

from harness import LOOPBACK
from harness.dns import NXDOMAIN, SERVFAIL, Dns, encode_name
from harness.postfix import Postfix
from harness.sink import Sink

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


if __name__ == "__main__":
    unittest.main()
