"""What Kubernetes is told: rendered, then read against its schemas, against those of KubeRay, and against the code."""

import datetime as dt
import importlib
import json
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml
from jsonschema import Draft202012Validator

from edge_nodes.cli import app as commands
from tests.integration.crds import FOLDER, validator
from tidegate.settings import parse, site_settings
from training.options import parser

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "kuberay"
RENDERED = ("laptop", "production", "retraining", "site", "site/enrolment")
KUBERNETES = "1.32"
RENDER = ("kubectl", "kustomize") if shutil.which("kubectl") else ("kustomize", "build")
RAY = "2.60.0"

pytestmark = pytest.mark.skipif(
    shutil.which(RENDER[0]) is None, reason="no kubectl and no kustomize; to run it: install either"
)


@cache
def rendered(name: str) -> tuple[dict[str, Any], ...]:
    """Return what `kubectl apply -k` would send."""
    done = subprocess.run([*RENDER, str(CONFIGS / name)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "something in it is deprecated"
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(name: str, kind: str) -> dict[str, Any]:
    (found,) = (each for each in rendered(name) if each["kind"] == kind)
    return found


def cluster_of(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the Ray cluster that a resource asks for."""
    return spec.get("rayClusterConfig") or spec.get("rayClusterSpec") or spec


def pods(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pods that a rendering leads to, each with a name for messages."""
    for each in rendered(name):
        spec = each.get("spec", {})
        if each["kind"] == "CronJob":
            yield "CronJob", spec["jobTemplate"]["spec"]["template"]["spec"]
        if each["kind"] == "Job":
            yield "Job", spec["template"]["spec"]
        cluster = (
            spec.get("rayClusterConfig") or spec.get("rayClusterSpec") or (spec if "headGroupSpec" in spec else {})
        )
        for group in [*filter(None, [cluster.get("headGroupSpec")]), *cluster.get("workerGroupSpecs", [])]:
            yield f"{each['kind']} {group.get('groupName', 'head')}", group["template"]["spec"]


def standard(name: str) -> list[dict[str, Any]]:
    return [each for each in rendered(name) if not each["apiVersion"].startswith("ray.io/")]


@pytest.mark.parametrize("name", RENDERED)
def test_kubernetes_own_resources_are_valid_and_have_no_field_that_it_does_not_know(name: str) -> None:
    for each in standard(name):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_the_references_are_yaml_and_those_of_kubernetes_itself_are_valid() -> None:
    for path in sorted((CONFIGS / "references").glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text()):
            if each["apiVersion"] in {"v1", "apps/v1"}:
                kubernetes_validate.validate(each, KUBERNETES, strict=True)
            assert {"apiVersion", "kind", "metadata", "spec"} == set(each), path.name


@pytest.mark.unshipped
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"KubeRay's CRDs aren't at {FOLDER}; put them there to run it")
@pytest.mark.parametrize("name", RENDERED)
def test_kuberays_resources_are_valid_and_have_no_field_that_it_does_not_know(name: str) -> None:
    for each in rendered(name):
        if each["apiVersion"] == "ray.io/v1":
            check: Draft202012Validator = validator(each["kind"])
            assert [f"{error.json_path}: {error.message}" for error in check.iter_errors(each)] == []


@pytest.mark.unshipped
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"KubeRay's CRDs aren't at {FOLDER}; put them there to run it")
def test_a_field_that_kuberay_does_not_know_is_found() -> None:
    service = json.loads(json.dumps(of_kind("laptop", "RayService")))
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["comand"] = ["true"]
    service["spec"]["serviceUnhealthySecondThreshold"] = "soon"

    found = {error.json_path for error in validator("RayService").iter_errors(service)}

    assert found == {
        "$.spec.rayClusterConfig.headGroupSpec.template.spec.containers[0]",
        "$.spec.serviceUnhealthySecondThreshold",
    }


def builder(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_what_serve_is_told_names_applications_deployments_and_arguments_that_the_code_has(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray Serve's own, of pydantic
        schema = importlib.import_module("ray.serve.schema").ServeDeploySchema
        told = schema.model_validate(yaml.safe_load(of_kind(name, "RayService")["spec"]["serveConfigV2"]))
        made = [builder(each.import_path)(each.args) for each in told.applications]

    for each, application in zip(told.applications, made, strict=True):
        assert [deployment.name for deployment in each.deployments] == [
            application._bound_deployment.name  # noqa: SLF001 - Serve has no other way to ask
        ]
    assert [each.route_prefix for each in told.applications] == ["/", "/archive", "/v1/features", "/v1/models"]


@pytest.mark.parametrize("name", RENDERED)
def test_no_pod_is_root_writes_to_its_root_may_do_more_or_is_without_bounds(name: str) -> None:
    for whose, pod in pods(name):
        assert pod["securityContext"]["runAsNonRoot"], whose
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, whose
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            may = container["securityContext"]
            assert may["readOnlyRootFilesystem"], whose
            assert not may["allowPrivilegeEscalation"], whose
            assert may["capabilities"] == {"drop": ["ALL"]}, whose
            assert "memory" in container["resources"]["limits"], whose
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), whose
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}, whose


@pytest.mark.parametrize("name", RENDERED)
def test_each_pod_has_an_account_that_is_made_or_stands_in_the_cloud_and_a_token_only_where_it_needs_one(
    name: str,
) -> None:
    there = [each for of in (name, "laptop", "site") for each in rendered(of)]
    made = {each["metadata"]["name"] for each in there if each["kind"] == "ServiceAccount"}
    for whose, pod in pods(name):
        assert pod["serviceAccountName"] in made, whose
        assert pod.get("automountServiceAccountToken", True) is (whose == "RayService head"), whose


@pytest.mark.parametrize("name", ["laptop", "production", "site"])
def test_nothing_may_talk_to_a_pod_that_no_policy_names(name: str) -> None:
    policies = [each["spec"] for each in rendered(name) if each["kind"] == "NetworkPolicy"]

    assert any(each["podSelector"] == {} and set(each["policyTypes"]) == {"Ingress", "Egress"} for each in policies)


@pytest.mark.parametrize("name", RENDERED)
def test_ray_is_the_version_that_is_locked_and_asks_for_a_token(name: str) -> None:
    assert f"ray=={RAY}" in (ROOT / "locks" / "cloud.txt").read_text()
    for each in rendered(name):
        spec = each.get("spec", {})
        cluster = cluster_of(spec)
        if each["apiVersion"] == "ray.io/v1":
            assert (cluster["rayVersion"], cluster["authOptions"]["mode"]) == (RAY, "token")


def test_the_trainings_are_told_options_that_they_take() -> None:
    nightly = of_kind("laptop", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    lines = [nightly["args"][0].partition(" -- ")[2], of_kind("retraining", "RayJob")["spec"]["entrypoint"]]
    for line in lines:
        words = line.split()
        assert words[:3] == ["python", "-m", "training.job"]
        told = parser(dt.date(2026, 11, 25)).parse_args(words[3:])
        assert (told.archive, told.bundles) == ("/data/archive", Path("/data/bundles"))


def test_the_site_is_enrolled_and_started_by_commands_and_settings_that_it_has() -> None:
    run = of_kind("site", "RayCluster")["spec"]["headGroupSpec"]["template"]["spec"]["containers"][1]["command"]
    enrol = of_kind("site/enrolment", "Job")["spec"]["template"]["spec"]["containers"][0]["command"]

    assert (run[1], enrol[1:3]) == ("run", ["site", "enrol"])
    for words in (run, enrol):
        command: Any = typer.main.get_command(commands)
        for word in words[1 : next(n for n, each in enumerate(words) if each.startswith("--"))]:
            command = command.commands[word]
        known = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known
    settings = of_kind("site", "ConfigMap")["data"]["site.toml"]
    assert site_settings([parse("site.toml", settings)], names="site.toml").profile == "production"


def test_the_image_copies_what_is_there_and_installs_from_locks_that_are_there() -> None:
    lines = (CONFIGS / "Containerfile").read_text().splitlines()
    copied = [line.split()[1] for line in lines if line.startswith("COPY") and "--from" not in line]
    locks = [word for line in lines for word in line.split() if word.startswith("locks/")]

    assert all((ROOT / path).exists() for path in [*copied, *locks])
    (version,) = (line.partition("=")[2] for line in lines if line.startswith("ARG UV="))
    assert f"UV_VERSION := {version}" in (ROOT / "Makefile").read_text()
