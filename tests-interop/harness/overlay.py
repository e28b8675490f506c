"""This machine with something laid over it: other packages, other files, perhaps another network. Nothing of it touches the machine itself.

A tmpfs takes every change (overlayfs), in namespaces of its own for mounts and processes, and for the network when asked. What runs in there ends with
it, whatever it does. So servers whose paths are built in, and whose packages exclude each other, run side by side. Needs root.
"""

import os
import pathlib
import subprocess

from . import Folder, wait_for

SET_UP = """\
set -e
mount -t tmpfs -o mode=755 tmpfs "$0/layer"
mkdir "$0/layer/changed" "$0/layer/work" "$0/layer/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/layer/changed,workdir=$0/layer/work" "$0/layer/root"
cd "$0/layer/root"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs -o mode=755 tmpfs run
mount --bind "$0/shared" ".$0/shared"
exec chroot . sh -c 'echo ready; exec cat'
"""


def peers():
    """Where `setup --matrix` puts what is not installed."""
    place = pathlib.Path(os.environ.get("POSTRIDER_PEERS", "../target/peers")).resolve()
    assert place.is_dir(), f"no peers at {place}: run tests-interop/setup --matrix, or `cargo xtask interop --matrix`, which does"
    return place


class Overlay:
    """`shared` is a directory that both sides see under the same path. With `host_name`, that is what the system says it is called."""

    def __init__(self, name, network=False, host_name=None):
        assert os.geteuid() == 0, "mount and network namespaces need root: run this as root, or by `cargo xtask interop`, which uses sudo"
        self.folder = Folder(name)
        self.shared = self.folder.path / "shared"
        for part in ("layer", "shared"):
            (self.folder.path / part).mkdir(mode=0o755)
        # Its end of input is the end of all in there: `cat` is the first process, and the others go with it.
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *(["--net"] if network else []), *(["--uts"] if host_name else [])]
        command += ["sh", "-c", SET_UP, str(self.folder.path)]
        self.holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            self.holder.wait(10)
            said = self.holder.stderr.read()
            self.stop()
            raise AssertionError(f"no namespaces with an overlay here (a container may forbid them; use a machine or a virtual one): {said}")
        self.pid = int(pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()[0])
        self.enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", *(["--net"] if network else []), *(["--uts"] if host_name else [])]
        self.enter += ["--root", "--wd"]
        # Root in there as seen from here.
        self.root = pathlib.Path(f"/proc/{self.pid}/root")
        self.started = []
        if host_name:
            self.run("hostname", host_name)

    def unpack(self, *names):
        """Lays Debian packages over the machine, their files only; no script of theirs is run."""
        try:
            for name in names:
                (package,) = (peers() / "packages").glob(f"{name}_*.deb")
                files = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
                # Their /lib is a link here.
                self.run("tar", "-x", "--keep-directory-symlink", "-C", "/", input=files)
        except BaseException:
            self.stop()
            raise
        return self

    def user(self, name, number):
        """A user and a group of that name."""
        for file, line in (("passwd", f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n"), ("group", f"{name}:x:{number}:\n")):
            with open(self.root / "etc" / file, "a") as text:
                text.write(line)

    def run(self, *words, check=True, **more):
        """A command in there, to its end."""
        more = {"capture_output": True, **more}
        done = subprocess.run([*self.enter, *map(str, words)], **more)
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *words, log="log", **more):
        """A server in there; what it says goes to `shared/LOG`."""
        with open(self.shared / log, "ab") as out:
            process = subprocess.Popen([*self.enter, *map(str, words)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        self.started.append(process)
        return process

    def stop(self):
        self.holder.stdin.close()
        try:
            self.holder.wait(10)
        except subprocess.TimeoutExpired:
            self.holder.kill()
            self.holder.wait()
        for pipe in (self.holder.stdout, self.holder.stderr):
            pipe.close()
        for process in getattr(self, "started", []):
            wait_for("the end of what ran in the overlay", lambda process=process: process.poll() is not None)
        self.folder.remove()


__all__ = ["Overlay", "peers"]
