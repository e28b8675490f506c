"""A private Exim from Debian's package, over this machine's files (see overlay.py): mail for users of `domains` ends in Maildirs."""

import os

from . import Mailboxes, free_port, greets, read_maildir, wait_for
from .overlay import Overlay
from .postfix import certificate

# Its name and number in there; Exim's package wants this name.
USER, NUMBER = "Debian-exim", 64991

CONFIG = """\
primary_hostname = mx.mail.test
spool_directory = {base}/spool
log_file_path = {base}/logs/%slog
log_selector = +smtp_protocol_error +tls_cipher
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {base}/cert.pem
tls_privatekey = {base}/key.pem
smtputf8_advertise_hosts = *
message_size_limit = {size}
recipients_max = {recipients}
smtp_accept_max = 100
# Not to wait for a run of the queue behind the tenth message of a session.
smtp_accept_queue_per_connection = 0
# Delivery as the user it is already: an Exim with a configuration of its own does not become root again.
deliver_drop_privilege = true
acl_smtp_rcpt = recipient
acl_smtp_data = content
{more}

begin acl
recipient:
  defer
    local_parts = later
    condition = ${{if !exists{{{base}/open}}}}
    message = 4.7.1 come back later
  accept
    domains = {domains}
    local_parts = lsearch;{base}/users
  deny
    message = 5.1.1 unknown user
content:
  accept

begin routers
mailboxes:
  driver = accept
  domains = {domains}
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = ${{lookup{{$local_part}}lsearch{{{base}/users}}{{{base}/mail/$value}}}}
  maildir_format
  create_directory
  return_path_add
  delivery_date_add
  envelope_to_add
"""


class Exim(Mailboxes):
    NAME = "Exim"

    def __init__(self, users=(), domains=("mail.test",), size=20_000_000, recipients=100, more=""):
        self.overlay = Overlay("exim").unpack("exim4-base", "exim4-daemon-light")
        self.overlay.user(USER, NUMBER)
        self.base = self.overlay.shared
        self.port = free_port()
        names = {user.split("@")[0] for user in users}
        self.boxes = {f"{name}@{domain}": name for name in names for domain in domains}
        for part in ("spool", "logs", "mail"):
            (self.base / part).mkdir()
        certificate(self.base, "mx.mail.test")
        (self.base / "users").write_text("".join(f"{name}: {name}\n" for name in sorted(names)))
        words = {"base": self.base, "port": self.port, "size": size, "recipients": recipients, "domains": " : ".join(domains), "more": more}
        (self.base / "exim.conf").write_text(CONFIG.format(**words))
        for folder, _, files in os.walk(self.base):
            for path in (folder, *(os.path.join(folder, file) for file in files if not file.endswith(".conf"))):
                os.chown(path, NUMBER, NUMBER)

    def exim(self, *words):
        return ["/usr/sbin/exim4", "-C", str(self.base / "exim.conf"), *words]

    def start(self):
        process = self.overlay.start(*self.exim("-bdf", "-q1m"))

        def ready():
            assert process.poll() is None, f"Exim ended by itself:\n{self.log()}"
            return greets(self.port)

        try:
            wait_for("Exim's greeting", ready, 20)
        except AssertionError:
            self.stop()
            raise
        return self

    def version(self):
        return self.overlay.run(*self.exim("-bV"), text=True).stdout.split()[2]

    def let_in(self):
        """From now on the user `later` gets mail."""
        (self.base / "open").touch()

    def mailbox(self, user):
        return read_maildir(self.base / "mail" / self.boxes[user])

    def log(self):
        files = (self.base / "log", *(self.base / "logs").glob("*"))
        return "\n".join(file.read_text(errors="replace") for file in files if file.is_file())

    def stop(self):
        self.overlay.stop()
