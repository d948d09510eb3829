"""Deploys the archive that .ci/dist packs with `sam deploy` to MiniStack, which enforces IAM (`AUTH=true`), and does everything
that a user does with it: the README's tour, the tests of the API (the suite that runs against the local server), the two
policies, the schedule, a function without a permission, wrong settings, a wrong parameter, deleting the stack, and a new one
for its table.

MiniStack leaves out the routes and CORS that SAM writes into the API's body, and the table's TTL: they are created here by
hand from the same template. It does not support alarms on a sum of metrics, nor identity providers: they are not deployed.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_dump, yaml_parse

from common import REGION, ROOT, ROOT_KEY, Checks, identity_token, ministack, pipeline_session, translated, wait_for

STACK = "portmaster"
ARCHIVE = ROOT / "dist" / "portmaster-x86_64.zip"
PARAMETERS = {
    "ReconcileMinutes": "2",
    "OfferSeconds": "1800",
    "CorsOrigin": "https://tools.example.com",
    "DeletionProtection": "false",
    "GitHubSubjects": "repo:our-org/our-repo:ref:refs/heads/main",
    "PipelineNamespaces": "team-a,preview-*",
    "CreateOidcProviders": "true",
    "AlarmTopicArn": f"arn:aws:sns:{REGION}:123456789012:alarms",
    "DomainName": "ports.example.com",
    "CertificateArn": f"arn:aws:acm:{REGION}:123456789012:certificate/6f1c5a1e-8a0b-4c57-9d9e-2f3d0c0a7b11",
    "ApiMappingKey": "ports",
    "Tracing": "true",
    "MaxReadUnits": "5000",
}

# An allocation without a service, which only the reconciler removes. No call reaches its namespace, so it may wait for
# the schedule while everything else is tested.
ORPHAN = {"pk": {"S": "N#elsewhere#PORT"}, "sk": {"S": "06000"}}


class Deployment:
    """The stack in MiniStack, and its clients."""

    def __init__(self, url, unpacked):
        self.url, self.unpacked = url, unpacked
        client = lambda service: boto3.client(service, endpoint_url=url, **ROOT_KEY)
        self.cloudformation, self.api, self.functions = client("cloudformation"), client("apigatewayv2"), client("lambda")
        self.dynamodb, self.iam, self.logs, self.sts = client("dynamodb"), client("iam"), client("logs"), client("sts")

    def sam(self, *arguments):
        """Runs a command of SAM's against MiniStack."""
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "SAM_CLI_TELEMETRY": "0",
        }
        command = [str(ROOT / "target/venvs/aws/bin/sam"), *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)

    def deploy(self, parameters):
        """Deploys the contents of the archive, except the resources that MiniStack refuses."""
        template = yaml_parse((self.unpacked / "template.yaml").read_text())
        resources = template["Resources"]
        unknown = lambda resource: resource["Type"] == "AWS::IAM::OIDCProvider" or "Metrics" in resource.get("Properties", {})
        for name in [name for name, resource in resources.items() if unknown(resource)]:
            del resources[name]
        path = self.unpacked / "for-ministack.yaml"
        path.write_text(yaml_dump(template))
        overrides = [f"{name}={value}" for name, value in parameters.items()]
        return self.sam("deploy", "--template-file", str(path), "--stack-name", STACK, "--region", REGION, "--resolve-s3",
            "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar", "--parameter-overrides", *overrides)  # fmt: skip

    def read(self):
        """Reads the properties of the deployed stack: physical names, outputs, and the API's URL here."""
        described = self.cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
        self.physical = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in described}
        outputs = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in outputs}
        self.table = self.physical["Table"]
        self.base = f"{self.url}/_aws/execute-api/{self.physical['Api']}"

    def replay(self):
        """Creates the resources that MiniStack leaves out, from the translated template."""
        resources = translated()
        body, api = resources["Api"]["Properties"]["Body"], self.physical["Api"]
        cors = body["x-amazon-apigateway-cors"]["Fn::If"][1]
        cors = {name[0].upper() + name[1:]: value for name, value in cors.items()}
        cors["AllowOrigins"] = [PARAMETERS["CorsOrigin"]]
        self.api.update_api(ApiId=api, CorsConfiguration=cors)
        integrations = {}
        for path, methods in body["paths"].items():
            for method, operation in methods.items():
                function = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"].split("${")[3].split(".")[0]
                if function not in integrations:
                    arn = self.functions.get_function(FunctionName=self.physical[function])["Configuration"]["FunctionArn"]
                    integrations[function] = self.api.create_integration(ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0", IntegrationMethod="POST")["IntegrationId"]  # fmt: skip
                key = f"{method.upper()} {path}"
                closed = operation["security"] == [{"AWS_IAM": []}]
                self.api.create_route(ApiId=api, RouteKey=key, Target=f"integrations/{integrations[function]}", AuthorizationType="AWS_IAM" if closed else "NONE")  # fmt: skip
        self.dynamodb.update_time_to_live(TableName=self.table, TimeToLiveSpecification=resources["Table"]["Properties"]["TimeToLiveSpecification"])  # fmt: skip

    def user(self, name, policy):
        """Creates an IAM user with one policy; returns its credentials."""
        self.iam.create_user(UserName=name)
        self.iam.attach_user_policy(UserName=name, PolicyArn=policy)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def call(self, credentials, method, path, body=None):
        """Calls the deployed API, signed; returns status and body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} if data else {}
        request = AWSRequest(method, self.base + path, headers=headers, data=data)
        if credentials:
            SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
        plain = urllib.request.Request(request.url, data, dict(request.headers), method=method)
        try:
            with urllib.request.urlopen(plain, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text) if text else None
        except ValueError:
            return status, text.decode()

    def restart(self, function, **variables):
        """Restarts a function with these variables in its environment."""
        name = self.physical[function]
        known = self.functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        fresh = {**known, **variables, "RESTARTED": str(time.time_ns())}
        self.functions.update_function_configuration(FunctionName=name, Environment={"Variables": fresh})
        return known

    def empty(self):
        """Empties the table, except for the orphan, and restarts the functions that remember which ports are taken."""
        keys = {"ProjectionExpression": "pk, sk", "TableName": self.table}
        for page in self.dynamodb.get_paginator("scan").paginate(**keys):
            for item in (item for item in page["Items"] if item != ORPHAN):
                self.dynamodb.delete_item(TableName=self.table, Key=item)
        for function in ("CreateOfferFunction", "PutPortFunction", "PutSetFunction", "ImportPortsFunction"):
            self.restart(function)

    def logged(self, pattern):
        """Returns the lines of the functions' log that match."""
        lines = []
        for page in self.logs.get_paginator("filter_log_events").paginate(logGroupName=self.outputs["LogGroup"]):
            lines += [event["message"] for event in page["events"]]
        return [line for line in lines if re.search(pattern, line)]


def tour(deployment, credentials, checks):
    """Runs the README's tour, as it stands there; curl signs because of its settings file."""
    page = (ROOT / "README.md").read_text()
    commands = re.search(r"^<!-- tour:.*?-->\n+```\w*\n(.*?)^```$", page, re.M | re.S)[1]
    with tempfile.TemporaryDirectory() as home:
        settings = f'aws-sigv4 = "aws:amz:{REGION}:execute-api"\nuser = "{credentials.access_key}:{credentials.secret_key}"\n'
        (pathlib.Path(home) / ".curlrc").write_text(settings)
        environment = {**os.environ, "CURL_HOME": home, "PORTMASTER": deployment.base}
        run = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], env=environment, capture_output=True, text=True)
    for expected in ('"start":5000,"end":5999', '"secret":"', '"port":5000,"created":"', "/problems/name-taken"):
        checks.check(f"the tour shows {expected}", expected in run.stdout, run.stdout + run.stderr)
    checks.check("the tour comes to its end", run.returncode == 0, run.stdout + run.stderr)
    checks.check("and leaves nothing", deployment.call(credentials, "GET", "/v1/services") == (200, []))


