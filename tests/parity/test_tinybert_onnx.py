"""The exported Transformer answers as torch does, at every batch and every length."""

import shutil

import numpy as np
import onnxruntime
import pytest
import torch

import tinybert
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship import export_tinybert
from tinybert.ship.export_tinybert import export_onnx


def make(decoder):
    torch.manual_seed(0)
    model = tinybert.TinyBERT(16, 4, 1, None, decoder, 24, 30, 0.5, 8)
    model.encoder[0].eval()
    return model


def batch(rows, length, seed):
    pick = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 30, (rows, length), generator=pick)
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        mask[row, length - row :] = 0
    return ids, mask


@pytest.fixture(scope="module", params=[0, 1], ids=["encoder", "encoder-decoder"])
def exported(request, tmp_path_factory):
    model = make(request.param)
    modes = [part.training for part in model.modules()]
    path = export_onnx(model, tmp_path_factory.mktemp("graph") / "new" / "model.onnx")
    assert [part.training for part in model.modules()] == modes
    return model.eval(), path


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize(
    ("rows", "source", "target"), [(1, 1, 1), (1, 20, 3), (4, 9, 6), (3, 7, 33)]
)
def test_graph_equals_torch(exported, rows, source, target, optimize):
    model, path = exported
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    src, src_mask = batch(rows, source, seed=1)
    feeds, inputs, real = {"input_ids": src, "attention_mask": src_mask}, [src], src_mask == 1
    masks = {"src_pad_mask": src_mask == 0}
    if model.decoder:
        tgt, tgt_mask = batch(rows, target, seed=2)
        feeds |= {"decoder_input_ids": tgt, "decoder_attention_mask": tgt_mask}
        inputs.append(tgt)
        real, masks["tgt_pad_mask"] = tgt_mask == 1, tgt_mask == 0
    assert {x.name for x in session.get_inputs()} == set(feeds)
    (found,) = session.run(["logits"], {name: x.numpy() for name, x in feeds.items()})
    with torch.inference_mode():
        wanted = model(*inputs, **masks)
    np.testing.assert_allclose(found[real.numpy()], wanted[real].numpy(), atol=1e-5, rtol=1e-5)


def test_padding_filled_with_anything_changes_nothing(exported):
    model, path = exported
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    src, mask = (x.numpy() for x in batch(3, 8, seed=1))
    tgt, tgt_mask = (x.numpy() for x in batch(3, 5, seed=2))

    def run(filler):
        feeds = {"input_ids": np.where(mask == 1, src, filler), "attention_mask": mask}
        if model.decoder:
            filled = np.where(tgt_mask == 1, tgt, filler)
            feeds |= {"decoder_input_ids": filled, "decoder_attention_mask": tgt_mask}
        return session.run(["logits"], feeds)[0][(tgt_mask if model.decoder else mask) == 1]

    assert np.array_equal(run(0), run(29))
    assert np.array_equal(run(0), run(-100))


def test_folder_holds_one_file(exported):
    assert [path.name for path in exported[1].parent.iterdir()] == ["model.onnx"]


def test_a_folder_is_no_file_to_write(exported, tmp_path):
    with pytest.raises(ConfigError, match="is a folder; wanted a file to write"):
        export_onnx(exported[0], tmp_path)


def test_an_unlike_graph_is_refused_and_the_old_file_stays(exported, tmp_path, monkeypatch):
    model, written = exported
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def write_another(graph, partial):
        shutil.copy(written, partial)
        with torch.no_grad():
            graph.model.embedding.output_bias += 1

    monkeypatch.setattr(export_tinybert, "_write", write_another)
    with pytest.raises(ArtifactError, match="the exported logits differ from torch's by 1; wanted"):
        export_onnx(model, path)
    assert [x.name for x in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"old"
