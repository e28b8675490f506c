"""A private OpenSMTPD from Debian's package, over this machine's files (see overlay.py): mail for users of `domains` ends in Maildirs."""

import os

from . import Mailboxes, free_port, greets, read_maildir, wait_for
from .overlay import Overlay
from .postfix import certificate

# Its users in there, and the one that owns the mailboxes.
USERS = {"opensmtpd": 64993, "opensmtpq": 64994, "vmail": 64995}

CONFIG = """\
pki mx.mail.test cert "{base}/cert.pem"
pki mx.mail.test key "{base}/key.pem"
table users file:{base}/users
table owners file:{base}/owners
smtp max-message-size {size}
smtp limit max-rcpt {recipients}
{later}
listen on 127.0.0.1 port {port} tls pki mx.mail.test hostname mx.mail.test {filters}
action "in" maildir "{base}/mail/%{{dest.user}}" userbase <owners>
match from any for domain {{ {domains} }} action "in"
match from any reject
"""

LATER = 'filter later phase rcpt-to match rcpt-to { later@mail.test } reject "451 4.7.1 come back later"'


class OpenSmtpd(Mailboxes):
    NAME = "OpenSMTPD"
    # Version 6.8 with OpenSSL 3, as Debian 12 has them: https://github.com/OpenSMTPD/OpenSMTPD/issues/1171
    TLS_FAILS = "SSL_accept"

    def __init__(self, users=(), domains=("mail.test",), size=20_000_000, recipients=100):
        self.overlay = Overlay("opensmtpd").unpack("opensmtpd")
        for name, number in USERS.items():
            self.overlay.user(name, number)
        # As its package's script does.
        self.overlay.run("chgrp", "opensmtpq", "/usr/sbin/smtpctl")
        self.overlay.run("chmod", "2755", "/usr/sbin/smtpctl")
        self.base = self.overlay.shared
        self.port = free_port()
        names = sorted({user.split("@")[0] for user in users})
        self.boxes = {f"{name}@{domain}": name for name in names for domain in domains}
        (self.base / "mail").mkdir()
        os.chown(self.base / "mail", USERS["vmail"], USERS["vmail"])
        certificate(self.base, "mx.mail.test")
        (self.base / "key.pem").chmod(0o600)
        (self.base / "owners").write_text("".join(f"{name} {USERS['vmail']}:{USERS['vmail']}:/nonexistent\n" for name in names))
        (self.base / "users").write_text("".join(f"{name}\n" for name in names))
        self.words = {"base": self.base, "port": self.port, "size": size, "recipients": recipients, "domains": ", ".join(domains)}
        self.process = None

    def start(self, later=LATER):
        words = {**self.words, "later": later, "filters": "filter later" if later else ""}
        (self.base / "smtpd.conf").write_text(CONFIG.format(**words))
        self.process = self.overlay.start("/usr/sbin/smtpd", "-dv", "-f", self.base / "smtpd.conf")

        def ready():
            assert self.process.poll() is None, f"OpenSMTPD ended by itself:\n{self.log()}"
            return greets(self.port)

        try:
            wait_for("OpenSMTPD's greeting", ready, 20)
        except AssertionError:
            self.stop()
            raise
        return self

    def version(self):
        return self.overlay.run("/usr/sbin/smtpd", "-h", check=False, text=True).stderr.split("OpenSMTPD ")[1].split()[0]

    def let_in(self):
        """From now on the user `later` gets mail. It cannot be told while it runs, and what it was delivering when it ended comes twice."""
        wait_for("OpenSMTPD's empty queue", lambda: not self.overlay.run("/usr/sbin/smtpctl", "show", "queue").stdout)
        self.overlay.run("sh", "-c", "kill $(pgrep -o -x smtpd)")
        wait_for("OpenSMTPD's end", lambda: self.process.poll() is not None)
        self.start(later="")

    def mailbox(self, user):
        return read_maildir(self.base / "mail" / self.boxes[user])

    def log(self):
        log = self.base / "log"
        return log.read_text(errors="replace") if log.exists() else "(no log)"

    def stop(self):
        self.overlay.stop()
