"""A private Haraka from npm: a plugin of the tests refuses, takes, and writes into Maildirs."""

import json
import os
import subprocess

from . import Folder, Mailboxes, free_port, greets, read_maildir, wait_for
from .overlay import peers
from .postfix import certificate

# What Haraka has plugins of its own for in other shapes: known users, one that has to wait, and a Maildir.
PLUGIN = """\
'use strict'
const fs = require('node:fs')
const path = require('node:path')
const base = process.env.POSTRIDER_HARAKA
const boxes = JSON.parse(fs.readFileSync(path.join(base, 'boxes.json')))

exports.hook_rcpt = function (next, connection, params) {
  const name = params[0].address
  if (name.startsWith('later@') && !fs.existsSync(path.join(base, 'open'))) return next(DENYSOFT, '4.7.1 come back later')
  if (!(name in boxes)) return next(DENY, '5.1.1 unknown user')
  next(OK)
}

exports.hook_queue = function (next, connection) {
  const { transaction } = connection
  const whole = path.join(base, 'whole', transaction.uuid)
  const file = fs.createWriteStream(whole)
  file.write(`Return-Path: <${transaction.mail_from.address}>\\n`)
  file.once('error', () => next(DENYSOFT))
  file.once('close', () => {
    for (const [place, recipient] of transaction.rcpt_to.entries()) {
      const box = path.join(base, 'mail', boxes[recipient.address], 'new')
      fs.mkdirSync(box, { recursive: true })
      fs.linkSync(whole, path.join(box, `${transaction.uuid}.${place}`))
    }
    next(OK)
  })
  transaction.message_stream.pipe(file, { line_endings: '\\n' })
}
"""

# A file of ours takes the place of all its defaults. Lines beyond `data_line_length` would be broken in two.
CONNECTION = """\
[main]
smtputf8=true
[headers]
max_lines=1000
max_received=100
[message]
helo=Haraka is at your service.
close=closing connection. Have a jolly good day.
[max]
bytes={size}
mime_parts=1000
line_length=1024
data_line_length=65536
[uuid]
banner_chars=6
deny_chars=0
"""


class Haraka(Mailboxes):
    NAME = "Haraka"

    def __init__(self, users=(), domains=("mail.test",), size=20_000_000, recipients=None):
        del recipients  # It takes as many as come.
        self.folder = Folder("haraka")
        self.base = self.folder.path
        self.port = free_port()
        self.home = peers() / "node/node_modules/Haraka"
        names = {user.split("@")[0] for user in users}
        self.boxes = {f"{name}@{domain}": name for name in names for domain in domains}
        for part in ("config", "plugins", "mail", "whole", "queue"):
            (self.base / part).mkdir()
        (self.base / "boxes.json").write_text(json.dumps(self.boxes))
        (self.base / "plugins/mailboxes.js").write_text(PLUGIN)
        certificate(self.base / "config", "mx.mail.test")
        # Else it makes its own, for ten seconds.
        group = ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", "dhparams.pem"]
        subprocess.run(group, cwd=self.base / "config", check=True, capture_output=True)
        for name, text in {
            "smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes=0\n",
            "plugins": "tls\nmailboxes\n",
            "tls.ini": "key=key.pem\ncert=cert.pem\n",
            "me": "mx.mail.test\n",
            "connection.ini": CONNECTION.format(size=size),
            "databytes": f"{size}\n",
            "loglevel": "LOGINFO\n",
        }.items():
            (self.base / "config" / name).write_text(text)
        self.process = None

    def start(self):
        with open(self.base / "log", "ab") as log:
            environment = {**os.environ, "POSTRIDER_HARAKA": str(self.base)}
            command = ["node", self.home / "bin/haraka", "-c", self.base]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

        def ready():
            assert self.process.poll() is None, f"Haraka ended by itself:\n{self.log()}"
            return greets(self.port)

        try:
            wait_for("Haraka's greeting", ready, 30)
        except AssertionError:
            self.stop()
            raise
        return self

    def version(self):
        return json.loads((self.home / "package.json").read_text())["version"]

    def let_in(self):
        """From now on the user `later` gets mail."""
        (self.base / "open").touch()

    def mailbox(self, user):
        return read_maildir(self.base / "mail" / self.boxes[user])

    def log(self):
        log = self.base / "log"
        return log.read_text(errors="replace") if log.exists() else "(no log)"

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.folder.remove()
