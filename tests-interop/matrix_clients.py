"""The same checks for every kind of client: each sends with STARTTLS and with TLS from the first octet, proves who it is, and believes the relay's certificate
only for its authority. The mail is looked for in a Postfix mailbox behind the relay.

Part of the matrix (`cargo xtask interop --matrix`): it needs clients that `tests-interop/setup --matrix` brings.
"""

import email
import email.policy
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest
import uuid

from harness import Folder
from harness.dns import Dns
from harness.messages import attachment, digest
from harness.overlay import peers
from harness.postfix import Postfix, certified
from harness.relay import PASSWORD, Relay
from harness.town import Town

ANN, BEN = "ann@mail.test", "ben@mail.test"
HERE = pathlib.Path(__file__).resolve().parent / "clients"
# Python's own message generator changes a "From " at the start of a line, and swaks takes a dot at the end for the end.
TEXT = "gr\u00fc\u00dfe \u4f60\u597d\n\n.\n..\n.leading\n...\n" + "x" * 900 + "\n.\nend\n"
# Its attachment is over it, the one of 10 MB under.
TOO_LARGE, LIMIT = 13_000_000, "16 MiB"


class Behind(Town):
    """A relay with a certificate of an authority, one user for each client, and a Postfix behind it."""

    def __init__(self, clients):
        self.running = []
        try:
            self.folder = Folder("clients")
            postfix = self.started(Postfix(users=[ANN, BEN]))
            dns = self.started(Dns({("mail.test", "MX"): [(10, "mx.mail.test")], ("mx.mail.test", "A"): ["127.0.0.1"]}))
            certified(self.folder.path, "localhost")
            more = f'[tls]\ncertificate = "{self.folder.path}/cert.pem"\nkey = "{self.folder.path}/key.pem"\n'
            more += f'[limits]\nmessage_size_max = "{LIMIT}"\n'
            more += "".join(f'[[credential]]\nuser = "{user(name)}"\nsecret_sha256 = "{hashlib.sha256(PASSWORD.encode()).hexdigest()}"\n' for name in clients)
            self.postfix, self.relay = postfix, self.started(Relay(dns.port, postfix.port, more=more))
            self.files()
        except BaseException:
            self.stop()
            raise

    def files(self):
        place = self.folder.path
        (place / "text").write_text(TEXT, encoding="utf-8")
        self.data, large = attachment(seed=3), attachment(TOO_LARGE, seed=4)
        (place / "attachment").write_bytes(self.data)
        (place / "large").write_bytes(large)

    def stop(self):
        super().stop()
        self.folder.remove()