def suite(deployment, credentials, checks):
    """Runs the tests of the API against this deployment."""

    class Reset(BaseHTTPRequestHandler):
        def do_POST(self):
            deployment.empty()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Reset)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "PORTMASTER_TEST_URL": deployment.base,
        "PORTMASTER_TEST_RESET_URL": f"http://127.0.0.1:{server.server_port}/",
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_REGION": REGION,
        "RUST_BACKTRACE": "0",
    }
    # Of the whole workspace, as in .ci/run: for one package alone Cargo chooses other features, and builds the SDK again.
    command = ["cargo", "test", "--workspace", "--locked", "--test", "api", "--", "--test-threads=1"]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    print("\n".join(line for line in run.stdout.splitlines() if line.startswith("test ")))
    checks.check("the tests of the API pass", run.returncode == 0, run.stdout[-12_000:] + run.stderr[-1_000:])
    server.shutdown()
    deployment.empty()


def own_roles(deployment, checks):
    """Checks that every route has been answered with success by now, and so by its own function, with that function's role."""
    lines = [json.loads(line) for line in deployment.logged('"target":"portmaster::request"')]
    answered = {(line["method"], line["route"]) for line in lines if line["status"] < 300}
    paths = translated()["Api"]["Properties"]["Body"]["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods if path not in ("/", "/{proxy+}")}
    checks.check("every function did its work with its own role", routes <= answered, routes - answered)
    refused = [line for line in lines if "AccessDenied" in line.get("cause", "")]
    checks.check("and was refused nothing but what was taken from it above", len(refused) == 2, refused[:3])


def policies(deployment, admin, checks):
    """Checks the calls that each policy allows."""
    user = deployment.user("user", deployment.outputs["UserPolicyArn"])
    service = {"name": "django", "start": 5000, "end": 5009}
    checks.check("nobody may call unsigned", deployment.call(None, "GET", "/v1/services")[0] == 403)
    checks.check("but GET /health", deployment.call(None, "GET", "/health") == (200, {"status": "ok"}))
    checks.check("a user makes no service", deployment.call(user, "POST", "/v1/services", service)[0] == 403)
    checks.check("an admin does", deployment.call(admin, "POST", "/v1/services", service)[0] == 201)
    checks.check("a user deletes no service", deployment.call(user, "DELETE", "/v1/services/django")[0] == 403)
    status, offer = deployment.call(user, "POST", "/v1/services/django/offers", {"name": "web-01"})
    checks.check("a user takes an offer", status == 201, offer)
    own = f"/v1/services/django/offers/{offer['secret']}"
    checks.check("reads it", deployment.call(user, "GET", own)[0] == 200)
    checks.check("accepts it", deployment.call(user, "POST", own + "/accept")[0] == 201)
    checks.check("finds it", deployment.call(user, "GET", "/v1/ports/5000")[1].get("name") == "web-01")
    checks.check("and releases it", deployment.call(user, "DELETE", "/v1/services/django/ports/web-01")[0] == 204)
    return user


def tenants(deployment, admin, checks):
    """A team that the policy of the page on deploying lets into its namespace reaches that, and nothing else."""
    page = (ROOT / "docs/deploying.md").read_text()
    text = page.split("**One team's administrators**")[1].split("```json\n")[1].split("```")[0]
    for word, value in (("REGION", REGION), ("ACCOUNT", "*"), (":API/", f":{deployment.physical['Api']}/")):
        text = text.replace(word, value)
    policy = deployment.iam.create_policy(PolicyName="team-a", PolicyDocument=text)["Policy"]["Arn"]
    team = deployment.user("team-a", policy)
    service = {"start": 5000, "end": 5009}
    for namespace in ("team-a", "team-b"):
        checks.check(f"an admin makes {namespace}", deployment.call(admin, "PUT", f"/v1/namespaces/{namespace}", {})[0] == 201)
    own, theirs = "/v1/namespaces/team-a/services/web", "/v1/namespaces/team-b/services/web"
    checks.check("the team makes a service", deployment.call(team, "PUT", own, service)[0] == 201)
    checks.check("an admin makes the other team's", deployment.call(admin, "PUT", theirs, service)[0] == 201)
    status, port = deployment.call(team, "PUT", f"{own}/ports/api", {"owner": "job-1", "lease_seconds": 600})
    checks.check("the team takes a port", (status, port.get("port")) == (201, 5000), port)
    checks.check("it sees its namespace", deployment.call(team, "GET", "/v1/namespaces/team-a")[0] == 200)
    before = deployment.call(admin, "GET", f"{theirs}/map")
    others = [
        ("GET", "/v1/namespaces"), ("GET", "/v1/services"), ("GET", "/v1/ports/5000"), ("DELETE", "/v1/namespaces/team-a"),
        ("PUT", "/v1/namespaces/team-c"), ("GET", "/v1/namespaces/team-b"), ("GET", theirs), ("DELETE", theirs),
        ("PUT", f"{theirs}/ports/api"), ("GET", f"{theirs}/map"), ("POST", "/v1/namespaces/team-b/services"),
        ("GET", "/v1/namespaces/team-ab/services"),
    ]  # fmt: skip
    for method, path in others:
        body = {} if method in ("PUT", "POST") else None
        checks.check(f"the team may not {method} {path}", deployment.call(team, method, path, body)[0] == 403)
    hostile = (
        "/v1/namespaces/team-a/../team-b/services/web", "/v1/namespaces/team-a/..%2fteam-b/services/web",
        "/v1/namespaces/team-a%2f..%2fteam-b/services/web", "/v1/namespaces/team-a/%2e%2e/team-b/services/web",
        "/v1/namespaces/team-a/%252e%252e/team-b/services/web", "/v1/namespaces/team-a/services/..%2f..%2fteam-b%2fservices%2fweb",
        "//v1/namespaces/team-b/services/web", "/v1/namespaces/team%2Db/services/web",
    )  # fmt: skip
    for path in hostile:
        for method in ("GET", "DELETE"):
            status, answer = deployment.call(team, method, path)
            checks.check(f"{method} {path} reaches nothing", status in (400, 403, 404), (status, answer))
    checks.check("the other team's service is as it was", deployment.call(admin, "GET", f"{theirs}/map") == before)


def permission(deployment, admin, checks):
    """A function whose role lacks one action fails at it, and reports that in the log: the roles are enforced."""
    role = deployment.physical["AcceptOfferFunctionRole"]
    [name] = deployment.iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = deployment.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    less = json.loads(json.dumps(document))
    less["Statement"][0]["Action"].remove("dynamodb:UpdateItem")
    _, offer = deployment.call(admin, "POST", "/v1/services/django/offers", {"name": "web-02"})
    accept = f"/v1/services/django/offers/{offer['secret']}/accept"
    deployment.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(less))
    status, answer = deployment.call(admin, "POST", accept)
    checks.check("without dynamodb:UpdateItem nothing is accepted", (status, answer.get("type")) == (503, "/problems/unavailable"), answer)
    deployment.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
    checks.check("with it, it is", deployment.call(admin, "POST", accept)[0] == 201)
    lines = wait_for("the refusal in the log", 30, lambda: deployment.logged("AccessDenied|not authorized"))
    checks.check("the log names the missing action", any("dynamodb:UpdateItem" in line for line in lines), lines[:2])
    checks.check("and no secret", not deployment.logged(offer["secret"]))


