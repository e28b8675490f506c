"""docs/production.md, walked as a newcomer walks it, from an empty machine to a bounce that comes back: every command of the page is run as it stands there.

Two machines of namespaces, joined by a wire. `server` is this one's system without an MTA of ours: the package, certbot and unbound are installed in it, and
what systemd would do is done by harness/units.py. `world` has everybody else: the DNS, an authority that speaks ACME, a strict Postfix as everybody's mail
exchanger, and the application that sends. No other network can be reached.

Part of the matrix: `cargo xtask interop walk_production`, after `tests-interop/setup --matrix`. It needs root, for namespaces.
"""

import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import unittest

from harness import wait_for
from harness.overlay import Overlay, peers
from harness.postfix import Postfix

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/production.md"
SERVER, MX, NAMES, AUTHORITY, APPLICATION = "192.0.2.25", "192.0.2.10", "192.0.2.53", "192.0.2.80", "192.0.2.77"
YOU, FRIEND = "you@example.com", "you@gmail.com"

# How the page's blocks begin, in their order: a change of the page that this walk does not know of stops it, and test_harness.py before it.
BEGINS = [
    "apt install bind9-dnsutils",
    "cargo xtask deb\n",
    "apt install ./postrider",
    "apt install certbot",
    "(umask",
    "[relay]",
    "postrider --data /var/lib/postrider check",
    "systemctl stop",
    "postrider --data /var/lib/postrider send",
    "postrider --data /var/lib/postrider queue",
    "swaks",
    "postrider --data /var/lib/postrider backup",
]

# What the page has others set up: its own table comes on top.
ZONE = [
    "example.com. MX 10 mx.mailboxes.example.",
    f"mx.mailboxes.example. A {MX}",
    "gmail.com. MX 5 gmail-smtp-in.l.google.com.",
    f"gmail-smtp-in.l.google.com. A {MX}",
]

# Refuses whoever's address has no name that leads back, and whoever says a name in EHLO that does not exist.
STRICT = """
inet_interfaces = all
mynetworks = 127.0.0.0/8
smtpd_client_restrictions = reject_unknown_client_hostname
smtpd_helo_required = yes
smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname, reject_unknown_helo_hostname
"""

UNBOUND = """\
server:
    directory: "{base}"
    chroot: ""
    username: ""
    pidfile: "{base}/{name}.pid"
    logfile: "{base}/{name}.log"
    use-syslog: no
    interface: {address}
    do-ip6: no
    access-control: 0.0.0.0/0 allow
    module-config: "iterator"
"""


