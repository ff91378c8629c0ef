"""Files as Keras writes them, by Keras itself; and files made to harm."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from striate.errors import DataError
from striate.transfer import keras_files
from striate.transfer.keras_files import read_keras

# Keras reads torch's tensors in a way that NumPy 2 grumbles at
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def net():
    """One layer of each kind that holds weights, and a dropout, which has a hidden one."""
    keras.backend.clear_session()
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="first")(x)
    x = layers.BatchNormalization(scale=False, name="norm")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.DepthwiseConv2D(3, use_bias=False)(x)
    x = layers.SeparableConv2D(5, 1)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


@pytest.mark.parametrize("name", ["a.weights.h5", "a.h5", "a.keras"])
def test_every_format_gives_the_same_layers(name, net, tmp_path):
    path = tmp_path / name
    net.save_weights(path) if name == "a.weights.h5" else net.save(path)
    found = {layer.name: layer for layer in read_keras(path)}
    held = {layer.name: layer.get_weights() for layer in net.layers if layer.weights}
    assert found.keys() == held.keys()
    for layer, arrays in held.items():
        for mine, theirs in zip(found[layer].variables.values(), arrays, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert list(found["first"].variables) == ["kernel", "bias"]
    assert list(found["norm"].variables) == ["beta", "moving_mean", "moving_variance"]


def test_layers_without_names_are_numbered_within_their_kind(net, tmp_path):
    net.save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "r+") as f:
        f.visititems(lambda _, item: item.attrs.clear())
    found = read_keras(tmp_path / "a.weights.h5")
    assert [(layer.name, layer.kind, layer.number) for layer in found] == [
        (None, "conv2d", 0),
        (None, "depthwise_conv2d", 0),
        (None, "separable_conv2d", 0),
        (None, "batch_normalization", 0),
        (None, "batch_normalization", 1),
        (None, "dense", 0),
    ]


def test_long_lists_of_names_lie_in_pieces(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.attrs["layer_names0"], f.attrs["layer_names1"] = [b"a"], [b"b"]
        for name in "ab":
            f.create_group(name).attrs["weight_names"] = [f"{name}/kernel:0".encode()]
            f[name][f"{name}/kernel:0"] = np.ones((2, 3))
    assert [layer.name for layer in read_keras(tmp_path / "a.h5")] == ["a", "b"]


def h5(path, content):
    """A file of Keras 3 with one dense layer, whose kernel `content` puts there."""
    with h5py.File(path, "w") as f:
        content(f.create_group("layers/dense/vars"))
    return path


def outside(path):
    with h5py.File(path, "w") as f:
        f["secret"] = np.ones((2, 2))
    return str(path)


HOSTILE = {
    "external link": (
        lambda g, o: g.__setitem__("0", h5py.ExternalLink(o, "/secret")),
        "is a ExternalLink: refused",
    ),
    "soft link": (lambda g, o: g.__setitem__("0", h5py.SoftLink("/layers")), "is a SoftLink: refused"),
    "external data": (
        lambda g, o: g.create_dataset("0", (2, 2), "f4", external=[(o, 0, 16)]),
        "lies in another file: refused",
    ),
    "virtual data": (
        lambda g, o: g.create_virtual_dataset("0", _layout(o)),
        "lies in another file: refused",
    ),
    "shape bomb": (
        lambda g, o: g.create_dataset("0", (1 << 25, 1 << 25), "f8", chunks=(1024, 1024), compression="gzip"),
        r"declare 9,007,199,254,740,992 bytes, the file has [0-9,]+: refused",
    ),
    "smaller shape bomb": (
        lambda g, o: g.create_dataset("0", (1 << 13, 1 << 13), "f8", chunks=(1024, 1024), compression="gzip"),
        r"declare 536,870,912 bytes, the file has [0-9,]+: refused",
    ),
    "text": (lambda g, o: g.create_dataset("0", data=[[b"a"]]), "expected floating-point numbers"),
    "a shape of no layer": (
        lambda g, o: g.create_dataset("0", data=np.ones((1, 1, 1))),
        "no layer of a known kind",
    ),
    "a group": (lambda g, o: g.create_group("0"), "is a group, expected an array"),
}


def _layout(source):
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:] = h5py.VirtualSource(source, "secret", (2, 2))
    return layout


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_arrays_are_refused_before_they_are_read(kind, tmp_path):
    content, says = HOSTILE[kind]
    secret = outside(tmp_path / "secret.h5")
    path = h5(tmp_path / "a.weights.h5", lambda group: content(group, secret))
    with pytest.raises(DataError, match=says):
        read_keras(path)


def test_many_small_bombs_are_one_large_one(tmp_path):
    """Each declares less than the floor, and so does an array that many layers share."""
    with h5py.File(tmp_path / "a.weights.h5", "w") as f:
        for i in range(3):
            f.create_dataset(f"layers/dense_{i}/vars/0", (1 << 12, 1 << 12), "f2", chunks=True, compression=9)
    with h5py.File(tmp_path / "b.weights.h5", "w") as f:
        array = f.create_dataset("layers/dense/vars/0", data=np.zeros((512, 512), "f4"))
        for i in range(200):
            f[f"layers/dense_{i}/vars/0"] = array
    for name in "ab":
        with pytest.raises(DataError, match=r"and those before declare .* bytes, the file has .*: refused"):
            read_keras(tmp_path / f"{name}.weights.h5")


def test_groups_that_many_ways_lead_to_are_read_once(tmp_path):
    """Sixty floors with two doors each: 2^60 ways to the top; and a door that leads back down."""
    with h5py.File(tmp_path / "a.weights.h5", "w") as f:
        group = f.create_group("layers")
        for _ in range(60):
            group["right"] = group.create_group("left")
            group = group["left"]
        group["down"] = f["layers"]
        group["dense/vars/0"] = np.ones((2, 3))
    assert [layer.kind for layer in read_keras(tmp_path / "a.weights.h5")] == ["dense"]


@pytest.mark.parametrize("dtype", ["<f2", ">f4", ">f8"])
def test_arrays_come_in_single_precision(dtype, tmp_path):
    path = h5(tmp_path / "a.weights.h5", lambda g: g.__setitem__("0", np.array([[0.5, 2]], dtype)))
    array = read_keras(path)[0].variables["kernel"]
    assert array.dtype == np.float32
    assert array.tolist() == [[0.5, 2]]


def test_a_link_in_an_older_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["model_weights"] = h5py.ExternalLink(outside(tmp_path / "b.h5"), "/")
    with pytest.raises(DataError, match="'model_weights' is a ExternalLink: refused"):
        read_keras(tmp_path / "a.h5")


def test_an_unknown_layer_with_weights_is_named(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as f:
        f["layers/group_normalization_2/vars/0"] = np.ones(3)
    with pytest.raises(DataError, match="layer 'group_normalization_2' is none of conv2d, "):
        read_keras(tmp_path / "a.weights.h5")


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"class_name": "Lambda", "config": {"name": "evil"}}, "layer 'evil' is a 'Lambda': refused"),
        ({"class_name": "TFSMLayer", "config": {"name": "x", "filepath": "/etc"}}, "'TFSMLayer': refused"),
        ({"module": "os", "class_name": "system", "config": {}}, "'system': refused"),
        ({"class_name": "TorchModuleWrapper", "config": {"name": "t"}}, "'TorchModuleWrapper': refused"),
        ({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "'StringLookup': refused"),
        (
            {
                "class_name": "Functional",
                "config": {"layers": [{"class_name": "Lambda", "config": {"name": "deep"}}]},
            },
            "layer 'deep' is a 'Lambda'",
        ),
        ({"class_name": ["Conv2D"], "config": 3}, "refused"),
    ],
)
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_layers_outside_the_table_are_named_and_refused(layer, says, suffix, net, tmp_path):
    path = tmp_path / f"a.{suffix}"
    config = json.dumps({"class_name": "Functional", "config": {"name": "m", "layers": [layer]}})
    if suffix == "h5":
        net.save(path)
        with h5py.File(path, "r+") as f:
            f.attrs["model_config"] = config
    else:
        archive(path, net, config)
    with pytest.raises(DataError, match=says):
        read_keras(path)


def archive(path, net, config, **extra):
    net.save_weights(path.with_name("m.weights.h5"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("config.json", config)
        z.writestr("model.weights.h5", path.with_name("m.weights.h5").read_bytes())
        for name, data in extra.items():
            z.writestr(name, data)
    return path


@pytest.mark.parametrize("member", ["config.json", "assets/../../x"])
def test_archives_that_unpack_to_much_more(member, net, tmp_path):
    config = '{"class_name": "Functional", "config": {}}'
    bomb = " " * 200_000
    path = archive(tmp_path / "a.keras", net, bomb if member == "config.json" else config, **{
        name: bomb for name in [member] if name != "config.json"
    })  # fmt: skip
    with pytest.raises(DataError, match=f"'{member}' unpacks from"):
        read_keras(path)
    assert not (tmp_path.parent / "x").exists()


def test_archives_without_the_essentials(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as z:
        z.writestr("readme", "")
    with pytest.raises(DataError, match=r"no config\.json in it; it holds 'readme'"):
        read_keras(tmp_path / "a.keras")


def test_a_file_with_an_optimiser_only(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as f:
        f["optimizer/vars/0"] = np.ones(3)
    with pytest.raises(DataError, match="holds no layers with weights; it holds 'optimizer'"):
        read_keras(tmp_path / "a.weights.h5")


@pytest.mark.parametrize("name", ["a.h5", "a.weights.h5", "a.keras"])
def test_files_cut_anywhere(name, net, tmp_path):
    path = tmp_path / name
    net.save_weights(path) if name == "a.weights.h5" else net.save(path)
    whole = path.read_bytes()
    for share in (0, 0.01, 0.5, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match="damaged or no Keras file"):
            read_keras(path)


@pytest.mark.parametrize("attribute", [3, np.ones(2), h5py.Empty("f4")])
def test_attributes_of_a_strange_kind(attribute, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_group("model_weights").attrs["layer_names"] = attribute
        f.attrs["model_config"] = attribute
    with pytest.raises(DataError, match="damaged or no Keras file"):
        read_keras(tmp_path / "a.h5")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_archives_whose_members_do_not_unpack(method, net, tmp_path):
    net.save_weights(tmp_path / "m.weights.h5")
    with zipfile.ZipFile(tmp_path / "a.keras", "w", method) as z:
        z.writestr("config.json", '{"class_name": "Functional", "config": {}}' + " " * 500)
        z.writestr("model.weights.h5", (tmp_path / "m.weights.h5").read_bytes())
        begin = z.getinfo("config.json").header_offset + 30 + len("config.json")
    content = bytearray((tmp_path / "a.keras").read_bytes())
    content[begin : begin + 20] = b"\xff" * 20
    (tmp_path / "a.keras").write_bytes(content)
    with pytest.raises(DataError, match="damaged or no Keras file"):
        read_keras(tmp_path / "a.keras")


def test_a_configuration_as_deep_as_the_sea(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_files, "TEXT", 1 << 30)
    deep = '{"config":[' * 100_000
    with pytest.raises((DataError, RecursionError, ValueError)):
        keras_files.check_config(deep, tmp_path)
