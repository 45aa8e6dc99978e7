"""Computes a traced text model with OpenVINO, on CPUs.

Its compiled kernels take about half the time of torch's on a CPU without bfloat16 (`semrec bench embedding`). A row's bytes
depend neither on its neighbours nor on the number of threads, as with torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from semrec.errors import EncoderError

if TYPE_CHECKING:
    from openvino import CompiledModel

__all__ = ["openvino_vectors"]


def openvino_vectors(
    traced: torch.jit.ScriptModule, *, num_threads: int
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Compiles a traced program for this CPU, in float32.

    Returns a function of int64 ids and mask [R, T] that gives float32 vectors [R, D]. Raises EncoderError when OpenVINO is not
    installed or cannot compile the program.
    """
    try:
        compiled = _compile(traced, num_threads)
    except ImportError as error:
        raise EncoderError(
            f"backend openvino cannot be loaded ({error})",
            expected="the package openvino",
            remedy="pip install 'semrec[openvino]', or take the backend torch.",
        ) from error
    except RuntimeError as error:  # what OpenVINO raises for an operation that it does not know
        raise EncoderError(
            f"OpenVINO cannot compile the model: {str(error).strip().splitlines()[-1]}",
            expected="a model of operations that it knows",
            remedy="Take the backend torch.",
        ) from error

    def vectors(ids_RT: torch.Tensor, mask_RT: torch.Tensor) -> torch.Tensor:
        outputs: Any = compiled((ids_RT.numpy(), mask_RT.numpy()))
        return torch.from_numpy(np.array(outputs[0]))  # a copy: the next call writes to the same memory

    return vectors


def _compile(traced: torch.jit.ScriptModule, num_threads: int) -> CompiledModel:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.ones((2, 16), dtype=torch.int64)
    # openvino.convert_model does the same, and would ask whether it may report that over the network.
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=(example, example))  # is read until the model is converted
    model = frontend.load(decoder)
    for place in model.get_inputs():
        model.set_partial_shape(place, openvino.PartialShape([-1, -1]))
        model.set_element_type(place, openvino.Type.i64)
    options = {"INFERENCE_NUM_THREADS": num_threads, "INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(frontend.convert(model), "CPU", options)
