"""Mail from swaks, smtplib and msmtp through the relay into a Postfix mailbox: what was sent is found there, octet for octet."""

import email
import email.policy
import smtplib
import ssl
import subprocess
import unittest
import uuid

from harness import LOOPBACK, Folder
from harness.messages import as_stored, attachment, digest, hard_body, head, with_attachment
from harness.town import PASSWORD, USER, Town

ANN, BEN, JOERG = "ann@mail.test", "ben@mail.test", "j\u00f6rg@mail.test"


def lenient():
    """The relay's certificate is self-signed, as on a first day."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class IntoPostfix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.town = Town(users=[ANN, BEN, JOERG])
        cls.addClassCleanup(cls.town.stop)
        cls.relay, cls.postfix = cls.town.relay, cls.town.postfix
        cls.folder = Folder("mails")
        cls.addClassCleanup(cls.folder.remove)

    def setUp(self):
        self.token = uuid.uuid4().hex
        self.hard = head(ANN, BEN, self.token) + hard_body()
        self.file = self.folder.path / self.token
        # swaks ends the last line itself.
        self.file.write_bytes(self.hard.removesuffix(b"\r\n"))

    def arrived(self, count=1):
        return self.postfix.wait_for_mail(BEN, count, matching=self.token.encode())

    def assert_intact(self, sent):
        """Servers write above the header; all below must be what was sent."""
        (mail,) = self.arrived()
        sent = as_stored(sent)
        above, ours, below = mail.partition(b"From: " + ANN.encode())
        at = next((place for place, (a, b) in enumerate(zip(ours + below, sent)) if a != b), min(len(ours + below), len(sent)))
        where = f"differs at octet {at} of {len(sent)}: {(ours + below)[at - 40 : at + 40]!r}, sent {sent[at - 40 : at + 40]!r}"
        self.assertTrue(ours + below == sent, where)
        self.assertIn(b"Received: from", above)
        self.assertIn(b"Return-Path: <" + ANN.encode(), above)

    def swaks(self, *more):
        command = ["swaks", "--server", LOOPBACK, "--from", ANN, "--to", BEN, "--auth-user", USER, "--auth-password", PASSWORD]
        done = subprocess.run(command + list(more), capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr)
        return done.stdout

    def smtplib(self):
        client = smtplib.SMTP(LOOPBACK, self.relay.submission, timeout=60)
        client.starttls(context=lenient())
        client.login(USER, PASSWORD)
        return client

    def test_swaks_starttls_plain(self):
        self.swaks("--port", str(self.relay.submission), "--tls", "--auth", "PLAIN", "--data", f"@{self.file}")
        self.assert_intact(self.hard)

    def test_swaks_starttls_login(self):
        self.swaks("--port", str(self.relay.submission), "--tls", "--auth", "LOGIN", "--data", f"@{self.file}")
        self.assert_intact(self.hard)

    def test_swaks_implicit_tls(self):
        self.swaks("--port", str(self.relay.submissions), "--tls-on-connect", "--auth", "PLAIN", "--data", f"@{self.file}")
        self.assert_intact(self.hard)

    def test_swaks_pipelined(self):
        self.swaks("--port", str(self.relay.submission), "--tls", "--pipeline", "--auth", "PLAIN", "--data", f"@{self.file}")
        self.assert_intact(self.hard)

    def test_swaks_attachment_of_10_mb(self):
        data = attachment(seed=2)
        self.file.write_bytes(data)
        self.swaks("--port", str(self.relay.submission), "--tls", "--auth", "PLAIN", "--suppress-data", "--attach", f"@{self.file}", "--header", f"X-Token: {self.token}")
        mail = email.message_from_bytes(self.arrived()[0], policy=email.policy.default)
        digests = [digest(part.get_payload(decode=True)) for part in mail.walk() if not part.is_multipart()]
        self.assertIn(digest(data), digests)

    def test_swaks_without_login_is_refused(self):
        command = ["swaks", "--server", LOOPBACK, "--port", str(self.relay.submission), "--tls", "--from", ANN, "--to", BEN]
        done = subprocess.run(command, capture_output=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"530 5.7.0", done.stdout)

    def test_swaks_with_a_wrong_password_is_refused(self):
        command = ["swaks", "--server", LOOPBACK, "--port", str(self.relay.submission), "--tls", "--from", ANN, "--to", BEN]
        command += ["--auth", "PLAIN", "--auth-user", USER, "--auth-password", "wrong"]
        done = subprocess.run(command, capture_output=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"535 5.7.8", done.stdout)

    def test_auth_is_not_offered_in_clear(self):
        with smtplib.SMTP(LOOPBACK, self.relay.submission) as client:
            client.ehlo()
            self.assertNotIn("auth", client.esmtp_features)
            self.assertIn("starttls", client.esmtp_features)
            code, _ = client.docmd("AUTH", "PLAIN AGEAYQ==")
            self.assertGreaterEqual(code, 500)

    def test_smtplib_starttls(self):
        with self.smtplib() as client:
            client.sendmail(ANN, [BEN], self.hard, mail_options=["BODY=8BITMIME"])
        self.assert_intact(self.hard)

    def test_smtplib_implicit_tls(self):
        with smtplib.SMTP_SSL(LOOPBACK, self.relay.submissions, context=lenient(), timeout=60) as client:
            client.login(USER, PASSWORD)
            client.sendmail(ANN, [BEN], self.hard)
        self.assert_intact(self.hard)

    def test_smtplib_attachment_of_10_mb(self):
        data = attachment()
        sent = with_attachment(ANN, BEN, self.token, data)
        with self.smtplib() as client:
            client.sendmail(ANN, [BEN], sent)
        self.assert_intact(sent)

    def test_smtplib_many_mails_in_a_session(self):
        with self.smtplib() as client:
            for number in range(20):
                client.sendmail(ANN, [BEN], head(ANN, BEN, f"{self.token}.{number}") + hard_body())
        mails = self.arrived(20)
        self.assertEqual({number for number in range(20) if any(f"{self.token}.{number}@".encode() in mail for mail in mails)}, set(range(20)))

    def test_smtplib_two_recipients_are_both_served(self):
        with self.smtplib() as client:
            client.sendmail(ANN, [ANN, BEN], self.hard)
        self.assert_intact(self.hard)
        self.postfix.wait_for_mail(ANN, matching=self.token.encode())

    def test_smtplib_internationalised_mailbox(self):
        sent = head(ANN, JOERG, self.token).decode() + "gr\u00fc\u00dfe\r\n"
        with self.smtplib() as client:
            client.sendmail(ANN, [JOERG], sent.encode(), mail_options=["SMTPUTF8", "BODY=8BITMIME"])
        (mail,) = self.postfix.wait_for_mail(JOERG, matching=self.token.encode())
        self.assertTrue(mail.endswith(as_stored(sent.encode())))

    def test_msmtp_starttls(self):
        # msmtp takes lines as a mail program writes them, ending in LF.
        command = ["msmtp", "--file=/dev/null", f"--host={LOOPBACK}", f"--port={self.relay.submission}", "--tls=on", "--tls-starttls=on"]
        command += ["--tls-certcheck=off", "--auth=plain", f"--user={USER}", f"--passwordeval=echo {PASSWORD}", f"--from={ANN}", BEN]
        done = subprocess.run(command, input=as_stored(self.hard), capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_intact(self.hard)


if __name__ == "__main__":
    unittest.main()
