"""Checks that the template, as CloudFormation gets it, allows nothing that could be narrower: no star in an action, no star
for a resource where the action takes resources, no secret in it, and every function capped by the boundary.

cfn-lint and `sam validate` do not check that. This checks the translated template, because half of the roles and
permissions are SAM's own.
"""

from common import SAMS_OWN, Checks, translated

# Actions that take no resource (AWS Service Authorization Reference, "AWS X-Ray").
WITHOUT_RESOURCES = {"xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:PutTelemetryRecords", "xray:PutTraceSegments"}

# The table, and what only the functions of the history reach beyond it, each of them exactly this: no function that decides
# anything can read the history, those that read it cannot write it, and the one that writes it can read no table.
ours = {
    "table": {"Fn::GetAtt": ["Table", "Arn"]},
    "stream": {"Fn::GetAtt": ["Table", "StreamArn"]},
    # For dynamodb:ListStreams alone, which names no stream.
    "streams": {"Fn::Sub": "${Table.Arn}/stream/*"},
    "history": {"Fn::GetAtt": ["HistoryTable", "Arn"]},
    "index": {"Fn::Sub": "${HistoryTable.Arn}/index/by-name"},
}
HISTORY = {
    "FunctionBoundary": [ours["stream"], ours["streams"], ours["history"], ours["index"]],
    "GetPortHistoryFunctionRole": [ours["history"]],
    "GetServiceHistoryFunctionRole": [ours["history"], ours["index"]],
    "RecordHistoryFunctionRole": [ours["stream"], ours["streams"], ours["history"]],
}
READS = {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"}


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(document):
    for statement in listed(document["Statement"]):
        # A conditional statement.
        yield from (part for part in statement.get("Fn::If", [statement]) if isinstance(part, dict) and "Effect" in part)


def policies(role):
    """Returns the policies in a role, also those that a parameter adds."""
    listed_or_not = role.get("Policies", [])
    return listed_or_not["Fn::If"][1] if isinstance(listed_or_not, dict) else listed_or_not


def resources_of(statement):
    """Returns the resources of a statement; one text that is split into many is split here as well."""
    for resource in listed(statement.get("Resource", statement.get("NotResource"))):
        if isinstance(resource, dict) and "Fn::Split" in resource:
            separator, text = resource["Fn::Split"]
            yield from text["Fn::Sub"][0].split(separator)
        else:
            yield resource


def is_too_wide(resource):
    """Whether a resource is a star, or ends in one where something has a name. (A log group is named before its streams.)"""
    text = resource if isinstance(resource, str) else str(resource.get("Fn::Sub", ""))
    return text in ("*", "arn:*") or text.split(":")[-1] == "*" and "log-group" not in text


def main():
    checks, resources = Checks("policies"), translated()
    check = checks.check
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        kind = resource["Type"]
        documents = []
        if kind == "AWS::IAM::ManagedPolicy":
            documents.append(properties["PolicyDocument"])
        if kind == "AWS::IAM::Role":
            documents += [policy["PolicyDocument"] for policy in policies(properties)]
            for trust in statements(properties["AssumeRolePolicyDocument"]):
                check(f"{name} is assumed by somebody in particular", trust.get("Principal") not in ("*", {"AWS": "*"}), trust)
                if "Federated" in trust["Principal"]:
                    tests = trust["Condition"]
                    keys = [key for test in tests.values() for key in test]
                    check(f"{name} asks for audience and subject", {key.split(":")[-1] for key in keys} == {"aud", "sub"}, tests)
                if trust["Principal"].get("Service") == "scheduler.amazonaws.com":
                    asked = trust.get("Condition", {}).get("StringEquals", {})
                    check(f"{name} is for this account's schedules", {"aws:SourceAccount", "aws:SourceArn"} <= set(asked), trust)
                    check(f"{name} is capped", properties.get("PermissionsBoundary"), properties)
            for arn in properties.get("ManagedPolicyArns", []):
                own = isinstance(arn, dict) and "Ref" in arn
                check(f"{name} has only our policies and SAM's", own or str(arn).split("/")[-1] in SAMS_OWN, arn)
            if name.endswith("FunctionRole"):
                check(f"{name} is capped", properties.get("PermissionsBoundary") == {"Ref": "FunctionBoundary"}, properties)
        for document in documents:
            for statement in statements(document):
                # Nothing is denied by its name, which can be written in many ways: only all that is not named.
                without = {"Allow": "NotResource", "Deny": "Resource"}[statement["Effect"]]
                check(f"{name} allows, or denies the rest", without not in statement, statement)
                actions = listed(statement["Action"])
                check(f"{name}: no star in an action", not any("*" in action for action in actions), actions)
                if not set(actions) <= WITHOUT_RESOURCES:
                    wide = [arn for arn in resources_of(statement) if is_too_wide(arn)]
                    check(f"{name}: no resource that could be narrower", not wide, wide)
                if any(action.startswith("dynamodb:") for action in actions):
                    allowed = [ours["table"], *HISTORY.get(name, [])]
                    reached = [part for part in listed(statement["Resource"]) if part not in allowed]
                    check(f"{name}: no table but those that it is about", not reached, statement)
        named = [key for key in ("Name", "FunctionName", "TableName", "RoleName") if isinstance(properties.get(key), str)]
        check(f"{name}: no name that a second stack would have as well", kind == "AWS::Lambda::Permission" or not named or "Stage" in kind, properties)
        if kind == "AWS::Lambda::Permission":
            check(f"{name}: for one API and one route", "SourceArn" in properties and "*/*" not in str(properties["SourceArn"]).split("}")[-1], properties)
    # A function has no action that the boundary lacks: allowing it would have no effect.
    boundary = {action for statement in statements(resources["FunctionBoundary"]["Properties"]["PolicyDocument"]) for action in listed(statement["Action"])}
    for name, resource in resources.items():
        if name.endswith("FunctionRole"):
            own = {action for policy in resource["Properties"]["Policies"] for statement in statements(policy["PolicyDocument"]) for action in listed(statement["Action"])}
            check(f"{name} stays within the boundary", own <= boundary, own - boundary)
    may = lambda role, part: {action for policy in resources[role]["Properties"]["Policies"] for statement in statements(policy["PolicyDocument"]) if part in listed(statement["Resource"]) for action in listed(statement["Action"])}  # fmt: skip
    recorder = "RecordHistoryFunctionRole"
    check("the history's writer reads no table", not (may(recorder, ours["table"]) | may(recorder, ours["history"]) & READS), recorder)
    check("and of all streams of the table, it only has the list", may(recorder, ours["streams"]) == {"dynamodb:ListStreams"}, recorder)
    for reader in ("GetPortHistoryFunctionRole", "GetServiceHistoryFunctionRole"):
        check(f"{reader} only reads", may(reader, ours["history"]) | may(reader, ours["table"]) <= READS, reader)
    table, history = resources["Table"], resources["HistoryTable"]
    check("the history outlives its stack", (history["DeletionPolicy"], history["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain"), history)
    check("a tenure goes by the attribute that it has", history["Properties"]["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}, history)
    check("the table outlives its stack", (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain"), table)
    check("the table can be restored", table["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], table)
    routes = resources["Api"]["Properties"]["Body"]["paths"]
    open_routes = [path for path, methods in routes.items() for operation in methods.values() if operation.get("security") != [{"AWS_IAM": []}]]
    check("only GET /health is open", open_routes == ["/health"], open_routes)
    # A failed first deployment must not leave a provider behind, at which the next one would fail.
    for name, resource in resources.items():
        if resource["Type"] == "AWS::IAM::OIDCProvider":
            check(f"{name} stays, but not of a failure", resource["DeletionPolicy"] == "RetainExceptOnCreate", resource)
    checks.finish()


main()
