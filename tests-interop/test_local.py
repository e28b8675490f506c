"""Mail that ends here: into Dovecot by LMTP, over its socket and over TCP, and into Maildirs that Dovecot reads."""

import pwd
import shutil
import smtplib
import subprocess
import unittest
import uuid

from harness import LOOPBACK, Folder, free_port, wait_for
from harness.dns import Dns
from harness.dovecot import Dovecot
from harness.messages import as_stored, hard_body, head
from harness.relay import Relay

SENDER = "sender@far.test"

DOMAIN = """
[[local_domain]]
name = "{name}"
mailboxes = [{users}]
aliases = ["postmaster: ann", "team: ann, ben"]
to = "{to}"
"""


def domain(name, to, users=("ann", "ben")):
    return DOMAIN.format(name=name, to=to, users=", ".join(f'"{user}"' for user in users))


class Local(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        users = [f"{user}@{name}" for user in ("ann", "ben") for name in ("socket.test", "tcp.test")]
        cls.dovecot = Dovecot(users, full=["full@tcp.test"]).start()
        cls.addClassCleanup(cls.dovecot.stop)
        cls.dns = Dns({}).start()
        cls.addClassCleanup(cls.dns.stop)
        cls.mail = Folder("mail")
        cls.addClassCleanup(cls.mail.remove)
        more = domain("socket.test", f"lmtp:unix:{cls.dovecot.socket}")
        more += domain("tcp.test", f"lmtp://127.0.0.1:{cls.dovecot.port}", ("ann", "ben", "full", "ghost"))
        more += domain("files.test", f"maildir:{cls.mail.path}/{{domain}}/{{user}}")
        cls.relay = Relay(cls.dns.port, free_port(), more=more).start()
        cls.addClassCleanup(cls.relay.stop)

    def setUp(self):
        self.token = uuid.uuid4().hex

    def send(self, *recipients):
        with smtplib.SMTP(LOOPBACK, self.relay.plain) as client:
            client.sendmail(SENDER, recipients, head(SENDER, recipients[0], self.token) + hard_body())

    def assert_whole(self, mail):
        sent = as_stored(head(SENDER, "x", self.token).split(b"Subject")[1] + hard_body())
        self.assertIn(sent.rstrip(b"\n"), as_stored(mail))

    def check_lmtp(self, name):
        self.send(f"ann+detail@{name}", f"Ben@{name}")
        for user in ("ann", "ben"):
            (mail,) = self.dovecot.wait_for_mail(f"{user}@{name}", matching=self.token.encode())
            self.assert_whole(mail)

    def test_lmtp_over_a_socket(self):
        self.check_lmtp("socket.test")

    def test_lmtp_over_tcp(self):
        self.check_lmtp("tcp.test")

    def test_an_alias_reaches_all(self):
        self.send("team@socket.test")
        for user in ("ann", "ben"):
            self.dovecot.wait_for_mail(f"{user}@socket.test", matching=self.token.encode())

    def test_a_full_mailbox_waits_and_the_others_have_their_mail_once(self):
        self.send("ann@tcp.test", "full@tcp.test", "ben@tcp.test")
        wait_for("a deferral", lambda: "452 4.2.2 <full@tcp.test>" in self.relay.log(), 30)
        for user in ("ann", "ben"):
            mails = self.dovecot.wait_for_mail(f"{user}@tcp.test", matching=self.token.encode())
            self.assertEqual(len(mails), 1)
        self.assertIn("lmtp:127.0.0.1", self.relay.cli("queue", "count").stdout)

    def test_a_user_that_only_we_know_is_told_to_the_sender(self):
        with smtplib.SMTP(LOOPBACK, self.relay.plain) as client:
            client.sendmail("ann@socket.test", ["ghost@tcp.test"], head("ann@socket.test", "ghost@tcp.test", self.token) + b"x\r\n")
        (report,) = self.dovecot.wait_for_mail("ann@socket.test", matching=self.token.encode())
        self.assertIn(b"ghost@tcp.test", report)
        self.assertIn(b"5.1.1", report)

    def test_unknown_users_are_refused_at_rcpt(self):
        with smtplib.SMTP(LOOPBACK, self.relay.plain) as client:
            client.ehlo()
            client.mail(SENDER)
            for name in ("socket.test", "tcp.test", "files.test"):
                code, text = client.rcpt(f"nobody@{name}")
                self.assertEqual((code, text[:5]), (550, b"5.1.1"))

    def test_dovecot_reads_our_maildirs(self):
        self.send("ann@files.test", "ben+x@files.test")
        for user in ("ann", "ben"):
            folder = self.mail.path / "files.test" / user
            wait_for("the mail", lambda: any(self.token.encode() in file.read_bytes() for file in folder.glob("new/*")), 30)
        # Dovecot reads mail as its own users only.
        nobody = pwd.getpwnam("nobody")
        subprocess.run(["chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", self.mail.path / "files.test"], check=True)
        reader = Dovecot(["ann", "ben"], location=f"maildir:{self.mail.path}/files.test/%Lu").start()
        try:
            for user, to in (("ann", b"ann@files.test"), ("ben", b"ben+x@files.test")):
                (mail,) = reader.wait_for_mail(user, matching=self.token.encode())
                self.assert_whole(mail)
                self.assertIn(b"Return-Path: <sender@far.test>", mail)
                self.assertIn(b"Delivered-To: " + to, mail)
        finally:
            reader.stop()
            shutil.rmtree(self.mail.path / "files.test")


if __name__ == "__main__":
    unittest.main()
