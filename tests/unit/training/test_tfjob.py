"""examples/tfjob.yaml follows the schema of Kubeflow's training operator, and starts a training run.

TFJob schema: https://github.com/kubeflow/trainer/blob/release-1.9/manifests/base/crds.
"""

import shlex
from pathlib import Path

import pytest
import yaml

from tfhub_ft.cli.train import train_command
from tfhub_ft.recipe import load_recipe

JOB = yaml.safe_load((Path(__file__).parents[3] / "examples" / "tfjob.yaml").read_text(encoding="utf-8"))
ALLOWED = {
    (): {"apiVersion", "kind", "metadata", "spec", "status"},
    ("spec",): {"enableDynamicWorker", "runPolicy", "successPolicy", "tfReplicaSpecs"},
    ("spec", "runPolicy"): {
        "activeDeadlineSeconds",
        "backoffLimit",
        "cleanPodPolicy",
        "managedBy",
        "schedulingPolicy",
        "suspend",
        "ttlSecondsAfterFinished",
    },
    ("spec", "tfReplicaSpecs"): {"Chief", "Master", "Worker", "PS", "Evaluator"},
    ("spec", "tfReplicaSpecs", "Worker"): {"replicas", "restartPolicy", "template"},
}
POD = JOB["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]


def test_tfjob_follows_the_schema():
    assert (JOB["apiVersion"], JOB["kind"]) == ("kubeflow.org/v1", "TFJob")
    for path, allowed in ALLOWED.items():
        place = JOB
        for name in path:
            place = place[name]
        assert place.keys() <= allowed
    worker = JOB["spec"]["tfReplicaSpecs"]["Worker"]
    assert worker["restartPolicy"] in ("Always", "OnFailure", "Never", "ExitCode")
    # The operator looks for the container, and its port, by these names.
    assert [container["name"] for container in POD["containers"]] == ["tensorflow"]
    assert POD["containers"][0]["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]
    assert {mount["name"] for mount in POD["containers"][0]["volumeMounts"]} == {
        each["name"] for each in POD["volumes"]
    }


def test_pod_template_has_fields_of_kubernetes():
    client = pytest.importorskip("kubernetes.client", reason="needs pip install kubernetes")

    def check(value, kind):
        if kind.startswith("list["):
            for each in value:
                check(each, kind[5:-1])
        elif hasattr(client, kind):
            model = getattr(client, kind)
            names = {outside: inside for inside, outside in model.attribute_map.items()}
            for name, each in value.items():
                check(each, model.openapi_types[names[name]])

    check(JOB["spec"]["tfReplicaSpecs"]["Worker"]["template"], "V1PodTemplateSpec")


def test_command_of_tfjob_trains():
    program, script = POD["containers"][0]["command"], POD["containers"][0]["args"][0]
    assert program == ["sh", "-c"]
    name, command, recipe, *options = shlex.split(script.split("$(")[0])
    assert (name, command) == ("tfhub-ft", "train")
    parsed = train_command(recipe, load_recipe(recipe)).make_context(recipe, [*options, "--resume"]).params
    assert parsed["strategy"] == "multi-worker"
    assert parsed["output_dir"] in script.split("$(")[1]
