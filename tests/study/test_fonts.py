"""study/fonts.py: pictures whose names are not Latin."""

import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager, pyplot

from paddleinterest.study import fonts, plots

NAME = "电子产品 类别 7"


def make_font(path, family, letters):
    """A font with a box for each of these letters."""
    names = {ord(letter): f"glyph{ord(letter)}" for letter in letters}
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 700), (900, 700), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    box = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf({name: box for name in [".notdef", *names.values()]})
    builder.setupHorizontalMetrics({name: (1000, 100) for name in [".notdef", *names.values()]})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(fonts, "say", lines.append)
    return lines


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A font that Matplotlib has not listed yet, with the letters of NAME but for 别."""
    path = tmp_path / "han.ttf"
    make_font(path, "Test Han", "电子产品类")
    known = list(font_manager.fontManager.ttflist)
    monkeypatch.setattr(fonts, "CJK", ("Not Installed", "Test Han"))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path)])
    yield
    font_manager.fontManager.ttflist = known


def test_latin_needs_no_other_font(said):
    assert fonts.families_for("Beauty, User 7\n≥ 21") == (["sans-serif"], [])
    with fonts.covering(["Beauty"]):
        pass
    assert said == []


def test_the_first_font_that_has_the_letters(installed):
    assert fonts.families_for(NAME) == (["sans-serif", "Test Han"], ["别"])


def drawn(path, text):
    """Draw a text, and the warnings of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with fonts.covering([text]):
            figure = pyplot.figure()
            figure.suptitle(text)
            figure.savefig(path)
            pyplot.close(figure)
    return [str(w.message) for w in caught if "Glyph" in str(w.message)]


def test_letters_that_no_font_has_are_said_in_one_line(tmp_path, said, installed):
    assert drawn(tmp_path / "p.png", NAME.replace("别", "")) == [] and said == []
    assert drawn(tmp_path / "p.png", NAME) == []
    assert len(said) == 1 and "no font here has 别:" in said[0] and "fonts-noto-cjk" in said[0]


def test_without_any_chinese_font(tmp_path, said, monkeypatch):
    monkeypatch.setattr(fonts, "CJK", ())
    assert drawn(tmp_path / "p.png", NAME) == [] and len(said) == 1


def test_a_report_on_a_dataset_with_a_chinese_name(tmp_path, said, installed):
    """Its pictures keep the letters, without a warning for each of them."""
    from paddleinterest.study.curves import Cost

    numbers = {"电子": Cost([1.0, 1.0, 1.0], [0.7, 0.7, 0.7], ["1"], 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.cost(numbers, plots.styles({"电子": "din"}), tmp_path / "p.svg", "产品", "1")
    text = (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert "电子" in text and "产品" in text and "Test Han" in text and said == []
