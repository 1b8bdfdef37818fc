"""A span of a passage that answers a question, or none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_answers, check_text
from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.windowed import WindowedTask, text_function
from tfhub_ft.utils.console import with_bar
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.windows import WindowRows
    from tfhub_ft.settings import Settings

CONTEXT_ALIASES = ("passage", "paragraph", "text", "document")
N_BEST = 5
ANSWER_TOKENS = 30
IMPOSSIBLE = -1e4


@dataclass(frozen=True)
class QuestionAnswering(WindowedTask):
    """Each row is a question, its passage and its answers, as in SQuAD 1 and 2.

    The model gives two logits a token: that an answer starts, and that it ends there. A window without the answer is
    taught to point at its first token, [CLS], which so becomes the score of "no answer".

    Reference:
        Devlin et al. 2019, sections 4.2 and 4.3, https://arxiv.org/abs/1810.04805
    """

    fields: tuple[str, ...] = ("question", "context")
    monitor: str = "f1"
    epoch_scores = ("f1", "exact_match")
    name: str = "spans"
    primary_metric = "f1"
    stratified = False
    grouped_by = "last input"
    decision_field = "answer"

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        first = getattr(settings, "question_column", None) or getattr(settings, "first_column", None)
        second = getattr(settings, "context_column", None) or getattr(settings, "second_column", None)
        texts = [
            Column("question", ("query",), check_text, first, "--question-column"),
            Column("context", CONTEXT_ALIASES, check_text, second, "--context-column"),
        ]
        if not labeled:
            return texts
        column, option = settings.answers_column, "--answers-column"
        return [*texts, Column("answers", ("answer",), check_answers, column, option, check_row=_check_places)]

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        return ("answer" if row.values["answers"] else "no answer",)

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """What the two logits of a token say: start, end."""
        if not any(row.values["answers"] for row in rows):
            raise InputError(f"{source}: no question has an answer; there is nothing to learn from")
        return ["start", "end"]

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> list[list[dict[str, Any]]]:
        """The answers of each row, {"text", "answer_start"}; none where there is no answer."""
        return [row.values["answers"] for row in rows]

    def words_of(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> tuple[Any, Any, Any, Any]:
        import tensorflow as tf

        questions, contexts = zip(*inputs, strict=True)
        return *preprocessor.split_words(tf.constant(contexts)), tf.constant(questions)

    def token_targets(self, tokens: "WindowRows", targets: Sequence[list[dict[str, Any]]]) -> "np.ndarray":
        """The first and the last token of the first answer in each window, int32 (windows, 2); 0, 0 where it is not.

        An answer that starts or ends within a word takes in the whole word.
        """
        import numpy as np

        places = np.zeros((len(tokens), 2), "int32")
        words = [_answer_words(tokens, row, answers) for row, answers in enumerate(targets)]
        neighbours = [-1, *tokens.row, -1]
        for window, row in enumerate(tokens.row):
            word = tokens.word[tokens.starts[window] : tokens.starts[window + 1]]
            inside = np.flatnonzero(word >= 0)
            if words[row] is None or not len(inside):
                continue
            # The word at an edge to another window of the row may not be whole.
            begin = inside[0] + (neighbours[window] == row)
            end = inside[-1] - (neighbours[window + 2] == row)
            first, last = (np.flatnonzero(word == each) for each in words[row])
            if len(first) and len(last) and first[0] >= begin and last[-1] <= end:
                places[window] = first[0], last[-1]
        return places

    def make_score_fn(
        self, model: "keras.Model", precision: str = "float32"
    ) -> "Callable[[WindowRows], list[dict[str, Any]]]":
        """Return a function from windows to {"texts": best spans, "logits": their scores, "null_logit"} of each row."""
        import tensorflow as tf

        from tfhub_ft.data.batches import batches_by_size
        from tfhub_ft.models.forward import computed_in

        graph = text_function(self, model, (), {})

        def score(tokens: "WindowRows") -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = [{}] * len(tokens.inputs)
            for batch in with_bar(batches_by_size(tokens.inputs), "Scoring", len(tokens.inputs)):
                columns = zip(self.fields, zip(*(tokens.inputs[i] for i in batch), strict=True), strict=True)
                outputs = {k: v.numpy() for k, v in graph(**{name: tf.constant(c) for name, c in columns}).items()}
                for place, i in enumerate(batch):
                    found[i] = {
                        "texts": [text.decode() for text in outputs["text"][place]],
                        "logits": outputs["logits"][place],
                        "null_logit": float(outputs["null_logit"][place]),
                    }
            return found

        return computed_in(precision, model, score)

    def fit_thresholds(
        self,
        logits: Sequence[dict[str, Any]],
        targets: Sequence[list[dict[str, Any]]],
        labels: Sequence[str],
        settings: "Settings",
    ) -> dict[str, Any]:
        """How far "no answer" must lie above the best span; nothing where every validation question has an answer."""
        from tfhub_ft.metrics.span_scores import threshold_for_no_answer

        if all(targets):
            return {}
        return threshold_for_no_answer(*best_spans(logits), true_texts(targets))

    def metrics(
        self,
        logits: Sequence[dict[str, Any]],
        targets: Sequence[list[dict[str, Any]]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.intervals import mean_intervals
        from tfhub_ft.metrics.span_scores import span_metrics, span_values

        predictions = (answers_of(logits, thresholds), true_texts(targets), best_spans(logits)[0])
        scores = span_metrics(*predictions)
        if intervals:
            scores["intervals"] = mean_intervals(span_values(*predictions))
        return scores

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """`logits`: of each token that an answer starts and ends there, float32 (batch, length, 2)."""
        return {"logits": logits}

    def serving_fn(
        self, model: "keras.Model", segments: Sequence[Any], labels: Sequence[str], thresholds: dict[str, Any]
    ) -> dict[str, Any]:
        """The best spans, best first, (batch, 5), "" and 0 where there are fewer; and whether one of them answers.

        `logits`: the sums of start and end; `text`: string; `start`, `end`: int32, where it stands in the context, in
        characters; `score`: probability among these spans and "no answer", whose own is `no_answer_score`, (batch,),
        and whose logit is `null_logit`; `answer`: string (batch,), "" where there is none.
        """
        import tensorflow as tf

        question, context = segments
        preprocessor = model.get_layer("preprocessor")
        words, starts, ends = preprocessor.split_words(context)
        windows = preprocessor.windows(words, question)
        token_logits = self.window_logits(model, windows)
        scores, first, last = _best_in_windows(token_logits, windows["word"], windows["starts_word"])
        scores, first, last = _best_in_rows(windows["row"], words.nrows(), scores, first, last)
        null = tf.math.segment_min(tf.reduce_sum(token_logits[:, 0], -1), windows["row"])
        there = scores > IMPOSSIBLE / 2
        start, end = (_place(places, word, there) for places, word in ((starts, first), (ends, last)))
        text = tf.strings.substr(tf.repeat(context[:, None], tf.shape(start)[1], 1), start, end - start, "UTF8_CHAR")
        shares = tf.nn.softmax(tf.concat([scores, null[:, None]], 1))
        says_none = null - scores[:, 0] > thresholds.get("no_answer_threshold", float("inf"))
        return {
            "logits": scores,
            "text": text,
            "start": start,
            "end": end,
            "score": tf.where(there, shares[:, :-1], 0.0),
            "no_answer_score": shares[:, -1],
            "null_logit": null,
            "answer": tf.where(says_none, "", text[:, 0]),
        }

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"answer", "score", "start", "end", "answers": [{"text", "score", "start", "end"}, ...]} for each question.

        Without an answer "answer" is "", start and end are None and the score is that of "no answer".
        """
        return [_worded({name: output[number] for name, output in outputs.items()}) for number in range(len(rows))]


