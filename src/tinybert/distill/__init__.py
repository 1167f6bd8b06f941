"""Recipes of distillation, each read from top to bottom; the package itself can be called."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

__all__: list[str] = []


class _CallablePackage(ModuleType):
    """Lets ``tinybert.distill`` be both the package and the function that runs a recipe."""

    def __call__(
        self,
        recipe: str | Path | Mapping[str, Any] | None = None,
        say: Callable[[str], None] = print,
        **sections: Any,
    ) -> Path:
        """Train a student, ship it and write its report; called again, it goes on.

        Args:
            recipe: A TOML file, or settings by dotted name (``{"student.layers": 3}``).
            say: Told of each step.
            sections: Settings over the recipe by section, as in ``student={"layers": 3}``, or of
                none, as in ``seed=1``. With ``task`` translation or summarization, here or in the
                recipe, all settings are those of ``seq2seq_recipe.Seq2SeqRecipe``.

        Returns:
            The run's folder; its ``artifact`` is what ``tinybert.load`` reads.

        Raises:
            TinyBertError: Data, teacher or settings cannot be used, or the artifact does not answer
                as the student does.
        """
        from tinybert import ship
        from tinybert.distill import seq2seq_recipe

        overrides = dict(recipe) if isinstance(recipe, Mapping) else {}
        for section, settings in sections.items():
            named = settings if isinstance(settings, Mapping) else {"": settings}
            overrides |= {f"{section}.{n}".rstrip("."): value for n, value in named.items()}
        path = None if isinstance(recipe, Mapping) else recipe
        if seq2seq_recipe.writes(path, overrides.get("task")):
            from tinybert.ship.writing import seq2seq

            return seq2seq(seq2seq_recipe.load(path, overrides), say)
        from tinybert.distill.recipe import load

        return ship.distill(load(path, overrides), say)


sys.modules[__name__].__class__ = _CallablePackage
