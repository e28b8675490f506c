"""From an empty machine to mail that is trusted, by the printed steps alone: what the relay's commands say is done as it stands, and nothing else.

Two machines of namespaces, joined by a wire. `server` is the newcomer's: an empty directory and the program. `world` has everybody else: the DNS, a strict Postfix
with OpenDKIM and OpenDMARC that verify, SpamAssassin and rspamd with Debian's rules, and a stranger. No other network can be reached.

By command: `cargo xtask interop walk_trust`, after `tests-interop/setup --matrix`. It needs root, for namespaces.
"""

import email
import os
import pathlib
import re
import subprocess
import unittest

from harness import wait_for
from harness.overlay import Overlay
from harness.postfix import Postfix

# Those for documentation and private ones would be held against the mail (RCVD_ILLEGAL_IP), and are told apart by the relay. Nothing leaves the namespaces.
SERVER, MX, NAMES, STRANGER = "11.0.2.25", "11.0.2.10", "11.0.2.53", "11.0.2.77"
HOST, FRIEND, BRAND, POSTMASTER = "mail.brand.example", "friend@inbox.example", "brand.example", "postmaster@brand.example"

# Everybody's names, and those of a machine that may send mail, whatever its relay is: A, PTR, the domain's MX. The rest is printed.
ZONE = f"""\
$TTL 300
. IN SOA names.inbox.example. root.inbox.example. ({{serial}} 60 60 600 1)
. IN NS names.inbox.example.
names.inbox.example. IN A {NAMES}
{HOST}. IN A {SERVER}
25.2.0.11.in-addr.arpa. IN PTR {HOST}.
brand.example. IN MX 10 mx.inbox.example.
inbox.example. IN MX 10 mx.inbox.example.
mx.inbox.example. IN A {MX}
10.2.0.11.in-addr.arpa. IN PTR mx.inbox.example.
host.elsewhere.example. IN A {STRANGER}
77.2.0.11.in-addr.arpa. IN PTR host.elsewhere.example.
"""

UNBOUND = """\
server:
    directory: "{base}"
    chroot: ""
    username: ""
    pidfile: "{base}/names.pid"
    logfile: "{base}/names.log"
    use-syslog: no
    interface: {address}
    do-ip6: no
    access-control: 0.0.0.0/0 allow
    num-threads: 1
    module-config: "iterator"
remote-control:
    control-enable: yes
    control-interface: "{base}/names.control"
    control-use-cert: no
auth-zone:
    name: "."
    zonefile: "{base}/root.zone"
    for-downstream: yes
    for-upstream: yes
    fallback-enabled: no
"""

# Refuses whoever's address has no name that leads back, and whoever says a name in EHLO that does not exist.
STRICT = f"""
inet_interfaces = {MX}
mynetworks = 127.0.0.0/8
smtpd_client_restrictions = reject_unknown_client_hostname
smtpd_helo_required = yes
smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname, reject_unknown_helo_hostname
smtpd_sender_restrictions = reject_unknown_sender_domain
smtpd_milters = inet:127.0.0.1:8891, inet:127.0.0.1:8893
milter_default_action = tempfail
"""

OPENDKIM = f"""\
Background no
Syslog no
Mode v
Socket inet:8891@127.0.0.1
UserID root
AuthservID mx.inbox.example
Nameservers {NAMES}
"""

OPENDMARC = """\
Background false
Syslog false
Socket inet:8893@127.0.0.1
UserID root
AuthservID mx.inbox.example
TrustedAuthservIDs mx.inbox.example
PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat
SPFIgnoreResults true
SPFSelfValidate true
RejectFailures false
"""

# Its rules are those of the package, and its questions go to the DNS of here: it does not take OpenDMARC's word for SPF.
SPAMASSASSIN = f"""\
dns_available yes
dns_server {NAMES}
internal_networks {MX}
trusted_networks {MX}
ignore_received_spf_header 1
use_bayes 0
"""

RSPAMD = {
    "options.inc": f'dns {{ nameserver = ["{NAMES}"]; timeout = 1s; retransmits = 1; }}\nlocal_addrs = [];\n',
    "logging.inc": 'type = "file"; filename = "{base}/rspamd.log";\n',
    "worker-normal.inc": 'bind_socket = "127.0.0.1:11333"; count = 1;\n',
    "worker-proxy.inc": "enabled = false;\n",
    "worker-controller.inc": "enabled = false;\n",
    "fuzzy_check.conf": "enabled = false;\n",
}

KEY = re.compile(r"^user +(\S+)\nsecret +(\S+)$", re.M)

