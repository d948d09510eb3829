"""Stacks of CloudFormation with ports and services in them, in MiniStack, which enforces IAM (`AUTH=true`): created, updated,
replaced, failing, rolled back, deleted, and ten at once.

The registry's own stack is the part of the template that the function `custom-resource` needs: the table, the log, the
boundary, the role as SAM makes it, and the function with its settings. So the role is enforced as it will be on AWS. With an
argument, that file is the function's binary, instead of the release binary.

The templates of docs/infrastructure.md are deployed as they stand there. MiniStack sends no Delete after a failed Create,
which AWS does; the tests beside the functions replay it (tests/functions/custom_resource).
"""

import io
import json
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_dump, yaml_parse

from common import ACCOUNT, REGION, ROOT, ROOT_KEY, Checks, bootstrap, ministack, translated, wait_for

REGISTRY = "portmaster"
SETTINGS = {"CustomResourcePorts": "default/*", "CustomResourceServices": "default/web,default/previews"}
PARTS = ("Table", "Logs", "FunctionBoundary", "CustomResourceFunction", "CustomResourceFunctionRole")
PAGE = ROOT / "docs" / "infrastructure.md"


def binary():
    """Returns the function's binary; a debug binary is many times as large with its symbols."""
    if len(sys.argv) < 2:
        return bootstrap("custom-resource").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        small = pathlib.Path(folder) / "bootstrap"
        subprocess.run(["strip", "-o", small, sys.argv[1]], check=True)
        return small.read_bytes()


