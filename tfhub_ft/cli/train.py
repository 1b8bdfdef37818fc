"""`tfhub-ft train RECIPE`: a command for each recipe, made from its settings."""

import dataclasses
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from tfhub_ft.cli.param_types import NAMED, PATH
from tfhub_ft.recipe import RECIPES, Recipe, load_recipe
from tfhub_ft.settings import option_name, value_type
from tfhub_ft.utils.console import print_next, print_tables
from tfhub_ft.utils.errors import InputError


class RecipeGroup(click.Group):
    """A group that has a command for each recipe, and for each recipe file."""

    @staticmethod
    def recipe_command(name: str, recipe: Recipe) -> click.Command:
        """Return the command of a recipe."""
        raise NotImplementedError

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(RECIPES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        try:
            return self.recipe_command(name, load_recipe(name))
        except InputError:
            # A shell that completes a command line shows no errors.
            if ctx.resilient_parsing:
                return None
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the recipes that begin so, otherwise let the shell complete the path of a recipe file."""
        return super().shell_complete(ctx, incomplete) or [CompletionItem(incomplete, type="file")]


class TrainGroup(RecipeGroup):
    """A group that trains by each recipe."""

    @staticmethod
    def recipe_command(name: str, recipe: Recipe) -> click.Command:
        return train_command(name, recipe)


@click.command("train", cls=TrainGroup, subcommand_metavar="RECIPE|FILE.py [OPTIONS]")
def command() -> None:
    """Fine-tune an encoder by a recipe.

    Example: tfhub-ft train sentiment --data reviews.csv --output-dir runs/reviews

    tfhub-ft train RECIPE --help shows what can be set.
    """


def train_command(name: str, recipe: Recipe) -> click.Command:
    """The click command of a recipe: an option for each field of its settings."""
    own = [
        click.Option(
            ["--output-dir"], type=PATH, metavar="RUN", help="The run folder, new or empty. [default: runs/NAME-N]"
        ),
        click.Option(
            ["--config"], type=PATH, metavar="FILE", help="YAML file with settings; command-line options override it."
        ),
        click.Option(["--resume"], is_flag=True, help="Go on with the training in --output-dir where it was stopped."),
        click.Option(
            ["--recover"],
            is_flag=True,
            help="Like --resume, after a NaN loss: restart from the last good epoch at half the rate.",
        ),
        click.Option(
            ["--dry-run"], is_flag=True, help="Say what would be done, with its time and memory; train nothing."
        ),
    ]
    options = [
        setting_option(field, getattr(recipe.settings, field.name)) for field in dataclasses.fields(recipe.settings)
    ]

    def run(
        output_dir: str | None, config: str | None, resume: bool, recover: bool, dry_run: bool, **given: Any
    ) -> None:
        settings = {key: value for key, value in given.items() if value is not None}
        if dry_run:
            _dry_run(name, config, settings)
        else:
            _train(name, {"output_dir": output_dir, "config": config, "resume": resume, "recover": recover}, settings)

    text = f"{recipe.summary}\n\nExample: tfhub-ft train {name} --data FILE{recipe.demo.suffix} --output-dir runs/mine"
    return click.Command(name, params=[*own, *options], callback=run, help=text, short_help=recipe.summary)


def recipe_argument(name: str) -> str | Path:
    """The recipe of a command line: a name, or the path of a recipe file."""
    return name if name in RECIPES else Path(name)


def setting_option(field: dataclasses.Field, default: Any) -> click.Option:
    """The option of a settings field, its help with the default that is shown."""
    option, kind, metadata = option_name(field.name), value_type(field), field.metadata
    if kind is bool:
        declared, kwargs = f"{option}/--no-{option[2:]}", {}
    else:
        choices = metadata["choices"]
        declared, kwargs = option, {"type": click.Choice(choices) if choices else NAMED.get(field.name, kind)}
        if metadata["path"]:
            kwargs = {"type": PATH, "metavar": "FILE"}
    shown = "" if default is None or kind is bool else f" [default: {default}]"
    return click.Option([declared], default=None, help=metadata["help"] + shown, **kwargs)


def _dry_run(name: str, config: str | None, given: dict[str, Any]) -> None:
    from tfhub_ft.training.dry_run import dry_run

    told = dry_run(name, config=config, **given)

    from tfhub_ft.evaluation.console_tables import dry_run_tables

    print_tables(*dry_run_tables(told))
    print("Nothing was trained.")


def _train(name: str, how: dict[str, Any], given: dict[str, Any]) -> None:
    from tfhub_ft.training.train import train

    run = train(name, **how, **given)

    from tfhub_ft.evaluation.console_tables import scores_table
    from tfhub_ft.metrics.thresholds import precision_summary

    print_tables(scores_table(run.metrics))
    for sentence in precision_summary(run.metrics, run.labels, run.thresholds):
        print(sentence)
    print(f"Run: {run.path}")
    print(f"Report: {run.path / 'report.html'}")
    print_next("predict", run.path, *(f"a {field} of yours" for field in run.recipe.task.fields))
