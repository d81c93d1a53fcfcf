"""Show the settings, or write what the repository says about them.

python -m paddleinterest.core.settings            # list the settings that all models share
python -m paddleinterest.core.settings --write    # configs/default.yaml, docs/settings.md …
"""

import argparse

from paddleinterest.core.settings import ROOT, rendering


def main() -> None:
    """Run the command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--write", action="store_true", help="write the files that come from the declarations"
    )
    if p.parse_args().write:
        for path in rendering.write(ROOT):
            print(f"wrote {path}")
    else:
        print(rendering.help_text())


if __name__ == "__main__":
    main()
