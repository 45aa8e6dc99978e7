"""The service in the manifests: its configuration, its replicas over nodes and zones, what comes first, and the way in."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster.serving.grpc import SERVICER
from helpers.rendered import CLOUDS, KUBERAY, by_kind, clusters, one, pod_specs, render
from semrec.planning.serving import _WORKER_CPUS


def test_the_example_of_an_ingress_leads_to_the_service_over_tls() -> None:
    checker = pytest.importorskip(
        "kubernetes_validate", reason="NOT TESTED: no Kubernetes schemas; pip install kubernetes-validate"
    )
    middleware, ingress = yaml.safe_load_all((KUBERAY / "front/ingress.yaml").read_text())
    checker.validate(ingress, checker.latest_version(), strict=True)
    service = one(render("aws"), "RayService", "semrec-online")
    port = yaml.safe_load(service["spec"]["serveConfigV2"])["http_options"]["port"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    # The operator calls it so: <name of the RayService>-serve-svc.
    assert path["backend"]["service"] == {"name": f"{service['metadata']['name']}-serve-svc", "port": {"number": port}}
    assert path["path"] == "/v1/" and ingress["metadata"]["namespace"] == service["metadata"]["namespace"]
    limits = ingress["metadata"]["annotations"]
    named = "{namespace}-{name}@kubernetescrd".format(**middleware["metadata"])
    assert limits["traefik.ingress.kubernetes.io/router.middlewares"] == named
    average = middleware["spec"]["rateLimit"]["average"]
    assert int(limits["nginx.ingress.kubernetes.io/limit-rps"]) == average > 0
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_batch_work_yields_to_heads_and_to_whoever_answers(cloud: str) -> None:
    priorities = {each["metadata"]["name"]: each["value"] for each in by_kind(render(cloud), "PriorityClass")}
    assert priorities == {"semrec-first": 1000, "semrec-batch": 0}
    for name, cluster in clusters(render(cloud) + render(f"{cloud}/jobs")).items():
        (head,), workers = pod_specs(cluster["headGroupSpec"]), list(pod_specs(cluster["workerGroupSpecs"]))
        assert head["priorityClassName"] == "semrec-first"
        expected = "semrec-first" if name.startswith("RayService") else "semrec-batch"
        assert {pod["priorityClassName"] for pod in workers} == {expected}, name


@pytest.mark.parametrize("cloud", CLOUDS)
def test_workers_of_one_cluster_spread_over_zones(cloud: str) -> None:
    group = clusters(render(cloud))["RayService/semrec-online"]["workerGroupSpecs"][-1]
    (pod,) = pod_specs(group)
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone" and spread["matchLabelKeys"] == ["ray.io/cluster"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"  # a full zone must not stop the service


def test_the_service_is_replaced_without_a_gap() -> None:
    spec = one(render("aws"), "RayService", "semrec-online")["spec"]
    assert spec["upgradeStrategy"] == {"type": "NewCluster"}
    assert spec["rayClusterDeletionDelaySeconds"] >= 60
    assert spec["excludeHeadPodFromServeSvc"] is True


def test_ray_serve_takes_the_configuration() -> None:
    from ray.serve.schema import ServeDeploySchema

    for cloud in CLOUDS:
        documents = render(cloud)
        config = yaml.safe_load(one(documents, "RayService", "semrec-online")["spec"]["serveConfigV2"])
        taken = ServeDeploySchema.model_validate(config)
        assert taken.grpc_options.grpc_servicer_functions == [SERVICER]
        (application,) = taken.applications
        assert application.import_path == "cluster.serving:app"
        settings = one(documents, "ConfigMap", "semrec-settings")["data"]
        assert application.args["workspace"] == settings["workspace"]
        sizes = [int(settings[name]) for name in ("replicas", "maxReplicas", "cpuWorkers")]
        assert [int(application.args[name]) for name in ("replicas", "max_replicas")] == sizes[:2]
        assert (1 if cloud == "kind" else 2) <= sizes[0] < sizes[1] <= sizes[2] <= 18  # of the pool's 20 nodes
        keys = Path(application.args["keys_file"]).parent
        workers = clusters(documents)["RayService/semrec-online"]["workerGroupSpecs"]
        room = next(pod_specs(workers[-1]))["containers"][0]["resources"]["limits"]["cpu"]
        assert cloud == "kind" or int(room) == _WORKER_CPUS  # as `semrec plan --serve` reckons
        assert application.args["cpus"] == room  # a whole worker, so two replicas are two nodes
        for pod in pod_specs(workers):
            ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
            assert (ports["serve"], ports["serve-grpc"]) == (taken.http_options.port, taken.grpc_options.port)
            assert str(keys) in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_node_starts_serve_with_the_variables_of_the_measured_speed(cloud: str) -> None:
    """Replicas and HAProxy run on workers, Serve's controller and the operator's requests to it on the head."""
    from cluster.serving.ray_serve import serving_environment

    for name, cluster in clusters(render(cloud) + render(f"{cloud}/jobs")).items():
        for pod in pod_specs(cluster):
            (container,) = pod["containers"]
            cores = int(container["resources"]["limits"]["cpu"])
            given = [(entry["name"], entry["value"]) for entry in container["env"] if "REDIS" not in entry["name"]]
            assert len(dict(given)) == len(given)
            assert dict(given) == serving_environment(cores=cores), name


def test_the_application_takes_its_arguments() -> None:
    serving = pytest.importorskip(
        "cluster.serving", reason="NOT TESTED: cluster.serving is not there, so nothing took the arguments"
    )
    from typing import get_type_hints

    config = yaml.safe_load(one(render("aws"), "RayService", "semrec-online")["spec"]["serveConfigV2"])
    (arguments,) = (hint for name, hint in get_type_hints(serving.app).items() if name != "return")
    parsed = arguments.model_validate(config["applications"][0]["args"])
    assert set(config["applications"][0]["args"]) <= set(arguments.model_fields)
    assert parsed.workspace.startswith("s3://")
