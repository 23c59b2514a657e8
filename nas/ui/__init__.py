"""What a person looks at after a run: one HTML file that needs no network."""
