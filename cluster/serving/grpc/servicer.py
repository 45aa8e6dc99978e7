"""How Serve is told of the gRPC service: its methods are given a message's bytes, to take apart once the caller has a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from cluster.serving.grpc import SERVICER
from cluster.serving.grpc import recommender_pb2 as pb
from semrec.errors import InputError

__all__ = ["add_recommender", "check_servicers"]


def add_recommender(servicer: Any, server: Any) -> None:
    """Adds the methods of `servicer` to `server`. In place of the generated function, which has gRPC parse every message on the
    event loop, whoever sent it."""
    service = pb.DESCRIPTOR.services_by_name["Recommender"]
    methods = {rpc.name: grpc.unary_unary_rpc_method_handler(getattr(servicer, rpc.name)) for rpc in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, methods),))


def check_servicers(functions: Sequence[str]) -> None:
    """Raises InputError where Serve was told of the generated function."""
    for function in functions:
        if function.endswith(":add_RecommenderServicer_to_server"):
            raise InputError(
                f"grpc_servicer_functions with {function}",
                expected=SERVICER,
                remedy="Name it there: messages are read once their sender has shown a key.",
            )
