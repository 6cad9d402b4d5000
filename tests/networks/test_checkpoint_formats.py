"""Checkpoints of every format give the same encoder; files that do not fit or are unsafe are refused with a reason."""

import argparse
import collections
import pathlib
import pickle
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from networks import ContrastiveNetwork, build_encoder, checkpoints, load_encoder
from networks.checkpoint_files import UnreadableFileError
from networks.checkpoint_formats import Checkpoint, fingerprint, read_checkpoint
from networks.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    """No weight is 0, as after training: with the initial weights, a branch that was lost would go unnoticed."""
    torch.manual_seed(0)
    network = ContrastiveNetwork("resnet18", "mlp")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def as_sequence(state):
    """The names of ``nn.Sequential(*list(resnet.children())[:-1])``, which lightly and ARNIQA train."""
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    parts = ((name.partition("."), value) for name, value in state.items())
    return {f"{places[layer]}.{rest}": value for (layer, _, rest), value in parts}


def formats(network):
    """Name -> content."""
    state = network.state_dict()
    encoder, head = network.encoder.state_dict(), network.head.state_dict()
    other = {name: value * 0 if value.is_floating_point() else value for name, value in encoder.items()}
    moco = prefixed("module.encoder_q.", encoder) | prefixed("module.encoder_q.fc.", head)
    moco |= prefixed("module.encoder_k.", other) | {"module.queue": torch.ones(2)}
    moco_v1 = prefixed("module.encoder_q.", encoder | {"fc.weight": torch.ones(128, 512), "fc.bias": torch.ones(128)})
    moco_v3 = prefixed("module.base_encoder.", encoder | prefixed("fc.", head))
    bare = encoder | prefixed("fc.", torchvision.models.resnet18(weights=None).fc.state_dict())
    compiled = prefixed("_orig_mod.encoder.", encoder) | prefixed("_orig_mod.head.", head)
    lightning = {"epoch": 3, "global_step": 5, "pytorch-lightning_version": "2.2"}
    parameters = {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in encoder.items()}
    swav = prefixed("module.", encoder) | {"module.projection_head.0.weight": torch.ones(8, 512)}
    options = argparse.Namespace(arch="resnet18")
    return {
        "ours": {"model": prefixed("module.", state), "epoch": 3, "queue_position": 5},
        "released": {
            "opt": options,
            "model": prefixed("module.", state),
            "model_ema": state,
            "contrast": {},
            "epoch": 40,
        },
        "released, unwrapped": {"model": state, "epoch": 1},
        "MoCo": {"epoch": 200, "arch": "resnet18", "state_dict": moco},
        "MoCo v1": {"state_dict": moco_v1},
        "MoCo with numpy's best": {"state_dict": moco, "best_acc1": np.float64(0.5), "epoch": 3},
        "MoCo v3": {"state_dict": moco_v3 | prefixed("module.momentum_encoder.", other)},
        "bare": encoder,
        "torchvision": bare,
        "torchvision, wrapped": {"state_dict": prefixed("module.", bare)},
        "before PyTorch 0.4.1": {k: v for k, v in bare.items() if "num_batches" not in k},
        "compiled": prefixed("_orig_mod.", bare),
        "compiled, wrapped": prefixed("module._orig_mod.", encoder),
        "wrapped, compiled": prefixed("_orig_mod.module.", encoder),
        "ours, compiled": {"model": compiled, "epoch": 3},
        "compiled inside": {"model": prefixed("encoder._orig_mod.", encoder)},
        "Lightning, backbone": lightning
        | {"state_dict": prefixed("backbone.", encoder) | prefixed("projection_head.layers.", head)}
        | {"optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}]},
        "Lightning, model": lightning | {"state_dict": prefixed("model.", encoder)},
        "solo-learn": {"state_dict": prefixed("encoder.", encoder) | prefixed("projector.", head)},
        "solo-learn with momentum": {
            "state_dict": prefixed("backbone.", encoder) | prefixed("momentum_backbone.", other)
        },
        "lightly": {"state_dict": prefixed("backbone.", as_sequence(encoder))},
        "ARNIQA, encoder": prefixed("encoder.", as_sequence(encoder)),
        "ARNIQA, model": prefixed("model.", as_sequence(encoder)) | prefixed("projector.", head),
        "CONTRIQUE": prefixed("encoder.", encoder) | {"projector.0.weight": torch.ones(8, 512)},
        "SwAV": swav | {"module.prototypes.weight": torch.ones(8, 8)},
        "DINO": {"student": prefixed("module.backbone.", other), "teacher": prefixed("backbone.", encoder)},
        "timm with EMA": {"state_dict": bare, "state_dict_ema": other, "args": options, "epoch": 3},
        "model_state_dict": {"model_state_dict": bare, "optimizer_state_dict": {}},
        "net": {"net": bare},
        "VISSL": {"classy_state_dict": {"base_model": {"model": {"trunk": prefixed("_feature_blocks.", encoder)}}}},
        "MMSelfSup": {"state_dict": prefixed("encoder_q.0.", encoder) | prefixed("encoder_k.0.", other)},
        "FSDP": {
            "model": {
                "_fsdp_wrapped_module." + name.replace("layer1.0.", "layer1.0._fsdp_wrapped_module."): value
                for name, value in encoder.items()
            }
        },
        "activation checkpointing": {
            name.replace(".0.", ".0._checkpoint_wrapped_module."): value for name, value in encoder.items()
        },
        "DeepSpeed": {"module": bare, "ds_config": {"a": 1}, "global_steps": 3},
        "numpy": {name: value.numpy() for name, value in encoder.items()},
        "parameters": collections.OrderedDict(parameters),
        "twice the same": {"state_dict": prefixed("backbone.", encoder) | prefixed("model.", encoder)},
        "paths in the options": {
            "state_dict": bare,
            "hyper_parameters": {
                "path": pathlib.PurePosixPath("/x"),
                "output": pathlib.Path("/y"),
                "windows": pathlib.PureWindowsPath("C:/z"),
                "lists": collections.defaultdict(list),
                "sets": frozenset([1]),
                "range": range(3),
                "numbers": np.arange(3),
                "one": np.float32(1),
                "count": np.int64(3),
            },
        },
    }


@pytest.fixture(scope="module")
def contents(network):
    return formats(network)


@pytest.fixture(scope="module")
def pooled(network):
    """Images, and the features that every format must give."""
    images = torch.rand(1, 3, 48, 48)
    with torch.inference_mode():
        return images, network.encoder.eval()(images)


NAMES = tuple(formats(ContrastiveNetwork("resnet18", "mlp")))


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_features(contents, pooled, tmp_path, name):
    torch.save(contents[name], tmp_path / "a.pth")
    encoder = load_encoder(tmp_path / "a.pth")
    assert not encoder.training
    images, expected = pooled
    with torch.inference_mode():
        assert torch.equal(encoder(images), expected)
    assert read_checkpoint(tmp_path / "a.pth").architecture == "resnet18"


@pytest.mark.parametrize("name", ["model.safetensors", "model.SAFETENSORS", "pytorch_model.bin", "model"])
def test_safetensors_are_recognised_by_their_content(network, pooled, tmp_path, name):
    state = {key: value.contiguous() for key, value in network.encoder.state_dict().items()}
    safetensors.torch.save_file(prefixed("module.", state), tmp_path / "written")
    shutil.move(tmp_path / "written", tmp_path / name)
    images, expected = pooled
    with torch.inference_mode():
        assert torch.equal(load_encoder(tmp_path / name)(images), expected)


def test_torch_files_are_recognised_by_their_content(network, pooled, tmp_path):
    images, expected = pooled
    for name, zipped in (("a.safetensors", True), ("b.ckpt", False)):
        torch.save(network.encoder.state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
        with torch.inference_mode():
            assert torch.equal(load_encoder(tmp_path / name)(images), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(network, tmp_path, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in network.encoder.state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    loaded = load_encoder(tmp_path / "a.pth").state_dict()
    for name, value in state.items():
        assert torch.equal(loaded[name], value.float() if value.is_floating_point() else value)


def test_numpys_types_of_another_version_are_read(network, tmp_path):
    """numpy 1 saved its numbers under numpy.core, numpy 2 saves them under numpy._core."""
    torch.save({"model": network.encoder.state_dict(), "best": np.float64(0.5)}, tmp_path / "a.pth", pickle_protocol=2)
    state = network.encoder.state_dict()
    file = tmp_path / "a.pth"
    torch.save({"model": state, "best": np.float64(0.5)}, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    renamed = {b"numpy._core.": b"numpy.core.", b"numpy.core.": b"numpy._core."}
    own = next(name for name in renamed if name + b"multiarray" in content)
    file.write_bytes(content.replace(own + b"multiarray", renamed[own] + b"multiarray"))
    assert read_checkpoint(file).architecture == "resnet18"


def test_the_architecture_is_read_from_the_file(tmp_path):
    for arch in ("resnet34", "resnet50"):
        torch.save(build_encoder(arch).state_dict(), tmp_path / "a.pth")
        assert fingerprint(load_encoder(tmp_path / "a.pth").state_dict()) == fingerprint(
            load_encoder(tmp_path / "a.pth", arch=arch).state_dict()
        )


def test_another_architecture_is_refused_and_the_right_one_named(network, tmp_path):
    torch.save(network.encoder.state_dict(), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"does not fit resnet50 \(layer1.0.conv1.weight.*use --arch resnet18"):
        load_encoder(tmp_path / "a.pth", arch="resnet50")
    with pytest.raises(UserError, match="use --arch resnet18"):
        load_encoder(tmp_path / "a.pth", arch="resnet34")


def test_similar_networks_are_refused_with_the_difference(network, tmp_path):
    with torch.device("meta"):
        wide = torchvision.models.wide_resnet50_2(weights=None)
    wide = {name: torch.zeros(value.shape) for name, value in wide.state_dict().items()}
    squeezed = network.encoder.state_dict() | {"layer1.0.se.fc1.weight": torch.ones(4, 64, 1, 1)}
    grey = network.encoder.state_dict() | {"conv1.weight": torch.ones(64, 1, 7, 7)}
    incomplete = {k: v for k, v in network.encoder.state_dict().items() if not k.startswith("layer4.1.conv2")}
    for state, difference in (
        (wide, r"layer1.0.conv1.weight: \(128, 64, 1, 1\) in the file, \(64, 64, 1, 1\) in resnet50"),
        (squeezed, r"layer1.0.se.fc1.weight: \(4, 64, 1, 1\) in the file, none in resnet18"),
        (grey, r"conv1.weight: \(64, 1, 7, 7\) in the file, \(64, 3, 7, 7\) in resnet18"),
        (incomplete, "layer4.1.conv2.weight: missing in the file"),
    ):
        torch.save({"state_dict": state}, tmp_path / "a.pth")
        with pytest.raises(UserError, match="does not fit any known architecture .*" + difference):
            load_encoder(tmp_path / "a.pth")


@pytest.mark.parametrize("form", ["torchvision", "MoCo", "sequence"])
@pytest.mark.parametrize(
    "missing", ["conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight", "layer4.", "bn1."]
)
def test_missing_layers_are_named(network, tmp_path, form, missing):
    state = {name: value for name, value in network.encoder.state_dict().items() if not name.startswith(missing)}
    if form == "MoCo":
        state = {"state_dict": prefixed("module.encoder_q.", state)}
    elif form == "sequence":
        state = as_sequence(state)
    torch.save(state, tmp_path / "a.pth")
    first = "bn1.weight" if missing == "bn1." else missing
    sentence = rf"does not fit any known architecture \({first}: missing in the file, .* in resnet18"
    if missing in ("conv1.weight", "layer4."):
        sentence = "holds no ResNet encoder: no layers conv1, bn1, layer1 to layer4"
    with pytest.raises(UserError, match=sentence):
        load_encoder(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "prefixes", [("quality.", "content."), ("encoder_1.", "encoder_2."), ("momentum_encoder.", "encoder_k.")]
)
def test_two_different_encoders_are_refused_and_both_named(network, tmp_path, prefixes):
    first, second = (network.encoder.state_dict(), build_encoder("resnet18").state_dict())
    torch.save({"state_dict": prefixed(prefixes[0], first) | prefixed(prefixes[1], second)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=f"holds 2 different encoders .*{prefixes[0]}.*{prefixes[1]}"):
        load_encoder(tmp_path / "a.pth")
    torch.save({"module.": 1} | first | prefixed("module.", second), tmp_path / "a.pth")
    with pytest.raises(UserError, match="two tensors named"):
        load_encoder(tmp_path / "a.pth")


class WritesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_file_that_runs_code_is_refused_and_runs_nothing(network, tmp_path):
    for save in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))):
        save({"x": WritesAFile(str(tmp_path / "harm")), "model": network.encoder.state_dict()}, tmp_path / "a.pth")
        with pytest.raises(
            UserError, match=r"unsafe: reading it would run code \((io|_io|builtins|__builtin__)\.open\)"
        ):
            load_encoder(tmp_path / "a.pth")
    assert not (tmp_path / "harm").exists()
    torch.save(network, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"would run code \(networks.encoder.ContrastiveNetwork\)"):
        load_encoder(tmp_path / "a.pth")


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "list", "other keys", "nan", "missing", "folder"])
def test_a_file_that_is_no_checkpoint_is_named(network, tmp_path, damage):
    path = tmp_path / "a.pth"
    state = network.encoder.state_dict()
    if damage == "empty":
        path.touch()
    elif damage == "text":
        path.write_text("weights\n" * 100)
    elif damage == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "list":
        torch.save([1, 2], path)
    elif damage == "other keys":
        torch.save({"weights": torch.ones(3), "conv1.weight": torch.ones(64, 3, 7, 7), "name": "x"}, path)
    elif damage == "nan":
        torch.save(state | {"conv1.weight": state["conv1.weight"] * float("nan")}, path)
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(UserError) as caught:
        load_encoder(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>quota exceeded", "is a web page; the download failed"),
        (bytes(1000), "begins with zeros"),
        ("script", "is a TorchScript program, not weights; save"),
        ("cut off", "ends too early, as after a download that was cut off"),
    ],
)
def test_other_files_are_named(tmp_path, content, said):
    path = tmp_path / "a.pth"
    if content == "script":
        torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), path)
    elif content == "cut off":
        torch.save({"a": torch.zeros(10000)}, path)
        path.write_bytes(path.read_bytes()[:20000])
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"checkpoint .*a.pth .*{said}"):
        read_checkpoint(path)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"is not a file; name the file with the weights$"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), MemoryError(), RuntimeError("unable to mmap 300 bytes")]
)
def test_a_file_that_the_system_does_not_give_is_not_called_damaged(network, tmp_path, monkeypatch, error):
    def load(*_, **__):
        raise error

    torch.save(network.encoder.state_dict(), tmp_path / "a.pth")
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(UnreadableFileError, match=r"a.pth cannot be read: (Permission denied|the memory is too small)"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore")  # torch's own on quantised and sparse tensors
@pytest.mark.parametrize(
    "change",
    [
        lambda value: (value * 10).to(torch.int8),
        lambda value: value.to(torch.float8_e4m3fn),
        lambda value: value.to(torch.complex64),
        lambda value: value.to("meta"),
        lambda value: value.to_sparse(),
        lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    ],
    ids=["int8", "float8", "complex", "meta", "sparse", "quantised"],
)
def test_weights_that_are_no_numbers_as_they_are(network, tmp_path, change):
    state = network.encoder.state_dict()
    torch.save(state | {"layer1.0.conv1.weight": change(state["layer1.0.conv1.weight"])}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a.pth: layer1.0.conv1.weight (is|has no values).* not quantised or sparse"):
        load_encoder(tmp_path / "a.pth")


def test_the_command_describes_a_file_and_exports_the_encoder(contents, pooled, tmp_path, capsys):
    torch.save(contents["MoCo"], tmp_path / "moco.pth.tar")
    out = tmp_path / "encoder.safetensors"
    checkpoints.main([str(tmp_path / "moco.pth.tar"), "--export", str(out)])
    assert dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()) == {
        "architecture": "resnet18",
        "encoder": "state_dict > encoder_q.*",
        "epoch": "200",
        "fingerprint": fingerprint(load_encoder(out).state_dict()),
        "exported": str(out),
    }
    content = out.read_bytes()
    with pytest.raises(UserError, match=r"--export .*encoder\.safetensors is the file .* which is read"):
        checkpoints.main([str(out), "--export", str(out), "--float16"])
    assert out.read_bytes() == content
    images, expected = pooled
    with torch.inference_mode():
        assert torch.equal(load_encoder(out)(images), expected)
    with pytest.raises(UserError, match=r"checkpoint .*none.pth does not exist"):
        checkpoints.main([str(tmp_path / "none.pth")])


def test_random_weights_differ_between_architectures_only_in_shape():
    assert Checkpoint((), "", build_encoder("resnet50").state_dict()).architecture == "resnet50"
    assert Checkpoint((), "", {"conv1.weight": torch.zeros(64, 3, 7, 7)}).architecture is None
