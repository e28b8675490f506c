"""A private unbound on loopback: a recursive server as relays really ask one, over zones of the test's own. It asks nobody else."""

import shutil
import subprocess

from . import LOOPBACK, Folder, answers, free_port, wait_for

CONFIG = """\
server:
    directory: "{base}"
    chroot: ""
    username: ""
    pidfile: "{base}/pid"
    logfile: "{base}/log"
    use-syslog: no
    log-queries: yes
    do-daemonize: no
    interface: 127.0.0.1@{port}
    port: {port}
    do-ip6: no
    access-control: 127.0.0.0/8 allow
    num-threads: 1
    module-config: "iterator"
    root-hints: "{base}/root.hints"
    do-not-query-localhost: no
    extended-statistics: yes
    # Anything above this is truncated, and comes over TCP.
    max-udp-size: 512
    # unbound knows by itself that "test." does not exist (RFC 6761 §6.2); here it does.
    local-zone: "test." nodefault
    # Questions that are dropped without an answer.
    local-zone: "silent.test." deny
remote-control:
    control-enable: yes
    control-interface: "{base}/control"
    control-use-cert: no
auth-zone:
    name: "test."
    zonefile: "{base}/test.zone"
    for-upstream: yes
    for-downstream: no
    fallback-enabled: no
# A zone that never came, because nobody listens where it should come from: SERVFAIL.
auth-zone:
    name: "broken.test."
    primary: 127.0.0.1@{dead}
    for-upstream: yes
    for-downstream: no
    fallback-enabled: no
"""

# Whatever is not in a zone of ours leads nowhere, and not into the world.
ROOT_HINTS = """\
. 3600000 NS a.root.
a.root. 3600000 A 127.0.0.61
"""

HEAD = """\
$ORIGIN test.
$TTL 300
@ IN SOA ns.test. root.test. ({serial} 60 60 600 5)
@ IN NS ns.test.
ns IN A 127.0.0.1
"""


def binary():
    return shutil.which("unbound") or shutil.which("unbound", path="/usr/sbin")


class Unbound:
    """`zone` is the text of `test.` in master file form (RFC 1035 §5), without its head."""

    def __init__(self, zone):
        self.folder = Folder("unbound")
        self.base = self.folder.path
        self.port = free_port()
        self.serial = 0
        self.write_zone(zone)
        (self.base / "root.hints").write_text(ROOT_HINTS)
        (self.base / "unbound.conf").write_text(CONFIG.format(base=self.base, port=self.port, dead=free_port()))
        self.process = None

    def write_zone(self, zone):
        self.serial += 1
        (self.base / "test.zone").write_text(HEAD.format(serial=self.serial) + zone)

    def start(self):
        command = [binary(), "-d", "-c", str(self.base / "unbound.conf")]
        with open(self.base / "said", "wb") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL)

        def ready():
            assert self.process.poll() is None, f"unbound ended by itself:\n{self.log()}"
            return answers(self.port)

        wait_for("unbound", ready)
        return self

    def control(self, *words):
        """What `unbound-control` says."""
        program = shutil.which("unbound-control") or "/usr/sbin/unbound-control"
        done = subprocess.run([program, "-c", str(self.base / "unbound.conf"), *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def change(self, zone):
        """Another zone from now on. What was asked before stays in the cache for its time."""
        self.write_zone(zone)
        self.control("auth_zone_reload", "test.")

    def number(self, name):
        """One of its statistics."""
        lines = dict(line.split("=") for line in self.control("stats_noreset").split())
        return int(lines[name])

    def log(self):
        return "\n".join((self.base / name).read_text(errors="replace") for name in ("said", "log") if (self.base / name).exists())

    def asked(self, name, kind):
        """How often it was asked."""
        return sum(f" {name}. {kind} IN" in line for line in self.log().splitlines())

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        self.folder.remove()


__all__ = ["LOOPBACK", "Unbound"]