def wrong_settings(deployment, admin, checks):
    """A function with a wrong table or endpoint reports that."""
    for variables, expected in (
        # (Its role allows its own table alone, so that refusal is reported first.)
        ({"TABLE_NAME": "no-such-table"}, "DynamoDB refused: .*GetServiceFunction.* is not authorized"),
        ({"DYNAMODB_ENDPOINT": "http://127.0.0.1:1"}, "did not answer in time.*(refused|dispatch failure)"),
    ):
        known = deployment.restart("GetServiceFunction", **variables)
        status, answer = deployment.call(admin, "GET", "/v1/services/django")
        checks.check(f"{variables}: 503", (status, answer.get("type")) == (503, "/problems/unavailable"), answer)
        said = lambda: deployment.logged(expected) or (time.monotonic() > started + 20 and ["nothing"])
        started = time.monotonic()
        lines = wait_for("the cause in the log", 30, said)
        checks.check(f"{variables}: the log says why", lines != ["nothing"], deployment.logged('"cause"')[-3:])
        deployment.functions.update_function_configuration(FunctionName=deployment.physical["GetServiceFunction"], Environment={"Variables": known})
    checks.check("right again", deployment.call(admin, "GET", "/v1/services/django")[0] == 200)


def leave_an_orphan(deployment):
    """Puts the orphan into the table; returns the time."""
    rest = {"service": {"S": "nobody"}, "name": {"S": "web-01"}, "state": {"S": "allocated"}, "secret": {"S": "17700000-0000-8000-8000-000000000000"}, "created": {"N": "1"}, "accepted": {"N": "1"}}  # fmt: skip
    deployment.dynamodb.put_item(TableName=deployment.table, Item={**ORPHAN, **rest})
    return time.monotonic()


