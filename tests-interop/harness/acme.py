"""A certificate authority that speaks ACME (RFC 8555), as much of it as certbot needs: `acme.py ADDRESS PORT FOLDER NAMESERVER`.

Orders of one name, proved by http-01: the name is asked of the DNS, and port 80 there has to know the key authorization. Signatures are not checked: nobody else
is in its network. The authority's own certificate is `ca.pem` in the folder.
"""

import base64
import hashlib
import http.client
import http.server
import json
import pathlib
import subprocess
import sys

ADDRESS, PORT, FOLDER, NAMESERVER = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]
BASE = f"http://{ADDRESS}:{PORT}"
TOKEN = "dGhlLXRva2VuLW9mLXRoZS10ZXN0cw"


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def thumbprint(key):
    """RFC 7638."""
    needed = {name: key[name] for name in {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y")}[key["kty"]]}
    digest = hashlib.sha256(json.dumps(needed, separators=(",", ":"), sort_keys=True).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Authority(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key, name, valid, chain = None, None, False, None

    def answer(self, value, status=200, kind="application/json", place=None, above=None):
        octets = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        for field, text in (("Replay-Nonce", "bm9uY2U"), ("Content-Type", kind), ("Content-Length", str(len(octets))), ("Location", place), ("Link", above)):
            if text:
                self.send_header(field, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(octets)

    def order(self):
        status = "valid" if Authority.chain else "ready" if Authority.valid else "pending"
        more = {"certificate": f"{BASE}/certificate"} if Authority.chain else {}
        names = [{"type": "dns", "value": Authority.name}]
        return {"status": status, "identifiers": names, "authorizations": [f"{BASE}/authorization"], "finalize": f"{BASE}/finalize", **more}

    def challenge(self):
        return {"type": "http-01", "url": f"{BASE}/challenge", "token": TOKEN, "status": "valid" if Authority.valid else "pending"}

    def authorization(self):
        name = {"type": "dns", "value": Authority.name}
        return {"status": "valid" if Authority.valid else "pending", "identifier": name, "challenges": [self.challenge()]}

    def prove(self):
        found = subprocess.run(["dig", "+short", f"@{NAMESERVER}", "A", Authority.name], capture_output=True, text=True, check=True).stdout.split()[0]
        client = http.client.HTTPConnection(found, 80, timeout=10)
        client.request("GET", f"/.well-known/acme-challenge/{TOKEN}", headers={"Host": Authority.name})
        Authority.valid = client.getresponse().read().decode().strip() == f"{TOKEN}.{thumbprint(Authority.key)}"

    def issue(self, request):
        (FOLDER / "order.der").write_bytes(decoded(request["csr"]))
        words = ["-inform", "DER", "-in", "order.der", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "90", "-copy_extensions", "copy"]
        leaf = subprocess.run(["openssl", "x509", "-req", *words], cwd=FOLDER, capture_output=True, text=True, check=True).stdout
        Authority.chain = leaf + (FOLDER / "ca.pem").read_text()

    def do_HEAD(self):
        self.answer("")

    def do_GET(self):
        names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order", "revokeCert": "revoke", "keyChange": "key"}
        self.answer({name: f"{BASE}/{path}" for name, path in names.items()})

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        head, request = json.loads(decoded(sent["protected"])), json.loads(decoded(sent["payload"]) or b"{}")
        if self.path == "/account":
            Authority.key = head["jwk"]
            self.answer({"status": "valid"}, 201, place=f"{BASE}/account/1")
        elif self.path == "/order":
            Authority.name, Authority.valid, Authority.chain = request["identifiers"][0]["value"], False, None
            self.answer(self.order(), 201, place=f"{BASE}/order/1")
        elif self.path == "/authorization":
            self.answer(self.authorization())
        elif self.path == "/challenge":
            self.prove()
            self.answer(self.challenge(), above=f'<{BASE}/authorization>;rel="up"')
        elif self.path == "/finalize":
            self.issue(request)
            self.answer(self.order(), place=f"{BASE}/order/1")
        elif self.path == "/certificate":
            self.answer(Authority.chain, kind="application/pem-certificate-chain")
        else:
            self.answer(self.order())


if __name__ == "__main__":
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=authority of the tests"]
    subprocess.run(["openssl", "req", "-x509", *key, "-out", "ca.pem", "-keyout", "ca.key"], cwd=FOLDER, check=True, capture_output=True)
    http.server.ThreadingHTTPServer((ADDRESS, PORT), Authority).serve_forever()
