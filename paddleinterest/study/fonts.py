"""A font for every letter of a picture: Matplotlib's own has no Chinese, Japanese or Korean."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator

from matplotlib import font_manager, rc_context

from paddleinterest.core.log import say

OURS = "sans-serif"  # usually DejaVu Sans, which comes with Matplotlib
CJK = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",  # Matplotlib's name of the file with all of Noto's CJK fonts
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti SC",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "SimHei",
)


@contextlib.contextmanager
def covering(texts: Iterable[str]) -> Iterator[None]:
    """Within the block, pictures are drawn with fonts that have the letters of `texts`. One line
    reports letters that no font has; they become boxes.

    Args:
        texts: the texts to write that may hold letters of other scripts.
    """
    families, missing = families_for("".join(texts))
    if missing:
        say(
            f"no font here has {' '.join(missing[:8])}{' …' if len(missing) > 8 else ''}: the"
            " picture shows boxes instead; install a font that has them, for Chinese Debian's"
            " fonts-noto-cjk"
        )
    with rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def families_for(text: str) -> tuple[list[str], list[str]]:
    """The fonts to draw `text` with, and its letters that none of them has.

    Returns:
        Matplotlib's own font, then CJK fonts that have the letters missing in it; and the letters
        that no font has, sorted.
    """
    families = [OURS]
    missing = {letter for letter in text if letter.isprintable() and not letter.isspace()}
    missing -= _letters_of(OURS)
    if missing:
        _find_new_fonts()
    for family in CJK:
        found = missing & _letters_of(family)
        if found:
            families.append(family)
            missing -= found
    return families, sorted(missing)


def _letters_of(family: str) -> set[str]:
    """The letters that a font has; none if it is not installed."""
    properties = font_manager.FontProperties(family=[family])
    try:
        path = font_manager.fontManager.findfont(properties, fallback_to_default=False)
    except ValueError:
        return set()
    return set(map(chr, font_manager.get_font(path).get_charmap()))


def _find_new_fonts() -> None:
    """Add fonts to Matplotlib that were installed after it last listed the machine's fonts."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            with contextlib.suppress(Exception):  # not a font, or a damaged one
                font_manager.fontManager.addfont(path)
