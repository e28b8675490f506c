"""The Debian package: installed, looked at, removed and purged, in a root of its own. And the systemd unit, by systemd's own judgement.

dpkg runs the package's scripts without chroot (DPKG_ROOT), so nothing of this machine is touched; it needs root.
"""

import os
import re
import subprocess
import unittest

from harness import Folder

PACKAGING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "packaging")


class Package(unittest.TestCase):
    def setUp(self):
        self.package = os.environ["POSTRIDER_DEB"]
        self.folder = Folder("package")
        self.addCleanup(self.folder.remove)
        self.root = os.path.join(self.folder.path, "root")
        for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "var/lib", "var/log"):
            os.makedirs(os.path.join(self.root, name), exist_ok=True)
        for name, text in {
            "var/lib/dpkg/status": "",
            "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
            "etc/group": "root:x:0:\n",
            "etc/shadow": "root:*:19000:0:99999:7:::\n",
            "etc/gshadow": "root:*::\n",
        }.items():
            with open(self.at(name), "w") as file:
                file.write(text)

    def at(self, name):
        return os.path.join(self.root, name)

    def read(self, name):
        with open(self.at(name)) as file:
            return file.read()

    def dpkg(self, *words):
        # The libraries it depends on are this machine's, not this root's.
        command = ["dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends", "--log=/dev/null", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_it_is_installed_removed_and_purged(self):
        self.dpkg("--install", self.package)
        self.assertIn("postrider:x:", self.read("etc/passwd"))
        group = int(re.search(r"^postrider:[^:]*:(\d+):", self.read("etc/group"), re.M).group(1))
        facts = os.stat(self.at("etc/postrider/postrider.toml"))
        self.assertEqual((facts.st_gid, facts.st_mode & 0o777), (group, 0o640))
        for name, target in {
            "usr/sbin/sendmail": "../bin/postrider",
            "usr/lib/sendmail": "../bin/postrider",
            "usr/bin/mailq": "postrider",
            "usr/bin/newaliases": "postrider",
        }.items():
            self.assertEqual(os.readlink(self.at(name)), target)
            self.assertTrue(os.path.samefile(self.at(name), self.at("usr/bin/postrider")))
        self.assertTrue(os.path.exists(self.at("usr/lib/systemd/system/postrider.service")))
        checked = subprocess.run(
            [self.at("usr/bin/postrider"), "--data", self.at("data"), "check", "--offline", "--config", self.at("etc/postrider/postrider.toml")],
            capture_output=True, text=True, check=False,
        )
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        # The name decides, as it does for cron: without a relay it is tried again later.
        done = subprocess.run([self.at("usr/sbin/sendmail"), "--data", self.at("data"), "-t"], input="To: a@b.example\n\n",
                              capture_output=True, text=True, check=False, env={"POSTRIDER_SENDMAIL": self.at("none")})
        self.assertEqual(done.returncode, 75, done.stderr)

        # A change of the administrator's survives an upgrade and a removal; a purge leaves nothing.
        with open(self.at("etc/postrider/postrider.toml"), "a") as file:
            file.write("# mine\n")
        os.makedirs(self.at("var/lib/postrider/spool"))
        self.dpkg("--install", self.package)
        self.assertTrue(self.read("etc/postrider/postrider.toml").endswith("# mine\n"))
        self.dpkg("--remove", "postrider")
        self.assertFalse(os.path.lexists(self.at("usr/sbin/sendmail")))
        self.assertFalse(os.path.exists(self.at("usr/bin/postrider")))
        self.assertTrue(self.read("etc/postrider/postrider.toml").endswith("# mine\n"))
        self.assertTrue(os.path.isdir(self.at("var/lib/postrider/spool")))
        self.dpkg("--purge", "postrider")
        for name in ("etc/postrider", "var/lib/postrider", "usr/lib/systemd/system/postrider.service"):
            self.assertFalse(os.path.exists(self.at(name)), name)
        self.assertNotIn("postrider", self.read("etc/passwd"))

    def test_what_the_package_says_of_itself(self):
        fields = subprocess.run(["dpkg-deb", "--field", self.package], capture_output=True, text=True, check=True).stdout
        for part in ("Provides: mail-transport-agent", "Conflicts: mail-transport-agent", "Replaces: mail-transport-agent"):
            self.assertIn(part, fields)
        self.assertRegex(fields, r"Depends: libc6 \(>= 2\.\d+\)")
        self.assertNotIn("{", fields)


class Unit(unittest.TestCase):
    def test_its_exposure_is_low(self):
        unit = os.path.join(PACKAGING, "systemd", "postrider.service")
        said = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True, check=False)
        level = re.search(r"Overall exposure level for postrider.service: ([0-9.]+)", said.stdout)
        self.assertIsNotNone(level, said.stdout + said.stderr)
        self.assertLessEqual(float(level.group(1)), 2.0)

    def test_the_units_are_understood(self):
        folder = os.path.join(PACKAGING, "systemd")
        for name in sorted(os.listdir(folder)):
            said = subprocess.run(["systemd-analyze", "verify", "--man=no", os.path.join(folder, name)], capture_output=True, text=True,
                                  check=False)
            # The program need not be installed here; a key or a value that systemd does not know is told with the file's name and a line.
            complaints = [line for line in said.stderr.splitlines() if "postrider" in line and "is not executable" not in line]
            complaints = [line for line in complaints if re.search(r":\d+: ", line)]
            self.assertEqual(complaints, [], name)


if __name__ == "__main__":
    unittest.main()
