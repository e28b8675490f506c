"""The private Postfix as our smart host: it demands SASL under TLS, and its certificate has to prove its name."""

import smtplib
import ssl
import unittest
import uuid

from harness import LOOPBACK, free_port, wait_for
from harness.dns import Dns
from harness.dovecot import PASSWORD, Dovecot
from harness.messages import as_stored, hard_body, head
from harness.postfix import Postfix, certified
from harness.relay import PASSWORD as OURS
from harness.relay import USER, Relay

ACCOUNT, ANN = "account", "ann@mail.test"

DEMANDS = """
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
smtpd_client_restrictions = permit_sasl_authenticated, reject
"""

WRAPPED = "{port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"

HOST = """
[[smart_host]]
name = "{name}"
host = "{host}"
port = {port}
tls = "{tls}"
user = "{user}"
{password}

[[route]]
name = "{name}"
sender = ["{name}@mail.test"]
to = "{name}"
"""


class SmartHost(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sasl = Dovecot([ACCOUNT]).start()
        cls.addClassCleanup(cls.sasl.stop)
        cls.postfix = Postfix(users=[ANN], more=DEMANDS.format(auth=cls.sasl.auth))
        certified(cls.postfix.base / "etc", "mx.mail.test")
        cls.wrapped = free_port()
        with open(cls.postfix.base / "etc/master.cf", "a") as master:
            master.write(WRAPPED.format(port=cls.wrapped))
        cls.postfix.start()
        cls.addClassCleanup(cls.postfix.stop)
        cls.dns = Dns({("mx.mail.test", "A"): [LOOPBACK], ("other.test", "A"): [LOOPBACK]}).start()
        cls.addClassCleanup(cls.dns.stop)
        more = f'[tls]\nroots = "{cls.postfix.base}/etc/ca.pem"\n'
        more += cls.host("verify", password='password_file = "smart.password"')
        more += cls.host("implicit", port=cls.wrapped)
        more += cls.host("require", host="other.test")
        more += cls.host("wrongname", tls="verify", host="other.test")
        more += cls.host("wrongpass", tls="verify", password='password = "guessed"')
        cls.relay = Relay(cls.dns.port, free_port(), more=more)
        cls.addClassCleanup(cls.relay.stop)
        cls.relay.data.mkdir(mode=0o700)
        secret = cls.relay.data / "smart.password"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD + "\n")
        cls.relay.start()

    @classmethod
    def host(cls, name, tls=None, host="mx.mail.test", port=None, password=f'password = "{PASSWORD}"'):
        return HOST.format(name=name, host=host, port=port or cls.postfix.port, tls=tls or name, user=ACCOUNT, password=password)

    def send(self, sender):
        self.token = uuid.uuid4().hex
        content = head(sender, ANN, self.token) + hard_body()
        with smtplib.SMTP_SSL(LOOPBACK, self.relay.submissions, context=lenient()) as client:
            client.login(USER, OURS)
            client.sendmail(sender, [ANN], content)
        return content

    def check(self, name):
        sent = self.send(f"{name}@mail.test")
        (mail,) = self.postfix.wait_for_mail(ANN, matching=self.token.encode())
        self.assertTrue(mail.endswith(as_stored(sent)[-300:]))
        self.assertIn(b"(using TLS", mail)

    def test_starttls_with_a_proved_name_and_a_password_file(self):
        self.check("verify")

    def test_implicit_tls(self):
        self.check("implicit")

    def test_any_certificate_where_that_is_enough(self):
        self.check("require")

    def waits(self, name, why):
        self.send(f"{name}@mail.test")
        wait_for(f"a deferral because of {why!r}", lambda: why in self.relay.log(), 30)
        self.assertIn(f"smarthost:{name}", self.relay.cli("queue", "list", "--json").stdout + self.relay.cli("queue", "count").stdout)
        self.assertEqual([mail for mail in self.postfix.mailbox(ANN) if self.token.encode() in mail], [])

    def test_a_certificate_of_another_name_is_no_proof(self):
        self.waits("wrongname", "certificate")

    def test_a_wrong_password_defers_with_an_alarm(self):
        self.waits("wrongpass", "smart host wrongpass refused our user and password: 535")


def lenient():
    """The relay's own certificate is self-signed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


if __name__ == "__main__":
    unittest.main()
