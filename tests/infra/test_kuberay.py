"""The Kubernetes manifests: rendered by Kustomize, checked against the schemas, and held to what they promise.

NOT TESTED here: a Kubernetes API server, the operator's own checks beyond those below, and any cloud.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from ray._private import ray_constants
from ray.serve._private.constants import (
    RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT,
    RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT,
    RAY_SERVE_HAPROXY_METRICS_PORT,
    RAY_SERVE_HAPROXY_STATS_PORT,
)

from helpers.rendered import CLOUDS, KUBERAY, Document, by_kind, clusters, one, pod_specs, render, render_text

REAL = ("aws", "gcp", "azure")
OVERLAYS = [f"{cloud}{part}" for cloud, part in product(CLOUDS, ("", "/jobs"))]


@pytest.fixture(scope="module")
def crds(shared_data: Path) -> Any:
    """The strict checker of KubeRay's schemas."""
    folder = shared_data / "tools/infra"
    if not (folder / "kuberay_validate.py").exists():
        pytest.skip("NOT TESTED: no kuberay_validate.py in the shared tools; Ray's resources met no schema")
    sys.path.insert(0, str(folder))
    try:
        import kuberay_validate
    finally:
        sys.path.remove(str(folder))
    return kuberay_validate


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ray_resources_fit_the_schemas_of_kuberay(crds: Any, overlay: str) -> None:
    validators, num_checked = crds.validators(), 0
    for document in render(overlay):
        validator = validators.get((document["apiVersion"], document["kind"]))
        if validator is not None:
            num_checked += 1
            assert [error.message for error in validator.iter_errors(crds.prune(document))] == []
    assert num_checked == (13 if overlay.endswith("jobs") else 3)


def test_a_misspelt_field_is_refused(crds: Any) -> None:
    cluster = one(render("aws"), "RayCluster", "semrec")
    cluster["spec"]["autoscalerOptions"]["idleTimeoutSecond"] = 1
    validator = crds.validators()["ray.io/v1", "RayCluster"]
    assert "idleTimeoutSecond" in next(validator.iter_errors(cluster)).message


@pytest.mark.parametrize("overlay", CLOUDS)
def test_other_resources_fit_the_schemas_of_kubernetes(overlay: str) -> None:
    checker = pytest.importorskip(
        "kubernetes_validate", reason="NOT TESTED: no Kubernetes schemas; pip install kubernetes-validate"
    )
    others = [document for document in render(overlay) if not document["apiVersion"].startswith("ray.io/")]
    assert len(others) >= 12
    for document in others:
        checker.validate(document, checker.latest_version(), strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_placeholder_is_left_and_everything_has_a_place(overlay: str) -> None:
    assert (
        re.findall(r"WORKSPACE|DEMO|ITEMS|USERS|INTERACTIONS|replaced|image: semrec$|latest", render_text(overlay))
        == []
    )
    documents = render(overlay)
    assert {document["metadata"].get("namespace", "semrec") for document in documents} == {"semrec"}
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))
    kinds = {kind for kind, _ in names}
    assert kinds == {"RayJob"} if overlay.endswith("jobs") else {"RayCluster", "RayService", "RayCronJob"} < kinds


def _without_the_cloud(overlay: str) -> list[Document]:
    """The documents with the values of the settings as their names, and without what a cloud may add."""
    cloud = overlay.split("/")[0]
    settings = one(render(cloud), "ConfigMap", "semrec-settings")["data"]
    text = json.dumps(render(overlay))
    for name, value in sorted(settings.items(), key=lambda item: -len(item[1])):
        if not value.isdigit():
            text = text.replace(json.dumps(value)[1:-1], f"<{name}>")
    documents: list[Document] = json.loads(text)
    for document in by_kind(documents, "ConfigMap"):
        del document["data"]
    for document in by_kind(documents, "ServiceAccount"):
        document["metadata"].pop("annotations", None)
    for cluster in clusters(documents).values():
        groups = cluster["workerGroupSpecs"]
        for template in (cluster["headGroupSpec"]["template"], *(group["template"] for group in groups)):
            template["metadata"]["labels"].pop("azure.workload.identity/use", None)
            pod, (container,) = template["spec"], template["spec"]["containers"]
            container["env"] = [entry for entry in container["env"] if "REDIS" not in entry["name"]]
            for part in (pod["volumes"], container["volumeMounts"], pod.get("tolerations", [])):
                part[:] = [e for e in part if e.get("name") != "redis-ca" and "azure" not in e.get("key", "")]
    return [document for document in documents if document["metadata"]["name"] != "gke"]


