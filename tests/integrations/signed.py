"""The GitHub Action with a registry behind IAM: it asks GitHub for the job's identity token, has STS lend it a role, and signs every
call, which botocore checks. GitHub and STS are stand-ins that note what they are asked; then MiniStack's STS, which enforces the
role's trust policy. No secret is in any output or file.

Needs act and Node on PATH, and the debug build of `portmasterd`.
"""

import json
import pathlib
import re
import subprocess
import threading
import urllib.parse
from datetime import datetime, timedelta, timezone

import boto3

from ground import Gate, Run, Service, play, run, take, until, workflow
# ground has made these two known.
from common import REGION, ROOT_KEY, ministack
from standins import KEY, SECRET, SUBJECT, TIME, by_botocore, odd_requests, pipeline_role, server, token

ROLE = "arn:aws:iam::123456789012:role/portmaster-PipelineRole-ABC"
REQUEST_TOKEN = "hidden-request-token"


class Aws:
    """GitHub's issuer and AWS's STS, and what they have given out."""

    def __init__(self, subject=SUBJECT, lifetime=3600):
        self.subject, self.lifetime, self.lock = subject, timedelta(seconds=lifetime), threading.Lock()
        self.tokens, self.assumed, self.keys, self.wrong = [], [], {}, []
        # The first request to each is refused as if by an overload.
        self.busy = {"issuer", "sts"}

    def issuer(self, _method, path, headers, _body):
        if "issuer" in self.busy:
            self.busy.remove("issuer")
            return 503, "{}"
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        if headers.get("authorization") != f"bearer {REQUEST_TOKEN}" or query != {"api-version": ["2.0"], "audience": ["sts.amazonaws.com"]}:
            self.wrong.append((path, headers))
        with self.lock:
            self.tokens.append(token(self.subject, query["audience"][0], jti=f"token-{len(self.tokens)}"))
            return 200, json.dumps({"value": self.tokens[-1]})

    def sts(self, method, path, headers, body):
        if "sts" in self.busy:
            self.busy.remove("sts")
            return 503, "<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error></ErrorResponse>"
        form = dict(urllib.parse.parse_qsl(body.decode()))
        if (method, path) != ("POST", "/") or "authorization" in headers:
            self.wrong.append((method, path, headers))
        with self.lock:
            number = len(self.assumed)
            self.assumed.append(form)
            key = f"ASIAEXAMPLE{number}"
            self.keys[key] = (f"hidden-key/{number}+", f"hidden-session=/+{number}==")
        secret, session = self.keys[key]
        expires = (datetime.now(timezone.utc) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{session}</SessionToken>"
        text = f"<Result><Credentials>{text}<Expiration>{expires}</Expiration></Credentials></Result>"
        return 200, text, {"content-type": "text/xml"}

    def secrets(self):
        return [REQUEST_TOKEN, *self.tokens, *(part for keys in self.keys.values() for part in keys)]


def job_of(issuer, sts):
    """Returns the variables of a job that may ask for a token."""
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer}/token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
        "AWS_ENDPOINT_URL_STS": sts,
    }


