"""The CUDA engine against the reference: on the GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.engine_contract import engine_contract
from helpers.scoring_problems import KINDS, PLATFORMS, assert_same, catalogue
from semrec.bench.gpu_host import engine_without_device
from semrec.errors import DeviceError, InputError
from semrec.scoring.cuda.block import ListedBlock
from semrec.scoring.cuda.engine import CudaEngine
from semrec.scoring.cuda.graphs import Recorded
from semrec.scoring.cuda.items import DeviceShard
from semrec.scoring.cuda.launches import load_kernels, sample_stride
from semrec.scoring.cuda.product_check import kernel_fault
from semrec.scoring.cuda.product_choice import fastest_of
from semrec.scoring.cuda.products import Products, ResidentProduct, TiledProduct, resident_products
from semrec.scoring.eligibility import Clause, Layout
from semrec.scoring.engine import Engine
from semrec.scoring.formats import FORMATS, CoarseFormat
from semrec.scoring.formats.check import usable_formats
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries, Targets, TopK

ON_GPU = torch.cuda.is_available()
# Triton decides when it is imported whether it interprets.
TOO_LATE = not ON_GPU and "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1"
if not ON_GPU and not TOO_LATE:
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if ON_GPU else "cpu"
here = pytest.mark.skipif(TOO_LATE, reason="runs in a process of its own: triton was imported without its interpreter")

WITH_KERNEL = [name for name, coarse in FORMATS.items() if coarse.gpu is not None]
COUNTRIES = tuple(f"c{n}" for n in range(70))
examples = settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _interpreter_with_new_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter takes int() of arrays with one element, which numpy 2.4 refuses."""
    if ON_GPU or TOO_LATE:
        return
    interpreter = pytest.importorskip("triton.runtime.interpreter", reason="TRITON IS MISSING: cuda engine not tested")
    original = interpreter._patch_lang_tensor

    def patched(tensor, scope) -> None:  # type: ignore[no-untyped-def]
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)


def problem(
    seed: int, num_items: int, num_queries: int, dimension: int, kind: str, *, seen: float = 0.1, clauses: int = 0
) -> tuple[ItemShard, Queries]:
    rng = np.random.default_rng(seed + 1)
    vectors = catalogue(seed, num_items + num_queries, dimension, kind)
    layout = Layout((Clause("platform", PLATFORMS), Clause("country", COUNTRIES))[:clauses])
    choose = lambda part: {  # noqa: E731
        "platform": [p for p in PLATFORMS if rng.random() < 0.4],
        "country": [c for c in COUNTRIES if rng.random() < part],
    }
    named = lambda part: {name: values for name, values in choose(part).items() if name in names}  # noqa: E731
    names = ("platform", "country")[:clauses]
    items = layout.item_words([named(0.02) for _ in range(num_items)])
    users = layout.user_words([named(0.3) for _ in range(num_queries)])
    rows = [np.flatnonzero(rng.random(num_items + 20) < seen) + 90 for _ in range(num_queries)]
    rows = [rng.permutation(r) for r in rows]
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    shard = ItemShard.from_vectors(vectors[:num_items], items, layout.clause_starts, first_row=100)
    return shard, Queries(vectors[num_items:], users, offsets, np.concatenate(rows).astype(np.int64))


def make(shard: ItemShard, **options: object) -> CudaEngine:
    return CudaEngine(shard, device=DEVICE, **options)  # type: ignore[arg-type]


def targets_of(shard: ItemShard, queries: Queries, seed: int) -> Targets:
    """Per query a few scored items of the whole matrix: eligible or not, and one outside the shard on either side."""
    everything = Queries.unfiltered(queries.vectors_QD)
    best = ReferenceEngine(ItemShard.from_vectors(shard.vectors(), first_row=100)).top_k(everything, shard.num_items)
    rng, rows, scores = np.random.default_rng(seed), [], []
    for q in range(queries.num_queries):
        at = best.offsets[q] + rng.integers(0, shard.num_items, 3)
        rows.append(np.concatenate([best.rows[at], [3, 10**7]]))
        scores.append(np.concatenate([best.scores[at], best.scores[at[:2]]]))
    return Targets(np.arange(queries.num_queries + 1) * 5, np.concatenate(rows), np.concatenate(scores))