@pytest.mark.parametrize("part", ["", "/jobs"])
@pytest.mark.parametrize("cloud", ["gcp", "azure"])
def test_the_clouds_differ_in_settings_and_placement_only(cloud: str, part: str) -> None:
    assert _without_the_cloud(cloud + part) == _without_the_cloud("aws" + part)


def test_the_settings_have_the_same_names_everywhere() -> None:
    names = {cloud: set(one(render(cloud), "ConfigMap", "semrec-settings")["data"]) for cloud in CLOUDS}
    assert names["aws"] == names["gcp"] == names["azure"] == names["kind"] | {"identity", "serveIdentity"}


def test_kind_has_all_that_the_clouds_have_and_no_gpu() -> None:
    ours, theirs = ({(d["kind"], d["metadata"]["name"]) for d in render(name)} for name in ("kind", "aws"))
    theirs.remove(("ResourceQuota", "semrec-gpus"))
    extra = {("Secret", "semrec-ray-token"), ("Secret", "semrec-redis"), ("Service", "semrec-redis")}
    assert ours - theirs == extra | {("Deployment", "semrec-redis"), ("PersistentVolumeClaim", "semrec-workspace")}
    assert theirs <= ours
    assert "nvidia.com/gpu" not in render_text("kind") + render_text("kind/jobs")
    settings = one(render("kind"), "ConfigMap", "semrec-settings")["data"]
    for name, cluster in clusters(render("kind/jobs")).items():
        for pod in pod_specs(cluster):
            mounted = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
            assert any(settings["workspace"].startswith(path + "/") for path in mounted), name


def test_each_cloud_binds_the_service_accounts_to_their_identities() -> None:
    keys = {
        "aws": "eks.amazonaws.com/role-arn",
        "gcp": "iam.gke.io/gcp-service-account",
        "azure": "azure.workload.identity/client-id",
    }
    for cloud, key in keys.items():
        settings = one(render(cloud), "ConfigMap", "semrec-settings")["data"]
        for name, setting in {"semrec": "identity", "semrec-serve": "serveIdentity"}.items():
            account = one(render(cloud), "ServiceAccount", name)
            assert account["metadata"]["annotations"] == {key: settings[setting]}
    for cluster in clusters(render("azure") + render("azure/jobs")).values():
        groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
        labels = [group["template"]["metadata"]["labels"]["azure.workload.identity/use"] for group in groups]
        assert labels == ["true"] * 3


