"""User vectors are those of a plain loop in float64, bit for bit, whoever else is in the batch and whatever the processor."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semrec.errors import InputError
from semrec.models.base import Events, ItemVectors, TrainingData, model_class
from semrec.models.content import ContentModel, _ordered_squares

DAY_S = 86_400
HALF_LIFE_DAYS = 30.0
GOLDEN = "88867ed2e7218ab8b4382c1ff6bd59b0429e1cde91bfd711a09d94c6c2cddc4e"


def plain_exp2(exponent: float) -> float:
    """2 ** exponent by the series of e ** x: 1 + x (1 + x / 2 (1 + x / 3 (...)))."""
    exponent = max(exponent, -2000.0)
    whole = round(exponent)
    power = 1.0
    for n in range(14, 0, -1):
        power = power * (exponent - whole) * (0.6931471805599453 / n) + 1.0
    return math.ldexp(power, whole)


def plain_vector(events: list[tuple[int, float, int]], items: np.ndarray, neutral: float) -> np.ndarray | None:
    """One user's vector: events (row, value, timestamp) in order, one number at a time."""
    newest = max((time_s for _, _, time_s in events), default=0)
    sums = [0.0] * items.shape[1]
    for row, value, time_s in events:
        decay = plain_exp2(-((newest - time_s) / 86_400.0) / HALF_LIFE_DAYS)
        weight = max(float(np.float32(value)) - neutral, 0.0) * decay
        for d in range(items.shape[1]):
            sums[d] += weight * float(items[row, d])
    largest = max(abs(number) for number in sums)
    if largest == 0.0:
        return None
    scaled = [math.ldexp(number, -math.frexp(largest)[1]) for number in sums]
    squares = 0.0
    for number in scaled:
        squares += number * number
    return np.array([number / math.sqrt(squares) for number in scaled]).astype(np.float32)


def arrays(histories: list[list[tuple[int, float, int]]]) -> Events:
    flat = [(user, *event) for user, events in enumerate(histories) for event in events]
    user, row, value, time_s = (list(column) for column in zip(*flat, strict=True)) if flat else ([], [], [], [])
    return Events(
        np.array(user, np.int64), np.array(row, np.int64), np.array(value, np.float32), np.array(time_s, np.int64)
    )


def vectors_of(
    histories: list[list[tuple[int, float, int]]], items: np.ndarray, neutral: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    return model(items.shape[1], neutral).user_vectors(
        arrays(histories), ItemVectors.from_vectors(items), len(histories)
    )


def model(dimension: int, neutral: float = 0.0) -> ContentModel:
    return ContentModel({"half_life_days": HALF_LIFE_DAYS, "neutral_value": neutral}, dimension)


NUM_ITEMS = 6
EVENTS = st.lists(
    st.tuples(
        st.integers(0, NUM_ITEMS - 1),
        st.sampled_from([0.0, 0.5, 1.0, 3.5, 5.0]) | st.floats(-10, 10, width=32),
        st.integers(0, 2_000 * DAY_S),
    ),
    max_size=8,
).map(lambda events: sorted(events, key=lambda event: (event[2], event[0])))


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[list[tuple[int, float, int]]], np.ndarray, float]:
    histories = draw(st.lists(EVENTS, min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    items = rng.standard_normal((NUM_ITEMS, draw(st.sampled_from([1, 3, 8, 17])))).astype(np.float32)
    items[rng.random(NUM_ITEMS) < 0.2] = 0
    items[1] = -items[0]
    return (
        histories,
        items * np.float32(draw(st.sampled_from([1.0, 1e-30, 1e30]))),
        draw(st.sampled_from([0.0, 0.1, 3.0])),
    )


@given(problems())
@settings(deadline=None, max_examples=120)
def test_vectors_equal_a_plain_loop_bit_for_bit(
    problem: tuple[list[list[tuple[int, float, int]]], np.ndarray, float],
) -> None:
    histories, items, neutral = problem
    vectors, has_vector = vectors_of(histories, items, neutral)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(histories), items.shape[1]))
    for user, events in enumerate(histories):
        expected = plain_vector(events, items, neutral)
        assert has_vector[user] == (expected is not None)
        assert (
            vectors[user].tobytes()
            == (np.zeros(items.shape[1], np.float32) if expected is None else expected).tobytes()
        )


