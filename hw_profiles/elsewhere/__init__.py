"""Measuring on machines that hwnas does not run on: models go there, times come back."""