# As a shop would write it: words and a page that say the same.
MAIL = """\
From: Brand Shop <orders@brand.example>
To: {to}
Subject: {subject}
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="frontier"

--frontier
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

{text}

--frontier
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: 7bit

<!DOCTYPE html>
<html lang="en"><head><title>{subject}</title></head>
<body>
<p>{text}</p>
</body></html>

--frontier--
"""

ORDER = "Hello Pat, thank you for your order 1042. The two chairs and the table leave our house on Thursday, and should reach you by Saturday."
NEWS = "Hello Pat, these are the news of October: the workshop in the old mill is open again, and the autumn catalogue is at the print shop."

LATE = """\
From: Mail Delivery System <MAILER-DAEMON@mx.inbox.example>
Subject: Undelivered mail
Auto-Submitted: auto-replied

The mailbox is full.
"""


class Trust(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(lambda: [machine.stop() for machine in (getattr(cls, "server", None), getattr(cls, "world", None)) if machine])
        cls.server, cls.world = Overlay("server", network=True, host_name=HOST), Overlay("world", network=True, host_name="mx.inbox.example")
        cls.wire()
        cls.everybody_else()
        cls.empty_server()

    @classmethod
    def wire(cls):
        """A cable between the two, which exists nowhere else."""
        for machine in (cls.server, cls.world):
            machine.run("ip", "link", "set", "lo", "up")
        words = ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(cls.world.pid)]
        subprocess.run(["nsenter", f"--target={cls.server.pid}", "--net", *words], check=True)
        for machine, addresses in ((cls.server, [SERVER]), (cls.world, [MX, NAMES, STRANGER])):
            machine.run("ip", "link", "set", "eth0", "up")
            for address in addresses:
                machine.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            machine.run("rm", "-f", "/etc/resolv.conf")
            (machine.root / "etc/resolv.conf").write_text(f"nameserver {NAMES}\n")

    @classmethod
    def everybody_else(cls):
        world, base = cls.world, cls.world.shared
        cls.serial = 0
        cls.zone("")
        (base / "names.conf").write_text(UNBOUND.format(base=base, address=NAMES))
        world.start("unbound", "-d", "-c", base / "names.conf")
        wait_for("the DNS", lambda: b"NOERROR" in world.run("dig", "A", HOST, check=False).stdout)
        for name, text in (("opendkim", OPENDKIM), ("opendmarc", OPENDMARC)):
            (base / f"{name}.conf").write_text(text)
        world.start("opendkim", "-f", "-x", base / "opendkim.conf", log="opendkim.log")
        world.start("opendmarc", "-f", "-c", base / "opendmarc.conf", log="opendmarc.log")
        for port in (8891, 8893):
            wait_for(f"the milter at {port}", lambda port=port: cls.dials(world, "127.0.0.1", port))
        cls.mx = Postfix(["inbox.example", BRAND], [FRIEND, POSTMASTER], hostname="mx.inbox.example", more=STRICT, inside=world).start()
        with open(world.root / "etc/spamassassin/local.cf", "a") as file:
            file.write(SPAMASSASSIN)
        for name, text in RSPAMD.items():
            (world.root / "etc/rspamd/local.d" / name).write_text(text.replace("{base}", str(base)))
        base.chmod(0o777)
        world.start("rspamd", "-f", "-i", "-c", "/etc/rspamd/rspamd.conf", log="rspamd.out")

    @classmethod
    def empty_server(cls):
        binary = pathlib.Path(os.environ.get("POSTRIDER_BIN", "../target/debug/postrider")).resolve()
        cls.server.run("cp", binary, "/usr/local/bin/postrider")
        cls.server.run("mkdir", "/srv/relay")

    @staticmethod
    def dials(machine, address, port):
        words = ["/usr/bin/python3", "-c", f"import socket; socket.create_connection(('{address}', {port}), 5)"]
        return machine.run(*words, check=False).returncode == 0

    @classmethod
    def zone(cls, published):
        """The zone with what was told to be published, as it was told."""
        cls.serial += 1
        (cls.world.shared / "root.zone").write_text(ZONE.format(serial=cls.serial) + published)

    def publish(self, lines):
        self.zone(lines)
        said = self.world.run("unbound-control", "-c", self.world.shared / "names.conf", "auth_zone_reload", ".").stdout
        self.assertEqual(said, b"ok\n")

    def sh(self, text, machine=None, status=0):
        """A line, as it would be typed."""
        machine = machine or self.server
        done = machine.run("sh", "-c", f"exec 2>&1; cd {'/srv/relay' if machine is self.server else '/srv'}\n{text}", check=False, timeout=120)
        said = done.stdout.decode(errors="replace")
        if status is not None:
            self.assertEqual(done.returncode, status, f"{text}\n{said}\nThe relay says:\n{self.log()[-3000:]}")
        if os.environ.get("SHOW"):
            print(f"$ {text}\n{said}", flush=True)
        return said

    def serve(self):
        began = len(self.log())
        self.relay = self.server.start("sh", "-c", "cd /srv/relay && echo $$ >/run/relay && exec postrider serve", log="relay")
        wait_for("the word that it is ready", lambda: '"ready"' in self.log()[began:])

    def log(self):
        place = self.server.shared / "relay"
        return place.read_text(errors="replace") if place.exists() else ""

    def test_from_an_empty_machine_to_mail_that_is_trusted(self):
        self.first_start()
        self.domain()
        self.key = KEY.search(self.sh("postrider key add --tenant shop")).groups()
        self.not_before_it_is_proven()
        self.proven()
        self.transactional()
        self.what_bulk_needs()
        self.bulk()
        self.one_click()
        self.a_late_failure_comes_back()
        self.a_stranger_is_not_trusted()

    def first_start(self):
        self.serve()
        said = self.log()
        self.assertIn(f"as {HOST}", said)
        # Its user, secret, from and to are the only words of the line that change.
        (self.swaks,) = [line.strip() for line in said.splitlines() if line.startswith("  swaks ")]
        self.assertIn("tenant shop added", self.sh("postrider tenant add shop"))

    def domain(self):
        self.records = self.sh(f"postrider domain add {BRAND} --tenant shop --zone")
        before = self.sh(f"postrider domain check {BRAND}", status=1)
        self.assertIn("MISSING   Ownership", before)

    def send(self, key, subject, text, status=0):
        """The line that the first start printed, with our words in it; a secret may begin with what looks like an option."""
        user, secret = key
        (self.server.root / "srv/relay/mail").write_text(MAIL.format(to=FRIEND, subject=subject, text=text))
        line = re.sub(r"--auth-user \S+ --auth-password \S+ --from \S+ --to \S+", "", self.swaks)
        words = f"--auth-user {user} --auth-password={secret} --from orders@{BRAND} --to {FRIEND} --data @mail"
        return self.sh(f"{line} {words}", status=status)

    def not_before_it_is_proven(self):
        said = self.send(self.key, "Too early", ORDER, status=None)
        refused = re.search(r"^<\S*\s+(550 5\.7\.1 .*)", said, re.M)
        self.assertTrue(refused, said)
        self.assertRegex(refused.group(1), rf"postrider domain check {BRAND}|_postrider\.{BRAND}")

    def proven(self):
        self.publish(self.records)
        self.assertIn("All is well.", self.sh(f"postrider domain check {BRAND}"))

    def arrival(self, subject):
        (mail,) = self.mx.wait_for_mail(FRIEND, matching=f"Subject: {subject}".encode())
        return mail

    def results(self, mail):
        fields = email.message_from_bytes(mail).get_all("Authentication-Results") or []
        return " ".join(" ".join(field.split()) for field in fields if field.strip().startswith("mx.inbox.example"))

    def check(self, mail):
        said = self.results(mail)
        for word in ("spf=pass", "dkim=pass", "dmarc=pass"):
            self.assertIn(word, said, mail.decode(errors="replace"))
        self.assertLessEqual(self.spamassassin(mail), 0.5)
        self.assertLessEqual(self.rspamd(mail), 1.0)

    def ask_spamassassin(self, mail):
        done = self.world.run("spamassassin", "-t", input=mail, timeout=180)
        return " ".join(email.message_from_bytes(done.stdout)["X-Spam-Status"].split())

    def spamassassin(self, mail):
        status = self.ask_spamassassin(mail)
        print(f"SpamAssassin: {status}", flush=True)
        for test in ("SPF_PASS", "DKIM_VALID_AU"):
            self.assertIn(test, status, "it asked the DNS")
        return float(re.search(r"score=(-?[\d.]+)", status).group(1))

    def ask_rspamd(self, mail, reverse_path, address, name):
        words = ["rspamc", "-h", "127.0.0.1:11333", "--ip", address, "--hostname", name, "--helo", name, "--from", reverse_path, "--rcpt", FRIEND]
        return self.world.run(*words, "symbols", input=mail, timeout=60).stdout.decode()

    def rspamd(self, mail):
        said = self.ask_rspamd(mail, email.message_from_bytes(mail)["Return-Path"].strip("<>"), SERVER, HOST)
        print(f"rspamd: {' '.join(said.split())}", flush=True)
        for symbol in ("R_SPF_ALLOW", "R_DKIM_ALLOW", "DMARC_POLICY_ALLOW"):
            self.assertIn(symbol, said, "it asked the DNS")
        return float(re.search(r"^Score: (-?[\d.]+)", said, re.M).group(1))

    def transactional(self):
        self.send(self.key, "Your order 1042", ORDER)
        mail = self.arrival("Your order 1042")
        self.assertRegex(mail, rb"Received: from mail\.brand\.example \(mail\.brand\.example \[11\.0\.2\.25\]\)\s+\(using TLSv1\.3")
        self.assertRegex(mail, rb"^Return-Path: <b-\S+@bounce\.brand\.example>")
        self.check(mail)

    def what_bulk_needs(self):
        """A key for bulk mail and a look at the domain say what is not set up; docs/preparing.md says how."""
        said = self.sh("postrider key add --tenant shop --stream bulk")
        self.assertIn("[web] public_url", said)
        self.bulk_key = KEY.search(said).groups()
        said = self.sh(f"postrider domain check {BRAND}")
        self.assertRegex(said, r"Return path, MX .*\n +- +no relay listener")
        self.assertFalse(self.dials(self.world, SERVER, 25), "nobody listens to failures yet")
        file = self.server.root / "srv/relay/data/postrider.toml"
        text = file.read_text().replace("\n[web]\n", f'\n[web]\nlisten = "0.0.0.0:443"\npublic_url = "https://{HOST}"\n')
        file.write_text(text.replace('"127.0.0.1:2525"', '"0.0.0.0:25"'))
        # [web] is read at the start only. Its number in there: what was started out here is nsenter.
        self.sh("kill $(cat /run/relay)")
        self.relay.wait(40)
        self.serve()
        self.assertNotIn("no relay listener", self.sh(f"postrider domain check {BRAND}"))

    def bulk(self):
        self.send(self.bulk_key, "News of October", NEWS)
        self.news = self.arrival("News of October")
        self.check(self.news)

    def one_click(self):
        fields = email.message_from_bytes(self.news)
        self.assertEqual(fields["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click")
        self.assertRegex(fields["Feedback-ID"], "^bulk:shop:bulk:")
        link = re.match(rf"<(https://{HOST}/u/[^>]+)>", fields["List-Unsubscribe"].strip()).group(1)
        signed = re.search(r"\bh=([^;]+);", fields["DKIM-Signature"]).group(1).lower()
        self.assertIn("list-unsubscribe-post", signed)
        # The certificate is the first start's own.
        said = self.world.run("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-d", "List-Unsubscribe=One-Click", link).stdout
        self.assertEqual(said, b"200")
        self.assertIn(FRIEND, self.sh("postrider suppression list --tenant shop --stream bulk"))

    def a_late_failure_comes_back(self):
        """What a server tells after it took the mail, to the return path: the message is done, so it is the domain's postmaster who hears of it."""
        reverse_path = email.message_from_bytes(self.news)["Return-Path"].strip("<>")
        (self.world.shared / "late").write_text(LATE)
        words = f"swaks --local-interface {MX} --server {HOST} --helo mx.inbox.example --from '<>' --data @{self.world.shared}/late"
        self.sh(f"{words} --to {reverse_path}", self.world)
        (mail,) = self.mx.wait_for_mail(POSTMASTER)
        self.assertIn(b"The mailbox is full.", mail)
        self.assertIn("550 5.1.1", self.sh(f"{words} --to b-guessed@bounce.{BRAND}", self.world, status=None))

    def a_stranger_is_not_trusted(self):
        (self.world.shared / "forged").write_text(MAIL.format(to=FRIEND, subject="Not ours", text=ORDER))
        words = f"swaks --local-interface {STRANGER} --server mx.inbox.example --helo host.elsewhere.example --from orders@{BRAND} --to {FRIEND}"
        self.sh(f"{words} --data @{self.world.shared}/forged", self.world)
        mail = self.arrival("Not ours")
        said = self.results(mail)
        self.assertIn("dmarc=fail", said)
        self.assertNotIn("=pass", said)
        # The control of the scores: the same words from elsewhere are held to be worse.
        judged = self.ask_rspamd(mail, f"orders@{BRAND}", STRANGER, "host.elsewhere.example")
        self.assertIn("DMARC_POLICY_SOFTFAIL", judged)
        self.assertIn("SPF_SOFTFAIL", self.ask_spamassassin(mail))


if __name__ == "__main__":
    unittest.main()
