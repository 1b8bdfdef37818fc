"""Types of the public names, checked by pyright in `make lint`."""

from typing import TYPE_CHECKING

from tfhub_ft import (
    Classification,
    ClassificationHead,
    Conversation,
    CosineFeature,
    CosineSimilarity,
    Dialogue,
    DialogueSettings,
    EncoderArguments,
    GuessAccuracy,
    GuessedCrossEntropy,
    HubEncoder,
    HubPreprocessor,
    InBatchNegatives,
    InBatchRecall,
    InputError,
    InScopeAccuracy,
    Intent,
    IntentSettings,
    LabelSettings,
    LongTextSettings,
    MaskedLM,
    MeanPooling,
    Multilabel,
    MultilabelSettings,
    PairSettings,
    Preempted,
    Prepared,
    QuestionAnswering,
    Recipe,
    Regression,
    ReplyWriter,
    Retrieval,
    Rows,
    Run,
    RunError,
    Sampling,
    ScoredPairSettings,
    ScoredTextSettings,
    Settings,
    SpanCrossEntropy,
    SplitSegments,
    StackHalves,
    TagCrossEntropy,
    Task,
    TextSettings,
    TfhubFtError,
    TokenClassification,
    TrainingSettings,
    TwoClassSettings,
    UntrustedCode,
    WeightedBinaryCrossEntropy,
    WeightedCrossEntropy,
    WindowedSettings,
    WindowPreprocessor,
    balanced_weights,
    benchmark,
    bi_encoder_model,
    compare,
    demo_file,
    dialogue_model,
    distill,
    dry_run,
    evaluate,
    export,
    inspect,
    load_recipe,
    masked_lm_model,
    open_predictor,
    pair_model,
    predict,
    prepare,
    setting,
    text_model,
    train,
    tune,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    import datasets
    import keras
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import tensorflow as tf
    from typing_extensions import assert_type

    run = train("sentiment", epochs=1)
    assert_type(run, Run)
    assert_type(distill(run, student="layers:3", output_dir="runs/small"), Run)
    frame, table = pd.DataFrame(), pa.table({})
    dict_rows: list[dict[str, str]] = []
    columns: dict[str, list[str]] = {}
    texts: Iterator[str] = iter(())
    pairs: list[tuple[str, str]] = []
    assert_type(predict(run, frame, text_column="review"), pd.DataFrame)
    assert_type(predict(run, table), pa.Table)
    assert_type(predict(run, dict_rows), list[dict[str, Any]])
    assert_type(predict(run, columns), dict[str, Any])
    for each in ("a text", b"a text", ["a text"], ("a text",), texts, pairs, frame["review"], np.array(["a text"])):
        assert_type(predict(run, each), list[dict[str, Any]])
    assert_type(export(run, output_dir="saved_models/reviews"), Path)
    assert_type(prepare("sentiment", output_dir="rows"), Prepared)
    assert_type(load_recipe("sentiment"), Recipe)
    assert_type(load_recipe("sentiment").settings, TrainingSettings)
    assert_type(demo_file("spam.csv"), Path)
    assert_type(Settings().epochs, int)
    assert_type(Settings().freeze, str)
    assert_type(Settings().lora_rank, int | None)
    assert_type(setting(0.5, "Fraction of the words to mask."), float)
    assert_type(text_model(lambda encoded: encoded["pooled_output"]), keras.Model)
    encoder: keras.layers.Layer = HubEncoder("minilm-l6")
    head: keras.layers.Layer = ClassificationHead(2)
    error: InputError = UntrustedCode("encoder: not trusted")
    failure: TfhubFtError = error

    frame = pd.DataFrame({"text": ["a"], "label": ["b"]})
    train("sentiment", data=frame)
    evaluate(run, data=frame)
    evaluate(run, data=pl.DataFrame({"text": ["a"]}))
    evaluate(run, data=pa.table({"text": ["a"]}))
    evaluate(run, data=datasets.Dataset.from_dict({"text": ["a"]}))
    evaluate(run, data=tf.data.Dataset.from_tensor_slices((["a"], ["b"])))
    evaluate(run, data=[{"text": "a", "label": 1}])
    evaluate(run, data={"text": ["a"], "label": ["b"]})
    evaluate(run, data=(np.array(["a"]), pd.Series(["b"])))
    evaluate(run, data="rows.csv")
    benchmark("saved_models/reviews", data=frame)
    compare(run, run, data=frame)
    rows: Rows = frame
    evaluate(run, data=3)  # pyright: ignore[reportArgumentType]