@pytest.mark.parametrize("cloud", REAL)
def test_the_gpu_group_goes_where_terraform_puts_gpus(cloud: str) -> None:
    outputs = KUBERAY.parents[1] / f"terraform/modules/{cloud}/cluster/outputs.tf"
    if not outputs.exists():
        pytest.skip(f"NOT TESTED: no Terraform module for {cloud} to compare the GPU selector with")
    text = outputs.read_text()
    selector = re.search(r'gpu_node_selector.*?\{\s*"([^"]+)"\s*=\s*"([^"]+)"\s*\}', text, re.DOTALL)
    tolerations = re.findall(
        r'\{ key = "([^"]+)", operator = "([^"]+)", value = "([^"]+)", effect = "([^"]+)" \}', text
    )
    assert selector
    gpu = clusters(render(cloud))["RayCluster/semrec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert gpu["nodeSelector"] == {selector[1]: selector[2]}
    assert gpu["tolerations"] == [
        dict(zip(("key", "operator", "value", "effect"), values, strict=True)) for values in tolerations
    ]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_cluster_is_what_was_promised(cloud: str) -> None:
    spec = clusters(render(cloud))["RayCluster/semrec"]
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["authOptions"] == {"mode": "token", "secretName": "semrec-ray-token"}
    assert spec["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] == "semrec-redis"
    groups = {group["groupName"]: (group["minReplicas"], group["maxReplicas"]) for group in spec["workerGroupSpecs"]}
    assert groups == ({"cpu": (0, 2)} if cloud == "kind" else {"gpu": (0, 8), "cpu": (0, 18)})


def test_the_version_is_that_of_the_image() -> None:
    pins = (KUBERAY.parent / "docker/constraints.txt").read_text()
    versions = {cluster["rayVersion"] for cluster in clusters(render("aws") + render("aws/jobs")).values()}
    assert versions == {re.search(r"^ray==(.+)$", pins, re.MULTILINE)[1]}  # type: ignore[index]


def test_the_operator_takes_the_clusters() -> None:
    """KubeRay's own conditions: no restart policy but Never beside autoscaler v2, no Redis in the environment, short names."""
    made = clusters(render("aws") + render("aws/jobs"))
    names = [name.partition("/")[2] for name in made]
    assert len(set(names)) == len(names)  # each gets a service called <name>-head-svc
    assert max(map(len, names)) <= 47
    for cluster in made.values():
        for pod in pod_specs(cluster):
            assert pod["restartPolicy"] == "Never"
            names = {entry["name"] for entry in pod["containers"][0]["env"]}
            assert not names & {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"}
        assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_unprivileged(overlay: str) -> None:
    """What the namespace's policy `restricted` asks for, and a root file system that is read only."""
    documents = render(overlay)
    pods = [(one["metadata"]["name"], pod) for one in documents for pod in pod_specs(one.get("spec"))]
    assert pods
    for name, pod in pods:
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] >= 999
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            _check_container(container)
    for cluster in clusters(documents).values():
        assert cluster["autoscalerOptions"]["securityContext"]["readOnlyRootFilesystem"]


def _check_container(container: Document) -> None:
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]
    assert re.search(r"@sha256:[0-9a-f]{64}$|:[0-9v][^:/]*$", container["image"]), (
        "a digest, or a tag that is a version"
    )


def test_only_what_asks_kubernetes_has_a_token() -> None:
    with_token = {
        (document["kind"], pod["containers"][0]["name"])
        for document in render("aws")
        for pod in pod_specs(document.get("spec"))
        if pod["automountServiceAccountToken"]
    }
    heads = {(kind, "ray-head") for kind in ("RayCluster", "RayService", "RayCronJob")}
    assert with_token == heads | {("CronJob", "kubectl")}


def test_a_worker_has_time_to_commit() -> None:
    for name, cluster in clusters(render("aws") + render("aws/jobs")).items():
        for group in cluster["workerGroupSpecs"]:
            pod = group["template"]["spec"]
            command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
            assert command[:3] == ["python", "-m", "infra.drain"], name
            deadline_s = float(command[command.index("--deadline-s") + 1])
            own_s = ray_constants.RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S  # what `ray start --block` waits after SIGTERM
            assert 60 <= deadline_s <= pod["terminationGracePeriodSeconds"] - own_s - 20
            assert group["template"]["metadata"]["annotations"] == {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"
            }


def test_the_hook_takes_its_options() -> None:
    group = clusters(render("aws"))["RayCluster/semrec"]["workerGroupSpecs"][0]
    _, *arguments = group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    parsed = subprocess.run([sys.executable, *arguments, "--help"], cwd=KUBERAY.parents[1], capture_output=True)
    assert parsed.returncode == 0


def test_disruption_budgets_count_pods() -> None:
    budgets = by_kind(render("aws"), "PodDisruptionBudget")
    assert [budget["spec"]["minAvailable"] for budget in budgets] == [1]
    (chosen,) = [budget["spec"]["selector"]["matchLabels"] for budget in budgets]
    heads = {
        "app.kubernetes.io/part-of": "semrec",
        "ray.io/node-type": "head",
    }  # and no ray.io/serve
    assert not chosen.items() <= heads.items(), "the only head could never be drained"


def _head_pods(documents: list[Document]) -> Any:
    return {name: cluster["headGroupSpec"]["template"]["spec"] for name, cluster in clusters(documents).items()}


def test_heads_on_gke_know_the_authority_of_their_redis() -> None:
    for name, pod in _head_pods(render("gcp") + render("gcp/jobs")).items():
        (head,) = pod["containers"]
        path = next(entry["value"] for entry in head["env"] if entry["name"] == "RAY_REDIS_CA_CERT")
        folder = next(mount["mountPath"] for mount in head["volumeMounts"] if mount["name"] == "redis-ca")
        source = next(volume["configMap"]["name"] for volume in pod["volumes"] if volume["name"] == "redis-ca")
        assert (source, path) == ("semrec-redis-ca", f"{folder}/ca.pem"), name


def test_gpus_are_as_many_as_the_settings_say_for_all_clusters_together() -> None:
    documents, jobs = render("aws"), render("aws/jobs")
    workers = one(documents, "ConfigMap", "semrec-settings")["data"]["gpuWorkers"]
    assert one(documents, "ResourceQuota", "semrec-gpus")["spec"]["hard"] == {"requests.nvidia.com/gpu": workers}
    limits = {cluster["workerGroupSpecs"][0]["maxReplicas"] for cluster in clusters(documents + jobs).values()}
    assert limits == {int(workers)}
    lines = [one(documents, "RayCronJob", "semrec-daily")["spec"]["jobTemplate"]["entrypoint"]]
    lines += [one(jobs, "RayJob", f"semrec-{verb}")["spec"]["entrypoint"] for verb in ("run", "embed", "score")]
    assert {line.partition("--workers ")[2].split()[0] for line in lines} == {workers}


def test_without_redis_no_cluster_asks_for_one(tmp_path: Path) -> None:
    shutil.copytree(KUBERAY, tmp_path / "kuberay")
    overlay = tmp_path / "kuberay/overlays/aws/kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("../../redis, ", ""))
    done = subprocess.run(["kubectl", "kustomize", overlay.parent], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gcsFaultToleranceOptions" not in done.stdout and "semrec-redis" not in done.stdout


RAY_PODS = {"app.kubernetes.io/part-of": "semrec", "ray.io/is-ray-node": "yes"}
OPERATOR = {"app.kubernetes.io/name": "kuberay-operator"}
HAPROXY = {
    RAY_SERVE_HAPROXY_STATS_PORT,
    RAY_SERVE_HAPROXY_METRICS_PORT,
}  # on all interfaces, open to whoever reaches them
REPLICAS = {RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT, RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT}
ASKED = {6379, 8000, 8080, 8265, 9000, 10002, 19999, 44217, 44227} | HAPROXY | REPLICAS


@pytest.mark.parametrize(
    ("namespace", "pod", "ports"),
    [
        ({"kubernetes.io/metadata.name": "semrec"}, RAY_PODS, ASKED),
        ({"kubernetes.io/metadata.name": "monitoring"}, {}, {8080, 44217, 44227, RAY_SERVE_HAPROXY_METRICS_PORT}),
        ({"kubernetes.io/metadata.name": "kuberay-system"}, OPERATOR, {8265, 8000}),
        ({"kubernetes.io/metadata.name": "shop"}, OPERATOR, set()),
        ({"kubernetes.io/metadata.name": "shop", "semrec.io/client": "true"}, {}, {8000, 9000}),
        ({"kubernetes.io/metadata.name": "shop"}, {}, set()),
        ({"kubernetes.io/metadata.name": "semrec"}, {"app": "stranger"}, set()),
    ],
)
def test_who_may_reach_a_ray_node(namespace: dict[str, str], pod: dict[str, str], ports: set[int]) -> None:
    assert {port for port in ASKED if _may_enter(render("aws"), namespace, pod, port)} == ports


def _may_enter(documents: list[Document], namespace: dict[str, str], pod: dict[str, str], port: int) -> bool:
    """Whether the policies that choose Ray's pods let a peer in: they add up, and without one all is open."""
    chosen = [p["spec"] for p in by_kind(documents, "NetworkPolicy") if _matches(p["spec"]["podSelector"], RAY_PODS)]
    if not any("Ingress" in spec["policyTypes"] for spec in chosen):
        return True
    return any(
        port in {entry["port"] for entry in rule["ports"]} if "ports" in rule else True
        for spec in chosen
        for rule in spec.get("ingress", [])
        if any(_is_peer(peer, namespace, pod) for peer in rule["from"])
    )


def _is_peer(peer: Document, namespace: dict[str, str], pod: dict[str, str]) -> bool:
    own = {"matchLabels": {"kubernetes.io/metadata.name": "semrec"}}
    return _matches(peer.get("namespaceSelector", own), namespace) and _matches(peer.get("podSelector", {}), pod)


def _matches(selector: Document, labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_pod_asks_a_metadata_server_only_where_that_gives_it_its_own_credentials(cloud: str) -> None:
    """GKE's answers on the node's address (Dataplane V2); elsewhere the node's own credentials would be there."""
    rules = [rule for policy in by_kind(render(cloud), "NetworkPolicy") for rule in policy["spec"].get("egress", [])]
    blocks = [(peer["ipBlock"], rule["ports"]) for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    assert all("169.254.0.0/16" in block["except"] for block, _ in blocks if block["cidr"] == "0.0.0.0/0")
    asked = {
        (block["cidr"], port["port"])
        for block, ports in blocks
        for port in ports
        if block["cidr"].startswith("169.254.")
    }
    metadata = {("169.254.169.254/32", 80), ("169.254.169.254/32", 53), ("169.254.20.10/32", 53)}
    assert asked == (metadata if cloud == "gcp" else set())


def test_the_hours_change_what_they_may_and_nothing_else() -> None:
    documents = render("aws")
    role = one(documents, "Role", "semrec-hours")
    assert role["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "resourceNames": ["semrec"], "verbs": ["get", "patch"]}
    ]
    for name, value in {"semrec-suspend": True, "semrec-resume": False}.items():
        (pod,) = pod_specs(one(documents, "CronJob", name))
        arguments = pod["containers"][0]["args"]
        assert arguments[:3] == ["patch", "raycluster", "semrec"]
        assert json.loads(arguments[-1].partition("=")[2]) == {"spec": {"suspend": value}}
