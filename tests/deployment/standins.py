"""What stands in for the world outside, for the tests of whatever calls a registry: a server whose answers a function gives, the
local server as a process, an identity token, and botocore as the judge of signatures."""

import contextlib
import json
import re
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from common import ACCOUNT, REGION, ROOT, identity_token, wait_for

TARGET = ROOT / "target" / "debug"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
# When the tokens were issued, and their requests signed, where a test wants a time that it knows.
TIME = 1_796_000_000
# As GitHub writes it for a repository that is new.
SUBJECT = "repo:our-org@123/shop@456:ref:refs/heads/main"


def by_botocore(method, url, headers, body, token=None, key=KEY, secret=SECRET):
    """Returns the Authorization that botocore computes for a request that was sent with these headers, of which it takes those
    that were signed."""
    signed = re.search(r"SignedHeaders=([^,]+)", headers["authorization"])[1].split(";")
    request = AWSRequest(method, url, data=body, headers={name: headers[name] for name in signed if name != "host"})
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials(key, secret, token), "execute-api", REGION)
    canonical = auth.canonical_request(request)
    scope, names = auth.credential_scope(request), auth.signed_headers(auth.headers_to_sign(request))
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    return f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"


def odd_requests():
    """Returns requests on which signers have differed: method, path with query, headers, body, and the session's token."""
    paths = ["/", "/v1/services", "/v1/a~b/c_d-e.f", "/v1/a%20b", "/v1/a%2Fb", "/v1/%25", "/v1/a//b", "/v1/a/", "/v1/ü", "/v1/a+b", "/v1/a=b&c", "/v1/a:b@c", "/v1/(a)*!'"]
    queries = ["", "?a=1", "?b=2&a=1", "?limit=10&cursor=abc", "?a=2&a=1", "?a", "?a=", "?owner=a%20b%2Fc", "?owner=%2A", "?label=run%3A17&label=leg%3A0", "?x=%C3%BC", "?a=b%3Dc", "?A=1&a=2", "?a-b=1&a.b=2&a_b=3&a~b=4"]
    bodies = ["", "{}", '{"name": "web-01"}', '{"description": "ü \u2603"}', " " * 5000]
    requests = []
    for path in paths:
        for query in queries:
            requests.append(("GET", path + query, {}, "", None))
    for body in bodies:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            requests.append((method, "/v1/services/web/ports/job?owner=a", {"content-type": "application/json"}, body, "token=/+="))
    requests.append(("PUT", "/v1/x", {"if-none-match": "*", "content-type": "application/json", "x-request-id": "a  b"}, "{}", None))
    requests.append(("PUT", "/v1/x", {"if-match": '"f64a5456"'}, "", "a" * 900))
    return requests


@contextlib.contextmanager
def server(answer, tls=None):
    """Runs a server whose answers a function gives, as status, body and perhaps headers; yields its URL. `tls`: an SSLContext."""

    class Handler(BaseHTTPRequestHandler):
        def do(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text, *more = answer(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in (more[0] if more else {"content-type": "application/json"}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = do_DELETE = do

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        if tls:
            # Not in the thread that accepts: a client that breaks off would end it.
            running.socket = tls.wrap_socket(running.socket, server_side=True, do_handshake_on_connect=False)
            running.handle_error = lambda *_: None
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{running.server_port}"
        running.shutdown()


@contextlib.contextmanager
def registry(*options):
    """Runs the local server; yields its URL."""
    command = [TARGET / "portmasterd", "--listen", "127.0.0.1:0", "--in-memory", *options]
    with tempfile.TemporaryFile("w+") as log, tempfile.NamedTemporaryFile("w+") as greeting:
        running = subprocess.Popen(command, stdout=greeting, stderr=log)
        try:
            yield wait_for("the registry", 20, lambda: re.search(r"^Portmaster listens on (\S+)", open(greeting.name).read(), re.M))[1]
        finally:
            running.terminate()
            running.wait(20)


def token(subject, audience, **more):
    """A token that was issued at TIME."""
    return identity_token(subject, audience, iat=TIME, **more)


def pipeline_role(iam):
    """Makes a role that the jobs of SUBJECT may assume with their token; returns its ARN."""
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
    trust = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {
                "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
                "token.actions.githubusercontent.com:sub": SUBJECT,
            }},
        }],
    }  # fmt: skip
    return iam.create_role(RoleName="pipeline", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
