"""The same checks for every kind of next hop: Postfix, Exim, OpenSMTPD and Haraka, each private and on loopback.

Part of the matrix (`cargo xtask interop --matrix`): it needs peers that `tests-interop/setup --matrix` brings.
"""

import email
import email.policy
import smtplib
import unittest
import uuid

from harness import LOOPBACK, wait_for
from harness.dns import Dns
from harness.exim import Exim
from harness.haraka import Haraka
from harness.messages import as_stored, attachment, digest, hard_body, head, with_attachment
from harness.opensmtpd import OpenSmtpd
from harness.postfix import Postfix
from harness.relay import PASSWORD, USER, Relay
from harness.town import Town
from harness.wire import Wire
from test_into_postfix import lenient

ANN, BEN, JOERG, LATER = "ann@mail.test", "ben@mail.test", "j\u00f6rg@mail.test", "later@mail.test"
# Of the next hop itself, through a wire in clear that is watched, and through one that offers no 8BITMIME.
DOMAINS = ("mail.test", "wire.test", "seven.test")
SIZE, RECIPIENTS, LIST = 16_000_000, 100, 250


class PostfixNextHop(Postfix):
    """With the limits and the one postponed user that the others have, too."""

    MORE = """
message_size_limit = {size}
smtpd_recipient_limit = {recipients}
smtpd_error_sleep_time = 0
smtpd_recipient_restrictions = check_recipient_access texthash:$config_directory/later, permit_mynetworks, reject_unauth_destination
"""

    def __init__(self, users, domains, size, recipients):
        everywhere = [f"{user.split('@')[0]}@{domain}" for user in users for domain in domains]
        super().__init__(domains, everywhere, more=self.MORE.format(size=size, recipients=recipients))
        (self.base / "etc/later").write_text(f"{LATER} 451 4.7.1 come back later\n")

    def let_in(self):
        (self.base / "etc/later").write_text("")
        self.command("reload")


class NextHopTown(Town):
    def build(self, server, users):
        self.server = self.started(server(users=users, domains=DOMAINS, size=SIZE, recipients=RECIPIENTS))
        self.wire = self.started(Wire("127.0.0.2", self.server.port))
        self.seven = self.started(Wire("127.0.0.3", self.server.port, hidden=["8BITMIME", "SMTPUTF8", "CHUNKING"]))
        zone = {}
        for name, address in zip(DOMAINS, ("127.0.0.1", "127.0.0.2", "127.0.0.3")):
            zone |= {(name, "MX"): [(10, f"mx.{name}")], (f"mx.{name}", "A"): [address]}
        self.dns = self.started(Dns(zone))
        self.relay = self.started(Relay(self.dns.port, self.server.port))

    def __init__(self, server, users):
        self.running = []
        try:
            self.build(server, users)
        except BaseException:
            self.stop()
            raise


