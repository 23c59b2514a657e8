"""Datasets: one file a format, stratified splits, and augmentation on the device."""
