"""The client and the command line against other implementations of AWS's protocols: signatures that botocore must arrive at too,
for odd paths, queries and bodies; what the command line really sends; certificates that it trusts; and a role that a job's identity token assumes at MiniStack's
STS, which enforces the role's trust policy, for the right subject and for wrong ones.

Needs the binaries of `cargo test --workspace`: `portmaster`, `portmasterd`, and the client's example `sign`.
"""

import hashlib
import ipaddress
import json
import pathlib
import re
import ssl
import subprocess
import tempfile
import uuid
from datetime import UTC, datetime, timedelta

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from common import REGION, ROOT_KEY, Checks, ministack
from standins import KEY, SECRET, SUBJECT, TARGET, TIME, by_botocore, odd_requests, pipeline_role, registry, server, token

HOST = "https://abc123.execute-api.eu-west-1.amazonaws.com"


def signatures(checks):
    """Compares the signer with botocore, request by request."""
    unsigned = [
        {"method": method, "url": HOST + path, "headers": headers, "body": body, "time": TIME, "token": token}
        for method, path, headers, body, token in odd_requests()
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


def certificate(folder, days, signer=None):
    """Makes a certificate that is valid from yesterday for so many days, of an authority or, with its key and name, of this machine;
    returns its file, its key and its name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server" if signer else "authority")])
    begins = datetime.now(UTC) - timedelta(days=1)
    signing, issuer = signer or (key, name)
    built = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number(), begins, begins + timedelta(days=days))
    built = built.add_extension(x509.BasicConstraints(ca=not signer, path_length=None), critical=True)
    if signer:
        built = built.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    file = pathlib.Path(folder) / f"{uuid.uuid4().hex}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) if signer else b""
    file.write_bytes(built.sign(signing, hashes.SHA256()).public_bytes(Encoding.PEM) + private)
    return file, key, name


def certificates(checks):
    """Only a certificate of a trusted authority is one, and only in its time; the doctor says so."""
    with tempfile.TemporaryDirectory() as folder:
        authority, *signer = certificate(folder, 30)
        for days, trusts, well in ((30, authority, True), (30, None, False), (30, certificate(folder, 30)[0], False), (0.5, authority, False)):
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate(folder, days, signer)[0])
            problem = {"type": "/problems/not-found", "title": "There is nothing at this path", "status": 404, "detail": "", "instance": "1"}
            with server(lambda *_: (404, json.dumps(problem), {"content-type": "application/problem+json"}), tls) as url:
                given = {"SSL_CERT_FILE": str(trusts)} if trusts else {}
                doctor = portmaster("doctor", "-o", "json", "--url", url, **given)
            found = {check["check"]: check for check in json.loads(doctor.stdout)}["connection"]
            what = f"a certificate of {days} days, {'an authority' if trusts == authority else 'another' if trusts else 'none'} trusted"
            checks.check(f"{what}: connected is {well}", (found["outcome"] == "ok") == well, found)
            checks.check(f"{what}: that is said", ("the certificate is trusted" if well else "no secure connection") in found["detail"], found)


def roles(checks):
    """Assumes a role with a job's token, at an STS that enforces the role's trust policy."""
    with ministack("iam,sts", auth=True) as aws, registry() as url:
        iam = boto3.client("iam", endpoint_url=aws, **ROOT_KEY)
        role = pipeline_role(iam)
        asked = []

        def issuer(subject):
            def answer(_method, path, headers, _body):
                asked.append((path, headers["authorization"]))
                return 200, json.dumps({"value": token(subject, re.search(r"audience=([^&]+)", path)[1])})

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
            checks.check(f"{subject}: no secret is printed", "hidden-request-token" not in said and token(subject, "sts.amazonaws.com") not in said, said)
            if allowed:
                checks.check("the job has its port", json.loads(run.stdout)["owner"] == "gh/our-org/shop/17/deploy/0", said)
                checks.check("the doctor finds the role", f"{role}, assumed with GitHub's identity token" in doctor.stdout, said)
            else:
                checks.check(f"{subject}: the refusal is AWS's", "does not let GitHub's identity token assume" in run.stderr, said)
                checks.check(f"{subject}: the doctor names what fails", '"check": "identity",\n    "outcome": "failed"' in doctor.stdout, said)
        checks.check("each assumption asked for a token of its own", len(asked) == 6, asked)
        checks.check("a token is asked for as GitHub wants it", {header for _, header in asked} == {"bearer hidden-request-token"}, asked)
        given = portmaster("take", "web", "job", **common, PORTMASTER_ID_TOKEN=token(SUBJECT, "sts.amazonaws.com"))
        checks.check("a token that the job was started with", given.returncode == 0, given.stderr)
        other = portmaster("take", "web", "job", **common, PORTMASTER_ID_TOKEN=token(SUBJECT, "somebody-else"))
        checks.check("a token for another audience", other.returncode == 1, other.stderr)


def main():
    checks = Checks("client")
    signatures(checks)
    sent(checks)
    certificates(checks)
    roles(checks)
    checks.finish()


main()