def examples():
    """Returns the templates of the page, by the names in the comments before them."""
    found = re.findall(r"^<!-- template: (\S+) -->\n+```yaml\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return dict(found)


class Cloud:
    """CloudFormation in MiniStack, and what the registry's table has."""

    def __init__(self, url):
        client = lambda service: boto3.client(service, endpoint_url=url, **ROOT_KEY)
        self.url, self.cloudformation, self.dynamodb, self.s3 = url, client("cloudformation"), client("dynamodb"), client("s3")
        self.logs, self.functions = client("logs"), client("lambda")

    def make_registry(self):
        """Deploys the registry's own stack."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o100755 << 16
            packed.writestr(entry, binary())
        self.s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": ROOT_KEY["region_name"]})
        self.s3.put_object(Bucket="bucket", Key="key", Body=archive.getvalue())
        whole, resources = yaml_parse((ROOT / "template.yaml").read_text()), translated()
        resources = {name: resources[name] for name in PARTS}
        function = resources["CustomResourceFunction"]["Properties"]
        function["Environment"]["Variables"]["CUSTOM_RESOURCE_ANSWERS_TO"] = f"{self.url}/"
        # (API_MAPPING and the like are the other functions'.)
        template = {
            "AWSTemplateFormatVersion": "2010-09-09",
            **{section: whole[section] for section in ("Parameters", "Conditions")},
            "Resources": resources,
            "Outputs": {name: whole["Outputs"][name] for name in ("TableName", "CustomResourceFunctionArn", "LogGroup")},
        }
        status, outputs, why = self.run("create", REGISTRY, yaml_dump(template), {**SETTINGS, "DeletionProtection": "false"})
        if status != "CREATE_COMPLETE":
            sys.exit(f"the registry's stack: {status} {why}")
        own = self.functions.get_function_configuration(FunctionName=outputs["CustomResourceFunctionArn"])
        self.variables = {name: value for name, value in own["Environment"]["Variables"].items() if name != "CUSTOM_RESOURCE_ANSWERS_TO"}
        self.table, self.function, self.log = outputs["TableName"], outputs["CustomResourceFunctionArn"], outputs["LogGroup"]

    def run(self, action, name, template=None, parameters=None):
        """Creates, updates or deletes a stack; returns its status, its outputs and the reason, when all is over."""
        if action == "delete":
            self.cloudformation.delete_stack(StackName=name)
        else:
            given = [{"ParameterKey": key, "ParameterValue": value} for key, value in (parameters or {}).items()]
            text = template if isinstance(template, str) else json.dumps(template)
            call = getattr(self.cloudformation, f"{action}_stack")
            call(StackName=name, TemplateBody=text, Parameters=given, Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"])

        def over():
            try:
                stack = self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
            except ClientError:
                return "DELETE_COMPLETE", {}, ""
            if stack["StackStatus"].endswith("IN_PROGRESS"):
                return None
            outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
            return stack["StackStatus"], outputs, stack.get("StackStatusReason", "")

        return wait_for(f"{action} of {name}", 120, over)

    def restart(self, **variables):
        """Restarts the function with these variables besides its own."""
        given = {**self.variables, **variables}
        self.functions.update_function_configuration(FunctionName=self.function, Environment={"Variables": given})

    def send(self, kind, stack_id, physical_id=None, answers=None):
        """Sends an event as CloudFormation would, about the resource `P` of a stack. Nobody waits for the answer."""
        event = {
            "RequestType": kind, "StackId": stack_id, "RequestId": "r", "LogicalResourceId": "P",
            "ResourceType": "Custom::PortmasterPort", "ResponseURL": answers or f"{self.url}/_ministack/cfn-response/nobody",
            "ResourceProperties": {"ServiceToken": self.function, "Service": "web"},
            **({"PhysicalResourceId": physical_id} if physical_id else {}),
        }  # fmt: skip
        self.functions.invoke(FunctionName=self.function, Payload=json.dumps(event).encode())

    def reasons(self, name):
        """Returns why resources of a stack failed."""
        events = self.cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        return " ".join(event.get("ResourceStatusReason", "") for event in events if event["ResourceStatus"].endswith("FAILED"))

    def ports(self):
        """Returns the allocated ports: name and owner by number."""
        items = self.dynamodb.scan(TableName=self.table)["Items"]
        held = [item for item in items if item.get("state", {}).get("S") == "allocated"]
        return {int(item["sk"]["S"]): (item["name"]["S"], item["owner"]["S"]) for item in held}


def resource(kind, **properties):
    """Returns a resource of the registry's, made by its function."""
    token = {"Fn::ImportValue": f"{REGISTRY}-CustomResourceFunctionArn"}
    return {"Type": f"Custom::Portmaster{kind}", "Properties": {"ServiceToken": token, "ServiceTimeout": 60, **properties}}


def stack(**resources):
    """Returns a template with these resources; the outputs are what can be read of the resource `P`."""
    read = {name: {"Value": {"Fn::GetAtt": ["P", name]}} for name in ("Port", "Ports", "Name")} if "P" in resources else {}
    reference = {"Id": {"Value": {"Ref": "P"}}} if "P" in resources else {}
    return {"Resources": resources, "Outputs": {**read, **reference}}


def one_port(cloud, check):
    """A port through the life of a stack."""
    status, outputs, why = cloud.run("create", "shop", stack(P=resource("Port", Service="web", LeaseSeconds="")))
    check("a stack gets a port", (status, outputs.get("Port"), outputs.get("Name")) == ("CREATE_COMPLETE", "5000", "shop-P"), (status, outputs, why))
    held = cloud.ports()
    check("as its own owner", re.fullmatch(r"cfn/[0-9a-f-]{36}/P", held.get(5000, ("", ""))[1]), held)
    first = outputs.get("Id")
    status, outputs, why = cloud.run("update", "shop", stack(P=resource("Port", Service="web", Labels={"team": "shop"})))
    check("labels leave it as it is", (status, outputs.get("Port"), outputs.get("Id")) == ("UPDATE_COMPLETE", "5000", first), (status, outputs, why))
    status, outputs, why = cloud.run("update", "shop", stack(P=resource("Port", Service="web", Name="other")))
    check("another name is another port", (status, outputs.get("Name")) == ("UPDATE_COMPLETE", "other"), (status, outputs, why))
    check("and the old one is free", {name for name, _ in cloud.ports().values()} == {"other"}, cloud.ports())
    number = outputs.get("Port")

    # An update that fails, for each way of failing; the stack is as before.
    for what, properties, said in (
        ("a service that is not there", {"Service": "nowhere"}, "There is no service nowhere"),
        ("a property that is not there", {"Service": "web", "Name": "other", "Prot": 5000}, 'there is no "Prot"'),
        ("another number for the same name", {"Service": "web", "Name": "other", "Port": 5999}, "a name keeps its port"),
    ):
        status, outputs, why = cloud.run("update", "shop", stack(P=resource("Port", **properties)))
        check(f"{what}: rolled back", status == "UPDATE_ROLLBACK_COMPLETE", (status, why))
        check(f"{what}: named", said in cloud.reasons("shop"), cloud.reasons("shop"))
        check(f"{what}: the port stays", [(str(port), name) for port, (name, _) in cloud.ports().items()] == [(number, "other")], cloud.ports())

    # A replacement that succeeds, in an update that fails after it.
    both = stack(P=resource("Port", Service="web", Name="third"), Q={**resource("Port", Service="nowhere"), "DependsOn": "P"})
    status, _, why = cloud.run("update", "shop", both)
    check("the rest of the stack fails: rolled back", status == "UPDATE_ROLLBACK_COMPLETE", (status, why))
    check("to the same port", [(str(port), name) for port, (name, _) in cloud.ports().items()] == [(number, "other")], cloud.ports())
    status, _, why = cloud.run("delete", "shop")
    check("without the stack there is no port", (status, cloud.ports()) == ("DELETE_COMPLETE", {}), (status, why, cloud.ports()))


def several_ports(cloud, check):
    """Several ports of one resource: more and fewer of them."""
    template = lambda *parts: stack(P=resource("Port", Service="web", Name="job", Ports=list(parts), Contiguous=len(parts) > 1))
    status, outputs, why = cloud.run("create", "job", template("http"))
    check("one of several", status == "CREATE_COMPLETE", (status, why))
    first = outputs.get("Port")
    status, outputs, why = cloud.run("update", "job", template("http", "grpc"))
    check("one more, beside it", (status, outputs.get("Ports")) == ("UPDATE_COMPLETE", f"{first},{int(first) + 1}"), (status, outputs, why))
    read = {"Output": {"Value": {"Fn::GetAtt": ["P", "Port.grpc"]}}}
    status, outputs, why = cloud.run("update", "job", {**template("http", "grpc"), "Outputs": read})
    check("each can be read by what it is for", outputs.get("Output") == str(int(first) + 1), (status, outputs, why))
    status, outputs, why = cloud.run("update", "job", template("grpc"))
    check("one less", {name for name, _ in cloud.ports().values()} == {"job-grpc"}, cloud.ports())
    cloud.run("delete", "job")
    check("and none", cloud.ports() == {}, cloud.ports())


def failures(cloud, check):
    """A creation that fails leaves nothing, and the next one goes well."""
    broken = stack(P=resource("Port", Service="web"), Q={**resource("Port", Service="nowhere"), "DependsOn": "P"})
    status, _, why = cloud.run("create", "broken", broken)
    check("a stack that fails is rolled back", status == "ROLLBACK_COMPLETE", (status, why))
    check("its port is free", cloud.ports() == {}, cloud.ports())
    check("and it can be deleted", cloud.run("delete", "broken")[0] == "DELETE_COMPLETE")
    status, outputs, why = cloud.run("create", "broken", stack(P=resource("Port", Service="web")))
    check("it can be made again", status == "CREATE_COMPLETE", (status, why))
    cloud.run("delete", "broken")
    status, _, _ = cloud.run("create", "refused", stack(P=resource("Service", Name="others", Start=7000, End=7099)))
    check("a service that is not listed is refused", status == "ROLLBACK_COMPLETE" and "CustomResourceServices" in cloud.reasons("refused"), cloud.reasons("refused"))
    cloud.run("delete", "refused")


def services(cloud, check):
    """A service through the life of a stack, and ports of another stack in the way of its deletion."""
    template = lambda end: {"Resources": {"Range": resource("Service", Name="previews", Start=6000, End=end)}, "Outputs": {"Name": {"Value": {"Fn::GetAtt": ["Range", "Name"]}}}}
    status, outputs, why = cloud.run("create", "range", template(6099))
    check("a stack makes a service", (status, outputs.get("Name")) == ("CREATE_COMPLETE", "previews"), (status, why))
    check("and makes it longer", cloud.run("update", "range", template(6199))[0] == "UPDATE_COMPLETE", cloud.reasons("range"))
    status, _, why = cloud.run("create", "preview-1", stack(P=resource("Port", Service="previews", Name="preview-1")))
    check("another stack takes a port of it", status == "CREATE_COMPLETE", why)
    status, _, _ = cloud.run("delete", "range")
    check("then it is not deleted", status == "DELETE_FAILED" and "6000 of preview-1" in cloud.reasons("range"), (status, cloud.reasons("range")))
    status, _, _ = cloud.run("create", "thief", {"Resources": {"Range": resource("Service", Name="previews", Start=6000, End=6199)}})
    check("nor taken over", status == "ROLLBACK_COMPLETE" and "this resource did not make it" in cloud.reasons("thief"), (status, cloud.reasons("thief")))
    cloud.run("delete", "thief")
    check("the port goes", cloud.run("delete", "preview-1")[0] == "DELETE_COMPLETE")
    check("and then the service", cloud.run("delete", "range")[0] == "DELETE_COMPLETE")
    again = cloud.run("create", "range", template(6099))[0]
    check("which was there until then", again == "CREATE_COMPLETE", cloud.reasons("range"))
    cloud.run("delete", "range")


def ten_at_once(cloud, check):
    """Ten stacks of one template at the same time have ten ports."""
    names = [f"preview-{number}" for number in range(10)]
    template = stack(P=resource("Port", Service="web"))
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda name: cloud.run("create", name, template), names))
    check("ten stacks at once", {status for status, _, _ in made} == {"CREATE_COMPLETE"}, made)
    ports = [outputs.get("Port") for _, outputs, _ in made]
    check("ten ports", len(set(ports)) == 10 and {int(port) for port in ports} == set(cloud.ports()), (ports, cloud.ports()))
    with ThreadPoolExecutor(10) as pool:
        gone = list(pool.map(lambda name: cloud.run("delete", name), names))
    check("and none", ({status for status, _, _ in gone}, cloud.ports()) == ({"DELETE_COMPLETE"}, {}), (gone, cloud.ports()))