def schedule(deployment, checks, started):
    """The schedule runs the reconciler: an item that only the reconciler removes is removed."""
    gone = lambda: "Item" not in deployment.dynamodb.get_item(TableName=deployment.table, Key=ORPHAN)
    wait_for("the schedule to run the reconciler", 300, gone)
    print(f"the reconciler had come after {time.monotonic() - started:.0f} s")
    lines = wait_for("the reconciler's line", 30, lambda: deployment.logged('"orphaned_allocations":1'))
    checks.check("the reconciler tells what it found", lines)
    checks.check("and counts it", deployment.logged(r'"ReconcilerInconsistencies":\[1\.0\]'))


def schedules_role(deployment, checks):
    """The schedule's role can be assumed only for this account's schedules, and can only run the reconciler."""
    role = deployment.iam.get_role(RoleName=deployment.physical["ScheduleRole"])["Role"]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    account = trust["Condition"]["StringEquals"]["aws:SourceAccount"]
    checks.check("its account is asked for", f":{account}:" in role["Arn"] or f"::{account}:" in role["Arn"], trust)
    attached = deployment.iam.list_attached_role_policies(RoleName=role["RoleName"])["AttachedPolicies"]
    checks.check("it has one policy", [policy["PolicyArn"] for policy in attached] == [deployment.physical["SchedulePolicy"]], attached)


