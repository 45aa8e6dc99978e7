"""The methods of the gRPC service, called as Serve calls them, without Ray."""

from __future__ import annotations

from google.protobuf.message import Message
from grpc import StatusCode

from cluster.serving.grpc.methods import RecommenderMethods
from helpers.grpc_questions import answer_type
from helpers.replica_without_ray import LocalReplica

__all__ = ["Called"]

LOOPBACK = "ipv4:127.0.0.1:50000"


class Called:
    """What Serve gives a method beside the message, and what came of the call."""

    def __init__(
        self, replica: LocalReplica, rpc: str, message: Message | bytes, key: str = "", peer: str = LOOPBACK
    ) -> None:
        self.code, self.details = StatusCode.OK, ""
        self.trailing = [("request_id", "called-by-a-test")]
        self._metadata, self._peer = [("authorization", f"Bearer {key}")] if key else [], peer
        methods = RecommenderMethods()
        methods.service = replica.service
        raw = message if isinstance(message, bytes) else message.SerializeToString()
        assert replica.client.portal is not None
        body = replica.client.portal.call(getattr(methods, rpc), raw, self).SerializeToString()
        self.answer = answer_type(rpc).FromString(body)

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]:
        return [*self._metadata, ("trace-bin", b"\xff\x00")]

    def trailing_metadata(self) -> list[tuple[str, str]]:
        return self.trailing

    def peer(self) -> str:
        return self._peer

    def set_code(self, code: StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        self.trailing = self.trailing + trailing_metadata
