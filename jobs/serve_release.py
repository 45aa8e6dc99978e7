"""Serve the live release over HTTP, and gRPC if wanted, until interrupted.

semrec serve --workspace W
semrec serve --workspace W --make-key page --scope read --keys-file keys.jsonl
semrec serve --workspace W --host 0.0.0.0 --keys-file keys.jsonl --replicas 2
semrec serve --workspace W --keys-file keys.jsonl --grpc-port 9000
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from jobs.cli_common import Address, WorkspaceOption, exit_on_error, run_as_program
from jobs.printing import say
from semrec.limits import MAX_K

__all__ = ["main"]

_DAY_S = 86_400


@exit_on_error
def main(
    workspace: WorkspaceOption,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need --keys-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas that answer; each holds the release.")] = 1,
    shards: Annotated[int, typer.Option(min=1, help="Above 1: split the item matrix into so many parts.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Engine threads of a replica.")] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            help="Port for gRPC on the same host; needs --keys-file: replicas listen to gRPC on all interfaces.",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="reference, cpu or cuda.")] = "cpu",
    max_k: Annotated[
        int, typer.Option(min=1, max=MAX_K, help="Most items of one answer; the K of the live run if that is more.")
    ] = 1_000,
    keys_file: Annotated[str | None, typer.Option(help="File of API keys; without one only loopback, openly.")] = None,
    cors: Annotated[list[str] | None, typer.Option(help="Origin that browsers may call from; repeatable.")] = None,
    telemetry: Annotated[
        str | None, typer.Option(help="Folder for the log of answers; users are hashed in it.")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate (PEM): HTTPS, by Serve's slower proxy.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its key (PEM).")] = None,
    make_key: Annotated[
        str | None, typer.Option(metavar="ID", help="Add a key to --keys-file, show it once, end.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Scope of the new key: read, explain, write, admin; repeatable.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests per second and replica of the new key.")] = None,
    days: Annotated[float | None, typer.Option(help="Days until the new key expires.")] = None,
    address: Address = None,
) -> None:
    """Serve the live release over HTTP, and gRPC if it has a port."""
    if make_key is not None:
        _make_key(make_key, keys_file, scope or ["read"], rate, days)
        return
    from cluster.serving.launch import Listen, serve_release
    from cluster.serving.settings import ServeArgs

    given = {"engine": engine, "keys_file": keys_file, "cors_origins": cors or [], "telemetry": telemetry}
    args = ServeArgs(workspace=workspace, replicas=replicas, shards=shards, threads=threads, max_k=max_k, **given)
    listen = Listen(host, port, tls_cert, tls_key, grpc_port)
    serve_release(args, listen, address=address, on_ready=lambda state, took_s: _show(listen, args, state, took_s))
    say("stopped")


def _make_key(key_id: str, path: str | None, scopes: list[str], rate: float | None, days: float | None) -> None:
    from cluster.serving.access.keys import append_key, make_key

    if path is None:
        raise typer.BadParameter("--make-key needs --keys-file")
    key, stored = make_key(key_id, scopes, rate, None if days is None else time.time() + days * _DAY_S)
    append_key(path, stored)
    say(key)  # the only time that it is shown


def _show(listen: Any, args: Any, state: dict[str, Any], took_s: float) -> None:
    url = listen.url
    key = " -H 'Authorization: Bearer KEY'" if args.keys_file else ""
    say(("ready", "green"), f"    {url} in {took_s:.1f} s: release {state.get('release')}, run {state.get('run')}")
    if not args.keys_file:
        say("         no API keys: open to every process on this machine, closed to others")
    if listen.grpc_port:
        say(f"         gRPC on port {listen.grpc_port}: the service of cluster/serving/grpc/recommender.proto")
    say(f"  curl{key} '{url}/v1/users?limit=3'")
    say(f"  curl{key} '{url}/v1/users/USER/recommendations?k=5'")
    say(
        f'  curl{key} -H \'Content-Type: application/json\' -d \'{{"text": "a lonely robot", "k": 5}}\' {url}/v1/search'
    )
    say(f"  the page: {url}/   the contract: {url}/openapi.json   Ctrl-C ends it")


if __name__ == "__main__":
    run_as_program(main)