def pipeline(deployment, checks):
    """Checks the trust and the permissions of the role for pipelines. (GitHub issues no token here: one is made up.)"""
    role = deployment.iam.get_role(RoleName=deployment.physical["PipelineRole"])["Role"]
    # (MiniStack takes an empty list of GitLab's subjects for a list of one, and trusts the empty subject.)
    trust = next(part for part in role["AssumeRolePolicyDocument"]["Statement"] if part["Sid"] == "GitHub")
    like = trust["Condition"]["StringLike"]["token.actions.githubusercontent.com:sub"]
    checks.check("it trusts the subjects that were given", like in (PARAMETERS["GitHubSubjects"], [PARAMETERS["GitHubSubjects"]]), trust)
    attached = deployment.iam.list_attached_role_policies(RoleName=role["RoleName"])["AttachedPolicies"]
    checks.check("it may do what a user may", [policy["PolicyArn"] for policy in attached] == [deployment.outputs["UserPolicyArn"]], attached)
    try:
        pipeline_session(deployment.url, role["Arn"], "repo:another-org/our-repo:ref:refs/heads/main")
        checks.check("another's repository does not get the role", False)
    except ClientError as error:
        checks.check("another's repository does not get the role", error.response["Error"]["Code"] == "AccessDenied", error)
    session = pipeline_session(deployment.url, role["Arn"], PARAMETERS["GitHubSubjects"])
    port = "/v1/namespaces/team-a/services/web/ports/ci-1"
    status, answer = deployment.call(session, "PUT", port, {"owner": "ci-1", "lease_seconds": 600})
    checks.check("in a namespace of PipelineNamespaces a pipeline takes a port", status == 201, answer)
    checks.check("and releases it", deployment.call(session, "DELETE", f"{port}?owner=ci-1")[0] == 204)
    unknown = deployment.call(session, "GET", "/v1/namespaces/preview-7/services/web/ports")
    checks.check("a namespace with the prefix need not exist", unknown[0] == 404, unknown)
    for method, path in (
        ("PUT", port.replace("team-a", "team-b")), ("PUT", "/v1/services/django/ports/ci-1"), ("GET", "/v1/ports/5000"),
        ("PUT", port.replace("team-a", "default")), ("DELETE", "/v1/namespaces/team-a/services/web"), ("GET", "/v1/namespaces"),
    ):  # fmt: skip
        body = {"owner": "ci-1"} if method == "PUT" else None
        checks.check(f"a pipeline may not {method} {path}", deployment.call(session, method, path, body)[0] == 403)
    checks.check("but GET /health", deployment.call(session, "GET", "/health")[0] == 200)
    command_line(deployment, role["Arn"], checks)


