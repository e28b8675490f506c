"""What systemd would do with the package's units where there is no systemd: `units.py manage` inside an overlay, and `systemctl` and `journalctl` there.

It reads the unit files as they are installed: ExecStart, User, Group, StateDirectory, RuntimeDirectory, UMask, AmbientCapabilities, readiness, and sockets that
outlive the service. It refuses a socket whose service runs already, as systemd does.
"""

import configparser
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

UNITS, DOOR, JOURNAL, READY = "/usr/lib/systemd/system", "/run/units", "/run/journal", "/run/notify"
COMMANDS = {
    "systemctl": f'#!/bin/sh\nexec /usr/bin/python3 "{os.path.abspath(__file__)}" call "$@"\n',
    # Nobody follows here: what is there is shown.
    "journalctl": f"#!/bin/sh\nexec cat {JOURNAL}\n",
}


def read(name):
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(os.path.join(UNITS, name))
    return unit


class Manager:
    def __init__(self):
        self.sockets, self.process = {}, None
        self.ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ready.bind(READY)
        os.chmod(READY, 0o777)
        self.ready.settimeout(1)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        if self.running():
            return
        service = read("postrider.service")["Service"]
        user = pwd.getpwnam(service["User"])
        for key, above in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")):
            folder = os.path.join(above, service[key])
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, int(service[f"{key}Mode"], 8))
            shutil.chown(folder, service["User"], service["Group"])
        capability = service["AmbientCapabilities"].removeprefix("CAP_").lower()
        who = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", f"--inh-caps=-all,+{capability}"]
        who += [f"--ambient-caps=-all,+{capability}", f"--bounding-set=-all,+{capability}", "--no-new-privs"]
        names, handed = list(self.sockets), [listener.fileno() for listener in self.sockets.values()]
        environment = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": READY}
        if names:
            environment |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
        # The numbers from 3 on are the protocol's, and LISTEN_PID is the program's own.
        moves = "".join(f" {3 + place}<&{number} {number}<&-" for place, number in enumerate(handed) if number != 3 + place)
        script = f"umask {service['UMask']}; export LISTEN_PID=$$; exec {shlex.join(who)} {service['ExecStart']}{moves}"
        with open(JOURNAL, "ab") as journal:
            self.process = subprocess.Popen(["bash", "-c", script], env=environment, stdin=subprocess.DEVNULL, stdout=journal, stderr=journal, pass_fds=handed)
        while True:
            try:
                if b"READY=1" in self.ready.recv(4096):
                    return
            except TimeoutError:
                pass
            if not self.running():
                raise RuntimeError("Job for postrider.service failed. See journalctl -u postrider.")

    def stop(self):
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(90)

    def enable_now(self, name):
        if name.endswith(".service"):
            return self.start()
        if self.running():
            raise RuntimeError(f"{name}: Socket service postrider.service already active, refusing.")
        part = read(name)["Socket"]
        # The lowest numbers are for what the protocol wants there.
        listener = socket.create_server(("", int(part["ListenStream"])), backlog=int(part["Backlog"]))
        high = socket.socket(fileno=os.dup2(listener.fileno(), 50 + len(self.sockets)))
        listener.close()
        self.sockets[part["FileDescriptorName"]] = high
        return None

    def obey(self, words):
        verb, *names = [word for word in words if not word.startswith("-")]
        for name in [name if "." in name else f"{name}.service" for name in names]:
            if verb in ("stop", "restart"):
                self.stop()
            if verb in ("start", "restart"):
                self.start()
            if verb == "reload":
                self.process.send_signal(signal.SIGHUP)
            if verb == "enable" and "--now" in words:
                self.enable_now(name)
            if verb == "is-active" and not self.running():
                raise RuntimeError("inactive")


def manage():
    for name, text in COMMANDS.items():
        place = os.path.join("/usr/local/bin", name)
        with open(place, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(place, 0o755)
    manager, door = Manager(), socket.socket(socket.AF_UNIX)
    door.bind(DOOR)
    door.listen()
    while True:
        caller, _ = door.accept()
        with caller:
            try:
                manager.obey(caller.recv(4096).decode().split("\n"))
            except (RuntimeError, OSError, KeyError) as trouble:
                caller.sendall(str(trouble).encode())


def call(words):
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(DOOR)
        door.sendall("\n".join(words).encode())
        said = door.recv(4096).decode()
    if said:
        sys.exit(said)


if __name__ == "__main__":
    if sys.argv[1] == "manage":
        manage()
    else:
        call(sys.argv[2:])
