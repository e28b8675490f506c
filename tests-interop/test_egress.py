"""Mail that leaves by way of real proxies: microsocks, with a password; HAProxy, which dials whom a PROXY header names; and Dante, where it is installed."""

import shutil
import signal
import smtplib
import socket
import subprocess
import unittest
import uuid

from harness import LOOPBACK, Folder, free_port, wait_for
from harness.postfix import Postfix
from harness.relay import PASSWORD, USER, Relay
from test_smart_host import lenient

ANN = "ann@mail.test"

HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen out
    bind 127.0.0.1:{port} accept-proxy
    source 0.0.0.0 usesrc clientip
    server whoever 0.0.0.0:0
"""

DANTE = """
logoutput: {base}/dante.log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""

SOURCE = '[[source]]\nname = "away"\nehlo_name = "away.test"\nproxy = "{scheme}://127.0.0.1:{port}"\n{more}\n'


class Egress(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.postfix = Postfix(users=[ANN]).start()
        cls.addClassCleanup(cls.postfix.stop)

    def setUp(self):
        folder = Folder("proxy")
        self.addCleanup(folder.remove)
        self.base, self.port = folder.path, free_port()

    def run_proxy(self, *command):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end():
            process.send_signal(signal.SIGTERM)
            process.wait(20)

        self.addCleanup(end)
        wait_for("the proxy", lambda: answers_at_all(self.port), 20)

    def relay_through(self, scheme, more="", password="secret"):
        """A smart host, so that no name has to be looked up: Postfix at an address."""
        host = f'[[smart_host]]\nname = "hop"\nhost = "127.0.0.1"\nport = {self.postfix.port}\ntls = "none"\n[[route]]\nname = "all"\nto = "hop"\n'
        relay = Relay(free_port(), free_port(), more=SOURCE.format(scheme=scheme, port=self.port, more=more) + host)
        relay.data.mkdir(mode=0o700)
        secret = relay.data / "proxy.password"
        secret.touch(mode=0o600)
        secret.write_text(password)
        relay.start()
        self.addCleanup(relay.stop)
        return relay

    def send(self, relay):
        token = uuid.uuid4().hex
        with smtplib.SMTP_SSL(LOOPBACK, relay.submissions, context=lenient()) as client:
            client.login(USER, PASSWORD)
            client.sendmail("s@mail.test", [ANN], f"Subject: {token}\n\n{token}\n")
        return token.encode()

    def arrives(self, relay, peer=LOOPBACK):
        token = self.send(relay)
        (mail,) = self.postfix.wait_for_mail(ANN, matching=token)
        self.assertIn(f"from away.test (unknown [{peer}])".encode(), mail.replace(b"localhost [", b"unknown ["))

    LOGIN = 'proxy_user = "ann"\nproxy_password_file = "proxy.password"'

    def test_microsocks_with_a_password(self):
        self.run_proxy("microsocks", "-i", LOOPBACK, "-p", str(self.port), "-u", "ann", "-P", "secret")
        self.arrives(self.relay_through("socks5", self.LOGIN))

    def test_microsocks_refuses_a_wrong_password_and_the_mail_waits(self):
        self.run_proxy("microsocks", "-i", LOOPBACK, "-p", str(self.port), "-u", "ann", "-P", "secret")
        relay = self.relay_through("socks5", self.LOGIN, password="guessed")
        self.send(relay)
        wait_for("the alarm", lambda: "source away cannot be used" in relay.log() and "refused our name and password" in relay.log(), 30)
        self.assertNotIn("deferred", relay.log())

    @unittest.skipUnless(shutil.which("danted", path="/usr/sbin"), "Dante is not installed")
    def test_dante(self):
        config = self.base / "danted.conf"
        config.write_text(DANTE.format(base=self.base, port=self.port))
        self.run_proxy("/usr/sbin/danted", "-f", str(config))
        self.arrives(self.relay_through("socks5"))

    def test_haproxy_dials_whom_the_header_names_from_the_address_that_it_names(self):
        config = self.base / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=self.port))
        self.run_proxy("/usr/sbin/haproxy", "-db", "-f", str(config))
        for scheme, address in [("proxy-v2", "127.0.0.3"), ("proxy-v1", "127.0.0.4")]:
            with self.subTest(scheme):
                self.arrives(self.relay_through(scheme, f'address = "{address}"'), peer=address)


def answers_at_all(port):
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
        return True
    except OSError:
        return False


if __name__ == "__main__":
    unittest.main()