@here
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, in the interpreter
class TestCuda(engine_contract(max_examples=6, num_items=90, few=(1, 17), lengths=(65,), rank_step=1 if ON_GPU else 7)):
    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return make(shard, block_queries=sizes.get("block_queries", 2048))


@here
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
class TestCudaKernels:
    @given(
        st.integers(0, 2**16), st.integers(1, 700), st.integers(1, 8), st.sampled_from([1, 3, 13, 70]),
        st.sampled_from([1, 2, 5, 20, 1000]), st.sampled_from(WITH_KERNEL), st.integers(0, 2),
    )  # fmt: skip
    @examples
    def test_equals_the_reference_byte_for_byte(
        self, seed: int, num_items: int, num_queries: int, dimension: int, k: int, coarse: str, clauses: int
    ) -> None:
        shard, queries = problem(seed, num_items, num_queries, dimension, KINDS[seed % len(KINDS)], clauses=clauses)
        assert_same(make(shard, coarse=coarse).top_k(queries, k), ReferenceEngine(shard).top_k(queries, k))

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_of_catalogue_with_a_sample(self, kind: str) -> None:
        coarse = WITH_KERNEL[KINDS.index(kind) % len(WITH_KERNEL)]
        shard, queries = problem(5, 1500, 3, 13, kind)
        assert sample_stride(shard.num_items, 3) > 1
        assert_same(make(shard, coarse=coarse).top_k(queries, 3), ReferenceEngine(shard).top_k(queries, 3))

    @pytest.mark.parametrize("kind", ["plain", "duplicates", "near ties", "some huge"])
    def test_counts_before_targets(self, kind: str) -> None:
        coarse = WITH_KERNEL[(KINDS.index(kind) + 1) % len(WITH_KERNEL)]
        shard, queries = problem(6, 200, 2, 13, kind, clauses=1)
        targets = targets_of(shard, queries, 7)
        expected = ReferenceEngine(shard).count_before(queries, targets)
        assert make(shard, coarse=coarse).count_before(queries, targets).tolist() == expected.tolist()

    def test_few_candidates_are_scored_on_plain_vectors(self) -> None:
        shard, queries = problem(1, 4000, 4, 16, "plain")
        found = make(shard).top_k(queries, 5)
        assert_same(found, ReferenceEngine(shard).top_k(queries, 5))
        assert found.num_exhaustive == 0
        assert 20 <= found.num_candidates <= 80

    def test_a_list_without_room_is_made_again(self) -> None:
        shard, queries = problem(2, 200, 7, 8, "ties")
        found = make(shard, capacity_per_query=10).top_k(queries, 5)
        assert_same(found, ReferenceEngine(shard).top_k(queries, 5))
        assert found.num_exhaustive == 0

    @pytest.mark.parametrize("k", [2, 60])
    def test_a_crowd_of_ties_is_done_exhaustively_and_counted(self, k: int) -> None:
        shard, queries = problem(2, 300, 3, 8, "plain")
        vectors = np.ones((300, 8), np.float32)
        shard = ItemShard.from_vectors(vectors, shard.words_IW, shard.clause_starts, shard.first_row)
        found = make(shard, max_candidates=50).top_k(queries, k)
        assert_same(found, ReferenceEngine(shard).top_k(queries, k))
        assert found.num_exhaustive == 3

    def test_counts_when_lists_overflow(self) -> None:
        shard, queries = problem(2, 150, 1, 8, "near ties")
        targets = targets_of(shard, queries, 3)
        expected = ReferenceEngine(shard).count_before(queries, targets).tolist()
        assert make(shard, max_candidates=50).count_before(queries, targets).tolist() == expected
        assert make(shard, capacity_per_query=99).count_before(queries, targets).tolist() == expected

    def test_blocks_of_queries_leave_no_trace(self) -> None:
        shard, queries = problem(3, 90, 4, 8, "ties", clauses=1)
        targets = targets_of(shard, queries, 3)
        engine, reference = make(shard, block_queries=3), ReferenceEngine(shard)
        assert_same(engine.top_k(queries, 4), reference.top_k(queries, 4))
        assert engine.count_before(queries, targets).tolist() == reference.count_before(queries, targets).tolist()

    def test_full_lists_are_not_copied_and_short_ones_close_their_gaps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shard, queries = problem(3, 60, 3, 8, "plain", seen=0.6, clauses=1)
        for num_together, k in ((1000, 20), (2, 20), (2, 1)):  # all blocks in one piece of memory; two blocks in each
            monkeypatch.setattr("semrec.scoring.cuda.engine._RESULT_BYTES", num_together * k * 12)
            found = make(shard, block_queries=1).top_k(queries, k)
            assert_same(found, ReferenceEngine(shard).top_k(queries, k))
            assert (found.lengths < k).any() == (k == 20)
        assert list(make(shard)._edges(3, 1)) == [(0, 2), (2, 3)]  # no block's lists take more
        monkeypatch.undo()
        found = make(shard).top_k(queries, 1)
        assert found.rows.base is not None
        assert found.rows.base.shape == (3, 1)

    def test_rows_beyond_32_bits_are_no_rows_of_the_shard(self) -> None:
        shard, queries = problem(3, 50, 2, 8, "plain")
        first = 2**40
        seen = np.array([first + 3, 3, first + 2**32 + 5, first - 1, first + 7])
        queries = Queries(queries.vectors_QD, queries.words_QW, np.array([0, 4, 5]), seen)
        shard = replace(shard, first_row=first)
        found = make(shard).top_k(queries, 50)
        assert_same(found, ReferenceEngine(shard).top_k(queries, 50))
        assert found.lengths.tolist() == [49, 49]

    def test_a_vector_that_is_not_finite_is_named_in_whichever_block_it_is(self) -> None:
        shard, queries = problem(3, 50, 7, 8, "some huge")
        queries.vectors_QD[5, 7] = np.nan
        with pytest.raises(InputError, match="vector of query 5 is not finite"):
            make(shard, block_queries=2).top_k(queries, 3)

    @pytest.mark.parametrize("seen", [0.97, 1.1])
    def test_nearly_everything_seen(self, seen: float) -> None:
        shard, queries = problem(4, 400, 4, 8, "plain", seen=seen)
        assert_same(make(shard).top_k(queries, 5), ReferenceEngine(shard).top_k(queries, 5))

    @pytest.mark.parametrize("k", [3, 500])
    def test_several_clauses(self, k: int) -> None:
        shard, queries = problem(5, 400, 5, 8, "plain", clauses=2)
        expected = ReferenceEngine(shard).top_k(queries, k)
        assert 0 < expected.lengths.max() < 400
        assert_same(make(shard).top_k(queries, k), expected)

    def test_shards_merge_to_the_whole(self) -> None:
        shard, queries = problem(6, 130, 4, 8, "ties", clauses=1)
        pieces = [make(shard.slice(a, b)).top_k(queries, 6) for a, b in ((0, 1), (1, 64), (64, 130))]
        assert_same(TopK.merge(pieces, 6), ReferenceEngine(shard).top_k(queries, 6))

    def test_nothing_eligible_no_items_no_queries(self) -> None:
        shard, queries = problem(7, 50, 3, 8, "plain", clauses=1)
        nobody = Queries(queries.vectors_QD, queries.words_QW * 0, queries.seen_offsets, queries.seen_rows)
        assert make(shard).top_k(nobody, 5).lengths.tolist() == [0, 0, 0]
        empty = make(shard.slice(0, 0))
        assert empty.top_k(queries, 5).lengths.tolist() == [0, 0, 0]
        assert empty.count_before(queries, targets_of(shard, queries, 1)).tolist() == [0] * 15
        assert make(shard).top_k(queries.between(0, 0), 5).num_queries == 0

    def test_what_does_not_fit_is_refused(self) -> None:
        engine = make(ItemShard.from_vectors(np.ones((2, 2), np.float32)))
        with pytest.raises(InputError, match="K = 0"):
            engine.top_k(Queries.unfiltered(np.ones((1, 2), np.float32)), 0)
        with pytest.raises(InputError, match="3 dimensions"):
            engine.top_k(Queries.unfiltered(np.ones((1, 3), np.float32)), 1)


