"""Stand-ins for the command lines of infra/README.md: each does what can be done here, and refuses what the real one would.

One program under several names (terraform, kubectl, docker, cosign, kind, helm, aws, gcloud, az, curl). What was made is a JSON
file, GUIDE_STATE; the outputs of Terraform are another, GUIDE_OUTPUTS. The real kubectl, GUIDE_KUBECTL, renders manifests.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

STATE = Path(os.environ["GUIDE_STATE"])
OUTPUTS: dict[str, Any] = json.loads(Path(os.environ["GUIDE_OUTPUTS"]).read_text())


PIPED = sys.stdin.read() if {"-", "--password-stdin"} & set(sys.argv) else ""


def refuse(reason: str) -> None:
    sys.exit(f"{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}: {reason}")


def require(condition: object, reason: str) -> None:
    if not condition:
        refuse(reason)


def terraform(state: dict[str, Any], words: list[str]) -> None:
    folder = Path(words[0].removeprefix("-chdir="))
    require(folder.is_dir(), f"no folder {folder}")
    match words[1:]:
        case ["init"]:
            require((folder / "backend.tf").is_file(), "the state would lie on this machine: no backend.tf")
            require(state.get("state_bucket"), "no bucket for the state")
            state.setdefault("initialised", []).append(str(folder))
        case ["apply", *_] | ["destroy", *_]:
            require(str(folder) in state.get("initialised", []), "terraform init first")
            values = "terraform.tfvars.json" if folder.name == "addons" else "terraform.tfvars"
            require((folder / values).is_file(), f"no {values}")
            if folder.name == "addons" and words[1] == "apply":
                apply_addons(state, json.loads((folder / values).read_text()))
            if words[1] == "destroy" and folder.name != "addons":
                require(not state["ray"] and "addons" not in state, "something still runs in the cluster")
                require(not state.get("volumes"), "the disks of Prometheus and Alertmanager would be paid for ever")
            state.pop("addons", None) if words[1] == "destroy" else state.setdefault(folder.name, True)
        case ["output", "-raw", name]:
            require(isinstance(OUTPUTS.get(name), str), f"no output {name} that is a string")
            sys.stdout.write(OUTPUTS[name])
        case ["output", "-json", name]:
            require(name in OUTPUTS, f"no output {name}")
            print(json.dumps(OUTPUTS[name]))
        case _:
            refuse("unknown")


def apply_addons(state: dict[str, Any], values: dict[str, Any]) -> None:
    require(values == OUTPUTS["addons"], "other values than the cluster's output addons")
    require(os.environ.get("KUBE_CONFIG_PATH"), "no KUBE_CONFIG_PATH: the providers find no cluster")
    for name, keys in {
        "grafana-admin": {"admin-user", "admin-password"},
        "receivers": {"recommendations-routing-key", "platform-routing-key", "slack-url"},
    }.items():
        state["volumes"] = True
        require(
            set(state["made"].get(f"monitoring/Secret/{name}", [])) == keys, f"no Secret {name} with {sorted(keys)}"
        )


def kubectl(state: dict[str, Any], words: list[str]) -> None:
    namespace = words[1] if words[0] == "-n" else "default"
    match words[2:] if words[0] == "-n" else words:
        case ["kustomize", folder]:
            sys.stdout.write(render(folder))
        case ["delete", "namespace", "monitoring"]:
            require("addons" not in state, "the charts still run in it")
            state["namespaces"].remove("monitoring")
        case ["wait", "--for=delete", "pv", "--all", _]:
            require("monitoring" not in state["namespaces"], "timed out: the claims hold their volumes")
            state["volumes"] = False
        case ["config", "set-cluster", *_]:
            pass
        case ["port-forward", "svc/semrec-online-serve-svc", "8000"]:
            require(state["ray"], "no service")
        case ["create", "namespace", name]:
            state["namespaces"].append(name)
        case ["create", "secret", "generic", name, *sources] | ["create", "configmap", name, *sources]:
            kind = "Secret" if "secret" in words else "ConfigMap"
            require(namespace in state["namespaces"], f"no namespace {namespace}")
            state["made"][f"{namespace}/{kind}/{name}"] = [key(source) for source in sources]
        case ["apply", "-f", file]:
            document = Path(file).read_text()
            if "kind: Namespace" in document:
                state["namespaces"].append(re.findall(r"name: (\w+)", document)[0])
            elif "monitoring.coreos.com" in document:
                require("addons" in state, "no matches for kind PodMonitor: the operators are not installed")
        case ["apply", "-k", folder]:
            require("addons" in state, "no matches for kind RayCluster: the operators are not installed")
            require("semrec" in state["namespaces"], "no namespace semrec")
            text = render(folder)
            made = re.findall(r"^kind: Secret\nmetadata:\n(?:  .*\n)*?  name: ([\w-]+)", text, re.M)  # kind's own
            state["made"] |= {f"semrec/Secret/{name}": [] for name in made}
            check_references(state, text)
            state["ray"] = ["standing"]
        case ["delete", "rayjob", _, "--ignore-not-found"]:
            pass
        case ["create", "-f", "-", "-l", label]:
            text = PIPED
            require(label.partition("=")[2] in re.findall(r"semrec.io/job: ([\w-]+)", text), f"no job {label}")
            check_references(state, text)
            state["jobs"].append(label.partition("=")[2])
        case ["get", "rayjob", name, "-o", _]:
            require(name.removeprefix("semrec-") in state["jobs"], f"no {name}")
            sys.stdout.write("Complete SUCCEEDED")
        case ["get", "pod", "-l", _, "-o", "name"]:
            require(state["ray"], "no cluster")
            print("pod/semrec-head")
        case ["exec", "pod/semrec-head", "-c", "ray-head", "--", "semrec", *verb]:
            state["asked"].append(verb[0])
        case ["delete", kinds, "--all"]:
            require(
                {"raycluster", "rayservice", "rayjob", "raycronjob"} == set(kinds.split(",")), "a Ray object is left"
            )
            state["ray"] = []
        case ["delete", "-k", _, "--ignore-not-found"]:
            require(not state["ray"], "the operator could not clean Redis up")
        case ["delete", "-f", file] if file.endswith("namespace.yaml"):
            require(not state["ray"], "the operator could not clean Redis up")
        case _:
            refuse("unknown")


def render(folder: str) -> str:
    """What Kustomize makes of an overlay; made once, because nothing changes it between its uses."""
    rendered = STATE.with_name(folder.replace("/", "-") + ".yaml")
    if not rendered.exists():
        done = subprocess.run([os.environ["GUIDE_KUBECTL"], "kustomize", folder], capture_output=True, text=True)
        require(done.returncode == 0, done.stderr)
        rendered.write_text(done.stdout)
    return rendered.read_text()


def key(source: str) -> str:
    """The key that --from-literal=KEY=VALUE or --from-file=FILE makes; the file must be there, the value not empty."""
    option, value = source.split("=", 1)
    if option == "--from-file":
        require(Path(value).is_file(), f"no file {value}")
        return Path(value).name
    name, _, literal = value.partition("=")
    require(literal or name == "ca.pem", f"{name} is empty")
    return name


def check_references(state: dict[str, Any], text: str) -> None:
    """Whether every Secret and ConfigMap that pods read was made, with the keys that they read; and no value is a stand-in."""
    secrets = set(re.findall(r"secretName: ([\w-]+)", text))
    secrets |= set(re.findall(r"secretKeyRef:\n\s+key: \w+\n\s+name: ([\w-]+)", text))
    maps = set(re.findall(r"configMap:\n\s+name: ([\w-]+)", text))
    for kind, names in {"Secret": secrets, "ConfigMap": maps}.items():
        missing = [name for name in names if f"semrec/{kind}/{name}" not in state["made"]]
        require(not missing, f"no {kind} {missing}")
    image = state["loaded"] if "loaded" in state else os.environ["GUIDE_IMAGE"]
    require(f"image: {image}" in text, "pods run another image than the one that was pushed")
    require(
        "loaded" in state or (OUTPUTS["data_uri"] in text and OUTPUTS["redis_address"] in text),
        "settings of another account",
    )


def docker(state: dict[str, Any], words: list[str]) -> None:
    repository = OUTPUTS["registry"]
    match words:
        case ["login", *_]:
            require(PIPED, "no password")
        case ["buildx", "imagetools", "inspect", base, "--format", "{{.Manifest.Digest}}"]:
            require(
                f"BASE={base}\n" in Path("infra/docker/Dockerfile").read_text(),
                "another base than the one that is tested",
            )
            print("sha256:" + "b2" * 32)
        case ["build", *options, "."]:
            values = dict(re.findall(r"(-f|-t|BASE)[ =](\S+)", " ".join(options)))
            require(Path(values["-f"]).is_file(), "no Dockerfile")
            require(re.fullmatch(r"[\w./-]+:[\w.-]+", values["-t"]), "invalid tag: an image cannot be given a digest")
            require(values["-t"].startswith((f"{repository}:", "localhost/")), "another repository")
            require(
                values.get("BASE", "@").count("@") == 1 or values["BASE"] == "ubuntu:24.04", "a base without its digest"
            )
            state["image"] = values["-t"]
        case ["run", "--rm", image, "sh", "-c", script]:
            require(image == os.environ["GUIDE_IMAGE"], "another image than the one that was pushed")
            require("cyclonedx-py environment" in script and "/tmp/" in script, "unknown")
            print("{}")
        case ["push", tag]:
            require(state.get("logged_in") and tag == state["image"], "denied")
            state["pushed"] = tag
        case ["inspect", "--format", _, tag]:
            require(tag == state.get("pushed"), "an image that was not pushed has no digest")
            print(os.environ["GUIDE_IMAGE"])
        case _:
            refuse("unknown")


def cloud(state: dict[str, Any], words: list[str]) -> None:
    """aws, gcloud and az: what the outputs say is run, and nothing else."""
    line = " ".join(words)
    state["logged_in"] = state.get("logged_in", False) or bool(re.search(r"login|configure-docker", line))
    if re.search(r"get-login-password|get-secret-value|versions access|secret show", line):
        print("secret")
    elif re.search(r"upload-batch|cp --recursive", line):
        require(Path("incoming").is_dir(), "no folder incoming")
        state["uploaded"] = True
    elif re.search(r"s3 mb|buckets create|container create", line):
        state["state_bucket"] = True
    elif re.search(r"create-key|keys describe|account create|signed-in-user", line):
        print("id")
    else:
        known = r"kubeconfig|get-credentials|login|configure-docker|start-session|tunnel|instances"
        known += r"|create-alias|versioning|services enable|keyrings create|keys create|authorize-cmek=id|group create"
        require(re.search(rf"{known}|role assignment create .* --assignee id", line), "unknown")


def cosign(state: dict[str, Any], words: list[str]) -> None:
    require(words[-1] == os.environ["GUIDE_IMAGE"], "a signature is of a digest")
    require(words[1] == "--key" and words[2], "no key")
    if words[0] == "attest":
        json.loads(Path(words[words.index("--predicate") + 1]).read_text())
    state["signed"] = [*state.get("signed", []), words[0]]


def kind(state: dict[str, Any], words: list[str]) -> None:
    if words[:2] == ["load", "docker-image"]:
        require(state.get("kind") and words[2] == state.get("image"), "no cluster, or no such image")
        state["loaded"] = words[2]
    else:
        require(words == ["create", "cluster"], "unknown")
        state["kind"] = True


def helm(state: dict[str, Any], words: list[str]) -> None:
    require(words[:3] == ["install", "kuberay-operator", "kuberay-operator"] and state.get("kind"), "no cluster")
    require("RayCronJob,featureGates[0].enabled=true" in " ".join(words), "no matches for kind RayCronJob")
    state["addons"] = True


def curl(state: dict[str, Any], words: list[str]) -> None:
    """The service, which is there once Ray is, and asks for a key."""
    require(state["ray"], "no service")
    require(re.fullmatch(r"Authorization: Bearer \S+", words[words.index("-H") + 1]), "no key")
    state["asked"].append(words[-1].removeprefix("http://localhost:8000"))


if __name__ == "__main__":
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    with STATE.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # both ends of a pipe run at once
        made: dict[str, Any] = json.load(file)
        programs = (terraform, kubectl, docker, cosign, kind, helm, curl)
        {program.__name__: program for program in programs}.get(name, cloud)(made, words)
        file.seek(0)
        file.truncate()
        json.dump(made, file)