class Client:
    """The checks; the first line of each is its row in docs/interop.md."""

    name = None
    # What it says when the password is wrong, and when the message is too large.
    wrong_password, too_large = "535", "552"
    town = None
    notes = {}

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.town.folder.path

    @classmethod
    def column(cls):
        return f"{cls.name} {cls.version()}".replace("  ", " ")

    def setUp(self):
        self.token = uuid.uuid4().hex

    def environment(self, tls, mechanism, password, attached):
        relay = self.town.relay
        return {
            **os.environ,
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(relay.submissions if tls == "implicit" else relay.submission),
            "SMTP_TLS": tls,
            "SMTP_CA": str(self.folder / "ca.pem"),
            "SMTP_USER": user(self.name),
            "SMTP_PASSWORD": password,
            "SMTP_MECHANISM": mechanism,
            "SMTP_FROM": ANN,
            "SMTP_TO": BEN,
            "SMTP_SUBJECT": self.token,
            "SMTP_TEXT": str(self.folder / "text"),
            "SMTP_ATTACHMENT": str(self.folder / attached) if attached else "",
        }

    def run_client(self, tls="starttls", mechanism="PLAIN", password=PASSWORD, attached=""):
        environment = self.environment(tls, mechanism, password, attached)
        done = subprocess.run(self.command(environment), env=environment, capture_output=True, timeout=180, stdin=subprocess.DEVNULL)
        return done.returncode, (done.stdout[-4000:] + done.stderr[-4000:]).decode(errors="replace")

    def send(self, **how):
        status, said = self.run_client(**how)
        self.assertEqual(status, 0, f"{said}\nThe relay says:\n{self.town.relay.log()[-2000:]}")
        (octets,) = self.town.postfix.wait_for_mail(BEN, matching=self.token.encode())
        mail = email.message_from_bytes(octets, policy=email.policy.default)
        body = mail.get_body(("plain",))
        self.assertEqual(body.get_content().replace("\r\n", "\n").rstrip("\n"), TEXT.rstrip("\n"))
        with_auth = [value for value in mail.get_all("Received") if "relay.test" in value.split("by", 1)[-1]]
        self.assertTrue(any("ESMTPSA" in value for value in with_auth), with_auth)
        return mail

    def check_attachment(self, **how):
        mail = self.send(attached="attachment", **how)
        digests = [digest(part.get_payload(decode=True)) for part in mail.walk() if not part.is_multipart()]
        self.assertIn(digest(self.town.data), digests)

    def note(self, text):
        self.notes[self.id()] = text

    def test_a_text_by_starttls(self):
        """STARTTLS, AUTH PLAIN: 8-bit text with lines of dots"""
        self.send()

    def test_a_text_by_implicit_tls(self):
        """TLS from the first octet, AUTH PLAIN: the same text"""
        self.send(tls="implicit")

    def test_auth_login(self):
        """AUTH LOGIN"""
        if self.name == "Go net/smtp":
            # It speaks no LOGIN by nature; the check is that it is not needed.
            self.note("it has PLAIN only")
            return
        self.send(mechanism="LOGIN")

    def test_an_attachment_by_starttls(self):
        """STARTTLS: an attachment of 10 MB, same digest"""
        self.check_attachment()

    def test_an_attachment_by_implicit_tls(self):
        """TLS from the first octet: an attachment of 10 MB, same digest"""
        self.check_attachment(tls="implicit")

    def test_a_wrong_password(self):
        """a wrong password: the client's own authentication error"""
        status, said = self.run_client(password="wrong")
        self.assertNotEqual(status, 0)
        self.assertRegex(said, self.wrong_password)

    def test_a_message_too_large(self):
        """a message over the limit: the client's error says 552 or that it is too large"""
        status, said = self.run_client(attached="large")
        self.assertNotEqual(status, 0, said)
        self.assertRegex(said, self.too_large)

    def test_an_unknown_authority(self):
        """a certificate of an unknown authority: the client refuses, and nothing is sent"""
        (self.folder / "other").mkdir(exist_ok=True)
        certified(self.folder / "other", "localhost")
        environment = self.environment("starttls", "PLAIN", PASSWORD, "")
        environment["SMTP_CA"] = str(self.folder / "other/ca.pem")
        done = subprocess.run(self.command(environment), env=environment, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn(self.token, self.town.relay.log())

    def composed(self, environment):
        """The message, for clients that send a file as it is."""
        mail = email.message.EmailMessage(policy=email.policy.SMTP)
        mail["From"], mail["To"], mail["Subject"] = ANN, BEN, self.token
        mail.set_content(TEXT, cte="8bit")
        if environment["SMTP_ATTACHMENT"]:
            data = pathlib.Path(environment["SMTP_ATTACHMENT"]).read_bytes()
            mail.add_attachment(data, maintype="application", subtype="octet-stream", filename="a.bin")
        file = self.folder / f"{self.token}.eml"
        file.write_bytes(mail.as_bytes())
        return file


def setUpModule():
    # One for all clients: what they send does not meet.
    Client.town = Behind([each.name for each in Client.__subclasses__()])


def tearDownModule():
    Client.town.stop()


def user(name):
    """Each client's own: a wrong password of one locks out no other."""
    return re.sub("[^a-z]", "-", name.lower())


def said_by(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Swaks(Client, unittest.TestCase):
    name = "swaks"
    wrong_password = r"535 5\.7\.8"

    @staticmethod
    def version():
        return said_by("swaks", "--version").split()[2]

    def command(self, told):
        file = self.composed(told)
        # It ends the last line itself.
        file.write_bytes(file.read_bytes().removesuffix(b"\r\n"))
        words = ["swaks", "--server", "localhost", "--port", told["SMTP_PORT"], "--from", ANN, "--to", BEN, "--data", f"@{file}", "--suppress-data"]
        words += ["--tls-on-connect" if told["SMTP_TLS"] == "implicit" else "--tls", "--tls-verify", "--tls-ca-path", told["SMTP_CA"]]
        return words + ["--auth", told["SMTP_MECHANISM"], "--auth-user", told["SMTP_USER"], "--auth-password", told["SMTP_PASSWORD"]]


class Msmtp(Client, unittest.TestCase):
    name = "msmtp"
    wrong_password = "authentication failed"

    @staticmethod
    def version():
        return said_by("msmtp", "--version").split()[2]

    def command(self, told):
        file = self.composed(told)
        # It takes lines as a mail program writes them, ending in LF.
        file.write_bytes(file.read_bytes().replace(b"\r\n", b"\n"))
        words = ["msmtp", "--file=/dev/null", "--host=localhost", f"--port={told['SMTP_PORT']}", "--tls=on", f"--tls-trust-file={told['SMTP_CA']}"]
        words += [f"--tls-starttls={'off' if told['SMTP_TLS'] == 'implicit' else 'on'}", f"--auth={told['SMTP_MECHANISM'].lower()}"]
        words += [f"--user={told['SMTP_USER']}", f"--passwordeval=echo {told['SMTP_PASSWORD']}", f"--from={ANN}", BEN]
        return ["sh", "-c", 'file="$1"; shift; exec "$@" < "$file"', "sh", str(file), *words]


class Curl(Client, unittest.TestCase):
    name = "curl"
    wrong_password = r"curl: \(67\)"

    @staticmethod
    def version():
        return said_by("curl", "--version").split()[1]

    def command(self, told):
        scheme = "smtps" if told["SMTP_TLS"] == "implicit" else "smtp"
        words = ["curl", "--silent", "--show-error", "--verbose", "--ssl-reqd", "--cacert", told["SMTP_CA"], "--url", f"{scheme}://localhost:{told['SMTP_PORT']}"]
        words += ["--mail-from", ANN, "--mail-rcpt", BEN, "--upload-file", str(self.composed(told))]
        return words + ["--user", f"{told['SMTP_USER']}:{told['SMTP_PASSWORD']}", "--login-options", f"AUTH={told['SMTP_MECHANISM']}"]


class Smtplib(Client, unittest.TestCase):
    name = "Python smtplib"
    wrong_password = "SMTPAuthenticationError"

    @staticmethod
    def version():
        return sys.version.split()[0]

    def command(self, told):
        return [sys.executable, str(HERE / "python_mail.py"), "smtplib"]


class Aiosmtplib(Client, unittest.TestCase):
    name = "aiosmtplib"
    wrong_password = "SMTPAuthenticationError"

    @staticmethod
    def version():
        return said_by(peers() / "python/bin/python", "-c", "import aiosmtplib; print(aiosmtplib.__version__)").strip()

    def command(self, told):
        return [str(peers() / "python/bin/python"), str(HERE / "python_mail.py"), "aiosmtplib"]


class Nodemailer(Client, unittest.TestCase):
    name = "nodemailer"
    wrong_password = "EAUTH"

    @staticmethod
    def version():
        return json.loads((peers() / "node/node_modules/nodemailer/package.json").read_text())["version"]

    def command(self, told):
        return ["env", f"NODE_EXTRA_CA_CERTS={told['SMTP_CA']}", "node", str(HERE / "nodemailer.js")]


class PhpMailer(Client, unittest.TestCase):
    name = "PHPMailer"
    wrong_password = "Could not authenticate"

    @staticmethod
    def version():
        return said_by("php", "-r", "require '/usr/share/php/libphp-phpmailer/autoload.php'; echo PHPMailer\\PHPMailer\\PHPMailer::VERSION;")

    def command(self, told):
        return ["php", "-d", "memory_limit=512M", str(HERE / "phpmailer.php")]


class GoNetSmtp(Client, unittest.TestCase):
    name = "Go net/smtp"

    @staticmethod
    def version():
        return said_by("go", "version").split()[2].removeprefix("go")

    def command(self, told):
        return ["env", f"SSL_CERT_FILE={told['SMTP_CA']}", str(peers() / "net_smtp")]


class Lettre(Client, unittest.TestCase):
    name = "lettre"

    @staticmethod
    def version():
        lock = (HERE / "lettre/Cargo.lock").read_text()
        return lock.split('name = "lettre"\nversion = "')[1].split('"')[0]

    def command(self, told):
        return [str(peers() / "lettre/debug/postrider-interop-lettre")]


if __name__ == "__main__":
    unittest.main()