def assumes(checks, url):
    """A job with a role, whose keys have to be replaced while it runs."""
    check, service = checks.check, Service(url, "assumes")
    # Keys are replaced five minutes before they expire: these at every renewal but those of the first second.
    aws, signatures = Aws(lifetime=301), []

    def verify(seen):
        headers = seen["headers"]
        key = re.search(r"Credential=([^/]+)/", headers.get("authorization", ""))
        if key is None or key[1] not in aws.keys:
            signatures.append((False, seen))
            return
        secret, session = aws.keys[key[1]]
        expected = by_botocore(seen["method"], gate.url + seen["path"], headers, seen["body"].encode(), session, key[1], secret)
        signatures.append((headers["authorization"] == expected and headers["x-amz-security-token"] == session, seen))

    with server(aws.issuer) as issuer, server(aws.sts) as sts, Gate(url, check=verify) as gate:
        steps = take(gate.url, service.name, name="a~b", lease="6s", role_to_assume=ROLE, aws_region=REGION) + run(f"""
            cp -r "$RUNNER_TEMP/.." "$HOME/kept"
            first=$(date -d '${{{{ steps.port.outputs.expires-at }}}}' +%s)
            {until(f'test "$(curl -s {service.url}/ports/a~b | jq -r .expires_at | date -f - +%s)" -gt $((first + 2))')}
        """)
        more = take(gate.url, service.name, id="more", ports="a,b", role_to_assume=ROLE, aws_region=REGION)
        with Run(workflow(more + steps), run=17, environment={**job_of(issuer, sts)}) as job:
            code, log = job.end()
            kept = [path for path in job.folder.rglob("*") if path.is_file() and "/repository/" not in str(path)]
            leaks = [(secret, path) for path in kept for secret in aws.secrets() if secret.encode() in path.read_bytes()]
    check("assumes: the job is green", code == 0, log)
    check("assumes: botocore signs every call in the same way", signatures and all(holds for holds, _ in signatures), signatures)
    methods = {seen["method"] for _, seen in signatures}
    check("assumes: of every kind, with an owner that needs encoding", methods == {"PUT", "POST", "DELETE"} and
          any("owner=gh%2Four-org%2Fshop" in seen["path"] for _, seen in signatures), methods)
    check("assumes: GitHub and STS were asked as they want it", not aws.wrong, aws.wrong)
    used = [form["WebIdentityToken"] for form in aws.assumed]
    check("assumes: each assumption has a token of its own", len(set(used)) == len(used) >= 4, used)
    form = aws.assumed[0] if aws.assumed else {}
    check("assumes: the role", (form.get("Action"), form.get("RoleArn")) == ("AssumeRoleWithWebIdentity", ROLE), form)
    session = form.get("RoleSessionName", "")
    check("assumes: its session is named after the run", re.fullmatch(r"gh-our-org-shop-17-test-0-1-[0-9a-f]{16}", session), session)
    # The token and three parts of a key, each time that a step or its post assumes the role.
    check("assumes: each secret is masked", len(re.findall(r"⚙  \*\*\*$", log, re.M)) >= 4 * 4, log)
    check("assumes: no secret is in the log", not [secret for secret in aws.secrets() if secret in log], log)
    check("assumes: files were looked at", any("kept" in str(path) for path in kept), kept)
    check("assumes: no secret is in a file", not leaks, leaks)
    check("assumes: nothing is left", service.ports() == {}, service.ports())


def odd(checks, _url):
    """Requests with odd paths, queries, headers and bodies, one by one."""
    host = "https://abc123.execute-api.eu-west-1.amazonaws.com"
    requests = odd_requests()
    lines = [
        {"method": method, "url": host + path, "headers": headers, "body": body, "time": TIME, "token": token, "key": KEY, "secret": SECRET}
        for method, path, headers, body, token in requests
    ]
    script = pathlib.Path(__file__).with_name("sign.mjs")
    signed = subprocess.run(["node", script, REGION], input=json.dumps(lines), capture_output=True, text=True, check=True).stdout
    for line, sent in zip(lines, json.loads(signed), strict=True):
        expected = by_botocore(line["method"], sent["url"], sent["headers"], line["body"].encode(), line["token"])
        what = f"{line['method']} {line['url'].removeprefix(host)} {line['body'][:20]!r}"
        checks.check(f"{what}: botocore signs it in the same way", sent["headers"]["authorization"] == expected, f"{sent}\n{expected}")


def environment(checks, url):
    """Keys that a step before has put into the environment."""
    service, signatures = Service(url, "environment"), []
    key, secret, session = "AKIDEXAMPLE", "hidden/key+1", "hidden-token=="

    def verify(seen):
        expected = by_botocore(seen["method"], gate.url + seen["path"], seen["headers"], seen["body"].encode(), session, key, secret)
        signatures.append(seen["headers"].get("authorization") == expected)

    keys = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": session}
    with Gate(url, check=verify) as gate:
        steps = take(gate.url, service.name, aws_region=REGION) + run("true")
        with Run(workflow(steps), environment=keys) as job:
            code, log = job.end()
    checks.check("environment: the job is green", code == 0, log)
    checks.check("environment: both calls are signed", signatures == [True, True], signatures)
    checks.check("environment: no secret is in the log", secret not in log and session not in log, log)


def denied(checks, url):
    """MiniStack's STS, which enforces the role's trust policy."""
    service = Service(url, "denied")
    with ministack("iam,sts", auth=True) as sts:
        role = pipeline_role(boto3.client("iam", endpoint_url=sts, **ROOT_KEY))
        steps = take(url, service.name, role_to_assume=role, aws_region=REGION) + run("true")
        for subject, allowed in ((SUBJECT, True), ("repo:stranger@9/shop@456:ref:refs/heads/main", False)):
            aws = Aws(subject)
            with server(aws.issuer) as issuer, Run(workflow(steps), environment=job_of(issuer, sts)) as job:
                code, log = job.end()
            checks.check(f"{subject}: allowed is {allowed}", (code == 0) == allowed, log)
            checks.check(f"{subject}: no secret is in the log", not [secret for secret in aws.secrets() if secret in log], log)
            if not allowed:
                said = f"AWS does not let the job's identity token assume {role}: AccessDenied"
                checks.check(f"{subject}: the error says so, and what to compare", said in log and "trust policy" in log, log)
    checks.check("denied: nothing is left", service.ports() == {}, service.ports())


play("signed", [odd, assumes, environment, denied])
