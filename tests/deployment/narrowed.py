"""Checks what the pipelines' role may call for a value of PipelineNamespaces: MiniStack's CloudFormation renders the role and its
policies from the template, its STS gives a pipeline's token the role's credentials, and its API Gateway, with IAM enforced,
admits each call or not. Behind it stands a server that answers everything, so that only IAM refuses.
"""

import functools
import json
import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_parse

from common import REGION, ROOT, ROOT_KEY, Checks, ministack, pipeline_session, translated

SUBJECT = "repo:our-org/our-repo:ref:refs/heads/main"
# The namespaces that every call is tried in, besides the shorter paths, which are those of `default`.
NAMES = ("default", "team-a", "team-ab", "team-b", "preview-1", "Team-a")
# The characters in all inline policies of a role, without white space ("IAM and AWS STS quotas").
QUOTA = 10_240


@functools.cache
def small_stack():
    """Returns the part of the template that concerns the role, around an API without functions."""
    whole, resources = yaml_parse((ROOT / "template.yaml").read_text()), translated()
    part = {name: resources[name] for name in ("PipelineRole", "UserPolicy")}
    api = {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Name": "api", "ProtocolType": "HTTP"}}
    sections = {name: whole[name] for name in ("Parameters", "Conditions")}
    return json.dumps({"AWSTemplateFormatVersion": "2010-09-09", **sections, "Resources": {"Api": api, **part}})


def backend():
    """Runs a server that answers every call with 200; returns its URL."""

    class Anything(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"served")

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Anything)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


class Stack:
    """The role for one value of the parameter, and the API that it is for."""

    def __init__(self, url, name, namespaces, behind):
        client = lambda service, **more: boto3.client(service, endpoint_url=url, **ROOT_KEY, **more)
        cloudformation, self.iam, api = client("cloudformation"), client("iam"), client("apigatewayv2")
        parameters = [("GitHubSubjects", SUBJECT), ("PipelineNamespaces", namespaces)]
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters]
        cloudformation.create_stack(StackName=name, TemplateBody=small_stack(), Parameters=given, Capabilities=["CAPABILITY_IAM"])
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        described = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        physical = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in described}
        self.role, self.base = physical["PipelineRole"], f"{url}/_aws/execute-api/{physical['Api']}"
        target = api.create_integration(ApiId=physical["Api"], IntegrationType="HTTP_PROXY", IntegrationUri=behind, IntegrationMethod="ANY", PayloadFormatVersion="1.0")  # fmt: skip
        api.create_route(ApiId=physical["Api"], RouteKey="$default", Target=f"integrations/{target['IntegrationId']}", AuthorizationType="AWS_IAM")
        api.create_stage(ApiId=physical["Api"], StageName="$default", AutoDeploy=True)
        arn = self.iam.get_role(RoleName=self.role)["Role"]["Arn"]
        self.session = pipeline_session(url, arn, SUBJECT)

    def may(self, method, path):
        """Whether the role may make this call."""
        request = AWSRequest(method, self.base + path)
        SigV4Auth(self.session, "execute-api", REGION).add_auth(request)
        try:
            with urllib.request.urlopen(urllib.request.Request(request.url, headers=dict(request.headers), method=method), timeout=20) as answer:
                assert answer.read() == b"served", path
                return True
        except urllib.error.HTTPError as error:
            assert error.code == 403, (method, path, error.code, error.read())
            return False

    def inline(self):
        """Returns the policies in the role."""
        names = self.iam.list_role_policies(RoleName=self.role)["PolicyNames"]
        return [self.iam.get_role_policy(RoleName=self.role, PolicyName=name)["PolicyDocument"] for name in names]


@functools.cache
def calls():
    """Returns method and path of every route, by whether a user may call it; the path is one of the namespace `default`."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    user = translated()["UserPolicy"]["Properties"]["PolicyDocument"]["Statement"][0]["Resource"]
    allowed = {arn["Fn::Sub"].split("/$default/")[1] for arn in user}
    found = []
    for path, operations in document["paths"].items():
        for method in operations:
            call = re.sub(r"\{\w+\}", "*", f"{method.upper()}{path}")
            found.append((method.upper(), re.sub(r"\{\w+\}", "x", path), call in allowed))
    return [call for call in found if not call[1].startswith("/v1/namespaces")]


def narrowed(checks, url, number, namespaces, behind):
    """Checks every route in every namespace for one value of the parameter."""
    stack = Stack(url, f"narrowed-{number}", namespaces, behind)
    listed = namespaces.split(",")
    is_listed = lambda name: any(name == given or (given.endswith("*") and name.startswith(given[:-1])) for given in listed)
    for method, path, by_users in calls():
        if not path.startswith(("/v1/services", "/v1/ports")):
            # /health, /problems, the document: as without the parameter.
            checks.check(f"{namespaces!r}: {method} {path}", stack.may(method, path) == by_users)
            continue
        expected = by_users and (not namespaces or "default" in listed)
        checks.check(f"{namespaces!r}: {method} {path} is {expected}", stack.may(method, path) == expected)
        for name in NAMES:
            below = path.replace("/v1/", f"/v1/namespaces/{name}/")
            expected = by_users and bool(namespaces) and is_listed(name)
            checks.check(f"{namespaces!r}: {method} {below} is {expected}", stack.may(method, below) == expected)
    for method, path in (("GET", "/v1/namespaces"), *((method, "/v1/namespaces/team-a") for method in ("GET", "PUT", "DELETE"))):
        checks.check(f"{namespaces!r}: no pipeline may {method} {path}", not stack.may(method, path))
    # What is allowed begins with the namespace, and does not merely contain it.
    within = "/v1/namespaces/team-z/services/v1/namespaces/team-a/services/x/offers"
    checks.check(f"{namespaces!r}: {within}", not stack.may("POST", within))
    return stack


def main():
    checks = Checks("the pipelines' namespaces")
    behind = backend()
    longest = ",".join(f"{number}{'n' * 62}{number}" for number in range(8))
    with ministack(auth=True) as url:
        values = ("", "team-a", "team-a,preview-*", "default", "team-b,default", "default,team-a,team-b", "d*", longest)
        for number, namespaces in enumerate(values):
            stack = narrowed(checks, url, number, namespaces, behind)
            checks.check(f"{namespaces!r}: one policy, or none", len(stack.inline()) == bool(namespaces), stack.inline())
            size = sum(len(re.sub(r"\s", "", json.dumps(policy))) for policy in stack.inline())
            # (Real names of partition, region and API are some ten characters longer, in 54 ARNs.)
            checks.check(f"{namespaces!r}: {size} characters fit a role", size + 54 * 20 < QUOTA, size)
        nine = ",".join(f"team-{number}" for number in range(9))
        for wrong in ("*", "a/b", "team-*-a", "*team", "team-?", "-team", "team-", ",", "a,,b", "a, b", "team-a,", "${aws:username}", "a%2fb", "n" * 65, nine):
            try:
                Stack(url, "refused", wrong, behind)
                checks.check(f"{wrong!r} is refused", False)
            except ClientError as error:
                checks.check(f"{wrong!r} is refused, and the parameter named", "PipelineNamespaces" in str(error), error)
        print(f"the longest value makes a policy of {size} characters")
    checks.finish()


main()
