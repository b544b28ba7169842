"""`Recipe`, the one description of a whole run.

Every CLI flag, YAML key and row of the reference table comes from the fields here; a field's description is the only
help text there is. `AUTO` marks what Trimtab works out from the data and the model; the resolved recipe of a run holds
the value it chose.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from trimtab.config.alerts import AlertsSection
from trimtab.config.augmentation import AugmentationSection
from trimtab.config.cache import CacheSection
from trimtab.config.forgetting import ForgettingSection
from trimtab.config.monitor import MonitorSection
from trimtab.config.optimization import OptimizerSection, ScheduleSection, refuse_decay_of_schedule_free
from trimtab.config.plugins import PluginSection, plugin_field
from trimtab.config.regularization import RegularizationSection
from trimtab.config.retention import RetentionSection
from trimtab.config.section import AUTO, Auto, Section, flag
from trimtab.config.tracking import TrackingSection
from trimtab.config.weights import WeightsSection


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


ColumnNames = Annotated[list[str], BeforeValidator(_as_list)]


class DataSection(Section):
    """What to learn from."""

    path: str | None = Field(
        None,
        description="Data: a CSV, TSV, JSON Lines or Parquet file, a folder with train/validation/test files, a folder "
        "of image classes, a saved `datasets` directory, or a Hub data-set id.",
    )
    text: ColumnNames | None = Field(
        None,
        description="Column that holds the text; name two for pairs of texts. Inferred when absent.",
        json_schema_extra=flag("--text"),
    )
    label: str | None = Field(
        None, description="Column that holds the label. Inferred when absent.", json_schema_extra=flag("--label")
    )
    group: str | None = Field(
        None,
        description="Column whose equal values must stay in one split (customer, document, patient).",
        json_schema_extra=flag("--group"),
    )
    validation: str | None = Field(
        None,
        description="File with the validation rows; held out of the training rows when absent.",
        json_schema_extra=flag("--validation"),
    )
    test: str | None = Field(
        None,
        description="File with the test rows; held out of the training rows when absent.",
        json_schema_extra=flag("--test"),
    )
    validation_fraction: float = Field(
        0.15, gt=0, lt=0.9, description="Share of the rows held out for validation where no validation split is given."
    )
    test_fraction: float = Field(
        0.15,
        ge=0,
        lt=0.9,
        description="Share of the rows held out for the final test where no test split is given; 0 holds out none, and "
        "the validation split is reported instead.",
    )
    max_holdout_rows: int = Field(
        10_000, ge=1, description="Most rows that each held-out split takes, whatever its fraction."
    )
    max_rows: int | None = Field(
        None,
        ge=1,
        description="Most training rows to use, drawn at random by class; all when absent.",
        json_schema_extra=flag("--max-rows"),
    )
    config_name: str | None = Field(None, description="Configuration of a Hub data set, for example `sst2` of `glue`.")
    encoding: str | None = Field(
        None, description="Character encoding of text files; detected when absent (UTF-8, UTF-16, GB18030, …)."
    )
    delimiter: str | None = Field(None, description="Column separator of delimited files; detected when absent.")
    max_dropped_share: float = Field(
        0.2, ge=0, le=1, description="Share of rows with an empty text or label from which the data are refused."
    )
    warn_unknown_tokens: float = Field(
        0.02, ge=0, le=1, description="Share of tokens unknown to the model from which the data report warns."
    )
    max_unknown_tokens: float = Field(
        0.25, ge=0, le=1, description="Share of tokens unknown to the model from which training is refused."
    )
    force: bool = Field(
        False,
        description="Train although the data are refused (too many unknown tokens, too many rows dropped).",
        json_schema_extra=flag("--force"),
    )

    @field_validator("text")
    @classmethod
    def _at_most_two_texts(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and not 1 <= len(value) <= 2:
            raise ValueError(f"names {len(value)} columns; one text column, or two for pairs, can be used")
        return value


class ModelSection(Section):
    """The pretrained model to start from."""

    name: str = Field(
        "starter",
        description="Pretrained model: `starter`, a local directory, or a Hub id.",
        json_schema_extra=flag("--model"),
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a Hub model.")
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the model. Only for sources you trust."
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = Field(
        AUTO,
        description="Implementation of attention: `sdpa` is torch's fused one, `eager` plain matrix products, "
        "`flash_attention_2` (package flash-attn) and `flex_attention` need CUDA; `auto` takes the fastest by "
        "measurement where the run is long, else `sdpa` if the model has it.",
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout probability of every dropout layer; the model's own when absent."
    )
    extend_vocabulary: bool = Field(
        False,
        description="Give the tokenizer the frequent characters and words of the training texts that it cannot write, "
        "and train their embeddings.",
        json_schema_extra=flag("--extend-vocabulary"),
    )
    vocabulary_size: int = Field(
        4000, ge=1, description="Most tokens that `extend_vocabulary` adds, the most frequent first."
    )
    vocabulary_min_count: int = Field(
        2, ge=1, description="Times that a token must occur in the training texts to be added."
    )
    vocabulary_vectors: str | None = Field(
        None,
        description="Word or character vectors that new tokens start from: a folder with one safetensors matrix and "
        "`vocab.json` (token -> row), or a text file with a token and its numbers a line (word2vec, fastText, GloVe).",
    )
    vocabulary_learning_rate: float | None = Field(
        None,
        gt=0,
        description="Peak learning rate of the new tokens' embeddings; 20 × `optimizer.learning_rate` when absent.",
    )

    @model_validator(mode="after")
    def _vocabulary_options_need_the_extension(self) -> ModelSection:
        given = [
            name
            for name, field in type(self).model_fields.items()
            if name.startswith("vocabulary_") and getattr(self, name) != field.default
        ]
        if given and not self.extend_vocabulary:
            raise ValueError(f"{', '.join(given)} would do nothing: model.extend_vocabulary is false; set it to true")
        return self


class TrainingSection(Section):
    """The training loop."""

    num_epochs: Annotated[int, Field(ge=1)] | Auto = Field(
        AUTO,
        description="Passes over the training rows; `auto` takes 3 on large data and up to 20 on small.",
        json_schema_extra=flag("--epochs"),
    )
    max_steps: int | None = Field(
        None, ge=1, description="Optimizer steps after which training ends, whatever `num_epochs` says."
    )
    batch_size: int = Field(
        32, ge=1, description="Rows of one batch, over all processes.", json_schema_extra=flag("--batch-size")
    )
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        description="Batches whose gradients make one optimizer step; it then spans this many × `batch_size` rows.",
    )
    max_tokens_per_batch: Annotated[int, Field(ge=1)] | Auto = Field(
        AUTO,
        description="Token budget: most tokens, padding included, that pass through the model at once. A batch over it "
        "is cut in pieces, without changing the step. For images, pixels in patches of 16 × 16.",
    )
    max_grad_norm: float | None = Field(
        1.0, gt=0, description="Largest norm of the whole gradient, larger ones are scaled down; null clips nothing."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        AUTO,
        description="Arithmetic: `bf16` autocast or `fp32`; `auto` takes bf16 where the hardware computes it natively, "
        "and in a long run measures first whether it is faster and keeps loss and gradients. `predict` and `evaluate` "
        "take bf16 for 256 rows or more where a sample gets the labels of fp32.",
        json_schema_extra=flag("--precision"),
    )
    device: str = Field(
        AUTO, description="Device: `auto`, `cpu`, `cuda` (or `cuda:1`), `mps`.", json_schema_extra=flag("--device")
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    compile: bool | Auto = Field(
        AUTO,
        description="Compile the model with `torch.compile`, which takes a while at the start; `auto` does so on CUDA "
        "where the run is long enough to repay it.",
    )
    sharding: Literal["none", "fsdp"] = Field(
        "none",
        description="What several processes hold: `none`, each a whole copy of weights and optimizer (DDP); `fsdp`, "
        "each a share of weights, gradients and optimizer states, gathered block by block for each step (FSDP2).",
    )
    max_nonfinite_steps: int = Field(
        3, ge=1, description="Steps in a row with a NaN or infinite loss or gradient after which the run stops."
    )

    @field_validator("device")
    @classmethod
    def _device_has_a_known_kind(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            raise ValueError(f"found {value!r}; allowed: auto, cpu, cuda, cuda:NUMBER, mps")
        return value


class CheckpointSection(Section):
    """What is kept of the run while it goes on."""

    every_steps: int | None = Field(
        None, ge=1, description="Steps between checkpoints; when absent, one at each evaluation."
    )
    keep_last: int = Field(2, ge=1, description="Number of newest checkpoints kept; the best is kept besides.")


class EvaluationSection(Section):
    """How the model is judged."""

    metric: str | Auto = Field(
        AUTO,
        description="Metric that chooses the best checkpoint and stands in the verdict; the task's own when `auto`.",
        json_schema_extra=flag("--metric"),
    )
    target: str | None = Field(
        None,
        description="Goal such as `macro_f1=0.9`: reached when the lower end of the interval is at or above it; exit "
        "code 3 when not.",
        json_schema_extra=flag("--target"),
    )
    every_steps: int | None = Field(
        None, ge=1, description="Steps between evaluations on the validation split; at each epoch's end when absent."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of the intervals.")
    bootstrap_samples: int = Field(2000, ge=100, description="Resamples behind each interval.")
    baselines: bool = Field(
        True, description="Compare with trivial baselines (majority class; TF-IDF with logistic regression)."
    )

    @field_validator("target")
    @classmethod
    def _target_is_metric_and_number(cls, value: str | None) -> str | None:
        if value is None:
            return None
        name, _, number = value.partition("=")
        try:
            valid = bool(name.strip()) and math.isfinite(float(number))
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"found {value!r}; allowed: metric=number, for example macro_f1=0.9")
        return value


class Recipe(Section):
    """A whole run: what to learn from, which model, how to train it, how to judge it."""

    seed: int = Field(0, ge=0, description="Seed of every random stream.", json_schema_extra=flag("--seed"))
    output: str | None = Field(
        None,
        description="Run directory to make; `runs/<data>-<model>-<n>` when absent.",
        json_schema_extra=flag("--output"),
    )
    data: DataSection = Field(default_factory=DataSection, description="What to learn from.")
    model: ModelSection = Field(default_factory=ModelSection, description="The pretrained model to start from.")
    task: PluginSection = plugin_field(
        "task", AUTO, "What to learn; `auto` infers it from the data.", flag("--task"), placeholder=AUTO
    )
    strategy: PluginSection = plugin_field(
        "strategy", "full", "Which parameters are trained, and how.", flag("--strategy")
    )
    optimizer: OptimizerSection = Field(default_factory=OptimizerSection, description="How weights are updated.")
    schedule: ScheduleSection = Field(
        default_factory=ScheduleSection, description="How the learning rate moves over the run."
    )
    training: TrainingSection = Field(default_factory=TrainingSection, description="The training loop.")
    regularization: RegularizationSection = Field(
        default_factory=RegularizationSection,
        description="What keeps the model from fitting its training rows too closely.",
    )
    forgetting: ForgettingSection = Field(
        default_factory=ForgettingSection, description="What keeps the model from forgetting what it knew."
    )
    retention: RetentionSection = Field(
        default_factory=RetentionSection, description="How it is measured what the model gained and what it forgot."
    )
    augmentation: AugmentationSection = Field(
        default_factory=AugmentationSection,
        description="Changed copies of training rows, made anew in each epoch; never seen by validation or test.",
    )
    weights: WeightsSection = Field(
        default_factory=WeightsSection, description="Which weights are delivered at the end."
    )
    monitor: MonitorSection = Field(
        default_factory=MonitorSection,
        description="What is recorded for the diagnosis, and what is done about findings.",
    )
    alerts: AlertsSection = Field(
        default_factory=AlertsSection, description="Who is told when the doctor finds something, or the run ends."
    )
    tracking: TrackingSection = Field(
        default_factory=TrackingSection,
        description="Which other programs the figures of the run are written for, beside its own record.",
    )
    cache: CacheSection = Field(default_factory=CacheSection, description="What is kept on disk for later runs.")
    checkpoint: CheckpointSection = Field(
        default_factory=CheckpointSection, description="What is kept of the run while it goes on."
    )
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection, description="How the model is judged.")

    @model_validator(mode="after")
    def _optimizer_and_schedule_go_together(self) -> Recipe:
        refuse_decay_of_schedule_free(self.optimizer, self.schedule)
        return self
