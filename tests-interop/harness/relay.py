"""The relay under test: the real binary, as a process of its own, on a data directory that outlives it."""

import hashlib
import os
import pathlib
import signal
import subprocess

from . import LOOPBACK, Folder, free_port, greets, wait_for

USER, PASSWORD = "app@mail.test", "correct-horse-battery-staple"

CONFIG = """\
[relay]
host_name = "relay.test"

[[listener]]
name = "submission"
address = "127.0.0.1:{submission}"
role = "submission"
tls = "starttls"

[[listener]]
name = "submissions"
address = "127.0.0.1:{submissions}"
role = "submission"
tls = "implicit"

[[listener]]
name = "relay"
address = "127.0.0.1:{plain}"
role = "relay"
tls = "none"

[[tenant]]
name = "default"

[[credential]]
user = "{user}"
secret_sha256 = "{digest}"

[delivery]
smtp_port = {remote_port}

[dns]
servers = ["127.0.0.1:{dns_port}"]

[retry]
intervals = ["1s"]

[log]
format = "human"
mail_log = "mail.log"
"""


class Relay:
    """Ports: `submission` (STARTTLS), `submissions` (TLS from the first octet), `plain` (a relay listener without TLS, for `relay_domains`)."""

    def __init__(self, dns_port, remote_port, relay_domains=(), more=""):
        self.binary = pathlib.Path(os.environ.get("POSTRIDER_BIN", "../target/debug/postrider")).resolve()
        assert self.binary.exists(), f"no relay at {self.binary}: build it, or set POSTRIDER_BIN"
        self.folder = Folder("relay")
        self.data = self.folder.path / "data"
        self.submission, self.submissions, self.plain = free_port(), free_port(), free_port()
        words = {"user": USER, "digest": hashlib.sha256(PASSWORD.encode()).hexdigest(), "dns_port": dns_port, "remote_port": remote_port}
        config = CONFIG.format(submission=self.submission, submissions=self.submissions, plain=self.plain, **words)
        if relay_domains:
            names = ", ".join(f'"{name}"' for name in relay_domains)
            config = config.replace("[relay]\n", f"[relay]\nrelay_domains = [{names}]\n")
        self.config = self.folder.path / "postrider.toml"
        self.config.write_text(config + more)
        self.process = None

    def start(self, up=greets):
        """Starts and waits until `up(port)`: `greets`, or `answers` for as early as a client could come."""
        with open(self.folder.path / "log", "ab") as log:
            command = [self.binary, "serve", "--data", self.data, "--config", self.config]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

        def ready():
            assert self.process.poll() is None, f"the relay ended by itself ({self.process.returncode}):\n{self.log()[-3000:]}"
            return up(self.plain)

        wait_for("the relay's greeting", ready, 60)
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self, seconds=60):
        """SIGTERM; the relay has to end by itself, in good order."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end within {seconds} s of SIGTERM:\n{self.log()[-3000:]}") from None
        assert status == 0, f"status {status} after SIGTERM:\n{self.log()[-3000:]}"

    def stop(self):
        if self.process and self.process.poll() is None:
            try:
                self.terminate()
            finally:
                self.folder.remove()
        else:
            self.folder.remove()

    def cli(self, *words, seconds=30):
        """Runs a command of the same binary against the running relay; its completed process."""
        return subprocess.run([self.binary, *words, "--data", self.data], capture_output=True, text=True, timeout=seconds)

    def log(self):
        texts = [(self.folder.path / "log").read_text(errors="replace")]
        mail_log = self.data / "mail.log"
        texts += [mail_log.read_text(errors="replace")] if mail_log.exists() else []
        return "\n".join(texts)


__all__ = ["LOOPBACK", "PASSWORD", "USER", "Relay"]
