"""Exported files answer as the network does, in runtimes that never saw it, or they aren't there."""

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from striate.cli import main
from striate.errors import DataError, StriateError, UsageError
from striate.files import sha256
from striate.ship import export as export_room
from striate.ship import formats, graph, load, parity
from striate.ship.convert import converted
from striate.ship.export import beside, certificate_path, export
from striate.ship.parity import Certificate
from striate.ship.pixels import Classifier
from striate.ship.samples import batches, of_data, samples
from striate.train import Model, Run

TO = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}


@pytest.fixture(scope="module")
def proto(run: Run) -> onnx.ModelProto:
    return converted(run.model(), run.folder / "model.safetensors")


@pytest.fixture(scope="module")
def exported(run: Run) -> Callable[[str], Certificate]:
    """The run's file of a kind, written when a test first asks for it."""
    return cache(lambda to: export(run, to))


def test_a_graph_of_the_user_s_own_code_is_never_an_old_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = run.model(), run.folder / "model.safetensors"
    converted(model, file)
    made: list[Model] = []
    monkeypatch.setattr("striate.ship.graph.onnx_model", lambda model, opset: made.append(model))
    converted(model, file)
    assert not made  # kept
    own = replace(model, origin={"kind": "factory", "name": "mynet:make"})
    converted(own, file)
    assert made == [own]


@pytest.mark.parametrize("to", TO)
def test_a_file_agrees_and_says_what_it_is(to: str, run: Run, exported: Callable[[str], Certificate]) -> None:
    certificate = exported(to)
    path = run.folder / f"model{TO[to]}"
    assert certificate.path == str(path)
    assert (certificate.n, certificate.top1_agreement, certificate.top1_agreement_as_read) == (256, 1, 1)
    assert certificate.max_abs_diff < 1e-5
    assert certificate.accuracy == certificate.reference_accuracy
    assert json.loads(certificate_path(path).read_text()) == certificate.to_json()
    facts = formats.of(path).open(path).facts
    model = run.model()
    assert facts["classes"] == list(model.classes)
    assert facts["preprocess"] == model.preprocess.to_dict()
    assert facts["metrics"] == model.metrics
    assert not list(run.folder.glob(".export-*"))


@pytest.mark.parametrize("to", TO)
def test_any_batch_and_any_size_against_the_network_itself(
    to: str, run: Run, exported: Callable[[str], Certificate]
) -> None:
    path = Path(exported(to).path)
    opened = formats.of(path).open(path)
    whole = Classifier(run.model())
    rng = np.random.default_rng(1)
    for n, h, w in ((1, 8, 8), (2, 32, 32), (7, 50, 19), (3, 1, 1)):
        x = rng.integers(0, 256, (n, h, w, 1), dtype=np.uint8)
        with torch.inference_mode():
            expected = whole(torch.from_numpy(x)).numpy()
        assert np.abs(opened.call(x) - expected).max() < 1e-5, (n, h, w)


def test_the_reference_evaluator_agrees(run: Run, proto: onnx.ModelProto) -> None:
    raw, _, _ = next(batches(samples(run, "test"), 2))
    got = ReferenceEvaluator(proto).run(None, {graph.INPUT: raw})[0]
    with torch.inference_mode():
        expected = Classifier(run.model())(torch.from_numpy(raw)).numpy()
    assert np.abs(got - expected).max() < 1e-5


def test_the_graph_holds_nothing_of_this_machine(
    exported: Callable[[str], Certificate], proto: onnx.ModelProto
) -> None:
    for data in (proto.SerializeToString(), Path(exported("torch").path).read_bytes()):
        assert str(Path.home()).encode() not in data
        assert b"site-packages" not in data
        assert str(Path(export_room.__file__).parents[2]).encode() not in data
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", "height", "width", 1]


