"""A private Dovecot: LMTP on a socket and on a port, Maildirs, and SASL for a Postfix; own configuration, loopback only; never the system's.

Users have the password `PASSWORD`. The mailbox of a user in `full` takes no mail; Dovecot calls that a transient failure, as it can be told to.
"""

import os
import pwd
import signal
import smtplib
import subprocess

from . import LOOPBACK, Folder, Mailboxes, free_port, wait_for

PASSWORD = "sasl-of-the-smart-host"

CONFIG = """\
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
protocols = lmtp
listen = 127.0.0.1
ssl = no
default_internal_user = {nobody}
default_login_user = {nobody}
first_valid_uid = 1
mail_location = {location}
auth_mechanisms = plain login
disable_plaintext_auth = no
recipient_delimiter = +
auth_username_format = %Lu
quota_full_tempfail = yes
mail_plugins = quota
plugin {{
  quota = maildir:User quota
}}
passdb {{
  driver = passwd-file
  args = username_format=%Lu {base}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%Lu {base}/users
}}
service auth {{
  unix_listener {base}/auth {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener {base}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


class Dovecot(Mailboxes):
    def __init__(self, users, full=(), location=None):
        self.folder = Folder("dovecot")
        self.base = self.folder.path
        self.port, self.socket, self.auth = free_port(), self.base / "lmtp", self.base / "auth"
        nobody = pwd.getpwnam("nobody")
        for name in ("run", "state", "mail"):
            (self.base / name).mkdir(mode=0o755)
        os.chown(self.base / "mail", nobody.pw_uid, nobody.pw_gid)
        location = location or f"maildir:{self.base}/mail/%Lu"
        words = {"base": self.base, "port": self.port, "nobody": "nobody", "location": location}
        (self.base / "conf").write_text(CONFIG.format(**words))
        rules = {user: "userdb_quota_rule=*:storage=1B" for user in full}
        line = "{}:{{PLAIN}}{}:{}:{}::{}/mail/{}::{}\n"
        lines = [line.format(u, PASSWORD, nobody.pw_uid, nobody.pw_gid, self.base, u, rules.get(u, "")) for u in [*users, *full]]
        (self.base / "users").write_text("".join(lines))
        self.process = None

    def start(self):
        self.process = subprocess.Popen(["dovecot", "-F", "-c", self.base / "conf"], stderr=subprocess.PIPE)
        try:
            wait_for("Dovecot's sockets", lambda: self.socket.exists() and self.auth.exists() and self.answers(), 20)
        except AssertionError as trouble:
            self.stop()
            raise AssertionError(f"{trouble}\n{self.log()}") from trouble
        return self

    def answers(self):
        try:
            smtplib.LMTP(LOOPBACK, self.port, timeout=1).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.process.stderr.close()
        self.folder.remove()

    @staticmethod
    def version():
        return subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True).stdout.split()[0]

    def log(self):
        log = self.base / "log"
        return log.read_text(errors="replace") if log.exists() else "(no log)"

    def doveadm(self, *words):
        done = subprocess.run(["doveadm", "-c", self.base / "conf", *words], capture_output=True)
        assert done.returncode == 0, done.stderr.decode(errors="replace") + self.log()
        return done.stdout

    def mailbox(self, user):
        """The messages of a user as Dovecot reads them, as octets."""
        fetched = self.doveadm("-f", "flow", "fetch", "-u", user, "uid", "mailbox", "INBOX")
        uids = [word.split(b"=")[1].decode() for word in fetched.split() if word.startswith(b"uid=")]
        return [self.doveadm("-f", "pager", "fetch", "-u", user, "text", "mailbox", "INBOX", "uid", uid) for uid in uids]
