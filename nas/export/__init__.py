"""Networks as files: written, compared with what was searched, and described by a card."""
