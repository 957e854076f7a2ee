"""The command."""

import sys

if __name__ == "__main__":
    try:
        from model.train.command import run

        run()
    except KeyboardInterrupt:  # while modules are loaded; later it is answered there
        print("interrupted before anything was begun", file=sys.stderr)
        sys.exit(130)
