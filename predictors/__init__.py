"""Models that estimate what is too dear to measure, with a spread."""
