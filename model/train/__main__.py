"""The command."""

import sys

if __name__ == "__main__":
    try:
        from model.train.command import main

        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
