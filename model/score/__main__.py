"""The command."""

from pipeline.commands.start import start

if __name__ == "__main__":
    start("model.score.command")