def _worded(outputs: dict[str, Any]) -> dict[str, Any]:
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


def _check_places(values: dict[str, Any]) -> None:
    context = values["context"]
    for answer in values["answers"]:
        text, start = answer["text"], answer["answer_start"]
        if start < 0 or context[start : start + len(text)] != text:
            place = context.find(text)
            found = f"it is at {place}" if place >= 0 else "it is not in it"
            raise ValueError(f"the answer {text[:60]!r} is not at {start} in its context: {found}")


def true_texts(targets: Sequence[Sequence[dict[str, Any]]]) -> list[list[str]]:
    """Return the texts of the true answers of each row."""
    return [[answer["text"] for answer in answers] for answers in targets]


def best_spans(logits: Sequence[dict[str, Any]]) -> tuple[list[str], list[float]]:
    """Return the best span of each row, and how far the logit of "no answer" is above it."""
    return [row["texts"][0] for row in logits], [row["null_logit"] - float(row["logits"][0]) for row in logits]


def answers_of(logits: Sequence[dict[str, Any]], thresholds: dict[str, Any]) -> list[str]:
    """Return the answer to each question, "" for none."""
    threshold = thresholds.get("no_answer_threshold", float("inf"))
    return ["" if above > threshold else text for text, above in zip(*best_spans(logits), strict=True)]


def _answer_words(tokens: "WindowRows", row: int, answers: Sequence[dict[str, Any]]) -> tuple[int, int] | None:
    """The first and the last word of a row's first answer."""
    import numpy as np

    if not answers:
        return None
    begin = answers[0]["answer_start"]
    starts, ends = tokens.words_of(row)
    inside = np.flatnonzero((ends > begin) & (starts < begin + len(answers[0]["text"])))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def _best_in_windows(logits: Any, word: Any, starts_word: Any) -> tuple[Any, Any, Any]:
    """Scores, first and last words of the best spans of each window, each (windows, 5)."""
    import tensorflow as tf

    length = tf.shape(word)[1]
    starts = tf.where(starts_word, logits[..., 0], IMPOSSIBLE)
    ends = tf.where(word >= 0, logits[..., 1], IMPOSSIBLE)
    tokens = tf.range(length)
    apart = tokens[None, :] - tokens[:, None]
    pairs = starts[:, :, None] + ends[:, None, :]
    pairs = tf.where((apart >= 0) & (apart < ANSWER_TOKENS), pairs, IMPOSSIBLE)
    scores, places = tf.math.top_k(tf.reshape(pairs, [-1, length * length]), N_BEST)
    return scores, *(tf.gather(word, place, batch_dims=1) for place in (places // length, places % length))


def _best_in_rows(row: Any, rows: Any, scores: Any, first: Any, last: Any) -> tuple[Any, Any, Any]:
    """The same of each row, out of its windows."""
    import tensorflow as tf

    def together(values: Any, filler: Any) -> Any:
        return (
            tf.RaggedTensor.from_value_rowids(values, tf.cast(row, tf.int64), rows).merge_dims(1, 2).to_tensor(filler)
        )

    best, places = tf.math.top_k(together(scores, tf.constant(IMPOSSIBLE)), N_BEST)
    words = (together(values, tf.constant(-1)) for values in (first, last))
    return best, *(tf.gather(each, places, batch_dims=1) for each in words)


def _place(places: Any, word: Any, there: Any) -> Any:
    """Where words stand in their texts, int32 like `word`; 0 where there is none."""
    import tensorflow as tf

    padded = tf.pad(places.to_tensor(), [[0, 0], [0, 1]])
    return tf.where(there, tf.gather(padded, tf.maximum(word, 0), batch_dims=1), 0)
