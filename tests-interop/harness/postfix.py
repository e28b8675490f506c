"""A private Postfix: own configuration, queue and data directories, loopback only; never the system's.

Mail for `domains` ends in Maildirs, one for each of `users`; other recipients of these domains are refused ("User unknown"). With `relay`
(port, user, password) everything else goes to that relay under TLS with SASL, as a business's Postfix with a smart host does.
"""

import os
import pwd
import shutil
import subprocess

from . import Folder, Mailboxes, answers, free_port, read_maildir, wait_for

MASTER = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

MAIN = """\
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
maillog_file = {base}/maillog
maillog_file_prefixes = {base}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = {hostname}
mydestination =
local_recipient_maps =
alias_maps =
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {base}/mail
virtual_mailbox_maps = texthash:{base}/etc/users
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 100000000
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
smtpd_tls_security_level = may
smtpd_tls_cert_file = {base}/etc/cert.pem
smtpd_tls_key_file = {base}/etc/key.pem
smtpd_tls_received_header = yes
"""

RELAY = """\
relayhost = [127.0.0.1]:{port}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{base}/etc/passwords
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = {tls}
smtp_tls_wrappermode = {wrapped}
minimal_backoff_time = 5s
maximal_backoff_time = 10s
queue_run_delay = 5s
"""


def certificate(folder, name):
    """A self-signed certificate, `cert.pem` and `key.pem` in `folder`."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out", f"{folder}/cert.pem", "-keyout", f"{folder}/key.pem"]
    subprocess.run(command, check=True, capture_output=True)


def certified(folder, name):
    """An authority and a certificate of its own for `name`: `ca.pem`, `cert.pem` and `key.pem` in `folder`."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=authority of the tests", "-out", "ca.pem", "-keyout", "ca.key")
    openssl("req", *key, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out", "cert.csr", "-keyout", "key.pem")
    more = ["-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy"]
    openssl("x509", "-req", "-in", "cert.csr", *more, "-out", "cert.pem")


class Postfix(Mailboxes):
    NAME = "Postfix"

    def __init__(self, domains=("mail.test",), users=(), relay=None, hostname="mx.mail.test", more="", inside=None):
        """With `inside`, it runs in that overlay, on port 25."""
        self.inside = inside
        self.folder = None if inside else Folder("postfix")
        self.base = inside.shared if inside else self.folder.path
        self.port = 25 if inside else free_port()
        nobody = pwd.getpwnam("nobody")
        for name in ("etc", "queue", "data", "mail"):
            (self.base / name).mkdir(mode=0o755)
        shutil.chown(self.base / "data", "postfix")
        os.chown(self.base / "mail", nobody.pw_uid, nobody.pw_gid)
        certificate(self.base / "etc", hostname)
        words = {"base": self.base, "hostname": hostname, "domains": ", ".join(domains), "uid": nobody.pw_uid, "gid": nobody.pw_gid}
        main = MAIN.format(**words)
        if relay:
            port, user, password = relay[:3]
            wrapped = "yes" if "implicit" in relay[3:] else "no"
            main += RELAY.format(base=self.base, port=port, tls="encrypt", wrapped=wrapped)
            (self.base / "etc/passwords").write_text(f"[127.0.0.1]:{port} {user}:{password}\n")
        (self.base / "etc/main.cf").write_text(main + more)
        (self.base / "etc/master.cf").write_text(MASTER.format(port=self.port))
        (self.base / "etc/users").write_text("".join(f"{user} {user}/\n" for user in users))

    def command(self, verb):
        enter = self.inside.enter if self.inside else []
        return subprocess.run([*enter, "postfix", "-c", str(self.base / "etc"), verb], capture_output=True, text=True)

    def is_up(self):
        return "daemon started" in self.log() if self.inside else answers(self.port)

    def start(self):
        # Debian keeps extra map types and the file list beside main.cf.
        for name in ("postfix-files", "dynamicmaps.cf"):
            if os.path.exists(f"/etc/postfix/{name}"):
                shutil.copy(f"/etc/postfix/{name}", self.base / "etc" / name)
        started = self.command("start")
        try:
            wait_for("Postfix's greeting", self.is_up, 20)
        except AssertionError as trouble:
            raise AssertionError(f"{trouble}\n{started.stderr}\n{self.log()}") from trouble
        return self

    @staticmethod
    def version():
        return subprocess.run(["postconf", "-h", "mail_version"], capture_output=True, text=True, check=True).stdout.strip()

    def stop(self):
        self.command("stop")
        pid = self.base / "queue/pid/master.pid"
        # In an overlay the number is another process's here.
        if not self.inside:
            wait_for("Postfix's end", lambda: not pid.exists() or not alive(pid), 20)
            self.folder.remove()

    def log(self):
        log = self.base / "maillog"
        return log.read_text(errors="replace") if log.exists() else "(no maillog)"

    def mailbox(self, user):
        """The messages of a user, as octets, in no order."""
        return read_maildir(self.base / "mail" / user)


def alive(pid_file):
    try:
        os.kill(int(pid_file.read_text()), 0)
        return True
    except (OSError, ValueError):
        return False
