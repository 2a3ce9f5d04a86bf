"""Weights that others trained, in the form of `transformers`, from a local folder: found, read safely, told apart.

Only safetensors are read, no code that lies beside them runs, and nothing is downloaded.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from os.path import abspath, expanduser, isdir
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.tokenizer import PretrainedTokenizer

SAFE = {"local_files_only": True, "trust_remote_code": False}
"""Keys with which everything of a folder is read."""
_READ = (".safetensors", ".json", ".txt", ".model")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
_WHOLE, _IN_PARTS, _ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
_ELSEWHERE = "transformers_weights"  # the key by which a configuration names another file
_SPARE = 128  # rows without a token that an embedding may have: checkpoints fill up to multiples of 64 or 128
_INSTALL = "the package transformers is not installed; pip install transformers"


def why_unreadable() -> str | None:
    """What is missing before any folder can be read; `None` where nothing is."""
    return None if find_spec("transformers") else _INSTALL


def folder_of(name: str) -> Path:
    """The folder of weights: an absolute path, or a name whose files are in the local cache of the hub.

    Raises:
        ValueError: no such folder, no such name in the cache, or no network in safetensors there.
    """
    place = Path(name) if Path(name).is_absolute() else _cached(name)
    if not place.is_dir():
        raise ValueError(
            f"{name!r} is no folder; give an absolute path to a folder with config.json, a tokenizer and *.safetensors"
        )
    found = [path.name for path in weights_in(place)]
    if not found:
        raise ValueError(
            f"no *.safetensors lies in {place}; pickled weights are not read. Save them with safe_serialization=True"
        )
    if not any((place / file).is_file() for file in (_WHOLE, _IN_PARTS)):
        adapter = "; an adapter is no network: merge it into the one that it changes, and save that" if _ADAPTER in found else ""
        raise ValueError(f"{', '.join(found)} in {place}, expected {_WHOLE} or {_IN_PARTS}{adapter}")
    return place


def _cached(name: str) -> Path:
    reason = why_unreadable()
    if reason:
        raise ValueError(reason)
    there = abspath(expanduser(name))
    if name.startswith((".", "~")) or name.endswith("/"):
        raise ValueError(f"{name!r} is no absolute path; write {there}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except Exception as error:
        download = "" if isinstance(error, HFValidationError) else f": download it first with `hf download {name}`"
        local = f". A folder of that name lies here: write {there}" if isdir(there) else ""
        raise ValueError(
            f"{name!r} is neither an absolute path nor a name in the local cache of the hub ({type(error).__name__}); nothing is "
            f"downloaded here{download}{local}"
        ) from error


def weights_in(folder: Path) -> list[Path]:
    """Files of weights, sorted by name."""
    return sorted(folder.glob("*.safetensors"))


def weights_of_network(folder: Path) -> list[Path]:
    """The files of one network: a single one, or those that an index names.

    Raises:
        ModelError: the index cannot be read, names what is no file beside it, or a file is missing.
    """
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    try:
        parts = set(json.loads((folder / _IN_PARTS).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / _IN_PARTS} cannot be read: {type(error).__name__}: {error}; copy it again.") from error
    for part in parts:
        if not isinstance(part, str) or Path(part).name != part or not part.endswith(".safetensors"):
            raise ModelError(f"{folder / _IN_PARTS} names {part!r}; expected names of *.safetensors that lie beside it.")
    missing = [part for part in sorted(parts) if not (folder / part).is_file()]
    if missing:
        raise ModelError(f"{', '.join(missing)}: named by {folder / _IN_PARTS}, but not there; copy the whole checkpoint.")
    return [folder / part for part in sorted(parts)]


def digest_of_folder(folder: Path) -> str:
    """sha256 over names and contents of all that is read from a folder: weights, configuration, tokenizer."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _READ and path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + b"\0" + _sha256(path) for path in files)).hexdigest()


