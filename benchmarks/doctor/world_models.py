"""Pretrained models of the doctor's benchmark: each is made once, in the temporary folder.

Small ones of other shapes are cut from the starter: ELECTRA has BERT's layers and no pooler, DistilBERT has neither
types of tokens nor a pooler, RoBERTa other positions. So weights stay pretrained while depth, architecture, head and
names differ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from world_data import DATA, MADE, REPOSITORY


def model_of(name: str) -> str:
    """What `model.name` has to say for a model of `MODELS`; it is made when first asked for."""
    if name == "starter":
        return name
    folder = MADE / "models" / name
    if not (folder / "done").exists():
        # Several processes may make it at once: the first that is ready gives it its name.
        aside = folder.with_name(f"{name}-{os.getpid()}")
        MODELS[name](aside)
        (aside / "done").touch()
        try:
            aside.rename(folder)
        except OSError:
            if not (folder / "done").exists():
                raise
    return str(folder)


def _starter() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    from trimtab.models.sources import resolve_model

    location = resolve_model("starter").location
    return AutoModel.from_pretrained(location), AutoTokenizer.from_pretrained(location)


def _bert2(folder: Path) -> None:
    """The starter's first two blocks."""
    _first_blocks(folder, 2)


def _first_blocks(folder: Path, blocks: int) -> None:
    model, tokenizer = _starter()
    model.encoder.layer = model.encoder.layer[:blocks]
    model.config.num_hidden_layers = blocks
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _bert5(folder: Path) -> None:
    """The starter's first five blocks."""
    _first_blocks(folder, 5)


def _roberta3(folder: Path) -> None:
    """Every other block of the starter, from the second on, as a RoBERTa."""
    from transformers import RobertaConfig, RobertaModel

    model, tokenizer = _starter()
    config = model.config
    shape = {name: getattr(config, name) for name in ("vocab_size", "hidden_size", "num_attention_heads")}
    made = RobertaModel(
        RobertaConfig(
            **shape,
            num_hidden_layers=3,
            intermediate_size=config.intermediate_size,
            # RoBERTa counts positions from the one after the padding's number.
            max_position_embeddings=config.max_position_embeddings + config.pad_token_id + 1,
            type_vocab_size=config.type_vocab_size,
            pad_token_id=config.pad_token_id,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
        ),
        add_pooling_layer=False,
    )
    source, wanted = model.state_dict(), {}
    for name in made.state_dict():
        if name.startswith("encoder.layer."):
            _, _, number, rest = name.split(".", 3)
            wanted[name] = source[f"encoder.layer.{2 * int(number) + 1}.{rest}"]
        else:
            wanted[name] = source[name]
    positions = source["embeddings.position_embeddings.weight"]
    unused = positions.new_zeros(config.pad_token_id + 1, positions.shape[1])
    wanted["embeddings.position_embeddings.weight"] = torch.cat([unused, positions])
    made.load_state_dict(wanted)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _electra4(folder: Path) -> None:
    """The starter's first four blocks as an ELECTRA."""
    from transformers import ElectraConfig, ElectraModel

    model, tokenizer = _starter()
    config = model.config
    shape = {name: getattr(config, name) for name in ("vocab_size", "hidden_size", "num_attention_heads")}
    made = ElectraModel(
        ElectraConfig(
            **shape,
            embedding_size=config.hidden_size,
            num_hidden_layers=4,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.max_position_embeddings,
        )
    )
    missing = made.load_state_dict(model.state_dict(), strict=False).missing_keys
    if missing:
        raise ValueError(f"these weights would be random: {missing}")
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _distil3(folder: Path) -> None:
    """Every other block of the starter as a DistilBERT, the way in which DistilBERT itself began."""
    from transformers import DistilBertConfig, DistilBertModel

    model, tokenizer = _starter()
    config = model.config
    made = DistilBertModel(
        DistilBertConfig(
            vocab_size=config.vocab_size,
            dim=config.hidden_size,
            n_layers=3,
            n_heads=config.num_attention_heads,
            hidden_dim=config.intermediate_size,
            max_position_embeddings=config.max_position_embeddings,
        )
    )
    source = model.state_dict()
    # Every text is of the first type, whose vector goes into the positions.
    source["embeddings.position_embeddings.weight"] += source["embeddings.token_type_embeddings.weight"][0]
    names = {
        "attention.q_lin": "attention.self.query",
        "attention.k_lin": "attention.self.key",
        "attention.v_lin": "attention.self.value",
        "attention.out_lin": "attention.output.dense",
        "sa_layer_norm": "attention.output.LayerNorm",
        "ffn.lin1": "intermediate.dense",
        "ffn.lin2": "output.dense",
        "output_layer_norm": "output.LayerNorm",
    }
    wanted = {}
    for name in made.state_dict():
        origin = name
        if name.startswith("transformer.layer."):
            _, _, number, rest = name.split(".", 3)
            part, kind = rest.rsplit(".", 1)
            origin = f"encoder.layer.{2 * int(number)}.{names[part]}.{kind}"
        wanted[name] = source[origin]
    made.load_state_dict(wanted)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _mobilenet(weights: str, pixels: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        script = REPOSITORY / "scripts" / "convert_mobilenetv2.py"
        command = [sys.executable, str(script), str(DATA / "weights" / weights), str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        file = folder / "preprocessor_config.json"
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings |= {"size": {"shortest_edge": pixels}, "crop_size": {"height": pixels, "width": pixels}}
        file.write_text(json.dumps(settings), encoding="utf-8")

    return make


MODELS: dict[str, Callable[[Path], None]] = {
    "electra4": _electra4,
    "mobilenet_imagenet": _mobilenet("mobilenetv2_imagenet", 96),
    "bert2": _bert2,
    "bert5": _bert5,
    "roberta3": _roberta3,
    "distil3": _distil3,
    "mobilenet_insects": _mobilenet("mobilenetv2_insects", 96),
}
