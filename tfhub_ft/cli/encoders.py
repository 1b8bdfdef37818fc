"""`tfhub-ft encoders`: list, download, verify, convert and export encoders."""

import dataclasses
from functools import partial

import click

from tfhub_ft.cli.commands import Group, option
from tfhub_ft.cli.param_types import ENCODER, PATH, PRETRAINED
from tfhub_ft.cli.read_options import json_option
from tfhub_ft.encoders.catalog import CATALOG, lookup
from tfhub_ft.utils.console import print_json, print_next, print_tables
from tfhub_ft.utils.errors import InputError, RunError

_model = partial(option, group="Model")


@click.group("encoders", cls=Group)
def command() -> None:
    """List, download, verify, convert and export text encoders.

    Example: tfhub-ft encoders list
    """


@command.command("list")
@json_option()
def list_encoders(as_json: bool) -> None:
    """List the encoders of the catalog.

    Example: tfhub-ft encoders list
    """
    from tfhub_ft.encoders.resolve import cached

    if as_json:
        rows = [{**dataclasses.asdict(entry), "cached": cached(entry.name)} for entry in CATALOG]
        print_json(rows)
        return
    from rich.table import Table

    table = Table()
    for heading in ("name", "layers", "hidden", "parameters", "cased", "language", "cached"):
        table.add_column(heading, justify="right" if heading in ("layers", "hidden", "parameters") else "left")
    for entry in CATALOG:
        size = (str(entry.layers), str(entry.hidden_size), f"{entry.parameters:g} M")
        cased, in_cache = "yes" if entry.cased else "no", "yes" if cached(entry.name) else ""
        table.add_row(entry.name, *size, cased, entry.language, in_cache)
    print_tables(table)


@command.command("show")
@click.argument("name", type=ENCODER)
def show(name: str) -> None:
    """Show the catalog entry of an encoder.

    Example: tfhub-ft encoders show bert-base-uncased
    """
    from tfhub_ft.encoders.resolve import cached

    entry = lookup(name)
    for field, value in {**dataclasses.asdict(entry), "cached": cached(name)}.items():
        print(f"{field.replace('_', ' '):16}{value if value != '' else '(converted from a PyPI package)'}")


@command.command("pull")
@click.argument("name", type=PRETRAINED)
@_model("--preprocessor", type=ENCODER, metavar="NAME", help="Preprocessor, if the encoder does not name it.")
def pull(name: str, preprocessor: str | None) -> None:
    """Download an encoder and its preprocessor, or a language model, into the cache ($TFHUB_FT_CACHE).

    Example: tfhub-ft encoders pull minilm-l6
    """
    from tfhub_ft.encoders.resolve import resolve
    from tfhub_ft.language_models import presets

    if name in (model.name for model in presets.CATALOG):
        print(f"language model  {presets.preset_folder(name)}")
        return
    try:
        pair = resolve(name, preprocessor)
    except InputError as error:
        raise InputError(str(error).removeprefix("--encoder ")) from None
    print(f"encoder       {pair.encoder}")
    print(f"preprocessor  {pair.preprocessor}")


@command.command("verify")
@click.argument("folder", type=PATH)
@_model("--preprocessor", type=PATH, metavar="DIR", help="Preprocessor, if it is not beside the encoder.")
@json_option()
def verify(folder: str, preprocessor: str | None, as_json: bool) -> None:
    """Check that a SavedModel follows the TF Hub text API. The exit code is 1 if it does not.

    Example: tfhub-ft encoders verify my_encoder/encoder
    """
    from tfhub_ft.encoders.hub_api_check import verify_encoder

    findings = verify_encoder(folder, preprocessor)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{'ok    ' if finding.ok else 'FAILED'}  {finding.what}: {finding.found}")
    failed = [finding.what for finding in findings if not finding.ok]
    if failed:
        raise RunError(f"{folder} does not follow the TF Hub text API: {', '.join(failed)}")


@command.command("convert")
@click.argument("checkpoint_dir", type=PATH)
@click.argument("out_dir", type=PATH)
def convert(checkpoint_dir: str, out_dir: str) -> None:
    """Convert a BERT or DistilBERT checkpoint into a TF Hub encoder and preprocessor.

    CHECKPOINT_DIR is a Hugging Face folder (config.json, vocab.txt, and model.safetensors or tf_model.h5) or a
    TensorFlow Model Garden folder (bert_config.json, vocab.txt and a checkpoint; needs the extra [models]). The
    converted encoder is verified with a NumPy forward pass. Pass OUT_DIR as --encoder to any recipe.

    Example: tfhub-ft encoders convert my_checkpoint my_encoder
    """
    from tfhub_ft.encoders.convert import convert_checkpoint

    report = convert_checkpoint(checkpoint_dir, out_dir)
    print(f"{out_dir}: encoder/ and preprocessor/, a {report.model_type} encoder")
    print(f"pooled_output: {report.pooled}")
    print(f"maximum difference from the checkpoint's outputs: {report.max_difference:.1e} on {report.rows} rows")


@command.command("export")
@click.argument("run", type=PATH)
@click.argument("out_dir", type=PATH)
def export(run: str, out_dir: str) -> None:
    """Write the fine-tuned encoder of a run as a TF Hub encoder and preprocessor.

    Pass OUT_DIR as --encoder to any recipe, and OUT_DIR/encoder to hub.load or hub.KerasLayer.

    Example: tfhub-ft encoders export runs/reviews my_encoder
    """
    from tfhub_ft.exports.encoder import export_encoder

    export_encoder(run, out_dir)
    print(f"{out_dir}: encoder/ and preprocessor/")
    # A folder with the name of a catalog entry is only found by a path.
    print_next("train", "sentiment", "--encoder", out_dir if "/" in out_dir else f"./{out_dir}")
