"""Folders of weights that others trained: what is found, and what is said of what is not."""

import re

import pytest

from harness.errors import ModelError
from harness.pretrained import configuration_of, folder_of, weights_of_network

pytest.importorskip("transformers")


@pytest.mark.parametrize("name", ["./bert", "../bert", "~/bert", "bert/", "."])
def test_a_path_that_is_not_absolute_is_written_out(name, tmp_path, monkeypatch):
    (tmp_path / "home" / "bert").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    absolute = {"../bert": tmp_path / "bert", ".": tmp_path / "home"}.get(name, tmp_path / "home" / "bert")
    with pytest.raises(ValueError, match=rf"{re.escape(repr(name))} is no absolute path; write {absolute}$"):
        folder_of(name)


def test_a_name_that_is_not_in_the_cache_must_be_downloaded_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"nothing is downloaded here: download it first with `hf download nobody/nothing`$"):
        folder_of("nobody/nothing")
    (tmp_path / "nobody" / "nothing").mkdir(parents=True)
    with pytest.raises(ValueError, match=rf"A folder of that name lies here: write {tmp_path}/nobody/nothing$"):
        folder_of("nobody/nothing")
    with pytest.raises(
        ValueError, match=r"nor a name in the local cache of the hub \(HFValidationError\); nothing is downloaded here$"
    ):
        folder_of("no name of a repository")


def test_a_name_in_the_cache_is_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cached").mkdir()
    (tmp_path / "cached" / "model.safetensors").touch()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, local_files_only: str(tmp_path / "cached"))
    (tmp_path / "theirs" / "bert").mkdir(parents=True)
    assert folder_of("theirs/bert") == tmp_path / "cached"


def test_an_adapter_and_weights_under_other_names_are_no_network(tmp_path):
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(ValueError, match=r"expected model\.safetensors or .*; an adapter is no network: merge it into the one"):
        folder_of(str(tmp_path))
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "part.safetensors")
    with pytest.raises(
        ValueError, match=r"^part\.safetensors in .*, expected model\.safetensors or model\.safetensors\.index\.json$"
    ):
        folder_of(str(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "part.safetensors", "b": "other.safetensors"}}')
    assert folder_of(str(tmp_path)) == tmp_path
    with pytest.raises(
        ModelError, match=r"^other\.safetensors: named by .*index\.json, but not there; copy the whole checkpoint"
    ):
        weights_of_network(tmp_path)
    (tmp_path / "other.safetensors").touch()
    assert [path.name for path in weights_of_network(tmp_path)] == ["other.safetensors", "part.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert [path.name for path in weights_of_network(tmp_path)] == ["model.safetensors"]


def test_a_configuration_is_an_object(tmp_path):
    for text, said in ((None, "no config.json lies in"), ("{", "cannot be read"), ("3", "holds a int; expected an object")):
        if text is not None:
            (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=said):
            configuration_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert configuration_of(tmp_path) == {"model_type": "bert"}
