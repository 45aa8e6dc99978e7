"""The jobs of the manifests: every command is one that the real command line takes, and a resubmission finds its own run."""

from __future__ import annotations

import shlex
from functools import cache
from typing import Any

import pytest
import typer

from helpers.rendered import CLOUDS, Document, by_kind, clusters, one, pod_specs, render
from jobs.cli import app

# Answered at once or all the time, and so not jobs: asked from a shell, or a service of its own. `evaluate` works in one
# process, and has none as long as it does.
NOT_JOBS = {
    "query",
    "serve",
    "plan",
    "parity",
    "inspect",
    "quarantine",
    "map",
    "archetypes",
    "distill",  # into a folder of this machine
    "export",  # to a place that its user names
    "init",
    "config",
    "evaluate",
    "diff",
    "forget",
    "gc",
}
FOR_GPUS = {"run", "embed", "score", "demo", "bench"}


@cache
def _command_line() -> Any:
    return typer.main.get_command(app)


def _parsed(entrypoint: str) -> tuple[list[str], dict[str, Any]]:
    """The verb and the options of a command, as the command line would take them; raises UsageError as it would."""
    program, *words = shlex.split(entrypoint)
    assert program == "semrec"
    command = _command_line()
    verb = []
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no such verb: {entrypoint}"
        verb.append(words[0])
        command = command.commands[words.pop(0)]
    return verb, command.make_context(" ".join(verb), words).params


def _jobs(cloud: str) -> list[Document]:
    return by_kind(render(f"{cloud}/jobs"), "RayJob")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_command_is_taken_with_the_overlays_workspace(cloud: str) -> None:
    settings = one(render(cloud), "ConfigMap", "semrec-settings")["data"]
    for job in _jobs(cloud):
        label = job["metadata"]["labels"]["semrec.io/job"]
        verb, options = _parsed(job["spec"]["entrypoint"])
        assert verb[0] == label.split("-")[0]
        assert options["workspace"] == settings["demo" if label in ("demo", "bench") else "workspace"]
        if verb[0] == "import":
            assert (options["kind"], options["source"]) == (label.split("-")[1], [settings[label.split("-")[1]]])


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(Exception, match="No such option"):
        _parsed("semrec score --workspace W --shard 2")


def test_every_verb_that_works_in_the_background_has_a_job() -> None:
    verbs = set(_command_line().commands)
    with_job = {_parsed(job["spec"]["entrypoint"])[0][0] for job in _jobs("aws")}
    assert verbs - NOT_JOBS == with_job, "give the new verb a RayJob in infra/kuberay/jobs, or say here why it has none"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_job_is_tried_again_and_leaves_nothing_behind(cloud: str) -> None:
    for job in _jobs(cloud):
        spec = job["spec"]
        assert (spec["backoffLimit"], spec["submitterConfig"]["backoffLimit"]) == (2, 2)
        assert spec["shutdownAfterJobFinishes"] is True
        assert 0 < spec["ttlSecondsAfterFinished"] <= 3600
        assert spec["activeDeadlineSeconds"] == 20 * 3600
        assert "jobId" not in spec  # Ray refuses one that it has seen: each try must be able to submit again
        assert "clusterSelector" not in spec  # with it there would be neither tries nor a shutdown
        assert "--resume" not in spec["entrypoint"]  # the same line finds its own run


def test_every_cluster_is_the_same_and_begins_without_a_worker() -> None:
    for cloud in CLOUDS:
        standing = clusters(render(cloud))["RayCluster/semrec"]
        assert {(group["minReplicas"], group["replicas"]) for group in standing["workerGroupSpecs"]} == {(0, 0)}
        for name, cluster in clusters(render(cloud) + render(f"{cloud}/jobs")).items():
            for pod in pod_specs(
                cluster
            ):  # the service's pods differ by their identity, and its workers by their priority
                expected = "semrec-serve" if name == "RayService/semrec-online" else "semrec"
                assert pod["serviceAccountName"] == expected, name
                pod["serviceAccountName"] = "semrec"
            for pod in pod_specs(cluster["workerGroupSpecs"]):
                pod["priorityClassName"] = "semrec-batch"
            assert cluster == standing, name


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_job_that_can_use_gpus_says_whether_it_has_some_rented(cloud: str) -> None:
    settings = one(render(cloud), "ConfigMap", "semrec-settings")["data"]
    assert settings["device"] == ("cpu" if cloud == "kind" else "cuda")
    takes_device = set()
    for job in _jobs(cloud):
        verb, options = _parsed(job["spec"]["entrypoint"])
        if "device" in options:
            takes_device.add(verb[0])
            assert options["device"] == settings["device"]
        assert ("device" in options) == (job["metadata"]["labels"]["semrec.io/device"] == "gpu")
        if "device" in options:  # longer than the autoscaler's ten minutes for spot, and then a node on demand
            assert options["device_wait"] == float(settings["deviceWait"]) >= 1800
            assert options["device_wait"] < job["spec"]["activeDeadlineSeconds"]
    assert takes_device == FOR_GPUS


def test_the_daily_run_is_the_job_run_on_a_clock() -> None:
    for cloud in CLOUDS:
        daily = one(render(cloud), "RayCronJob", "semrec-daily")["spec"]
        assert daily["timeZone"] == "Etc/UTC"
        assert daily["jobTemplate"] == one(_jobs(cloud), "RayJob", "semrec-run")["spec"]


def test_an_import_is_placed_on_a_worker_that_can_hold_it() -> None:
    for cloud in CLOUDS:
        for job in _jobs(cloud):
            asked = job["spec"].get("entrypointNumCpus", 0)
            groups = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
            cpu = next(group for group in groups if group["groupName"] == "cpu")
            room = int(cpu["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
            assert (0 < asked <= room) == ("import" in job["metadata"]["name"])
