"""gRPC on the same application: the service of `recommender.proto`, which also says how its `_pb2` modules are made."""

from typing import Final

__all__ = ["SERVICER"]

#: What Serve's `grpc_servicer_functions` names.
SERVICER: Final = "cluster.serving.grpc.servicer:add_recommender"