def blocks():
    """(kind, text) of every block of the page, in order; the page's table of records as lines of a zone."""
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+) (A|TXT)`[^|]*\| `?([^`|]+?)`? \|", text, re.M)
    records = [f'{name} {kind} "{value}"' if kind == "TXT" else f"{name} {kind} {value}" for name, kind, value in rows]
    back = re.search(r"^\| PTR of ([0-9.]+), [^|]*\| `(\S+)` \|", text, re.M)
    records.append(f"{'.'.join(reversed(back.group(1).split('.')))}.in-addr.arpa. PTR {back.group(2)}")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S), records


def unbound(machine, name, address, more):
    """An unbound in the machine, as the page's `apt install unbound` starts one there."""
    (machine.shared / f"{name}.conf").write_text(UNBOUND.format(base=machine.shared, name=name, address=address) + more)
    machine.start("unbound", "-d", "-c", machine.shared / f"{name}.conf")


class Production(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.page, cls.records = blocks()
        cls.addClassCleanup(lambda: [machine.stop() for machine in (getattr(cls, "server", None), getattr(cls, "world", None)) if machine])
        cls.server, cls.world = Overlay("server", network=True), Overlay("world", network=True)
        cls.wire()
        cls.everybody_else()
        cls.empty_server()

    @classmethod
    def wire(cls):
        """A cable between the two, which exists nowhere else."""
        cls.server.run("ip", "link", "set", "lo", "up")
        cls.world.run("ip", "link", "set", "lo", "up")
        # Made in the one, and its other end put into the other, whose number is known out here only.
        words = ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(cls.world.pid)]
        subprocess.run(["nsenter", f"--target={cls.server.pid}", "--net", *words], check=True)
        for machine, addresses in ((cls.server, [SERVER]), (cls.world, [MX, NAMES, AUTHORITY, APPLICATION])):
            machine.run("ip", "link", "set", "eth0", "up")
            for address in addresses:
                machine.run("ip", "address", "add", f"{address}/24", "dev", "eth0")

    @classmethod
    def everybody_else(cls):
        zone = [*ZONE, *cls.records, f"{'.'.join(reversed(MX.split('.')))}.in-addr.arpa. PTR gmail-smtp-in.l.google.com."]
        lines = "".join("    local-data: '" + record + "'\n" for record in zone)
        unbound(cls.world, "names", NAMES, '    local-zone: "." static\n' + lines)
        for machine in (cls.server, cls.world):
            resolver = machine.root / "etc/resolv.conf"
            machine.run("rm", "-f", "/etc/resolv.conf")
            resolver.write_text(f"nameserver {NAMES}\n")
        cls.mx = Postfix(["gmail.com", "example.com"], [YOU, FRIEND], hostname="gmail-smtp-in.l.google.com", more=STRICT, inside=cls.world).start()
        (cls.world.shared / "acme").mkdir()
        here = pathlib.Path(__file__).resolve().parent
        cls.world.start("/usr/bin/python3", here / "harness/acme.py", AUTHORITY, "80", cls.world.shared / "acme", NAMES)
        wait_for("the authority", lambda: cls.world.run("dig", "+short", "-x", MX, check=False).stdout and (cls.world.shared / "acme/ca.pem").exists())

    @classmethod
    def empty_server(cls):
        """Debian as it comes, and what the page's `apt install` would fetch from the net."""
        # A list of its own: whoever installs something on this machine meanwhile would pull it away from under the overlay.
        cls.server.run("sh", "-c", "cp -a /var/lib/dpkg /run/dpkg && mount --bind /run/dpkg /var/lib/dpkg")
        cls.server.run("sh", "-c", f"dpkg -i {peers()}/packages/*certbot*.deb {peers()}/packages/python3-*.deb", env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        (cls.server.root / "etc/apt/apt.conf.d/99yes").write_text('APT::Get::Assume-Yes "true";\n')
        # Where the authority is: the page's reader has the one that certbot knows, and is asked for the rest.
        (cls.server.root / "etc/letsencrypt").mkdir(exist_ok=True)
        (cls.server.root / "etc/letsencrypt/cli.ini").write_text(
            f"server = http://{AUTHORITY}:80/directory\nagree-tos = true\nregister-unsafely-without-email = true\nnon-interactive = true\n"
        )
        forward = f"forward-zone:\n    name: \".\"\n    forward-addr: {NAMES}\n"
        unbound(cls.server, "resolver", "127.0.0.1", '    do-not-query-localhost: no\n' + forward)
        (cls.server.root / "srv/new").mkdir(parents=True)
        cls.server.run("cp", os.environ["POSTRIDER_DEB"], "/srv/new/")
        here = pathlib.Path(__file__).resolve().parent
        cls.server.start("/usr/bin/python3", here / "harness/units.py", "manage")
        wait_for("systemctl", lambda: (cls.server.root / "run/units").exists())

    def sh(self, text, machine=None, check=True):
        """A block, as it would be typed; each of its commands has to succeed."""
        machine = machine or self.server
        done = machine.run("sh", "-ec", f"exec 2>&1; cd {'/srv/new' if machine is self.server else '/srv'}\n{text}", check=False, timeout=180)
        said = done.stdout.decode(errors="replace")
        if check:
            self.assertEqual(done.returncode, 0, f"{text}\n{said}\nThe journal:\n{self.journal()[-3000:]}")
        return said

    def journal(self):
        place = self.server.root / "run/journal"
        return place.read_text(errors="replace") if place.exists() else ""

    def next(self):
        """The page's next block."""
        _, text = self.page[self.at]
        self.assertTrue(text.startswith(BEGINS[self.at]), f"the page goes on with:\n{text}")
        self.at += 1
        return text

    def setUp(self):
        self.at = 0

    def test_the_page_from_its_first_command_to_its_last(self):
        self.names()
        self.install()
        self.certificate()
        self.configuration()
        self.sockets()
        self.first_mail()
        self.application()
        self.a_bounce_comes_back()
        self.firewall()
        self.sh(self.next())
        self.a_renewed_certificate_is_noticed()
        self.a_message_that_waits_is_explained()
        self.assertEqual(self.at, len(self.page), "all of the page was run")

    def names(self):
        said = self.sh(self.next())
        self.assertTrue(said.endswith(f"{SERVER}\nmail.example.com.\n"), said)

    def install(self):
        # What POSTRIDER_DEB is.
        self.next()
        self.sh(self.next())
        self.assertFalse((self.server.root / "usr/sbin/postconf").exists(), "the machine's MTA was replaced")
        self.assertEqual(os.readlink(self.server.root / "usr/sbin/sendmail"), "../bin/postrider")
        # The package's script starts it where systemd runs.
        self.sh("systemctl start postrider && postrider --data /var/lib/postrider status")
        self.assertFalse(self.reaches(587), "only the machine itself is listened to")

    def certificate(self):
        self.sh(self.next())
        facts = self.sh("stat -c '%U %a' /etc/postrider/tls/key.pem /etc/postrider/tls/certificate.pem")
        self.assertEqual(facts, "postrider 600\npostrider 600\n")

    def configuration(self):
        self.digest = self.sh(self.next()).split()[0]
        self.secret = self.sh("cat app.secret").strip()
        file = self.server.root / "etc/postrider/postrider.toml"
        file.write_text(self.next().replace("...", self.digest))
        said = self.sh(self.next())
        self.assertIn("port 25        open: gmail-smtp-in.l.google.com", said)
        self.assertNotIn("WRONG", said)

    def sockets(self):
        text = self.next()
        early = self.sh(text.splitlines()[1], check=False)
        self.assertIn("already active", early, "the control: in another order systemd refuses")
        self.sh(text)
        refused, ended = [], threading.Event()

        def clients():
            while not ended.is_set():
                if not self.reaches(587):
                    refused.append(time.monotonic())

        thread = threading.Thread(target=clients)
        thread.start()
        self.sh("systemctl restart postrider")
        ended.set()
        thread.join()
        self.assertEqual(refused, [], "no client was refused during the restart")

    def reaches(self, port):
        """Whether the world can connect."""
        words = ["/usr/bin/python3", "-c", f"import socket; socket.create_connection(('mail.example.com', {port}), 5)"]
        return self.world.run(*words, check=False).returncode == 0

    def first_mail(self):
        self.first, journal = self.next().splitlines()
        self.explain = self.next()
        message = self.message(self.sh(self.first))
        (mail,) = self.mx.wait_for_mail(FRIEND)
        self.assertRegex(mail, rb"Received: from mail\.example\.com \(mail\.example\.com \[192\.0\.2\.25\]\)\s+\(using TLSv1\.3")
        wait_for("the log's word", lambda: f'"delivered","id":"{message}/0"' in self.sh(journal))
        spf = self.sh("dig +short TXT example.com; dig +short A mail.example.com", self.world)
        self.assertIn("a:mail.example.com", spf)
        self.assertIn(SERVER, spf)

    @staticmethod
    def message(said):
        return re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", said).group()

    def a_message_that_waits_is_explained(self):
        self.mx.command("stop")
        message = self.message(self.sh(self.first))
        wait_for("a deferral", lambda: f'"deferred","id":"{message}' in self.journal())
        said = self.sh(self.explain.replace("ID", message))
        self.assertIn("refused", said)
        self.assertIn(FRIEND, said)

    def application(self):
        self.command = self.next()
        (self.world.root / "srv/app.secret").write_text(self.secret)
        # The authority of the tests is not among those that the application's machine knows.
        self.command = self.command.replace("--tls-verify", f"--tls-verify --tls-ca-path {self.world.shared}/acme/ca.pem")
        self.sh(self.command, self.world)
        mail = self.mx.wait_for_mail(FRIEND, 2)
        sent = next(one for one in mail if b"swaks" in one)
        self.assertRegex(sent, rb"with ESMTPSA id|by mail\.example\.com[\s\S]*ESMTPSA")
        wrong = self.sh(self.command.replace("$(cat app.secret)", "guessed"), self.world, check=False)
        self.assertIn("535 5.7.8", wrong)

    def a_bounce_comes_back(self):
        self.sh(self.command.replace(FRIEND, "nobody@gmail.com"), self.world)
        (report,) = self.mx.wait_for_mail(YOU)
        self.assertIn(b"Return-Path: <>", report)
        self.assertIn(b"Final-Recipient: rfc822; nobody@gmail.com", report)

    def firewall(self):
        open_here = {port: self.reaches(port) for port in (25, 465, 587, 9150)}
        self.assertEqual(open_here, {25: False, 465: True, 587: True, 9150: False})
        self.assertIn("postrider_", self.sh("python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:9150/metrics').read().decode())\""))

    def serial(self):
        words = "echo QUIT | openssl s_client -connect mail.example.com:465 2>/dev/null | openssl x509 -noout -serial"
        return self.sh(words, self.world)

    def a_renewed_certificate_is_noticed(self):
        before = self.serial()
        self.sh("certbot renew --force-renewal --no-random-sleep-on-renew")
        wait_for("the renewed certificate", lambda: self.serial() != before, 60)


if __name__ == "__main__":
    unittest.main()
