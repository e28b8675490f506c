"""The Debian package under a systemd that runs: installed, started, watched, killed, reloaded, met through its sockets, removed.

A minimal Debian with systemd as its first process, in a container of systemd-nspawn without a network. By command: `cargo xtask interop walk_systemd`, after
`tests-interop/setup --matrix`, which makes that Debian. It needs root.
"""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

from harness import Folder

UNIT = """\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=file:/srv/said
StandardError=inherit
ExecStart=/bin/sh /srv/walk
ExecStopPost=/bin/systemctl poweroff --no-block
"""

# Each line of the form "== NAME" begins what that part said.
WALK = """\
part() { echo "== $1"; }
pid() { systemctl show -p MainPID --value postrider; }
export DEBIAN_FRONTEND=noninteractive
part installed; dpkg -i /srv/postrider.deb >/dev/null 2>&1; systemctl is-active postrider; systemctl is-enabled postrider
part exposure; systemd-analyze security postrider --no-pager | tail -1
part status; postrider --data /var/lib/postrider status
part owner; stat -c '%U %a' /var/lib/postrider /var/lib/postrider/spool
before=$(pid)
part killed; kill -9 $before; for try in $(seq 50); do sleep 0.2; [ "$(pid)" != $before ] && systemctl is-active -q postrider && break; done
systemctl is-active postrider; [ "$(pid)" != $before ] && echo another
part reloaded; before=$(pid); systemctl reload postrider; echo $?; [ "$(pid)" = $before ] && echo same
part broken; cp /etc/postrider/postrider.toml /srv/kept; echo 'nonsense = 1' >>/etc/postrider/postrider.toml
systemctl reload postrider 2>/dev/null; echo $?; systemctl is-active postrider; cp /srv/kept /etc/postrider/postrider.toml
part signing; postrider --data /var/lib/postrider dkim new brand.example | sed -n '/^\[\[domain/,/^keys/p' >>/etc/postrider/postrider.toml
systemctl reload postrider; echo $?; stat -c '%U %a' /var/lib/postrider/dkim/brand.example/postrider-rsa.pem
part stopped; systemctl stop postrider; systemctl is-active postrider; journalctl -u postrider --no-pager | grep -c 'stopped; nothing is lost'
part sockets; systemctl enable -q --now postrider-relay.socket postrider-submission.socket postrider-submissions.socket
systemctl is-active postrider
python3 -c '
import smtplib
for port in (25, 587):
    session = smtplib.SMTP("127.0.0.1", port, timeout=30)
    print(port, session.ehlo()[0])
    session.quit()
'
systemctl is-active postrider; journalctl -u postrider --no-pager | grep -c 'listening on .::.:25 '
part restarted; systemctl restart postrider; systemctl is-active postrider
part purged; dpkg --purge postrider >/dev/null 2>&1; systemctl is-active postrider; ls /usr/bin/postrider /etc/postrider 2>/dev/null
part end
"""


class LiveSystemd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid():
            raise AssertionError("this walk starts a container: run it as root")
        base = pathlib.Path(os.environ["POSTRIDER_PEERS"]) / "debian"
        assert (base / "usr/lib/systemd/systemd").exists(), f"no Debian at {base}: run tests-interop/setup --matrix"
        cls.folder = Folder("systemd")
        cls.addClassCleanup(cls.folder.remove)
        root = cls.folder.path / "root"
        subprocess.run(["cp", "-a", base, root], check=True)
        shutil.copy(os.environ["POSTRIDER_DEB"], root / "srv/postrider.deb")
        (root / "srv/walk").write_text(WALK)
        (root / "etc/systemd/system/walk.service").write_text(UNIT)
        wants = root / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / "walk.service").symlink_to("/etc/systemd/system/walk.service")
        # A machine whose first process is another one may know the older hierarchy of control groups only.
        environment = os.environ if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0"}
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot", "-D", root]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, env=environment, stdin=subprocess.DEVNULL)
        said = root / "srv/said"
        text = said.read_text() if said.exists() else ""
        assert "== end" in text, f"the walk did not reach its end:\n{text}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
        cls.parts = {name: part.strip() for name, part in re.findall(r"^== (\w+)\n(.*?)(?=^== )", text, re.M | re.S)}

    def test_it_runs_from_its_installation_on_and_its_data_are_its_own(self):
        self.assertEqual(self.parts["installed"], "active\nenabled")
        self.assertIn("listens    127.0.0.1:587", self.parts["status"])
        self.assertEqual(self.parts["owner"], "postrider 700\npostrider 700")

    def test_its_exposure_is_small_by_the_count_of_the_systemd_that_runs_it(self):
        exposure = re.search(r"postrider.service: ([0-9.]+)", self.parts["exposure"])
        self.assertLessEqual(float(exposure.group(1)), 2.0)

    def test_it_comes_back_after_a_kill_and_is_reloaded_in_place(self):
        self.assertEqual(self.parts["killed"], "active\nanother")
        self.assertEqual(self.parts["reloaded"], "0\nsame")

    def test_a_broken_configuration_fails_the_reload_and_not_the_relay(self):
        status, active = self.parts["broken"].split("\n")
        self.assertEqual(active, "active")
        self.assertNotEqual(status, "0")

    def test_keys_that_root_makes_are_the_relays(self):
        self.assertEqual(self.parts["signing"], "0\npostrider 600")

    def test_it_stops_in_good_order(self):
        self.assertEqual(self.parts["stopped"], "inactive\n1")

    def test_sockets_start_it_and_restarts_keep_them(self):
        self.assertEqual(self.parts["sockets"], "inactive\n25 250\n587 250\nactive\n1")
        self.assertEqual(self.parts["restarted"], "active")

    def test_a_purge_leaves_nothing_that_runs(self):
        self.assertEqual(self.parts["purged"], "inactive")


if __name__ == "__main__":
    unittest.main()