def command_line(deployment, role, checks):
    """The command line in a job, with nothing but the registry's URL, the role and the job's token: it assumes the role and signs,
    and IAM lets it do what a pipeline may."""
    subject = PARAMETERS["GitHubSubjects"]

    program = ROOT / "target" / "debug" / "portmaster"

    def job(home, token=identity_token(subject)):
        return {
            "PATH": os.environ["PATH"], "HOME": home, "PORTMASTER_URL": deployment.base, "PORTMASTER_ROLE_ARN": role,
            "PORTMASTER_ID_TOKEN": token, "PORTMASTER_REGION": REGION, "AWS_ENDPOINT_URL_STS": deployment.url,
        }  # fmt: skip

    def portmaster(*line, **more):
        with tempfile.TemporaryDirectory() as home:
            return subprocess.run([program, *line], env=job(home, **more), cwd=home, capture_output=True, text=True)

    told = 'echo "port $PORT"; env'
    run = portmaster("--namespace", "team-a", "--owner", "ci-2", "run", "web", "ci-2", "--", "sh", "-c", told)
    checks.check("`portmaster run` takes a port through IAM", run.returncode == 0 and re.search(r"^port \d+$", run.stdout, re.M), run.stderr)
    checks.check("its command sees no token and no key", identity_token(subject) not in run.stdout and "AWS_SECRET" not in run.stdout, run.stdout)
    left = portmaster("--namespace", "team-a", "show", "web", "ci-2")
    checks.check("and gives it back", left.returncode == 1 and "port-not-found" in portmaster("--namespace", "team-a", "-o", "json", "show", "web", "ci-2").stderr, left.stderr)
    doctor = portmaster("--namespace", "team-a", "doctor", "-o", "json")
    checks.check("`portmaster doctor` finds nothing wrong", doctor.returncode == 0 and '"outcome": "failed"' not in doctor.stdout, doctor.stdout + doctor.stderr)
    refused = portmaster("--namespace", "team-b", "take", "web", "ci-2")
    checks.check("in another namespace it is refused", refused.returncode == 1 and "403" in refused.stderr, refused.stderr)
    stranger = portmaster("--namespace", "team-a", "take", "web", "ci-2", token=identity_token("repo:another-org/our-repo:ref:refs/heads/main"))
    checks.check("another's repository gets no role", stranger.returncode == 1 and "does not let" in stranger.stderr, stranger.stderr)

    with tempfile.TemporaryDirectory() as home:
        page = subprocess.Popen([program, "ui", "--write"], env=job(home), cwd=home, stdout=subprocess.PIPE, text=True)
        try:
            the_page(page.stdout.readline(), portmaster, checks)
        finally:
            page.send_signal(signal.SIGINT)
            page.wait(10)