def _sha256(path: Path) -> bytes:
    state = path.stat()
    return _digest(path.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> bytes:
    """Of a file as it was then: weights of gigabytes are read once in a process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def configuration_of(folder: Path) -> dict[str, Any]:
    """What config.json says.

    Raises:
        ModelError: there is none, it holds no JSON object, or it names other weights.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"no config.json lies in {folder}; expected what save_pretrained writes beside the weights.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}; expected what save_pretrained writes.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds a {type(found).__name__}; expected an object, as save_pretrained writes it.")
    if _ELSEWHERE in found:
        raise ModelError(f"{path} says {_ELSEWHERE}: {found[_ELSEWHERE]!r}; weights are read from {_WHOLE}. Take that key out.")
    return found


def tokenizer_of(folder: Path) -> PretrainedTokenizer:
    """The tokenizer of a checkpoint.

    Raises:
        ModelError: there is none that is read here, or it is another model's.
    """
    found = their_tokenizer(folder)
    if not getattr(found, "is_fast", False):
        raise ModelError(f"the tokenizer in {folder} is no fast one; save it as tokenizer.json.")
    wrong = _wrong_tokenizer(found, configuration_of(folder))
    if wrong:
        raise _of_another(folder, wrong)
    end = found.sep_token_id if found.eos_token_id is None else found.eos_token_id
    begin = found.cls_token_id if found.bos_token_id is None else found.bos_token_id
    between = end if found.sep_token_id is None else found.sep_token_id
    specials = (found.pad_token_id, end, begin, found.unk_token_id, between, found.mask_token_id)
    return PretrainedTokenizer(found.backend_tokenizer, specials)


def their_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder, as `transformers` gives it.

    Raises:
        ModelError: there is none that is read here, or it has ids for which the network has no rows.
    """
    reason = why_unreadable()
    if reason:
        raise ModelError(reason)
    configuration = configuration_of(folder)
    size = configuration.get("vocab_size")
    if type(size) is not int:
        given = f"vocab_size {size!r}" if "vocab_size" in configuration else "no vocab_size"
        raise ModelError(f"{folder / 'config.json'} says {given}; expected a whole number, the rows of the embedding.")
    if not any((folder / name).is_file() for name in _VOCABULARIES):  # an empty one would be made up
        raise ModelError(f"no tokenizer lies in {folder}; expected {', '.join(_VOCABULARIES[:-1])} or {_VOCABULARIES[-1]}.")
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(str(folder), **SAFE)
        highest = max(found.get_vocab().values(), default=-1)
    except Exception as error:
        raise ModelError(f"the tokenizer in {folder} cannot be read: {type(error).__name__}: {error}") from error
    if highest >= size:
        raise _of_another(folder, f"it has ids up to {highest}, the model an embedding of {size} rows")
    return found


def _of_another(folder: Path, wrong: str) -> ModelError:
    return ModelError(f"the tokenizer in {folder} is another model's: {wrong}.")


def _wrong_tokenizer(found: Any, configuration: Mapping[str, Any]) -> str | None:
    """What does not fit the configuration that lies beside a tokenizer."""
    entries, size = found.get_vocab(), int(configuration["vocab_size"])
    if size > len(entries) + _SPARE:
        return f"it has {len(entries)} entries, the model an embedding of {size} rows, of which at most {_SPARE} may be spare"
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        own, expected = getattr(found, name), configuration.get(name)
        if own is not None and expected is not None and own != expected:
            return f"its {name} is {own}, that of the model {expected}"
    return None


def longest_read(model: Any, tokenizer: Any) -> int:
    """Most tokens that a model reads at once, special ones included."""
    # RoBERTa counts positions from its padding id on
    first = (model.config.pad_token_id or 0) + 1 if "roberta" in str(model.config.model_type) else 0
    return min(int(tokenizer.model_max_length), int(model.config.max_position_embeddings) - first)


def batches(lengths: Sequence[int], size: int) -> Iterable[list[int]]:
    """Places of rows of like length together."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return (order[start : start + size] for start in range(0, len(order), size))
