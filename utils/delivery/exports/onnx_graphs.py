"""Change exported ONNX graphs: join both steps of a decoder in one file, and quantise to 8 bits."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

FLAG = "use_cache_branch"

SHARED_FROM = 1024  # elements: smaller initializers stay apart, comparing them saves nothing

ZERO_POINT = 128  # of 8-bit weights


def merge_steps(first: ir.Model, later: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> ir.Model:
    """Return a model that runs `later` if the input `use_cache_branch` is true, else `first`.

    Weights are shared. An output that `later` lacks has no elements then. This is the layout of optimum's
    `decoder_model_merged.onnx`.

    Args:
        first: Is changed.
        later: Is changed.
        inputs: Names of the inputs of both in the order of the file, the flag excepted.
        outputs: Names of the outputs in the order of the file.
    """
    flag = ir.Value(name=FLAG, type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([1]))
    known = {value.name: value for model in (first, later) for value in model.graph.inputs}
    outer = {name: ir.Value(name=name, type=known[name].type, shape=known[name].shape) for name in inputs}
    described = {value.name: value for model in (first, later) for value in model.graph.outputs}
    results = [ir.Value(name=name, type=described[name].type, shape=described[name].shape) for name in outputs]
    for model in (first, later):
        for value in model.graph.inputs:
            ir.convenience.replace_all_uses_with(value, outer[str(value.name)])
        model.graph.inputs.clear()
        _order_outputs(model.graph, outputs, described)
    branches = {"then_branch": later.graph, "else_branch": first.graph}
    _name_apart(branches.values())
    choice = ir.node("If", [flag], branches, outputs=results)
    graph = ir.Graph(
        [*outer.values(), flag],
        results,
        nodes=[choice],
        initializers=_share_weights(branches.values()),
        opset_imports=dict(first.graph.opset_imports),
        name="decoder",
    )
    return ir.Model(graph, ir_version=first.ir_version, producer_name="whisper-finetuning")


def _order_outputs(graph: ir.Graph, names: Sequence[str], described: dict[str | None, ir.Value]) -> None:
    """Give a graph these outputs; those that it lacks are constants without elements."""
    found = {value.name: value for value in graph.outputs}
    for name in names:
        if name in found:
            continue
        shape = [size if isinstance(size, int) else 0 for size in described[name].shape or ()]
        empty = ir.node("Constant", [], {"value": ir.tensor(np.zeros(shape, np.float32))})
        empty.outputs[0].name = name
        graph.append(empty)
        found[name] = empty.outputs[0]
    graph.outputs.clear()
    graph.outputs.extend(found[name] for name in names)


def _name_apart(graphs: Iterable[ir.Graph]) -> None:
    """Prefix the names of values in subgraphs, as an inner name may not be that of an outer value."""
    for prefix, graph in zip(("later", "first"), graphs, strict=True):
        for value in list(graph.initializers.values()):
            value.name = f"{prefix}.{value.name}"
        for node in graph:
            for value in node.outputs:
                value.name = f"{prefix}.{value.name}"


def _share_weights(graphs: Iterable[ir.Graph]) -> list[ir.Value]:
    """Take the weights out of the graphs, equal ones once."""
    shared: dict[tuple, ir.Value] = {}
    for graph in graphs:
        for value in list(graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or tensor.size < SHARED_FROM:
                continue
            del graph.initializers[str(value.name)]
            data = np.ascontiguousarray(tensor.numpy())
            key = (data.shape, data.dtype, hashlib.sha256(data.data).digest())
            if key in shared:
                ir.convenience.replace_all_uses_with(value, shared[key])
            else:
                shared[key] = value
    return list(shared.values())
