"""The directory of a model on this machine: its own for a local one, the download cache for one from the Hub."""

from __future__ import annotations

from pathlib import Path

from trimtab.core.errors import ModelError
from trimtab.models.sources import ModelSource

# Only the files of the root: repositories often carry the same weights again for other runtimes in folders.
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
_WEIGHTS = ["model.safetensors", "model-*.safetensors"]
_PICKLED_WEIGHTS = ["pytorch_model.bin", "pytorch_model-*.bin"]


def local_directory(source: ModelSource, *, weights: bool = True, trust_remote_code: bool = False) -> Path:
    """The directory with the model's files, downloaded first if it is on the Hub.

    Args:
        source: where the model comes from.
        weights: False fetches only the configuration and the files of the tokenizer or image processor.
        trust_remote_code: fetch the model's Python files too.

    Raises:
        ModelError: the model is not on the Hub, is gated, or cannot be reached and is not in the download cache.
    """
    if source.kind != "hub":
        return Path(source.location)
    patterns = [*_SMALL_FILES, *(["*.py"] if trust_remote_code else [])]
    directory = _download(source, patterns)
    if weights:
        directory = _download(source, [*patterns, *_WEIGHTS])
        if not any(directory.glob("model*.safetensors")):
            directory = _download(source, [*patterns, *_PICKLED_WEIGHTS])
    return directory


def _download(source: ModelSource, patterns: list[str]) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        directory = huggingface_hub.snapshot_download(
            source.location, revision=source.revision, allow_patterns=patterns, ignore_patterns=["*/*"]
        )
    except errors.GatedRepoError as error:
        raise ModelError(
            f"The Hub model {source.location!r} is gated: its owners ask for consent to their terms first.",
            remedy=f"Accept them on the page of {source.location} on the Hub, then sign in with 'hf auth login'.",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"No directory and no public Hub model is called {source.location!r}.",
            remedy="Check the spelling; for a private model sign in with 'hf auth login'.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"The Hub model {source.location!r} has no revision {source.revision!r}.",
            remedy="Correct model.revision in the recipe, or remove it to use the default branch.",
        ) from error
    except (errors.HFValidationError, errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"The Hub model {source.location!r} is not in the download cache, and the Hub cannot be reached "
            f"({type(error).__name__}). No local directory has that name either.",
            remedy="Check the network (and that HF_HUB_OFFLINE is not set), or give --model a local directory or "
            "`starter`.",
        ) from error
    return Path(directory)