class NextHop:
    """The checks; the first line of each is its row in docs/interop.md."""

    server = None
    notes = {}

    @classmethod
    def setUpClass(cls):
        cls.list = [f"u{number}@mail.test" for number in range(LIST)]
        cls.town = NextHopTown(cls.server, [ANN, BEN, JOERG, LATER, *cls.list])
        cls.addClassCleanup(cls.town.stop)
        cls.hop, cls.relay = cls.town.server, cls.town.relay
        with smtplib.SMTP(LOOPBACK, cls.hop.port) as client:
            client.ehlo()
            cls.offers = client.esmtp_features

    @classmethod
    def column(cls):
        return f"{cls.server.NAME} {cls.hop.version()}"

    def setUp(self):
        self.token = uuid.uuid4().hex

    def note(self, text):
        self.notes[self.id()] = text

    def send(self, content, recipients, options=()):
        with smtplib.SMTP(LOOPBACK, self.relay.submission, timeout=120) as client:
            client.starttls(context=lenient())
            client.login(USER, PASSWORD)
            client.sendmail(ANN, recipients, content, mail_options=options)

    def arrived(self, user=BEN, count=1):
        try:
            return self.hop.wait_for_mail(user, count, matching=self.token.encode())
        except AssertionError as trouble:
            raise AssertionError(f"{trouble}\nThe relay says:\n{self.relay.log()[-3000:]}") from trouble

    def assert_intact(self, sent, mail):
        sent = as_stored(sent)
        _, ours, below = mail.partition(b"From: " + ANN.encode())
        found = ours + below
        at = next((place for place, (a, b) in enumerate(zip(found, sent)) if a != b), min(len(found), len(sent)))
        self.assertTrue(found == sent, f"differs at octet {at} of {len(sent)}: {found[at - 40 : at + 40]!r}, sent {sent[at - 40 : at + 40]!r}")

    def report(self):
        """The one report about this test's message that came to Ann: its fields about recipients."""
        (octets,) = self.arrived(ANN)
        report = email.message_from_bytes(octets, policy=email.policy.default)
        self.assertEqual(report.get_param("report-type"), "delivery-status", octets[:2000])
        groups = [dict(group.items()) for group in list(report.iter_parts())[1].get_payload()]
        return [group for group in groups[1:] if group]

    def test_a_hard_text_arrives_intact(self):
        """8-bit octets, dots, lines of 1,900 octets: unchanged"""
        sent = head(ANN, BEN, self.token) + hard_body()
        self.send(sent, [BEN], ["BODY=8BITMIME"])
        (mail,) = self.arrived()
        self.assert_intact(sent, mail)

    def test_an_attachment_of_10_mb_arrives_intact(self):
        """an attachment of 10 MB: same digest"""
        data = attachment()
        self.send(with_attachment(ANN, BEN, self.token, data), [BEN])
        (octets,) = self.arrived()
        mail = email.message_from_bytes(octets, policy=email.policy.default)
        self.assertEqual(digest(mail.get_payload(decode=True)), digest(data))

    def test_starttls_is_used(self):
        """STARTTLS is offered and used"""
        self.assertIn("starttls", self.offers)
        self.send(head(ANN, BEN, self.token) + b"x\r\n", [BEN])
        (mail,) = self.arrived()
        if self.server.TLS_FAILS:
            # Opportunistic (RFC 7435): its handshake was begun and failed, and the mail is there all the same.
            self.assertIn(self.server.TLS_FAILS, self.hop.log())
            self.note("its handshake fails (its issue 1171: OpenSSL 3); delivered in the clear")
            return
        received = next(value for name, value in email.message_from_bytes(mail).items() if name.lower() == "received")
        self.assertRegex(received, r"TLS_?(v?1\.3|AES|CHACHA)", "the next hop's own word")

    def test_a_refused_recipient_is_reported_alone(self):
        """one unknown user among good ones: one report, about that one"""
        self.send(head(ANN, BEN, self.token) + b"x\r\n", [BEN, "nobody@mail.test", self.list[0]])
        self.arrived(BEN)
        self.arrived(self.list[0])
        (fields,) = self.report()
        self.assertEqual(fields["Final-Recipient"].replace(" ", "").lower(), "rfc822;nobody@mail.test")
        self.assertEqual(fields["Action"], "failed")
        self.assertTrue(fields["Diagnostic-Code"].startswith("smtp; 550 "), fields["Diagnostic-Code"])
        self.assertRegex(fields["Status"], r"^5\.\d+\.\d+$")

    def test_a_postponed_recipient_has_the_mail_later(self):
        """451 at RCPT: deferred, then delivered, nobody bothered"""
        self.send(head(ANN, LATER, self.token) + b"x\r\n", [LATER, BEN])
        self.arrived(BEN)
        wait_for("a deferral", lambda: "come back later" in self.relay.log(), 30)
        self.hop.let_in()
        self.assertEqual(len(self.arrived(LATER)), 1)
        self.town.wait_until_drained()
        self.assertEqual([mail for mail in self.hop.mailbox(ANN) if self.token.encode() in mail], [])
        self.assertEqual(len(self.arrived(BEN)), 1, "the other recipient has one copy")

    def test_a_long_list_of_recipients(self):
        """a list of 250 recipients, more than it takes at once: each has one copy"""
        self.send(head(ANN, "list@mail.test", self.token) + b"x\r\n", self.list)
        for user in self.list:
            self.arrived(user)
        self.town.wait_until_drained()
        for user in self.list:
            self.assertEqual(len(self.arrived(user)), 1, user)

    def test_a_message_beyond_its_size_is_reported(self):
        """SIZE: a message too large for it bounces with 5.3.4, without being sent"""
        self.assertEqual(int(self.offers["size"]), SIZE)
        self.send(head(ANN, BEN, self.token) + (b"x" * 998 + b"\r\n") * 17_000, [BEN])
        (fields,) = self.report()
        self.assertEqual((fields["Action"], fields["Status"]), ("failed", "5.3.4"))
        self.assertTrue(fields["Diagnostic-Code"].startswith("X-Postrider;"), "our word, not the next hop's: it was not asked")

    def test_commands_go_together_where_that_is_offered(self):
        """PIPELINING: commands go together where it is offered, one by one elsewhere"""
        at = len(self.town.wire.flights)
        recipients = ["ben@wire.test", "nobody@wire.test", "u0@wire.test"]
        self.send(head(ANN, BEN, self.token) + b"x\r\n", recipients)
        self.town.wait_until_drained()
        self.arrived(ANN)
        sessions = [flights for flights in self.town.wire.flights[at:] if any(b"MAIL FROM" in flight for flight in flights)]
        together = [flight for flights in sessions for flight in flights if flight.count(b"RCPT TO") > 1 or b"MAIL FROM" in flight and b"RCPT TO" in flight]
        self.assertTrue(sessions)
        if "pipelining" in self.offers:
            self.assertTrue(together, sessions)
        else:
            self.assertEqual(together, [])
            self.note("not offered; one by one")

    def test_a_next_hop_without_8bitmime_gets_7_bits(self):
        """without 8BITMIME: re-encoded, only 7-bit octets on the wire, the same text"""
        text = "gr\u00fc\u00dfe \u4f60\u597d\r\n.\r\n..leading\r\n" + "x" * 990 + "\r\n"
        more = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
        self.send(head(ANN, BEN, self.token, more) + text.encode(), ["ben@seven.test"], ["BODY=8BITMIME"])
        (octets,) = self.hop.wait_for_mail("ben@seven.test", matching=self.token.encode())
        (wire,) = [session for session in self.town.seven.sessions() if self.token.encode() in session]
        self.assertTrue(wire.isascii())
        mail = email.message_from_bytes(octets, policy=email.policy.default)
        self.assertEqual(mail.get_content().replace("\r\n", "\n"), text.replace("\r\n", "\n"))

    def test_an_internationalised_mailbox(self):
        """SMTPUTF8: delivered where it is offered, else a report (5.6.7)"""
        sent = head(ANN, JOERG, self.token).decode().replace("interop", "gr\u00fc\u00dfe") + "\u4f60\u597d\r\n"
        self.send(sent.encode(), [JOERG], ["SMTPUTF8", "BODY=8BITMIME"])
        if "smtputf8" in self.offers:
            (mail,) = self.arrived(JOERG)
            self.assert_intact(sent.encode(), mail)
        else:
            (fields,) = self.report()
            self.assertEqual(fields["Status"], "5.6.7")
            self.note("not offered; reported")

    def test_many_mails_at_once(self):
        """60 mails at once: each arrives once"""
        with smtplib.SMTP(LOOPBACK, self.relay.submission, timeout=120) as client:
            client.starttls(context=lenient())
            client.login(USER, PASSWORD)
            for number in range(60):
                client.sendmail(ANN, [BEN], head(ANN, BEN, f"{self.token}.{number}") + hard_body())
        mails = self.arrived(BEN, 60)
        self.town.wait_until_drained()
        self.assertEqual(len(mails), 60)
        self.assertTrue(all(any(f"{self.token}.{number}@".encode() in mail for mail in mails) for number in range(60)))


class IntoPostfix(NextHop, unittest.TestCase):
    server = PostfixNextHop


class IntoExim(NextHop, unittest.TestCase):
    server = Exim


class IntoOpenSmtpd(NextHop, unittest.TestCase):
    server = OpenSmtpd


class IntoHaraka(NextHop, unittest.TestCase):
    server = Haraka


if __name__ == "__main__":
    unittest.main()