def record_in_memory(
    inputs: tuple[torch.Tensor, ...], launch: Callable[[tuple[torch.Tensor, ...]], ListedBlock]
) -> Recorded[ListedBlock]:
    """Does as a CUDA graph: launches again over the same inputs, and what it lists lies where it lay the first time."""
    outputs = launch(inputs)

    def replay() -> None:
        for ours, new in zip(tensors_of(outputs), tensors_of(launch(inputs)), strict=True):
            ours.copy_(new)

    for tensor in tensors_of(outputs):  # recording computes nothing
        tensor.zero_()
    return Recorded(inputs, outputs, replay)


def tensors_of(listed: ListedBlock) -> list[torch.Tensor]:
    of_pairs = listed.pairs.count_Q, listed.pairs.start_Q
    return [listed.block.is_finite_Q, listed.words_QW, *of_pairs, listed.rows_QK, listed.scores_QK]


@here
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
class TestRecordedLaunches:
    def test_replays_equal_the_reference(self) -> None:
        shard, queries = problem(9, 90, 4, 8, "ties", seen=0.3, clauses=1)
        recorded = []

        def record(*arguments: Any) -> Recorded[ListedBlock]:
            recorded.append(arguments)
            return record_in_memory(*arguments)

        engine = make(shard, record=record, capacity_per_query=20)
        expected = ReferenceEngine(shard).top_k(queries, 4)
        for q in range(4):  # one by one, recorded, two replays
            part = queries.between(q, q + 1)
            assert_same(engine.top_k(part, 4), ReferenceEngine(shard).top_k(part, 4))
        assert len(recorded) == 1
        found = [engine.top_k(queries, 4) for _ in range(3)]  # another shape
        assert len(recorded) == 2
        assert_same(found[0], expected)
        assert_same(found[2], expected)

    def test_nothing_is_recorded_that_would_take_the_memory_of_queries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("semrec.scoring.cuda.engine._GRAPHS_SHARE", 1 << 20)
        shard, queries = problem(9, 60, 1, 8, "plain")
        engine, expected = make(shard, record=record_in_memory), ReferenceEngine(shard).top_k(queries, 3)
        assert engine._graphs is None
        for _ in range(3):
            assert_same(engine.top_k(queries, 3), expected)

    def test_where_recording_fails_launches_are_made_one_by_one(self, caplog: pytest.LogCaptureFixture) -> None:
        shard, queries = problem(9, 60, 3, 8, "plain")

        def record(*_: Any) -> Recorded[ListedBlock]:
            raise RuntimeError("operation not permitted when stream is capturing")

        engine = make(shard, record=record)
        with caplog.at_level(logging.WARNING):
            for q in (0, 1, 2):
                part = queries.between(q, q + 1)
                assert_same(engine.top_k(part, 3), ReferenceEngine(shard).top_k(part, 3))
        (line,) = caplog.messages
        assert "recording them failed (operation not permitted when stream is capturing)" in line


