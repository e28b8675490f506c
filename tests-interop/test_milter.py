"""Milters as businesses run them: OpenDKIM that signs and verifies, rspamd's proxy that judges. Both from Debian's packages."""

import email
import smtplib
import unittest
import uuid

from harness import LOOPBACK, free_port, wait_for
from harness.dns import Dns
from harness.messages import attachment, hard_body, head, with_attachment
from harness.milters import OpenDkim, Rspamd
from harness.relay import PASSWORD, USER, Relay
from harness.sink import Sink
from test_smart_host import lenient

MILTER = '[[milter]]\nname = "{name}"\naddress = "inet:{port}@127.0.0.1"\nlistener = ["{listener}"]\n'

# rspamd knows these patterns for tests without any rule: one for each action.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
GTUBE_ADD_HEADER = "YJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


class Mail(unittest.TestCase):
    """A relay, a sink behind it, and whatever milters a class wants."""

    @classmethod
    def set_up(cls, milters):
        cls.sink = Sink()
        cls.sink.start()
        cls.addClassCleanup(cls.sink.stop)
        cls.relay = Relay(cls.dns.port, cls.sink.port, relay_domains=["far.test"], more="".join(milters))
        cls.addClassCleanup(cls.relay.stop)
        cls.relay.start()

    @classmethod
    def start_dns(cls):
        cls.dns = Dns({("far.test", "MX"): [(10, "mx.far.test")], ("mx.far.test", "A"): [LOOPBACK]}).start()
        cls.addClassCleanup(cls.dns.stop)

    def submit(self, content):
        with smtplib.SMTP_SSL(LOOPBACK, self.relay.submissions, context=lenient()) as client:
            client.login(USER, PASSWORD)
            client.sendmail("ann@mail.test", ["bob@far.test"], content)

    def hand_on(self, content):
        with smtplib.SMTP(LOOPBACK, self.relay.plain) as client:
            client.sendmail("ann@mail.test", ["bob@far.test"], content)

    def arrival(self, token):
        """What arrived with this token in it, as octets."""
        token = token.encode()
        wait_for("the mail", lambda: any(token in arrival.content for arrival in self.sink.arrivals), 60)
        return next(arrival.content for arrival in self.sink.arrivals if token in arrival.content)


class Signing(Mail):
    @classmethod
    def setUpClass(cls):
        cls.start_dns()
        cls.signer = OpenDkim().start()
        cls.addClassCleanup(cls.signer.stop)
        cls.verifier = OpenDkim(cls.signer).start()
        cls.addClassCleanup(cls.verifier.stop)
        signs = MILTER.format(name="signer", port=cls.signer.port, listener="submissions")
        verifies = MILTER.format(name="verifier", port=cls.verifier.port, listener="relay")
        cls.set_up([signs, verifies])

    def verified(self, content):
        """What the verifier says of a content that comes back by the relay listener."""
        token = uuid.uuid4().hex
        self.hand_on(f"X-Round: {token}\r\n".encode() + content)
        said = email.message_from_bytes(self.arrival(token)).get_all("Authentication-Results") or []
        return " ".join(" ".join(said).split())

    def check(self, content, token):
        self.submit(content)
        signed = self.arrival(token)
        self.assertIn(b"\r\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=mail.test; s=s1;", signed)
        self.assertIn("dkim=pass", self.verified(signed))
        return signed

    def test_a_signature_holds_behind_us(self):
        token = uuid.uuid4().hex
        signed = self.check(head("ann@mail.test", "bob@far.test", token) + hard_body(), token)
        self.assertIn("dkim=fail", self.verified(signed.replace(b"Subject: ", b"Subject: not ")), "the control: a change breaks it")

    def test_fields_that_we_add_are_signed(self):
        token = uuid.uuid4().hex
        signed = self.check(f"From: ann@mail.test\r\nSubject: {token}\r\n\r\nx\r\n".encode(), token)
        self.assertEqual(len(email.message_from_bytes(signed).get_all("Message-ID")), 1)
        self.assertIn(b"Message-ID", signed.split(b"DKIM-Signature", 1)[1].split(b"bh=")[1] + signed)

    def test_ten_megabytes(self):
        token = uuid.uuid4().hex
        self.check(with_attachment("ann@mail.test", "bob@far.test", token, attachment()), token)


class Judging(Mail):
    @classmethod
    def setUpClass(cls):
        cls.start_dns()
        cls.rspamd = Rspamd(cls.dns.port).start()
        cls.addClassCleanup(cls.rspamd.stop)
        cls.set_up([MILTER.format(name="rspamd", port=cls.rspamd.port, listener="relay")])

    def test_spam_is_refused_with_its_words(self):
        with self.assertRaises(smtplib.SMTPDataError) as refused:
            self.hand_on(head("ann@mail.test", "bob@far.test", "spam") + GTUBE.encode() + b"\r\n")
        self.assertEqual(refused.exception.smtp_code, 554)
        self.assertIn(b"Gtube", refused.exception.smtp_error)

    def test_doubtful_mail_is_marked(self):
        token = uuid.uuid4().hex
        self.hand_on(head("ann@mail.test", "bob@far.test", token) + GTUBE_ADD_HEADER.encode() + b"\r\n")
        self.assertIn(b"\r\nX-Spam: Yes\r\n", self.arrival(token))

    def test_good_mail_passes(self):
        token = uuid.uuid4().hex
        self.hand_on(head("ann@mail.test", "bob@far.test", token) + hard_body())
        self.assertNotIn(b"X-Spam", self.arrival(token))


class Away(Mail):
    @classmethod
    def setUpClass(cls):
        cls.start_dns()
        cls.set_up([MILTER.format(name="away", port=free_port(), listener="relay")])

    def test_mail_waits_at_its_client(self):
        with self.assertRaises(smtplib.SMTPSenderRefused) as refused:
            self.hand_on(head("ann@mail.test", "bob@far.test", "x"))
        self.assertEqual(refused.exception.smtp_code, 451)
        self.assertIn("milter away at inet:", self.relay.log())


if __name__ == "__main__":
    unittest.main()
