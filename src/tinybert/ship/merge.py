"""Puts the decoder without and the one with a cache into one graph that chooses between them."""

from typing import Any

import onnx
from onnx import TensorProto, helper

__all__ = ["DECODER", "ENCODER", "MERGED", "PAST", "merge_decoders"]

ENCODER, DECODER, PAST = "encoder_model", "decoder_model", "decoder_with_past_model"
MERGED = "decoder_model_merged"
_BRANCH = "use_cache_branch"
_SHARED = (TensorProto.FLOAT, TensorProto.INT8)


def merge_decoders(first: onnx.ModelProto, later: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that runs ``later`` where ``use_cache_branch`` is true, else ``first``.

    Weights that both read stand in it once. Where ``first`` runs, ``past_key_values`` may be of
    length 0. Where ``later`` runs, the keys and values of the source come back as they were given,
    so that what is present is always the next past.

    Args:
        first: Decoder without a cache.
        later: Decoder with one; its outputs are some of the other's.
    """
    weights: dict[bytes, onnx.TensorProto] = {}
    outputs = list(first.graph.output)
    names = [item.name for item in outputs]
    branches = [
        _branch(model.graph, prefix, weights, names)
        for model, prefix in ((later, "later"), (first, "first"))
    ]
    inputs = {item.name: item for item in (*first.graph.input, *later.graph.input)}
    inputs |= {item.name: item for item in first.graph.input}
    whole = [_renamed(item) for item in inputs.values()]
    whole.append(helper.make_tensor_value_info(_BRANCH, TensorProto.BOOL, [1]))
    choose = helper.make_node(
        "If", [_BRANCH], names, name="choose", then_branch=branches[0], else_branch=branches[1]
    )
    graph = helper.make_graph([choose], MERGED, whole, outputs, initializer=list(weights.values()))
    opsets = {item.domain: item for item in (*first.opset_import, *later.opset_import)}
    merged = helper.make_model(graph, opset_imports=list(opsets.values()))
    merged.ir_version = first.ir_version
    merged.functions.extend(first.functions)
    return merged


def _branch(
    graph: onnx.GraphProto, prefix: str, weights: dict[bytes, onnx.TensorProto], wanted: list[str]
) -> onnx.GraphProto:
    """Return a graph without inputs, its names its own; large weights go into ``weights``."""
    given = {item.name for item in graph.input}
    names: dict[str, str] = {name: name for name in given}
    kept = []
    for item in graph.initializer:
        if item.data_type in _SHARED and item.dims:
            names[item.name] = _share(item, weights)
            continue
        own = onnx.TensorProto()
        own.CopyFrom(item)
        own.name = names[item.name] = f"{prefix}/{item.name}"
        kept.append(own)
    nodes = []
    for node in graph.node:
        own = onnx.NodeProto()
        own.CopyFrom(node)
        for i, name in enumerate(node.output):
            names[name] = own.output[i] = f"{prefix}/{name}" if name else ""
        for i, name in enumerate(node.input):
            own.input[i] = names[name] if name else ""
        own.name = own.output[0]
        nodes.append(own)
    there = {item.name: item for item in graph.output}
    outputs = [_output(name, prefix, names, there, nodes) for name in wanted]
    return helper.make_graph(nodes, prefix, [], outputs, initializer=kept)


def _output(
    name: str,
    prefix: str,
    names: dict[str, str],
    there: dict[str, Any],
    nodes: list[onnx.NodeProto],
) -> onnx.ValueInfoProto:
    """Return an output of a branch; one that it lacks is the input of that name."""
    if name not in there:
        past = name.replace("present", "past_key_values")
        names[name] = f"{prefix}/{name}"
        nodes.append(helper.make_node("Identity", [past], [names[name]], name=names[name]))
        return helper.make_tensor_value_info(names[name], TensorProto.FLOAT, None)
    found = onnx.ValueInfoProto()
    found.CopyFrom(there[name])
    found.name = names[name]
    return found


def _share(item: onnx.TensorProto, weights: dict[bytes, onnx.TensorProto]) -> str:
    """Return the name of a weight with the same numbers among those that both branches read."""
    content = onnx.TensorProto()
    content.CopyFrom(item)
    content.name = ""
    key = content.SerializeToString(deterministic=True)
    if key not in weights:
        taken = {weight.name for weight in weights.values()}
        own = onnx.TensorProto()
        own.CopyFrom(item)
        own.name = item.name if item.name not in taken else f"{item.name}/later"
        while own.name in taken:
            own.name += "_"
        weights[key] = own
    return weights[key].name


def _renamed(item: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Return an input; the length of a past of the source is one of its own, 0 at the start."""
    found = onnx.ValueInfoProto()
    found.CopyFrom(item)
    if ".encoder." in item.name:
        found.type.tensor_type.shape.dim[2].dim_param = "past_encoder_sequence_length"
    return found
