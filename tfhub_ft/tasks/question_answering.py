"""Extractive question answering: the span of a passage that answers a question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from tfhub_ft.data.columns import Column, check_answers, text_column
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import Scores
from tfhub_ft.tasks.base import Array, Arrays, Prediction, Segments, Tensors, Thresholds
from tfhub_ft.tasks.windowed import WindowedTask, score_by_row, text_function
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.data.windows import WindowRows

CONTEXT_ALIASES = ("passage", "paragraph", "text", "document")
N_BEST = 5
MAX_ANSWER_TOKENS = 30
IMPOSSIBLE = -1e4


class Answer(TypedDict):
    """A true answer, as SQuAD has it: its text and its position in the context, in characters."""

    text: str
    answer_start: int


class BestSpans(TypedDict):
    """The best spans of a question and their logits, best first, and the logit of "no answer"."""

    texts: list[str]
    logits: Array
    null_logit: float


@dataclass(frozen=True)
class QuestionAnswering(WindowedTask):
    """Extractive question answering, as in SQuAD 1 and 2.

    Each row is a question, its context and its answers. The model returns two logits for each token: that an answer
    starts and that it ends there. In windows without the answer, the target is the first token, [CLS], whose logits
    become the score of "no answer". The threshold for "no answer" is chosen on validation rows.

    Args:
        fields: Text segments of a row.
        monitor: Validation score that selects the best epoch.
        name: Name of the task in exports.

    Example:
        QuestionAnswering(monitor="exact_match")

    Reference:
        [Devlin et al., 2019](https://arxiv.org/abs/1810.04805), sections 4.2 and 4.3
    """

    fields: tuple[str, ...] = ("question", "context")
    monitor: str = "f1"
    epoch_scores = ("f1", "exact_match")
    monitors = (
        *("exact_match", "f1", "answerable_exact_match", "answerable_f1"),
        *("best_span_exact_match", "best_span_f1", "unanswerable_accuracy"),
    )
    name: str = "spans"
    primary_metric = "f1"
    stratified = False
    grouped_by = "last input"
    decision_field = "answer"

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        texts = [
            text_column("question", ("query",), settings, "question_column", "first_column"),
            text_column("context", CONTEXT_ALIASES, settings, "context_column", "second_column"),
        ]
        if not labeled:
            return texts
        column, option = settings.answers_column, "--answers-column"
        return [*texts, Column("answers", ("answer",), check_answers, column, option, check_row=_check_positions)]

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        return ("answer" if row.values["answers"] else "no answer",)

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]:
        if not any(row.values["answers"] for row in rows):
            raise InputError(f"{source}: all questions are without answers; at least one answer is needed")
        return ["start", "end"]

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> list[list[Answer]]:
        return [row.values["answers"] for row in rows]

    def words_of(
        self, preprocessor: Any, inputs: Sequence[Segments]
    ) -> "tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor, tf.Tensor]":
        import tensorflow as tf

        questions, contexts = zip(*inputs, strict=True)
        return *preprocessor.split_words(tf.constant(contexts)), tf.constant(questions)

    def token_targets(self, tokens: "WindowRows", targets: Sequence[list[Answer]]) -> Array:
        """Return the first and the last token of the first answer in each window, int32 (windows, 2), or 0 and 0.

        An answer that starts or ends within a word is extended to the whole word.
        """
        import numpy as np

        positions = np.zeros((len(tokens), 2), "int32")
        words = [_answer_words(tokens, row, answers) for row, answers in enumerate(targets)]
        neighbors = [-1, *tokens.row, -1]
        for window, row in enumerate(tokens.row):
            word, answer_words = tokens.word[tokens.starts[window] : tokens.starts[window + 1]], words[row]
            inside = np.flatnonzero(word >= 0)
            if answer_words is None or not len(inside):
                continue
            # The word at an edge to another window of the row may be incomplete.
            begin = inside[0] + (neighbors[window] == row)
            end = inside[-1] - (neighbors[window + 2] == row)
            first, last = (np.flatnonzero(word == each) for each in answer_words)
            if len(first) and len(last) and first[0] >= begin and last[-1] <= end:
                positions[window] = first[0], last[-1]
        return positions

    def make_score_fn(
        self, model: "keras.Model", precision: str = "float32"
    ) -> "Callable[[WindowRows], list[BestSpans]]":
        import tensorflow as tf

        graph = text_function(self, model, (), {})

        def score_batch(rows: list[Segments]) -> list[BestSpans]:
            segments = zip(self.fields, zip(*rows, strict=True), strict=True)
            outputs = graph(**{field: tf.constant(texts) for field, texts in segments})
            texts, logits, null_logits = (outputs[name].numpy() for name in ("text", "logits", "null_logit"))
            return [
                {
                    "texts": [text.decode() for text in texts[i]],
                    "logits": logits[i],
                    "null_logit": float(null_logits[i]),
                }
                for i in range(len(rows))
            ]

        return score_by_row(score_batch, model, precision)

    def fit_thresholds(
        self, logits: Sequence[BestSpans], targets: Sequence[list[Answer]], labels: Sequence[str], settings: Any
    ) -> Thresholds:
        from tfhub_ft.metrics.span_scores import threshold_for_no_answer

        if all(targets):
            return {}
        return threshold_for_no_answer(*best_spans(logits), true_texts(targets))

    def metrics(
        self,
        logits: Sequence[BestSpans],
        targets: Sequence[list[Answer]],
        labels: Sequence[str],
        thresholds: Thresholds,
        *,
        intervals: bool = False,
    ) -> Scores:
        from tfhub_ft.metrics.intervals import mean_intervals
        from tfhub_ft.metrics.span_scores import span_metrics, span_values

        predictions = (predicted_answers(logits, thresholds), true_texts(targets), best_spans(logits)[0])
        scores = span_metrics(*predictions)
        if intervals:
            scores["intervals"] = mean_intervals(span_values(*predictions))
        return scores

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return `logits` of each token as start and end of an answer, float32 (batch, length, 2)."""
        return {"logits": logits}

    def serving_fn(
        self, model: "keras.Model", segments: "Sequence[tf.Tensor]", labels: Sequence[str], thresholds: Thresholds
    ) -> Tensors:
        """Return the best spans of each question, best first, (batch, 5), padded with "" and 0.

        These are `logits`, sums of start and end, `text`, string, `start` and `end`, int32, positions in the context in
        characters, and `score`, probabilities among these spans and "no answer", whose probability is
        `no_answer_score`, (batch,), and whose logit is `null_logit`. `answer` is the predicted answer, "" for none.
        """
        import tensorflow as tf

        question, context = segments
        preprocessor = model.get_layer("preprocessor")
        words, starts, ends = preprocessor.split_words(context)
        windows = preprocessor.windows(words, question)
        token_logits = self.window_logits(model, windows)
        spans = _best_in_windows(token_logits, windows["word"], windows["starts_word"])
        scores, first, last = _best_in_rows(windows["row"], words.nrows(), *spans)
        null = tf.math.segment_min(tf.reduce_sum(token_logits[:, 0], -1), windows["row"])
        is_span = scores > IMPOSSIBLE / 2
        start, end = (_word_positions(starts, first, is_span), _word_positions(ends, last, is_span))
        text = tf.strings.substr(tf.repeat(context[:, None], tf.shape(start)[1], 1), start, end - start, "UTF8_CHAR")
        probabilities = tf.nn.softmax(tf.concat([scores, null[:, None]], 1))
        is_unanswered = null - scores[:, 0] > thresholds.get("no_answer_threshold", float("inf"))
        return {
            "logits": scores,
            "text": text,
            "start": start,
            "end": end,
            "score": tf.where(is_span, probabilities[:, :-1], 0.0),
            "no_answer_score": probabilities[:, -1],
            "null_logit": null,
            "answer": tf.where(is_unanswered, "", text[:, 0]),
        }

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"answer", "score", "start", "end", "answers": [{"text", "score", "start", "end"}, ...]}.

        Without an answer, "answer" is "", start and end are None, and the score is the probability of "no answer".
        """
        return [_decode_row({name: output[i] for name, output in outputs.items()}) for i in range(len(rows))]


def _decode_row(outputs: dict[str, Array]) -> Prediction:
    columns = zip(*(outputs[name].tolist() for name in ("text", "score", "start", "end")), strict=True)
    spans = [
        {"text": text.decode(), "score": score, "start": start, "end": end}
        for text, score, start, end in columns
        if text
    ]
    if not outputs["answer"]:
        score = float(outputs["no_answer_score"])
        return {"answer": "", "score": score, "start": None, "end": None, "answers": spans}
    best = {name: spans[0][name] for name in ("score", "start", "end")}
    return {"answer": spans[0]["text"], **best, "answers": spans}


def _check_positions(values: dict[str, Any]) -> None:
    context = values["context"]
    for answer in values["answers"]:
        text, start = answer["text"], answer["answer_start"]
        if start < 0 or context[start : start + len(text)] != text:
            position = context.find(text)
            fault = f"it is at {position}" if position >= 0 else "not found"
            raise ValueError(f"the answer {text[:60]!r} is not at {start} in its context: {fault}")


def true_texts(targets: Sequence[Sequence[Answer]]) -> list[list[str]]:
    """Return the texts of the true answers of each row."""
    return [[answer["text"] for answer in answers] for answers in targets]


def best_spans(logits: Sequence[BestSpans]) -> tuple[list[str], list[float]]:
    """Return the best span of each row, and the logit of "no answer" minus that of the span."""
    return [row["texts"][0] for row in logits], [row["null_logit"] - float(row["logits"][0]) for row in logits]


def predicted_answers(logits: Sequence[BestSpans], thresholds: Thresholds) -> list[str]:
    """Return the answer to each question, "" for none."""
    threshold = thresholds.get("no_answer_threshold", float("inf"))
    return ["" if margin > threshold else text for text, margin in zip(*best_spans(logits), strict=True)]


def _answer_words(tokens: "WindowRows", row: int, answers: Sequence[Answer]) -> tuple[int, int] | None:
    """Return the first and the last word of a row's first answer."""
    import numpy as np

    if not answers:
        return None
    begin = answers[0]["answer_start"]
    starts, ends = tokens.words_of(row)
    inside = np.flatnonzero((ends > begin) & (starts < begin + len(answers[0]["text"])))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def _best_in_windows(
    logits: "tf.Tensor", word: "tf.Tensor", starts_word: "tf.Tensor"
) -> "tuple[tf.Tensor, tf.Tensor, tf.Tensor]":
    """Return the scores, first and last words of the best spans of each window, (windows, 5)."""
    import tensorflow as tf

    length = tf.shape(word)[1]
    starts = tf.where(starts_word, logits[:, :, 0], IMPOSSIBLE)
    ends = tf.where(word >= 0, logits[:, :, 1], IMPOSSIBLE)
    tokens = tf.range(length)
    distance = tokens[None, :] - tokens[:, None]
    pairs = starts[:, :, None] + ends[:, None, :]
    pairs = tf.where((distance >= 0) & (distance < MAX_ANSWER_TOKENS), pairs, IMPOSSIBLE)
    scores, indices = tf.math.top_k(tf.reshape(pairs, [-1, length * length]), N_BEST)
    first, last = (tf.gather(word, each, batch_dims=1) for each in (indices // length, indices % length))
    return scores, first, last


def _best_in_rows(
    window_rows: "tf.Tensor", rows: "tf.Tensor", scores: "tf.Tensor", first: "tf.Tensor", last: "tf.Tensor"
) -> "tuple[tf.Tensor, tf.Tensor, tf.Tensor]":
    """Return the best spans of each row, (rows, 5), from those of its windows."""
    import tensorflow as tf

    window_rows = tf.cast(window_rows, tf.int64)

    def by_row(values: "tf.Tensor", filler: float) -> "tf.Tensor":
        ragged = tf.RaggedTensor.from_value_rowids(values, window_rows, rows)  # pyright: ignore[reportAttributeAccessIssue]
        return ragged.merge_dims(1, 2).to_tensor(tf.constant(filler, values.dtype))

    best, indices = tf.math.top_k(by_row(scores, IMPOSSIBLE), N_BEST)
    first, last = (tf.gather(by_row(words, -1), indices, batch_dims=1) for words in (first, last))
    return best, first, last


def _word_positions(positions: "tf.RaggedTensor", word: "tf.Tensor", is_span: "tf.Tensor") -> "tf.Tensor":
    """Return the positions of words in their texts, int32 like `word`; 0 for padding."""
    import tensorflow as tf

    padded = tf.pad(positions.to_tensor(), [[0, 0], [0, 1]])
    return tf.where(is_span, tf.gather(padded, tf.maximum(word, 0), batch_dims=1), 0)
