"""A stranger's first minutes: an empty directory, `serve --capture`, and the very lines the first start prints, run as they stand."""

import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import unittest

from harness import Folder, answers, wait_for

PORTS = (2587, 2465, 2525)


class FirstDay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        taken = [port for port in PORTS if answers(port)]
        if taken:
            raise unittest.SkipTest(f"the default ports {taken} are in use on this machine")
        cls.folder = Folder("first-day")
        cls.addClassCleanup(cls.folder.remove)
        cls.binary = pathlib.Path(os.environ.get("POSTRIDER_BIN", "../target/debug/postrider")).resolve()
        cls.output = cls.folder.path / "output"
        cls.start("serve", "--capture")

    @classmethod
    def start(cls, *words):
        with open(cls.output, "ab") as output:
            cls.process = subprocess.Popen([cls.binary, *words], cwd=cls.folder.path, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        cls.addClassCleanup(cls.end, cls.process)
        wait_for("the word that it is ready", lambda: "ready" in cls.output.read_text(), 60)

    @classmethod
    def end(cls, process):
        process.send_signal(signal.SIGTERM)
        process.wait(40)

    def cli(self, *words):
        done = subprocess.run([self.binary, *words], cwd=self.folder.path, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_printed_lines_send_and_the_mail_is_shown(self):
        printed = self.output.read_text()
        lines = [line.strip() for line in printed.splitlines() if re.match(r"\s+(\S*postrider|swaks|python3) ", line)]
        self.assertEqual([line.split()[0].split("/")[-1] for line in lines], [self.binary.name, "swaks", "python3"], printed)
        for line in lines:
            done = subprocess.run(line, shell=True, cwd=self.folder.path, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        kept = [json.loads(line) for line in self.cli("capture", "list", "--json").splitlines()]
        self.assertEqual(len(kept), 3, kept)
        for mail in kept:
            self.assertEqual(mail["to"], ["you@example.com"])
            self.assertIn("Subject: ", self.cli("capture", "read", mail["id"]))

    def test_what_the_first_start_made(self):
        data = self.folder.path / "data"
        self.assertEqual(stat.S_IMODE(data.stat().st_mode), 0o700)
        secret = re.search(r"secret\s+(\S{40,})", self.output.read_text()).group(1)
        for file in data.rglob("*"):
            if file.is_file() and file.stat().st_size < 1_000_000:
                self.assertNotIn(secret.encode(), file.read_bytes(), file)
        self.assertIn("postrider.toml", self.cli("check", "--offline"))
        # A second relay on the same data is refused, and says why.
        second = subprocess.run([self.binary, "serve"], cwd=self.folder.path, capture_output=True, text=True, timeout=30)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("another relay runs", second.stderr)

    def test_every_command_explains_itself(self):
        commands = ["serve", "check", "send", "queue", "explain", "capture", "spool", "bench", "status", "reload"]
        for words in [[], *[[command] for command in commands]]:
            self.assertIn("Usage", self.cli(*words, "--help"))


if __name__ == "__main__":
    unittest.main()
