"""From a request to a queue, on MiniStack: the local server writes MiniStack's table, whose stream calls the real binary of
record-history by an event source mapping with the template's filter; its events go to a bus, and from there by the rule of
docs/events.md to a queue. The binary of get-port-history then says who had the port.

The binaries are those of `PORTMASTER_BINARIES`, or those that cargo builds for the tests (target/debug).
"""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile

import boto3

from common import ACCOUNT, REGION, ROOT, ROOT_KEY, Checks, make_history, ministack, translated, wait_for

BINARIES = pathlib.Path(os.environ.get("PORTMASTER_BINARIES", ROOT / "target/debug"))
TABLE, HISTORY = "events", "events-history"


def archive(function):
    """Returns the archive of a function: its binary, without what only a debugger needs."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "bootstrap"
        subprocess.run(["strip", "-o", path, BINARIES / function], check=True)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.write(path, "bootstrap")
        return buffer.getvalue()


def rule():
    """Returns the pattern of the rule on the page."""
    page = (ROOT / "docs/events.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.S)[1]
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    return yaml.load(example, Loader)["LapsedRule"]["Properties"]["EventPattern"]


def call(base, method, path, body=None):
    """Calls the local server; returns the answer's body."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} if data else {}
    with urllib.request.urlopen(urllib.request.Request(base + path, data, headers, method=method), timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def received(sqs, queue):
    """Takes what is in a queue: the events in the messages."""
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in messages]


def local_server(url):
    """Starts portmasterd over MiniStack's table; returns the process and its address."""
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
    command = [BINARIES / "portmasterd", "--listen", "127.0.0.1:0", "--dynamodb-endpoint", url, "--table", TABLE, "--margin", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, process.stdout.readline().strip().split(" on ")[1]


def main():
    checks = Checks("events")
    mapping = translated()["RecordHistoryMapping"]["Properties"]
    with ministack() as url:
        client = lambda service: boto3.client(service, endpoint_url=url, **ROOT_KEY)
        dynamodb, functions, events, sqs = client("dynamodb"), client("lambda"), client("events"), client("sqs")
        keys = ("pk", "sk")
        table = dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"))],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )["TableDescription"]
        make_history(dynamodb, HISTORY)
        environment = {"TABLE_NAME": TABLE, "HISTORY_TABLE": HISTORY, "HISTORY_DAYS": "400", "EVENT_BUS_NAME": "ports", "AWS_ENDPOINT_URL": url}
        for function in ("record-history", "get-port-history"):
            role = f"arn:aws:iam::{ACCOUNT}:role/x"
            functions.create_function(FunctionName=function, Runtime="provided.al2023", Handler="bootstrap", Role=role, Code={"ZipFile": archive(function)}, Timeout=30, Environment={"Variables": environment})  # fmt: skip
        # As the template has it, but for what names its resources.
        wanted = ("StartingPosition", "BatchSize", "FunctionResponseTypes", "BisectBatchOnFunctionError", "MaximumRetryAttempts", "FilterCriteria")
        functions.create_event_source_mapping(FunctionName="record-history", EventSourceArn=table["LatestStreamArn"], **{name: mapping[name] for name in wanted})  # fmt: skip
        queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("lapsed", "all")}
        events.create_event_bus(Name="ports")
        for name, pattern in (("lapsed", rule()), ("all", {"source": ["portmaster"]})):
            events.put_rule(Name=name, EventBusName="ports", EventPattern=json.dumps(pattern))
            events.put_targets(Rule=name, EventBusName="ports", Targets=[{"Id": "1", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"}])

        process, base = local_server(url)
        try:
            call(base, "PUT", "/v1/services/deploy", {"start": 5000, "end": 5009})
            offer = call(base, "POST", "/v1/services/deploy/offers", {"name": "web-01", "owner": "me"})
            begun = time.monotonic()
            call(base, "POST", f"/v1/services/deploy/offers/{offer['secret']}/accept")
            told = []

            def has(kind, count=1):
                told.extend(received(sqs, queues["all"]))
                return sum(event["detail-type"] == kind for event in told) >= count

            wait_for("the port to be allocated", 60, lambda: has("Port Allocated"))
            print(f"from the request to the queue: {time.monotonic() - begun:.1f} s")
            call(base, "DELETE", "/v1/services/deploy/ports/web-01?owner=me")
            call(base, "PUT", "/v1/services/deploy/ports/job", {"lease_seconds": 1})
            time.sleep(2.5)
            # It takes what is left of the lease off the port.
            call(base, "PUT", "/v1/services/deploy/ports/next", {"port": 5000})
            wait_for("the lease to lapse", 60, lambda: has("Lease Lapsed"))
            wait_for("the next one", 60, lambda: has("Port Allocated", 3))
        finally:
            process.terminate()
            process.wait()

        kinds = [event["detail-type"] for event in told]
        for kind, count in {"Service Created": 1, "Port Offered": 2, "Port Allocated": 3, "Port Released": 1, "Lease Lapsed": 1}.items():
            distinct = {event["detail"]["id"] for event in told if event["detail-type"] == kind}
            checks.check(f"{kind}: {count}", len(distinct) == count, kinds)
        for event in told:
            schema = json.loads((ROOT / "docs/events" / f"{event['detail-type'].lower().replace(' ', '-')}.v1.json").read_text())
            missing = set(schema["required"]) - set(event["detail"])
            unknown = set(event["detail"]) - set(schema["properties"])
            checks.check(f"{event['detail-type']} is as its schema says", not missing and not unknown, (missing, unknown))
        checks.check("no event has the secret", offer["secret"] not in json.dumps(told))
        lapsed = []
        wait_for("the rule's queue", 30, lambda: lapsed.extend(received(sqs, queues["lapsed"])) or lapsed)
        of_rule = [(event["source"], event["detail-type"], event["detail"]["name"]) for event in lapsed]
        checks.check("the rule lets through what it says", of_rule == [("portmaster", "Lease Lapsed", "job")], of_rule)

        event = json.loads((ROOT / "events/get-port-history.json").read_text())
        answer = functions.invoke(FunctionName="get-port-history", Payload=json.dumps(event).encode())["Payload"].read()
        history = json.loads(json.loads(answer)["body"])
        ends = [(tenure["name"], tenure.get("end")) for tenure in history]
        expected = [("next", None), ("job", "lease-lapsed"), ("web-01", "released")]
        checks.check("the history says who had the port", ends == expected, history)
        kept = json.dumps(dynamodb.scan(TableName=HISTORY)["Items"])
        checks.check("and has no secret", offer["secret"] not in kept)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