class _OtherProduct:
    """The kernels, of which a pass multiplies other queries, as an instruction does that rounds what it reads."""

    def __init__(self, kernels: object, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._kernels, self._change = kernels, change

    def __getattr__(self, name: str) -> object:
        kernel = getattr(self._kernels, name)
        return _OtherGrid(kernel, self._change) if name in ("coarse_pass", "resident_pass") else kernel


class _OtherGrid:
    def __init__(self, kernel: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._kernel, self._change = kernel, change

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(queries: Any, *more: Any, **named: Any) -> None:
            is_tensor = isinstance(queries, torch.Tensor)
            changed = self._change(queries) if is_tensor else replace(queries, base=self._change(queries.base))
            self._kernel[grid](changed, *more, **named)

        return launch


WRONG = {
    "float32": lambda x: ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32),  # as TF32 has it
    "bfloat16": lambda x: x.to(torch.float8_e4m3fn).to(torch.bfloat16),
    "int8": lambda x: x.clamp(-126, 126),
}


RESIDENT = ResidentProduct((4, 64), run=2)


@here
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("coarse", [name for name in WITH_KERNEL if name != "float32"])
class TestResidentProduct:
    @pytest.mark.parametrize(("num_items", "k"), [(300, 1), (150, 9)])  # with a sample, and without
    def test_equals_the_reference_byte_for_byte(self, coarse: str, num_items: int, k: int) -> None:
        shard, queries = problem(12, num_items, 5, 130, "plain", clauses=1)
        assert (sample_stride(num_items, k) > 1) == (k == 1)
        engine = make(shard, coarse=coarse, products=Products.always(RESIDENT))
        assert_same(engine.top_k(queries, k), ReferenceEngine(shard).top_k(queries, k))

    def test_wrong_products_are_noticed(self, coarse: str) -> None:
        kernels, device = load_kernels(ON_GPU), torch.device(DEVICE)
        assert kernel_fault(FORMATS[coarse], 70, device, kernels, RESIDENT) == ""
        wrong = replace(kernels, resident=_OtherProduct(kernels.resident, WRONG[coarse]))
        assert "a product of 70 values is" in kernel_fault(FORMATS[coarse], 70, device, wrong, RESIDENT)


def test_the_fastest_product_is_taken_of_those_that_are_right(caplog: pytest.LogCaptureFixture) -> None:
    tiled, wrong, slow, fast = TiledProduct((128, 128)), *(ResidentProduct((128, n)) for n in (32, 64, 128))
    seconds = {(1, tiled): 1, (1, slow): 2, (1, fast): 3, (999, tiled): 3, (999, slow): 2, (999, fast): 1}
    fault = {wrong: "it does not compile", slow: "", fast: ""}.__getitem__
    with caplog.at_level(logging.WARNING):
        found = fastest_of(tiled, [wrong, slow, fast], fault, lambda *key: seconds[key], 999)
    assert found == Products(of_one_tile=tiled, of_more=fast, of_counts=tiled)
    assert caplog.messages == ["engine cuda does not use resident tiles of 128 x 32: it does not compile"]
    assert fastest_of(tiled, [wrong], fault, lambda *_: pytest.fail("timed"), 999) == Products.always(tiled)


def test_resident_products_fit_the_shared_memory() -> None:
    names = [
        [product.tile[1] for product in resident_products(FORMATS[coarse].gpu, padded, shared_kib << 10)]
        for coarse, padded, shared_kib in (
            ("bfloat16", 384, 227),
            ("int8", 384, 227),
            ("int8", 1024, 227),
            ("int8", 384, 99),
        )
    ]
    assert names == [[64], [128, 64], [], []]
    assert resident_products(FORMATS["float32"].gpu, 64, 227 << 10) == []


def test_rows_of_a_word_share_a_scale_and_residuals_are_those_of_it() -> None:
    vectors = catalogue(1, 70, 13, "plain") * np.logspace(-3, 3, 70, dtype=np.float32)[:, None]
    vectors[5] = 0
    vectors[40, 3] = 1e30  # no bound
    items = DeviceShard(ItemShard.from_vectors(vectors), FORMATS["int8"], torch.device("cpu"), 64)
    scales = items.scale_W[:3].double().numpy()
    finite = np.where(np.arange(70) == 40, 0, np.abs(vectors).max(axis=1))
    np.testing.assert_allclose(scales, [finite[:32].max() / 127, finite[32:64].max() / 127, finite[64:].max() / 127])
    decoded = items.coarse_ID[:, :13].double().numpy() * np.repeat(scales, 32)[:70, None]
    residual = np.linalg.norm(vectors - decoded, axis=1)
    assert items.coarse_ID[:, 13:].any().item() is False
    found = items.sampled(1).residual_W.numpy()
    assert found[1] == np.inf
    for word, rows in ((0, slice(0, 32)), (2, slice(64, 70))):
        assert residual[rows].max() <= found[word] <= residual[rows].max() * (1 + 1e-5)


@here
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
class TestProductsTriedAtStart:
    @pytest.mark.parametrize("coarse", WITH_KERNEL)
    @pytest.mark.parametrize("dimension", [1, 70])
    def test_right_ones_are_not_blamed(self, coarse: str, dimension: int) -> None:
        assert kernel_fault(FORMATS[coarse], dimension, torch.device(DEVICE)) == ""

    @pytest.mark.parametrize("coarse", WITH_KERNEL)
    def test_a_format_whose_product_is_wrong_is_left_out_in_a_line(
        self, coarse: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        kernels = load_kernels(ON_GPU)
        wrong = replace(kernels, coarse=_OtherProduct(kernels.coarse, WRONG[coarse]))

        def tried(tried_format: CoarseFormat, dimension: int, device: int) -> str:
            chosen = wrong if tried_format.name == coarse else kernels
            return kernel_fault(tried_format, dimension, torch.device(DEVICE), chosen)

        monkeypatch.setattr("semrec.scoring.formats.check._gpu_fault", tried)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        with caplog.at_level(logging.WARNING):
            assert usable_formats("cuda", 70) == tuple(name for name in WITH_KERNEL if name != coarse)
        (line,) = (each for each in caplog.messages if coarse in each and "70" in each)
        assert line.startswith(f"engine cuda does not use {coarse}: a product of 70 values is ")
        with pytest.raises(DeviceError, match=f"{coarse} on this machine: a product of 70 values is"):
            make(ItemShard.from_vectors(catalogue(1, 40, 70, "plain")), coarse=coarse)


def test_eight_targets_of_a_query_share_one_product() -> None:
    products = []

    def note(name: str, arguments: tuple[object, ...], named: dict[str, object]) -> None:
        if name == "coarse_pass":
            products.append(arguments[-3:-1])  # tiles of 128 queries, targets of each

    vectors = catalogue(1, 300, 8, "plain")
    engine = engine_without_device(ItemShard.from_vectors(vectors), 1, note)
    offsets = np.cumsum([0, *[8] * 127, 9])
    targets = Targets(offsets, np.zeros(offsets[-1], np.int64), np.zeros(offsets[-1], np.float32))
    assert len(engine.count_before(Queries.unfiltered(vectors[:128]), targets)) == 128 * 8 + 1
    assert products == [(2, 8)]  # the ninth target of the last query takes a line of its own


@pytest.mark.skipif(not ON_GPU, reason="NO CUDA DEVICE: the kernels ran in Triton's interpreter, not on a GPU")
def test_a_catalogue_of_some_size_on_the_gpu() -> None:
    shard, queries = problem(8, 100_000, 300, 128, "plain", seen=0.01)
    expected = ReferenceEngine(shard).top_k(queries, 100)
    for coarse in WITH_KERNEL:
        assert_same(make(shard, coarse=coarse).top_k(queries, 100), expected)


@pytest.mark.skipif(not ON_GPU, reason="NO CUDA DEVICE: the limit on its memory is not tested")
def test_a_shard_too_large_for_the_share_of_memory_is_refused() -> None:
    with pytest.raises(DeviceError, match="MiB wanted"):
        make(ItemShard.from_vectors(np.ones((2, 2), np.float32)), memory_fraction=1e-6)


@pytest.mark.skipif(ON_GPU, reason="there is a CUDA device")
def test_no_device_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no CUDA device"):
        CudaEngine(ItemShard.from_vectors(np.ones((1, 1), np.float32)))


def test_triton_is_imported_late_and_missed_by_name() -> None:
    program = """
import sys
import numpy as np
from semrec.scoring.cuda.block import ListedBlock
from semrec.scoring.cuda.engine import CudaEngine
from semrec.scoring.cuda.graphs import Recorded
from semrec.scoring.types import ItemShard
assert not any(name.startswith("semrec.scoring.triton") for name in sys.modules)
sys.modules["triton"] = None
CudaEngine(ItemShard.from_vectors(np.ones((1, 1), np.float32)), device=sys.argv[1])
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", program, DEVICE], env=environment, capture_output=True, text=True)
    assert "DeviceError" in done.stderr
    assert "triton is missing" in done.stderr


if TOO_LATE:

    def test_the_others_in_a_process_of_their_own() -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
