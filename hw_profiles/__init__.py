"""Devices, and what a network costs on them."""