def test_disagreement_is_an_error_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tampered = run.model()
    with torch.no_grad():
        next(tampered.module.parameters()).add_(0.05)
    monkeypatch.setattr("striate.ship.export.converted", lambda model, *told: converted(run.model(), *told))
    monkeypatch.setattr(Run, "model", lambda self: tampered)
    with pytest.raises(
        StriateError, match="disagrees with the network: probabilities differ by up to"
    ) as error:
        export(run, "onnx", tmp_path / "m.onnx")
    assert error.value.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_int8_is_calibrated_smaller_and_nearly_as_right(run: Run, tmp_path: Path) -> None:
    certificate = export(run, "onnx", tmp_path / "m.int8.onnx", int8=True, calibration=64)
    assert certificate.precision == "int8"
    assert certificate.reference_accuracy - certificate.accuracy < 0.02
    assert 0 < certificate.max_abs_diff < 0.2
    export(run, "onnx", tmp_path / "m.onnx", images=3)
    assert (tmp_path / "m.int8.onnx").stat().st_size < 0.5 * (tmp_path / "m.onnx").stat().st_size
    nodes = onnx.load_model(tmp_path / "m.int8.onnx").graph.node
    assert sum(n.op_type == "QuantizeLinear" for n in nodes) >= 5
    with pytest.raises(StriateError, match="accuracy falls from"):
        export(run, "onnx", tmp_path / "no.onnx", int8=True, calibration=64, max_drop=-1)
    assert not (tmp_path / "no.onnx").exists()


def test_a_link_at_the_target_is_replaced_not_followed(run: Run, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "m.onnx").symlink_to(precious)
    export(run, "onnx", tmp_path / "m.onnx", images=3)
    assert precious.read_text() == "mine"
    assert not (tmp_path / "m.onnx").is_symlink()
    assert beside(tmp_path / "m.onnx") == [tmp_path / "m.onnx"]


def test_a_swapped_file_is_noticed(run: Run, tmp_path: Path) -> None:
    export(run, "openvino", tmp_path / "m.xml", images=3)
    weights = tmp_path / "m.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DataError, match=r"m\.bin is not the file that its certificate vouches for"):
        load(tmp_path / "m.xml")


def test_a_renamed_file_keeps_its_certificate(run: Run, tmp_path: Path) -> None:
    export(run, "onnx", tmp_path / "m.onnx", images=3)
    (tmp_path / "m.onnx").rename(tmp_path / "n.onnx")
    certificate_path(tmp_path / "m.onnx").rename(certificate_path(tmp_path / "n.onnx"))
    assert load(tmp_path / "n.onnx").engine == "onnx"
    certificate_path(tmp_path / "n.onnx").write_text("{}")
    with pytest.raises(DataError, match=r"certificate\.json is damaged"):
        load(tmp_path / "n.onnx")


def test_the_certificate_is_there_before_the_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = export_room.os.replace
    target = tmp_path / "m.xml"

    def replace(old: Path, new: Path) -> None:
        if certificate_path(target).exists():
            seen.append(Path(new).name)
        real(old, new)

    monkeypatch.setattr(export_room.os, "replace", replace)
    export(run, "openvino", target, images=3)
    assert [name for name in seen if name.startswith("m.")] == ["m.bin", "m.xml"]


def test_torch_needs_no_graph_in_onnx(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_room, "converted", None)
    assert export(run, "torch", tmp_path / "m.pt2", images=3).top1_agreement == 1