def the_page(printed, portmaster, checks):
    """`portmaster ui` before a registry on AWS: it signs what its page asks for, and IAM decides."""
    address, token = re.fullmatch(r"Open (http://\S+)/#token=(\S+)\n", printed).groups()

    def call(path, method="GET", body=None, session=None):
        headers = {"X-Portmaster-Session": session} if session else {}
        request = urllib.request.Request(address + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    session = call("/session", "POST", token.encode())[1]["session"]
    services = "/v1/namespaces/team-a/services"
    taken = portmaster("--namespace", "team-a", "take", "web", "ci-3", "--owner", "ci-3", "-o", "json")
    port = json.loads(taken.stdout)["port"]
    seen = call(f"{services}/web/ports/{port}", session=session)
    checks.check("`portmaster ui` shows a port through IAM", seen[0] == 200 and seen[1]["name"] == "ci-3", seen)
    shown = call(f"{services}/web/map", session=session)
    checks.check("and the map of its range", shown[0] == 200 and "runs" in shown[1], shown)
    history = lambda: call(f"/v1/namespaces/team-a/ports/{port}/history", session=session)
    checks.check("and who had the port", history()[0] == 200, history())
    elsewhere = [call(path, session=session)[0] for path in (services, "/v1/namespaces/team-b/services/web/ports")]
    checks.check("not the list of services, nor another namespace, which its role may not see", elsewhere == [403, 403], elsewhere)
    checks.check("and nothing without its session", call(services)[0] == 401)
    events = call("/v1/events", session=session)
    checks.check("that there are no events is said to the page", events[0] in (403, 404), events)
    released = call(f"{services}/web/ports/{port}?owner=ci-3", "DELETE", session=session)
    gone = portmaster("--namespace", "team-a", "show", "web", "ci-3")
    checks.check("what it may, it releases", released[0] == 204 and gone.returncode == 1, (released, gone.stdout))


def domain(deployment, checks):
    """The given domain leads to the API, and is in the outputs. (MiniStack keeps neither throttles nor a table's ceiling.)"""
    [mapping] = deployment.api.get_api_mappings(DomainName=PARAMETERS["DomainName"])["Items"]
    seen = {key: mapping.get(key) for key in ("ApiId", "Stage", "ApiMappingKey")}
    checks.check("the domain leads to the API", seen == {"ApiId": deployment.physical["Api"], "Stage": "$default", "ApiMappingKey": "ports"}, mapping)
    checks.check("and is told", deployment.outputs["DomainUrl"] == "https://ports.example.com/ports", deployment.outputs)


def a_stack_for_the_table(deployment, checks):
    """Follows docs/deploying.md for a table that has lost its stack: a new stack imports it with table.yaml.

    (The next step, the rest around the table, is not tested here: MiniStack gives a table without a name a new one at each
    update of its stack. A test beside the template checks that table.yaml has the template's table to the letter.)
    """
    kept = {"pk": {"S": "kept"}, "sk": {"S": "kept"}}
    deployment.dynamodb.put_item(TableName=deployment.table, Item=kept)
    stack, change_set = "second", "import"
    imported = {"ResourceType": "AWS::DynamoDB::Table", "LogicalResourceId": "Table", "ResourceIdentifier": {"TableName": deployment.table}}
    template = (deployment.unpacked / "table.yaml").read_text()
    deployment.cloudformation.create_change_set(StackName=stack, ChangeSetName=change_set, ChangeSetType="IMPORT", TemplateBody=template, ResourcesToImport=[imported])  # fmt: skip
    described = lambda: deployment.cloudformation.describe_change_set(StackName=stack, ChangeSetName=change_set)
    ready = lambda: (seen := described())["Status"] in ("CREATE_COMPLETE", "FAILED") and seen
    seen = wait_for("the import's change set", 60, ready)
    checks.check("table.yaml can be imported with", seen["Status"] == "CREATE_COMPLETE", seen)
    deployment.cloudformation.execute_change_set(StackName=stack, ChangeSetName=change_set)
    status = lambda: deployment.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    done = lambda: (seen := status()).endswith("_COMPLETE") and seen
    checks.check("the import is made", wait_for("the import", 60, done) == "IMPORT_COMPLETE", status())
    [resource] = deployment.cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
    checks.check("the table is the stack's", (resource["LogicalResourceId"], resource["PhysicalResourceId"]) == ("Table", deployment.table), resource)
    item = deployment.dynamodb.get_item(TableName=deployment.table, Key=kept).get("Item")
    checks.check("with what was in it", item == kept, item)


def main():
    checks = Checks("the deployment")
    with ministack(auth=True) as url, tempfile.TemporaryDirectory() as unpacked:
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(unpacked)
        deployment = Deployment(url, pathlib.Path(unpacked))
        for parameters, named in (({"OfferSeconds": "0"}, "OfferSeconds"), ({"GitHubSubjects": "*"}, "GitHubSubjects"), ({"PipelineNamespaces": "*"}, "PipelineNamespaces")):
            refused = deployment.deploy({**PARAMETERS, **parameters})
            output = refused.stdout + refused.stderr
            checks.check(f"{parameters} is refused and named", refused.returncode != 0 and named in output, output[-1500:])
        started = time.monotonic()
        deployed = deployment.deploy(PARAMETERS)
        if deployed.returncode != 0:
            sys.exit(deployed.stdout + deployed.stderr)
        print(f"sam deploy: {time.monotonic() - started:.0f} s")
        deployment.read()
        deployment.replay()
        expected = {
            "Url", "DomainUrl", "DomainTarget", "TableName", "HistoryTableName", "UserPolicyArn", "AdminPolicyArn", "PipelineRoleArn",
            "CustomResourceFunctionArn", "LogGroup", "AccessLogGroup", "DashboardName",
        }  # fmt: skip
        checks.check("the outputs", set(deployment.outputs) == expected, deployment.outputs)
        domain(deployment, checks)
        admin = deployment.user("admin", deployment.outputs["AdminPolicyArn"])
        # The schedule takes up to two minutes; the rest is tested meanwhile.
        left = leave_an_orphan(deployment)
        tour(deployment, admin, checks)
        policies(deployment, admin, checks)
        permission(deployment, admin, checks)
        tenants(deployment, admin, checks)
        wrong_settings(deployment, admin, checks)
        schedules_role(deployment, checks)
        pipeline(deployment, checks)
        # The suite also calls routes that do not exist, and expects the registry's answer.
        everything = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": f"arn:aws:execute-api:{REGION}:*:{deployment.physical['Api']}/$default/*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        policy = deployment.iam.create_policy(PolicyName="everything", PolicyDocument=document)["Policy"]["Arn"]
        suite(deployment, deployment.user("tester", policy), checks)
        own_roles(deployment, checks)
        schedule(deployment, checks, left)
        # Deleting the stack leaves the table.
        deployment.sam("delete", "--stack-name", STACK, "--region", REGION, "--no-prompts")
        tables = deployment.dynamodb.list_tables()["TableNames"]
        checks.check("the table outlives the stack", deployment.table in tables, tables)
        a_stack_for_the_table(deployment, checks)
    checks.finish()


main()