@given(problems(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_neither_the_batch_nor_its_order_changes_a_vector(
    problem: tuple[list[list[tuple[int, float, int]]], np.ndarray, float], random: object
) -> None:
    histories, items, neutral = problem
    together, has_vector = vectors_of(histories, items, neutral)
    order = list(range(len(histories)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled, has_shuffled = vectors_of([histories[user] for user in order], items, neutral)
    assert shuffled.tobytes() == together[order].tobytes()
    assert has_shuffled.tolist() == has_vector[order].tolist()
    for user, events in enumerate(histories):
        alone, has_alone = vectors_of([events], items, neutral)
        assert alone.tobytes() == together[user : user + 1].tobytes()
        assert has_alone[0] == has_vector[user]


PROCESSORS = """
import hashlib
import numpy as np
from semrec.models.base import Events, ItemVectors
from semrec.models.content import ContentModel
rng = np.random.default_rng(1)
user = np.sort(rng.integers(0, 500, 20_000))
events = Events(user, rng.integers(0, 99, 20_000), rng.random(20_000, np.float32), rng.integers(0, 10**8, 20_000))
items = ItemVectors.from_vectors(rng.standard_normal((99, 33)).astype(np.float32))
model = ContentModel({"half_life_days": 180.0, "neutral_value": 0.1}, 33)
weights = model.event_weights(events, 500)
vectors, _ = model.user_vectors(events, items, 500)
print(hashlib.sha256(weights.tobytes() + vectors.tobytes()).hexdigest())
"""
SIMD = "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"


def test_a_processor_without_wide_vectors_gives_the_same_bytes() -> None:
    # np.exp2 does not: with AVX-512 about one number in twenty has another last bit.
    found = set()
    plain = {"NPY_DISABLE_CPU_FEATURES": SIMD, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    for other in ({}, plain):
        command = [sys.executable, "-W", "ignore", "-c", PROCESSORS]
        environment = {**os.environ, **other}
        found.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(found) == 1


def test_golden_bytes_of_vectors() -> None:
    rows = [(n % 5, 1.0 + n % 3, n * 1_000_003) for n in range(40)]
    items = (np.arange(5 * 12).reshape(5, 12) % 7 - 3).astype(np.float32)
    vectors, _ = vectors_of([rows[:7], rows], items)
    assert hashlib.sha256(vectors.tobytes()).hexdigest() == GOLDEN, "raise CONTRACT_VERSION when this changes"


def test_squares_are_summed_one_after_the_other() -> None:
    numbers = np.random.default_rng(3).standard_normal((50, 33))  # einsum and dot give other last bits
    assert _ordered_squares(numbers).tolist() == [sum((x * x for x in row), 0.0) for row in numbers.tolist()]


UNIT = np.eye(4, dtype=np.float32)


def test_an_event_counts_half_after_exactly_one_half_life() -> None:
    vectors, _ = vectors_of([[(0, 1.0, 0), (1, 1.0, 30 * DAY_S)]], UNIT)
    expected = np.array([0.5, 1.0, 0, 0]) / math.sqrt(1.25)
    assert vectors[0].tobytes() == expected.astype(np.float32).tobytes()
    vectors, _ = vectors_of([[(0, 1.0, 0), (1, 1.0, 60 * DAY_S)]], UNIT)
    assert vectors[0, 0] / vectors[0, 1] == np.float32(0.25)


def test_decay_is_relative_to_the_users_own_newest_event() -> None:
    history = [(0, 1.0, 0), (1, 2.0, 30 * DAY_S)]
    later = [(row, value, time_s + 12_345_678) for row, value, time_s in history]
    vectors, _ = vectors_of([history, later, [(3, 1.0, 10**9)]], UNIT)
    assert vectors[0].tobytes() == vectors[1].tobytes()


def test_the_newest_event_sets_the_clock_even_with_no_weight_of_its_own() -> None:
    vectors, has_vector = vectors_of([[(0, 1.0, 0), (2, 0.0, 30_000 * DAY_S)]], UNIT)
    assert has_vector.tolist() == [True]  # 2 ** -1000: its square is nothing, its direction is not
    assert vectors[0].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("neutral", "expected"), [(0.0, [5, 2, 1, 0]), (1.0, [4, 1, 0, 0]), (2.0, [3, 0, 0, 0]), (5.0, None)]
)
def test_only_what_exceeds_the_neutral_value_counts(neutral: float, expected: list[float] | None) -> None:
    vectors, has_vector = vectors_of([[(0, 5.0, 9), (1, 2.0, 9), (2, 1.0, 9), (3, -4.0, 9)]], UNIT, neutral)
    assert has_vector.tolist() == [expected is not None]
    wanted = np.array(expected or [0, 0, 0, 0], np.float64)
    length = math.sqrt(float(wanted @ wanted)) or 1.0
    assert vectors[0].tobytes() == (wanted / length).astype(np.float32).tobytes()


def test_opposite_vectors_that_cancel_leave_no_vector() -> None:
    items = np.array([[1, -2, 0.5], [-1, 2, -0.5]], np.float32)
    vectors, has_vector = vectors_of([[(0, 1.0, 5), (1, 1.0, 5)], [(0, 1.0, 5), (1, 2.0, 5)]], items)
    assert has_vector.tolist() == [False, True]
    assert vectors[0].tolist() == [0, 0, 0]
    assert vectors[1, 0] < 0


def test_users_without_events_or_weight_have_no_vector() -> None:
    items = np.vstack([UNIT, np.zeros((1, 4), np.float32)])
    vectors, has_vector = vectors_of([[], [(0, 0.0, 1)], [(4, 1.0, 1)], [(0, -1.0, 1)], [(1, 1.0, 1)]], items)
    assert has_vector.tolist() == [False, False, False, False, True]
    assert vectors[:4].tobytes() == np.zeros((4, 4), np.float32).tobytes()


def test_no_users_give_no_rows() -> None:
    vectors, has_vector = vectors_of([], UNIT)
    assert (vectors.shape, has_vector.shape) == ((0, 4), (0,))


def test_of_repeated_events_the_last_in_order_counts() -> None:
    events = arrays([[(3, 1.0, 10), (2, 4.0, 10), (3, 2.0, 20), (3, 5.0, 20)], [(3, 9.0, 1)], [], [(2, 7.0, 3)]])
    found = events.latest()
    assert found.user.tolist() == [0, 0, 1, 3]
    assert found.row.tolist() == [2, 3, 3, 2]
    assert found.value.tolist() == [4, 5, 9, 7]
    assert found.timestamp.tolist() == [10, 20, 1, 3]


@given(st.lists(EVENTS, max_size=5))
@settings(deadline=None, max_examples=60)
def test_the_latest_events_are_those_of_a_dictionary(histories: list[list[tuple[int, float, int]]]) -> None:
    expected = []
    for user, events in enumerate(histories):
        last = {row: n for n, (row, _, _) in enumerate(events)}
        expected += [(user, *events[n]) for n in sorted(last.values())]
    found = arrays(histories).latest()
    columns = (found.user.tolist(), found.row.tolist(), found.value.tolist(), found.timestamp.tolist())
    assert list(zip(*columns, strict=True)) == expected


def test_the_model_is_found_by_its_name() -> None:
    assert model_class("content") is ContentModel
    with pytest.raises(InputError, match=r"model 'oracle'; expected .*content"):
        model_class("oracle")


def test_settings_that_the_model_does_not_know_are_refused() -> None:
    with pytest.raises(InputError, match="half_life_days, neutral_value"):
        ContentModel({"half_life_days": 1.0, "neutral": 0.0}, 4)


def test_fitting_takes_the_embeddings_as_they_are() -> None:
    data = TrainingData(4, {"text": UNIT}, np.zeros(4, np.float32), lambda: iter(()), neutral_value=2.5)
    fitted, items_ID = ContentModel.fit(data, {"half_life_days": 9.0})
    assert items_ID is UNIT
    assert (fitted.settings, fitted.dimension) == ({"half_life_days": 9.0, "neutral_value": 2.5}, 4)
    assert fitted.cold_items({"text": UNIT[:2]}).tolist() == UNIT[:2].tolist()
    loaded = ContentModel.load(fitted.settings, fitted.dimension, fitted.arrays())
    assert (loaded.half_life_days, loaded.neutral_value) == (9.0, 2.5)


@given(problems())
@settings(deadline=None, max_examples=60)
def test_folding_in_gives_the_bytes_of_the_batch_and_terms_that_add_up(
    problem: tuple[list[list[tuple[int, float, int]]], np.ndarray, float],
) -> None:
    histories, items, neutral = problem
    together, has_vector = vectors_of(histories, items, neutral)
    for user, events in enumerate(histories):
        history = model(items.shape[1], neutral).fold_in(arrays([events]), ItemVectors.from_vectors(items))
        assert (history.vector is not None) == has_vector[user]
        if history.vector is not None:
            assert history.vector.tobytes() == together[user].tobytes()
            scores = items.astype(np.float64) @ history.vector.astype(np.float64)
            size = np.linalg.norm(items.astype(np.float64), axis=1)
            size_of_terms = np.abs(history.contributions(items)).sum(axis=1)
            assert (np.abs(history.contributions(items).sum(axis=1) - scores) <= 1e-6 * (size + size_of_terms)).all()


def test_items_scaled_by_a_power_of_two_are_the_same_items() -> None:
    vectors_ND = np.random.default_rng(2).standard_normal((6, 5)).astype(np.float32)
    scaled = ItemVectors.from_vectors(np.ldexp(vectors_ND, 7))
    scaled = ItemVectors(scaled.high_ND, scaled.low_ND, exponent=7)
    assert scaled.vectors().tobytes() == vectors_ND.tobytes()
    events = arrays([[(0, 1.0, 5), (3, 2.0, 9)], [(5, 1.0, 5)]])
    expected, _ = model(5).user_vectors(events, ItemVectors.from_vectors(vectors_ND), 2)
    vectors_UD, _ = model(5).user_vectors(events, scaled, 2)
    assert vectors_UD.tobytes() == expected.tobytes()


def test_likes_and_dislikes_point_from_one_to_the_other() -> None:
    items = ItemVectors.from_vectors(UNIT)
    history = model(4).fold_in_weights(np.array([2.0, -1.0, 0.0, 0.0]), items)
    assert history.vector is not None
    assert history.vector.tolist() == (np.array([1, -0.5, 0, 0]) / math.sqrt(1.25)).astype(np.float32).tolist()
    both = ItemVectors.from_vectors(np.stack([UNIT[0], UNIT[0]]))
    assert model(4).fold_in_weights(np.array([1.0, -1.0]), both).vector is None
    assert model(4).fold_in_weights(np.zeros(0), ItemVectors.from_vectors(UNIT[:0])).vector is None
