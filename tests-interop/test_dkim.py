"""Signatures of the relay, judged by verifiers of others: dkimpy, Mail::DKIM, and OpenDKIM as the milter of a Postfix that takes the mail.

Debian's Mail::DKIM knows no Ed25519 and says "invalid" of it, as RFC 8463 expects of old verifiers: the RSA signature beside it must do.
"""

import json
import os
import pathlib
import smtplib
import subprocess
import unittest
import uuid

import dkim

from harness import LOOPBACK, Folder, answers, free_port, wait_for
from harness.dns import Dns
from harness.messages import attachment, hard_body, head, with_attachment
from harness.postfix import Postfix
from harness.relay import PASSWORD, USER, Relay
from test_into_postfix import lenient

ANN, BEN = "ann@brand.test", "ben@mail.test"

JUDGED = ("ed25519-sha256=invalid rsa-sha256=pass", "ed25519-sha256=pass rsa-sha256=pass")

OPENDKIM = """\
Mode v
Socket inet:{port}@127.0.0.1
TestPublicKeys {base}/keys
AuthservID mx.mail.test
PidFile {base}/opendkim.pid
UMask 002
Background no
Syslog no
AlwaysAddARHeader yes
"""

PERL = """\
use strict; use warnings; use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use Net::DNS::Resolver;
my ($port, $file) = @ARGV;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $port, recurse => 0));
my $verifier = Mail::DKIM::Verifier->new();
open(my $in, '<:raw', $file) or die $!;
while (<$in>) { s/\\r?\\n$//; $verifier->PRINT("$_\\015\\012"); }
$verifier->CLOSE;
print join(' ', sort map { $_->algorithm . '=' . $_->result } $verifier->signatures), "\\n";
"""


class OpenDkim:
    """A milter that verifies, with the keys in a file."""

    def __init__(self, records):
        self.folder, self.port = Folder("opendkim"), free_port()
        base = self.folder.path
        (base / "keys").write_text("".join(f"{name} {record}\n" for name, record in records.items()))
        (base / "opendkim.conf").write_text(OPENDKIM.format(port=self.port, base=base))
        self.process = None

    def start(self):
        command = ["/usr/sbin/opendkim", "-f", "-x", self.folder.path / "opendkim.conf"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("OpenDKIM's port", lambda: answers(self.port))
        return self

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.folder.remove()


def awkward(token):
    """Messages that are hard to sign, by name."""
    plain = head(ANN, BEN, token)
    eight = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    mixed = 'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
    part = "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngr\u00fc\u00dfe  =20\r\n"
    unsubscribe = "List-Unsubscribe: <https://brand.test/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    return {
        "plain": plain + b"Hello.\r\n",
        "bare header": f"From: {ANN}\r\nSubject: {token}\r\n\r\nbody\r\n".encode(),
        "no From": f"Subject: {token}\r\n\r\nbody\r\n".encode(),
        "empty body": plain,
        "body of white space": plain + b" \t\r\n\r\n \r\n\r\n",
        "blank lines at the end": plain + b"x  y \t z \r\n \r\n\t\r\n\r\n",
        "folded": f"From:\r\n  Ann\r\n\t<{ANN}>\r\nSubject: {token}\r\n  is\tlong\r\n\r\nbody\r\n".encode(),
        "8-bit": head(ANN, BEN, token, eight) + "gr\u00fc\u00dfe  \u4f60 \r\n.\r\n".encode() * 20,
        "8-bit parts": head(ANN, BEN, token, mixed) + (part * 2 + "--b--\r\n").encode(),
        "hard": plain + hard_body(),
        "two of Subject": head(ANN, BEN, token, "Subject: another\r\n") + b"x\r\n",
        "unsubscribe": head(ANN, BEN, token, unsubscribe) + b"x\r\n",
        "10 MB": with_attachment(ANN, BEN, token, attachment()),
    }


