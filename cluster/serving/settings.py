"""Settings of the service, as `serve run`, a Serve config file or `semrec serve` give them."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final, Literal, Self

import ray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from semrec.limits import MAX_EVENT_VALUE, MAX_K

__all__ = ["MAX_LIST", "ServeArgs", "engine_threads"]

#: The longest list of ids, queries or events that any server takes; its settings may lower it.
MAX_LIST: Final = 10_000


def _listed(value: Any) -> Any:
    """`a,b` as a list: `serve run` passes every argument as text."""
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


class ServeArgs(BaseModel):
    """Arguments of `cluster.serving:app`, from `serve run`, a Serve config file or `semrec serve`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workspace: str = Field(description="Folder or s3:// gs:// abfs:// prefix that holds everything.")
    engine: Literal["reference", "cpu", "cuda"] = Field("cpu", description="Engine of every replica.")
    replicas: int = Field(1, ge=1, le=1000, description="Replicas that answer requests; each holds the release.")
    max_replicas: int | None = Field(
        None, ge=1, le=1000, description="More replicas are started under load, up to these (default: no more)."
    )
    target_requests: int = Field(
        16, ge=1, description="With max_replicas: requests at work in a replica, above which there is one more."
    )
    shards: int = Field(1, ge=1, le=1000, description="Above 1: so many deployments hold a range of rows each.")
    threads: int | None = Field(None, ge=1, description="Engine threads of a replica (default: all cores).")
    cpus: float = Field(0.1, ge=0, description="CPUs that Ray reserves for a replica or shard; bookkeeping only.")
    keys_file: str | None = Field(None, description="File of API keys; without one only loopback is served, openly.")
    cors_origins: Annotated[list[str], BeforeValidator(_listed)] = Field(
        default_factory=list, description="Origins that browsers may call from; none by default."
    )
    telemetry: str | None = Field(None, description="Folder for the log of answers, users hashed; none: not logged.")
    events_per_request: int = Field(1_000, ge=1, le=MAX_LIST, description="Most events, or relations, in one request.")
    max_event_value: float = Field(
        MAX_EVENT_VALUE,
        gt=0,
        le=MAX_EVENT_VALUE,
        description="Greatest value of one event, such as 5 where events are stars.",
    )
    max_k: int = Field(
        1_000, ge=1, le=MAX_K, description="Most items that a request may ask for; the K of the run if more."
    )
    max_exclude: int = Field(
        MAX_LIST, ge=0, le=MAX_LIST, description="Most items that a request may exclude, like or dislike."
    )
    max_queries: int = Field(MAX_LIST, ge=1, le=MAX_LIST, description="Most queries in one /v1/batch request.")
    max_batch_items: int = Field(
        250_000, ge=1, description="Most items in the answers of one /v1/batch request: its queries times k."
    )
    max_body_bytes: int = Field(8 * 1024**2, ge=1024, description="Largest request body.")
    max_bodies_bytes: int = Field(
        64 * 1024**2, ge=1024, description="Bodies that a replica holds at once; more are refused with 503."
    )
    max_waiting: int = Field(4_096, ge=1, description="Requests that may wait in a replica; more are refused with 503.")
    timeout_s: float = Field(10.0, gt=0, description="A request that takes longer is answered with 503.")
    poll_s: float = Field(0.5, gt=0, description="How often a replica looks for another live release, seconds.")

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas {self.max_replicas} must not be below replicas {self.replicas}")
        return self


def engine_threads(args: ServeArgs) -> int:
    """The threads that were asked for, or one for each CPU of this node, as Ray counts them within a container's limit.

    torch cannot be asked: Ray gives it one thread in an actor that reserves less than two CPUs.
    """
    if args.threads:
        return args.threads
    here = ray.get_runtime_context().get_node_id()
    cpus = next((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"] == here), 0)
    return int(cpus) or os.cpu_count() or 1
