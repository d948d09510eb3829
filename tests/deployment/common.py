"""Shared by the tests of the deployment: the project's places, MiniStack as a process, and counting checks."""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from types import SimpleNamespace

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = ROOT / "target" / "lambda"
REGION = "eu-west-1"
ACCOUNT = "000000000000"
# The key of the account's root (MiniStack).
ROOT_KEY = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}


# The managed policies that SAM attaches to every function by itself.
SAMS_OWN = ["AWSLambdaBasicExecutionRole", "AWSXRayDaemonWriteAccess", "AWSXrayWriteOnlyAccess"]


def translated():
    """Returns the resources of the template after SAM's transformation, as CloudFormation gets them."""
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    from samtranslator.translator.transform import transform
    from samtranslator.yaml_helper import yaml_parse

    template = yaml_parse((ROOT / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    managed = {name: f"arn:aws:iam::aws:policy/service-role/{name}" for name in SAMS_OWN}
    return transform(template, {}, SimpleNamespace(load=lambda: managed))["Resources"]


def functions():
    """Returns the names of the functions' binaries."""
    return sorted(path.stem for path in (ROOT / "functions" / "src" / "bin").glob("*.rs"))


def bootstrap(function):
    """Returns the path where cargo-lambda put a function's binary."""
    path = BINARIES / function / "bootstrap"
    if not path.exists():
        sys.exit(f"{path} is not there: .ci/functions builds it")
    return path


def free_port():
    """Returns a port on which no process listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, seconds, condition):
    """Waits until the condition returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if value := condition():
                return value
        if time.monotonic() > deadline:
            sys.exit(f"waited {seconds} s in vain for {what}")
        time.sleep(0.2)


@contextlib.contextmanager
def ministack(services=None, auth=False):
    """Runs MiniStack, and yields its URL. Prints the end of its log if anything fails."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    folder = tempfile.mkdtemp(prefix="ministack-")
    log = pathlib.Path(folder) / "log"
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {
        **keep,
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        **({"SERVICES": services} if services else {}),
        "AUTH": str(auth).lower(),
        "MINISTACK_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        # The functions use DynamoDB here, whatever the template says.
        "AWS_ENDPOINT_URL": url,
        "TMPDIR": folder,
    }
    command = ROOT / "target" / "venvs" / "ministack" / "bin" / "ministack"
    with open(log, "w") as out:
        process = subprocess.Popen([command], env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        def answers():
            if process.poll() is not None:
                sys.exit("MiniStack did not start:\n" + log.read_text())
            return urllib.request.urlopen(url + "/_ministack/health", timeout=1).status == 200
        wait_for("MiniStack", 60, answers)
        yield url
    except BaseException:
        print("--- the end of MiniStack's log\n" + "\n".join(log.read_text().splitlines()[-40:]), file=sys.stderr)
        raise
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def make_table(dynamodb, name):
    """Creates a table as the template has it."""
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )


def make_history(dynamodb, name):
    """Creates a table of tenures as the template has it."""
    key = lambda first: [{"AttributeName": first, "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "holder")],
        KeySchema=key("pk"),
        GlobalSecondaryIndexes=[{"IndexName": "by-name", "KeySchema": key("holder"), "Projection": {"ProjectionType": "KEYS_ONLY"}}],
    )


def identity_token(subject, audience="sts.amazonaws.com", **more):
    """Returns a token as GitHub would write it. Its signature is none: MiniStack reads the claims and does not check it."""
    encoded = lambda part: base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    claims = {"iss": "https://token.actions.githubusercontent.com", "aud": audience, "sub": subject, "exp": 4_000_000_000, **more}
    return f"{encoded({'alg': 'RS256', 'typ': 'JWT'})}.{encoded(claims)}.c2lnbmF0dXJl"


def pipeline_session(url, role, subject):
    """Returns the credentials that MiniStack's STS gives for a role to such a token, by the role's trust policy."""
    token = identity_token(subject)
    sts = boto3.client("sts", endpoint_url=url, region_name=REGION, config=Config(signature_version=UNSIGNED))
    key = sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="run", WebIdentityToken=token)["Credentials"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])


class Checks:
    """Counts the checks; a failed one is reported, and the rest still run."""

    def __init__(self, name):
        self.name, self.passed, self.failed = name, 0, 0

    def check(self, what, holds, saw=""):
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {what}\n  {saw}", file=sys.stderr)

    def finish(self):
        print(f"{self.name}: {self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed else 0)
