"""What every package may use: mistakes in one sentence, a command's arguments, files written whole, seeds."""