@pytest.fixture(scope="module")
def program(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "m.pt2"
    export(run, "torch", path, images=3)
    return path


def rewritten(program: Path, target: Path, **members: bytes) -> Path:
    """The archive with members changed or added, and a certificate that fits."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(target, "w") as new:
        told = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
        for name, data in (told | members).items():
            new.writestr(f"m/{name}", data)
    certificate_path(target).write_text(json.dumps({"sha256": {target.name: sha256(target)}}))
    return target


@pytest.mark.parametrize(
    "member",
    [
        "data/sample_inputs/model.pt",
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/constants/opaque_obj_0",
        "data/aotinductor/model/model.so",
        "serialized_state_dict.pt",
    ],
)
def test_a_pickle_in_a_pt2_is_refused_before_torch_sees_it(
    program: Path, tmp_path: Path, member: str
) -> None:
    canary = tmp_path / "canary"

    class Harm:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    bad = rewritten(program, tmp_path / "m.pt2", **{member: pickle.dumps(Harm())})
    for open_it in (load, formats.of(bad).open):
        with pytest.raises(DataError, match="which torch might run"):
            open_it(bad)
    assert not canary.exists()


def test_a_table_in_a_pt2_that_names_a_pickle_is_refused(program: Path, tmp_path: Path) -> None:
    name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(program) as archive:
        table = json.loads(archive.read(f"m/{name}"))
    next(iter(table["config"].values()))["use_pickle"] = True
    with pytest.raises(DataError, match="holds a pickle"):
        load(rewritten(program, tmp_path / "m.pt2", **{name: json.dumps(table).encode()}))


def test_a_pt2_is_opened_with_its_certificate_alone(program: Path, tmp_path: Path) -> None:
    assert load(rewritten(program, tmp_path / "m.pt2")).engine == "torch"
    certificate_path(tmp_path / "m.pt2").unlink()
    with pytest.raises(DataError, match="has no certificate") as error:
        load(tmp_path / "m.pt2")
    assert "m.pt2.certificate.json belongs beside it" in error.value.hint


@pytest.mark.parametrize("place", ["initializer", "sparse", "attribute"])
def test_data_outside_the_file_is_never_followed(place: str, proto: onnx.ModelProto, tmp_path: Path) -> None:
    bad = onnx.ModelProto()
    bad.CopyFrom(proto)
    if place == "initializer":
        tensor = bad.graph.initializer[0]
    elif place == "sparse":
        tensor = bad.graph.sparse_initializer.add().values
    else:
        tensor = bad.graph.node.add(op_type="Constant").attribute.add(name="value", type=4).t
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "m.onnx").write_bytes(bad.SerializeToString())
    with pytest.raises(DataError, match="refers to data outside of itself"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_damaged_and_foreign_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    with pytest.raises(UsageError, match="no file at"):
        load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=path.name):
        load(path)


def test_somebody_elses_onnx_is_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    foreign = onnx.helper.make_graph([node], "g", [value], [onnx.helper.make_tensor_value_info("y", 1, [1])])
    onnx.save_model(onnx.helper.make_model(foreign, ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(DataError, match="was not exported by striate"):
        load(tmp_path / "m.onnx")


def test_bad_requests(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'onx'") as error:
        export(run, "onx")
    assert error.value.hint == "did you mean onnx?"
    with pytest.raises(UsageError, match=r"ends in \.xml"):
        export(run, "openvino", tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="--int8 is for"):
        export(run, "torch", int8=True)
    with pytest.raises(UsageError, match="there is no folder"):
        export(run, "onnx", tmp_path / "gone" / "m.onnx")


def test_the_bound_is_on_numbers_and_on_accuracy() -> None:
    facts = dict.fromkeys(("path", "runtime"), "m.onnx")
    good = parity.Certificate(
        **facts, precision="fp32", n=9, max_abs_diff=9e-5, top1_agreement=1.0, top1_agreement_as_read=1.0,
        accuracy=0.5, reference_accuracy=0.5, tolerance=1e-4, sha256={},
    )  # fmt: skip
    parity.insist(good)
    from dataclasses import replace

    with pytest.raises(StriateError, match=r"up to 0\.00011"):
        parity.insist(replace(good, max_abs_diff=1.1e-4))
    eight = replace(good, tolerance=None, max_abs_diff=0.3, accuracy=0.481)
    parity.insist(eight)
    with pytest.raises(StriateError, match=r"from 50\.00% to 47\.90%"):
        parity.insist(replace(eight, accuracy=0.479))


def test_several_labels_are_compared_all_together() -> None:
    """A file whose most probable class is right but which adds a label is wrong."""
    p = np.array([[0.9, 0.2, 0.1], [0.9, 0.6, 0.1]], np.float32)
    truth = np.array([[True, False, False]] * 2)
    assert parity._alike(parity._said(p, several=True), truth) == 0.5
    assert parity._alike(parity._said(p, several=False), truth) == 1


def test_int8_tells_size_and_speed_before_and_after(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["export", str(run.folder), "-o", str(tmp_path / "m.onnx"), "--int8", "--images", "64", "--json"]
    assert main(argv) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["benchmark"]
    assert [row["precision"] for row in rows] == ["fp32", "int8"]
    assert rows[1]["megabytes"] < 0.5 * rows[0]["megabytes"]
    assert all(row["ms_batch_1"] > 0 for row in rows)


def test_a_model_file_alone_with_pictures_from_elsewhere(
    run: Run, digits_folder: Path, tmp_path: Path
) -> None:
    """As where the run's own data is on another machine: the labels come by name, whichever there are."""
    model = tmp_path / "alone.safetensors"
    model.write_bytes((run.folder / "model.safetensors").read_bytes())
    with pytest.raises(UsageError, match=r"alone\.safetensors says nothing of its data") as error:
        export(model, "onnx")
    assert "--data" in error.value.hint
    data = tmp_path / "data"
    for name, files in {"3": (3, 13, 23), "7": (7, 17)}.items():
        (data / name).mkdir(parents=True)
        for number in files:
            (data / name / f"{number}.png").write_bytes((digits_folder / f"{number:02d}.png").read_bytes())
    certificate = export(model, "onnx", data=data)
    assert certificate.path == str(tmp_path / "alone.onnx")
    assert (certificate.n, certificate.top1_agreement) == (5, 1)
    truth = [p.label == Path(p.source).parent.name for p in load(run.folder, "torch")(data)]
    assert certificate.accuracy == pytest.approx(np.mean(truth))
    (data / "7").rename(data / "seven")
    with pytest.raises(DataError, match="the network doesn't know 'seven'"):
        export(model, "onnx", data=data)


def test_a_run_whose_data_is_gone_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = run.recipe.model_copy(update={"data": "/nowhere/flowers"})
    monkeypatch.setattr(Run, "recipe", gone)
    with pytest.raises(DataError, match="no data at '/nowhere/flowers'") as error:
        export(run.folder)
    assert error.value.hint == "--data DATA takes other pictures of the same classes"
    assert export(run.folder, data="digits", images=3).n == 3


def test_a_run_s_own_data_elsewhere_keeps_its_division(run: Run) -> None:
    """No picture that trained the network is counted as one that it is new to."""
    parts = of_data("digits", run.model(), apart=False, splits=run.splits)
    assert {split: list(part.ids) for split, part in parts.items()} == {
        split: run.splits[split]["ids"] for split in ("train", "val", "test")
    }


def test_the_version_of_the_operators(run: Run, tmp_path: Path) -> None:
    certificate = export(run, "onnx", tmp_path / "m.onnx", images=3, opset=18)
    assert certificate.max_abs_diff < 1e-5
    proto = onnx.load_model(tmp_path / "m.onnx")
    assert [(i.domain, i.version) for i in proto.opset_import] == [("", 18)]
    for to, opset, told in (("onnx", 17, "torch writes 18 to 24"), ("openvino", 18, "--opset is for onnx")):
        with pytest.raises(UsageError, match=told):
            export(run, to, opset=opset)


def test_a_version_that_torch_does_not_write_is_no_other(run: Run) -> None:
    """Below 18 torch keeps 18 and warns in its log."""
    with pytest.raises(StriateError, match="--opset 17: torch writes this network in 18"):
        graph.onnx_model(run.model(), 17)


@pytest.mark.parametrize("to", TO)
def test_facts_beside_the_file_for_runtimes_that_do_not_read_metadata(
    to: str, run: Run, exported: Callable[[str], Certificate]
) -> None:
    """ONNX Runtime in a browser has no way to the metadata of a model: microsoft/onnxruntime#16547."""
    path = Path(exported(to).path)
    facts = json.loads(path.with_name(f"{path.name}.facts.json").read_text())
    assert facts == formats.of(path).open(path).facts
    assert facts["classes"] == list(run.model().classes)
