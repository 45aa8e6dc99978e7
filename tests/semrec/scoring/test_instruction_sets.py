"""Every format that an engine uses gives the reference's lists, whichever instructions the processor has.

oneDNN takes other code for other processors, and LLVM makes other code for them; switches have both do what older ones do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Unit vectors and what a factorisation learns: int8 products that saturate spoilt a seventh of these lists and more.
#: And items and queries with eligibility and seen items, of which ranks are asked, too.
COMPARED = """
import numpy as np
from helpers.scoring_problems import assert_same, catalogue, filtered_problem
from semrec.scoring.engine import make_engine
from semrec.scoring.types import ItemShard, Queries, Targets
from semrec.scoring.formats import FORMATS
from semrec.scoring.formats.check import usable_formats
from semrec.scoring.reference import ReferenceEngine

for dimension in (16, 64, 384):
    for kind in ("plain", "factors", "duplicates"):
        vectors = catalogue(dimension, 2_100, dimension, kind)
        if kind == "plain":
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        shard, queries = ItemShard.from_vectors(vectors[:2_000]), Queries.unfiltered(vectors[2_000:])
        few, reference = queries.between(0, 9), ReferenceEngine(shard)
        expected, expected_of_few = reference.top_k(queries, 10), reference.top_k(few, 10)
        for coarse in (*usable_formats("cpu", dimension), None):
            engine = make_engine("cpu", shard, coarse=coarse, num_threads=2)
            assert_same(engine.top_k(queries, 10), expected)
            assert_same(engine.top_k(few, 10), expected_of_few)
    print(dimension, *usable_formats("cpu", dimension))
shard, queries = filtered_problem("duplicates", num_items=700, num_queries=30)
reference = ReferenceEngine(shard)
expected = reference.top_k(queries, 7)
targets = Targets(expected.offsets, expected.rows, expected.scores)
for coarse in usable_formats("cpu", shard.dimension):
    engine = make_engine("cpu", shard, coarse=coarse, num_threads=2)
    assert_same(engine.top_k(queries, 7), expected)
    assert (engine.count_before(queries, targets) == reference.count_before(queries, targets)).all()
print(*(name for name, coarse in FORMATS.items() if coarse.panels))
"""


#: What oneDNN calls a processor; its name for LLVM, and what that has, as far as our code asks.
PROCESSORS = {
    "SSE41": {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.1,+sse4.2,+popcnt"},
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+lzcnt,+popcnt"},
    "AVX512_CORE": {
        "NUMBA_CPU_NAME": "skylake-avx512",
        "NUMBA_CPU_FEATURES": "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd,+avx2,+fma,+bmi,+bmi2,+lzcnt,+popcnt",
    },
    "DEFAULT": {},
}


@pytest.mark.parametrize("highest", PROCESSORS)
def test_lists_are_the_references_on_every_instruction_set(highest: str) -> None:
    tests = Path(__file__).parents[2]
    environment = os.environ | PROCESSORS[highest]
    environment |= {"ONEDNN_MAX_CPU_ISA": highest, "PYTHONPATH": f"{tests.parent}:{tests}"}
    done = subprocess.run([sys.executable, "-c", COMPARED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    *usable, in_panels = [set(line.split()) for line in done.stdout.splitlines()]
    assert len(usable) == 3
    assert all({"float32", "bfloat16"} <= formats for formats in usable)
    if highest != "DEFAULT":
        assert in_panels == ({"float32", "int8", "int8_rotated"} if "AVX" in highest else set())
        assert in_panels <= usable[0] & usable[1] & usable[2]
