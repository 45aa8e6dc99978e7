"""recommender.proto, the modules generated from it, and the words of the JSON are the same thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from pydantic import BaseModel
from ray.serve.config import gRPCOptions

from cluster.serving.grpc import SERVICER
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.methods import RecommenderMethods
from cluster.serving.grpc.servicer import check_servicers
from cluster.serving.http import schemas
from cluster.serving.requests import graph, lists, parameters
from semrec.errors import InputError

ROOT = Path(__file__).parents[3]
PROTO = "cluster/serving/grpc/recommender.proto"


def test_the_generated_modules_are_those_of_the_proto(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc", reason="NOT TESTED: grpcio-tools is absent (extra `test`)")
    made = tmp_path / "made.pb"
    assert protoc.main(["", f"-I{ROOT}", f"--descriptor_set_out={made}", str(ROOT / PROTO)]) == 0
    (expected,) = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file
    found = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(found)
    for file in (expected, found):
        for message in file.message_type:
            for field in [*message.field, *(field for nested in message.nested_type for field in nested.field)]:
                field.ClearField("json_name")  # Python's modules do not hold it
    assert found == expected


def test_the_header_names_the_generator() -> None:
    header = (ROOT / PROTO).read_text().partition("syntax")[0]
    command = "python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=."
    assert f"{command} {PROTO}" in header


@pytest.mark.parametrize(
    ("message", "model"),
    [
        (pb.RecommendUserRequest, parameters.UserParameters),
        (pb.SimilarItemsRequest, parameters.SimilarParameters),
        (pb.RecommendAnonymousRequest, lists.RecommendBody),
        (pb.SearchRequest, lists.SearchBody),
        (pb.BatchRequest, lists.BatchBody),
        (pb.BatchQuery, lists.BatchQuery),
        (pb.Weighted, lists.Weighted),
        (pb.NumberRange, lists.NumberRange),
        (pb.Answer, schemas.Answer),
        (pb.Item, schemas.AnswerItem),
        (pb.BatchAnswers, schemas.BatchAnswers),
        (pb.QueryGraphRequest, graph.SparqlBody),
        (pb.SparqlTable, schemas.SparqlTable),
        (pb.ReleaseInfo, schemas.ReleaseInfo),
        (pb.EncoderInfo, schemas.EncoderInfo),
        (pb.ModelInfo, schemas.ModelInfo),
        (pb.ReadyAnswer, schemas.Ready),
    ],
)
def test_messages_have_the_words_of_the_json(message: type, model: type[BaseModel]) -> None:
    fields = {field.name for field in message.DESCRIPTOR.fields}
    in_the_path = {"user_id", "item_id"} if issubclass(model, parameters.ListParameters) else set()
    of_a_failed_query = {"error"} if message is pb.Answer else set()
    assert fields - in_the_path - of_a_failed_query == set(model.model_fields)


def test_the_generated_function_is_refused() -> None:
    check_servicers([SERVICER, "another.application:add_to_server"])
    with pytest.raises(InputError, match="shown a key"):
        check_servicers(["cluster.serving.grpc.recommender_pb2_grpc:add_RecommenderServicer_to_server"])


def test_serve_finds_the_servicer_and_the_method_of_every_rpc() -> None:
    (servicer,) = gRPCOptions(grpc_servicer_functions=[SERVICER]).grpc_servicer_func_callable
    assert callable(servicer)
    for rpc in pb.DESCRIPTOR.services_by_name["Recommender"].methods:
        method = getattr(RecommenderMethods, rpc.name)
        assert list(method.__annotations__)[:2] == ["request", "grpc_context"]  # by this name Serve gives the context
        assert method.__annotations__["request"] == "bytes"  # read once the caller has shown a key
