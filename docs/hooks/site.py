"""What the site does to the pages: it takes in pages of other folders, and mends their links.

The pages are written for a reader of the repository, where every relative link works. On the site
a page of another folder (a model's README) has its own address, and a file that is not a page has
none: its link becomes its path, or a link into the repository if mkdocs.yml knows `repo_url`.
"""

import os
import posixpath
import re
from glob import glob

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import CombinedEvent, event_priority, get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGES = {  # {path in the repository: path below docs/}
    "README.md": "index.md",
    "README_cn.md": "index.zh.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "results/speed.md",
    "benchmarks/peers/README.md": "results/peers.md",
}
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^()\s]+)\)")
OTHER_LANGUAGE = re.compile(  # a line of links, one of them to the page in the other language
    r"^(?=.*\[(?:中文|English)\]\()(?:\[[^\]]*\]\([^)]*\)(?: · )?)+$\n?", re.M
)
FENCE = re.compile(r"^ *(```+|~~~+)", re.M)
FOREIGN = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(https?:)?//""")

log = get_plugin_logger("site")


def taken_in() -> dict[str, str]:
    """{path in the repository: path below docs/} of the pages of other folders."""
    pages = dict(PAGES)
    for language, ending in (("", ""), ("_cn", ".zh")):
        for path in glob(f"models/*/README{language}.md", root_dir=ROOT):
            model = path.split(os.sep)[1]
            pages[f"models/{model}/README{language}.md"] = f"models/{model}{ending}.md"
    return pages


def source_of(uri: str) -> str:
    """Where the page stands in the repository."""
    return {below: path for path, below in taken_in().items()}.get(uri, f"docs/{uri}")


@event_priority(100)  # before the languages are told apart
def _add(files: Files, config: MkDocsConfig) -> Files:
    for uri in taken_in().values():
        files.append(File(uri, config.docs_dir, config.site_dir, config.use_directory_urls))
    return files


@event_priority(-200)  # after the plugin of the languages, which makes the files anew
def _fill(files: Files, config: MkDocsConfig) -> Files:
    below = {uri: path for path, uri in taken_in().items()}
    for file in files:
        if file.src_uri in below:
            with open(os.path.join(ROOT, below[file.src_uri]), encoding="utf-8") as f:
                file.content_string = f.read()
    return files


on_files = CombinedEvent(_add, _fill)


@event_priority(100)
def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend the links of a page."""
    markdown = OTHER_LANGUAGE.sub("", markdown)  # the site has a switch of its own
    markdown = markdown.replace("<details>", '<details markdown="1">')
    return outside_fences(markdown, lambda text: links(text, page.file.src_uri, config))


def outside_fences(markdown: str, change) -> str:
    """Apply `change` to the text outside blocks of code."""
    parts = []
    text: list[str] = []
    fence = ""
    for line in markdown.splitlines(keepends=True):
        found = FENCE.match(line)
        if found and not fence:
            parts.append(change("".join(text)))
            text = []
            fence = found.group(1)
            parts.append(line)
        elif fence:
            parts.append(line)
            if found and found.group(1).startswith(fence):
                fence = ""
        else:
            text.append(line)
    return "".join([*parts, change("".join(text))])


def links(text: str, uri: str, config: MkDocsConfig) -> str:
    """The text with its links as the site has them.

    Args:
        text: Markdown without blocks of code.
        uri: of the page, below docs/.
        config: of the site.
    """
    source = source_of(uri)
    pages = taken_in()

    def mended(match: re.Match) -> str:
        label, target = match.groups()
        path, hash_mark, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not path:
            return match.group(0)
        resolved = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if resolved in pages or resolved.startswith("docs/"):
            place = pages.get(resolved, resolved.removeprefix("docs/"))
            folder = posixpath.dirname(uri) or "."
            return f"{label}({posixpath.relpath(place, folder)}{hash_mark}{anchor})"
        if resolved.startswith("../../actions/") or os.path.exists(os.path.join(ROOT, resolved)):
            return outside(label, resolved, config.repo_url)
        log.warning(f"{source} links to {target}, which does not exist")
        return match.group(0)

    return LINK.sub(mended, text)


def outside(label: str, path: str, repository: str | None) -> str:
    """A link to a file of the repository that is not on the site: into the repository, or as the
    label alone."""
    if repository:
        return f"{label}({repository.rstrip('/')}/blob/main/{path})"
    return "" if label.startswith("!") else label[1:-1]


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The site must be readable offline."""
    for found in FOREIGN.finditer(output):
        log.warning(f"{page.file.src_uri} loads from elsewhere: {found.group(0)}")
    return output
