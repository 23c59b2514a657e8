"""Recipes, benchmarks and the results notebook."""
