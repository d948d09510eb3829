"""The client and the command line against other implementations of AWS's protocols: signatures that botocore must arrive at too,
for odd paths, queries and bodies; what the command line really sends; and a role that a job's identity token assumes at MiniStack's
STS, which enforces the role's trust policy, for the right subject and for wrong ones.

Needs the binaries of `cargo test --workspace`: `portmaster`, `portmasterd`, and the client's example `sign`.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from common import ACCOUNT, REGION, ROOT, ROOT_KEY, Checks, identity_token, ministack, wait_for

TARGET = ROOT / "target" / "debug"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "https://abc123.execute-api.eu-west-1.amazonaws.com"
TIME = 1_796_000_000
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


def signatures(checks):
    """Compares the signer with botocore, request by request."""
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
    unsigned = [
        {"method": method, "url": HOST + path, "headers": headers, "body": body, "time": TIME, "token": token}
        for method, path, headers, body, token in requests
    ]
    text = "".join(json.dumps(line) + "\n" for line in unsigned)
    lines = subprocess.run([TARGET / "examples" / "sign"], input=text.encode(), capture_output=True, check=True).stdout.splitlines()
    checks.check("every request was signed", len(lines) == len(unsigned), len(lines))
    for asked, line in zip(unsigned, lines):
        sent = json.loads(line)
        expected = by_botocore(asked["method"], sent["url"], sent["headers"], asked["body"].encode(), asked["token"])
        what = f"{asked['method']} {asked['url'].removeprefix(HOST)} {asked['body'][:20]!r}"
        checks.check(f"{what}: botocore signs it in the same way", sent["headers"]["authorization"] == expected, f"{line}\n{expected}")
        digest = hashlib.sha256(asked["body"].encode()).hexdigest()
        checks.check(f"{what}: the body is signed", sent["headers"]["x-amz-content-sha256"] == digest, line)


@contextlib.contextmanager
def server(answer):
    """Runs a server whose answers a function gives, as status and body; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = answer(self.command, self.path, headers, body)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = do_DELETE = do

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def portmaster(*line, **variables):
    """Runs the command line with nothing but these variables; returns what subprocess does."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "USER": "ada", **variables}
        return subprocess.run([TARGET / "portmaster", *line], env=environment, cwd=home, capture_output=True, text=True)


def sent(checks):
    """Checks the signatures of what the command line sends over the wire, with owners and labels that need encoding."""
    seen = []

    def registry(method, path, headers, body):
        seen.append((method, path, headers, body))
        return 200, '[]' if method == "GET" else json.dumps({"service": "web", "name": "job", "port": 5000, "created": "2026-11-30T10:00:00.000Z"})

    with server(registry) as url:
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": "token=/+=", "PORTMASTER_REGION": REGION, "PORTMASTER_URL": url}
        for owner in ("plain", "a b", "gh/o/r/1/j: [x, y]/0", "a+b&c=d%20#e?f", "~!@$^*()_-;',."):
            for line in (("release", "web", "job"), ("list", "web", "--mine", "--label", "team=a b,run=1:2"), ("take", "web", "job", "--label", "x=\"y\"")):
                run = portmaster(*line, "--owner", owner, **keys)
                checks.check(f"{line[0]} as {owner!r} is sent", run.returncode == 0, run.stderr)
        for method, path, headers, body in seen:
            host = {"host": headers["host"]}
            expected = by_botocore(method, url + path, headers, body, "token=/+=")
            checks.check(f"{method} {path}: botocore signs it in the same way", headers.get("authorization") == expected, (host, headers, expected))
        checks.check("all were signed", len(seen) == 15, len(seen))


@contextlib.contextmanager
def registry():
    """Runs the local server; yields its URL."""
    with tempfile.TemporaryFile("w+") as log, tempfile.NamedTemporaryFile("w+") as greeting:
        running = subprocess.Popen([TARGET / "portmasterd", "--listen", "127.0.0.1:0", "--in-memory"], stdout=greeting, stderr=log)
        try:
            yield wait_for("the registry", 20, lambda: re.search(r"^Portmaster listens on (\S+)", open(greeting.name).read(), re.M))[1]
        finally:
            running.terminate()
            running.wait(20)


def roles(checks):
    """Assumes a role with a job's token, at an STS that enforces the role's trust policy."""
    with ministack("iam,sts", auth=True) as aws, registry() as url:
        iam = boto3.client("iam", endpoint_url=aws, **ROOT_KEY)
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
        role = iam.create_role(RoleName="pipeline", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        asked = []

        def issuer(subject):
            def answer(_method, path, headers, _body):
                asked.append((path, headers["authorization"]))
                return 200, json.dumps({"value": identity_token(subject, re.search(r"audience=([^&]+)", path)[1])})

            return answer

        common = {"PORTMASTER_URL": url, "PORTMASTER_ROLE_ARN": role, "PORTMASTER_REGION": REGION, "AWS_ENDPOINT_URL_STS": aws}
        portmaster("service", "put", "web", "--start", "5000", "--end", "5009", PORTMASTER_URL=url)
        for subject, allowed in ((SUBJECT, True), ("repo:our-org@123/shop@456:pull_request", False), ("repo:stranger@9/shop@456:ref:refs/heads/main", False)):
            with server(issuer(subject)) as github:
                job = {
                    "ACTIONS_ID_TOKEN_REQUEST_URL": f"{github}/token?api-version=2.0",
                    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "hidden-request-token",
                    "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "our-org/shop", "GITHUB_RUN_ID": "17", "GITHUB_JOB": "deploy", "PORTMASTER_JOB_INDEX": "0",
                }  # fmt: skip
                run = portmaster("take", "web", "-vv", "-o", "json", **common, **job)
                doctor = portmaster("doctor", "-o", "json", **common, **job)
            said = run.stdout + run.stderr + doctor.stdout + doctor.stderr
            checks.check(f"{subject}: allowed is {allowed}", (run.returncode == 0) == allowed, said)
            checks.check(f"{subject}: no secret is printed", "hidden-request-token" not in said and identity_token(subject) not in said, said)
            if allowed:
                checks.check("the job has its port", json.loads(run.stdout)["owner"] == "gh/our-org/shop/17/deploy/0", said)
                checks.check("the doctor finds the role", f"{role}, assumed with GitHub's identity token" in doctor.stdout, said)
            else:
                checks.check(f"{subject}: the refusal is AWS's", "does not let GitHub's identity token assume" in run.stderr, said)
                checks.check(f"{subject}: the doctor names what fails", '"check": "identity",\n    "outcome": "failed"' in doctor.stdout, said)
        checks.check("each assumption asked for a token of its own", len(asked) == 6, asked)
        checks.check("a token is asked for as GitHub wants it", {header for _, header in asked} == {"bearer hidden-request-token"}, asked)
        given = portmaster("take", "web", "job", **common, PORTMASTER_ID_TOKEN=identity_token(SUBJECT))
        checks.check("a token that the job was started with", given.returncode == 0, given.stderr)
        other = portmaster("take", "web", "job", **common, PORTMASTER_ID_TOKEN=identity_token(SUBJECT, "somebody-else"))
        checks.check("a token for another audience", other.returncode == 1, other.stderr)


def main():
    checks = Checks("client")
    signatures(checks)
    sent(checks)
    roles(checks)
    checks.finish()


main()
