"""The settings as text: configs/default.yaml, models/<name>/config.yaml, docs/settings.md, --help.

All of it comes from the declarations. `python -m paddleinterest.core.settings --write` writes the
files; a test says that they are up to date.
"""

import os
import textwrap
from collections.abc import Iterable, Iterator

from paddleinterest.core import yaml_text
from paddleinterest.core.settings import model_folders
from paddleinterest.core.settings.common import HyperParameters, Settings
from paddleinterest.core.settings.declare import Declared, Section

WIDTH = 100  # width of a YAML line with its comment
INDENT = 29  # column where a comment begins
KINDS = {int: "int", float: "float", bool: "bool", str: "str", list: "list of int"}

DEFAULT_HEAD = """\
# Every setting that all models share: type, default, meaning. It is written from the declarations
# in paddleinterest/core/settings/common.py by `python -m paddleinterest.core.settings --write`. To
# change a setting, use -o section.key=value, or a file of your own with `model: NAME` and the keys
# that differ.
"""
MODEL_HEAD = """\
# {name}'s own settings; configs/default.yaml lists those of all models. The values here win over
# the defaults in settings.py, which declares them. A line for any other setting may be added.
model: {name}
"""
PAGE_HEAD = """\
# Settings

[README](../README.md)

Written from the declarations by `python -m paddleinterest.core.settings --write`; change them
there, not here.
Settings come from four places. Later ones win:

1. the declarations: [common ones](../paddleinterest/core/settings/common.py), a model's own
   in `models/<name>/settings.py`;
2. `models/<name>/config.yaml`;
3. the file that `-m` names, if it is a different one;
4. `-o section.key=value`, the value as in YAML.

A key that is not declared, a value of another type and a value out of its range are refused in one
line. In YAML, `010` is ten, a key may occur only once, and `yes`, `no`, `on`, `off`, `1:30` and
dates are texts: write `true` and `false`.

The column "resume" says whether a resumed run may change it; "net" whether a trained net depends on
it, so that `infer` and `to_static` need the value it was trained with.
"""


def constraint(declared: Declared) -> str:
    """The type of a setting and what is allowed: "int ≥ 1", "float in (0, 1]", "a | b"."""
    if declared.choices:
        return " | ".join(declared.choices)
    kind = KINDS[declared.kind]
    least, above, most = declared.least, declared.above, declared.most
    if most is not None:
        low = f"({above:g}" if above is not None else f"[{least or 0:g}"
        kind += f" in {low}, {most:g}]"
    elif above is not None:
        kind += f" > {above:g}"
    elif least is not None:
        kind += f" ≥ {least:g}"
    return kind + (f", 0 = {declared.zero}" if declared.zero else "")


def describe(declared: Declared) -> str:
    """A setting's comment: what is allowed, and what it means."""
    return f"{constraint(declared)}. {declared.meaning}"


def default_yaml() -> str:
    """The text of configs/default.yaml."""
    return DEFAULT_HEAD + "\n" + "".join(_yaml_lines(Settings(), 0))


def model_yaml(name: str) -> str:
    """The text of models/<name>/config.yaml."""
    head = MODEL_HEAD.format(name=name)
    own = _own(name)
    if not own:
        return (
            f"# {name} has no settings of its own; configs/default.yaml lists those of all models."
            f" A line for any of\n# them may be added.\nmodel: {name}\n"
        )
    return head + "\nhyper_parameters:\n" + "".join(_line(d, 1) for d in own)


def page() -> str:
    """The text of docs/settings.md."""
    common = Settings()
    parts = [PAGE_HEAD, "## Runner\n", _table(common.runner.all_declared("runner."))]
    parts += ["## Hyper-parameters of all models\n"]
    parts += [_table(common.hyper_parameters.all_declared("hyper_parameters."))]
    for name in model_folders.models():
        own = _own(name, "hyper_parameters.")
        if own:
            parts += [f"## Hyper-parameters of {name}\n", _table(own)]
    return "\n".join(parts)


def help_text() -> str:
    """The common settings for a terminal, one after the other."""
    lines = ["settings of all models (-o KEY=VALUE); docs/settings.md has each model's own:"]
    for declared in Settings().all_declared():
        if declared.key != "model":
            text = f"{declared.key}={value_text(declared)}  {describe(declared)}"
            lines += textwrap.wrap(
                text, 100, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
            )
    return "\n".join(lines)


def files() -> dict[str, str]:
    """{path from the repository's root: text} of every file that is written from declarations."""
    found = {"configs/default.yaml": default_yaml(), "docs/settings.md": page()}
    for name in model_folders.models():
        found[f"models/{name}/config.yaml"] = model_yaml(name)
    return found


def write(root: str) -> list[str]:
    """Write the files of `files` below `root`; returns the paths of those that changed."""
    changed = []
    for path, text in files().items():
        target = os.path.join(root, path)
        with open(target, encoding="utf-8") as f:
            if f.read() == text:
                continue
        with open(target, "w", encoding="utf-8") as f:
            f.write(text)
        changed.append(path)
    return changed


def value_text(declared: Declared) -> str:
    """The default value in YAML."""
    if declared.kind is list:
        return f"[{', '.join(map(str, declared.default))}]"
    if declared.default == "":
        return '""'
    return yaml_text.dump(declared.default).split("\n")[0]


def _own(name: str, prefix: str = "") -> list[Declared]:
    """The settings of a model that the others do not have."""
    common = set(HyperParameters.declared())
    defaults = model_folders.hyper_parameters(model_folders.model_folder(name))
    own = [key for key in defaults.declared() if key not in common]
    return [d for d in defaults.all_declared(prefix) if d.key.removeprefix(prefix) in own]


def _yaml_lines(section: Section, depth: int) -> Iterator[str]:
    for declared in section.declared().values():
        yield _line(declared, depth)
    for key, inner in section.sections().items():
        yield f"{'' if depth else chr(10)}{'  ' * depth}{key}:\n"
        yield from _yaml_lines(inner, depth + 1)


def _line(declared: Declared, depth: int) -> str:
    """`key: value  # comment`; a long comment continues below."""
    start = f"{'  ' * depth}{declared.key}: {value_text(declared)}"
    start = start.ljust(INDENT) + "  # "
    comment = textwrap.wrap(describe(declared), WIDTH - len(start), break_on_hyphens=False)
    below = f"\n{' ' * (len(start) - 2)}# "
    return start + below.join(comment) + "\n"


def _table(settings: Iterable[Declared]) -> str:
    lines = [
        "| setting | default | allowed | meaning | resume | net |",
        "|---|---|---|---|---|---|",
    ]
    for d in settings:
        resume = "yes" if d.may_change_on_resume else ""
        net = "yes" if d.key.startswith("hyper_parameters.") and not d.of_training else ""
        cells = [
            f"`{d.key}`",
            f"`{value_text(d)}`",
            constraint(d).replace(" | ", ", "),
            d.meaning.replace("|", "\\|").replace("<", "\\<"),
            resume,
            net,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