def made_up_ids(cloud, check):
    """What MiniStack does not send: deletions under an id that CloudFormation makes up. The function asks it what there is."""
    status, _, why = cloud.run("create", "keeps", stack(P=resource("Port", Service="web")))
    check("a stack with a port", status == "CREATE_COMPLETE", why)
    before = cloud.ports()
    living = cloud.cloudformation.describe_stacks(StackName="keeps")["Stacks"][0]["StackId"]
    cloud.send("Delete", living, "keeps-P-1B2C3D4E5F6G")
    check("the port that a stack has stays", before and cloud.ports() == before, (before, cloud.ports()))
    gone = living.replace("stack/keeps/", "stack/gone/")
    cloud.send("Create", gone)
    check("another stack's port", len(cloud.ports()) == 2, cloud.ports())
    cloud.send("Delete", gone, "gone-P-1B2C3D4E5F6G")
    check("is freed, where there is no such stack", cloud.ports() == before, cloud.ports())
    cloud.run("delete", "keeps")


def log(cloud, check):
    """Each event so far is a line in the log, and none has the URL of an answer."""
    lines = [event["message"] for found in cloud.logs.get_paginator("filter_log_events").paginate(logGroupName=cloud.log) for event in found["events"]]
    invoked, told = (sum(part in line for line in lines) for part in ("START RequestId", '"portmaster::custom_resource"'))
    check("there is a line for each event", invoked == told > 0, (invoked, told))
    check("without the URLs", not any("_ministack" in line or "response" in line.lower() and "http://" in line for line in lines))


