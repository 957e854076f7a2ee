"""What commands have in common: options, rows, their words, progress, and how they end."""