class Signed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder("dkim")
        cls.addClassCleanup(cls.folder.remove)
        relay = Relay(0, 0)
        relay.data.mkdir(mode=0o700)
        made = relay.cli("dkim", "new", "brand.test", "--json")
        assert made.returncode == 0, made.stderr
        cls.keys = json.loads(made.stdout)
        cls.records = {key["record_name"]: key["record"] for key in cls.keys}
        cls.milter = OpenDkim(cls.records).start()
        cls.addClassCleanup(cls.milter.stop)
        checked = f"smtpd_milters = inet:127.0.0.1:{cls.milter.port}\nmilter_default_action = tempfail\nlocal_header_rewrite_clients =\n"
        cls.postfix = Postfix(users=[BEN], more=checked + cls.more).start()
        cls.addClassCleanup(cls.postfix.stop)
        zone = {("mail.test", "MX"): [(10, "mx.mail.test")], ("mx.mail.test", "A"): [LOOPBACK]}
        cls.dns = Dns(zone | {(name, "TXT"): [record] for name, record in cls.records.items()}).start()
        cls.addClassCleanup(cls.dns.stop)
        keys = ", ".join(f'"{key["selector"]}: {key["file"]}"' for key in cls.keys)
        config = relay.config.read_text().replace("smtp_port = 0", f"smtp_port = {cls.postfix.port}").replace(":0\"]", f":{cls.dns.port}\"]")
        relay.config.write_text(config + f'\n[[domain]]\nname = "brand.test"\nkeys = [{keys}]\n')
        cls.relay = relay.start()
        cls.addClassCleanup(cls.relay.stop)

    more = ""

    def verdicts(self, stored):
        """What the three say of a mail as the Maildir keeps it."""
        content = stored.replace(b"\n", b"\r\n")
        # Postfix adds its own fields above; none of them is signed.
        judge = dkim.DKIM(content)
        count = sum(1 for name, _ in judge.headers if name.lower() == b"dkim-signature")
        python = [judge.verify(idx=nth, dnsfunc=self.txt) for nth in range(count)]
        file = self.folder.path / uuid.uuid4().hex
        file.write_bytes(content)
        perl = subprocess.run(["perl", "-e", PERL, str(self.dns.port), file], capture_output=True, text=True, timeout=60)
        self.assertEqual(perl.returncode, 0, perl.stderr)
        results = [line for line in stored.split(b"\n\n")[0].replace(b"\n\t", b" ").split(b"\n") if line.startswith(b"Authentication-Results:")]
        return python, perl.stdout.strip(), b" ".join(results).decode()

    def txt(self, name, timeout=5):
        return self.records.get(name.decode().rstrip("."), "").encode()

    def send(self, content, reverse_path=ANN):
        client = smtplib.SMTP(LOOPBACK, self.relay.submission, timeout=60)
        client.starttls(context=lenient())
        client.login(USER, PASSWORD)
        client.sendmail(reverse_path, [BEN], content)
        client.quit()

    def test_three_verifiers_agree(self):
        for name, content in awkward(token := uuid.uuid4().hex).items():
            with self.subTest(name):
                own = f"{token}{name}".replace(" ", "")
                self.send(content.replace(token.encode(), own.encode()))
                (stored,) = self.postfix.wait_for_mail(BEN, 1, matching=own.encode())
                python, perl, opendkim = self.verdicts(stored)
                self.assertEqual(python, [True, True])
                self.assertIn(perl, JUDGED)
                self.assertEqual(opendkim.count("dkim=pass"), opendkim.count("dkim="), opendkim)
                self.assertIn("dkim=pass", opendkim)
                changed = stored.replace(b"Subject: ", b"Subject: x", 1)
                if changed != stored:
                    python, perl, _ = self.verdicts(changed)
                    self.assertEqual(python, [False, False])
                    self.assertIn("rsa-sha256=fail", perl)

    def test_mail_of_others_is_not_signed(self):
        token = uuid.uuid4().hex
        self.send(head("eve@other.test", BEN, token) + b"x\r\n", "eve@other.test")
        (stored,) = self.postfix.wait_for_mail(BEN, 1, matching=token.encode())
        self.assertNotIn(b"DKIM-Signature", stored)


class SignedInSevenBits(Signed):
    """The same to a next hop that takes seven bits only: what is re-encoded is signed as it is sent."""

    more = "smtpd_discard_ehlo_keywords = 8bitmime\n"


@unittest.skipUnless(os.environ.get("POSTRIDER_CORPORA"), "POSTRIDER_CORPORA names a folder of messages")
class SignedCorpora(Signed):
    def test_three_verifiers_agree(self):
        files = sorted(path for path in pathlib.Path(os.environ["POSTRIDER_CORPORA"]).rglob("*.txt"))
        self.assertTrue(files)
        for path in files:
            with self.subTest(path.name):
                token = uuid.uuid4().hex
                content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
                # They are mail of strangers: from now on it is ours.
                self.send(f"Comments: {token}\r\nFrom: {ANN}\r\n".encode() + content)
                (stored,) = self.postfix.wait_for_mail(BEN, 1, matching=token.encode())
                python, perl, opendkim = self.verdicts(stored)
                self.assertEqual(python, [True, True])
                self.assertIn(perl, JUDGED)
                self.assertIn("dkim=pass", opendkim)


if __name__ == "__main__":
    unittest.main()