def over_tls(cloud, check):
    """An answer by TLS, as S3 takes it: it arrives where the certificate is trusted, and nowhere else."""
    arrived = []

    class Place(BaseHTTPRequestHandler):
        def do_PUT(self):
            arrived.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *names], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Place)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"https://localhost:{server.server_port}/"
        stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/by-tls/51af3dc0-da77-11e4-872e-1234567db123"
        for trusted in (certificate, None):
            variables = {"CUSTOM_RESOURCE_ANSWERS_TO": place, **({"SSL_CERT_FILE": trusted} if trusted else {})}
            cloud.restart(**variables)
            cloud.send("Create", stack_id, answers=f"{place}x?X-Amz-Signature=y")
            status = [answer["Status"] for answer in arrived]
            check(f"with {'a' if trusted else 'no'} certificate that is trusted", status == (["SUCCESS"] if trusted else []), arrived)
            arrived.clear()
        server.shutdown()
    cloud.restart(CUSTOM_RESOURCE_ANSWERS_TO=f"{cloud.url}/")
    cloud.send("Delete", stack_id, "by-tls-P-1B2C3D4E5F6G")
    check("its port is free", cloud.ports() == {}, cloud.ports())


def page(cloud, check):
    """The templates of the page on infrastructure, as they stand there."""
    templates = examples()
    check("the page has templates", len(templates) >= 2, list(templates))
    for name, text in templates.items():
        status, outputs, why = cloud.run("create", f"page-{name}", text)
        check(f"the page's {name} is deployed", status == "CREATE_COMPLETE", (why, cloud.reasons(f"page-{name}")))
        print(f"  {name}: {outputs}")
    for name in reversed(templates):
        status, _, _ = cloud.run("delete", f"page-{name}")
        check(f"and the page's {name} is deleted", status == "DELETE_COMPLETE", cloud.reasons(f"page-{name}"))
    check("which leaves nothing", cloud.ports() == {}, cloud.ports())


def main():
    checks = Checks("stacks with ports")
    with ministack(auth=True) as url:
        cloud = Cloud(url)
        cloud.make_registry()
        check = checks.check
        status, _, why = cloud.run("create", "web", {"Resources": {"Web": resource("Service", Name="web", Start=5000, End=5999)}})
        check("a service for what follows", status == "CREATE_COMPLETE", (why, cloud.reasons("web")))
        for part in (one_port, several_ports, failures, services, ten_at_once, made_up_ids, log, over_tls):
            part(cloud, check)
        check("the service goes", cloud.run("delete", "web")[0] == "DELETE_COMPLETE", cloud.reasons("web"))
        page(cloud, check)
    checks.finish()


if __name__ == "__main__":
    main()
