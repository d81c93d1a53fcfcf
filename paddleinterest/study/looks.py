"""The title, colour and mark of each model in all pictures. Each model declares its own in
models/<name>/dygraph_model.py."""

from typing import NamedTuple

from paddleinterest.core import settings

# For models without a colour, in turn: colours and marks that no model here has.
# Letters: Matplotlib's filled marks are used up.
SPARE = [("#882255", "$a$"), ("#999933", "$b$"), ("#332288", "$c$"), ("#44aa99", "$d$")]


class Look(NamedTuple):
    """A model's name for people, its colour and its mark (Matplotlib's words)."""

    title: str
    colour: str
    marker: str


def of_model(name: str) -> Look:
    """The look of the model in the folder models/`name`. It imports Paddle: call
    environment.set_up first.

    Returns:
        Its look; without colour and mark if it declares none.
    """
    from paddleinterest.training.loading import binding

    model = binding(settings.model_folder(name))
    return Look(model.title or name, model.colour, model.marker)


def of_models(names: list[str]) -> dict[str, Look]:
    """The look of each of these models, with a spare colour and mark for those that name none."""
    found = {}
    spare = 0
    for name in names:
        look = of_model(name)
        if not look.colour or not look.marker:
            colour, marker = SPARE[spare % len(SPARE)]
            look = Look(look.title, look.colour or colour, look.marker or marker)
            spare += 1
        found[name] = look
    return found
