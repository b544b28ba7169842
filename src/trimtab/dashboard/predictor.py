"""The worker that holds the model of one run: `python -m trimtab.dashboard.predictor RUN`.

It reads a JSON object a line from stdin and answers with one on stdout; what libraries print goes to stderr. It ends
when stdin does, so that it never outlives the server. Only this process loads torch.

Asked: `{"id", "inputs": [text | [text, text]], "explain": bool}`, or `{"id", "image": path, "explain": false}`.
Answered: `{"id", "predictions": […]}` or `{"id", "error": {"message", "remedy"}}`; first of all `{"ready": true,
"modality", "pairs", "labels"}` or `{"ready": false, "error"}`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from trimtab.core.errors import DataError, TrimtabError
from trimtab.dashboard.pieces import pieces_of, without

Text = str | tuple[str, str]
# Of a label, for each of some texts.
Probabilities = Callable[[list[Any], str], list[float]]


def explained(text: Text, label: str, probability: float, probabilities: Probabilities) -> list[dict[str, Any]]:
    """How much of the probability of `label` goes when each piece is left out, once.

    Args:
        text: a text or a pair of texts.
        label: what was predicted.
        probability: of `label`, for the whole text.
        probabilities: the probability of a label for each of some texts.

    Returns:
        For each piece its `text`, its `effect` (positive: it speaks for the label), `part` (0, or 1 for the second
        text of a pair) and `after`, what stands between it and the next. Nothing where a text is one piece, as nothing
        would be left of it.
    """
    parts = [text] if isinstance(text, str) else list(text)
    asked: list[Text] = []
    words: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        pieces = pieces_of(part)
        if len(pieces) < 2:
            continue
        ends = [*(piece.start for piece in pieces[1:]), len(part)]
        for piece, following in zip(pieces, ends, strict=True):
            shorter = without(part, piece)
            changed = [*parts[:number], shorter, *parts[number + 1 :]]
            asked.append(shorter if isinstance(text, str) else (changed[0], changed[1]))
            words.append({"text": part[piece.start : piece.end], "part": number, "after": part[piece.end : following]})
    for word, left in zip(words, probabilities(asked, label) if asked else [], strict=True):
        word["effect"] = probability - left
    return words


class Worker:
    """A loaded model that answers.

    Args:
        run: path of a run directory.

    Raises:
        TrimtabError: it has no model that can be loaded.
    """

    def __init__(self, run: str) -> None:
        # By name: the dashboard's room knows nothing of the others, and this process only uses the public API.
        self.run = importlib.import_module("trimtab").load(run)
        trained = self.run.trained
        self.is_image = trained.task.modality == "image"
        self.takes_pairs = not self.is_image and len(trained.columns.text) == 2

    @property
    def described(self) -> dict[str, Any]:
        """What the first line tells."""
        modality = "image" if self.is_image else "text"
        return {"ready": True, "modality": modality, "pairs": self.takes_pairs, "labels": list(self.run.labels)}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        try:
            return {"id": request.get("id"), "predictions": self._predictions(request)}
        except TrimtabError as error:
            return {"id": request.get("id"), "error": {"message": error.message, "remedy": error.remedy}}
        except Exception as error:  # noqa: BLE001 (a request must not end the worker; the server tells the error)
            summary = " ".join(f"{type(error).__name__}: {error}".split())
            words = {"message": f"The model could not predict this: {summary}", "remedy": "Try another input."}
            return {"id": request.get("id"), "error": words}

    def _predictions(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        image = request.get("image")
        if self.is_image:
            if image is None:
                # Never a text: it would be taken for the path of a file on this machine.
                raise DataError("This model takes images.", remedy="Choose an image file.")
            from pathlib import Path

            return [self._told(prediction) for prediction in self.run.predict([Path(image)])]
        if image is not None:
            raise DataError("This model takes texts.", remedy="Write a text.")
        inputs: list[Any] = [tuple(item) if isinstance(item, list) else item for item in request["inputs"]]
        told = [self._told(prediction) for prediction in self.run.predict(inputs)]
        if request.get("explain"):
            for text, prediction in zip(inputs, told, strict=True):
                label, probability = prediction["label"], prediction["probability"]
                prediction["words"] = explained(text, label, probability, self._probabilities)
        return told

    def _probabilities(self, texts: list[Any], label: str) -> list[float]:
        return [prediction.probabilities[label] for prediction in self.run.predict(texts)]

    @staticmethod
    def _told(prediction: Any) -> dict[str, Any]:
        return {
            "label": prediction.label,
            "probability": prediction.probability,
            "probabilities": prediction.probabilities,
            "words": [],
        }


def requests(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The requests of stdin, until it ends."""
    for line in lines:
        if line.strip():
            yield json.loads(line)


def main(arguments: Sequence[str]) -> int:
    """Load the model, then answer until stdin ends."""
    out = _own_stdout()
    try:
        worker = Worker(arguments[0])
    except TrimtabError as error:
        _say(out, {"ready": False, "error": {"message": error.message, "remedy": error.remedy}})
        return error.exit_code
    _say(out, worker.described)
    for request in requests(iter(sys.stdin.readline, "")):
        _say(out, worker.answer(request))
    return 0


def _own_stdout() -> TextIO:
    """The answers' stream; whatever else is printed goes to stderr from here on."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _say(out: TextIO, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
