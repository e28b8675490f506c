"""What the interoperability tests stand on: a private Postfix, a small DNS server, a recording sink, and the relay under test.

Everything listens on loopback, on ports the kernel chose, in directories of its own, and is gone when the test is over.
"""

import os
import pathlib
import shutil
import socket
import tempfile
import time

LOOPBACK = "127.0.0.1"


def free_port():
    """A port nobody listens on now. Somebody may take it before we do; tests that start a server try twice."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=30.0):
    """Polls until `condition()` is true and returns its value; says `what` was missing otherwise."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def answers(port):
    """Whether something accepts connections there."""
    try:
        socket.create_connection((LOOPBACK, port), 1).close()
        return True
    except OSError:
        return False


def greets(port):
    """Whether an SMTP server there says 220. A listening socket alone says nothing: the kernel accepts for a server that is still starting."""
    try:
        with socket.create_connection((LOOPBACK, port), 1) as sock:
            sock.settimeout(1)
            return sock.recv(3) == b"220"
    except OSError:
        return False


class Folder:
    """A temporary directory other users may enter (Postfix's daemons are other users)."""

    def __init__(self, name):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=f"postrider-{name}-"))
        self.path.chmod(0o755)

    def remove(self):
        if os.environ.get("KEEP"):
            print(f"kept: {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)


class Mailboxes:
    """What servers with mailboxes share: waiting for mail. They give `mailbox(user)`, the messages as octets, and `log()`."""

    # What the log says when no client can end a handshake with it.
    TLS_FAILS = None

    def wait_for_mail(self, user, count=1, seconds=60, matching=b""):
        def arrived():
            found = [mail for mail in self.mailbox(user) if matching in mail]
            return found if len(found) >= count else None

        try:
            return wait_for(f"{count} mails for {user}", arrived, seconds)
        except AssertionError as trouble:
            raise AssertionError(f"{trouble}\n{type(self).__name__} says:\n{self.log()[-4000:]}") from trouble


def read_maildir(folder):
    """The messages of a Maildir, as octets, in no order; none when there is no such folder yet."""
    return [file.read_bytes() for place in ("new", "cur") if (folder / place).is_dir() for file in (folder / place).iterdir()]
