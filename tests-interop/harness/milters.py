"""OpenDKIM and rspamd's proxy from Debian's packages, each with a configuration and a folder of its own, as milters on loopback."""

import shutil
import subprocess

from . import LOOPBACK, Folder, answers, free_port, wait_for

OPENDKIM = """\
Background no
Syslog no
Mode {mode}
Socket inet:{port}@127.0.0.1
UserID {user}
UMask 007
RequireSafeKeys no
AuthservID relay.test
TestPublicKeys {base}/public
"""

SIGNING = """\
Domain mail.test
Selector s1
KeyFile {base}/private.pem
Canonicalization relaxed/simple
OversignHeaders From
InternalHosts {base}/internal
"""

RSPAMD = """\
options {{
  pidfile = "{base}/pid";
  cache_file = "{base}/symbols.cache";
  dynamic_conf = "{base}/dynamic";
  history_file = "{base}/history";
  url_tld = "/usr/share/rspamd/effective_tld_names.dat";
  filters = "";
  dns {{ nameserver = ["127.0.0.1:{dns}"]; timeout = 1s; retransmits = 1; }}
  enable_test_patterns = true;
}}
logging {{ type = "file"; filename = "{base}/log"; level = "info"; }}
actions {{ reject = 15; add_header = 6; greylist = null; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{port}";
  milter = yes;
  timeout = 60s;
  count = 1;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""


class Daemon:
    """A program in the foreground, ended with the test."""

    name = ""

    def __init__(self):
        self.folder = Folder(self.name)
        self.base = self.folder.path
        self.port = free_port()
        self.process = None

    def run(self, *command):
        with open(self.base / "out", "ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

        def up():
            assert self.process.poll() is None, f"{self.name} ended by itself:\n{self.log()}"
            return answers(self.port)

        try:
            wait_for(self.name, up)
        except BaseException:
            # Nobody would end it otherwise: a test knows only what has started.
            self.stop()
            raise
        return self

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        self.folder.remove()

    def log(self):
        files = [self.base / "out", self.base / "log"]
        return "\n".join(path.read_text(errors="replace") for path in files if path.exists())


class OpenDkim(Daemon):
    """`signs`: it has a key for mail.test and signs; otherwise it verifies, by the key of the one that signs."""

    name = "opendkim"

    def __init__(self, signer=None):
        super().__init__()
        self.signer = signer

    def start(self):
        if self.signer is None:
            key = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, check=True).stdout
            (self.base / "private.pem").write_bytes(key)
            der = subprocess.run(["openssl", "rsa", "-pubout", "-outform", "DER"], input=key, capture_output=True, check=True).stdout
            public = subprocess.run(["openssl", "base64", "-A"], input=der, capture_output=True, check=True).stdout.decode()
            (self.base / "public").write_text(f"s1._domainkey.mail.test v=DKIM1; k=rsa; p={public}\n")
            (self.base / "internal").write_text(f"{LOOPBACK}\n")
        else:
            shutil.copy(self.signer.base / "public", self.base / "public")
        text = OPENDKIM + (SIGNING if self.signer is None else "")
        words = {"mode": "v" if self.signer else "s", "port": self.port, "base": self.base, "user": "root"}
        (self.base / "conf").write_text(text.format(**words))
        return self.run("/usr/sbin/opendkim", "-f", "-x", str(self.base / "conf"))


class Rspamd(Daemon):
    """Without any rule of its own: its patterns for tests are what it knows."""

    name = "rspamd"

    def __init__(self, dns_port):
        super().__init__()
        self.dns_port = dns_port

    def start(self):
        (self.base / "conf").write_text(RSPAMD.format(base=self.base, port=self.port, dns=self.dns_port))
        return self.run("/usr/bin/rspamd", "-f", "-i", "-c", str(self.base / "conf"))
